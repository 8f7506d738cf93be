"""A trade's page: what it was and why it ended in one glance, the chart, and the whole chain behind it in tabs."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from django.db.models import Count, Sum

from decisions import context
from decisions.chain import Chain, chain_of_trade
from decisions.chain_tabs import calls_table, cost, decision_tabs
from decisions.models import DecisionCycle, ModelCall
from decisions.trade_chart import brackets, chart_of
from journal.admin_base import shown_on
from journal.models import Trade
from journal.notes import standing_tags
from journal.presentation import (
    Facts,
    Notice,
    Section,
    Tab,
    Tone,
    facts_of,
    number,
    shown,
    table_of,
)
from journal.wording import duration, plain

CYCLES = ("slot_at", "instrument", "state", "outcome", "reason")
FEES = ("filled_at", "intent", "price", "size", "fee_usd", "pnl_usd", "exit_reason")
CENT = Decimal("0.01")


@shown_on(Trade)
def trade_page(trade: Trade) -> Iterator[Section]:
    """One glance, the chart, the chain."""
    chain = chain_of_trade(trade)
    r = in_r(trade, first_risk(trade, chain))
    yield result(trade, r)
    yield glance(trade, chain, r)
    yield chart_of(trade, chain)
    yield from decision_tabs(chain)
    yield Tab(title="Orders", sections=[table_of(_decisions(chain), chain.cycles, *CYCLES)])
    yield _money(trade, chain)


def _decisions(chain: Chain) -> str:
    return f"Decisions, and {chain.left_out} more between the first two" if chain.left_out else "Decisions"


# --- one glance -------------------------------------------------------------------------------------------------------


def first_risk(trade: Trade, chain: Chain) -> Decimal | None:
    """One R in quote currency a coin: |price of the first entry - stop it was opened with|; None without a stop.

    (V. K. Tharp, "Trade Your Way to Financial Freedom", McGraw-Hill, 1998, as in `journal.excursion`.)
    """
    entries = [fill for fill in chain.fills if fill.intent in ("open", "add") and fill.price is not None]
    price = entries[0].price if entries else trade.entry_price
    stop = brackets(trade, chain.orders, chain.fills)[0].stop
    return abs(price - stop) or None if price is not None and stop is not None else None


def in_r(trade: Trade, risk: Decimal | None) -> Decimal | None:
    """The net result in multiples of what was risked, net P&L / (R x contracts x ct_val); None if it is not known."""
    if trade.pnl_usd is None or risk is None:
        return None
    return (trade.pnl_usd / (risk * trade.size * trade.ct_val)).quantize(CENT)


def result(trade: Trade, r: Decimal | None) -> Notice:
    """What became of the trade in a sentence, and why it was entered."""
    name = f"{trade.direction} {trade.symbol}"
    if trade.status == Trade.Status.OPEN:
        return Notice(title=f"{name}: {_open(trade)}", text=trade.opus_reasoning, tone="info")
    ending = f"{trade.status} by {trade.exit_reason.replace('_', ' ')}" if trade.exit_reason else trade.status
    after = (
        f" after {duration(timedelta(seconds=trade.duration_seconds))}" if trade.duration_seconds is not None else ""
    )
    if trade.pnl_usd is None:
        title = f"{name}: {ending}{after}, its result is not known"
        return Notice(title=title, text=trade.opus_reasoning, tone="warn")
    title = f"{name}: {signed(trade.pnl_usd)} USD net{_in_brackets(trade, r)}, {ending}{after}"
    tone: Tone = "good" if trade.pnl_usd > 0 else "bad" if trade.pnl_usd < 0 else "plain"
    return Notice(title=title, text=trade.opus_reasoning, tone=tone)


def signed(amount: Decimal) -> str:
    return f"+{plain(amount)}" if amount > 0 else plain(amount)


def _in_brackets(trade: Trade, r: Decimal | None) -> str:
    told = [
        *([f"{signed(r)} R"] if r is not None else []),
        *([f"{signed(trade.pnl_pct * 100)} %"] if trade.pnl_pct is not None else []),
    ]
    return f" ({', '.join(told)})" if told else ""


def _open(trade: Trade) -> str:
    """What an open position is worth by the venue's newest report."""
    report = context.position_report()
    held = [each for each in report.positions if each.symbol == trade.symbol] if report else []
    if report is None or not held:
        return "open"
    return f"open, {signed(held[0].unrealized_pnl)} USD unrealised as of {report.as_of:%Y-%m-%d %H:%M} UTC"


def glance(trade: Trade, chain: Chain, r: Decimal | None) -> Facts:
    """What a reader asks first."""
    told = facts_of(
        "At a glance",
        {
            "pnl_usd": trade.pnl_usd,
            "pnl_pct": trade.pnl_pct,
            "result in R": None if r is None else number("pnl_r", r),
            "duration_seconds": trade.duration_seconds,
            "exit_reason": trade.exit_reason,
            "entry_price": trade.entry_price,
            "exit_price": trade.exit_price,
            "stop_loss": trade.stop_loss,
            "take_profit": trade.take_profit,
            "size": trade.size,
            "leverage": trade.leverage,
            "strategy_used": trade.strategy_used,
            "market_regime": trade.market_regime,
            "confidence_at_entry": trade.confidence_at_entry,
            "fees_usd": trade.fees_usd,
            "funding_usd": trade.funding_usd,
            "model_costs_usd": cost(chain.all_calls),
            "playbook_version": trade.playbook_version,
        },
    )
    return Facts(title=told.title, facts=[*told.facts, ("Tags", shown("tags", " ".join(standing_tags(trade))))])


# --- money ------------------------------------------------------------------------------------------------------------


def _money(trade: Trade, chain: Chain) -> Tab:
    """What came in and went out, cent by cent, and what deciding cost."""
    sums = {
        "gross_pnl_usd": trade.gross_pnl_usd,
        "fees_usd": trade.fees_usd,
        "funding_usd": trade.funding_usd,
        "pnl_usd": trade.pnl_usd,
    }
    executed = [fill for fill in chain.fills if fill.price is not None]
    return Tab(
        title="Money",
        sections=[
            facts_of("Gross P&L − fees + funding = net P&L", sums),
            table_of("Fills and their fees", executed, *FEES),
            table_of("Funding", chain.funding, "paid_at", "amount_usd", "rate"),
            calls_table(chain.all_calls, f"Models, for the decisions that became orders: {cost(chain.all_calls)} USD"),
            _watching(trade),
        ],
    )


def _watching(trade: Trade) -> Facts:
    """What models cost while the position was open: every cycle of the instrument is asked about it."""
    cycles = DecisionCycle.objects.filter(instrument=trade.symbol, slot_at__gte=trade.opened_at)
    if trade.closed_at is not None:
        cycles = cycles.filter(slot_at__lte=trade.closed_at)
    asked = ModelCall.objects.filter(cycle__in=cycles)
    spent = asked.aggregate(calls=Count("pk"), cost_usd=Sum("cost_usd"))
    values = {"cycles": cycles.count(), "model_calls": spent["calls"], "cost_usd": spent["cost_usd"] or Decimal(0)}
    return facts_of(f"All cycles of {trade.symbol} while it was open", values)
