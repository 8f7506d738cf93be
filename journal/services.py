"""The only writers of the record. Callers hold the account's lock and the transaction.

A trade's figures follow from its executions and funding payments and from nothing else. The venue's P&L of each fill is
what is booked; our own cost basis is computed beside it, and the difference returned for the caller to judge.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from journal.models import PlaybookVersion, Promotion, Trade
from journal.playbook import Playbook, first_playbook, playbook_hash, read_playbook
from journal.signals import trade_closed

PRICE_STEP = Decimal("0.00000001")
MONEY_STEP = Decimal("0.0001")
RATIO_STEP = Decimal("0.000001")


class ImpossibleExecution(ValueError):
    """An execution that does not fit the position it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Contracts that changed hands. `pnl_usd` is the venue's gross figure, null on entries."""

    symbol: str
    direction: Literal["LONG", "SHORT"]
    price: Decimal
    size: Decimal
    fee_usd: Decimal
    pnl_usd: Decimal | None
    at: datetime
    exit_reason: str = ""


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
    """Begin a trade with its first entry."""
    return Trade.objects.create(
        opened_at=execution.at,
        symbol=execution.symbol,
        direction=execution.direction,
        entry_price=execution.price.quantize(PRICE_STEP),
        stop_loss=plan.stop_loss,
        take_profit=plan.take_profit,
        size=execution.size,
        open_size=execution.size,
        size_pct=plan.size_pct,
        leverage=plan.leverage,
        fees_usd=execution.fee_usd,
        strategy_used=plan.strategy_used[:50],
        confidence_at_entry=plan.confidence,
        market_regime=plan.market_regime,
        opus_reasoning=plan.reasoning,
        indicators_entry=plan.indicators,
        research_context=plan.research,
        okx_order_id=plan.venue_order_id,
        decision_id=plan.decision_id,
        playbook_version=plan.playbook_version,
        origin=plan.origin,
        ct_val=plan.ct_val,
        entry_value=execution.price * execution.size * plan.ct_val,
        stop_confirmed_at=plan.stop_confirmed_at,
    )


def enlarge_trade(trade: Trade, execution: Execution, plan: EntryPlan, *, new_stop: bool) -> Trade:
    """Book another entry: the average re-forms by cost basis.

    The first fill of an ADD brings stop and target of its own (`new_stop`), the stop unconfirmed again; further fills
    of an order bring none and may confirm what is there.
    """
    trade.size += execution.size
    trade.open_size += execution.size
    trade.entry_value += execution.price * execution.size * trade.ct_val
    trade.entry_price = _average(trade.entry_value, trade.size, trade.ct_val)
    trade.fees_usd += execution.fee_usd
    if new_stop:
        trade.stop_loss = plan.stop_loss or trade.stop_loss
        trade.take_profit = plan.take_profit or trade.take_profit
        trade.stop_confirmed_at = None
    trade.stop_confirmed_at = plan.stop_confirmed_at or trade.stop_confirmed_at
    trade.save()
    return trade


def shrink_trade(trade: Trade, execution: Execution, indicators: dict[str, Any] | None) -> Decimal:
    """Book an exit of part or all of the position; the last contract closes the trade.

    Returns by how many USD the venue's P&L differs from our cost basis. Raises `ImpossibleExecution` when more would
    be closed than is open.
    """
    if execution.size > trade.open_size:
        raise ImpossibleExecution(f"{execution.size} contracts closed of {trade.symbol}, {trade.open_size} are open")
    if execution.pnl_usd is None:
        raise ImpossibleExecution(f"an exit of {trade.symbol} without its P&L")
    ours = gross_pnl(trade, execution.price, execution.size)
    trade.exit_value += execution.price * execution.size * trade.ct_val
    trade.open_size -= execution.size
    trade.gross_pnl_usd += execution.pnl_usd
    trade.fees_usd += execution.fee_usd
    trade.exit_price = _average(trade.exit_value, trade.size - trade.open_size, trade.ct_val)
    if trade.open_size == 0:
        _close(trade, execution, indicators)
    trade.save()
    return abs(execution.pnl_usd - ours)


def book_funding(trade: Trade, amount_usd: Decimal) -> None:
    """Add a funding payment (positive: received). It may arrive after the close, and restates the net result."""
    trade.funding_usd += amount_usd
    if trade.status == Trade.Status.CLOSED and trade.pnl_usd is not None:
        _set_net_result(trade)
    trade.save()


def gross_pnl(trade: Trade, price: Decimal, size: Decimal) -> Decimal:
    """P&L of closing `size` contracts at `price`, in USD before fees, by the average cost of what is open."""
    cost = _open_cost(trade) * size / trade.open_size
    value = price * size * trade.ct_val
    return (value - cost if trade.direction == Trade.Direction.LONG else cost - value).quantize(MONEY_STEP)


def _open_cost(trade: Trade) -> Decimal:
    """What the open contracts cost: all entries, less what each exit took with it, its value less its booked P&L."""
    booked = trade.gross_pnl_usd if trade.direction == Trade.Direction.LONG else -trade.gross_pnl_usd
    return trade.entry_value - (trade.exit_value - booked)


def _average(value: Decimal, size: Decimal, ct_val: Decimal) -> Decimal:
    return (value / (size * ct_val)).quantize(PRICE_STEP)


def _close(trade: Trade, execution: Execution, indicators: dict[str, Any] | None) -> None:
    trade.status = Trade.Status.CLOSED
    trade.closed_at = execution.at
    trade.duration_seconds = int((execution.at - trade.opened_at).total_seconds())
    trade.exit_reason = execution.exit_reason
    trade.indicators_exit = indicators
    _set_net_result(trade)
    transaction.on_commit(lambda: trade_closed.send_robust(sender=Trade, trade_id=trade.pk))


def _set_net_result(trade: Trade) -> None:
    trade.pnl_usd = trade.gross_pnl_usd - trade.fees_usd + trade.funding_usd
    trade.pnl_pct = (trade.pnl_usd / trade.entry_value).quantize(RATIO_STEP)


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
    )
    Promotion.objects.create(playbook=version, promoted_by="init", reason="The first playbook.")
    return True
