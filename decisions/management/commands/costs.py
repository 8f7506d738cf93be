"""`manage.py costs`: what the models cost, and what the screener saves."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError, CommandParser

from decisions.cost_ledger import report
from decisions.costs import Report
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns

MOST_DAYS = 366
UNKNOWN = "-"
NUMBERS = (
    ("calls", "calls"),
    ("failed", "failed"),
    ("input_tokens", "input"),
    ("output_tokens", "output"),
    ("cache_write_tokens", "cache wr"),
    ("cache_read_tokens", "cache rd"),
    ("cost_usd", "cost USD"),
    ("mean_usd", "mean USD"),
)
NAMES = ("model", "purpose", "source")


EXAMPLES = """
examples:
  manage.py costs
  manage.py costs --days 7
  manage.py costs --json

exit codes: 0 shown, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Show what models have cost today and over the last days, the day's budget, and what the screener saves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=30, help="market days to show, today included (default: %(default)s)"
        )
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        days = options["days"]
        if not 1 <= days <= MOST_DAYS:
            raise CommandError(f"--days {days}: from 1 to {MOST_DAYS}", returncode=2)
        result = report(days)
        self.stdout.write(json.dumps(result, indent=2) if options["json"] else as_text(result))


def as_text(result: Report) -> str:
    """The report for a terminal: every table with its heading, numbers flush right."""
    lines = [
        f"Market day {result['market_day']}",
        f"Budget       {_budget(result['budget'])}",
        "",
        "Today",
        *_by_model(result["today"]),
        "",
        f"From {result['first_day']} to {result['market_day']}",
        *_by_model(result["period"]),
        "",
        *_by_day(result["by_day"]),
        f"Paid         {_paid(result['period']['total'])}",
        f"Cycles       {_cycles(result['cycles'])}",
        *(f"{heading:<13}{told}" for heading, told in _screener(result["screener"])),
        *_remarks(result),
    ]
    return "\n".join(lines)


def _budget(budget: Report) -> str:
    spent, daily = Decimal(budget["spent_usd"]), Decimal(budget["daily_usd"])
    share = f" ({spent / daily:.1%})" if daily else ""
    return f"{spent} of {daily} USD{share}: {budget['level']}"


def _by_model(period: Report) -> list[str]:
    if not period["by_model"]:
        return ["  no calls"]
    rows = [[str(row[name]) for name in NAMES] + _numbers(row) for row in period["by_model"]]
    total = ["total", "", "", *_numbers(period["total"])]
    return table([*NAMES, *(heading for _, heading in NUMBERS)], [*rows, total], texts=len(NAMES))


def _numbers(row: Report) -> list[str]:
    return [_number(row[name]) for name, _ in NUMBERS]


def _number(value: int | str | None) -> str:
    return f"{value:,}" if isinstance(value, int) else value or UNKNOWN


def _by_day(days: Sequence[Report]) -> list[str]:
    if not days:
        return []
    names = ("day", "calls", "failed", "cost_usd", "paid_usd")
    headings = ["day", "calls", "failed", "cost USD", "paid USD"]
    return [*table(headings, [[_number(row[name]) for name in names] for row in days], texts=1), ""]


def _paid(total: Report) -> str:
    told = f"{total['paid_usd']} USD to the services, of {total['cost_usd']} USD at their prices"
    return f"{told}; calls whose cost is not known: {total['unknown']:,}" if total["unknown"] else told


def _cycles(cycles: Report) -> str:
    told = [
        f"{cycles[kind]:,} {word}" + (f" at {mean} USD each" if (mean := cycles[f"{kind}_mean_usd"]) else "")
        for kind, word in (("analysed", "analysed"), ("screened_out", "screened out"))
    ]
    return ", ".join(told)


def _screener(saved: Report) -> Iterable[tuple[str, str]]:
    yield (
        "Screener",
        f"{saved['screened_out']:,} of {saved['screened']:,} screened cycles ended there, "
        f"{saved['audited']:,} of them audited",
    )
    if saved["share_saved"] is None:
        return
    share = Decimal(saved["share_saved"])
    yield (
        "Saved",
        f"{share:.1%} of big-model calls: {saved['calls_saved']:,} of {saved['calls_wanted']:,} cycles did without",
    )
    if saved["saved_usd"] is not None:
        yield (
            "",
            f"{saved['saved_usd']} USD: {saved['calls_saved']:,} x {saved['analysis_mean_usd']} USD for an analysis, "
            f"less {saved['screening_usd']} USD for the screening",
        )


def _remarks(result: Report) -> list[str]:
    if not result["unpriced_models"]:
        return []
    return [f"Unpriced     {', '.join(result['unpriced_models'])}: no known price, counted at the dearest one"]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> list[str]:
    """Aligned lines, indented by two. The first `texts` columns are flush left, the others flush right."""
    return [f"  {line}" for line in columns([headings, *rows], texts=texts)]
