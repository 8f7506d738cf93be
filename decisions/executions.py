"""An execution booked on its trade: what it means there, and what does not fit.

Executions may be heard of in any order. What cannot be fitted yet is `OutOfTurn`: the one before it is on its way
still, or is found in a later position update. Only a last try books what the record cannot explain.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from decisions import attribution, booked, context, outbox
from decisions.booked import DIRECTION, ENTRIES
from decisions.clock import wall_now
from decisions.messages import MarketSnapshot, TradeFill
from decisions.models import Fill, MarketRecord, Order
from decisions.notices import publish
from decisions.refusals import CannotBook, OutOfTurn
from journal import services as journal
from journal.cost_basis import Execution
from journal.models import Trade
from journal.playbook import strategy_name
from risk import services as risk
from risk.models import RiskState

TOLERATED_DIFFERENCE_USD = Decimal("0.01")


def book(state: RiskState, message: TradeFill, order: Order | None, *, last_try: bool) -> Trade:
    """Book what changed hands on the trade that it belongs to, and return that. Called under the account's lock.

    Raises `OutOfTurn` for an execution that may fit later. On the last try an exit of more than is open is booked whole
    and closes the trade, so that the books have all of its money; what is not booked even then is an entry on the other
    side of an open trade, an opening beside one, and an exit of what is not open.
    """
    try:
        if message.intent in ENTRIES:
            return _enter(state, message, order, last_try=last_try)
        return _leave(message, order, last_try=last_try)
    except journal.ImpossibleExecution as error:
        raise OutOfTurn(str(error)) from error


# --- entries ----------------------------------------------------------------------------------------------------------


def _enter(state: RiskState, message: TradeFill, order: Order | None, *, last_try: bool) -> Trade:
    trade = attribution.entered(message, order)
    if trade is not None and order is not None and _was_adopted_with(trade, message, order):
        journal.explain_entry(trade, _execution(message, order))
        return trade
    if trade is None:
        return _begin(state, message, order, last_try=last_try)
    return _enlarge(trade, message, order)


def _enlarge(trade: Trade, message: TradeFill, order: Order | None) -> Trade:
    bearing = _bearing(message, order, trade)
    plan = _plan(message, order) if bearing.opens else _protection(message, order, trade)
    execution, had_result = _execution(message, order), trade.pnl_usd is not None
    journal.enlarge_trade(trade, execution, plan, bearing, _earlier(trade), _indicators(message))
    if had_result and trade.status == Trade.Status.CLOSED and trade.pnl_usd is None:
        _tell_without_end(message, trade)
    return trade


def _begin(state: RiskState, message: TradeFill, order: Order | None, *, last_try: bool) -> Trade:
    """A trade of its own, unless it is the one that we had given up."""
    execution, plan = _execution(message, order), _plan(message, order)
    open_trade = context.open_trade_of(message.symbol)
    if open_trade is not None:
        return journal.open_ended_trade(execution, plan, _end_of_round_trip(message, order, open_trade))
    if message.intent != "add":
        return journal.open_trade(execution, plan)
    given_up = attribution.given_up(message, order)
    if given_up is not None:
        reopen(state, given_up, given_up.size - booked.exited(given_up), f"fill {message.fill_id} adds to it")
        return _enlarge(given_up, message, order)
    if order is not None and not last_try:
        raise OutOfTurn(f"an addition to {message.symbol}, of which nothing is open in the record")
    return journal.open_trade(execution, plan)


def _was_adopted_with(trade: Trade, message: TradeFill, order: Order) -> bool:
    """Whether an entry of an order of ours was executed before its position was adopted, and is in the adopted size:
    contracts of it are not explained yet, as many as the order had then."""
    if trade.origin != Trade.Origin.RECONCILED or order.trade_id != trade.pk:
        return False
    entries = booked.entries(trade)
    unexplained, of_the_order = trade.size - booked.contracts(entries), booked.contracts(entries.filter(order=order))
    size, so_far = message.fill_size or Decimal(0), message.cumulative_size or Decimal(0)
    return size <= unexplained and so_far <= unexplained + of_the_order


def _tell_without_end(message: TradeFill, trade: Trade) -> None:
    outbox.record_alert(
        "CRITICAL",
        "reconciliation_trade_without_position",
        f"An earlier position of {trade.symbol} was larger than its exits",
        f"fill {message.fill_id} entered {trade}, and another position has been opened since",
        f"The P&L of trade {trade.pk} is not known until the missing exit is heard of",
    )


def reopen(state: RiskState, trade: Trade, open_size: Decimal, told: str) -> str:
    """Open a trade again that was closed because the venue showed no position of it: it was there all the time.
    Returns what was done, in words. Called under the account's lock."""
    journal.reopen_trade(trade, open_size)
    publish(risk.on_trade_closed(state))  # its closing parted the losses before it from those after it
    done = f"trade {trade.pk} is open again"
    title = f"The position of {trade.symbol} is there after all"
    outbox.record_alert("WARN", "reconciliation_reopened", title, told, done.capitalize())
    return done


