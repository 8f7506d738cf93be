"""An execution on its trade: which trade it belongs to, what it means there, and what does not fit.

Executions may be heard of in any order. What cannot be fitted yet is `OutOfTurn`: the one before it is on its way
still, or is found in a later position update. Only a last try books what the record cannot explain.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from django.db.models import QuerySet, Sum

from decisions import context, outbox
from decisions.clock import wall_now
from decisions.messages import MarketSnapshot, TradeFill
from decisions.models import Fill, MarketRecord, Order, OrderKind
from decisions.refusals import CannotBook, OutOfTurn
from journal import services as journal
from journal.cost_basis import Execution, last_exit
from journal.models import Trade

TOLERATED_DIFFERENCE_USD = Decimal("0.01")
"""An alert that the venue's messages give reason for goes out once in so much wall time for each instrument."""
DIRECTION: Mapping[str, Literal["LONG", "SHORT"]] = {"long": "LONG", "short": "SHORT"}
ENTRIES = ("open", "add")


def book(message: TradeFill, order: Order | None, *, last_try: bool) -> Trade:
    """Book what changed hands on the trade that it belongs to, and return that.

    Raises `OutOfTurn` for an execution that may fit later. On the last try an exit of more than is open is booked whole
    and closes the trade, so that the books have all of its money; what is not booked even then is an entry on the other
    side of an open trade, an opening beside one, and an exit of what is not open.
    """
    trade = context.open_trade_of(message.symbol)
    try:
        if message.intent in ENTRIES:
            return _enter(message, order, trade, last_try=last_try)
        return _leave(message, order, trade, last_try=last_try)
    except journal.ImpossibleExecution as error:
        raise OutOfTurn(str(error)) from error


# --- entries ----------------------------------------------------------------------------------------------------------


def _enter(message: TradeFill, order: Order | None, open_trade: Trade | None, *, last_try: bool) -> Trade:
    execution, plan = _execution(message, order), _plan(message, order)
    trade = _entered(message, order)
    if trade is None and open_trade is None and message.intent == "add":
        trade = _given_up(message)
    if trade is None:
        if open_trade is not None:
            return journal.open_ended_trade(execution, plan, _end_of_round_trip(message, order, open_trade))
        if message.intent == "add" and order is not None and not last_try:
            raise OutOfTurn(f"an addition to {message.symbol}, of which nothing is open in the record")
        return journal.open_trade(execution, plan)
    opens = message.intent == "open" and order is not None and trade.decision_id != order.decision_id
    bearing = _bearing(order, trade, opens)
    return journal.enlarge_trade(trade, execution, plan, bearing, _earlier(trade), _indicators(message))


def _entered(message: TradeFill, order: Order | None) -> Trade | None:
    """The trade that an entry is part of, if there is one: its order's, the one of its time, or one that an addition
    had to begin because what was entered before it was not heard of."""
    if order is not None and order.trade is not None and _lasted_until(order.trade, message):
        return order.trade
    same_side = Trade.objects.filter(symbol=message.symbol, direction=DIRECTION[message.pos_side])
    if order is None or message.intent == "add":
        of_its_time = same_side.filter(opened_at__lte=message.filled_at).order_by("-opened_at", "-id").first()
        if of_its_time is not None and _lasted_until(of_its_time, message):
            return of_its_time
    later = Trade.objects.filter(symbol=message.symbol, opened_at__gte=message.filled_at)
    next_one = later.order_by("opened_at", "id").first()
    if next_one is None or next_one.direction != DIRECTION[message.pos_side]:
        return None
    return next_one if _begun_by_addition(next_one) else None


def _given_up(message: TradeFill) -> Trade | None:
    """The trade that was closed because the venue showed no position of it, if there is one, opened again: what was
    added to was there all the time."""
    trade = journal.closed_unknown(message.symbol, DIRECTION[message.pos_side])
    if trade is None or message.filled_at < trade.opened_at:
        return None
    journal.reopen_trade(trade, trade.size - exited(trade))
    outbox.record_alert(
        "WARN",
        "reconciliation_reopened",
        f"The position of {message.symbol} is there after all",
        f"fill {message.fill_id} adds to it",
        f"Trade {trade.pk} is open again",
    )
    return trade


def exited(trade: Trade) -> Decimal:
    """The contracts of a trade whose exit is booked."""
    return _contracts(Fill.objects.filter(trade=trade, price__isnull=False).exclude(intent__in=ENTRIES))


def _contracts(executed: QuerySet[Fill]) -> Decimal:
    return executed.aggregate(contracts=Sum("size"))["contracts"] or Decimal(0)


def _lasted_until(trade: Trade, message: TradeFill) -> bool:
    """Whether the trade was not over yet when the entry was executed. One that seems to be closed by a reduction was
    not: something was left, which we have not heard of."""
    if trade.closed_at is None or message.filled_at <= trade.closed_at:
        return True
    last = last_exit(_executed(trade)) if message.intent == "add" else None
    return last is not None and not last.final


