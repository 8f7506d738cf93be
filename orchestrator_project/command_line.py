"""What our commands have in common: help that ends with examples and exit codes, as they are written."""

from argparse import RawDescriptionHelpFormatter
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter


class Formatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Django's, with the examples as they are written."""


class CommandWithExamples(BaseCommand):
    """A command whose `--help` ends with `examples`: commands to copy, and the exit codes."""

    examples: ClassVar[str] = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=Formatter, epilog=self.examples, **kwargs)
