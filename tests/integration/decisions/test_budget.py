"""The day's money for models in the stages: what it still allows, and that a person is told once."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from decisions import budget_alerts, context
from decisions.budget import Budget, Level
from decisions.models import ModelCall, Order, OutboxMessage, Outcome, ScreenerLog, State
from tests.integration.decisions.build import BTC, NOON, alerts, position_payload
from tests.integration.decisions.model_server import Reply, ScriptedModels, analysed, left, overloaded, screened
from tests.integration.decisions.scene import ETH, at_once, bar, decided, drive, later, order_of, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

HELD = position_payload(BTC)


def spend(usd: str, minutes: float = -60, **changes: Any) -> None:
    """A call that cost so much, an hour before the scene begins."""
    fields = {"purpose": "analyze", "model": "m", "outcome": "ok", "latency_ms": 1, "market_time": later(minutes)}
    ModelCall.objects.create(cost_usd=Decimal(usd), **fields | changes)


# --- the sum ------------------------------------------------------------------------------------------------------


def test_nothing_was_spent_before_the_first_call(settings: Any) -> None:
    assert context.budget(NOON) == Budget(Decimal(0), Decimal(15))


def test_only_the_calls_of_the_market_day_count(settings: Any) -> None:
    for minutes, usd in ((-721, "1"), (-720, "2"), (0, "4"), (719, "8"), (720, "16")):
        spend(usd, minutes)
    assert context.budget(NOON).spent == 14
    assert context.budget(later(-721)).spent == 1


def test_a_sandbox_and_a_replay_meet_the_limits_of_the_real_run() -> None:
    for source in ModelCall.Source.values:
        spend("1", source=source)
    assert context.budget(NOON).spent == 3


# --- telling ------------------------------------------------------------------------------------------------------


def test_what_a_day_has_cost_is_read_from_an_index_alone(settings: Any) -> None:
    """The calls themselves are long rows: prompts and replies."""
    with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        context.budget(NOON)
        cursor.execute(f"EXPLAIN {asked[-1]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Only Scan using idx_call_market_time" in plan


def test_each_level_is_told_once_a_market_day(models: ScriptedModels) -> None:
    models.will_say("analyze", *[left("HOLD")] * 4)
    for minutes, usd in ((0, "12"), (5, "0.1"), (10, "5"), (15, "0.1")):
        spend(usd)
        world(later(minutes))
        drive(tick(later(minutes)))
    (tight,) = OutboxMessage.objects.filter(category="budget_tight")
    (spent,) = OutboxMessage.objects.filter(category="budget_spent")
    assert tight.metadata == spent.metadata == {"market_day": "2022-11-20"}
    assert (tight.severity, spent.severity) == ("WARN", "WARN")
    assert tight.payload["detail"] == "models have cost 12.000000 USD today, of 15"
    assert "models have cost 17.1" in spent.payload["detail"]


def test_the_next_market_day_is_told_anew(settings: Any) -> None:
    for now in (NOON, later(60), later(24 * 60)):
        budget_alerts.tell(Budget(Decimal(13), Decimal(15)), now)
    days = [alert.metadata["market_day"] for alert in OutboxMessage.objects.order_by("id")]
    assert days == ["2022-11-20", "2022-11-21"]


def test_a_budget_with_room_is_not_told(models: ScriptedModels) -> None:
    spend("11.9")
    decided()
    assert not OutboxMessage.objects.filter(category__startswith="budget").exists()


def test_it_is_told_whatever_else_ends_the_cycle(models: ScriptedModels) -> None:
    spend("15")
    bar(later(-60))
    world(later(15), symbol=ETH)
    assert drive(tick()).outcome == Outcome.STALE_DATA
    assert len(alerts("budget_spent")) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", [Level.TIGHT, Level.SPENT])
def test_cycles_that_see_it_at_once_tell_it_once(level: Level) -> None:
    budget = Budget(Decimal(13 if level is Level.TIGHT else 15), Decimal(15))
    assert at_once(*[lambda: budget_alerts.tell(budget, NOON)] * 6) == []
    assert len(alerts(f"budget_{level}")) == 1


# --- what is left out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("usd", "asked"), [("11.9", True), ("12", False), ("14.9", False)])
def test_nothing_is_audited_once_the_money_gets_tight(
    models: ScriptedModels, settings: Any, usd: str, asked: bool
) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    spend(usd)
    models.will_say("screen", screened(False))
    cycle = decided()
    assert (cycle.outcome, cycle.shadow_audit) == (Outcome.SCREENED_OUT, asked)
    assert models.times_asked("analyze") == asked


def test_a_tight_budget_still_opens(models: ScriptedModels) -> None:
    spend("14.9")
    assert decided().state == State.CONFIRMING


def test_a_spent_budget_ends_a_cycle_without_a_position_before_any_model_is_asked(models: ScriptedModels) -> None:
    spend("15")
    cycle = decided()
    assert (cycle.outcome, models.asked) == (Outcome.BUDGET, [])


@pytest.mark.parametrize("usd", ["15", "1000"])
def test_a_position_is_closed_whatever_was_spent(models: ScriptedModels, usd: str) -> None:
    spend(usd)
    world(NOON, HELD)
    models.will_say("analyze", left("CLOSE"))
    cycle = drive(tick())
    assert (cycle.state, cycle.openings_blocked) == (State.CONFIRMING, Outcome.BUDGET)
    assert order_of(cycle).reduce_only


def test_a_position_is_not_added_to_on_a_spent_budget(models: ScriptedModels) -> None:
    spend("15")
    world(NOON, HELD)
    models.will_say("analyze", analysed("ADD", size_pct=0.005, stop_loss=19850.0))
    assert drive(tick()).outcome == Outcome.BUDGET
    assert not Order.objects.exists()


# --- a screened position ------------------------------------------------------------------------------------------


@pytest.fixture
def screened_position(settings: Any) -> None:
    """Where a position does not pass the screener by."""
    settings.SCREENER_BYPASS_ON_POSITION = False
    world(NOON, HELD)


@pytest.mark.usefixtures("screened_position")
@pytest.mark.parametrize(
    ("failure", "told"),
    [(overloaded(), "HTTP 529"), ("no JSON at all", "not JSON"), (Reply({}), "not a message")],
    ids=["error", "useless", "unreadable"],
)
def test_a_screener_that_fails_blocks_no_exit(models: ScriptedModels, failure: Any, told: str) -> None:
    models.will_say("screen", *[failure] * 3)
    models.will_say("analyze", left("CLOSE"))
    cycle = drive(tick())
    assert (cycle.state, cycle.screener_signal) == (State.CONFIRMING, None)
    assert cycle.bypass_reason.startswith("the screener failed: ")
    assert told in cycle.bypass_reason
    assert order_of(cycle).reduce_only


@pytest.mark.usefixtures("screened_position")
def test_a_position_is_managed_although_the_screener_saw_nothing(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    models.will_say("screen", screened(False))
    models.will_say("analyze", left("CLOSE"))
    cycle = drive(tick())
    assert (cycle.state, cycle.shadow_audit, cycle.screener_signal) == (State.CONFIRMING, False, False)
    assert cycle.bypass_reason == "open position: the screener saw no signal"
    log = ScreenerLog.objects.get(cycle=cycle)
    assert (log.signal, log.opus_action, log.opus_agreed) == (False, "CLOSE", False)
