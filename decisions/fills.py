"""What the venue says of orders and positions, booked once.

Each function runs in the transaction that also notes the message in the inbox, under the account's lock. A fill that
was booked before, whatever message brings it, changes nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from decisions import context, cycles, orders, outbox
from decisions.clock import wall_now
from decisions.messages import FundingPayment as FundingMessage
from decisions.messages import MarketSnapshot, TradeFill
from decisions.models import Fill, FundingPayment, Order, OrderKind, OrderStatus, Outcome
from decisions.notices import publish
from decisions.refusals import AlreadyBooked, CannotBook, OutOfTurn, refuse_future
from journal import services as journal
from journal.models import Trade
from risk import services as risk

TOLERATED_DIFFERENCE_USD = Decimal("0.01")

DIRECTION: Mapping[str, Literal["LONG", "SHORT"]] = {"long": "LONG", "short": "SHORT"}

RANK = {
    OrderStatus.PENDING: 0,
    OrderStatus.SENT: 1,
    OrderStatus.UNKNOWN: 1,
    OrderStatus.ACCEPTED: 2,
    OrderStatus.PARTIALLY_FILLED: 3,
    OrderStatus.REJECTED: 4,
    OrderStatus.EXPIRED: 4,
    OrderStatus.CANCELLED: 4,
    OrderStatus.FILLED: 5,
}
"""An order's status only rises, however its messages are reordered."""


def book_fill(message: TradeFill) -> None:
    """Book one `trade_fill`: on the trade what changed hands, on the order and its cycle what became of them.

    Raises `AlreadyBooked`, `CannotBook`, and `OutOfTurn` for an execution that may fit later.
    """
    message = message.model_copy(
        update={"fee_usd": _cash_flow(message.fee_usd), "pnl_usd": _cash_flow(message.pnl_usd)}
    )
    refuse_future("fill", message.filled_at)
    state = risk.lock_state()
    if Fill.objects.filter(fill_id=message.fill_id).exists():
        raise AlreadyBooked(f"fill {message.fill_id} is booked already")
    order = _order_of(message)
    trade = _book_execution(message, order) if message.executed else None
    _keep(message, order, trade)
    if order is not None:
        _update_order(order, message, trade)
    elif message.decision_id is not None:
        outbox.record_alert(
            "WARN",
            "unknown_order",
            f"{message.status} for an order we do not know",
            f"client order id {message.client_order_id} on {message.symbol}",
            "Kept; it is booked on the open trade where there is one",
        )
    if trade is not None and trade.status == Trade.Status.CLOSED:
        publish(risk.on_trade_closed(state))


def _order_of(message: TradeFill) -> Order | None:
    """The order that a fill is about, None for an exit of the venue's own or an order that is not ours."""
    if message.client_order_id is None:
        return None
    order = Order.objects.select_related("cycle").filter(client_order_id=message.client_order_id).first()
    if order is None:
        return None
    told = (message.symbol, message.pos_side, message.intent in ("reduce", "close"))
    if told != (order.symbol, order.pos_side, order.reduce_only):
        raise CannotBook(
            f"a fill of {message.symbol} {message.pos_side} to {message.intent} for order {order.client_order_id}, "
            f"{order.action} {order.symbol} {order.pos_side}"
        )
    return order


def _book_execution(message: TradeFill, order: Order | None) -> Trade:
    trade = context.open_trade_of(message.symbol)
    try:
        if message.intent in ("open", "add"):
            return _enter(message, order, trade)
        return _leave(message, order, trade)
    except journal.ImpossibleExecution as error:
        raise OutOfTurn(str(error)) from error


def _cash_flow(amount: Decimal | None) -> Decimal | None:
    """A cash flow as the books have it: quantised here, once, so that every sum is exact from here."""
    return None if amount is None else amount.quantize(journal.MONEY_STEP)