def _end_of_round_trip(message: TradeFill, order: Order | None, open_trade: Trade) -> datetime:
    """When the position ended that an order of ours opened, and that was over before another one was: by then as much
    had left by the executions that wait as had entered. Raises `OutOfTurn` where they do not tell of such a one."""
    waiting = Fill.objects.filter(
        waiting__isnull=False, symbol=message.symbol, pos_side=message.pos_side,
        filled_at__gte=message.filled_at, filled_at__lte=open_trade.opened_at,
    ).exclude(fill_id=message.fill_id)  # fmt: skip
    exits = waiting.exclude(intent__in=ENTRIES)
    last = exits.filter(intent="close").order_by("-filled_at").first()
    entered, left = _contracts(waiting.filter(intent__in=ENTRIES)), _contracts(exits)
    ours = order is not None and message.intent == "open"
    if ours and last is not None and left == entered + (message.fill_size or 0):
        return last.filled_at
    direction = DIRECTION[message.pos_side]
    raise OutOfTurn(f"an entry {direction} while {open_trade} is open, of which it is no part")


def _begun_by_addition(trade: Trade) -> bool:
    """Whether nothing but additions made the trade; a position that was adopted was there before them."""
    entries = Fill.objects.filter(trade=trade, intent__in=ENTRIES, price__isnull=False)
    return _contracts(entries) == trade.size and not entries.filter(intent="open").exists()


def _bearing(order: Order | None, trade: Trade, opens: bool) -> journal.Bearing:
    if order is None:
        return journal.Bearing(opens=False, protects=True, first=True)
    younger = Order.objects.filter(trade=trade, reduce_only=False, pk__gt=order.pk)
    return journal.Bearing(opens=opens, protects=not younger.exists(), first=order.trade_id != trade.pk)


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


# --- exits ------------------------------------------------------------------------------------------------------------


def _leave(message: TradeFill, order: Order | None, trade: Trade | None, *, last_try: bool) -> Trade:
    if trade is None or trade.direction != DIRECTION[message.pos_side] or message.filled_at < trade.opened_at:
        trade = journal.closed_unknown(message.symbol, DIRECTION[message.pos_side], at=message.filled_at)
    if trade is None or message.filled_at < trade.opened_at:
        raise OutOfTurn(f"an exit of {message.symbol} {message.pos_side}, which is not open in the record")
    execution = _execution(message, order)
    open_size, overshoots = trade.open_size, trade.status == Trade.Status.OPEN and execution.size > trade.open_size
    difference = journal.shrink_trade(trade, execution, _executed(trade), _indicators(message), as_it_stands=last_try)
    if overshoots:
        _tell_overshoot(message, open_size)
    if difference > TOLERATED_DIFFERENCE_USD:
        _tell_difference(message, difference)
    return trade


def _tell_overshoot(message: TradeFill, open_size: Decimal) -> None:
    closed = f"{message.fill_size} contracts were closed, {open_size.normalize():f} were open in the record"
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "CRITICAL",
        "overshoot",
        title=f"More of {message.symbol} was closed than was open",
        detail=f"fill {message.fill_id}: {closed}",
        action_taken="The trade is closed with the whole P&L; what the venue holds is reconciled",
        about={"symbol": message.symbol},
    )


def _tell_difference(message: TradeFill, difference: Decimal) -> None:
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "WARN",
        "pnl_difference",
        title=f"P&L of {message.symbol} differs from ours by {difference} USD",
        detail=f"fill {message.fill_id}: the venue says {message.pnl_usd}",
        action_taken="The venue's figure is booked",
        about={"symbol": message.symbol},
    )


# --- as the journal reads it ------------------------------------------------------------------------------------------


def _execution(message: TradeFill, order: Order | None) -> Execution:
    execution = _as_told(message, order, message.fill_price, message.fill_size)
    if execution is None:
        raise CannotBook("an execution without its figures")
    return execution


def _as_told(
    told: TradeFill | Fill, order: Order | None, price: Decimal | None, size: Decimal | None
) -> Execution | None:
    """An execution by the message, or by the row that was kept of it; None where no contracts changed hands."""
    if price is None or size is None or told.fee_usd is None:
        return None
    return Execution(
        fill_id=told.fill_id,
        symbol=told.symbol,
        direction=DIRECTION[told.pos_side],
        price=price,
        size=size,
        fee_usd=told.fee_usd,
        pnl_usd=None if told.intent in ENTRIES else told.pnl_usd,
        at=told.filled_at,
        exit_reason=_exit_reason(told.exit_reason, order),
        final=told.intent == "close",
    )


def _exit_reason(told: str | None, order: Order | None) -> str:
    """Why contracts left, as the trade has it. To the venue every exit that we send is a signal; one that no decision
    asked for, but a person or the protection, is `manual`."""
    if order is not None and order.kind != OrderKind.DECISION and told in (None, "", "signal"):
        return "manual"
    return told or ""


def _earlier(trade: Trade) -> list[Execution]:
    """The executions that bear on another entry: without exits there are none."""
    return _executed(trade) if trade.exit_value or trade.status == Trade.Status.CLOSED else []


def _executed(trade: Trade) -> list[Execution]:
    """The executions that are booked on a trade, as we heard of them."""
    booked = Fill.objects.filter(trade=trade).select_related("order").order_by("id")
    executions = (_as_told(fill, fill.order, fill.price, fill.size) for fill in booked)
    return [each for each in executions if each is not None]


def _indicators(message: TradeFill) -> journal.Indicators:
    def of_the_time(at: datetime) -> dict[str, Any] | None:
        known = MarketRecord.objects.filter(symbol=message.symbol, at__lte=at).order_by("-at").first()
        return None if known is None else known.payload["indicators"]

    return of_the_time
