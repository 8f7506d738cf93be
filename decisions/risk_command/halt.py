"""`manage.py risk halt`: open nothing more; with `--close-all` leave every position too."""

from argparse import ArgumentParser
from typing import Any

from decisions import operator_actions
from decisions.risk_command import Say
from decisions.risk_command.people import add_person, carry_out

HELP = "open nothing more until a person resumes; with --close-all also leave every position"


def add_arguments(parser: ArgumentParser) -> None:
    add_person(parser)
    parser.add_argument(
        "--close-all", action="store_true", help="also close every position by a reduce-only market order"
    )


def run(options: dict[str, Any], say: Say) -> int:
    action = operator_actions.close_all if options["close_all"] else operator_actions.halt
    return carry_out(action, options, say)