def _execution(message: TradeFill, exit_reason: str = "") -> journal.Execution:
    if message.fill_price is None or message.fill_size is None or message.fee_usd is None:
        raise CannotBook("an execution without its figures")
    return journal.Execution(
        symbol=message.symbol,
        direction=DIRECTION[message.pos_side],
        price=message.fill_price,
        size=message.fill_size,
        fee_usd=message.fee_usd,
        pnl_usd=message.pnl_usd,
        at=message.filled_at,
        exit_reason=exit_reason,
    )


def _exit_reason(message: TradeFill, order: Order | None) -> str:
    """Why contracts left, as the trade has it. To the venue every exit that we send is a signal; one that no decision
    asked for, but a person or the protection, is `manual`."""
    if order is not None and order.kind != OrderKind.DECISION and message.exit_reason in (None, "signal"):
        return "manual"
    return message.exit_reason or ""


def _enter(message: TradeFill, order: Order | None, trade: Trade | None) -> Trade:
    execution, plan = _execution(message), _plan(message, order)
    if trade is None:
        return journal.open_trade(execution, plan)
    if trade.direction != execution.direction:
        raise OutOfTurn(f"an entry {execution.direction} while {trade} is open")
    if message.intent == "open" and order is not None and trade.decision_id != order.decision_id:
        raise OutOfTurn(f"an opening while {trade} is open")
    begins_an_addition = order is None or (trade.decision_id != order.decision_id and order.filled_size == 0)
    return journal.enlarge_trade(trade, execution, plan, new_stop=begins_an_addition)


def _leave(message: TradeFill, order: Order | None, trade: Trade | None) -> Trade:
    execution = _execution(message, _exit_reason(message, order))
    if trade is None or trade.direction != execution.direction:
        raise OutOfTurn(f"an exit of {message.symbol} {message.pos_side}, which is not open in the record")
    difference = journal.shrink_trade(trade, execution, _indicators_now(message.symbol))
    if difference > TOLERATED_DIFFERENCE_USD:
        outbox.record_alert(
            "WARN",
            "pnl_difference",
            f"P&L of {message.symbol} differs from ours by {difference} USD",
            f"fill {message.fill_id}: the venue says {message.pnl_usd}",
            "The venue's figure is booked",
        )
    return trade


def _plan(message: TradeFill, order: Order | None) -> journal.EntryPlan:
    """Why the position was entered: from the order's cycle, or almost nothing for an entry that was not ours."""
    confirmed = wall_now() if message.stop_confirmed else None
    if order is None or order.cycle is None or order.cycle.decision is None or order.cycle.snapshot is None:
        return journal.EntryPlan(
            ct_val=_ct_val(message.symbol),
            stop_loss=None,
            take_profit=None,
            origin=Trade.Origin.RECONCILED,
            stop_confirmed_at=confirmed,
        )
    cycle, decision, snapshot = order.cycle, order.cycle.decision, order.cycle.snapshot
    return journal.EntryPlan(
        ct_val=Decimal(snapshot["instrument"]["ct_val"]),
        stop_loss=order.stop_loss,
        take_profit=order.take_profit,
        leverage=order.leverage,
        size_pct=order.size_pct and order.size_pct.quantize(Decimal("0.0001")),
        decision_id=order.decision_id,
        playbook_version=cycle.playbook_version,
        strategy_used=decision["strategy_used"],
        confidence=Decimal(str(decision["confidence"])).quantize(Decimal("0.001")),
        market_regime=snapshot["regime"] or "",
        reasoning=decision["reasoning"],
        indicators=snapshot["indicators"],
        research=cycle.research,
        venue_order_id=message.order_id or "",
        stop_confirmed_at=confirmed,
    )


def _ct_val(symbol: str) -> Decimal:
    record = context.newest_snapshot(symbol)
    if record is None:
        raise CannotBook(f"contract terms of {symbol} are not known: no snapshot has come in")
    return MarketSnapshot.model_validate(record.payload).instrument.ct_val


def _indicators_now(symbol: str) -> dict[str, Any] | None:
    record = context.newest_snapshot(symbol)
    return None if record is None else record.payload["indicators"]


