"""What our commands have in common: help that ends with examples and exit codes, as they are written."""

from argparse import RawDescriptionHelpFormatter, _SubParsersAction
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from django.db import connection

from orchestrator_project.logs import get_logger


class Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Django's, with the examples as they are written."""


class CommandWithExamples(BaseCommand):
    """A command whose `--help` ends with `examples`: commands to copy, and the exit codes."""

    examples: ClassVar[str] = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        made = super().create_parser(prog_name, subcommand, formatter_class=Formatter, epilog=self.examples, **kwargs)
        for action in made._actions:
            if isinstance(action, _SubParsersAction):
                for word, parser in action.choices.items():
                    parser.formatter_class, parser.epilog = Formatter, self._examples_of(subcommand, word)
        return made

    def _examples_of(self, name: str, word: str) -> str:
        """Those of one word of the command, and the exit codes."""
        shown, _, codes = self.examples.strip().partition("\n\n")
        lines = [line for line in shown.splitlines() if f" manage.py {name} {word}" in f"{line} "]
        return "\n".join(["examples:", *lines, "", codes]) if lines else codes

    def say(self, line: str) -> None:
        """One line of a service that runs on: for a person, or among its log's where those are JSON."""
        if settings.LOG_JSON:
            get_logger(type(self).__module__).info(line)
        else:
            self.stdout.write(line)
            self.stdout.flush()


def acted_on() -> str:
    """What a command of this process acts on, without a secret: whose settings were read is seen by it."""
    mode = "SANDBOX" if settings.SANDBOX else "LIVE"
    known = connection.settings_dict
    return f"{mode}, {named_database(str(known['NAME']), str(known['HOST']))}"


def named_database(name: str, host: str) -> str:
    return f"database {name} at {host or 'this machine'}"
