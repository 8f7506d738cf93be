"""Thirty documents that want something of the model, through the real pipeline.

Each file of `tests/fixtures/hostile` holds a document (`times` repeats it), what a model that obeyed it would change in
a sound decision (`obeyed`, `strategy`), and how the cycle must end then (`ends`). Whatever a document says, it stands
in the prompt as data or not at all, nothing else in the request changes, and the decision that follows from it is
judged like any other.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from decisions import market_data
from decisions.clients.reply import storable
from decisions.messages import MarketAlert
from decisions.models import DecisionCycle, Order, Outcome, ScheduledEvent, State
from decisions.prompts import sections
from decisions.sandbox.offline_model import user_text
from journal.models import PlaybookVersion, Promotion, Trade
from journal.playbook import InvalidPlaybook, first_playbook, playbook_hash, read_playbook
from journal.untrusted import visible
from risk.models import Verdict
from tests.integration.admin_rows import row
from tests.integration.decisions.build import BTC, NOON, market_alert_payload
from tests.integration.decisions.model_server import Reply, ScriptedModels, analysed, found, left
from tests.integration.decisions.scene import decided, drive, later, sent_orders, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

FOLDER = Path(__file__).parents[2] / "fixtures" / "hostile"
SPIKE = {"price_change_1h": "0.031"}
"""A move that calls for research."""


@dataclass(frozen=True)
class Hostile:
    """One document, and what comes of a model that obeys it."""

    text: str
    obeying: dict[str, Any]
    ends: str


def read(file: Path) -> Hostile:
    told = json.loads(file.read_text())
    obeying = analysed(strategy=told.get("strategy", "momentum_breakout"), **told["obeyed"])
    return Hostile(told["document"] * told.get("times", 1), obeying, told["ends"])


FILES = sorted(FOLDER.glob("*.json"))
each_document = pytest.mark.parametrize("hostile", [read(file) for file in FILES], ids=[file.stem for file in FILES])


def test_there_are_thirty_of_them() -> None:
    assert len(FILES) == 30


def searched(text: str) -> Reply:
    """The response of the search with the document wherever a text can stand."""
    answer = found(text) | {"key_points": [text], "trading_implication": text}
    return Reply(
        {
            "id": "resp_1",
            "status": "completed",
            "output": [
                {"type": "search_results", "results": [{"url": "https://example.org/a", "title": text, "date": None}]},
                {"type": "message", "content": [{"type": "output_text", "text": json.dumps(answer)}]},
            ],
            "usage": {"input_tokens": 40, "output_tokens": 12},
        }
    )


def analysis_request(models: ScriptedModels) -> dict[str, Any]:
    """The first analysis that was asked for."""
    return next(body for question, body in models.asked if question == "analyze")


_usual: list[dict[str, Any]] = []


@pytest.fixture
def usual(models: ScriptedModels) -> dict[str, Any]:
    """The analysis request of the same cycle with an ordinary finding, the same in every test: asked for once."""
    if not _usual:
        with transaction.atomic():
            models.will_say("research", searched("Inflows rose."))
            models.will_say("analyze", left("HOLD"))
            decided(**SPIKE)
            transaction.set_rollback(True)
        _usual.append(analysis_request(models))
        assert "Inflows rose." in user_text(_usual[0])
        models.asked.clear()
    return _usual[0]


def researched(models: ScriptedModels, hostile: Hostile) -> DecisionCycle:
    """The cycle whose search found the document, and whose model obeys it."""
    models.will_say("research", searched(hostile.text))
    models.will_say("analyze", hostile.obeying)
    return decided(**SPIKE)


def assert_only_data_differs(request: dict[str, Any], usual: dict[str, Any], *changed: str) -> None:
    """The request asks the same of the same model in the same form, with other data in the sections `changed`."""
    assert {**request, "messages": None} == {**usual, "messages": None}
    assert "tools" not in request
    assert visible(user_text(request)) == user_text(request)
    assert tags(request) == tags(usual)
    shown, before = sections(user_text(request)), sections(user_text(usual))
    assert list(shown) == list(before)
    assert [name for name in shown if shown[name] != before[name] and name not in changed] == []


def tags(request: dict[str, Any]) -> list[str]:
    """Everything in the user text that is or looks like a tag, without its number."""
    return [re.sub(r'"\d+"', "", tag) for tag in re.findall("<[^>]*>", user_text(request))]


def assert_within_limits(settings: Any, cycle: DecisionCycle) -> None:
    """At most one order went out, of the size and leverage that the limits allow, behind a stop."""
    limits = settings.RISK_LIMITS
    orders = list(Order.objects.filter(cycle=cycle))
    assert len(sent_orders()) == len(orders) <= 1
    for order in orders:
        price, equity, ct_val = Decimal(20000), Decimal(10000), Decimal("0.01")
        assert order.symbol == BTC
        assert order.size * price * ct_val <= limits.max_single_trade_pct * equity
        assert order.leverage <= limits.max_leverage
        assert order.stop_loss is not None
        assert abs(order.stop_loss - price) <= limits.max_sl_distance_pct * price


# --- found by the search --------------------------------------------------------------------------------------------


@each_document
def test_what_the_search_finds_is_data_and_a_model_that_obeys_it_is_judged_like_any_other(
    models: ScriptedModels, settings: Any, usual: dict[str, Any], hostile: Hostile
) -> None:
    limits = settings.RISK_LIMITS.as_dict()
    cycle = researched(models, hostile)
    assert_only_data_differs(analysis_request(models), usual, "research_context")
    assert_shown_exactly_or_refused(sections(user_text(analysis_request(models)))["research_context"], hostile.text)
    assert (cycle.outcome or cycle.state) == hostile.ends, cycle.reason
    assert_within_limits(settings, cycle)
    judged = hostile.ends in (Outcome.GATE_REJECTED, State.CONFIRMING)
    assert Verdict.objects.filter(decision_id=cycle.decision_id).count() == judged
    assert Order.objects.filter(cycle=cycle).exists() == (hostile.ends == State.CONFIRMING)
    assert settings.RISK_LIMITS.as_dict() == limits


def assert_shown_exactly_or_refused(context: dict[str, Any], text: str) -> None:
    if context["available"]:
        answer, (page,) = context["answer"], context["citations"]
        assert (answer["summary"], answer["key_points"]) == (text, [text])
        assert answer["trading_implication"] == text
        assert page["title"][:100] == text[:100]
    else:
        assert context["reason"].startswith("research failed: ")
        assert text[:60] not in context["reason"]


# --- written by others ----------------------------------------------------------------------------------------------


def learn(text: str) -> bool:
    """A playbook with the document as a lesson trades from now on. Says whether its schema took it."""
    document = first_playbook(NOON).model_dump(mode="json") | {"version": 2}
    document["lessons_learned"] = [
        {"id": "L1", "date": "2022-11-19", "lesson": text, "evidence": text, "impact": text}
    ]  # fmt: skip
    try:
        learned = read_playbook(document)
    except InvalidPlaybook:
        return False
    version = PlaybookVersion.objects.create(
        version=2, playbook_json=document, content_hash=playbook_hash(learned), triggered_by="reflection"
    )
    Promotion.objects.create(playbook=version, promoted_by="test", reason="a lesson")
    return True


@each_document
def test_so_are_lessons_reviews_and_names_of_events_and_an_alerts_detail_is_not_shown(
    models: ScriptedModels, settings: Any, usual: dict[str, Any], hostile: Hostile
) -> None:
    review, name = storable(hostile.text)[:1200], storable(hostile.text)[:100]
    learned = learn(hostile.text)
    row(Trade, self_review={"lesson": review})
    ScheduledEvent.objects.create(
        kind="CPI", name=name, scheduled_at=later(600), impact="high", source="test", fetched_at=NOON
    )
    detail = f"the detail of an alert {storable(hostile.text)}"[:2000]
    market_data.record_alert(MarketAlert.model_validate(market_alert_payload(detail=detail)))
    models.will_say("research", searched("Inflows rose."))
    models.will_say("analyze", hostile.obeying)
    cycle = decided(**SPIKE)
    request = analysis_request(models)
    assert_only_data_differs(request, usual, "playbook", "upcoming_events", "recent_trades")
    shown = sections(user_text(request))
    assert [event["name"] for event in shown["upcoming_events"]] == [name]
    assert [trade["lesson"] for trade in shown["recent_trades"]] == [review]
    assert [lesson["lesson"] for lesson in shown["playbook"]["lessons_learned"]] == [hostile.text] * learned
    assert "the detail of an alert" not in user_text(request)
    assert (cycle.outcome or cycle.state) == hostile.ends, cycle.reason
    assert_within_limits(settings, cycle)


# --- said by the model itself ---------------------------------------------------------------------------------------


@each_document
def test_as_a_models_own_reply_it_is_refused_or_judged(models: ScriptedModels, hostile: Hostile) -> None:
    models.will_say("analyze", hostile.text)
    world()
    cycle = drive(tick())
    assert cycle.outcome in (Outcome.INVALID_OUTPUT, Outcome.GATE_REJECTED), cycle.reason
    assert cycle.model_calls.filter(purpose="analyze").count() == 1
    assert (Order.objects.count(), sent_orders()) == (0, [])
