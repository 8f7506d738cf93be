"""Who acts and why: the arguments that halting and resuming share, and how their result is told."""

import getpass
import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from decisions.clock import now_for_record
from decisions.risk_command import DONE, MISTAKE, REFUSED, Say
from risk.models import RiskAction
from risk.services import Refused

LONGEST_NAME = 100


def add_person(parser: ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="who acts; by default the name you are logged in with")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with the name")
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")


def carry_out(action: Callable[..., str], options: dict[str, Any], say: Say) -> int:
    """Do what a person asked for, and say what was done or why not."""
    by, reason = _storable(_name(options["by"])), _storable(options["reason"].strip())
    if not reason:
        raise CommandError("--reason is empty: say why, it is kept", returncode=MISTAKE)
    try:
        done, told = True, action(by=by, reason=reason, source=RiskAction.Source.COMMAND, now=now_for_record())
    except Refused as refusal:
        done, told = False, str(refusal)
    say(json.dumps({"done": done, "told": told}) if options["json"] else told if done else f"Refused. {told}")
    return DONE if done else REFUSED


def _storable(typed: str) -> str:
    """Text with the bytes that are none escaped: a halt does not fail for how a terminal is set."""
    return typed.encode(errors="backslashreplace").decode()


def _name(given: str | None) -> str:
    name = (_login() if given is None else given).strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise CommandError(f"--by {name!r:.40}: a name of 1 to {LONGEST_NAME} characters is needed", returncode=MISTAKE)
    return name


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without an entry and without LOGNAME, as in some containers
        raise CommandError("--by is needed: this login has no name", returncode=MISTAKE) from None
