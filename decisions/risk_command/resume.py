"""`manage.py risk resume`: lift the halts that a person may lift."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from decisions import operator_actions
from decisions.risk_command import Say
from decisions.risk_command.people import add_person, carry_out

HELP = "lift a person's halt and the drawdown's; the daily loss's ends at 00:00 UTC and not before"


def add_arguments(parser: ArgumentParser) -> None:
    add_person(parser)
    parser.add_argument(
        "--rebase-peak",
        action="store_true",
        help="let the drawdown be measured from the equity as last reported from now on: needed to lift a drawdown"
        " halt while the drawdown is still at its limit or beyond",
    )


def run(options: dict[str, Any], say: Say) -> int:
    return carry_out(partial(operator_actions.resume, rebase_peak=options["rebase_peak"]), options, say)
