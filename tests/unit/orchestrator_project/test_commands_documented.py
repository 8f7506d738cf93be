"""docs/commands.md tells of every command of ours, and of no command or option that there is not."""

import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "commands.md").read_text()
OURS = {
    name
    for name, app in get_commands().items()
    if str(app).partition(".")[0] in ("orchestrator_project", "journal", "risk", "decisions", "reflection")
}
ALLOWED = {"--help"}


def parser(name: str) -> ArgumentParser:
    return load_command_class(str(get_commands()[name]), name).create_parser("manage.py", name)


def parsers(of: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    """The words of a command, each with what it takes."""
    for action in of._actions:
        if isinstance(action, _SubParsersAction):
            yield from action.choices.items()


def options(of: ArgumentParser) -> set[str]:
    own = set(of._option_string_actions)
    return own.union(*(options(each) for _, each in parsers(of)))


def sections() -> dict[str, str]:
    """The text about each heading of commands."""
    parts = re.split(r"^### (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_of_ours_has_its_heading() -> None:
    assert {name.strip() for heading in sections() for name in heading.split(",")} == OURS


@pytest.mark.parametrize("heading", list(sections()))
def test_every_option_named_there_exists(heading: str) -> None:
    known = ALLOWED.union(*(options(parser(name.strip())) for name in heading.split(",")))
    named = set(re.findall(r"--[a-z][a-z-]+", sections()[heading]))
    assert named - known - {"--help"} <= {"--scale"}, named - known


def test_every_word_of_a_command_that_is_shown_exists() -> None:
    for name, word in re.findall(r"(?:`|manage\.py )(risk|trades|playbook|second_factor) ([a-z]+)", TEXT):
        assert word in dict(parsers(parser(name))), f"{name} {word}"


def test_every_line_that_is_shown_can_be_typed() -> None:
    lines = re.findall(r"^    (?:\$ )?manage\.py ([a-z_]+)(.*)$", TEXT, re.MULTILINE)
    assert len(lines) > 8
    for name, rest in lines:
        parser(name).parse_args(rest.split())
