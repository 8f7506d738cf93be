"""The sweeper: nothing stays unfinished, nothing is ended whose order went out, and silence is said to be silence."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import DataError, OperationalError, transaction

from decisions import clock, cycles, orders, outbox, positions, sweeper, tasks
from decisions.messages import PositionUpdate
from decisions.models import DecisionCycle, MarketRecord, Order, OrderStatus, OutboxMessage, Outcome, State
from journal.models import PlaybookVersion, Promotion
from tests.integration.decisions.build import (
    BTC,
    NOON,
    alerts,
    end_of,
    fill_payload,
    position_update_payload,
    sent_order,
)
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.decisions.scene import (
    ETH,
    STAGES,
    at_once,
    bar,
    decided,
    drive,
    lapse_claim,
    later,
    order_of,
    sent_orders,
    tick,
    venue_says,
    world,
)
from tests.integration.rewriting import rewriting_the_record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

WORKED = [State.COLLECTING, State.SCREENING, State.ANALYZING, State.RISK_CHECK, State.EXECUTING]
QUEUES = ("cycle", "screen", "research", "analyze", "risk", "execute")


def rewind(**ages: float) -> None:
    """Make the cycles older: `created_at=90` is ninety seconds ago."""
    DecisionCycle.objects.update(
        **{name: datetime.now(UTC) - timedelta(seconds=seconds) for name, seconds in ages.items()}
    )


def woken(capture: Any) -> list[str]:
    """The tasks that a sweep sends."""
    outbox.redis_client().delete(*QUEUES)
    with capture(execute=True):
        sweeper.sweep()
    messages = [json.loads(raw) for queue in QUEUES for raw in outbox.redis_client().lrange(queue, 0, -1)]
    return [message["headers"]["task"] for message in messages]


# --- waking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [State.COLLECTING, State.SCREENING, State.ANALYZING, State.RISK_CHECK, State.EXECUTING]
)
def test_a_stage_whose_message_was_lost_is_woken(
    models: ScriptedModels, django_capture_on_commit_callbacks: Any, state: State
) -> None:
    world()
    drive(tick(), until=state)
    assert woken(django_capture_on_commit_callbacks) == []
    rewind(updated_at=6)
    name = {"collecting": "collect", "screening": "screen", "analyzing": "analyze", "risk_check": "risk"}
    assert woken(django_capture_on_commit_callbacks) == [f"decisions.tasks.{name.get(state, 'execute')}"]


def test_a_stage_whose_worker_died_is_woken_when_its_lease_is_over(
    models: ScriptedModels, django_capture_on_commit_callbacks: Any
) -> None:
    world()
    cycle = drive(tick(), until=State.ANALYZING)
    assert cycles.claim(cycle.pk, State.ANALYZING) is not None
    rewind(updated_at=30)
    assert woken(django_capture_on_commit_callbacks) == []
    lapse_claim(cycle)
    assert woken(django_capture_on_commit_callbacks) == ["decisions.tasks.analyze"]
    cycle.refresh_from_db()
    assert drive(cycle).state == State.CONFIRMING
    assert cycle.attempts == 0


def test_a_lease_outlasts_the_deadline_of_its_model(settings: Any) -> None:
    settings.MAX_OPUS_TIMEOUT_SECONDS, settings.RESEARCH_TIMEOUT_SECONDS = 300, 200
    assert cycles.lease(State.ANALYZING) > timedelta(seconds=300)
    assert cycles.lease(State.SCREENING) > timedelta(seconds=300)
    assert cycles.lease(State.RESEARCHING) > timedelta(seconds=200)


def test_what_the_broker_would_not_take_goes_out_with_a_sweep(django_capture_on_commit_callbacks: Any) -> None:
    outbox.record_alert("WARN", "test", "title", "detail", "none")
    assert OutboxMessage.objects.get().sent_at is None
    sweeper.sweep()
    assert OutboxMessage.objects.get().sent_at is not None
    assert outbox.redis_client().xlen("system:alerts") == 1
    sweeper.sweep()
    assert outbox.redis_client().xlen("system:alerts") == 1


# --- abandoning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [State.COLLECTING, State.SCREENING, State.ANALYZING, State.RISK_CHECK, State.EXECUTING]
)
def test_a_cycle_older_than_a_cycle_is_abandoned_unless_its_order_went_out(
    models: ScriptedModels, state: State
) -> None:
    world()
    cycle = drive(tick(), until=state)
    rewind(created_at=61)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert (cycle.outcome, cycle.reason) == (Outcome.ABANDONED, f"abandoned while {state}: older than a cycle")
    for order in Order.objects.all():
        assert (order.status, "its cycle was abandoned" in order.reason) == (OrderStatus.EXPIRED, True)
    tasks.execute(cycle.pk)
    assert sent_orders() == []


def test_live_a_cycle_may_take_as_long_as_a_cycle(settings: Any) -> None:
    assert cycles.length() == timedelta(seconds=60)
    settings.SANDBOX = False
    assert cycles.length() == timedelta(seconds=settings.DECISION_CYCLE_SECONDS)


def test_a_cycle_that_somebody_works_on_is_not_abandoned(models: ScriptedModels) -> None:
    world()
    cycle = tick()
    assert cycles.claim(cycle.pk, State.COLLECTING) is not None
    rewind(created_at=61)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert cycle.outcome is None


def test_a_cycle_whose_order_went_out_unnoted_is_not_abandoned(models: ScriptedModels) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    orders.send(order_of(cycle))
    rewind(created_at=61)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert (cycle.state, order_of(cycle).status) == (State.CONFIRMING, OrderStatus.SENT)
    assert order_of(cycle).sent_at is not None
    venue_says(order_of(cycle), "filled")
    cycle.refresh_from_db()
    assert (cycle.outcome, len(sent_orders())) == (Outcome.TRADED, 1)


def test_a_cycle_that_waits_for_the_venue_is_left_to_wait(models: ScriptedModels) -> None:
    cycle = decided()
    rewind(created_at=600, updated_at=600)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert cycle.state == State.CONFIRMING


def test_a_stage_that_fails_three_times_ends_its_cycle_with_the_error(
    models: ScriptedModels, django_capture_on_commit_callbacks: Any
) -> None:
    world()
    cycle = drive(tick(), until=State.ANALYZING)
    with rewriting_the_record():
        Promotion.objects.all().delete()
        PlaybookVersion.objects.all().delete()
    for attempt in (1, 2, 3):
        with pytest.raises(Promotion.DoesNotExist):
            tasks.analyze(cycle.pk)
        cycle.refresh_from_db()
        assert (cycle.attempts, cycle.claim, cycle.state) == (attempt, None, State.ANALYZING)
        rewind(updated_at=6)
        expected = ["decisions.tasks.analyze"] if attempt < 3 else []
        assert woken(django_capture_on_commit_callbacks) == expected
    cycle.refresh_from_db()
    assert cycle.outcome == Outcome.ABANDONED
    assert "3 attempts failed: DoesNotExist" in cycle.reason


@pytest.mark.django_db(transaction=True)
def test_sweepers_and_a_sender_at_once_send_once_or_not_at_all(models: ScriptedModels) -> None:
    for number in range(6):
        world(later(5 * number))
        cycle = drive(tick(later(5 * number)), until=State.EXECUTING)
        rewind(created_at=61)
        before = len(sent_orders())
        assert at_once(sweeper.sweep, lambda cycle=cycle: tasks.execute(cycle.pk), sweeper.sweep) == []
        cycle.refresh_from_db()
        order, went_out = order_of(cycle), len(sent_orders()) - before
        if went_out:
            assert (cycle.state, order.status, went_out) == (State.CONFIRMING, OrderStatus.SENT, 1)
            venue_says(order, "rejected", reject_reason="enough")
        else:
            assert (cycle.state, order.status) == (State.DONE, OrderStatus.EXPIRED)
            assert cycle.outcome in (Outcome.ABANDONED, Outcome.ORDER_EXPIRED)


# --- after an outage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", WORKED)
def test_a_message_that_waited_through_an_outage_starts_no_work_late(models: ScriptedModels, state: State) -> None:
    world()
    cycle = drive(tick(), until=state)
    rewind(created_at=61)
    STAGES[state](cycle.pk)
    cycle.refresh_from_db()
    assert (cycle.state, cycle.attempts, sent_orders()) == (state, 0, [])


def test_after_an_outage_of_several_slots_only_the_newest_runs(models: ScriptedModels) -> None:
    world()
    world(symbol=ETH)
    stuck = drive(tick(), until=State.ANALYZING)
    rewind(created_at=1200, updated_at=1200)
    for minutes in (5, 10, 15):  # bars that nobody ticked for
        world(later(minutes))
        world(later(minutes), symbol=ETH)
    for _ in range(4):  # the ticks that were queued meanwhile
        tasks.cycle()
    slots = set(DecisionCycle.objects.values_list("instrument", "slot_at"))
    assert slots == {(BTC, NOON), (BTC, later(15)), (ETH, later(15))}
    stuck.refresh_from_db()
    assert stuck.outcome == Outcome.ABANDONED
    assert not DecisionCycle.objects.filter(outcome=Outcome.PREVIOUS_STILL_RUNNING).exists()


def test_a_close_that_a_dead_process_left_ends_when_its_time_is_over() -> None:
    order = sent_order("CLOSE", status=OrderStatus.PENDING, sent_at=None, entry_id="", cycle=None)
    Order.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    sweeper.sweep()
    order.refresh_from_db()
    assert (order.status, sent_orders()) == (OrderStatus.EXPIRED, [])


# --- after Redis was emptied ----------------------------------------------------------------------------------------


def test_an_order_of_an_emptied_redis_is_unknown_and_never_sent_again(
    models: ScriptedModels, redis_client: "redis.Redis"
) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    redis_client.flushall()
    rewind(created_at=61)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert (cycle.outcome, order_of(cycle).status) == (Outcome.ORDER_UNKNOWN, OrderStatus.UNKNOWN)
    assert OutboxMessage.objects.filter(category="order_unknown").count() == 1
    sweeper.sweep()
    tasks.execute(cycle.pk)
    assert sent_orders() == []


# --- the wall clock is set ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_a_claim_does_not_outlast_a_step_of_the_clock(models: ScriptedModels, step: float) -> None:
    world()
    cycle = drive(tick(), until=State.ANALYZING)
    mine = cycles.claim(cycle.pk, State.ANALYZING)
    assert mine is not None
    DecisionCycle.objects.update(claimed_until=mine.claimed_until - timedelta(seconds=step))
    taken = cycles.claim(cycle.pk, State.ANALYZING)
    assert taken is not None
    with pytest.raises(cycles.ClaimLost):
        cycles.finish(mine, Outcome.MODEL_HOLD, "of the one that lost it")


def test_a_claim_as_long_as_any_is_kept(models: ScriptedModels) -> None:
    world()
    cycle = tick()
    assert cycles.claim(cycle.pk, State.COLLECTING) is not None
    assert cycles.claim(cycle.pk, State.COLLECTING) is None


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_a_cycle_of_before_a_step_of_the_clock_is_abandoned_and_sends_nothing(
    models: ScriptedModels, step: float
) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    rewind(created_at=step, updated_at=step)
    tasks.execute(cycle.pk)
    sweeper.sweep()
    cycle.refresh_from_db()
    assert (cycle.outcome, order_of(cycle).status) == (Outcome.ABANDONED, OrderStatus.EXPIRED)
    assert sent_orders() == []


def test_a_stage_noted_ahead_of_the_clock_is_woken(
    models: ScriptedModels, django_capture_on_commit_callbacks: Any
) -> None:
    world()
    drive(tick(), until=State.ANALYZING)
    rewind(updated_at=-3600)
    assert woken(django_capture_on_commit_callbacks) == ["decisions.tasks.analyze"]


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_a_silent_order_of_before_a_step_is_unknown_at_once_and_what_the_venue_says_counts(
    models: ScriptedModels, step: float
) -> None:
    order = order_of(decided())
    silence(step)
    order.refresh_from_db()
    assert order.status == OrderStatus.UNKNOWN
    venue_says(order, "filled")
    order.refresh_from_db()
    assert (order.status, len(sent_orders())) == (OrderStatus.FILLED, 1)


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_alerts_at_most_every_minute_go_on_after_a_step(step: float) -> None:
    def tell() -> None:
        outbox.record_alert_at_most(
            timedelta(minutes=1), "WARN", "test", title="title", detail="detail", action_taken="none"
        )

    tell()
    tell()
    assert OutboxMessage.objects.count() == 1
    OutboxMessage.objects.update(created_at=datetime.now(UTC) - timedelta(seconds=step))
    tell()
    tell()
    assert OutboxMessage.objects.count() == 2


def test_the_market_clock_of_a_silent_venue_goes_on_after_the_clock_was_set_back() -> None:
    world()
    bar(later(5))
    assert clock.market_now() == NOON
    MarketRecord.objects.filter(at=later(5)).update(received_at=datetime.now(UTC) + timedelta(hours=1))
    assert clock.market_now() == later(5)


# --- withdrawals --------------------------------------------------------------------------------------------------


def resting(models: ScriptedModels, **changes: Any) -> Order:
    order = order_of(decided())
    Order.objects.update(order_type="limit", limit_price=Decimal(19990), expires_at=later(60), **changes)
    venue_says(order, "accepted")
    order.refresh_from_db()
    return order


def asked() -> int:
    return OutboxMessage.objects.filter(type="trade_cancel").count()


def test_a_withdrawal_that_the_venue_does_not_answer_is_repeated_until_it_does(models: ScriptedModels) -> None:
    order = resting(models)
    sweeper.sweep()
    assert asked() == 0
    with transaction.atomic():
        orders.withdraw(order, "halted")
    for seconds, expected in ((59, 1), (61, 2), (0, 2), (-3600, 3)):
        Order.objects.update(cancel_asked_at=datetime.now(UTC) - timedelta(seconds=seconds))
        sweeper.sweep()
        assert asked() == expected
    venue_says(order, "cancelled", reject_reason="halted")
    Order.objects.update(cancel_asked_at=datetime.now(UTC) - timedelta(seconds=61))
    sweeper.sweep()
    assert asked() == 3


# --- an answer that is there --------------------------------------------------------------------------------------

ANSWERS: list[tuple[OrderStatus, dict[str, Any], tuple[Outcome, str]]] = [
    (OrderStatus.FILLED, {"filled_size": 2}, (Outcome.TRADED, "OPEN_LONG filled: 2 of 2 contracts")),
    (OrderStatus.CANCELLED, {"filled_size": 1}, (Outcome.TRADED, "OPEN_LONG filled: 1 of 2 contracts")),
    (OrderStatus.CANCELLED, {}, (Outcome.ORDER_CANCELLED, "the order was cancelled")),
    (OrderStatus.REJECTED, {"reason": "busy"}, (Outcome.ORDER_REJECTED, "the venue refused: busy")),
    (OrderStatus.EXPIRED, {"reason": "too late"}, (Outcome.ORDER_EXPIRED, "too late")),
    (OrderStatus.UNKNOWN, {}, (Outcome.ORDER_UNKNOWN, "nobody knows what became of the order")),
    (
        OrderStatus.ACCEPTED,
        {"order_type": "limit", "limit_price": Decimal(19990), "expires_at": later(60)},
        (Outcome.ORDER_WORKING, "the limit order rests at the venue"),
    ),
]


@pytest.mark.parametrize("state", [State.EXECUTING, State.CONFIRMING])
@pytest.mark.parametrize(("status", "fields", "end"), ANSWERS)
def test_no_cycle_waits_for_an_order_that_has_been_answered(
    status: OrderStatus, fields: dict[str, Any], end: tuple[Outcome, str], state: State
) -> None:
    world()
    order = sent_order(status=status, cycle_changes={"state": state}, **fields)
    rewind(created_at=61)
    sweeper.sweep()
    assert end_of(order) == (status, *end)


@pytest.mark.parametrize("status", [OrderStatus.SENT, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED])
@pytest.mark.parametrize("state", [State.EXECUTING, State.CONFIRMING])
def test_a_cycle_waits_for_a_market_order_that_is_under_way(status: OrderStatus, state: State) -> None:
    world()
    order = sent_order(status=status, cycle_changes={"state": state})
    rewind(created_at=61)
    sweeper.sweep()
    assert DecisionCycle.objects.get(decision_id=order.decision_id).state == State.CONFIRMING


# --- each piece on its own ----------------------------------------------------------------------------------------


def failing(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


PIECES = [
    (sweeper.outbox, "relay"),
    (sweeper, "_look_at"),
    (sweeper.fills, "settle_waiting"),
    (sweeper, "_repeat_withdrawals"),
    (sweeper.closing, "send"),
    (sweeper.closing, "go_on_closing_all"),
]


@pytest.mark.parametrize(("module", "piece"), PIECES, ids=[piece for _, piece in PIECES])
def test_what_one_piece_of_a_round_meets_is_told_and_keeps_the_others_from_nothing(
    models: ScriptedModels, monkeypatch: pytest.MonkeyPatch, module: Any, piece: str
) -> None:
    world()
    stuck, silent = tick(), sent_order(symbol=ETH, sent_at=datetime.now(UTC) - timedelta(seconds=61))
    pending = {"status": OrderStatus.PENDING, "sent_at": None, "entry_id": "", "cycle": None}
    past = datetime.now(UTC) - timedelta(seconds=1)
    unsent = sent_order("CLOSE", symbol="SOL-USDT-SWAP", expires_at=past, **pending)
    DecisionCycle.objects.filter(pk=stuck.pk).update(created_at=datetime.now(UTC) - timedelta(seconds=61))
    monkeypatch.setattr(module, piece, failing(DataError("numeric field overflow")))
    sweeper.sweep()
    sweeper.sweep()
    for row in (stuck, silent, unsent):
        row.refresh_from_db()
    assert silent.status == OrderStatus.UNKNOWN
    assert (stuck.outcome == Outcome.ABANDONED) == (piece != "_look_at")
    assert (unsent.status == OrderStatus.EXPIRED) == (piece != "send")
    assert alerts("round_failed") == ["DataError: numeric field overflow"]


def test_a_round_without_redis_does_what_postgres_can(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = sent_order(sent_at=datetime.now(UTC) - timedelta(seconds=61))
    outbox.record_alert("WARN", "test", "title", "detail", "none")
    away = redis.Redis(unix_socket_path="/nonexistent/redis.sock", retry=None)
    monkeypatch.setattr(outbox, "redis_client", lambda: away)
    sweeper.sweep()
    silent.refresh_from_db()
    assert (silent.status, alerts("round_failed")) == (OrderStatus.UNKNOWN, [])


def test_a_round_without_postgres_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper.fills, "settle_waiting", failing(OperationalError("server closed the connection")))
    with pytest.raises(OperationalError):
        sweeper.sweep()


# --- silence ------------------------------------------------------------------------------------------------------


def silence(seconds: float) -> None:
    Order.objects.update(sent_at=datetime.now(UTC) - timedelta(seconds=seconds))
    sweeper.sweep()


def test_an_order_without_an_answer_is_unknown_and_said_to_be(models: ScriptedModels) -> None:
    cycle = decided()
    silence(59)
    assert order_of(cycle).status == OrderStatus.SENT
    silence(61)
    silence(61)
    cycle.refresh_from_db()
    assert (cycle.outcome, order_of(cycle).status) == (Outcome.ORDER_UNKNOWN, OrderStatus.UNKNOWN)
    alert = OutboxMessage.objects.get(category="order_unknown")
    assert (alert.severity, order_of(cycle).client_order_id in alert.payload["detail"]) == ("WARN", True)
    world(later(5))
    assert drive(tick(later(5))).outcome == Outcome.INSTRUMENT_BLOCKED


@pytest.mark.parametrize(
    ("status", "filled"), [("accepted", {}), ("partially_filled", {"fill_size": "0.5", "cumulative_size": "0.5"})]
)
def test_a_market_order_that_is_accepted_and_never_filled_is_unknown_too(
    models: ScriptedModels, status: str, filled: dict[str, str]
) -> None:
    cycle = decided()
    venue_says(order_of(cycle), status, **filled)
    silence(59)
    assert order_of(cycle).status == status
    silence(61)
    cycle.refresh_from_db()
    assert (cycle.outcome, order_of(cycle).status) == (Outcome.ORDER_UNKNOWN, OrderStatus.UNKNOWN)


def test_a_limit_order_that_was_accepted_may_rest(models: ScriptedModels) -> None:
    cycle = decided()
    Order.objects.update(order_type="limit", limit_price=Decimal(19990))
    venue_says(order_of(cycle), "accepted")
    silence(3600)
    assert order_of(cycle).status == OrderStatus.ACCEPTED


def test_an_unknown_order_that_the_venue_does_not_have_expires_and_frees_its_instrument(models: ScriptedModels) -> None:
    order = order_of(decided())
    silence(61)
    _update(later(5))
    order.refresh_from_db()
    assert order.status == OrderStatus.UNKNOWN
    Order.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    _update(later(6))
    order.refresh_from_db()
    assert order.status == OrderStatus.EXPIRED
    world(later(10))
    assert drive(tick(later(10))).state == State.CONFIRMING


def test_an_unknown_order_that_was_filled_is_booked_from_the_venues_list(models: ScriptedModels) -> None:
    order = order_of(decided())
    silence(61)
    _update(later(5), recent_fills=(fill_payload(order, filled_at=_zulu(NOON)),))
    order.refresh_from_db()
    assert (order.status, order.filled_size, order.trade is not None) == (OrderStatus.FILLED, Decimal("1.5"), True)


@transaction.atomic
def _update(at: datetime, **changes: Any) -> None:
    payload = position_update_payload(at, **changes)
    positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))


def _zulu(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_an_answer_that_comes_while_the_sweeper_gives_up_is_what_counts(models: ScriptedModels) -> None:
    cycle = decided()
    silence(61)
    venue_says(order_of(cycle), "filled")
    assert order_of(cycle).status == OrderStatus.FILLED
    assert order_of(cycle).trade.symbol == BTC
