"""The drill: probes of the limits in force, judged like real proposals, and what is wrong with what came of them.

It is given the function that judges; a rule that was taken out of the gate, a comparison that was loosened, a limit
that is not the one in force is found. Pure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from risk import gate
from risk.limits import Limits
from risk.probes import Place, Probe, probes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of a probe. `fault` is empty when it was what had to come."""

    rule: str
    place: Place
    told: str
    limit: str
    measured: str
    verdict: str
    approved: bool
    fault: str


def drill(limits: Limits, evaluate: Callable[..., gate.Verdict]) -> tuple[Finding, ...]:
    """Judge every probe of these limits by `evaluate`, which takes what `gate.evaluate` takes."""
    return tuple(_judged(probe, evaluate(**probe.inputs)) for probe in probes(limits))


def _judged(probe: Probe, verdict: gate.Verdict) -> Finding:
    results = {result.rule: result for result in verdict.results}
    mine = results.get(probe.rule)
    return Finding(
        rule=probe.rule,
        place=probe.place,
        told=probe.told,
        limit=(mine and mine.limit) or "",
        measured=(mine and mine.measured) or "",
        verdict=mine.verdict if mine else "not judged",
        approved=verdict.approved,
        fault="; ".join(_faults(probe, verdict, mine)),
    )


def _faults(probe: Probe, verdict: gate.Verdict, mine: gate.RuleResult | None) -> Iterator[str]:
    if mine is None:
        yield f"no rule {probe.rule} judged it"
    elif mine.verdict not in probe.expected:
        yield f"{probe.rule} says {mine.verdict}, {' or '.join(sorted(probe.expected))} is right"
    refusing = {result.rule for result in verdict.refusals}
    if strangers := refusing - {probe.rule} - probe.company:
        yield f"refused by {', '.join(sorted(strangers))} too"
    must_pass = probe.approved and not refusing & probe.company
    if verdict.approved != must_pass:
        yield f"{'approved' if verdict.approved else 'refused'}, which is wrong"
    if not verdict.approved and verdict.contracts != 0:
        yield f"refused, and yet {verdict.contracts} contracts are granted"
    if probe.leverage is not None and verdict.leverage != probe.leverage:
        yield f"leverage {verdict.leverage} is granted, {probe.leverage} is right"
    if probe.contracts is not None and verdict.contracts != probe.contracts and not refusing & probe.company:
        yield f"{verdict.contracts} contracts are granted, {probe.contracts} are right"
