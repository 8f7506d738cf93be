"""A cycle acts only on decisions that rest on what was shown, and says which fact was not."""

import json
from decimal import Decimal
from typing import Any

import pytest

from decisions.models import Order, Outcome, ScreenerLog, State
from decisions.outbox import redis_client
from tests.integration.decisions.build import BTC, NOON, position_payload
from tests.integration.decisions.model_server import ScriptedModels, analysed, left, screened
from tests.integration.decisions.scene import decided, drive, later, order_of, sent_orders, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

HELD = position_payload(BTC)


def fact(path: str, value: Any) -> dict[str, Any]:
    return {"path": path, "value": value}


RIGHT = fact("price", 20000)
WRONG: list[tuple[list[dict[str, Any]], str]] = [
    ([], "no fact was cited"),
    ([RIGHT, fact("indicators.1H.rsi_14", 71)], "indicators.1H.rsi_14 was cited as 71.0 and shown as 62.5"),
    ([RIGHT, fact("market.foo", 1)], "no field market.foo was shown"),
    ([fact("regime", "volatile")], 'regime was cited as "volatile" and shown as "trending_up"'),
]
wrong = pytest.mark.parametrize(("facts", "told"), WRONG, ids=["none", "value", "path", "word"])


def published() -> list[dict[str, Any]]:
    return [json.loads(entry[b"payload"]) for _, entry in redis_client().xrange("opus:decisions")]


@wrong
def test_an_opening_that_does_not_rest_on_what_was_shown_ends_as_invalid_output(
    models: ScriptedModels,
    django_capture_on_commit_callbacks: Any,
    facts: list[dict[str, Any]],
    told: str,
) -> None:
    models.will_say("analyze", analysed(cited_facts=facts))
    world()
    with django_capture_on_commit_callbacks(execute=True):
        cycle = drive(tick())
    assert (cycle.outcome, cycle.reason) == (
        Outcome.INVALID_OUTPUT,
        f"OPEN_LONG does not rest on what was shown: {told}",
    )
    assert cycle.decision["decision"]["action"] == "OPEN_LONG"
    assert cycle.warnings == ""
    assert [(each["action"], each["risk_approved"]) for each in published()] == [("OPEN_LONG", False)]
    assert (Order.objects.count(), sent_orders()) == (0, [])
    assert cycle.model_calls.get(purpose="analyze").outcome == "ok"


@wrong
def test_so_does_an_add(models: ScriptedModels, facts: list[dict[str, Any]], told: str) -> None:
    add = analysed("ADD", size_pct=0.005, stop_loss=19850.0, cited_facts=facts)
    models.will_say("analyze", add)
    world(NOON, HELD)
    cycle = drive(tick())
    assert (cycle.outcome, cycle.reason) == (Outcome.INVALID_OUTPUT, f"ADD does not rest on what was shown: {told}")
    assert not Order.objects.exists()


@wrong
@pytest.mark.parametrize(("action", "size"), [("CLOSE", Decimal(2)), ("REDUCE", Decimal(1))])
def test_an_exit_goes_on_and_the_cycle_keeps_what_was_wrong(
    models: ScriptedModels, action: str, size: Decimal, facts: list[dict[str, Any]], told: str
) -> None:
    models.will_say("analyze", left(action, size_pct=0.02 if action == "REDUCE" else 0, cited_facts=facts))
    world(NOON, HELD)
    cycle = drive(tick())
    assert (cycle.state, cycle.warnings) == (State.CONFIRMING, told)
    order = order_of(cycle)
    assert (order.reduce_only, order.size) == (True, size)
    assert len(sent_orders()) == 1


def test_doing_nothing_needs_no_fact_but_a_wrong_one_is_told(models: ScriptedModels) -> None:
    models.will_say("analyze", left("HOLD", cited_facts=[]), left("HOLD", cited_facts=[fact("price", 1)]))
    first = decided()
    world(later(5))
    second = drive(tick(later(5)))
    assert (first.outcome, first.warnings) == (Outcome.MODEL_HOLD, "")
    assert (second.outcome, second.warnings) == (Outcome.MODEL_HOLD, "price was cited as 1.0 and shown as 20000")


def test_facts_of_every_section_carry_an_opening(models: ScriptedModels) -> None:
    facts = [
        fact("market_snapshot.bid", "19999.9"),
        fact("indicators.15m.macd_hist", 4),
        fact("account.equity", 10000),
        fact("risk_limits.max_leverage", 3),
        fact("playbook.version", 1),
        fact("research_context.available", "false"),
        fact("allowed_actions.actions[0]", "OPEN_LONG"),
    ]
    models.will_say("analyze", analysed(cited_facts=facts))
    cycle = decided()
    assert (cycle.state, cycle.warnings) == (State.CONFIRMING, "")


def test_a_fact_of_a_position_counts_only_while_it_is_shown(models: ScriptedModels) -> None:
    facts = [fact("positions.BTC-USDT-SWAP.size", 2)]
    models.will_say("analyze", left("HOLD", cited_facts=facts), analysed(cited_facts=facts))
    world(NOON, HELD)
    assert drive(tick()).warnings == ""
    world(later(5))
    cycle = drive(tick(later(5)))
    assert (cycle.outcome, "no field positions.BTC-USDT-SWAP.size was shown" in cycle.reason) == (
        Outcome.INVALID_OUTPUT,
        True,
    )


def test_a_question_for_the_search_is_asked_before_facts_count(models: ScriptedModels) -> None:
    asking = analysed(research_request="Is an unlock due?", cited_facts=[])
    models.will_say("analyze", asking, analysed())
    cycle = decided()
    assert (cycle.round, cycle.state, cycle.warnings) == (2, State.CONFIRMING, "")


def test_an_ungrounded_opening_counts_neither_for_the_screener_nor_against_it(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(cited_facts=[]))
    log = ScreenerLog.objects.get(cycle=decided())
    assert (log.signal, log.opus_action, log.opus_agreed) == (True, "", None)


def test_an_audit_that_does_not_rest_on_what_was_shown_measures_nothing(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    models.will_say("screen", screened(False))
    models.will_say("analyze", analysed(cited_facts=[fact("price", 1)]))
    cycle = decided()
    log = ScreenerLog.objects.get(cycle=cycle)
    assert (cycle.outcome, cycle.reason) == (Outcome.SCREENED_OUT, "no setup")
    assert cycle.warnings == ("OPEN_LONG does not rest on what was shown: price was cited as 1.0 and shown as 20000")
    assert (log.opus_action, log.opus_agreed) == ("", None)
