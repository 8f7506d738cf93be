"""`manage.py show_config`: the settings in force, where each comes from, and no secret."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from django.conf import settings

from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.parameters import Parameter

EXAMPLES = """
examples:
  manage.py show_config
  manage.py show_config --json
  manage.py show_config --example > .env.example

exit codes: 0 shown, 2 the settings are wrong: all that is, in one message
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = "Print the settings in force, grouped, with their source; secrets only by their length."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="as one JSON object")
        form.add_argument("--example", action="store_true", help="as a settings file with every default: .env.example")
        form.add_argument("--table", action="store_true", help="as Markdown tables of what may be set")

    def handle(self, *args: Any, **options: Any) -> None:
        parameters = settings.PARAMETERS.values()
        if options["json"]:
            text = as_json(parameters)
        elif options["example"]:
            text = as_example(parameters)
        elif options["table"]:
            text = as_table(parameters)
        else:
            text = as_text(parameters)
        self.stdout.write(text, ending="")


def as_text(parameters: Iterable[Parameter]) -> str:
    blocks = []
    for group, members in groupby(parameters, key=lambda parameter: parameter.group):
        lines = (f"  {each.name:<30} {each.shown:<40} {each.source}" for each in members)
        blocks.append("\n".join([group, *lines, ""]))
    return "\n".join(blocks)


def as_json(parameters: Iterable[Parameter]) -> str:
    described = {each.name: {"value": each.shown, "source": each.source, "group": each.group} for each in parameters}
    return json.dumps(described, indent=2) + "\n"


def as_example(parameters: Iterable[Parameter]) -> str:
    lines = ["# Every setting with its default. Copy to .env and take the # away from what you change.", ""]
    for group, members in groupby(parameters, key=lambda parameter: parameter.group):
        lines.append(f"## {group}")
        for each in members:
            lines += [f"# {each.description} ({each.allowed}).", f"# {each.name}={each.default}", ""]
    return "\n".join(lines)


def as_table(parameters: Iterable[Parameter]) -> str:
    blocks = []
    for group, members in groupby(parameters, key=lambda parameter: parameter.group):
        rows = (f"| `{each.name}` | {_cell(each.default)} | {each.description} | {each.allowed} |" for each in members)
        heading = [f"### {group}", "", "| name | default | what it is | allowed |", "|---|---|---|---|"]
        blocks.append("\n".join([*heading, *rows, ""]))
    return "\n".join(blocks)


def _cell(default: str) -> str:
    return f"`{default}`" if default else "not set"
