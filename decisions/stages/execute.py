"""Execute: check once more, under the account's lock, and put the order on the stream.

An order that may have gone out before Redis was emptied is not sent again: nobody knows what became of it.
"""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from decisions import context, cycles, orders
from decisions.models import DecisionCycle, Order, OrderStatus, Outcome, State
from decisions.stages.collect import staleness
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import also
from risk import services as risk

PRICE_BAND = Decimal("0.005")
"""How far the newest price may be from the judged one, as a fraction of it."""


@transaction.atomic
def execute(cycle: DecisionCycle, now: datetime) -> None:
    risk.lock_state()
    order = Order.objects.select_for_update().get(decision_id=cycle.decision_id)
    order.cycle = cycle
    also(order=order.client_order_id, trade=order.trade_id)
    if orders.surely_unsent(order):
        if reason := _too_late(order, now):
            cycles.finish(cycle, Outcome.ORDER_EXPIRED, reason)
            orders.end(order, OrderStatus.EXPIRED, reason)
            return
        reached("before_send")
        entry_id = orders.send(order)
        reached("order_on_stream")
        orders.mark_sent(order, entry_id)
        reached("sent_noted")
    if not orders.end_its_cycle(order):
        cycles.advance(cycle, State.CONFIRMING)


def _too_late(order: Order, now: datetime) -> str | None:
    """Why an order must not go out any more. An exit is only ever too late by its expiry."""
    if orders.expired(order, now):
        return f"expired at {order.expires_at:%H:%M:%S} before it was sent"
    if order.reduce_only:
        return None
    if halts := risk.standing_halts(now):
        return f"trading was halted before the order was sent: {halts[0].reason}"
    if order.cancel_asked_at is not None:
        return "the order was withdrawn before it was sent"
    if trouble := context.instrument_trouble(order.symbol):
        return trouble
    report, record = context.position_report(), context.newest_snapshot(order.symbol)
    if report is None or record is None:
        return "snapshot or positions are gone"
    return staleness(record.at, report.as_of, now) or _moved_away(order, record.price)


def _moved_away(order: Order, price: Decimal) -> str | None:
    if abs(price - order.judged_price) > PRICE_BAND * order.judged_price:
        return f"the price moved from {order.judged_price} to {price} since it was judged"
    bounds = [bound for bound in (order.stop_loss, order.take_profit) if bound is not None]
    if len(bounds) == 2 and not min(bounds) < price < max(bounds):
        return f"the price {price} is no longer between stop and target"
    return None
