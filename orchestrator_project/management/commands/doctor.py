"""`manage.py doctor`: whether everything is as it has to be, a line each, with what to do."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.doctor import online, probes
from orchestrator_project.doctor.findings import Finding, failed
from orchestrator_project.terminal import columns


class Command(CommandWithExamples):
    help = (
        "Look at servers, keys, models, streams, clocks, migrations, the limits drill, the disk, the settings, the "
        "news calendar and the processes: a line each, OK or what to do. Changes nothing."
    )
    examples = """
examples:
  manage.py doctor
  manage.py doctor --online
  manage.py doctor --json

exit codes: 0 nothing has failed (warnings may stand), 1 something has, 2 a mistake in what was typed
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--online", action="store_true", help="ask the services outside too: the models' lifecycle, OKX's clock"
        )
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        found = list(chain(probes.look(), online.look() if options["online"] else ()))
        self.stdout.write(json.dumps(as_object(found), indent=2) if options["json"] else "\n".join(as_text(found)))
        if failed(found):
            raise SystemExit(1)


def as_object(found: Sequence[Finding]) -> dict[str, Any]:
    return {"healthy": not failed(found), "findings": [asdict(each) for each in found]}


def as_text(found: Sequence[Finding]) -> Iterator[str]:
    """A line for each, its cure on the next; then the sum."""
    lines = columns([(each.grade, each.subject, each.told) for each in found])
    for line, each in zip(lines, found, strict=True):
        yield line
        if each.cure:
            yield f"      -> {each.cure}"
    counts = {grade: sum(each.grade == grade for each in found) for grade in ("OK", "WARN", "FAIL")}
    yield ""
    yield ", ".join(f"{count} {grade}" for grade, count in counts.items())
