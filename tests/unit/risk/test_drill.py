"""The drill finds nothing in the gate as it is, and finds every rule that is missing, looser or stricter."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from risk import gate
from risk.drill import drill
from risk.limits import LIMIT_FIELDS, Limits, parse_limits
from risk.probes import PROBED
from tests.unit.risk.strategies import permitted_limits

LIMITS = parse_limits({})
LIMITED = [field for field in LIMIT_FIELDS if field.name != "COOLDOWN_AFTER_LOSS_STREAK"]
"""The limits of the gate's own rules: the length of a cooldown is the risk state's."""


def faults(limits: Limits = LIMITS, evaluate: Any = gate.evaluate) -> set[str]:
    """The rules about which the drill complains."""
    return {finding.rule for finding in drill(limits, evaluate) if finding.fault}


def test_the_gate_as_it_is_does_what_it_must() -> None:
    findings = drill(LIMITS, gate.evaluate)
    assert [finding for finding in findings if finding.fault] == []
    assert {(finding.rule, finding.place) for finding in findings} >= {
        (rule.__name__, place) for rule in gate.RULES for place in ("inside", "at", "outside")
    }


def test_every_rule_of_the_gate_is_probed() -> None:
    assert [rule.__name__ for rule in gate.RULES] == [name for name in PROBED if name != "exits"]


@settings(max_examples=60, deadline=None)
@given(limits=permitted_limits())
def test_it_holds_whatever_limits_are_set(limits: Limits) -> None:
    assert faults(limits) == set()


@pytest.mark.parametrize("rule", gate.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_was_taken_out_is_found(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "RULES", tuple(each for each in gate.RULES if each is not rule))
    assert rule.__name__ in faults()


@pytest.mark.parametrize("rule", gate.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_always_passes_is_found(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lets_all_pass(case: Any) -> gate.RuleResult:
        return replace(rule(case), verdict="pass")

    monkeypatch.setattr(gate, "RULES", tuple(lets_all_pass if each is rule else each for each in gate.RULES))
    assert rule.__name__ in faults()


@pytest.mark.parametrize("field", LIMITED, ids=lambda field: field.name)
@pytest.mark.parametrize("factor", ["0.99999", "1.00001"])
def test_a_limit_that_is_not_the_one_in_force_is_found(field: Any, factor: str) -> None:
    limit = getattr(LIMITS, field.attribute)
    other: Any = limit + (1 if factor > "1" else -1) if field.whole else limit * Decimal(factor)
    moved = replace(LIMITS, **{field.attribute: other})

    def judges_by_other_limits(**inputs: Any) -> gate.Verdict:
        return gate.evaluate(**{**inputs, "limits": moved})

    assert faults(LIMITS, judges_by_other_limits)


@pytest.mark.parametrize("changed", [{"approved": True}, {"approved": False}, {"contracts": Decimal(10**9)}])
def test_a_verdict_that_does_not_follow_from_the_rules_is_found(changed: dict[str, Any]) -> None:
    assert faults(LIMITS, lambda **inputs: replace(gate.evaluate(**inputs), **changed))


def test_a_cap_that_is_not_applied_is_found() -> None:
    def forgets_the_cap(**inputs: Any) -> gate.Verdict:
        return replace(gate.evaluate(**inputs), leverage=inputs["proposal"].leverage)

    assert faults(LIMITS, forgets_the_cap) == {"leverage"}
