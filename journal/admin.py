"""Pages of the record: trades, the account's history, performance; those of the playbook are in `playbook_pages`."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.urls import URLPattern, path

from journal import note_pages
from journal import performance_page as performance_page
from journal import playbook_pages as playbook_pages
from journal.admin_base import register, shown_on
from journal.export import Format
from journal.models import AccountUpdate, PerformanceSnapshot, PlaybookVersion, Trade, TradeNote, TradeTag
from journal.performance.values import Rate, rate
from journal.presentation import Section, Tab, Table, facts_of, indicators_table, label, shown, table_of
from journal.record_filters import ResultFilter, TagFilter, VersionFilter
from journal.record_lists import RecordListAdmin, Told
from journal.trade_rows import with_words_of_people

WON = Q(pnl_usd__gt=0)
KNOWN = Q(pnl_usd__isnull=False)


class TradeAdmin(RecordListAdmin):
    """The trades, with what they brought; a person's notes are added on a trade's page."""

    list_display = (
        "symbol", "direction", "opened_at", "closed_at", "duration_seconds", "entry_price", "exit_price", "pnl_usd",
        "pnl_pct", "exit_reason", "strategy_used", "status",
    )  # fmt: skip
    list_filter = (
        "status", ResultFilter, "symbol", "direction", "exit_reason", "strategy_used", "market_regime", "origin",
        VersionFilter, TagFilter,
    )  # fmt: skip
    search_fields = (
        "symbol", "strategy_used", "opus_reasoning", "trade_id", "decision_id", "okx_order_id", "notes__text",
    )  # fmt: skip
    date_hierarchy = "opened_at"
    ordering = ("-opened_at", "-id")
    most_summed = 50_000

    def sums(self, rows: QuerySet[Trade]) -> tuple[int, Iterable[Told]]:
        found = rows.aggregate(
            trades=Count("pk"),
            open=Count("pk", filter=Q(status=Trade.Status.OPEN)),
            known=Count("pk", filter=KNOWN),
            won=Count("pk", filter=WON),
            net=Sum("pnl_usd"),
            gross=Sum("gross_pnl_usd", filter=KNOWN),
            fees=Sum("fees_usd", filter=KNOWN),
            funding=Sum("funding_usd", filter=KNOWN),
        )
        unknown = found["trades"] - found["open"] - found["known"]
        return found["trades"], [
            ("Trades", _counted(found["trades"], found["open"], unknown)),
            ("Net P&L USD", shown("pnl_usd", found["net"])),
            ("Gross P&L USD", shown("pnl_usd", found["gross"])),
            ("Fees USD", shown("fees_usd", found["fees"])),
            ("Funding USD", shown("funding_usd", found["funding"])),
            ("Win rate of the known results", _rate(rate(found["won"], found["known"]))),
        ]

    def for_export(self, rows: QuerySet[Any], wanted: Format) -> QuerySet[Any]:
        return with_words_of_people(rows, wanted)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(partial(note_pages.note, self))
        return [path("<path:object_id>/note/", view, name=note_pages.ADDRESS_NAME), *super().get_urls()]


def _counted(count: int, open_count: int, unknown: int) -> str:
    others = [f"{number} {word}" for number, word in ((open_count, "open"), (unknown, "not known")) if number]
    return f"{count:,}" + (f" ({', '.join(others)})" if others else "")


def _rate(found: Rate) -> str:
    """A rate with its count and interval: 45.2 % of 310 (40.6 to 49.9 %)."""
    if found.value is None:
        return "– of 0"
    return f"{found.value * 100:.1f} % of {found.count:,} (90 %: {found.low * 100:.1f} to {found.high * 100:.1f} %)"


admin.site.register(Trade, TradeAdmin)
register(
    TradeNote,
    list_display=("created_at", "trade", "author", "text"),
    list_filter=("author",),
    search_fields=("text", "author"),
    date_hierarchy="created_at",
)
register(
    TradeTag,
    list_display=("tag", "trade", "added_by", "added_at", "removed_by", "removed_at"),
    list_filter=(("removed_at", admin.EmptyFieldListFilter),),
    search_fields=("tag",),
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
def trade_record(trade: Trade) -> Iterator[Section]:
    """Its indicators at entry beside those at exit, what was learnt from it, and the playbook it followed."""
    yield Tab(
        title="Snapshot",
        sections=[indicators_table({"at entry": trade.indicators_entry, "at exit": trade.indicators_exit})],
    )
    followed = table_of(
        "Playbook it followed",
        PlaybookVersion.objects.filter(version__in=[trade.playbook_version]),
        *("version", "triggered_by", "created_at", "change_summary"),
    )
    yield Tab(title="Review", sections=[*_review(trade), followed])


def _review(trade: Trade) -> Iterator[Section]:
    """The model's look back, if there was one: what it says in a word or a sentence, then its lists."""
    if not trade.self_review:
        yield Table(title="Review", headers=(), rows=[])
        return
    review = trade.self_review
    yield facts_of("Review", {name: value for name, value in review.items() if not isinstance(value, list | dict)})
    for name, lines in review.items():
        if isinstance(lines, list) and lines:
            yield Table(title=label(name), headers=("In words",), rows=[[shown("line", str(line))] for line in lines])
