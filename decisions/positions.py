"""Position updates: the account's history, its risk at once, and what they reveal of fills, orders and stops."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings

from decisions import orders, protection, recent_fills
from decisions.clock import is_ahead, wall_now
from decisions.messages import OpenOrder, PositionUpdate, Recent, TradeFill
from decisions.models import Order, OrderStatus, OrderTransition, PositionReport
from decisions.notices import publish
from decisions.refusals import refuse_future
from journal.models import AccountUpdate
from risk import services as risk
from risk.models import RiskState

NOT_THERE = "the venue knows nothing of it, and it has expired"


def take_in(message: PositionUpdate, told_at: datetime) -> None:
    """Keep the newest positions, judge the account, and book what we have missed. An update older than the newest
    changes nothing.

    `told_at` is when the venue sent it: of two updates as of the same bar, the later told is the newer.
    """
    refuse_future("positions", message.as_of)
    state = risk.lock_state()
    newest = PositionReport.objects.filter(account=risk.ACCOUNT).defer("payload", "recent_fills").first()
    if newest is not None and _is_older(message, told_at, newest):
        return
    everything = message.model_dump(mode="json")
    PositionReport.objects.update_or_create(
        account=risk.ACCOUNT,
        defaults={
            "as_of": message.as_of,
            "told_at": told_at,
            "payload": {**everything, "recent_fills": []},
            "recent_fills": everything["recent_fills"],
            "received_at": wall_now(),
        },
    )
    _judge_account(state, message)
    recent_fills.tell_unreadable(message)
    refused = recent_fills.book(recent_fills.not_booked(message.recent_fills))
    protection.compare_stops(message)
    _resolve_orders(message, min(told_at, wall_now()), refused)  # its clock makes its word no newer than it is
    protection.close_the_unprotected(state)


def _is_older(message: PositionUpdate, told_at: datetime, newest: PositionReport) -> bool:
    """Whether we have a newer one. A stamp from before the wall clock was set back tells nothing."""
    if message.as_of != newest.as_of:
        return message.as_of < newest.as_of and not _from_before_the_step(newest.as_of)
    return told_at < newest.told_at and not is_ahead(newest.told_at, wall_now())


def _from_before_the_step(as_of: datetime | None) -> bool:
    """Whether an account's time lies ahead because the wall clock was set back since. The sandbox's market clock is
    nobody's to set."""
    return as_of is not None and not settings.SANDBOX and is_ahead(as_of, wall_now())


def _judge_account(state: RiskState, message: PositionUpdate) -> None:
    account = message.account
    AccountUpdate.objects.create(as_of=message.as_of, **dict(account))
    notices = risk.on_account_update(
        state,
        equity=account.equity,
        net_transfers=account.net_transfers_usd,
        as_of=message.as_of,
        clock_set_back=_from_before_the_step(state.equity_at),
    )
    publish(notices)
    if any(notice.severity == "CRITICAL" for notice in notices):
        orders.withdraw_openings("trading was halted")


# --- orders in flight -------------------------------------------------------------------------------------------------


def _resolve_orders(message: PositionUpdate, told_at: datetime, refused: Collection[Recent]) -> None:
    """What became of orders whose answer was lost: working when the venue lists them, over when it has neither order
    nor unbooked fill and can execute them no more. An order that was just sent is left to its answer."""
    resting = {order.client_order_id: order for order in message.open_orders}
    unclear = {fill.client_order_id for fill in refused if isinstance(fill, TradeFill)}
    for order in Order.objects.filter(ended_at__isnull=True).order_by("id"):
        if order.client_order_id in resting:
            _rests(order, resting[order.client_order_id])
        elif order.client_order_id not in unclear and _is_over(order, message.as_of, told_at):
            orders.end(order, OrderStatus.EXPIRED, NOT_THERE)


def _rests(order: Order, resting: OpenOrder) -> None:
    if order.order_type != "limit" or order.status in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED):
        return
    working = OrderStatus.PARTIALLY_FILLED if order.filled_size > 0 else OrderStatus.ACCEPTED
    known = {"sent_at": order.sent_at or wall_now(), "venue_order_id": order.venue_order_id or resting.order_id}
    orders.move(order, working, cause="the venue lists it among the open orders", **known)


def _is_over(order: Order, as_of: datetime, told_at: datetime) -> bool:
    """Whether an order that the venue does not list can be executed no more."""
    if order.order_type == "limit":
        never_ended = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
        if order.status == OrderStatus.UNKNOWN:
            return order.expires_at <= as_of
        return order.status in never_ended and order.expires_at < as_of
    return order.status == OrderStatus.UNKNOWN and (order.expires_at <= told_at or _long_unknown(order, told_at))


def _long_unknown(order: Order, told_at: datetime) -> bool:
    """Whether a market order has been unknown for as long as it could live: its own stamps, and the one of this, may be
    from before the wall clock was set back."""
    declared = OrderTransition.objects.filter(order=order, to_status=OrderStatus.UNKNOWN).order_by("-id").first()
    if declared is None:
        return False
    life = timedelta(seconds=settings.ORDER_TTL_MARKET_SECONDS)
    return told_at - declared.at >= life or is_ahead(declared.at, wall_now())
