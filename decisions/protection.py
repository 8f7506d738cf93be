"""No position stays without a stop: what the venue shows of our stops, and the end of a position whose stop is missing.

A stop is confirmed by the fill that brought it (`stop_confirmed`) or by a position update that shows it. While it is
not, the position has `PROTECTION_DEADLINE_SECONDS` of wall time, from the first fill that we booked of the order that
brought the stop, or from the moment the stop was seen to be gone. Then it is closed, whatever halt or cooldown stands.

What of an entry may still fill is withdrawn first, so that nothing fills behind the close: the close goes out when the
venue has answered, or another deadline later if it does not. What fills even so is met by the next round.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from decisions import alerts, closing, context, exposure, orders, outbox
from decisions.clock import is_ahead, now_for_record, older_than, wall_now, younger
from decisions.messages import Position, PositionUpdate
from decisions.models import Fill, Order, OrderKind, OrderStatus
from journal.models import Trade
from risk import services as risk
from risk.models import RiskState

STOP_LOST = "stop_lost"
LEFT = "None: a person decides what becomes of it"


def compare_stops(message: PositionUpdate) -> None:
    """Take in what an update shows of our stops: one at the trade's price or closer confirms; none at all, or a looser
    one, undoes an earlier confirmation and is told. An update as of a time before the last entry knows nothing of it.
    """
    for trade in Trade.objects.filter(closed_at__isnull=True):
        position = context.position_in(trade.symbol, message.positions)
        if position is None or (position.pos_side == "long") != (trade.direction == Trade.Direction.LONG):
            continue
        if not _knows_newest_entry(message, trade):
            continue
        if _protects(position, trade):
            _open(trade).filter(stop_confirmed_at__isnull=True).update(stop_confirmed_at=wall_now())
        elif trade.stop_confirmed_at is not None:
            _open(trade).update(stop_confirmed_at=None, stop_lost_at=wall_now())
            _tell_lost(trade, position)


def protect() -> None:
    """One round on its own: look, and only then take the lock."""
    if _overdue(wall_now()):
        with transaction.atomic():
            close_the_unprotected(risk.lock_state())


def close_the_unprotected(state: RiskState) -> None:
    """Close what has been without a confirmed stop for too long. Called under the account's lock."""
    for trade in _overdue(wall_now()):
        if not _is_ours(trade):
            _leave_to_a_person(trade)
        elif not (closing.exit_in_flight(trade.symbol) or _tried_lately(trade) or _still_filling(trade)):
            _close(state, trade)


def _deadline() -> timedelta:
    return timedelta(seconds=settings.PROTECTION_DEADLINE_SECONDS)


def _open(trade: Trade) -> QuerySet[Trade]:
    return Trade.objects.filter(pk=trade.pk, closed_at__isnull=True)


def _protects(position: Position, trade: Trade) -> bool:
    """Whether the stop that the venue shows risks no more than the trade's own, where that is known."""
    if position.stop_loss is None or trade.stop_loss is None:
        return position.stop_loss is not None
    if trade.direction == Trade.Direction.LONG:
        return position.stop_loss >= trade.stop_loss
    return position.stop_loss <= trade.stop_loss


def _overdue(now: datetime) -> list[Trade]:
    unconfirmed = Trade.objects.filter(closed_at__isnull=True, stop_confirmed_at__isnull=True).order_by("id")
    return [trade for trade in unconfirmed if older_than(_unprotected_since(trade, now), _deadline(), now)]


def _unprotected_since(trade: Trade, now: datetime) -> datetime:
    """Wall time. Further parts of the order that brought the stop put nothing off, and neither does a stamp from
    before the clock was set back."""
    entry = _newest_entry(trade)
    first = entry and entry.order_id and Fill.objects.filter(trade=trade, order_id=entry.order_id).earliest("id")
    filled = first or entry
    began = filled.created_at if filled else trade.created_at
    if trade.stop_lost_at is None:
        return began
    known = [stamp for stamp in (began, trade.stop_lost_at) if not is_ahead(stamp, now)]
    return max(known, default=began)


def _newest_entry(trade: Trade) -> Fill | None:
    return Fill.objects.filter(trade=trade, intent__in=("open", "add")).order_by("-id").first()


def _knows_newest_entry(message: PositionUpdate, trade: Trade) -> bool:
    entry = _newest_entry(trade)
    return entry is None or message.as_of >= entry.filled_at


def _about(trade: Trade) -> dict[str, str]:
    return {"trade": str(trade.trade_id)}


def _tell_lost(trade: Trade, position: Position) -> None:
    shown = "no stop" if position.stop_loss is None else f"a stop at {position.stop_loss.normalize():f}"
    before = f", {trade.stop_loss.normalize():f} was confirmed" if trade.stop_loss is not None else ""
    closed = f"Closed in {settings.PROTECTION_DEADLINE_SECONDS} s unless it comes back"
    outbox.record_alert(
        "WARN",
        STOP_LOST,
        f"The stop of {trade.symbol} is gone",
        f"The venue shows {shown} on the {position.pos_side}{before}",
        closed if _is_ours(trade) else LEFT,
        metadata=_about(trade),
    )


def _is_ours(trade: Trade) -> bool:
    return trade.origin == Trade.Origin.DECISION


def _leave_to_a_person(trade: Trade) -> None:
    alerts.record_once(
        "CRITICAL",
        "unprotected_not_ours",
        _about(trade),
        title=f"{trade.symbol} has no confirmed stop",
        detail=f"{trade} was not opened by us",
        action_taken=LEFT,
    )


def _tried_lately(trade: Trade) -> bool:
    """Whether the last attempt is too young to be followed by another."""
    attempts = Order.objects.filter(kind=OrderKind.PROTECTION, symbol=trade.symbol)
    return attempts.filter(younger("created_at", closing.pause(), wall_now())).exists()


def _still_filling(trade: Trade) -> bool:
    """Withdraw every entry of the instrument that may still fill. True while the venue's answer is waited for."""
    live = Order.objects.filter(symbol=trade.symbol, reduce_only=False, ended_at__isnull=True)
    for order in live:
        if orders.surely_unsent(order):
            orders.end(order, OrderStatus.EXPIRED, "the position it adds to has no stop and is being closed")
        elif order.cancel_asked_at is None:
            orders.withdraw(order, "the position has no confirmed stop and is being closed")
    return live.filter(younger("cancel_asked_at", _deadline(), wall_now())).exists()


def _close(state: RiskState, trade: Trade) -> None:
    position = next(each for each in exposure.positions(closing.reported()) if each.symbol == trade.symbol)
    reason = f"no confirmed stop within {settings.PROTECTION_DEADLINE_SECONDS} seconds"
    if closing.close(state, position, OrderKind.PROTECTION, reason, now_for_record()) is not None:
        outbox.record_alert(
            "CRITICAL",
            "protection",
            f"{trade.symbol} had no stop and is being closed",
            f"{trade}: {reason}",
            f"A reduce-only market order closes {position.size.normalize():f} contracts",
        )
