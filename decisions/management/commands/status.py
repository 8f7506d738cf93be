"""`manage.py status`: how the system stands, on one screen."""

import json
from argparse import ArgumentParser
from typing import Any

from decisions.dashboard.addresses import ADDRESSES
from decisions.dashboard.headline import headline
from decisions.dashboard.pages import DEFAULT_RANGE
from decisions.dashboard.queries import facts
from decisions.report import Report, report
from decisions.status_screen import as_object, as_text, is_at_work
from orchestrator_project.command_line import CommandWithExamples


class Command(CommandWithExamples):
    help = (
        "Show how the system stands: its state in a sentence, equity, today's result, positions, the last cycles, "
        "costs, versions and ages. Works whether or not the stack is up."
    )
    examples = """
examples:
  manage.py status
  manage.py status --totals
  manage.py status --json
  manage.py status --check || echo "look at it"

exit codes: 0 shown; with --check 1 unless it is running and everything is up to date (a halt, a cooldown and silence
are 1); 2 a mistake in what was typed
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="exit code 1 unless it is running and everything is up to date"
        )
        parser.add_argument(
            "--totals", action="store_true", help="and what it has done from its first day on: reads whole tables"
        )
        parser.add_argument(
            "--json", action="store_true", help="as JSON, the totals among it: the keys of a run's report"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        seen = facts(DEFAULT_RANGE)
        head = headline(seen, ADDRESSES)
        if options["json"]:
            self.stdout.write(json.dumps({**as_object(seen, head), **report()}, indent=2))
        else:
            self.stdout.write("\n".join(as_text(seen, head)))
            if options["totals"]:
                self.stdout.write(f"\n{totals_as_text(report())}")
        if options["check"] and not is_at_work(seen):
            raise SystemExit(1)


def totals_as_text(result: Report) -> str:
    """The report as lines: a heading and its figures."""
    return "\n".join(f"{heading:<16}{_told(figures)}" for heading, figures in result.items() if figures is not None)


def _told(figures: Any) -> str:
    if not isinstance(figures, dict):
        return str(figures)
    return ", ".join(
        f"{name}: ({_told(value)})" if isinstance(value, dict) else f"{name} {value}" for name, value in figures.items()
    )
