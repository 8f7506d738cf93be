"""The page of a performance snapshot: its figures in words and tables, and why one is not known where none is."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from journal.admin_base import shown_on
from journal.models import PerformanceSnapshot
from journal.presentation import FRACTION, PLACES, Facts, Notice, Section, Table, label, number, shown

Document = Mapping[str, Any]

BREAKDOWNS = {
    "by_strategy": "Strategies", "by_regime": "Market regimes", "by_symbol": "Instruments",
    "by_exit_reason": "Exit reasons", "by_playbook_version": "Playbook versions", "by_weekday": "Weekdays of opening",
    "by_hour": "Hours of opening, UTC",
}  # fmt: skip
RESULT = (
    "total_pnl", "net_pnl", "model_costs", "gross_pnl", "fees", "funding", "total_trades", "unknown_trades", "win_rate",
    "avg_win", "avg_loss", "payoff_ratio", "profit_factor", "expectancy", "mean_return",
)  # fmt: skip
ACCOUNT = (
    "opening_equity", "closing_equity", "net_transfers", "total_return", "sharpe_ratio", "sortino_ratio",
    "returns_missing",
)  # fmt: skip
FRACTION_PLACES = PLACES + 2
COLUMNS = ("total_trades", "win_rate", "net_pnl", "model_costs", "total_pnl", "expectancy", "profit_factor")


@shown_on(PerformanceSnapshot)
def performance_page(snapshot: PerformanceSnapshot) -> Iterator[Section]:
    """The period's result, the account's and the market's, then who earned it."""
    kept: Document = snapshot.metrics_json or {}
    if "total" not in kept:
        return
    total, account = kept["total"], kept["account"]
    yield _headline(snapshot, Decimal(total["total_pnl"]))
    yield _facts("Result; USD after fees, funding and what models cost", total, RESULT)
    fall = account["max_drawdown"]
    yield Facts(
        title="Account, and the market meanwhile",
        facts=[
            *((label(name), _told(name, account[name])) for name in ACCOUNT),
            ("Max drawdown", _told("max_drawdown", fall["depth"])),
            ("Length of it", shown("length_seconds", fall["length_seconds"])),
            ("Time with a position", _told("exposure_pct", kept["exposure_time"])),
            ("Buy and hold, equal weights", _told("held_return", kept["buy_and_hold"]["equal_weights"])),
            *((label(name), str(value)) for name, value in kept["streaks"].items()),
        ],
    )
    for name, title in BREAKDOWNS.items():
        yield _breakdown(title, kept.get(name) or {})
    yield _calibration(kept["confidence_calibration"])


def _headline(snapshot: PerformanceSnapshot, made: Decimal) -> Notice:
    return Notice(
        title=f"{snapshot.get_snapshot_type_display()}, to {snapshot.period_end:%Y-%m-%d %H:%M} UTC",
        text="It is written once, when the period is over, and never restated.",
        tone="good" if made > 0 else "bad" if made < 0 else "plain",
    )


def _facts(title: str, figures: Document, names: tuple[str, ...]) -> Facts:
    return Facts(title=title, facts=[(label(name), _told(name, figures[name])) for name in names])


def _breakdown(title: str, groups: Document) -> Table:
    rows = [
        [shown("name", name or "unknown", short=True), *(_told(column, figures[column]) for column in COLUMNS)]
        for name, figures in groups.items()
    ]
    return Table(title=title, headers=["Of", *map(label, COLUMNS)], rows=rows)


def _calibration(known: Document) -> Table:
    """Stated confidence against wins, a row a bucket."""
    rows = [
        [
            f"{_told('confidence', bucket['low'])} to {_told('confidence', bucket['high'])}",
            _told("confidence", bucket["stated_mean"]),
            _told("win_rate", bucket["actual_win_rate"]),
        ]
        for bucket in known["buckets"]
    ]
    return Table(title="Confidence", headers=("Stated", "Stated on average", "Won"), rows=rows)


def _told(name: str, figure: Any) -> str:
    """A figure as it was kept: a number as text, one with the reason where it is not known, or a rate with its
    counts and 90 % interval."""
    match figure:
        case {"value": None}:
            return shown("reason", figure.get("reason") or None, short=True)
        case {"successes": won, "count": count, "low": low, "high": high}:
            return f"{won} of {count} (90 %: {Decimal(low) * 100:.0f} to {Decimal(high) * 100:.0f} %)"
        case {"value": str(text)} | str(text):
            return number(name, round(Decimal(text), FRACTION_PLACES if FRACTION.search(name) else PLACES))
    return shown(name, figure)
