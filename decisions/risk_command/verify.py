"""`manage.py risk verify`: every stored verdict judged again, the chain of them, and the orders they approved."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from decisions import verdict_audit
from decisions.models import DecisionCycle
from decisions.risk_command import DONE, MISTAKE, REFUSED, Say

HELP = "judge the stored verdicts again bit for bit, follow their chain, and hold the orders against them"
MOST_TOLD = 50


def add_arguments(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cycle", type=int, metavar="ID", help="the verdict and the order of one cycle")
    which.add_argument("--all", action="store_true", help="all of them (the default)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: dict[str, Any], say: Say) -> int:
    if options["cycle"] is not None:
        cycle = DecisionCycle.objects.filter(pk=options["cycle"]).first()
        if cycle is None:
            raise CommandError(f"there is no cycle {options['cycle']}", returncode=MISTAKE)
        audit = verdict_audit.of_cycle(cycle)
    else:
        audit = verdict_audit.of_all(_show_progress if sys.stderr.isatty() else None)
    if options["json"]:
        say(json.dumps({"verdicts": audit.verdicts, "orders": audit.orders, "faults": audit.faults}, indent=2))
    else:
        for fault in audit.faults[:MOST_TOLD]:
            say(fault)
        if len(audit.faults) > MOST_TOLD:
            say(f"... and {len(audit.faults) - MOST_TOLD} more (--json tells all)")
        found = f"{len(audit.faults)} faults" if audit.faults else "no fault"
        say(f"{audit.verdicts} verdicts judged again, {audit.orders} orders held against them: {found}.")
    return REFUSED if audit.faults else DONE


def _show_progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{done} of {total} verdicts{end}")
    sys.stderr.flush()
