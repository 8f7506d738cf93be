"""The gate is probed before anything trades, and what was sent is held against what the gate said."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from decisions import verdict_audit
from decisions.models import DecisionCycle, Order
from risk import gate
from risk.models import Verdict
from tests.integration.decisions.build import position_payload
from tests.integration.decisions.model_server import ScriptedModels, analysed
from tests.integration.decisions.scene import account, command, decided, later, order_of, venue_says
from tests.integration.rewriting import rewriting_the_record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
PROJECT = Path(__file__).resolve().parents[3]
SHOUTED = "do not trade"

WORKER_WITHOUT_A_RULE = """
from risk import gate
gate.RULES = tuple(rule for rule in gate.RULES if rule is not gate.total_exposure)
from orchestrator_project.celery import app
app.worker_main(["worker", "--queues", "execute", "--concurrency", "1", "--without-gossip", "--without-mingle"])
"""


risk = partial(command, "risk")


# --- the drill --------------------------------------------------------------------------------------------------------


def test_the_drill_shows_every_rule_and_ends_well() -> None:
    code, text = risk("drill")
    assert code == 0
    assert "each was judged as it must be" in text
    for rule in gate.RULES:
        places = [line.split()[1] for line in text.splitlines() if line.split()[:1] == [rule.__name__]]
        assert places == ["inside", "at", "outside"]


def test_the_drill_probes_the_limits_in_force(settings: Any) -> None:
    settings.RISK_LIMITS = settings.RISK_LIMITS.from_dict({**settings.RISK_LIMITS.as_dict(), "max_leverage": "2"})
    code, text = risk("drill", "--json")
    limits = {finding["limit"] for finding in json.loads(text) if finding["rule"] == "leverage"}
    assert (code, limits) == (0, {"2"})


def test_a_rule_that_is_missing_is_shouted_and_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule is not gate.stop_loss))
    code, text = risk("drill")
    assert (code, SHOUTED in text, "WRONG: no rule stop_loss judged it" in text) == (1, True, True)


def test_a_worker_whose_gate_fails_the_drill_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER_WITHOUT_A_RULE],
        cwd=PROJECT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "The risk gate failed its drill: this worker does not start" in done.stderr
    assert "limits drill: total_exposure" in done.stderr


# --- verify -----------------------------------------------------------------------------------------------------------


def some_history(models: ScriptedModels) -> list[DecisionCycle]:
    """An opening, a refused one and a close."""
    models.will_say("analyze", analysed(), analysed("CLOSE", size_pct=0, stop_loss=None, take_profit=None))
    first = decided()
    venue_says(order_of(first), "filled")
    account(later(5), position_payload())
    second = decided(later(5))
    venue_says(order_of(second), "filled", intent="close", side="sell", pnl_usd="1", exit_reason="signal")
    models.will_say("analyze", analysed(size_pct=0.04, stop_loss=19000.0))
    return [first, second, decided(later(10))]


def test_what_was_not_touched_has_no_fault(models: ScriptedModels) -> None:
    refused = some_history(models)[-1]
    assert refused.outcome == "gate_rejected"
    assert risk("verify") == (0, "3 verdicts judged again, 2 orders held against them: no fault.\n")
    for cycle in DecisionCycle.objects.all():
        assert risk("verify", "--cycle", str(cycle.pk))[0] == 0


def tell(changed: str, *values: Any) -> tuple[int, str]:
    """What verify says after somebody changed the record behind our back."""
    with rewriting_the_record(), connection.cursor() as cursor:
        cursor.execute(changed, values)
    return risk("verify")


def test_a_verdict_that_was_changed_is_told(models: ScriptedModels) -> None:
    cycle = some_history(models)[-1]
    code, text = tell(
        "UPDATE risk_verdicts SET approved = true, results = jsonb_set(results, '{approved}', 'true')"
        " WHERE decision_id = %s",
        cycle.decision_id,
    )
    assert code == 1
    assert "does not match its hash" in text
    assert "judged again, approved is False, stored was True" in text
    assert risk("verify", "--cycle", str(cycle.pk))[0] == 1


def test_a_verdict_that_was_taken_out_is_told(models: ScriptedModels) -> None:
    cycle = some_history(models)[0]
    code, text = tell("DELETE FROM risk_verdicts WHERE decision_id = %s", cycle.decision_id)
    assert (code, "the chain is broken" in text, "no verdict approved it" in text) == (1, True, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 999}, "size is 999"),
        ({"stop_loss": 1}, "stop_loss is 1"),
        ({"take_profit": None}, "take_profit is None"),
        ({"leverage": 9}, "leverage is 9"),
        ({"reduce_only": True}, "approved it with reduce_only False"),
        ({"symbol": "ETH-USDT-SWAP"}, "approved OPEN_LONG of BTC-USDT-SWAP"),
    ],
)
def test_an_order_that_is_not_what_was_approved_is_told(
    models: ScriptedModels, change: dict[str, Any], told: str
) -> None:
    order = order_of(some_history(models)[0])
    Order.objects.filter(pk=order.pk).update(**change)
    code, text = risk("verify")
    assert (code, told in text) == (1, True), text


def test_an_order_that_the_gate_refused_is_told(models: ScriptedModels) -> None:
    first, _, refused = some_history(models)
    Order.objects.filter(cycle=first).update(decision_id=refused.decision_id)
    code, text = risk("verify")
    verdict = Verdict.objects.get(decision_id=refused.decision_id)
    assert (code, f"verdict {verdict.pk} refused it" in text) == (1, True)


def test_a_long_record_tells_its_progress(models: ScriptedModels) -> None:
    some_history(models)
    told: list[tuple[int, int]] = []
    verdict_audit.of_all(lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]


def test_a_cycle_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(CommandError, match="there is no cycle 4711") as mistake:
        call_command("risk", "verify", "--cycle", "4711")
    assert mistake.value.returncode == 2


def test_an_empty_record_has_no_fault() -> None:
    assert risk("verify") == (0, "0 verdicts judged again, 0 orders held against them: no fault.\n")
