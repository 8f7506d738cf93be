"""`manage.py playbook`: its versions, what differs between them, and which one trades."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from journal import playbook_versions
from journal.models import PlaybookVersion
from journal.person import add_person, person
from journal.playbook import InvalidPlaybook
from journal.playbook_versions import NoVersion, Refused, author, changes, find, standing
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns

REFUSED = 1
LONGEST_CELL = 60

EXAMPLES = """
examples:
  manage.py playbook history
  manage.py playbook history --json
  manage.py playbook show 3
  manage.py playbook diff 2 3
  manage.py playbook promote 4 --reason "its record over 40 trades is better in ranging markets"
  manage.py playbook reject 4 --by ada --reason "one bad week is no ban"
  manage.py playbook rollback 2 --by ada --reason "the ban of version 3 costs more than it saves"

exit codes: 0 done, 1 refused by the facts, 2 a mistake in what was typed
What is promoted trades from the next cycle on. A new version is written in the admin, under Playbook versions.
"""
Row = dict[str, Any]
Say = Callable[[str], object]


class Command(CommandWithExamples):
    help = "Show the versions of the playbook, and decide which one trades. Works whether or not the stack is up."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
        for name, (add_own, told, _) in WORDS.items():
            add_own(words.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}."))

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            WORDS[options["word"]][2](options, self.stdout.write)
        except NoVersion as error:
            raise CommandError(str(error), returncode=2) from error
        except InvalidPlaybook as error:
            raise CommandError(f"A version can no longer be read. {error}", returncode=REFUSED) from error
        except Refused as refusal:
            raise CommandError(f"Refused. {refusal}", returncode=REFUSED) from refusal


# --- history ----------------------------------------------------------------------------------------------------------


def _takes_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _history(options: Row, say: Say) -> None:
    active = playbook_versions.active().version
    versions = PlaybookVersion.objects.select_related("decision").prefetch_related("promotions").order_by("-version")
    rows = [_described(version, active) for version in versions]
    say(json.dumps(rows, indent=2) if options["json"] else "\n".join(columns([HEADINGS, *map(_cells, rows)])))


def _described(version: PlaybookVersion, active: int) -> Row:
    """One version as JSON values; times in UTC."""
    return {
        "version": version.version,
        "standing": standing(version, active),
        "created_at": _moment(version),
        "triggered_by": version.triggered_by,
        "created_by": author(version),
        "reason": version.reason,
        "change_summary": version.change_summary,
        "promotions": [
            {"at": _moment(each), "by": each.promoted_by, "reason": each.reason} for each in version.promotions.all()
        ],
        "performance": version.performance_at_update,
    }


def _moment(row: Any) -> str:
    return row.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")


HEADINGS = ("version", "standing", "written", "by", "what it changed", "why", "P&L then")


def _cells(row: Row) -> tuple[str, ...]:
    performance = row["performance"] or {}
    return (
        str(row["version"]),
        row["standing"],
        row["created_at"].replace("T", " ")[:16],
        row["created_by"],
        _cut(row["change_summary"]),
        _cut(row["reason"]),
        _pnl(performance),
    )


def _pnl(performance: Row) -> str:
    pnl = str(performance.get("total_pnl") or "-")
    return f"{pnl} in {playbook_versions.period_of(performance)}" if "period_end" in performance else pnl


def _cut(text: str) -> str:
    line = " ".join(text.split()) or "-"
    return line if len(line) <= LONGEST_CELL else f"{line[: LONGEST_CELL - 3]}..."


# --- show and diff ----------------------------------------------------------------------------------------------------


def _takes_version(parser: ArgumentParser) -> None:
    parser.add_argument("version", metavar="N", type=int, help="a version's number")


def _show(options: Row, say: Say) -> None:
    version = find(options["version"])
    say(json.dumps(version.playbook_json, indent=2, ensure_ascii=False))


def _takes_two(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="A", type=int, help="the version to start from")
    parser.add_argument("new", metavar="B", type=int, help="the version to compare with it")


def _diff(options: Row, say: Say) -> None:
    old, new = find(options["old"]), find(options["new"])
    found = changes(old, new)
    say("\n".join(found) if found else f"Versions {old.version} and {new.version} say the same.")


# --- which one trades -------------------------------------------------------------------------------------------------


def _takes_version_and_person(parser: ArgumentParser) -> None:
    _takes_version(parser)
    add_person(parser)


def _promote(options: Row, say: Say) -> None:
    playbook_versions.promote(options["version"], **person(options))
    say(f"Version {options['version']} trades from the next cycle on.")


def _reject(options: Row, say: Say) -> None:
    playbook_versions.reject(options["version"], **person(options))
    say(f"Version {options['version']} is rejected and will not trade.")


def _roll_back(options: Row, say: Say) -> None:
    written = playbook_versions.roll_back(options["version"], **person(options), now=timezone.now())
    say(f"Version {written.version}, with what version {options['version']} says, trades from the next cycle on.")


WORDS: dict[str, tuple[Callable[[ArgumentParser], None], str, Callable[[Row, Say], None]]] = {
    "history": (_takes_json, "every version: who wrote it, when, why, and how it stands", _history),
    "show": (_takes_version, "a version as JSON", _show),
    "diff": (_takes_two, "what differs between two versions, in words", _diff),
    "promote": (_takes_version_and_person, "let a version that waits trade; a challenger is approved by it", _promote),
    "reject": (_takes_version_and_person, "decide that a version that waits will not trade", _reject),
    "rollback": (_takes_version_and_person, "write an earlier version once more, and let it trade", _roll_back),
}
"""What each takes, its line in the list, and what it does."""
