"""What the venue says of orders and executions, booked once.

Each function runs in a transaction, under the account's lock; the consumer's also notes the message in the inbox. A
fill that was booked before, whatever message brings it, changes nothing.

Nothing that changed hands is lost: an execution that names an order we have no row of, or that fits no position on its
last try, is kept whole and waits. `settle_waiting` books it when its order or the execution before it has come.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from decisions import alerts, attribution, executions, funding, orders, outbox
from decisions.booked import ENTRIES
from decisions.clock import older_than, wall_now
from decisions.messages import TradeFill
from decisions.models import Fill, Order, OrderStatus
from decisions.notices import publish
from decisions.refusals import UNUSABLE, AlreadyBooked, CannotBook, OutOfTurn, refuse_future
from journal import services as journal
from journal.models import Trade
from orchestrator_project.logs import also
from risk import services as risk
from risk.models import RiskState

LONGEST_WAIT = timedelta(days=1)
"""Wall time after which an execution that fits nowhere is given up: by then the position updates have told all that
there was to tell besides."""


def book_fill(message: TradeFill, *, last_try: bool = False) -> None:
    """Book one `trade_fill`: on the trade what changed hands, on the order and its cycle what became of them.

    Raises `AlreadyBooked` for a fill that was booked before, `CannotBook` for one that contradicts the record, and
    `OutOfTurn` for an execution that may fit later. On the `last_try` that is kept instead, and waits.
    """
    message = _quantised(message)
    refuse_future("fill", message.filled_at)
    state = risk.lock_state()
    _refuse_repetition(message)
    order = _order_of(message)
    if order is None and message.executed and _names_an_order(message):
        _keep(message, None, None, waits=True)
        return
    trade, waits = None, False
    try:
        trade = executions.book(state, message, order, last_try=last_try) if message.executed else None
    except OutOfTurn as error:
        if not last_try:
            raise
        waits = True
        _tell_out_of_turn(message, error)
    also(trade=None if trade is None else trade.pk)
    _keep(message, order, trade, waits=waits)
    if order is None and message.decision_id is not None:
        _tell_unknown_order("WARN", message, "Kept; it is about no order of ours")
    _conclude(state, message, order, trade)


def _quantised(message: TradeFill) -> TradeFill:
    """Cash flows as the books have them: quantised here, once, so that every sum is exact from here."""
    return message.model_copy(update={"fee_usd": _cash_flow(message.fee_usd), "pnl_usd": _cash_flow(message.pnl_usd)})


def _cash_flow(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else amount.quantize(journal.MONEY_STEP)


def _order_of(message: TradeFill) -> Order | None:
    """The order that a fill is about, None for an exit of the venue's own or an order that is not ours."""
    if message.client_order_id is None:
        return None
    order = attribution.with_trade(Order.objects.filter(client_order_id=message.client_order_id)).first()
    if order is None:
        return None
    told = (message.symbol, message.pos_side, message.intent in ("reduce", "close"))
    if told != (order.symbol, order.pos_side, order.reduce_only):
        raise CannotBook(
            f"a fill of {message.symbol} {message.pos_side} to {message.intent} for order {order.client_order_id}, "
            f"{order.action} {order.symbol} {order.pos_side}"
        )
    return order


def _names_an_order(message: TradeFill) -> bool:
    return message.decision_id is not None and message.client_order_id is not None


def _conclude(state: RiskState, message: TradeFill, order: Order | None, trade: Trade | None) -> None:
    """What follows from a fill for its order, whose cycle ends with it, and for the count of losses."""
    if order is not None:
        _tell_overfilled(order, message)
        _update_order(order, message, trade)
    if trade is not None and message.intent in ENTRIES:
        funding.take_in(trade)
    if trade is not None and trade.status == Trade.Status.CLOSED:
        funding.give_back(trade)
    if trade is not None and (trade.status == Trade.Status.CLOSED or _may_have_reopened(message, trade)):
        publish(risk.on_trade_closed(state))


def _may_have_reopened(message: TradeFill, trade: Trade) -> bool:
    return message.intent in ENTRIES and trade.exit_value > 0


# --- the row ----------------------------------------------------------------------------------------------------------

FIGURES = (
    "client_order_id", "symbol", "pos_side", "side", "intent", "status", "price", "size", "fee_usd", "pnl_usd",
    "cumulative_size", "exit_reason", "filled_at",
)  # fmt: skip
"""What makes two messages of one fill id the same fill; the venue's other identifiers and texts may be told in some
messages only."""


def _row(message: TradeFill) -> dict[str, Any]:
    return {
        "client_order_id": message.client_order_id or "",
        "venue_order_id": message.order_id or "",
        "algo_id": message.algo_id or "",
        "symbol": message.symbol,
        "pos_side": message.pos_side,
        "side": message.side,
        "intent": message.intent,
        "status": message.status,
        "price": _stored(message.fill_price),
        "size": _stored(message.fill_size),
        "fee_usd": message.fee_usd,
        "pnl_usd": message.pnl_usd,
        "cumulative_size": _stored(message.cumulative_size),
        "exit_reason": message.exit_reason or "",
        "reject_reason": message.reject_reason or "",
        "filled_at": message.filled_at,
    }


def _stored(figure: Decimal | None) -> Decimal | None:
    """A price or size as the database keeps it."""
    return None if figure is None else figure.quantize(journal.PRICE_STEP)


