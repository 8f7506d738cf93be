"""Pages of the record: trades, playbook versions, the account's history."""

from collections.abc import Iterator

from journal.admin_base import register, shown_on
from journal.models import AccountUpdate, PerformanceSnapshot, PlaybookVersion, Promotion, Trade
from journal.playbook import InvalidPlaybook, diff, read_playbook
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
    PlaybookVersion,
    list_display=("version", "created_at", "triggered_by", "change_summary", "content_hash"),
    list_filter=("triggered_by",),
    search_fields=("change_summary", "content_hash"),
    date_hierarchy="created_at",
    ordering=("-version",),
)
register(
    Promotion,
    list_display=("created_at", "playbook", "promoted_by", "reason"),
    list_filter=("promoted_by",),
    date_hierarchy="created_at",
)
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


@shown_on(PlaybookVersion)
def playbook_history(playbook: PlaybookVersion) -> Iterator[Section]:
    """When it began to trade, what it changed and what came of it."""
    promotions = list(playbook.promotions.order_by("-id"))
    newest = Promotion.objects.order_by("-id").first()
    active = newest is not None and newest.playbook_id == playbook.pk
    yield Notice(
        title=f"Playbook version {playbook.version} {'is the one that trades' if active else 'does not trade now'}",
        text="\n".join(_changes(playbook)) or playbook.change_summary,
        tone="good" if active else "plain",
    )
    yield table_of("Promotions", promotions, "created_at", "promoted_by", "reason")
    yield table_of(
        "Its last 20 trades",
        Trade.objects.filter(playbook_version=playbook.version).order_by("-opened_at")[:20],
        *("opened_at", "symbol", "direction", "strategy_used", "exit_reason", "pnl_usd", "status"),
    )


def _changes(playbook: PlaybookVersion) -> list[str]:
    before = PlaybookVersion.objects.filter(version__lt=playbook.version).order_by("-version").first()
    if before is None:
        return []
    try:
        changes = diff(read_playbook(before.playbook_json), read_playbook(playbook.playbook_json))
    except InvalidPlaybook as error:
        return [f"It cannot be compared with version {before.version}: {error}"]
    return [f"Changes from version {before.version}:", *changes]
