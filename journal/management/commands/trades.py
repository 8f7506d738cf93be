"""`manage.py trades`: the record of trades, as a table to read or a file to take along."""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from journal.export import FORMATS, document
from journal.export_rows import exported
from journal.models import Trade
from journal.person import MISTAKE
from journal.trade_rows import with_words_of_people
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns

MOST_LISTED = 10_000
NOTHING_FOUND = "No trade was opened then."
EXAMPLES = """
examples:
  manage.py trades list
  manage.py trades list --symbol BTC-USDT-SWAP --last 50
  manage.py trades list --from 2022-11-01 --to 2022-11-08 --json
  manage.py trades export --output trades.csv
  manage.py trades export --format json --from 2022-11-01T08:00Z | jq '.[].pnl_usd'

Times are UTC and market time: --from is the first moment, --to the first one after. A day means its midnight.
exit codes: 0 done, also when nothing was found; 1 the file cannot be written; 2 a mistake in what was typed
"""
Row = dict[str, Any]


class Command(CommandWithExamples):
    help = "List the trades, or export them as CSV or JSON. Works whether or not the stack is up."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
        listing = words.add_parser("list", help="the newest trades, a line each", description="The newest trades.")
        _takes_filters(listing)
        listing.add_argument("--last", type=_count, default=20, metavar="N", help="how many (default: %(default)s)")
        listing.add_argument("--json", action="store_true", help="as JSON")
        export = words.add_parser("export", help="every trade, newest first", description="Every trade, newest first.")
        _takes_filters(export)
        export.add_argument("--format", choices=[*FORMATS], default="csv", help="(default: %(default)s)")
        export.add_argument("--output", type=Path, metavar="FILE", help="where to; without it to the terminal")

    def handle(self, *_: Any, **options: Any) -> None:
        WORDS[options["word"]](self, options)


# --- which trades -----------------------------------------------------------------------------------------------------


def _takes_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", type=_moment, metavar="TIME", help="opened then or later")
    parser.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="opened before that")
    parser.add_argument("--symbol", help="of this instrument, such as BTC-USDT-SWAP")


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
        day = parse_date(text) if moment is None else None
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from error
    if moment is None and day is None:
        raise ArgumentTypeError(f"{text!r} is no time: write 2022-11-01 or 2022-11-01T08:00Z")
    found = moment or datetime.combine(day, time(), UTC)  # type: ignore[arg-type] # one of both is there
    return found.replace(tzinfo=found.tzinfo or UTC)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST_LISTED:
        raise ArgumentTypeError(f"{text!r}: a whole number from 1 to {MOST_LISTED}")
    return int(text)


def _wanted(options: Row) -> QuerySet[Trade]:
    first, end, symbol = options["first"], options["end"], options["symbol"]
    if first and end and first >= end:
        raise CommandError("--from has to be before --to", returncode=MISTAKE)
    trades = Trade.objects.order_by("-opened_at", "-id")
    if first:
        trades = trades.filter(opened_at__gte=first)
    if end:
        trades = trades.filter(opened_at__lt=end)
    if symbol:
        trades = trades.filter(symbol=symbol)
    return trades


# --- list -------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "id", "opened_at", "closed_at", "symbol", "direction", "entry_price", "exit_price", "size", "pnl_usd",
    "exit_reason", "strategy_used", "status",
)  # fmt: skip
HEADINGS = (
    "id",
    "opened",
    "closed",
    "symbol",
    "side",
    "entry",
    "exit",
    "size",
    "net USD",
    "ended by",
    "strategy",
    "is",
)
UNKNOWN = "-"


def _list(command: BaseCommand, options: Row) -> None:
    rows = [document(row) for row in _wanted(options).values(*COLUMNS)[: options["last"]]]
    if options["json"]:
        command.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        command.stdout.write("\n".join(columns([HEADINGS, *map(_cells, rows)])))
    else:
        command.stdout.write(NOTHING_FOUND)


def _cells(row: Row) -> tuple[str, ...]:
    return tuple(_cell(name, row[name]) for name in COLUMNS)


def _cell(name: str, value: Any) -> str:
    if value in (None, ""):
        return UNKNOWN
    if name.endswith("_at"):
        return str(value)[:16].replace("T", " ")
    text = str(value)
    plain = text.rstrip("0").rstrip(".") if name in ("entry_price", "exit_price", "size") and "." in text else text
    return plain if plain.isprintable() else repr(plain)


# --- export -----------------------------------------------------------------------------------------------------------


def _export(command: BaseCommand, options: Row) -> None:
    wanted = options["format"]
    trades = with_words_of_people(_wanted(options), wanted)
    try:
        with _opened(command, options["output"]) as write:
            for piece in exported(trades, wanted):
                write(piece)
    except BrokenPipeError:  # whoever reads had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = options["output"] or "the terminal"
        raise CommandError(f"--output {where}: {error.strerror or error}", returncode=1) from error
    if options["output"]:
        command.stderr.write(f"{options['output']}: written as {wanted.upper()}")


@contextmanager
def _opened(command: BaseCommand, output: Path | None) -> Iterator[Callable[[str], object]]:
    """What writes to the file, or to the terminal."""
    if output is None:
        yield partial(command.stdout.write, ending="")
        command.stdout.flush()
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        yield file.write


WORDS: dict[str, Callable[[BaseCommand, Row], None]] = {"list": _list, "export": _export}
