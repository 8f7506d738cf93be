"""The sweeper: nothing stays unfinished, nothing is ended whose order went out, and silence is said to be silence."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from decisions import cycles, orders, outbox, positions, sweeper, tasks
from decisions.messages import PositionUpdate
from decisions.models import DecisionCycle, Order, OrderStatus, OutboxMessage, Outcome, State
from journal.models import PlaybookVersion, Promotion
from tests.integration.decisions.build import BTC, NOON, fill_payload, position_update_payload
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.decisions.scene import (
    at_once,
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
    assert sweeper.cycle_length() == timedelta(seconds=60)
    settings.SANDBOX = False
    assert sweeper.cycle_length() == timedelta(seconds=settings.DECISION_CYCLE_SECONDS)


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