def _keep(message: TradeFill, order: Order | None, trade: Trade | None, *, waits: bool) -> None:
    waiting = message.model_dump(mode="json") if waits else None
    Fill.objects.create(fill_id=message.fill_id, order=order, trade=trade, waiting=waiting, **_row(message))


def _refuse_repetition(message: TradeFill) -> None:
    known = Fill.objects.filter(fill_id=message.fill_id).first()
    if known is None:
        return
    told = _row(message)
    different = [f"{name} {getattr(known, name)}" for name in FIGURES if getattr(known, name) != told[name]]
    if different:
        raise CannotBook(f"fill {message.fill_id} came before with {', '.join(different)}")
    raise AlreadyBooked(f"fill {message.fill_id} is booked already")


# --- what waits -------------------------------------------------------------------------------------------------------


def settle_waiting(now: datetime) -> None:
    """Book the executions that were kept and whose time has come: their order has appeared, or what was missing before
    them. One of an order that does not appear within `CONFIRM_TIMEOUT_SECONDS` is booked as what the venue did by
    itself, and told. One that cannot be booked costs the others nothing, and is given up after `LONGEST_WAIT`. `now` is
    wall time. May run twice at once.
    """
    waiting = Fill.objects.filter(waiting__isnull=False).order_by("filled_at", "id")
    for fill_id in list(waiting.values_list("pk", flat=True)):
        try:
            with transaction.atomic():
                _settle(fill_id, now)
        except UNUSABLE as error:
            with transaction.atomic():
                _still_waits(fill_id, now, error)


def _settle(fill_id: int, now: datetime) -> None:
    state = risk.lock_state()
    fill = Fill.objects.filter(pk=fill_id, waiting__isnull=False).first()
    if fill is None:
        return  # somebody else was quicker
    message = TradeFill.model_validate(fill.waiting)
    overdue, order = _overdue(fill, now), _order_of(message)
    if order is None and _names_an_order(message) and not overdue:
        return
    trade = executions.book(state, message, order, last_try=overdue)
    Fill.objects.filter(pk=fill.pk).update(waiting=None, order=order, trade=trade)
    if order is None and _names_an_order(message):
        _tell_unknown_order("CRITICAL", message, "Booked as what the venue did by itself")
    _conclude(state, message, order, trade)


def _overdue(fill: Fill, now: datetime) -> bool:
    return older_than(fill.created_at, timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS), now)


def _still_waits(fill_id: int, now: datetime, error: Exception) -> None:
    """What could not be booked is told once it is overdue, and waits on, but not for ever."""
    risk.lock_state()
    fill = Fill.objects.filter(pk=fill_id, waiting__isnull=False).first()
    if fill is None or not _overdue(fill, now):
        return
    if now - fill.created_at <= LONGEST_WAIT:  # a stamp that lies ahead has not waited for so long
        _tell_out_of_turn(fill, error)
        return
    Fill.objects.filter(pk=fill.pk).update(waiting=None)
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "CRITICAL",
        "fill_given_up",
        title=f"An execution of {fill.symbol} never fitted the record",
        detail=f"fill {fill.fill_id}: {error}",
        action_taken="Its money is in the books, and on no trade",
        about={"symbol": fill.symbol},
    )


def _tell_out_of_turn(told: TradeFill | Fill, error: Exception) -> None:
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "CRITICAL",
        "out_of_turn",
        title=f"An execution of {told.symbol} does not fit the record",
        detail=f"fill {told.fill_id}: {error}",
        action_taken="Kept; it is booked as soon as it fits",
        about={"symbol": told.symbol},
    )


def _tell_unknown_order(severity: Literal["WARN", "CRITICAL"], message: TradeFill, action_taken: str) -> None:
    outbox.record_alert_at_most(
        outbox.REMINDER,
        severity,
        "unknown_order",
        title=f"{message.status} for an order we do not know",
        detail=f"client order id {message.client_order_id} on {message.symbol}",
        action_taken=action_taken,
        about={"symbol": message.symbol, "severity": severity},
    )


# --- the order --------------------------------------------------------------------------------------------------------


def _tell_overfilled(order: Order, message: TradeFill) -> None:
    """Tell of an order of which more was executed than it asked for. Called when the fill's row is there."""
    filled = message.cumulative_size or Decimal(0)
    if message.executed and order.filled_size > 0:
        filled = max(filled, Fill.objects.filter(order=order).aggregate(total=Sum("size"))["total"] or filled)
    if filled > order.size:
        alerts.record_once(
            "CRITICAL",
            "overfilled",
            {"order": order.client_order_id},
            title=f"More was executed than {order} asked for",
            detail=f"fill {message.fill_id}: {filled.normalize():f} of {order.size.normalize():f} contracts",
            action_taken="Booked: it has happened",
        )


def _update_order(order: Order, message: TradeFill, trade: Trade | None) -> None:
    fields = {
        "filled_size": max(order.filled_size, message.cumulative_size or Decimal(0)),
        "venue_order_id": order.venue_order_id or message.order_id or "",
        "reason": message.reject_reason or order.reason,
        "trade": trade or order.trade,
        "sent_at": order.sent_at or wall_now(),  # the venue was quicker than the note of the sending
    }
    if not orders.move(order, OrderStatus(message.status), cause=_cause(message), **fields):
        for name, value in fields.items():
            setattr(order, name, value)
        order.save(update_fields=list(fields))


def _cause(message: TradeFill) -> str:
    return f"fill {message.fill_id}: {message.reject_reason or message.status}"
