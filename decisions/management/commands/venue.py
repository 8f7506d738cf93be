"""`manage.py venue`: the sandbox's stand-in for the trade server, and its ledger read back."""

import json
import signal
from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from pathlib import Path
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from decisions.sandbox.ledger import Ledger, LedgerError
from decisions.sandbox.ledger_report import LedgerReport, read_ledger
from decisions.sandbox.venue import NO_FAULTS, VenueTerms
from decisions.sandbox.venue_faults import BadPlan, PlanFile
from decisions.sandbox.venue_service import BLOCK_SECONDS, VenueService
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.streams import connect_reader

DEFAULTS = VenueTerms()


def ledger_path() -> Path:
    """Where this installation's venue keeps its ledger."""
    return Path(settings.LOCAL_DIR) / "venue" / "ledger.sqlite3"


EXAMPLES = """
examples:
  manage.py venue
  manage.py venue --faults docs/examples/venue-faults.json
  manage.py venue --ledger --json

exit codes: 0 stopped or shown, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Run the sandbox venue until it is told to stop, or print its ledger's sums."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--equity", default="10000", help="USD a new account begins with (default: %(default)s)")
        for name, default in (
            ("--taker-fee", DEFAULTS.taker_fee),
            ("--maker-fee", DEFAULTS.maker_fee),
            ("--slippage", DEFAULTS.slippage),
        ):
            parser.add_argument(name, default=str(default), help="a fraction (default: %(default)s)")
        parser.add_argument(
            "--faults", type=Path, metavar="FILE", help="go wrong by this plan (JSON, see docs/failures.md)"
        )
        parser.add_argument("--ledger", action="store_true", help="print the ledger's sums instead")
        parser.add_argument("--json", action="store_true", help="with --ledger: as JSON")

    def handle(self, **options: Any) -> None:
        try:
            if options["ledger"]:
                self._show(read_ledger(ledger_path()), as_json=options["json"])
            else:
                self._run(options)
        except (BadPlan, LedgerError) as error:
            raise CommandError(str(error), returncode=2) from error

    def _run(self, options: dict[str, Any]) -> None:
        equity = _number("--equity", options["equity"])
        terms = VenueTerms(
            taker_fee=_fraction("--taker-fee", options["taker_fee"]),
            maker_fee=_fraction("--maker-fee", options["maker_fee"]),
            slippage=_fraction("--slippage", options["slippage"]),
        )
        if not 0 < equity < 10**9:
            raise CommandError(f"--equity {options['equity']}: more than 0 and less than 1000000000 USD", returncode=2)
        if not settings.SANDBOX:
            raise CommandError("SANDBOX is false: the real trade server is in use, not this stand-in", returncode=2)
        plan = PlanFile(options["faults"]) if options["faults"] else None
        ledger = Ledger.open(ledger_path(), start_equity=equity, terms=terms)
        if ledger.start_equity != equity:
            self.say(f"The ledger goes on with the {ledger.start_equity} USD it began with, not {equity}.")
        self.say("The sandbox venue runs.")
        _serve(ledger, plan)
        self.say("The sandbox venue has stopped.")

    def _show(self, report: LedgerReport, *, as_json: bool) -> None:
        sums = summary(report)
        if as_json:
            self.stdout.write(json.dumps(sums))
            return
        for name, value in sums.items():
            self.stdout.write(f"{name:<16} {value:>16}")


def summary(report: LedgerReport) -> dict[str, str | int]:
    """The ledger in numbers: money as decimal strings in USD, and counts."""
    money = ("start_equity", "balance", "equity", "unrealized_pnl", "realized_pnl", "fees", "funding", "transfers")
    sums: dict[str, str | int] = {name: format(getattr(report, name), "f") for name in money}
    return sums | {
        "difference": format(report.difference, "f"),
        "orders": len(report.orders),
        "executions": sum(fill.executed for fill in report.fills),
        "funding_payments": len(report.payments),
        "bad_entries": report.bad_entries,
    }


def _serve(ledger: Ledger, plan: PlanFile | None) -> None:
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    client = connect_reader(BLOCK_SECONDS)
    try:
        VenueService(client, ledger, faults=plan.plan if plan else lambda: NO_FAULTS).run(stop)
    finally:
        client.close()
        ledger.close()


def _number(name: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise CommandError(f"{name} {text}: not a number", returncode=2) from None
    if not number.is_finite():
        raise CommandError(f"{name} {text}: not a finite number", returncode=2)
    return number


def _fraction(name: str, text: str) -> Decimal:
    number = _number(name, text)
    if not 0 <= number < Decimal("0.1"):
        raise CommandError(f"{name} {text}: a fraction from 0 to below 0.1 (0.0005 is 0.05 %)", returncode=2)
    return number
