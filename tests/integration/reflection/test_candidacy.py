"""What becomes of a proposal while a challenger has its trial: a new challenger, or put aside with the reason."""

from decimal import Decimal
from typing import Any

import pytest

from decisions.models import OutboxMessage
from journal import playbook_versions
from journal.models import ChallengerDecision
from journal.playbook import first_playbook
from reflection import looks
from reflection.models import Reflection, ShadowLook
from tests.integration.decisions.build import NOON
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.decisions.scene import later
from tests.integration.journal.playbooks import by_hand
from tests.integration.reflection.scene import deep_ones, look_after, world
from tests.integration.reflection.shadow_records import LOSES, WINS, contest_of
from tests.integration.reflection.test_deep import every_three_trades, lesson, proposed, three_trades, versions

pytestmark = pytest.mark.usefixtures("ready", every_three_trades.__name__)


def learnt(models: ScriptedModels, minutes: float, **changes: Any) -> Reflection:
    """The deep reflection on three more trades, which proposes this."""
    three_trades(minutes)
    models.will_say("reflect", proposed(**changes))
    look_after(later(minutes + 1))
    return deep_ones()[-1]


@pytest.fixture(params=["manual", "auto"])
def first_challenger(request: Any, models: ScriptedModels, settings: Any) -> Reflection:
    """Version 2, which says `one`, challenges version 1."""
    settings.PLAYBOOK_PROMOTION = request.param
    world()
    piece = learnt(models, 0, lessons_learned=[lesson("one")])
    assert versions() == [1, 2]
    return piece


ANOTHER = {"lessons_learned": [lesson("one", "Wait for a retest.")]}


@pytest.mark.parametrize("share", ["0", "0.25"])
def test_a_challenger_on_trial_is_not_superseded_and_the_proposal_stays_in_the_log(
    models: ScriptedModels, settings: Any, first_challenger: Reflection, share: str
) -> None:
    settings.CHALLENGER_SHARE = Decimal(share)
    kept = learnt(models, 10, **ANOTHER)
    assert (versions(), kept.status) == ([1, 2], "done")
    told = "the proposal is put aside: version 2 is on trial since 2022-11-20 12:01 UTC: 0 of 3 looks"
    assert kept.reason == told
    assert kept.log is not None
    assert kept.log.playbook_changes == {"changes": ["lessons_learned: added one"]}
    learnt(models, 31 * 24 * 60, **ANOTHER)
    assert versions() == [1, 2, 3]
    assert ChallengerDecision.objects.get().playbook.version == 2


def test_the_look_that_is_due_is_made_before_another_may_come(
    models: ScriptedModels, first_challenger: Reflection, settings: Any
) -> None:
    settings.PLAYBOOK_PROMOTION = "auto"
    contest_of(WINS, LOSES)
    kept = learnt(models, 31 * 24 * 60, **ANOTHER)
    assert (ShadowLook.objects.get().verdict, playbook_versions.active().version) == ("better", 2)
    assert kept.reason == "the proposal is put aside: version 2 trades by now, and it was made from version 1"
    assert versions() == [1, 2]


def test_what_waits_for_a_person_after_a_look_is_never_superseded(models: ScriptedModels, settings: Any) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    world()
    learnt(models, 0, lessons_learned=[lesson("one")])
    looks.look(contest_of(WINS, LOSES).pk, NOON)
    kept = learnt(models, 31 * 24 * 60, **ANOTHER)
    assert kept.reason == "the proposal is put aside: version 2 waits for a person: look 1 found it better"
    playbook_versions.promote(2, by="ada", reason="its record is better")
    assert playbook_versions.active().version == 2


@pytest.mark.parametrize(("times", "put_aside"), [((1,), True), ((1, 2), True), ((1, 2, 4), False)])
def test_it_may_show_something_in_three_looks(
    models: ScriptedModels, first_challenger: Reflection, times: tuple[int, ...], put_aside: bool
) -> None:
    for each in times:
        looks.look(contest_of((WINS[:29] + LOSES[:1]) * each, WINS * each).pk, NOON)
    assert ("put aside" in learnt(models, 10, **ANOTHER).reason) == put_aside


def test_one_that_does_what_the_champion_does_makes_room(models: ScriptedModels, first_challenger: Reflection) -> None:
    looks.look(contest_of(WINS, WINS).pk, NOON)
    learnt(models, 10, **ANOTHER)
    assert versions() == [1, 2, 3]


def test_what_is_on_trial_does_not_begin_again_under_another_number(
    models: ScriptedModels, first_challenger: Reflection
) -> None:
    looks.look(contest_of(WINS, WINS).pk, NOON)
    again = {**lesson("one"), "id": "two", "evidence": "7 of 9", "date": "2022-11-21"}
    kept = learnt(models, 31 * 24 * 60, lessons_learned=[again])
    assert kept.reason == "the proposal is put aside: it says what version 2 says, which is on trial"
    assert versions() == [1, 2]


@pytest.mark.parametrize("how", ["rejected", "superseded"])
def test_what_has_failed_does_not_come_again_while_the_same_version_trades(
    models: ScriptedModels, first_challenger: Reflection, how: str
) -> None:
    looks.look(contest_of(WINS, WINS).pk, NOON)
    if how == "rejected":
        playbook_versions.reject(2, by="ada", reason="one bad week is no ban")
    else:
        learnt(models, 10, **ANOTHER)
        assert versions() == [1, 2, 3]
    kept = learnt(models, 20, lessons_learned=[lesson("one")])
    assert kept.reason == f"the proposal is put aside: it says what version 2 says, which was {how}"
    (shown,) = models.shown(question="reflect")["failed_challengers"]
    assert (shown["version"], shown["changes"]) == (2, ["lessons_learned: added one"])
    assert shown["reason"] == ("one bad week is no ban" if how == "rejected" else "Reflection wrote another version.")
    by_hand("by-ada")
    ours = playbook_versions.active().playbook_json["lessons_learned"]
    learnt(models, 30, lessons_learned=[*ours, lesson("one")])
    challenger = playbook_versions.challenger()
    assert challenger is not None
    assert challenger.version == versions()[-1]


def test_measured_numbers_alone_make_no_challenger_and_keep_none_away(models: ScriptedModels, settings: Any) -> None:
    settings.PLAYBOOK_PROMOTION = "auto"
    world()
    measured = first_playbook(NOON).model_dump(mode="json")["strategy_definitions"]
    measured[0]["historical_winrate"] = "0.5001"
    kept = learnt(models, 0, strategy_definitions=measured)
    assert kept.reason == "the proposal is put aside: but for measured numbers it says what version 1 says"
    learnt(models, 10, strategy_definitions=measured, time_filters={"avoid_hours_utc": [3], "preferred_hours_utc": []})
    assert versions() == [1, 2]


@pytest.mark.parametrize(
    ("mode", "share", "severity"), [("manual", "0", "WARN"), ("manual", "0.25", "INFO"), ("immediate", "0", "INFO")]
)
def test_a_challenger_that_nobody_tries_asks_for_a_person(
    models: ScriptedModels, settings: Any, mode: str, share: str, severity: str
) -> None:
    settings.PLAYBOOK_PROMOTION, settings.CHALLENGER_SHARE = mode, Decimal(share)
    world()
    learnt(models, 0, lessons_learned=[lesson("one")])
    assert OutboxMessage.objects.get(category="playbook_updated").payload["severity"] == severity
