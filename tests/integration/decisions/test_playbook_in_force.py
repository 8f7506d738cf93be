"""What the playbook enforces in a cycle: its bans and largest positions, whatever the answer calls things."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions import tasks
from decisions.models import DecisionCycle, Order, Outcome, State
from journal import playbook_versions
from journal.models import Trade
from journal.playbook import read_playbook
from journal.services import active_playbook
from tests.integration.decisions.build import NOON, position_payload
from tests.integration.decisions.model_server import ScriptedModels, analysed, overloaded, screened
from tests.integration.decisions.scene import decided, drive, later, order_of, tick, venue_says, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

EQUITY = Decimal(10_000)
RULE = Decimal("0.03")


def trade_by(**changes: Any) -> None:
    """A person's version of the playbook trades, with sections replaced."""
    document = active_playbook().model_dump(mode="json")
    playbook_versions.save_manual(
        read_playbook({**document, **changes}), basis=playbook_versions.basis(), by="ada", reason="for the test",
        now=NOON, promote=True,
    )  # fmt: skip


def rules(**changes: Any) -> list[dict[str, Any]]:
    return [{**rule, **changes} for rule in active_playbook().model_dump(mode="json")["market_regime_rules"]]


def opened(share: float) -> Trade:
    """A position of so much of equity is open."""
    order = order_of(decided())
    venue_says(order, "filled")
    trade = Trade.objects.get()
    assert trade.entry_value / EQUITY <= Decimal(str(share))
    return trade


def added(models: ScriptedModels, trade: Trade, share: float) -> DecisionCycle:
    """The cycle five minutes later, whose answer is to add so much of equity to the position."""
    held = position_payload(size=str(trade.size), notional_usd=str(trade.entry_value), mark_price="20000")
    world(later(5), held)
    models.will_say("analyze", analysed("ADD", size_pct=share))
    return drive(tick(later(5)))


def test_an_addition_is_shrunk_to_what_the_largest_position_leaves(models: ScriptedModels) -> None:
    trade_by(market_regime_rules=rules(max_position_pct=str(RULE)))
    models.will_say("analyze", analysed(size_pct=0.02))
    trade = opened(0.02)
    cycle = added(models, trade, 0.02)
    order = order_of(cycle)
    assert order.size_pct == RULE - trade.entry_value / EQUITY
    venue_says(order, "filled")
    trade.refresh_from_db()
    assert RULE - Decimal("0.0002") < trade.entry_value / EQUITY <= RULE


def test_an_addition_to_a_position_as_large_as_the_playbook_allows_is_blocked(models: ScriptedModels) -> None:
    trade_by(market_regime_rules=rules(max_position_pct=str(RULE)))
    models.will_say("analyze", analysed(size_pct=0.05))
    trade = opened(0.03)
    trade_by(market_regime_rules=rules(max_position_pct="0.025"))
    cycle = added(models, trade, 0.02)
    assert (cycle.state, cycle.outcome) == (State.DONE, Outcome.PLAYBOOK_BLOCKED)
    assert cycle.reason.startswith("the position is 3 % of equity, and the playbook allows 2.5 % in a trending_up")
    assert Order.objects.count() == 1


def test_a_proposal_larger_than_the_gate_allows_is_shrunk_before_the_gate_judges_it(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(size_pct=0.5))
    assert order_of(decided()).size_pct == Decimal("0.05")


def test_a_strategy_is_written_down_as_the_playbook_spells_it(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(strategy=" Momentum-Breakout "))
    venue_says(order_of(decided()), "filled")
    assert Trade.objects.get().strategy_used == "momentum_breakout"


@pytest.mark.parametrize(("minutes", "outcome"), [(59.9, Outcome.PLAYBOOK_BLOCKED), (60, None)])
def test_the_hour_to_avoid_is_that_of_the_snapshot(models: ScriptedModels, minutes: float, outcome: str | None) -> None:
    """Whatever the time is by then: the answer was given for that moment, and a shadow book judges by no other."""
    trade_by(time_filters={"avoid_hours_utc": [12], "preferred_hours_utc": []})
    world(later(minutes))
    cycle = drive(tick(later(minutes)), until=State.RISK_CHECK)
    world(later(minutes) + timedelta(seconds=20))
    tasks.risk(cycle.pk)
    cycle.refresh_from_db()
    assert cycle.outcome == outcome


@pytest.mark.parametrize("reply", ["no JSON", overloaded()])
def test_a_cycle_whose_answer_cannot_be_used_names_the_version_it_was_asked_with(
    models: ScriptedModels, reply: Any
) -> None:
    models.will_say("analyze", reply)
    cycle = decided()
    assert cycle.outcome in (Outcome.INVALID_OUTPUT, Outcome.MODEL_ERROR)
    assert cycle.playbook_version == 1


def test_an_audit_whose_answer_cannot_be_used_names_it_too(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    models.will_say("screen", screened(signal=False))
    models.will_say("analyze", "no JSON")
    cycle = decided()
    assert (cycle.outcome, cycle.playbook_version) == (Outcome.SCREENED_OUT, 1)
