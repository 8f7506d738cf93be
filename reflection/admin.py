"""Pages of reflection: its logs, and the trades of challengers."""

from collections.abc import Iterator

from decisions.models import DecisionCycle
from journal.admin_base import register, shown_on
from journal.models import PlaybookVersion, Trade
from journal.presentation import Section, table_of
from reflection.models import ReflectionLog, ShadowTrade

register(
    ReflectionLog,
    list_display=("created_at", "reflection_type", "old_version", "new_version", "playbook_changes"),
    list_filter=("reflection_type",),
    search_fields=("input_prompt",),
    date_hierarchy="created_at",
)
register(
    ShadowTrade,
    list_display=(
        "symbol", "direction", "playbook_version", "opened_at", "closed_at", "entry_price", "exit_price", "size",
        "pnl_usd", "exit_reason",
    ),
    list_filter=("symbol", "direction", "playbook_version", "exit_reason"),
    date_hierarchy="opened_at",
)  # fmt: skip


@shown_on(ReflectionLog)
def reflection_page(log: ReflectionLog) -> Iterator[Section]:
    """What it looked at and what it wrote."""
    yield table_of(
        "Trades it looked at",
        Trade.objects.filter(pk__in=log.trade_ids or []).order_by("opened_at"),
        *("opened_at", "symbol", "direction", "strategy_used", "exit_reason", "pnl_usd"),
    )
    versions = [version for version in (log.old_version, log.new_version) if version is not None]
    yield table_of(
        "Playbook before and after",
        PlaybookVersion.objects.filter(version__in=versions).order_by("version"),
        *("version", "triggered_by", "change_summary", "created_at"),
    )


@shown_on(ShadowTrade)
def shadow_page(trade: ShadowTrade) -> Iterator[Section]:
    """The cycle whose data the challenger was shown."""
    yield table_of(
        "Cycle", DecisionCycle.objects.filter(pk=trade.cycle_number), "slot_at", "instrument", "outcome", "reason"
    )


@shown_on(Trade)
def reflections_of_trade(trade: Trade) -> Iterator[Section]:
    """The reflections that looked at a trade."""
    yield table_of(
        "Reflections",
        ReflectionLog.objects.filter(trade_ids__contains=[trade.pk]).order_by("-id"),
        *("created_at", "reflection_type", "old_version", "new_version"),
    )
