"""Who acts and why: the arguments that halting and resuming share, and how their result is told."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from decisions.clock import now_for_record
from decisions.risk_command import DONE, REFUSED, Say
from journal import person
from orchestrator_project.command_line import acted_on
from risk.models import RiskAction
from risk.services import Refused


def add_person(parser: ArgumentParser) -> None:
    person.add_person(parser)
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")


def carry_out(action: Callable[..., str], options: dict[str, Any], say: Say) -> int:
    """Do what a person asked for, and say what was done or why not."""
    who = person.person(options)
    try:
        done, told = True, action(**who, source=RiskAction.Source.COMMAND, now=now_for_record())
    except Refused as refusal:
        done, told = False, str(refusal)
    if options["json"]:
        say(json.dumps({"of": acted_on(), "done": done, "told": told}))
    else:
        say(f"{told if done else f'Refused. {told}'}\nOf: {acted_on()}")
    return DONE if done else REFUSED
