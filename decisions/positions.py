"""Position updates: the account's history, its risk at once, and what they reveal of stops and orders."""

from datetime import datetime, timedelta

from django.db import transaction

from decisions import fills, orders, outbox, protection
from decisions.clock import wall_now
from decisions.messages import PositionUpdate, TradeFill
from decisions.models import Order, OrderStatus, PositionReport
from decisions.notices import publish
from decisions.refusals import AlreadyBooked, CannotBook, refuse_future
from journal.models import AccountUpdate
from risk import services as risk

REMINDER = timedelta(hours=1)


def take_in(message: PositionUpdate, told_at: datetime) -> None:
    """Keep the newest positions and judge the account. An update older than the newest changes nothing.

    `told_at` is when the venue sent it: of two updates as of the same bar, the later told is the newer.
    """
    refuse_future("positions", message.as_of)
    state = risk.lock_state()
    newest = PositionReport.objects.filter(account=risk.ACCOUNT).first()
    if newest is not None and (message.as_of, told_at) < (newest.as_of, newest.told_at):
        return
    PositionReport.objects.update_or_create(
        account=risk.ACCOUNT,
        defaults={
            "as_of": message.as_of,
            "told_at": told_at,
            "payload": message.model_copy(update={"recent_fills": ()}).model_dump(mode="json"),
            "received_at": wall_now(),
        },
    )
    account = message.account
    AccountUpdate.objects.create(as_of=message.as_of, **dict(account))
    notices = risk.on_account_update(
        state, equity=account.equity, net_transfers=account.net_transfers_usd, as_of=message.as_of
    )
    publish(notices)
    if any(notice.severity == "CRITICAL" for notice in notices):
        orders.withdraw_openings("trading was halted")
    protection.compare_stops(message)
    _resolve_unanswered(message, told_at)
    protection.close_the_unprotected(state)


def _resolve_unanswered(message: PositionUpdate, told_at: datetime) -> None:
    """What became of orders nobody knows about: booked from the recent fills, or expired when the venue has neither
    fill nor order and can execute them no more."""
    recent = [fill for fill in message.recent_fills if isinstance(fill, TradeFill)]
    resting = {order.client_order_id for order in message.open_orders}
    for order in Order.objects.filter(status=OrderStatus.UNKNOWN).select_related("cycle"):
        if told := [fill for fill in recent if fill.client_order_id == order.client_order_id]:
            for fill in told:
                _book_once(fill)
        elif order.client_order_id in resting:
            if order.order_type == "limit":
                Order.objects.filter(pk=order.pk, status=OrderStatus.UNKNOWN).update(status=OrderStatus.ACCEPTED)
        elif order.expires_at <= (message.as_of if order.order_type == "limit" else told_at):
            orders.end(order, OrderStatus.EXPIRED, "the venue knows nothing of it, and it has expired")


def _book_once(fill: TradeFill) -> None:
    """Book a recent fill unless it is booked; one that contradicts the record must not cost us the whole update."""
    try:
        with transaction.atomic():
            fills.book_fill(fill)
    except AlreadyBooked:
        return
    except CannotBook as error:
        outbox.record_alert_at_most(
            REMINDER,
            "WARN",
            "recent_fill_refused",
            title=f"A recent fill of {fill.symbol} does not fit the record",
            detail=f"fill {fill.fill_id}: {error}",
            action_taken="Its order stays unknown",
        )
