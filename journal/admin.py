"""Pages of the record: trades, the account's history, performance; those of the playbook are in `playbook_pages`."""

from collections.abc import Iterator

from journal import playbook_pages as playbook_pages
from journal.admin_base import register, shown_on
from journal.models import AccountUpdate, PerformanceSnapshot, PlaybookVersion, Trade
from journal.presentation import Notice, Section, duration, indicators_table, plain, table_of

register(
    Trade,
    list_display=(
        "symbol", "direction", "opened_at", "closed_at", "duration_seconds", "entry_price", "exit_price", "size",
        "pnl_usd", "pnl_pct", "fees_usd", "exit_reason", "strategy_used", "status",
    ),
    list_filter=("status", "symbol", "direction", "exit_reason", "strategy_used", "market_regime", "origin"),
    search_fields=("symbol", "strategy_used", "opus_reasoning", "trade_id", "decision_id", "okx_order_id"),
    date_hierarchy="opened_at",
    ordering=("-opened_at", "-id"),
)  # fmt: skip
register(
    AccountUpdate,
    list_display=("as_of", "equity", "available", "margin_used", "unrealized_pnl", "net_transfers_usd", "received_at"),
    date_hierarchy="as_of",
    ordering=("-as_of", "-id"),
)
register(
    PerformanceSnapshot,
    list_display=(
        "period_end", "snapshot_type", "equity", "total_pnl", "win_rate", "profit_factor", "sharpe_ratio",
        "max_drawdown", "total_trades",
    ),
    list_filter=("snapshot_type",),
    date_hierarchy="period_end",
    ordering=("-period_end", "-id"),
)  # fmt: skip


@shown_on(Trade)
def trade_result(trade: Trade) -> Iterator[Section]:
    """The trade in a sentence, and its indicators at entry beside those at exit."""
    yield _result(trade)
    yield table_of(
        "Playbook it followed",
        PlaybookVersion.objects.filter(version__in=[trade.playbook_version]),
        *("version", "triggered_by", "created_at"),
    )
    yield indicators_table({"at entry": trade.indicators_entry, "at exit": trade.indicators_exit})


def _result(trade: Trade) -> Notice:
    name = f"{trade.direction} {trade.symbol}"
    if trade.status == Trade.Status.OPEN:
        return Notice(title=f"{name}: open", text=trade.opus_reasoning, tone="info")
    if trade.pnl_usd is None:
        return Notice(title=f"{name}: {trade.status}, its result is not known", text=trade.opus_reasoning, tone="warn")
    ending = f" by {trade.exit_reason.replace('_', ' ')}" if trade.exit_reason else ""
    after = f" after {duration(trade.duration_seconds)}" if trade.duration_seconds is not None else ""
    return Notice(
        title=f"{name}: {plain(trade.pnl_usd)} USD net, {trade.status}{ending}{after}",
        text=trade.opus_reasoning,
        tone="good" if trade.pnl_usd > 0 else "bad" if trade.pnl_usd < 0 else "plain",
    )
