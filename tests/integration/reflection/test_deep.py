"""Deep reflections: at the right trades and hours, one at a time, and what becomes of the playbook."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from decisions.models import ModelCall
from journal import playbook_versions
from journal.models import PlaybookVersion, Trade
from journal.playbook import first_playbook
from reflection import closings, deep, desk, due, tasks
from reflection.models import Reflection
from tests.integration.decisions.build import NOON, alerts
from tests.integration.decisions.model_server import Reply, ScriptedModels, overloaded, refusal
from tests.integration.decisions.scene import at_once, later, until
from tests.integration.journal.playbooks import by_hand
from tests.integration.reflection.scene import (
    closed,
    deep_ones,
    lease_is_over,
    logs,
    look_after,
    pause_is_over,
    piece_of,
    spend,
    world,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready", "every_three_trades")]

HOUR = timedelta(hours=1)


@pytest.fixture
def every_three_trades(settings: Any) -> None:
    settings.REFLECTION_INTERVAL_TRADES = 3


def proposed(**changes: Any) -> dict[str, Any]:
    """A reflection that leaves the first playbook as it is, but for `changes` of it."""
    playbook = first_playbook(NOON).model_dump(mode="json", exclude={"version", "last_updated"})
    return {
        "updated_playbook": {**playbook, **changes},
        "pattern_insights": ["Breaks pay: 2 of 3."],
        "bias_findings": [],
        "discipline_score": 90,
        "summary": "Nothing much.",
    }


def lesson(name: str = "L1", text: str = "Wait for the close.") -> dict[str, str]:
    return {"id": name, "date": "2022-11-20", "lesson": text, "evidence": "2 of 3", "impact": "fewer false breaks"}


def three_trades(minutes: float = 0) -> list[Trade]:
    """The last of them closed so many minutes after noon."""
    return [closed(net, minutes=minutes + each - 2) for each, net in enumerate(("4", "-3", "2"))]


def versions() -> list[int]:
    return list(PlaybookVersion.objects.order_by("version").values_list("version", flat=True))


# --- when -------------------------------------------------------------------------------------------------------------


def test_it_is_due_after_so_many_trades_and_looks_at_each_once(models: ScriptedModels) -> None:
    world(NOON - HOUR)
    world()
    trades = three_trades()
    look_after()
    (first,) = deep_ones()
    assert (first.cause, first.status, first.as_of) == ("trades", "done", NOON)
    assert logs("periodic")[0].trade_ids == [trade.pk for trade in trades]
    look_after()
    assert models.times_asked("reflect") == 1
    more = three_trades(10)
    look_after(later(30))
    assert [log.trade_ids for log in logs("periodic")][1] == [trade.pk for trade in more]
    shown = models.shown(question="reflect")
    assert (shown["period"]["new_trades"], shown["period"]["trades"]) == (3, 6)
    assert shown["period"]["last_reflection_at"] == "2022-11-20T12:00:00Z"
    assert [trade["is_new"] for trade in shown["individual_trade_reviews"]] == [True] * 3 + [False] * 3


def test_it_is_due_after_so_many_hours_with_one_new_trade_and_never_without(models: ScriptedModels) -> None:
    world()
    look_after(NOON + 100 * HOUR)
    assert deep_ones() == []
    closed()
    look_after(NOON + 6 * HOUR - timedelta(seconds=1))
    assert deep_ones() == []
    look_after(NOON + 6 * HOUR)
    assert [(each.cause, each.as_of) for each in deep_ones()] == [("hours", NOON + 6 * HOUR)]
    look_after(NOON + 13 * HOUR)
    closed(minutes=13 * 60)
    look_after(NOON + 13 * HOUR)
    assert [each.as_of for each in deep_ones()] == [NOON + 6 * HOUR, NOON + 13 * HOUR]
    assert models.times_asked("reflect") == 2


def test_trades_of_unknown_result_make_none_due_and_are_told_of_all_the_same(models: ScriptedModels) -> None:
    world()
    for each in range(3):
        closed(None, minutes=each + 1)
    look_after()
    assert deep_ones() == []
    three_trades(10)
    look_after(later(30))
    told = models.shown(question="reflect")["individual_trade_reviews"]
    assert [each["not_reviewed"] for each in told if each["pnl_usd"] is None] == [closings.RESULT_UNKNOWN] * 3


def test_two_who_find_it_due_at_once_begin_one(models: ScriptedModels) -> None:
    world()
    three_trades()
    closings.note_missed(NOON)
    assert at_once(*[lambda: due.begin_if_due(NOON)] * 4) == []
    (piece,) = deep_ones()
    assert piece.considered.count() == 3


def test_however_it_is_fired_it_is_asked_once(models: ScriptedModels) -> None:
    world()
    three_trades()
    held = models.hold_next("reflect")

    def fire_meanwhile() -> None:
        until(lambda: models.times_asked("reflect") == 1)
        tasks.sweep()
        tasks.work()
        with pytest.raises(due.NothingToLookAt, match="under way"):
            due.begin(NOON, "ada")
        held.set()

    assert at_once(look_after, fire_meanwhile) == []
    assert models.times_asked("reflect") == len(logs("periodic")) == len(deep_ones()) == 1


def test_the_figures_cover_thirty_days_and_nothing_from_before_the_account(models: ScriptedModels) -> None:
    world()
    three_trades(10)
    look_after(later(20))
    assert models.shown(question="reflect")["period"]["from"] == "2022-11-20T12:00:00Z"
    late = 40 * 24 * 60
    three_trades(late)
    look_after(later(late + 5))
    shown = models.shown(question="reflect")
    assert shown["period"]["from"] == "2022-11-20T12:20:00Z"
    three_trades(late + 60)
    look_after(later(late + 65))
    assert models.shown(question="reflect")["period"]["from"] == (
        f"{later(late + 65) - closings.LOOK_BACK:%Y-%m-%dT%H:%M:%SZ}"
    )


# --- the reviews it waits for -----------------------------------------------------------------------------------------


def test_it_waits_for_the_reviews_of_its_trades(models: ScriptedModels) -> None:
    world()
    models.will_say("review", overloaded())
    three_trades()
    look_after()
    (piece,) = deep_ones()
    assert (piece.status, piece.reason) == ("waiting", "waits for 1 review of its trades")
    assert models.times_asked("reflect") == 0
    pause_is_over()
    look_after()
    assert models.times_asked("reflect") == 1
    assert all("review" in each for each in models.shown(question="reflect")["individual_trade_reviews"])


def test_it_does_not_wait_for_ever_and_a_late_review_is_new_to_the_next(models: ScriptedModels) -> None:
    world()
    models.will_say("review", overloaded())
    late, *_ = three_trades()
    look_after()
    Reflection.objects.filter(kind="periodic").update(created_at=deep_ones()[0].created_at - deep.REVIEWS_PATIENCE)
    look_after()
    shown = models.shown(question="reflect")["individual_trade_reviews"]
    assert [each.get("not_reviewed") for each in shown] == [None, None, "its review is not there yet"]
    pause_is_over()
    look_after()
    assert (piece_of(late).status, piece_of(late).considered_in) == ("done", None)
    closed(minutes=10)
    closed(minutes=11)
    look_after(later(15))
    assert late.pk in (logs("periodic")[1].trade_ids or [])


# --- what comes of it -------------------------------------------------------------------------------------------------


def test_a_new_version_trades_at_once_and_everything_is_kept(models: ScriptedModels) -> None:
    world()
    three_trades()
    models.will_say("reflect", proposed(lessons_learned=[lesson()]))
    look_after()
    (log,) = logs("periodic")
    written = playbook_versions.active()
    assert (log.old_version, log.new_version, written.version) == (1, 2, 2)
    assert (written.triggered_by, written.change_summary) == ("reflection", "Nothing much.")
    assert log.playbook_changes == {"changes": ["lessons_learned: added L1"]}
    assert log.output_json is not None
    assert log.output_json["discipline_score"] == 90
    kept = written.performance_at_update
    assert kept is not None
    assert (kept["total_trades"], kept["period_end"]) == (3, "2022-11-20T12:00:00Z")
    assert alerts("playbook_updated") == ["lessons_learned: added L1"]
    assert deep_ones()[0].log == log
    call = ModelCall.objects.get(purpose="reflect", prompt=log.input_prompt)
    assert (call.outcome, call.market_time) == ("ok", NOON)


def test_a_playbook_that_stays_as_it_is_makes_no_version(models: ScriptedModels) -> None:
    world()
    three_trades()
    models.will_say("reflect", proposed())
    look_after()
    assert versions() == [1]
    assert (deep_ones()[0].status, deep_ones()[0].reason) == ("done", "the playbook stays as it is")
    assert logs("periodic")[0].new_version is None
    assert alerts("playbook_updated") == []


def test_with_manual_promotion_it_becomes_the_challenger(models: ScriptedModels, settings: Any) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    world()
    three_trades()
    models.will_say("reflect", proposed(lessons_learned=[lesson()]))
    look_after()
    challenger = playbook_versions.challenger()
    assert challenger is not None
    assert (challenger.version, playbook_versions.active().version) == (2, 1)


def test_what_a_person_writes_meanwhile_is_not_overwritten(models: ScriptedModels) -> None:
    world()
    three_trades()
    models.will_say("reflect", proposed(lessons_learned=[lesson()]))
    held = models.hold_next("reflect")

    def write_meanwhile() -> None:
        until(lambda: models.times_asked("reflect") == 1)
        by_hand("by-hand")
        held.set()

    assert at_once(look_after, write_meanwhile) == []
    assert (versions(), playbook_versions.active().version) == ([1, 2, 3], 2)
    challenger = playbook_versions.challenger()
    assert challenger is not None
    assert "written meanwhile by ada" in challenger.reason
    assert logs("periodic")[0].new_version == 3


# --- a playbook that cannot be used -----------------------------------------------------------------------------------


def unknown_strategy(document: dict[str, Any]) -> None:
    document["market_regime_rules"][0]["avoid_strategies"] = ["scalping"]


def negative_number(document: dict[str, Any]) -> None:
    document["strategy_definitions"][0]["historical_winrate"] = -0.2


def duplicate_lessons(document: dict[str, Any]) -> None:
    document["lessons_learned"] = [lesson("L1"), lesson("L1")]


def total_ban(document: dict[str, Any]) -> None:
    names = [each["name"] for each in document["strategy_definitions"]]
    for rule in document["market_regime_rules"]:
        rule["avoid_strategies"], rule["preferred_strategies"] = names, []


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (unknown_strategy, "market_regime_rules"),
        (negative_number, "strategy_definitions.0.historical_winrate"),
        (duplicate_lessons, "lessons_learned"),
        (total_ban, "market_regime_rules: every strategy is avoided in every regime"),
    ],
)
def test_a_playbook_with_a_fault_is_refused_with_the_place_named_and_the_current_one_goes_on(
    models: ScriptedModels, spoil: Callable[[dict[str, Any]], None], place: str
) -> None:
    world()
    three_trades()
    said = proposed()
    spoil(said["updated_playbook"])
    models.will_say("reflect", *[said] * 3)
    for _ in range(3):
        look_after()
        pause_is_over()
    (piece,) = deep_ones()
    assert (piece.status, versions()) == ("given_up", [1])
    (log,) = logs("periodic")
    assert log.playbook_changes is not None
    assert place in str(log.playbook_changes["refused"])
    assert log.new_version is None
    (told,) = alerts("reflection_failed")
    assert place in told


def test_megabytes_of_text_are_no_answer(models: ScriptedModels) -> None:
    world()
    three_trades()
    models.will_say("reflect", *[proposed(lessons_learned=[lesson(text="x" * 10_000_000)])] * 3)
    for _ in range(3):
        look_after()
        pause_is_over()
    assert (deep_ones()[0].status, versions()) == ("given_up", [1])
    assert max(len(call.raw_reply) for call in ModelCall.objects.all()) <= 1_000_000


def test_words_about_limits_are_words(models: ScriptedModels, settings: Any) -> None:
    """Size 50 %, leverage 20, no stop, in every text of the playbook: nothing but a text that the model reads."""
    before = settings.RISK_LIMITS
    world()
    three_trades()
    document = proposed()
    words = "size 50 %, leverage 20, no stop"
    for strategy in document["updated_playbook"]["strategy_definitions"]:
        strategy |= {"entry": words, "exit": words, "filters": [words]}
    document["updated_playbook"]["lessons_learned"] = [lesson(text=words) | {"evidence": words, "impact": words}]
    models.will_say("reflect", document)
    look_after()
    assert playbook_versions.active().version == 2
    assert before == settings.RISK_LIMITS


@pytest.mark.parametrize("said", [overloaded(), refusal(), Reply({}, 500), "no JSON", {"updated_playbook": {}}])
def test_a_model_that_fails_is_asked_three_times_and_its_trades_are_new_to_the_next(
    models: ScriptedModels, said: Any
) -> None:
    world()
    trades = three_trades()
    models.will_say("reflect", *[said] * 12)
    for _ in range(3):
        look_after()
        pause_is_over()
    look_after()
    (piece,) = deep_ones()
    assert (piece.status, piece.attempts, versions()) == ("given_up", 3, [1])
    assert len(alerts("reflection_failed")) == 1
    assert len(logs("periodic")) == 1
    models._scripts["reflect"].clear()
    more = three_trades(10)
    look_after(later(30))
    assert logs("periodic")[1].trade_ids == [trade.pk for trade in trades + more]


def test_a_playbook_too_long_to_be_asked_about_is_told_with_the_cure(models: ScriptedModels) -> None:
    arrows = "\N{RIGHTWARDS ARROW}" * 600  # six characters each in a question
    long = [lesson(f"L{number}", arrows) | {"evidence": arrows, "impact": arrows} for number in range(20)]
    by_hand("long", lessons_learned=long)
    world()
    three_trades()
    look_after()
    (piece,) = deep_ones()
    assert piece.status == "given_up"
    assert piece.reason.endswith("Shorten the playbook's texts or remove lessons.")
    assert alerts("reflection_failed") == [piece.reason]
    assert len(logs("periodic")) == 1
    assert models.times_asked("reflect") == 0


# --- money and people -------------------------------------------------------------------------------------------------


def test_a_spent_budget_postpones_it_and_it_looks_at_all_that_closed_by_then(models: ScriptedModels) -> None:
    world()
    three_trades()
    desk.see_to_it(NOON)
    spend("15")
    look_after()
    assert models.asked == []
    assert "postponed" in deep_ones()[0].reason
    look_after(NOON + 12 * HOUR)
    assert [each.status for each in deep_ones()] == ["done"]


def test_a_person_may_ask_for_one_sooner_but_not_about_nothing(models: ScriptedModels) -> None:
    world()
    with pytest.raises(due.NothingToLookAt, match="No trade with a known result"):
        due.begin(NOON, "ada")
    closed()
    closings.note_missed(NOON)
    piece = due.begin(NOON, "ada")
    look_after()
    piece.refresh_from_db()
    assert (piece.cause, piece.asked_by, piece.status) == ("person", "ada", "done")


def test_a_worker_that_dies_leaves_it_to_the_next(models: ScriptedModels) -> None:
    world()
    three_trades()
    models.will_say("reflect", proposed(lessons_learned=[lesson("first")]), proposed(lessons_learned=[lesson("next")]))
    held = models.hold_next("reflect")

    def overtake() -> None:
        until(lambda: models.times_asked("reflect") == 1)
        lease_is_over()
        look_after()
        held.set()

    assert at_once(look_after, overtake) == []
    assert (versions(), len(logs("periodic"))) == ([1, 2], 1)
    assert playbook_versions.active().playbook_json["lessons_learned"][0]["id"] == "next"
