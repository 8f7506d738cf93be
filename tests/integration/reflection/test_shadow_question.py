"""Asking the challenger: the very same question, once, for a share of the cycles, within the money and the time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import connection, transaction

from decisions import cycles, tasks
from decisions.models import DecisionCycle, ModelCall, OutboxMessage
from decisions.screening import audited
from journal import playbook_versions
from journal.models import PlaybookVersion
from reflection import shadow_question, shadow_venue, trial
from reflection import tasks as reflection_tasks
from reflection.models import ShadowContest, ShadowQuestion
from tests.integration.decisions.build import BTC, NOON
from tests.integration.decisions.model_server import ScriptedModels, analysed, overloaded, refusal, screened
from tests.integration.decisions.scene import at_once, decided, drive, later, queued, tick, world
from tests.integration.journal.playbooks import by_hand, by_reflection
from tests.integration.reflection.challenger_scene import HOLD, analysed_cycle, both_answered, consequences, went_on
from tests.integration.reflection.scene import spend
from tests.integration.rewriting import rewriting_the_record


def test_the_challenger_is_asked_the_very_same_question_with_its_own_playbook(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, analysed(), analysed("OPEN_SHORT", stop_loss=20200.0, take_profit=19550.0))
    champions, challengers = on_trial.shown(-2), on_trial.shown(-1)
    assert (champions.pop("playbook")["version"], challengers.pop("playbook")["version"]) == (1, 2)
    assert champions == challengers
    champion, shadow = ModelCall.objects.filter(purpose="analyze").order_by("id")
    assert champion.prompt.partition("</playbook>")[2] == shadow.prompt.partition("</playbook>")[2]
    assert champion.system_prompt == shadow.system_prompt
    assert (champion.shadow, shadow.shadow, shadow.cycle_id, shadow.outcome) == (False, True, asked.cycle_id, "ok")
    assert (asked.status, asked.answer["decision"]["action"]) == ("answered", "OPEN_SHORT")


def test_its_cost_counts_for_the_days_budget(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, HOLD)
    champion, shadow = ModelCall.objects.filter(purpose="analyze").order_by("id")
    assert shadow.cost_usd == champion.cost_usd > 0
    assert shadow.market_time == NOON


def test_it_is_asked_too_when_the_champion_held(on_trial: ScriptedModels) -> None:
    assert both_answered(on_trial, HOLD, analysed()).status == "answered"


def test_a_cycle_is_asked_about_once(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, HOLD, HOLD)
    assert shadow_question.note(asked.cycle_id) is None
    shadow_question.ask(asked.pk, NOON)
    assert (ShadowQuestion.objects.count(), on_trial.times_asked("analyze")) == (1, 2)


@pytest.mark.django_db(transaction=True)
def test_two_messages_at_once_ask_once(on_trial: ScriptedModels) -> None:
    analysed_cycle(on_trial, HOLD)
    noted = ShadowQuestion.objects.get()  # the signal's doing
    assert at_once(*[lambda: shadow_question.ask(noted.pk, NOON)] * 4) == []
    assert on_trial.times_asked("analyze") == 2


@pytest.mark.django_db(transaction=True)
def test_an_analysis_has_the_challenger_asked_by_a_message(
    on_trial: ScriptedModels, redis_client: "redis.Redis"
) -> None:
    on_trial.will_say("analyze", HOLD)
    decided()
    assert ShadowQuestion.objects.get().status == "waiting"
    assert queued(redis_client, "reflect") == 1


@pytest.mark.django_db(transaction=True)
def test_nobody_is_asked_where_reflections_playbooks_trade_at_once(
    on_trial: ScriptedModels, redis_client: "redis.Redis", settings: Any
) -> None:
    settings.PLAYBOOK_PROMOTION = "immediate"
    decided()
    assert not ShadowQuestion.objects.exists()
    assert queued(redis_client, "reflect") == 0


def test_audits_of_the_screener_are_not_asked_about(
    on_trial: ScriptedModels, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    on_trial.will_say("screen", screened(False))
    world()
    with django_capture_on_commit_callbacks(execute=True):
        cycle = drive(tick())
    assert (cycle.shadow_audit, cycle.decision is not None) == (True, True)
    assert not ShadowQuestion.objects.exists()


@pytest.mark.parametrize("answer", [refusal(), overloaded(), "no JSON", analysed(cited_facts=[])])
def test_an_analysis_that_cannot_be_acted_on_is_not_asked_about(
    on_trial: ScriptedModels, answer: Any, django_capture_on_commit_callbacks: Any
) -> None:
    on_trial.will_say("analyze", answer)
    with django_capture_on_commit_callbacks(execute=True):
        decided()
    assert not ShadowQuestion.objects.exists()


# --- the share --------------------------------------------------------------------------------------------------------


def test_the_share_is_chosen_by_symbol_slot_and_version() -> None:
    slots = [NOON + timedelta(minutes=5 * number) for number in range(4000)]
    share = Decimal("0.25")
    first = [shadow_question.chosen(BTC, slot, 2, share) for slot in slots]
    second = [shadow_question.chosen(BTC, slot, 3, share) for slot in slots]
    assert first == [shadow_question.chosen(BTC, slot.astimezone(UTC), 2, share) for slot in slots]
    assert 920 < sum(first) < 1080
    both = sum(one and other for one, other in zip(first, second, strict=True))
    assert 190 < both < 310  # one in sixteen, as of draws that know nothing of one another
    also_audited = sum(one and audited(BTC, slot, share) for one, slot in zip(first, slots, strict=True))
    assert 190 < also_audited < 310


def test_of_a_share_of_nothing_nothing_is_asked(on_trial: ScriptedModels, settings: Any) -> None:
    settings.CHALLENGER_SHARE = Decimal(0)
    assert shadow_question.note(analysed_cycle(on_trial, HOLD).pk) is None
    assert not ShadowContest.objects.exists()


# --- left out ---------------------------------------------------------------------------------------------------------


def test_no_money_is_spent_on_it_once_most_of_the_days_is_gone(on_trial: ScriptedModels) -> None:
    spend("12.1")  # of 15
    asked = both_answered(on_trial, HOLD, HOLD)
    assert (asked.status, asked.reason.split(" have ")[0]) == ("left_out", "models")
    assert on_trial.times_asked("analyze") == 1


def test_a_question_whose_message_was_lost_is_asked_while_its_time_lasts(on_trial: ScriptedModels) -> None:
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD).pk)
    assert noted is not None
    assert list(trial.unasked()) == []  # its message is on its way
    _age(noted, seconds=10)
    assert list(trial.unasked()) == [noted.pk]


def test_one_that_was_missed_for_as_long_as_a_cycle_is_left_out(on_trial: ScriptedModels) -> None:
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD).pk)
    assert noted is not None
    _age(noted, seconds=cycles.length().total_seconds() + 1)
    shadow_question.ask(noted.pk, NOON)
    noted.refresh_from_db()
    assert (noted.status, noted.reason) == ("left_out", shadow_question.LATE)
    assert on_trial.times_asked("analyze") == 1


def test_the_round_leaves_out_what_nobody_was_told_of_in_time(on_trial: ScriptedModels) -> None:
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD).pk)
    assert noted is not None
    _age(noted, seconds=cycles.length().total_seconds() + 1)
    reflection_tasks.try_challenger()
    noted.refresh_from_db()
    assert (noted.status, noted.reason) == ("left_out", shadow_question.LATE)


def test_a_worker_that_died_with_it_has_it_asked_again(on_trial: ScriptedModels) -> None:
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD).pk)
    assert noted is not None
    soon, over = datetime.now(UTC) + timedelta(seconds=20), datetime.now(UTC) - timedelta(seconds=1)
    _age(noted, seconds=10, claimed_until=soon)
    shadow_question.ask(noted.pk, NOON)
    assert (on_trial.times_asked("analyze"), list(trial.unasked())) == (1, [])
    _age(noted, seconds=10, claimed_until=over)
    assert list(trial.unasked()) == [noted.pk]
    shadow_question.ask(noted.pk, NOON)
    assert on_trial.times_asked("analyze") == 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refusal(), "refusal"),
        ("no JSON", "invalid_output"),
        (analysed(cited_facts=[{"path": "price", "value": 1}]), "does not rest on what was shown"),
    ],
)
def test_an_answer_that_no_cycle_could_use_trades_nothing_and_counts(
    on_trial: ScriptedModels, answer: Any, told: str
) -> None:
    """As it would be of the version that trades: one that fails on bad days is not judged by its good ones."""
    asked = both_answered(on_trial, analysed(), answer)
    went_on(NOON)
    assert consequences(asked) == {"challenger": "unusable", "champion": "traded"}
    assert told in asked.consequences["challenger"]["reason"]


def test_a_challenger_that_could_not_be_asked_leaves_the_cycle_out(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, analysed(), overloaded())
    assert (asked.status, asked.reason.partition(":")[0]) == ("left_out", "it could not be asked")


def test_a_challenger_that_was_decided_about_meanwhile_is_not_asked(on_trial: ScriptedModels) -> None:
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD).pk)
    assert noted is not None
    playbook_versions.reject(2, by="ada", reason="no")
    shadow_question.ask(noted.pk, NOON)
    noted.refresh_from_db()
    assert (noted.status, noted.reason) == ("left_out", shadow_question.OVER)


def test_a_cycle_of_an_earlier_version_is_not_asked_about(on_trial: ScriptedModels) -> None:
    cycle = analysed_cycle(on_trial, HOLD)
    by_hand("by-ada")
    assert shadow_question.note(cycle.pk) is None


def test_another_version_that_trades_begins_another_contest(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, HOLD)
    by_hand("by-ada")
    by_reflection("courage")
    both_answered(on_trial, HOLD, HOLD, later(5))
    contests = ShadowContest.objects.order_by("id").values_list("challenger_version", "champion_version")
    assert list(contests) == [(2, 1), (4, 3)]


def test_another_challenger_takes_the_place_of_the_first(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, HOLD)
    by_reflection("courage")
    both_answered(on_trial, HOLD, HOLD, later(5))
    contests = ShadowContest.objects.order_by("id").values_list("challenger_version", "champion_version")
    assert list(contests) == [(2, 1), (3, 1)]


# --- what the cycle tells ---------------------------------------------------------------------------------------------


def test_what_is_told_of_the_cycle_does_not_speak_of_the_shadow(on_trial: ScriptedModels) -> None:
    on_trial.will_say("analyze", analysed())
    world()
    cycle = drive(tick(), until="risk_check")
    champion = ModelCall.objects.get(purpose="analyze")
    ModelCall.objects.create(
        cycle=cycle, purpose="analyze", shadow=True, model="big", outcome="ok", latency_ms=99_999, market_time=NOON,
        system_prompt="", prompt="",
    )  # fmt: skip
    tasks.risk(cycle.pk)
    told = OutboxMessage.objects.get(type="opus_decision")
    assert told.metadata["opus_latency_ms"] == champion.latency_ms


def _age(noted: ShadowQuestion, *, seconds: float, **changes: Any) -> None:
    """As if it had been noted so long ago."""
    made = datetime.now(UTC) - timedelta(seconds=seconds)
    ShadowQuestion.objects.filter(pk=noted.pk).update(created_at=made, **changes)


# --- what a worker that died leaves -----------------------------------------------------------------------------------


def test_a_cycle_that_was_not_noted_is_noted_by_the_round(on_trial: ScriptedModels) -> None:
    cycle = analysed_cycle(on_trial, HOLD)
    assert shadow_question.unnoted() == [cycle.pk]
    assert not trial.is_settled(NOON)
    (found,) = trial.unasked()
    assert ShadowQuestion.objects.get(pk=found).cycle_id == cycle.pk
    assert shadow_question.unnoted() == []


def test_of_several_short_cycles_none_is_forgotten(on_trial: ScriptedModels) -> None:
    missed = [analysed_cycle(on_trial, HOLD, later(5 * number)).pk for number in range(4)]
    assert shadow_question.unnoted() == missed


def test_a_cycle_that_is_found_too_late_is_left_out_and_counted(on_trial: ScriptedModels) -> None:
    cycle = analysed_cycle(on_trial, HOLD)
    long_ago = datetime.now(UTC) - 2 * cycles.length() - timedelta(seconds=1)
    with rewriting_the_record():
        PlaybookVersion.objects.update(created_at=long_ago)
    DecisionCycle.objects.update(created_at=long_ago)
    assert list(trial.unasked()) == []
    noted = ShadowQuestion.objects.get(cycle=cycle)
    assert (noted.status, noted.reason) == ("left_out", shadow_question.LATE)


def test_a_cycle_from_before_the_challenger_is_not_missed(on_trial: ScriptedModels) -> None:
    analysed_cycle(on_trial, HOLD)
    by_reflection("courage")
    assert shadow_question.unnoted() == []


@pytest.mark.parametrize("answer", [refusal(), "no JSON", analysed(cited_facts=[])])
def test_a_cycle_without_a_usable_analysis_is_not_missed(on_trial: ScriptedModels, answer: Any) -> None:
    analysed_cycle(on_trial, answer)
    assert shadow_question.unnoted() == []
    assert trial.is_settled(NOON)


def test_a_cycle_that_is_not_chosen_is_not_missed(on_trial: ScriptedModels, settings: Any) -> None:
    settings.CHALLENGER_SHARE = Decimal(0)
    analysed_cycle(on_trial, HOLD)
    assert shadow_question.unnoted() == []


def test_the_trial_is_settled_once_the_answers_were_followed(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, HOLD)
    assert not trial.is_settled(NOON)
    trial.go_on(NOON)
    assert trial.is_settled(NOON)
    assert not trial.is_settled(later(5))


@pytest.mark.django_db(transaction=True)
def test_a_book_that_is_being_played_keeps_no_cycle_from_being_noted(on_trial: ScriptedModels) -> None:
    cycle = analysed_cycle(on_trial, HOLD)
    ShadowQuestion.objects.all().delete()  # the signal's doing; the contest stays
    with transaction.atomic():
        shadow_venue.play(ShadowContest.objects.get().pk, NOON)
        raised = at_once(lambda: _within_a_second(lambda: shadow_question.note(cycle.pk)))
    assert raised == []
    assert ShadowQuestion.objects.filter(cycle=cycle).exists()


def _within_a_second(do: Callable[[], object]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")
    do()
