"""`manage.py runstack`: the whole system on this machine, in one terminal."""

import os
import re
import signal
from argparse import ArgumentParser
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import CommandError

from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.local import children, ownership
from orchestrator_project.local.run import Run

if TYPE_CHECKING:
    from decisions.sandbox.opening import Sources


EXAMPLES = """
examples:
  manage.py runstack
  manage.py runstack --market candles.csv.gz --workers each
  manage.py runstack --lockstep --cycles 300 --exit-when-done --report out.json

exit codes: 0 ended as told, 1 a server or a process could not be kept up, or a bounded run has faults, 2 a mistake in
what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Start everything on this machine and follow the cycles: embedded servers where no URL is given, migrations, "
        "market and venue of the sandbox, consumer, workers, web, Flower, beat. Ctrl-C ends it in order, twice at once."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        market = parser.add_argument_group("market of the sandbox")
        market.add_argument(
            "--market", action="append", default=[], metavar="[SYMBOL=]PATH", help="candles; repeatable"
        )
        market.add_argument("--funding", action="append", default=[], metavar="[SYMBOL=]PATH", help="funding rates")
        market.add_argument("--oi", action="append", default=[], metavar="[SYMBOL=]PATH", help="open interest")
        market.add_argument("--start", metavar="TIME", help="first slot, such as 2022-11-01T00:00Z")
        market.add_argument("--seed", type=int, help="of the generated market (SANDBOX_SEED)")
        market.add_argument("--equity", help="the account's first equity in USD")
        market.add_argument(
            "--faults", type=Path, metavar="FILE", help="the venue goes wrong by this plan (see docs/failures.md)"
        )
        run = parser.add_argument_group("bounded runs")
        run.add_argument("--lockstep", action="store_true", help="tick the slots here, each after the last has ended")
        run.add_argument("--cycles", type=int, metavar="N", help="run N slots, from fresh books (needs --lockstep)")
        run.add_argument("--continue", action="store_true", dest="go_on", help="allow books that are not fresh")
        run.add_argument("--exit-when-done", action="store_true", help="end after them; exit code 1 if anything is off")
        run.add_argument("--report", type=Path, metavar="FILE", help="write what came of it as JSON")
        parser.add_argument("--no-web", action="store_true", help="neither web nor Flower")
        parser.add_argument("--workers", choices=("grouped", "each"), default="grouped", help="each: one per queue")
        parser.add_argument("--end-with-parent", action="store_true", help="stop when the starting process dies")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_contradictions(options)
        _refuse_unwritable(options["report"])
        _refuse_bad_plan(options["faults"])
        sources, instruments = _market(options)
        if options["end_with_parent"]:
            children.die_with_parent(signal.SIGTERM, os.getppid())
        wanted = ownership.Wanted(postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS)
        try:
            with ownership.servers_for_stack(settings.LOCAL_DIR, wanted, self._say) as embedded:
                code = Run(options, sources, instruments, embedded, self._say).to_the_end()
        except ownership.StackRunning as error:
            raise CommandError(str(error), returncode=2) from error
        if code:
            raise SystemExit(code)

    def _say(self, line: str) -> None:
        with suppress(OSError):  # The terminal may be gone; the processes are to be stopped all the same.
            self.stdout.write(line)
            self.stdout.flush()


def _refuse_contradictions(options: dict[str, Any]) -> None:
    refusals = {
        "--cycles needs --lockstep": options["cycles"] is not None and not options["lockstep"],
        "--equity must be a number above 0": options["equity"] is not None and not _is_positive(options["equity"]),
        "--cycles must be at least 1": options["cycles"] is not None and options["cycles"] < 1,
        "--exit-when-done needs --cycles": options["exit_when_done"] and options["cycles"] is None,
        "--report needs --lockstep": options["report"] is not None and not options["lockstep"],
        "--lockstep is the sandbox's: SANDBOX is false": options["lockstep"] and not settings.SANDBOX,
        "--faults are the sandbox venue's: SANDBOX is false": options["faults"] is not None and not settings.SANDBOX,
    }
    for sentence, contradicted in refusals.items():
        if contradicted:
            raise CommandError(sentence, returncode=2)


def _is_positive(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None and Decimal(text) > 0


def _refuse_unwritable(report: Path | None) -> None:
    """A bounded run may take hours: whether its report can be written is to be known before."""
    if report is None:
        return
    if os.path.isdir(report):
        raise CommandError(f"--report {report}: a folder; name a file in it", returncode=2)
    folder = report.absolute().parent
    if not (os.path.isdir(folder) and os.access(report if os.path.isfile(report) else folder, os.W_OK)):
        raise CommandError(f"--report {report}: {folder} is no folder that can be written to", returncode=2)


def _refuse_bad_plan(plan: Path | None) -> None:
    """Before anything starts: a venue that ends at once would take the stack with it."""
    from decisions.sandbox.venue_faults import BadPlan, read_plan

    try:
        if plan is not None:
            read_plan(plan)
    except BadPlan as error:
        raise CommandError(str(error), returncode=2) from error


def _market(options: dict[str, Any]) -> tuple["Sources", list[str]]:
    """What the market is made of, and its instruments: those of the files, or the configured ones."""
    from decisions.sandbox.instruments import specification
    from decisions.sandbox.opening import FILE_MISTAKES, read_sources

    try:
        sources = read_sources(**{name: options[name] for name in ("market", "funding", "oi", "start")})
        instruments = [*sources.candles] or [*settings.INSTRUMENTS]
        if settings.SANDBOX:
            for symbol in instruments:
                specification(symbol)
    except FILE_MISTAKES as error:
        raise CommandError(str(error), returncode=2) from error
    return sources, instruments
