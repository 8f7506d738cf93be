"""Who acts at the command line, and why: the arguments of every word that changes something."""

import getpass
from argparse import ArgumentParser
from typing import Any, TypedDict

from django.core.management.base import CommandError

MISTAKE = 2
"""The exit code of a mistake in what was typed."""
LONGEST_NAME = 100
LONGEST_REASON = 1000


class Person(TypedDict):
    """Who acts and why."""

    by: str
    reason: str


def add_person(parser: ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="who acts; by default the name you are logged in with")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with the name")


def person(options: dict[str, Any]) -> Person:
    """The name and reason that were given. Raises `CommandError` where one is missing."""
    by, reason = name_of(options["by"]), _storable(options["reason"].strip())
    if not reason:
        raise CommandError("--reason is empty: say why, it is kept", returncode=MISTAKE)
    if len(reason) > LONGEST_REASON:
        raise CommandError(f"--reason: {len(reason)} characters, at most {LONGEST_REASON} are kept", returncode=MISTAKE)
    return Person(by=by, reason=reason)


def _storable(typed: str) -> str:
    """Text with the bytes that are none escaped: a deed does not fail for how a terminal is set."""
    return typed.encode(errors="backslashreplace").decode()


def name_of(given: str | None) -> str:
    """The name that was given, or the login's. Raises `CommandError` where there is none."""
    name = (_login() if given is None else given).strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise CommandError(f"--by {name!r:.40}: a name of 1 to {LONGEST_NAME} characters is needed", returncode=MISTAKE)
    return _storable(name)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry and without LOGNAME, as in some containers
        raise CommandError("--by is needed: this login has no name", returncode=MISTAKE) from None
