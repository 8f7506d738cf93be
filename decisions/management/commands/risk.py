"""`manage.py risk`: the gate's state and limits, and the halts that people begin and end."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from django.core.management.base import CommandError, CommandParser

from decisions.refusals import DATABASE_AWAY
from decisions.risk_command import drill, halt, limits, resume, status, verify
from orchestrator_project.command_line import CommandWithExamples

WORDS: Mapping[str, ModuleType] = {
    "status": status,
    "limits": limits,
    "halt": halt,
    "resume": resume,
    "drill": drill,
    "verify": verify,
}
"""Each has `HELP`, `add_arguments(parser)` and `run(options, say)`, which returns the exit code."""

EXAMPLES = """
examples:
  manage.py risk status
  manage.py risk limits --json
  manage.py risk halt --reason "the exchange is in maintenance"
  manage.py risk halt --close-all --by ada --reason "leaving before the announcement"
  manage.py risk resume --by ada --reason "the announcement is over"
  manage.py risk resume --rebase-peak --by ada --reason "the loss is understood, see the report of today"
  manage.py risk drill --all
  manage.py risk verify --cycle 4711

exit codes: 0 done, 1 refused by the facts, 2 a mistake in what was typed
drill and verify end with 1 when something is not as it must be
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Show and steer the risk gate. Works whether or not the stack is up."

    def add_arguments(self, parser: CommandParser) -> None:
        words = parser.add_subparsers(dest="word", metavar="WORD", required=True)
        for name, module in WORDS.items():
            module.add_arguments(words.add_parser(name, help=module.HELP, description=_sentence(module.HELP)))

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            code = WORDS[options["word"]].run(options, self.stdout.write)
        except DATABASE_AWAY as error:  # away, or read-only for now
            told = str(error).splitlines()[0]
            raise CommandError(f"Nothing was done, the database refuses: {told}. Try again.", returncode=1) from error
        if code:
            raise SystemExit(code)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