def _end_of_round_trip(message: TradeFill, order: Order | None, open_trade: Trade) -> datetime:
    """When the position ended that an order of ours opened, and that was over before another one was: by then as much
    had left by the executions that wait as had entered. Raises `OutOfTurn` where they do not tell of such a one."""
    waiting = Fill.objects.filter(
        waiting__isnull=False, symbol=message.symbol, pos_side=message.pos_side,
        filled_at__gte=message.filled_at, filled_at__lte=open_trade.opened_at,
    ).exclude(fill_id=message.fill_id)  # fmt: skip
    of_it = waiting.filter(pk__in=attribution.of_the_position(waiting, order))
    exits = of_it.exclude(intent__in=ENTRIES)
    last = exits.filter(intent="close").order_by("-filled_at").first()
    entered, left = booked.contracts(of_it.filter(intent__in=ENTRIES)), booked.contracts(exits)
    ours = order is not None and message.intent == "open"
    if ours and last is not None and left == entered + (message.fill_size or 0):
        return last.filled_at
    direction = DIRECTION[message.pos_side]
    raise OutOfTurn(f"an entry {direction} while {open_trade} is open, of which it is no part")


def _bearing(message: TradeFill, order: Order | None, trade: Trade) -> journal.Bearing:
    if order is None:
        return journal.Bearing(opens=False, protects=True, first=True)
    first = order.trade_id != trade.pk
    brings = first or message.stop_confirmed is True  # else the entry says nothing of a stop
    younger = Order.objects.filter(trade=trade, reduce_only=False, pk__gt=order.pk)
    return journal.Bearing(
        opens=first and message.intent == "open", protects=brings and not younger.exists(), first=first
    )


def _protection(message: TradeFill, order: Order | None, trade: Trade) -> journal.EntryPlan:
    """What a further entry brings to a trade besides its contracts."""
    return journal.EntryPlan(
        ct_val=trade.ct_val,
        stop_loss=None if order is None else order.stop_loss,
        take_profit=None if order is None else order.take_profit,
        stop_confirmed_at=wall_now() if message.stop_confirmed else None,
    )


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
        strategy_used=strategy_name(decision["strategy_used"]),
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


def _leave(message: TradeFill, order: Order | None, *, last_try: bool) -> Trade:
    trade = attribution.left(message, order)
    execution = _execution(message, order)
    open_size, overshoots = trade.open_size, trade.status == Trade.Status.OPEN and execution.size > trade.open_size
    difference = journal.shrink_trade(
        trade, execution, booked.executions(trade), _indicators(message), as_it_stands=last_try
    )
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
    execution = booked.as_told(message, order, message.fill_price, message.fill_size)
    if execution is None:
        raise CannotBook("an execution without its figures")
    return execution


def _earlier(trade: Trade) -> list[Execution]:
    """The executions that bear on another entry: without exits there are none."""
    return booked.executions(trade) if trade.exit_value or trade.status == Trade.Status.CLOSED else []


def _indicators(message: TradeFill) -> journal.Indicators:
    def of_the_time(at: datetime) -> dict[str, Any] | None:
        known = MarketRecord.objects.filter(symbol=message.symbol, at__lte=at).order_by("-at").first()
        return None if known is None else known.payload["indicators"]

    return of_the_time
