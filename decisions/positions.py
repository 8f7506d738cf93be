"""Position updates: the account's history, its risk at once, and what they reveal of orders and stops."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from decisions import fills, market_data, orders, outbox
from decisions.clock import wall_now
from decisions.messages import PositionUpdate, TradeFill
from decisions.models import Order, OrderStatus, PositionReport
from decisions.notices import publish
from journal.models import AccountUpdate, Trade
from risk import services as risk

REMINDER = timedelta(hours=1)


def take_in(message: PositionUpdate) -> None:
    """Keep the newest positions and judge the account. An update older than the newest changes nothing."""
    market_data.refuse_future("positions", message.as_of)
    state = risk.lock_state()
    newest = PositionReport.objects.filter(account=risk.ACCOUNT).first()
    if newest is not None and message.as_of < newest.as_of:
        return
    PositionReport.objects.update_or_create(
        account=risk.ACCOUNT,
        defaults={
            "as_of": message.as_of,
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
        orders.withdraw_working("trading was halted")
    _confirm_stops(message)
    _resolve_unanswered(message)


def _confirm_stops(message: PositionUpdate) -> None:
    """A stop that the venue shows on the position is confirmed."""
    stopped = [position.symbol for position in message.positions if position.stop_loss is not None]
    Trade.objects.filter(symbol__in=stopped, status=Trade.Status.OPEN, stop_confirmed_at__isnull=True).update(
        stop_confirmed_at=wall_now()
    )


def _resolve_unanswered(message: PositionUpdate) -> None:
    """What became of orders nobody knows about: booked from the recent fills, or expired when the venue has neither
    fill nor order and can execute them no more."""
    recent = [fill for fill in message.recent_fills if isinstance(fill, TradeFill)]
    resting = {order.client_order_id for order in message.open_orders}
    for order in Order.objects.filter(status=OrderStatus.UNKNOWN).select_related("cycle"):
        if told := [fill for fill in recent if fill.client_order_id == order.client_order_id]:
            for fill in told:
                _book_once(fill)
        elif order.client_order_id in resting:
            Order.objects.filter(pk=order.pk, status=OrderStatus.UNKNOWN).update(status=OrderStatus.ACCEPTED)
        elif order.expires_at <= _moment_of(message, order):
            orders.end(order, OrderStatus.EXPIRED, "the venue knows nothing of it, and it has expired")


def _moment_of(message: PositionUpdate, order: Order) -> datetime:
    """The moment that the update speaks of, by the clock that the order expires by."""
    market_clock = order.order_type == "limit" or not settings.SANDBOX
    return message.as_of if market_clock else wall_now()


def _book_once(fill: TradeFill) -> None:
    """Book a recent fill unless it is booked; one that contradicts the record must not cost us the whole update."""
    try:
        with transaction.atomic():
            fills.book_fill(fill)
    except fills.AlreadyBooked:
        return
    except fills.CannotBook as error:
        outbox.record_alert_at_most(
            REMINDER,
            "WARN",
            "recent_fill_refused",
            title=f"A recent fill of {fill.symbol} does not fit the record",
            detail=f"fill {fill.fill_id}: {error}",
            action_taken="Its order stays unknown",
        )