def _keep(message: TradeFill, order: Order | None, trade: Trade | None) -> None:
    Fill.objects.create(
        fill_id=message.fill_id,
        order=order,
        trade=trade,
        client_order_id=message.client_order_id or "",
        venue_order_id=message.order_id or "",
        algo_id=message.algo_id or "",
        symbol=message.symbol,
        pos_side=message.pos_side,
        side=message.side,
        intent=message.intent,
        status=message.status,
        price=message.fill_price,
        size=message.fill_size,
        fee_usd=message.fee_usd,
        pnl_usd=message.pnl_usd,
        cumulative_size=message.cumulative_size,
        exit_reason=message.exit_reason or "",
        reject_reason=message.reject_reason or "",
        filled_at=message.filled_at,
    )


# --- the order and its cycle ------------------------------------------------------------------------------------------


def _update_order(order: Order, message: TradeFill, trade: Trade | None) -> None:
    status = OrderStatus(message.status)
    if RANK[status] > RANK[OrderStatus(order.status)]:
        order.status = status
    order.filled_size = max(order.filled_size, message.cumulative_size or Decimal(0))
    order.venue_order_id = order.venue_order_id or message.order_id or ""
    order.reason = message.reject_reason or order.reason
    order.trade = trade or order.trade
    order.sent_at = order.sent_at or wall_now()  # the venue was quicker than the note of the sending
    if order.status in orders.ENDED and order.ended_at is None:
        order.ended_at = wall_now()
    order.save(update_fields=["status", "filled_size", "venue_order_id", "reason", "trade", "sent_at", "ended_at"])
    _end_cycle(order, status, message.reject_reason or "")


def _end_cycle(order: Order, status: OrderStatus, reason: str) -> None:
    filled = f"{order.filled_size.normalize():f} of {order.size.normalize():f} contracts"
    traded = (Outcome.TRADED, f"{order.action} filled: {filled}")
    unfilled = {
        OrderStatus.REJECTED: (Outcome.ORDER_REJECTED, f"the venue refused: {reason}"),
        OrderStatus.EXPIRED: (Outcome.ORDER_EXPIRED, reason or "the order expired unfilled"),
        OrderStatus.CANCELLED: (Outcome.ORDER_CANCELLED, reason or "the order was cancelled"),
    }
    if status == OrderStatus.FILLED or (status in unfilled and order.filled_size > 0):
        cycles.end_by_order(order.decision_id, *traded)
    elif status in unfilled:
        cycles.end_by_order(order.decision_id, *unfilled[status])
    elif order.order_type == "limit":
        cycles.end_by_order(order.decision_id, Outcome.ORDER_WORKING, "the limit order rests at the venue")


def book_funding(message: FundingMessage) -> None:
    """Book one `funding_payment` on the open trade, or on the last closed one for a payment that came late."""
    refuse_future("funding payment", message.paid_at)
    state = risk.lock_state()
    if FundingPayment.objects.filter(funding_id=message.funding_id).exists():
        raise AlreadyBooked(f"funding {message.funding_id} is booked already")
    amount_usd = message.amount_usd.quantize(journal.MONEY_STEP)
    trade = (
        Trade.objects.filter(
            symbol=message.symbol, direction=DIRECTION[message.pos_side], opened_at__lte=message.paid_at
        )
        .exclude(closed_at__lt=message.paid_at - timedelta(seconds=1))
        .order_by("-opened_at")
        .first()
    )
    FundingPayment.objects.create(
        funding_id=message.funding_id,
        trade=trade,
        symbol=message.symbol,
        pos_side=message.pos_side,
        amount_usd=amount_usd,
        rate=message.rate,
        paid_at=message.paid_at,
    )
    if trade is None:
        outbox.record_alert(
            "WARN",
            "funding_without_trade",
            f"Funding on {message.symbol} without a trade",
            f"{amount_usd} USD at {message.paid_at:%Y-%m-%d %H:%M}",
            "Kept; it is in the books",
        )
        return
    journal.book_funding(trade, amount_usd)
    if trade.status == Trade.Status.CLOSED:  # its result is another one now
        publish(risk.on_trade_closed(state))
