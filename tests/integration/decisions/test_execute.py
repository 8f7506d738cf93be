"""The last step before money: the intent, what is checked once more, and that an order goes out once."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import transaction

from decisions import operator_actions, orders, positions, sweeper, tasks
from decisions.messages import PositionUpdate, TradeOrder, decode, parse
from decisions.models import (
    LIVE,
    DecisionCycle,
    Discrepancy,
    InstrumentBlock,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    PositionReport,
    State,
)
from decisions.outbox import redis_client as redis_client_of_ours
from orchestrator_project import streams
from risk import services as risk
from risk.models import RiskAction, Verdict
from tests.integration.decisions.build import BTC, NOON, book, position_payload, position_update_payload, sent_order
from tests.integration.decisions.model_server import ScriptedModels, analysed, left
from tests.integration.decisions.scene import (
    ETH,
    account,
    at_once,
    bar,
    decided,
    drive,
    later,
    order_of,
    sent_orders,
    tick,
    venue_is_silent,
    venue_says,
    world,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

HELD = position_payload(BTC)


def approved(models: ScriptedModels, answer: dict[str, Any] | None = None, *held: dict[str, Any]) -> DecisionCycle:
    """A cycle whose order is written and not yet sent."""
    if answer is not None:
        models.will_say("analyze", answer)
    world(NOON, *held)
    return drive(tick(), until=State.EXECUTING)


def sent() -> TradeOrder:
    (entry,) = sent_orders()
    message = parse("trade:orders", decode(entry))
    assert isinstance(message, TradeOrder)
    return message


# --- the intent ---------------------------------------------------------------------------------------------------


def test_the_intent_is_written_before_anything_is_sent(models: ScriptedModels) -> None:
    cycle = approved(models)
    order = order_of(cycle)
    assert (order.status, order.sent_at, sent_orders()) == (OrderStatus.PENDING, None, [])
    assert (order.decision_id, order.client_order_id) == (cycle.decision_id, cycle.decision_id.hex)
    assert (order.size, order.size_pct, order.leverage) == (Decimal("1.5"), Decimal("0.03"), 2)
    assert (order.stop_loss, order.take_profit) == (19800, 20450)
    assert (order.judged_price, order.notional_usd) == (20000, 300)
    assert order.status in LIVE


def test_what_is_sent_is_what_was_approved(models: ScriptedModels) -> None:
    cycle = drive(approved(models))
    order, message = order_of(cycle), sent()
    assert (order.status, cycle.state) == (OrderStatus.SENT, State.CONFIRMING)
    assert order.sent_at is not None
    assert (message.action, message.symbol, message.side, message.pos_side) == ("OPEN_LONG", BTC, "buy", "long")
    assert (message.size, message.stop_loss, message.take_profit, message.leverage) == (Decimal("1.5"), 19800, 20450, 2)
    assert (message.order_type, message.limit_price, message.reduce_only) == ("market", None, False)
    assert (message.decision_id, message.client_order_id) == (str(cycle.decision_id), order.client_order_id)
    assert (message.strategy_used, message.confidence) == ("momentum_breakout", 0.7)
    assert message.client_order_id.isalnum()
    assert len(message.client_order_id) <= 32
    metadata = json.loads(sent_orders()[0][b"metadata"])
    assert metadata == {"playbook_version": 1, "cycle_number": cycle.pk}


def test_a_market_order_expires_by_the_wall_clock(models: ScriptedModels, settings: Any) -> None:
    expires_in = order_of(approved(models)).expires_at - datetime.now(UTC)
    assert timedelta() < expires_in <= timedelta(seconds=settings.ORDER_TTL_MARKET_SECONDS)


def test_a_limit_order_expires_by_the_market_clock(models: ScriptedModels, settings: Any) -> None:
    cycle = drive(approved(models, analysed(order_type="limit", limit_price=19990.0)))
    message = sent()
    assert message.expires_at == NOON + timedelta(seconds=settings.ORDER_TTL_LIMIT_SECONDS)
    assert (message.order_type, message.limit_price, message.stop_loss) == ("limit", 19990, 19800)
    assert order_of(cycle).notional_usd == Decimal("300")


OTHER_SIDE = position_payload(BTC, pos_side="short", size="3", notional_usd="600", stop_loss="20200", take_profit=None)


@pytest.mark.parametrize(("ours", "pos_side", "size"), [(True, "long", 2), (False, "short", 3)])
@pytest.mark.parametrize("action", ["CLOSE", "REDUCE"])
def test_an_exit_of_what_is_held_both_ways_leaves_our_side_or_the_larger(
    models: ScriptedModels, ours: bool, pos_side: str, size: int, action: str
) -> None:
    if ours:
        over = {"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON}
        book(sent_order(cycle_changes=over))
    answer = left(action, size_pct=0.02 if action == "REDUCE" else 0)
    cycle = drive(approved(models, answer, HELD, OTHER_SIDE))
    order = order_of(cycle)
    assert (order.reduce_only, order.pos_side) == (True, pos_side)
    assert order.size == size if action == "CLOSE" else order.size < size
    assert sent().pos_side == pos_side


def test_a_short_is_sold_and_an_exit_of_it_bought(models: ScriptedModels) -> None:
    short = analysed("OPEN_SHORT", stop_loss=20200.0, take_profit=19550.0)
    opened = drive(approved(models, short))
    assert (order_of(opened).side, order_of(opened).pos_side) == ("sell", "short")
    venue_says(order_of(opened), "filled")
    models.will_say("analyze", left("CLOSE"))
    bar(later(5))
    account(later(5))
    closed = drive(tick(later(5)))
    order = order_of(closed)
    assert (order.side, order.pos_side, order.size, order.reduce_only) == ("buy", "short", Decimal("1.5"), True)


# --- once ---------------------------------------------------------------------------------------------------------


def test_sending_twice_leaves_one_entry(models: ScriptedModels) -> None:
    order = order_of(approved(models))
    assert orders.send(order) == orders.send(order)
    assert len(sent_orders()) == 1


def test_after_a_crash_between_sending_and_noting_it_the_order_is_out_once(models: ScriptedModels) -> None:
    cycle = approved(models)
    entry_id = orders.send(order_of(cycle))
    drive(cycle)
    order = order_of(cycle)
    assert (order.status, order.entry_id, cycle.state) == (OrderStatus.SENT, entry_id, State.CONFIRMING)
    assert len(sent_orders()) == 1
    venue_says(order, "filled")
    cycle.refresh_from_db()
    assert cycle.outcome == Outcome.TRADED


def test_an_order_that_is_out_is_not_judged_too_late_afterwards(models: ScriptedModels) -> None:
    cycle = approved(models)
    orders.send(order_of(cycle))
    Order.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=5))
    assert drive(cycle).state == State.CONFIRMING


def test_an_order_that_may_have_gone_out_before_redis_was_emptied_is_not_sent_again(
    models: ScriptedModels, redis_client: "redis.Redis"
) -> None:
    cycle = approved(models)
    orders.send(order_of(cycle))
    redis_client.flushall()
    cycle = drive(cycle)
    order = order_of(cycle)
    assert (order.status, order.sent_at, sent_orders()) == (OrderStatus.UNKNOWN, None, [])
    assert (cycle.outcome, cycle.reason) == (Outcome.ORDER_UNKNOWN, "it may have gone out before Redis was emptied")
    assert OutboxMessage.objects.filter(category="order_unknown").count() == 1
    (step,) = order.transitions.all()
    assert (step.from_status, step.to_status, step.cause) == ("pending", "unknown", cycle.reason)


def test_an_order_that_is_filling_is_out_though_redis_has_forgotten_it(
    models: ScriptedModels, redis_client: "redis.Redis"
) -> None:
    cycle = approved(models)
    orders.send(order_of(cycle))
    venue_says(order_of(cycle), "partially_filled", fill_size="0.5", cumulative_size="0.5")
    redis_client.flushall()
    cycle = drive(cycle)
    assert (cycle.state, order_of(cycle).status) == (State.CONFIRMING, OrderStatus.PARTIALLY_FILLED)
    assert sent_orders() == []
    venue_says(order_of(cycle), "filled", fill_size="1", cumulative_size="1.5")
    cycle.refresh_from_db()
    assert (cycle.outcome, cycle.reason) == (Outcome.TRADED, "OPEN_LONG filled: 1.5 of 1.5 contracts")


def test_the_entry_of_an_order_is_noted_though_a_fill_was_quicker(models: ScriptedModels) -> None:
    cycle = approved(models)
    entry_id = orders.send(order_of(cycle))
    venue_says(order_of(cycle), "partially_filled", fill_size="0.5", cumulative_size="0.5")
    first = order_of(cycle).sent_at
    cycle = drive(cycle)
    order = order_of(cycle)
    assert (order.entry_id, order.sent_at, order.status) == (entry_id, first, OrderStatus.PARTIALLY_FILLED)
    assert cycle.state == State.CONFIRMING


@pytest.mark.parametrize("status", [OrderStatus.EXPIRED, OrderStatus.CANCELLED, OrderStatus.REJECTED])
def test_an_order_that_has_ended_is_not_sent_and_its_cycle_ends_by_its_status(
    models: ScriptedModels, status: OrderStatus
) -> None:
    cycle = approved(models)
    Order.objects.update(status=status, reason="taken back", ended_at=datetime.now(UTC))
    cycle = drive(cycle)
    assert (cycle.outcome, order_of(cycle).status, sent_orders()) == (f"order_{status}", status, [])
    assert "taken back" in cycle.reason


def test_an_order_knows_the_life_of_the_streams_it_was_written_in(models: ScriptedModels) -> None:
    assert order_of(approved(models)).streams_life == streams.life(redis_client_of_ours())


@pytest.mark.django_db(transaction=True)
def test_senders_at_once_leave_one_entry(models: ScriptedModels) -> None:
    cycle = approved(models)
    assert at_once(*[lambda: tasks.execute(cycle.pk)] * 4) == []
    assert (len(sent_orders()), order_of(cycle).status) == (1, OrderStatus.SENT)


# --- once more, at sending ----------------------------------------------------------------------------------------


def expiry_passes() -> None:
    Order.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))


@transaction.atomic
def halt_begins() -> None:
    risk.lock_state()
    risk.begin_halt("manual", "maintenance", now=NOON, by="ada")


def snapshot_gets_stale() -> None:
    bar(later(15), symbol=ETH)
    account(later(15))


def positions_get_stale() -> None:
    bar(later(5))
    venue_is_silent()


def price_runs_up() -> None:
    bar(later(1), "20100.1")
    account(later(1))


def price_runs_down() -> None:
    bar(later(1), "19899.9")
    account(later(1))


def positions_are_gone() -> None:
    PositionReport.objects.all().delete()


def instrument_is_blocked() -> None:
    InstrumentBlock.objects.create(symbol=BTC, reason="a position that is not ours")


def the_venue_differs() -> None:
    told = datetime.now(UTC)
    seen = {"first_told_at": told - timedelta(seconds=5), "last_told_at": told}
    Discrepancy.objects.create(symbol=BTC, kind="size", ours="LONG 1", theirs="LONG 2", **seen)


CHANGES: list[tuple[Callable[[], None], str]] = [
    (expiry_passes, "before it was sent"),
    (halt_begins, "trading was halted before the order was sent: maintenance"),
    (snapshot_gets_stale, "the newest snapshot is 0:15:00 old"),
    (positions_get_stale, "the newest positions are 0:05:00 old"),
    (positions_are_gone, "snapshot or positions are gone"),
    (instrument_is_blocked, "a position that is not ours"),
    (the_venue_differs, "the record has LONG 1, the venue LONG 2"),
    (price_runs_up, "the price moved from 20000.00000000 to 20100.1"),
    (price_runs_down, "the price moved from 20000.00000000 to 19899.9"),
]
changes = pytest.mark.parametrize(("change", "told"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])


@changes
def test_an_opening_that_no_longer_holds_is_not_sent(
    models: ScriptedModels, change: Callable[[], None], told: str
) -> None:
    cycle = approved(models)
    change()
    drive(cycle)
    order = order_of(cycle)
    assert (cycle.outcome, order.status, sent_orders()) == (Outcome.ORDER_EXPIRED, OrderStatus.EXPIRED, [])
    assert told in cycle.reason
    assert order.reason == cycle.reason
    assert order.ended_at is not None


@pytest.mark.parametrize("change", [change for change, _ in CHANGES if change is not expiry_passes])
@pytest.mark.parametrize("action", ["CLOSE", "REDUCE"])
def test_an_exit_goes_out_whatever_has_changed(models: ScriptedModels, change: Callable[[], None], action: str) -> None:
    cycle = approved(models, left(action, size_pct=0.02 if action == "REDUCE" else 0), HELD)
    change()
    assert drive(cycle).state == State.CONFIRMING
    assert sent().reduce_only


def test_only_its_expiry_stops_an_exit(models: ScriptedModels) -> None:
    cycle = approved(models, left("CLOSE"), HELD)
    expiry_passes()
    assert drive(cycle).outcome == Outcome.ORDER_EXPIRED
    assert sent_orders() == []


@pytest.mark.parametrize("price", ["20100", "19900"])
def test_half_a_percent_is_no_move(models: ScriptedModels, price: str) -> None:
    cycle = approved(models)
    bar(later(1), price)
    account(later(1))
    assert drive(cycle).state == State.CONFIRMING


@pytest.mark.parametrize(
    ("prices", "newest"),
    [
        ({"stop_loss": 19950.0, "take_profit": 20150.0}, "19949"),
        ({"stop_loss": 19960.0, "take_profit": 20070.0}, "20071"),
    ],
)
def test_a_price_beyond_stop_or_target_is_too_late(
    models: ScriptedModels, prices: dict[str, float], newest: str
) -> None:
    cycle = approved(models, analysed(**prices))
    bar(later(1), newest)
    account(later(1))
    assert drive(cycle).outcome == Outcome.ORDER_EXPIRED
    assert cycle.reason == f"the price {newest}.00000000 is no longer between stop and target"


def test_a_limit_order_is_too_late_by_market_time(models: ScriptedModels) -> None:
    cycle = approved(models, analysed(order_type="limit", limit_price=19990.0))
    world(later(5))
    assert drive(cycle).outcome == Outcome.ORDER_EXPIRED


# --- room in the limits -------------------------------------------------------------------------------------------


def test_an_order_on_its_way_counts_in_the_limits(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(size_pct=0.05), analysed(symbol=ETH))
    decided()
    world(NOON, symbol=ETH)
    models.will_say("analyze")
    second = drive(tick(symbol=ETH), until=State.EXECUTING)
    pending = Verdict.objects.get(decision_id=second.decision_id).inputs["pending"]
    assert [(order["symbol"], Decimal(order["notional_usd"])) for order in pending] == [(BTC, 500)]


@pytest.mark.django_db(transaction=True)
def test_two_openings_judged_at_once_cannot_share_the_room_of_one(models: ScriptedModels, settings: Any) -> None:
    settings.RISK_LIMITS = replace(settings.RISK_LIMITS, max_concurrent_positions=1)
    world(NOON)
    bar(NOON, symbol=ETH)
    models.will_say("analyze", analysed())
    first = drive(tick(), until=State.RISK_CHECK)
    models.will_say("analyze", analysed(symbol=ETH))
    second = drive(tick(symbol=ETH), until=State.RISK_CHECK)
    assert at_once(lambda: tasks.risk(first.pk), lambda: tasks.risk(second.pk)) == []
    assert sorted(DecisionCycle.objects.values_list("state", "outcome")) == [
        (State.DONE, Outcome.GATE_REJECTED),
        (State.EXECUTING, None),
    ]
    assert Order.objects.count() == 1


# --- limit orders -------------------------------------------------------------------------------------------------


def a_halt_comes_and_goes() -> None:
    who = {"by": "ada", "reason": "maintenance", "source": RiskAction.Source.COMMAND, "now": NOON}
    operator_actions.halt(**who)
    operator_actions.resume(**who)


@pytest.mark.parametrize("terms", [{}, {"order_type": "limit", "limit_price": 19990.0}])
def test_what_a_halt_kept_in_stays_in_when_trading_resumes(models: ScriptedModels, terms: dict[str, Any]) -> None:
    cycle = approved(models, analysed(**terms))
    a_halt_comes_and_goes()
    cycle = drive(cycle)
    assert (cycle.outcome, cycle.reason) == (Outcome.ORDER_EXPIRED, "the order was withdrawn before it was sent")
    assert (order_of(cycle).status, sent_orders()) == (OrderStatus.EXPIRED, [])


def test_a_limit_order_that_went_out_unnoted_before_a_halt_is_withdrawn_once_that_is_known(
    models: ScriptedModels,
) -> None:
    cycle = approved(models, analysed(order_type="limit", limit_price=19990.0))
    orders.send(order_of(cycle))
    a_halt_comes_and_goes()
    assert not OutboxMessage.objects.filter(type="trade_cancel").exists()
    drive(cycle)
    assert order_of(cycle).status == OrderStatus.SENT
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert cancel.payload["client_order_id"] == order_of(cycle).client_order_id


def test_a_working_limit_order_is_withdrawn_when_trading_halts(models: ScriptedModels) -> None:
    order = _working(models)
    with transaction.atomic():
        payload = position_update_payload(later(1), equity="9600")
        positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert (cancel.payload["client_order_id"], cancel.payload["symbol"]) == (order.client_order_id, BTC)


def test_a_working_limit_order_past_its_expiry_is_withdrawn_once(models: ScriptedModels) -> None:
    order = _working(models)
    bar(later(10))
    resting = {
        "client_order_id": order.client_order_id, "order_id": "venue-1", "symbol": BTC, "pos_side": "long",
        "side": "buy", "size": "1.5", "filled_size": "0", "limit_price": "19990", "expires_at": None,
    }  # fmt: skip
    with transaction.atomic():
        payload = position_update_payload(later(10), open_orders=[resting])
        positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))
    sweeper.sweep()
    sweeper.sweep()
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert (cancel.payload["client_order_id"], cancel.payload["reason"]) == (order.client_order_id, "expired")


def test_a_working_limit_order_blocks_another_opening_until_it_ends(models: ScriptedModels) -> None:
    order = _working(models)
    world(later(5))
    assert drive(tick(later(5))).outcome == Outcome.INSTRUMENT_BLOCKED
    venue_says(order, "expired")
    world(later(10))
    assert drive(tick(later(10))).state == State.CONFIRMING


def _working(models: ScriptedModels) -> Order:
    cycle = drive(approved(models, analysed(order_type="limit", limit_price=19990.0)))
    venue_says(order_of(cycle), "accepted")
    return order_of(cycle)


def test_a_close_takes_what_the_venue_holds_where_it_holds_more_than_we_know(models: ScriptedModels) -> None:
    book(sent_order(size="2", cycle_changes={"slot_at": later(-60)}))
    models.will_say("analyze", left("CLOSE"))
    world(later(5), position_payload(size="5"))
    cycle = drive(tick(later(5)))
    order = order_of(cycle)
    assert (order.action, order.size, order.reduce_only) == ("CLOSE", Decimal(5), True)


def test_a_close_withdraws_what_is_still_to_come_of_the_opening(models: ScriptedModels) -> None:
    opening = sent_order(
        size="2", order_type="limit", limit_price=Decimal(19990), cycle_changes={"slot_at": later(-60)}
    )
    book(opening, status="partially_filled", fill_size="1", cumulative_size="1")
    models.will_say("analyze", left("CLOSE"))
    world(later(5), position_payload(size="1"))
    cycle = drive(tick(later(5)))
    assert order_of(cycle).action == "CLOSE"
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert cancel.payload["client_order_id"] == opening.client_order_id


def test_an_exit_does_not_wait_for_research(models: ScriptedModels) -> None:
    book(sent_order(size="2", cycle_changes={"slot_at": later(-60)}))
    models.will_say("analyze", left("CLOSE", research_request="Why did it fall?"))
    world(later(5), position_payload(size="2"))
    cycle = drive(tick(later(5)))
    assert (cycle.round, order_of(cycle).action) == (1, "CLOSE")
