"""Looks at the record: made once each, and what follows from them by setting."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from decisions.models import OutboxMessage
from journal import playbook_versions
from journal.models import ChallengerDecision, PlaybookVersion, Promotion
from journal.services import active_playbook
from reflection import challenger, looks, shadow_question, side_by_side, trial
from reflection.models import ShadowLook
from tests.integration.admin_rows import logged_in
from tests.integration.decisions.build import NOON, alerts
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.decisions.scene import at_once, later
from tests.integration.journal.playbooks import by_hand, by_reflection, taught
from tests.integration.reflection.challenger_scene import HOLD, both_answered
from tests.integration.reflection.shadow_records import LOSES, WINS, contest_of
from tests.integration.rewriting import rewriting_the_record

# --- when -------------------------------------------------------------------------------------------------------------


def test_no_look_is_made_before_there_are_enough_trades(on_trial: ScriptedModels) -> None:
    assert looks.look(contest_of(WINS[:29], LOSES).pk, NOON) is None
    assert looks.look(contest_of(WINS, LOSES[:9]).pk, NOON) is None
    assert looks.look(contest_of(WINS, LOSES[:10]).pk, NOON) is not None


def test_a_look_is_made_once_and_the_next_one_at_twice_as_many_trades(on_trial: ScriptedModels, settings: Any) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    contest = contest_of(WINS, WINS)
    first = looks.look(contest.pk, NOON)
    assert first is not None
    assert (first.number, first.level, first.verdict) == (1, 0.025, "undecided")
    assert looks.look(contest.pk, NOON) is None
    assert looks.look(contest_of(WINS * 2, WINS).pk, NOON) is not None
    assert list(ShadowLook.objects.order_by("id").values_list("number", "level")) == [(1, 0.025), (2, 0.0125)]


@pytest.mark.django_db(transaction=True)
def test_rounds_at_the_same_moment_make_one_look(on_trial: ScriptedModels) -> None:
    contest = contest_of(WINS, LOSES)
    assert at_once(*[lambda: looks.look(contest.pk, NOON)] * 4) == []
    assert ShadowLook.objects.count() == 1
    assert Promotion.objects.count() == 2


def test_a_look_is_kept_as_it_was(on_trial: ScriptedModels) -> None:
    found = looks.look(contest_of(WINS, LOSES).pk, NOON)
    assert found is not None
    assert (found.record["challenger"]["net_pnl"], found.record["champion"]["net_pnl"]) == ("120", "-120")
    with pytest.raises(IntegrityError), transaction.atomic():
        ShadowLook.objects.update(verdict="worse")


# --- auto -------------------------------------------------------------------------------------------------------------


def test_a_better_record_promotes_the_challenger(on_trial: ScriptedModels) -> None:
    found = looks.look(contest_of(WINS, LOSES).pk, NOON)
    assert found is not None
    assert (found.verdict, playbook_versions.active().version) == ("better", 2)
    promotion = Promotion.objects.latest("id")
    assert promotion.promoted_by == "the challenger's record"
    assert "net 120.0000 USD of 30 shadow trades against -120.0000 USD of 30" in promotion.reason
    assert "Brier score 0.0900 against 0.4900" in promotion.reason
    assert ChallengerDecision.objects.get().decision == "approved"
    assert alerts("challenger_promoted") == [promotion.reason]


def test_a_worse_record_rejects_it(on_trial: ScriptedModels) -> None:
    looks.look(contest_of(LOSES, WINS).pk, NOON)
    decision = ChallengerDecision.objects.get()
    assert (decision.decision, decision.decided_by) == ("rejected", "the challenger's record")
    assert playbook_versions.active().version == 1
    assert alerts("challenger_rejected") == [decision.reason]


def test_a_record_that_shows_nothing_decides_nothing(on_trial: ScriptedModels) -> None:
    looks.look(contest_of(WINS, WINS).pk, NOON)
    assert not ChallengerDecision.objects.exists()
    assert playbook_versions.active().version == 1
    assert len(alerts("challenger_record")) == 1


def test_more_money_without_better_knowledge_promotes_nobody(on_trial: ScriptedModels) -> None:
    found = looks.look(contest_of([8.0, -2.0] * 15, [2.0, -8.0] * 15).pk, NOON)
    assert found is not None
    assert found.net_better <= found.level
    assert (found.verdict, playbook_versions.active().version) == ("undecided", 1)


def test_a_person_who_was_quicker_is_not_overruled(on_trial: ScriptedModels) -> None:
    contest = contest_of(WINS, LOSES)
    playbook_versions.reject(2, by="ada", reason="no")
    assert looks.look(contest.pk, NOON) is None
    assert playbook_versions.active().version == 1
    assert ChallengerDecision.objects.get().decided_by == "ada"
    assert alerts("challenger_record") == []


def test_one_that_cannot_be_used_any_more_is_a_persons_to_decide(on_trial: ScriptedModels) -> None:
    contest = contest_of(WINS, LOSES)
    with rewriting_the_record():
        PlaybookVersion.objects.filter(version=2).update(playbook_json={"version": 2})
    looks.look(contest.pk, NOON)
    assert playbook_versions.active().version == 1
    told = OutboxMessage.objects.get(category="challenger_record").payload
    assert told["severity"] == "WARN"
    assert "cannot be used any more: last_updated: it is missing" in told["action_taken"]


def test_what_was_promoted_challenges_nobody_any_more(on_trial: ScriptedModels) -> None:
    looks.look(contest_of(WINS, LOSES).pk, NOON)
    assert (challenger.opponents(), challenger.contest()) == (None, None)


# --- manual -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "others", "told"), [(WINS, LOSES, "better"), (LOSES, WINS, "worse")])
def test_a_person_is_told_and_decides(
    on_trial: ScriptedModels, settings: Any, own: list[float], others: list[float], told: str
) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    looks.look(contest_of(own, others).pk, NOON)
    assert playbook_versions.active().version == 1
    assert not ChallengerDecision.objects.exists()
    alert = OutboxMessage.objects.get(category="challenger_record").payload
    assert told in alert["title"]
    assert (alert["severity"], alert["action_taken"]) == ("WARN", "None: a person approves or rejects it")


def test_the_page_of_a_version_has_both_records_side_by_side(on_trial: ScriptedModels, settings: Any) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    looks.look(contest_of(WINS, LOSES).pk, NOON)
    for page in ("", "approve/"):
        told = shown(PlaybookVersion.objects.get(version=2), page)
        assert "Shadow records, on the same cycles and prices" in told
        assert "Challenger 2" in told
        assert "30 of 30 (90 %: 92 to 100 %)" in told
        assert "-120.00" in told
        assert "0.4900" in told


def test_a_challenger_that_was_not_asked_yet_says_so(on_trial: ScriptedModels) -> None:
    assert "It has not been asked yet" in shown(PlaybookVersion.objects.get(version=2))


def shown(version: PlaybookVersion, page: str = "change/") -> str:
    client: Client
    client, _ = logged_in(f"reader of {page}", is_superuser=True)
    response = client.get(f"/admin/journal/playbookversion/{version.pk}/{page or 'change/'}")
    assert response.status_code == 200
    return response.content.decode()


# --- the command ------------------------------------------------------------------------------------------------------


def told(*words: str) -> str:
    out = StringIO()
    call_command("challenger", *words, stdout=out)
    return out.getvalue()


def test_the_command_shows_both_records_and_the_looks(on_trial: ScriptedModels, settings: Any) -> None:
    assert "has no shadow record" in told()
    settings.PLAYBOOK_PROMOTION = "manual"
    looks.look(contest_of(WINS, LOSES).pk, NOON)
    text = told()
    assert "challenger 2" in text
    assert "better" in text.splitlines()[-3]
    assert "Look 2 is made at 60 closed trades of the challenger and 10 of the champion" in text
    assert '"net_pnl": "120"' in told("--json")


def test_the_command_says_when_nobody_waits_and_when_there_is_no_such_version(on_trial: ScriptedModels) -> None:
    playbook_versions.reject(2, by="ada", reason="no")
    assert "No version of the playbook waits" in told()
    with pytest.raises(CommandError, match="There is no playbook version 9"):
        told("9")


# --- when it is over --------------------------------------------------------------------------------------------------


def test_a_contest_is_over_when_another_version_trades_or_challenges(on_trial: ScriptedModels) -> None:
    contest_of(WINS, LOSES)
    assert challenger.contest() is not None
    by_reflection("courage")
    assert challenger.contest() is None
    by_hand("by-ada")
    assert challenger.opponents() is None


def test_no_look_is_made_at_a_contest_that_is_over(on_trial: ScriptedModels) -> None:
    """Between the books and the look another version may have been promoted, and would be undone."""
    contest = contest_of(WINS, LOSES)
    by_hand("a-rule-of-adas")
    assert looks.look(contest.pk, NOON) is None
    assert playbook_versions.active().version == 3
    assert not ShadowLook.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_look_and_a_persons_version_at_the_same_moment_undo_nothing(on_trial: ScriptedModels) -> None:
    contest, seen, mine = contest_of(WINS, LOSES), playbook_versions.basis(), taught("a-rule-of-adas")

    def write() -> None:
        playbook_versions.save_manual(mine, basis=seen, by="ada", reason="mine", now=NOON, promote=True)

    raised = at_once(write, lambda: looks.look(contest.pk, NOON))
    assert [type(error) for error in raised] in ([], [playbook_versions.Conflict])
    assert playbook_versions.active().version == (2 if raised else 3)


def test_a_persons_new_ban_is_not_lifted_by_a_challenger_that_never_knew_it(on_trial: ScriptedModels) -> None:
    ban = {"avoid_hours_utc": [12], "preferred_hours_utc": []}
    by_hand("maintenance", time_filters=ban)
    looks.look(contest_of(WINS, LOSES, champion=3).pk, NOON)
    assert active_playbook().time_filters.avoid_hours_utc == (12,)
    assert ChallengerDecision.objects.get().decision == "superseded"


def test_what_is_open_of_a_contest_that_is_over_is_left_out_and_told(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, HOLD, HOLD)
    playbook_versions.reject(2, by="ada", reason="no")
    trial.go_on(later(5))
    asked.refresh_from_db()
    assert (asked.status, asked.reason) == ("left_out", shadow_question.OVER)
    assert side_by_side.next_look(asked.contest).startswith("The contest is over: no further look is made")
