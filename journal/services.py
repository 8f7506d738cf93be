"""The only writers of the record. Callers hold the account's lock and the transaction.

A trade's figures follow from its executions and funding payments and from nothing else, whatever order they were heard
of in. The venue's P&L of each fill is what is booked; our own cost basis is computed beside it, from the executions
alone, and the difference returned for the caller to judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from journal import cost_basis
from journal.cost_basis import Execution as Execution  # what callers hand over, as `EntryPlan` is
from journal.models import PlaybookVersion, Promotion, Trade
from journal.playbook import Playbook, first_playbook, playbook_hash, read_playbook
from journal.signals import trade_closed

PRICE_STEP = Decimal("0.00000001")
MONEY_STEP = Decimal("0.0001")
RATIO_STEP = Decimal("0.000001")


class ImpossibleExecution(ValueError):
    """An execution that does not fit the position it names."""


Indicators = Callable[[datetime], dict[str, Any] | None]
"""The indicators of the trade's instrument as they were at a market time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """Why and how a position was entered, as the decision said it."""

    ct_val: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    leverage: Decimal = Decimal(1)
    size_pct: Decimal | None = None
    decision_id: UUID | None = None
    playbook_version: int | None = None
    strategy_used: str = ""
    confidence: Decimal | None = None
    market_regime: str = ""
    reasoning: str = ""
    indicators: dict[str, Any] | None = None
    research: dict[str, Any] | None = None
    venue_order_id: str = ""
    origin: str = Trade.Origin.DECISION
    stop_confirmed_at: datetime | None = None


def open_trade(execution: Execution, plan: EntryPlan) -> Trade:
    """Begin a trade with the first entry that we hear of."""
    trade = _begun(execution, plan)
    trade.save()
    return trade


def open_ended_trade(execution: Execution, plan: EntryPlan, ended_at: datetime) -> Trade:
    """The same, of a position that had ended before another one was opened. It is closed at once, as one whose exits
    are still to be booked."""
    trade = _begun(execution, plan)
    close_unknown(trade, ended_at)
    return trade


def _begun(execution: Execution, plan: EntryPlan) -> Trade:
    return Trade(
        opened_at=execution.at,
        symbol=execution.symbol,
        direction=execution.direction,
        entry_price=execution.price.quantize(PRICE_STEP),
        stop_loss=plan.stop_loss,
        take_profit=plan.take_profit,
        size=execution.size,
        open_size=execution.size,
        fees_usd=execution.fee_usd,
        entry_value=execution.price * execution.size * plan.ct_val,
        ct_val=plan.ct_val,
        stop_confirmed_at=plan.stop_confirmed_at,
        **_decision(plan),
    )


