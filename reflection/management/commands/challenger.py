"""`manage.py challenger`: the version that waits, and its shadow record beside that of the one that trades."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from journal import playbook_versions
from journal.performance import as_document
from journal.playbook_versions import NoVersion
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns
from reflection import challenger, side_by_side
from reflection.models import ShadowContest

EXAMPLES = """
examples:
  manage.py challenger
  manage.py challenger 4 --json
  manage.py playbook promote 4 --reason "better over 60 shadow trades"

exit codes: 0 done, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    help = "Show a challenger's shadow record beside that of the version that trades."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", metavar="N", nargs="?", type=int, help="a version that challenged before")
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            version = _version(options["number"])
        except NoVersion as error:
            raise CommandError(str(error), returncode=2) from error
        contest = None if version is None else challenger.newest_contest_of(version)
        if options["json"]:
            self.stdout.write(json.dumps(_document(version, contest), indent=2))
        else:
            self.stdout.write(_told(version, contest))


def _version(number: int | None) -> int | None:
    """The version that is asked for, by default the one that waits. Raises `NoVersion`."""
    if number is not None:
        return playbook_versions.find(number).version
    waiting = playbook_versions.challenger()
    return None if waiting is None else waiting.version


def _document(version: int | None, contest: ShadowContest | None) -> dict[str, Any]:
    return {
        "promotion": settings.PLAYBOOK_PROMOTION,
        "challenger": version,
        "champion": None if contest is None else contest.champion_version,
        "record": None if contest is None else as_document(challenger.record(contest)),
        "looks": [] if contest is None else [dict(zip(NAMES, row, strict=True)) for row in side_by_side.looks(contest)],
    }


NAMES = (
    "look", "as_of", "trades", "days", "p_net_better", "p_calibration_better", "p_net_worse", "level", "verdict",
)  # fmt: skip


def _told(version: int | None, contest: ShadowContest | None) -> str:
    mode = f"PLAYBOOK_PROMOTION={settings.PLAYBOOK_PROMOTION}"
    if version is None:
        return f"No version of the playbook waits for its decision ({mode})."
    if contest is None:
        return f"Playbook version {version} has no shadow record: it was never asked ({mode})."
    head = ("", *side_by_side.sides(contest))
    figures = [(line.name, line.challenger, line.champion) for line in side_by_side.lines(contest)]
    told = [
        f"In shadow since {contest.started_at:%Y-%m-%d %H:%M} UTC ({mode}). {side_by_side.asked(contest)}",
        "",
        *columns([head, *figures]),
        "",
    ]
    if looks := list(side_by_side.looks(contest)):
        told += [*columns([side_by_side.LOOK_HEADINGS, *looks]), ""]
    return "\n".join([*told, side_by_side.next_look(contest)])
