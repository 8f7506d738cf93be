"""`manage.py status`: what the system has done and how it stands."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from decisions.report import Report, report


class Command(BaseCommand):
    help = "Show cycles, orders, trades, the books, model costs and times. Works whether or not the stack is up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON, with the keys of a run's report")

    def handle(self, *_: Any, **options: Any) -> None:
        result = report()
        self.stdout.write(json.dumps(result, indent=2) if options["json"] else as_text(result))


def as_text(result: Report) -> str:
    """The report as lines: a heading and its figures."""
    return "\n".join(f"{heading:<14}{_told(figures)}" for heading, figures in result.items() if figures is not None)


def _told(figures: Any) -> str:
    if not isinstance(figures, dict):
        return str(figures)
    return ", ".join(
        f"{name}: ({_told(value)})" if isinstance(value, dict) else f"{name} {value}" for name, value in figures.items()
    )
