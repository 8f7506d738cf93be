"""`manage.py reconcile`: what the record and the venue differ about, and what is done about it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from decisions.clock import now_for_record, wall_now
from decisions.models import Fill, InstrumentBlock, Order, PositionReport
from decisions.reconciliation import Finding, NoReport, reconcile
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns

EPILOG = """
examples:
  manage.py reconcile --dry-run
  manage.py reconcile --json

exit codes: 0 done, 1 a person is needed or the venue has reported nothing yet, 2 a mistake in what was typed
A block of an instrument is lifted on its page in the admin.
"""
Row = dict[str, Any]


class Command(CommandWithExamples):
    examples = EPILOG
    help = "Compare orders, trades and fills with the venue's newest report, and repair what the facts allow."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            found = reconcile(now_for_record(), dry_run=options["dry_run"])
        except NoReport as error:
            raise CommandError(str(error), returncode=1) from error
        result = outcome(found, dry_run=options["dry_run"])
        self.stdout.write(json.dumps(result, indent=2) if options["json"] else as_text(result))
        if result["needs_a_person"]:
            raise SystemExit(1)


def outcome(found: Sequence[Finding], *, dry_run: bool) -> Row:
    """What was found and what is under way, as JSON values; ages in seconds of wall time."""
    now = wall_now()
    report = PositionReport.objects.only("as_of", "told_at").get()
    waiting = Fill.objects.filter(waiting__isnull=False).order_by("id")
    blocks = InstrumentBlock.objects.filter(ended_at__isnull=True).order_by("id")
    return {
        "as_of": _in_utc(report.as_of),
        "told_seconds_ago": _age(report.told_at, now),
        "dry_run": dry_run,
        "agree": not found and not waiting,
        "needs_a_person": any(each.needs_a_person for each in found) or blocks.exists(),
        "differences": [{**asdict(each), "since": _in_utc(each.since)} for each in found],
        "orders": [_order(order, now) for order in Order.objects.filter(ended_at__isnull=True).order_by("id")],
        "waiting_fills": [_fill(fill, now) for fill in waiting],
        "blocks": [{"symbol": block.symbol, "reason": block.reason} for block in blocks],
    }


def _in_utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _age(since: datetime, now: datetime) -> int:
    return round((now - since).total_seconds())


def _order(order: Order, now: datetime) -> Row:
    return {
        "symbol": order.symbol,
        "order": str(order),
        "kind": order.order_type,
        "status": str(order.status),
        "age_seconds": _age(order.created_at, now),
        "client_order_id": order.client_order_id,
    }


def _fill(fill: Fill, now: datetime) -> Row:
    return {
        "symbol": fill.symbol,
        "fill": str(fill),
        "age_seconds": _age(fill.created_at, now),
        "client_order_id": fill.client_order_id,
    }


def as_text(result: Row) -> str:
    """The outcome as lines: the sentence, the differences, and what is under way."""
    return "\n".join(
        [
            f"The venue's report as of {datetime.fromisoformat(result['as_of']):%Y-%m-%d %H:%M:%S} UTC, "
            f"told {result['told_seconds_ago']} s ago.",
            *_differences(result),
            *_table("orders in flight", result["orders"], ("symbol", "order", "kind", "status", "age_seconds")),
            *_table("fills that wait to be booked", result["waiting_fills"], ("symbol", "fill", "age_seconds")),
            *_table("blocked until a person lifts it", result["blocks"], ("symbol", "reason")),
        ]
    )


def _differences(result: Row) -> list[str]:
    if result["agree"]:
        return ["The record and the venue agree."]
    if not result["differences"]:
        return ["They hold the same, but executions wait to be booked."]
    headings = ("symbol", "difference", "record", "venue", "since", "would be done" if result["dry_run"] else "done")
    rows = [
        (
            each["symbol"],
            each["difference"].replace("_", " "),
            each["ours"] or "-",
            each["theirs"] or "-",
            f"{datetime.fromisoformat(each['since']):%Y-%m-%d %H:%M:%S}",
            each["done"],
        )
        for each in result["differences"]
    ]
    return ["", *columns([headings, *rows])]


def _table(title: str, rows: Iterable[Row], names: Sequence[str]) -> list[str]:
    cells = [[f"{row[name]} s" if name == "age_seconds" else row[name] for name in names] for row in rows]
    if not cells:
        return []
    return ["", f"{title}:", *(f"  {line}" for line in columns(cells))]
