"""`manage.py risk drill`: proposals just inside, at and just outside every limit, judged like real ones."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from decisions.risk_command import DONE, REFUSED, Say
from orchestrator_project.terminal import columns
from risk import services as risk
from risk.drill import Finding

HELP = "probe every limit in force and show what the gate says; exit code 1 when it says something wrong"
HEADINGS = ("rule", "place", "proposal", "limit", "measured", "verdict", "")
LONGEST_FIGURE = 24


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every probe; by default three of each rule, for a long")
    parser.add_argument("--json", action="store_true", help="every probe as JSON")


def run(options: dict[str, Any], say: Say) -> int:
    findings = risk.drill_limits()
    if options["json"]:
        say(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [_row(finding) for finding in _shown(findings, everything=options["all"])]
        say("\n".join(columns([HEADINGS, *rows])))
        say(f"\n{summary(findings)}")
    return REFUSED if any(finding.fault for finding in findings) else DONE


def summary(findings: Sequence[Finding]) -> str:
    """The drill in a sentence."""
    rules = len({finding.rule for finding in findings})
    wrong = [finding for finding in findings if finding.fault]
    if not wrong:
        return f"{len(findings)} proposals round the limits of {rules} rules: each was judged as it must be."
    named = ", ".join(sorted({finding.rule for finding in wrong}))
    return f"{len(wrong)} of {len(findings)} proposals were judged WRONGLY ({named}): do not trade."


def _shown(findings: Sequence[Finding], *, everything: bool) -> list[Finding]:
    """All, or the first of each rule and place, and whatever is wrong."""
    if everything:
        return list(findings)
    first = {(finding.rule, finding.place): finding for finding in reversed(findings)}
    chosen = {id(finding) for finding in first.values()}
    return [finding for finding in findings if id(finding) in chosen or finding.fault]


def _row(finding: Finding) -> tuple[str, ...]:
    granted = "approved" if finding.approved else "refused"
    return (
        finding.rule,
        finding.place,
        finding.told,
        finding.limit[:LONGEST_FIGURE],
        finding.measured[:LONGEST_FIGURE],
        f"{finding.verdict}, {granted}",
        f"WRONG: {finding.fault}" if finding.fault else "",
    )