def _decision(plan: EntryPlan) -> dict[str, Any]:
    """What a trade has from the decision that opened it."""
    return {
        "size_pct": plan.size_pct,
        "leverage": plan.leverage,
        "strategy_used": plan.strategy_used[:50],
        "confidence_at_entry": plan.confidence,
        "market_regime": plan.market_regime,
        "opus_reasoning": plan.reasoning,
        "indicators_entry": plan.indicators,
        "research_context": plan.research,
        "okx_order_id": plan.venue_order_id,
        "decision_id": plan.decision_id,
        "playbook_version": plan.playbook_version,
        "origin": plan.origin,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearing:
    """What an entry means for a trade that is there already.

    `opens`: it is what opened the position, and what was heard of before came later. `protects`: its stop is the one
    that counts, since no younger order has entered; `first`: nothing of its order was booked before, so that the stop
    is new, and not confirmed yet.
    """

    opens: bool
    protects: bool
    first: bool


def enlarge_trade(
    trade: Trade,
    execution: Execution,
    plan: EntryPlan,
    bearing: Bearing,
    earlier: Sequence[Execution],
    indicators: Indicators,
) -> Trade:
    """Book another entry: the average re-forms by cost basis. `earlier` are the executions booked before.

    One that is heard of late may be the missing part of a position that has been closed since. Raises
    `ImpossibleExecution` for one that would open a closed trade again while another one is open.
    """
    trade.size += execution.size
    trade.entry_value += execution.price * execution.size * trade.ct_val
    trade.entry_price = _average(trade.entry_value, trade.size, trade.ct_val)
    trade.fees_usd += execution.fee_usd
    trade.opened_at = min(trade.opened_at, execution.at)
    if bearing.opens:
        for name, value in _decision(plan).items():
            setattr(trade, name, value)
    if bearing.protects:
        if bearing.first:
            trade.stop_loss = plan.stop_loss or trade.stop_loss
            trade.take_profit = plan.take_profit or trade.take_profit
            trade.stop_confirmed_at = None
        trade.stop_confirmed_at = plan.stop_confirmed_at or trade.stop_confirmed_at
    _take_stock(trade, [*earlier, execution], indicators)
    trade.save()
    return trade


def explain_entry(trade: Trade, execution: Execution) -> None:
    """Book an entry whose contracts an adopted trade has already: nothing but its fee is new."""
    trade.fees_usd += execution.fee_usd
    if trade.status == Trade.Status.CLOSED and trade.pnl_usd is not None:
        _set_net_result(trade)
    trade.save()


def shrink_trade(
    trade: Trade,
    execution: Execution,
    earlier: Sequence[Execution],
    indicators: Indicators,
    *,
    as_it_stands: bool = False,
) -> Decimal:
    """Book an exit of part or all of the position; the last contract closes the trade. `earlier` are the executions
    booked before.

    Returns by how many USD the venue's P&L differs from our cost basis; zero where an entry is missing and ours is not
    known. Raises `ImpossibleExecution` when more would be closed than is open, or all of it by an exit that by the
    venue's word leaves something: an execution between is missing then. With `as_it_stands` it is booked even so, with
    the whole of its P&L and fee, and the trade is closed.
    """
    if execution.pnl_usd is None:
        raise ImpossibleExecution(f"an exit of {trade.symbol} without its P&L")
    executions = [*earlier, execution]
    if not as_it_stands:
        _refuse_impossible(trade, execution, executions)
    ours = _own_pnl(trade, execution, executions)
    trade.exit_value += execution.price * execution.size * trade.ct_val
    trade.gross_pnl_usd += execution.pnl_usd
    trade.fees_usd += execution.fee_usd
    _take_stock(trade, executions, indicators)
    trade.save()
    return Decimal(0) if ours is None else abs(execution.pnl_usd - ours)


def _refuse_impossible(trade: Trade, execution: Execution, executions: Sequence[Execution]) -> None:
    left = trade.size - cost_basis.exited(executions)
    if left < 0:
        raise ImpossibleExecution(f"{execution.size} contracts closed of {trade.symbol}, {trade.open_size} are open")
    last = cost_basis.last_exit(executions)
    if left == 0 and last is not None and not last.final:
        raise ImpossibleExecution(f"all of {trade.symbol} closed by an exit after which something is left")


def _own_pnl(trade: Trade, execution: Execution, executions: Sequence[Execution]) -> Decimal | None:
    """By the executions, and for an adopted position by what was there before the first of them."""
    entries = [each for each in executions if not each.is_exit]
    held = trade.size - sum((each.size for each in entries), Decimal(0))
    value = sum((each.price * each.size for each in entries), Decimal(0)) * trade.ct_val
    ours = cost_basis.own_pnl(executions, execution, ct_val=trade.ct_val, held=held, cost=trade.entry_value - value)
    return None if ours is None else ours.quantize(MONEY_STEP)


def _take_stock(trade: Trade, executions: Sequence[Execution], indicators: Indicators) -> None:
    """What is open by now, and by it whether the trade is closed: by its last exit, not by the last one heard of."""
    left, last = trade.size - cost_basis.exited(executions), cost_basis.last_exit(executions)
    _forget_review(trade)
    if last is not None:
        trade.exit_price = _average(trade.exit_value, cost_basis.exited(executions), trade.ct_val)
    if left > 0 and trade.status == Trade.Status.CLOSED and trade.pnl_usd is None:
        return  # it was closed without the venue's word, and something of that is still missing
    trade.open_size = max(left, Decimal(0))
    if left > 0 or last is None:
        _keep_open(trade)
    else:
        _close(trade, last, indicators)


def book_funding(trade: Trade, amount_usd: Decimal) -> None:
    """Add a funding payment (positive: received). It may arrive after the close, and restates the net result."""
    trade.funding_usd += amount_usd
    if trade.status == Trade.Status.CLOSED and trade.pnl_usd is not None:
        _set_net_result(trade)
    trade.save()


def _average(value: Decimal, size: Decimal, ct_val: Decimal) -> Decimal:
    return (value / (size * ct_val)).quantize(PRICE_STEP)


def _close(trade: Trade, last: Execution, indicators: Indicators) -> None:
    if trade.status == Trade.Status.OPEN:
        transaction.on_commit(lambda: trade_closed.send_robust(sender=Trade, trade_id=trade.pk))
    trade.status = Trade.Status.CLOSED
    trade.closed_at = last.at
    trade.duration_seconds = int((last.at - trade.opened_at).total_seconds())
    trade.exit_reason = last.exit_reason
    trade.indicators_exit = indicators(last.at)
    _set_net_result(trade)


def _keep_open(trade: Trade) -> None:
    """Undo a closing that was none: an entry of the position was still to be heard of. Where the next position has
    been opened since, its end is still to be heard of as well."""
    if trade.status == Trade.Status.OPEN:
        return
    trade.exit_reason, trade.indicators_exit, trade.pnl_usd, trade.pnl_pct = "", None, None, None
    other = Trade.objects.filter(symbol=trade.symbol, closed_at__isnull=True).first()
    if other is None:
        trade.status, trade.closed_at, trade.duration_seconds = Trade.Status.OPEN, None, None
    elif other.opened_at >= trade.opened_at:
        _end_unknown(trade, other.opened_at)
    else:
        raise ImpossibleExecution(f"{trade} was not closed completely, and another trade is open")


def _set_net_result(trade: Trade) -> None:
    trade.pnl_usd = trade.gross_pnl_usd - trade.fees_usd + trade.funding_usd
    trade.pnl_pct = (trade.pnl_usd / trade.entry_value).quantize(RATIO_STEP)


# --- trades that reconciliation mends ---------------------------------------------------------------------------------

NEWEST_FIRST = (F("opened_at").desc(), F("closed_at").desc(nulls_first=True), F("id").desc())
"""The positions of an instrument, backwards; of two that began in one moment the first has ended in it."""

RECONCILED_EXIT = "reconciled"
"""The exit reason of a trade whose position is gone and whose exit nobody has told us."""


def close_unknown(trade: Trade, at: datetime) -> None:
    """Close a trade whose exit is not known: its result is null, and what was booked of it so far stays. An exit that
    turns up later is booked as any, and with the last contract the result is known."""
    _end_unknown(trade, at)
    trade.save()
    transaction.on_commit(lambda: trade_closed.send_robust(sender=Trade, trade_id=trade.pk))


def _end_unknown(trade: Trade, at: datetime) -> None:
    trade.status, trade.open_size = Trade.Status.CLOSED, Decimal(0)
    trade.closed_at = max(at, trade.opened_at)
    trade.duration_seconds = int((trade.closed_at - trade.opened_at).total_seconds())
    trade.exit_reason = RECONCILED_EXIT
    _forget_review(trade)


def closed_unknown(symbol: str, direction: str, at: datetime | None = None) -> Trade | None:
    """The newest trade of an instrument, if it is on this side and was closed without its exit. For a time `at` before
    that it is the one of that time."""
    trades = Trade.objects.filter(symbol=symbol).order_by(*NEWEST_FIRST)
    newest = trades.first()
    if newest is not None and at is not None and at < newest.opened_at:
        newest = trades.filter(opened_at__lte=at, closed_at__gte=at).first()
    if newest is None or (newest.direction, newest.exit_reason) != (direction, RECONCILED_EXIT):
        return None
    return newest if newest.status == Trade.Status.CLOSED and newest.pnl_usd is None else None


def reopen_trade(trade: Trade, open_size: Decimal) -> None:
    """Open a trade again that was closed without its exit: its position is there after all."""
    trade.status, trade.open_size = Trade.Status.OPEN, open_size
    trade.closed_at = trade.duration_seconds = None
    trade.exit_reason = ""
    _forget_review(trade)
    trade.save()


def _forget_review(trade: Trade) -> None:
    """It judged a closing that was none, or another one: no prompt may tell its lesson. The log of it stays."""
    trade.self_review = None


# --- the playbook -----------------------------------------------------------------------------------------------------


def active_playbook() -> Playbook:
    """The playbook that trades: the one promoted last. Raises `Promotion.DoesNotExist` before the first is seeded."""
    return playbook(Promotion.objects.values_list("playbook__version", flat=True).latest("id"))


@lru_cache(maxsize=8)
def playbook(version: int) -> Playbook:
    """A version of the playbook; it never changes, so it is read once a process.

    Raises `PlaybookVersion.DoesNotExist`.
    """
    return read_playbook(PlaybookVersion.objects.get(version=version).playbook_json)


@transaction.atomic
def seed_first_playbook(now: datetime) -> bool:
    """Write and promote version 1 unless there is a playbook already. Says whether it did."""
    if PlaybookVersion.objects.exists():
        return False
    first = first_playbook(now)
    version = PlaybookVersion.objects.create(
        version=first.version,
        playbook_json=first.model_dump(mode="json"),
        content_hash=playbook_hash(first),
        change_summary="The first playbook.",
        triggered_by=PlaybookVersion.TriggeredBy.INIT,
        created_by="init",
    )
    Promotion.objects.create(playbook=version, promoted_by="init", reason="The first playbook.")
    return True
