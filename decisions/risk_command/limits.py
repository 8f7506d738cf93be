"""`manage.py risk limits`: the limits in force, where each comes from, and the bounds no setting can pass."""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from decisions.risk_command import DONE, Say
from orchestrator_project.terminal import columns
from risk.limits import LIMIT_FIELDS

HELP = "every limit in force, its source and its hard bounds"
NAMES = ("name", "value", "source", "default", "floor", "ceiling")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: dict[str, Any], say: Say) -> int:
    found = limits_in_force()
    if options["json"]:
        say(json.dumps(found, indent=2))
    else:
        say("\n".join(columns([NAMES, *([limit[name] for name in NAMES] for limit in found)])))
        say("\nThey come from the environment or the settings file and are read when a process starts.")
    return DONE


def limits_in_force() -> list[dict[str, str]]:
    """Each limit as text, with its source (`default`, `settings file` or `environment`) and its bounds."""
    values = settings.RISK_LIMITS.as_dict()
    return [
        {
            "name": field.name,
            "value": values[field.attribute],
            "source": settings.PARAMETERS[field.name].source,
            "default": field.default,
            "floor": "above 0" if field.floor is None else field.floor,
            "ceiling": field.ceiling,
            "description": field.description,
        }
        for field in LIMIT_FIELDS
    ]
