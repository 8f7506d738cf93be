"""`manage.py reflect`: what is due, what was done, and a deep reflection sooner."""

import json
from typing import Any

import pytest
from django.core.management import CommandError

from decisions.models import OutboxMessage
from tests.integration.decisions.model_server import ScriptedModels, overloaded
from tests.integration.decisions.scene import command, queued
from tests.integration.reflection.scene import closed, deep_ones, look_after, pause_is_over, spend, world
from tests.integration.reflection.test_reviews import review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready")]


def status() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(command("reflect", "--json")[1])
    return result


def refused(*words: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as error:
        command("reflect", *words)
    return error.value.returncode, str(error.value)


def test_a_fresh_system_has_nothing_to_look_back_on() -> None:
    code, said = command("reflect")
    assert code == 0
    assert "Last         none so far" in said
    assert "Next         after 20 more closed trades; none has closed since the last one" in said
    assert refused("--now") == (1, "Refused. No trade with a known result has closed since the last deep reflection.")
    assert deep_ones() == []


def test_it_tells_what_waits_and_why(models: ScriptedModels) -> None:
    world()
    models.will_say("review", review(should_update_playbook=True, playbook_suggestion="Trail the stop."), overloaded())
    first, second, third = closed(minutes=-3), closed(minutes=-2), closed(None, minutes=-1)
    look_after()
    found = status()
    assert found["next"] == {"new_trades": 2, "after_trades": 18, "at": "2022-11-20T17:57:00Z", "due": None}
    assert found["suggestions"] == [{"trade": first.pk, "suggestion": "Trail the stop."}]
    assert (found["reviews"]["reviewed"], found["reviews"]["waiting"], found["reviews"]["not_reviewed"]) == (1, 1, 1)
    said = command("reflect")[1]
    assert f"trade {second.pk} waits: error: HTTP 529" in said
    assert f"trade {third.pk} was not reviewed: its result is not known" in said
    assert "trade from the next cycle on (PLAYBOOK_PROMOTION=immediate)" in said


def test_one_can_be_asked_for_and_only_one(models: ScriptedModels, redis_client: Any) -> None:
    world()
    closed()
    said = command("reflect", "--now", "--by", "ada")[1]
    assert "Under way    since 2022-11-20 12:00 UTC, made due by ada, 1 new trades" in said
    assert queued(redis_client, "reflect") == 1
    assert refused("--now", "--by", "bob")[0] == 1
    look_after()
    assert status()["last"]["asked_by"] == "ada"
    assert status()["last"]["status"] == "done"
    assert len(deep_ones()) == 1


def test_the_last_one_is_told_even_if_it_came_to_nothing(models: ScriptedModels) -> None:
    world()
    closed()
    command("reflect", "--now", "--by", "ada")
    models.will_say("reflect", *[overloaded()] * 12)
    for _ in range(3):
        look_after()
        pause_is_over()
    assert status()["last"]["status"] == "given_up"
    assert "made due by ada: came to nothing: error: HTTP 529" in command("reflect")[1]


def test_with_the_money_spent_nothing_is_asked() -> None:
    world()
    closed()
    spend("15")
    code, said = refused("--now", "--by", "ada")
    assert code == 1
    assert said.startswith("Refused. It would be postponed until the market day ends: models have cost 15.0000")
    assert "Postponed    postponed" not in command("reflect")[1]
    assert "models have cost" in command("reflect")[1]


def test_mistakes_are_told_kindly() -> None:
    assert refused("--by", "ada") == (2, "--by goes with --now: nobody asks for anything otherwise")
    code, said = refused("--now", "--by", " ")
    assert code == 2
    assert "a name of 1 to 100 characters" in said
    assert not OutboxMessage.objects.exists()
