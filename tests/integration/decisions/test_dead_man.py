"""The dead-man's switch: silence is told once, its end once, and what only looks like work is silence."""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from decisions import dead_man
from decisions.models import DecisionCycle, OutboxMessage
from tests.integration.decisions.build import cycle_row

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def running_for_an_hour(settings: Any, redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SANDBOX = False
    monkeypatch.setattr(dead_man, "_STARTED", monotonic() - 3600)


def ended(minutes_ago: float, outcome: str = "model_hold") -> None:
    cycle = cycle_row()
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    DecisionCycle.objects.filter(pk=cycle.pk).update(
        slot_at=at, state="done", outcome=outcome, finished_at=at, claim=None, claimed_until=None
    )


def told() -> list[tuple[str, str]]:
    return list(OutboxMessage.objects.order_by("id").values_list("severity", "category"))


def test_three_intervals_without_a_finished_cycle_are_told_once() -> None:
    ended(15.5)
    dead_man.look()
    dead_man.look()
    assert told() == [("CRITICAL", "no_cycles")]
    assert "within 15 minutes: the last one ended" in OutboxMessage.objects.get().payload["detail"]


def test_less_is_not_told() -> None:
    ended(14.5)
    dead_man.look()
    assert told() == []


def test_the_end_of_an_outage_is_told_once_and_the_next_outage_again() -> None:
    ended(40)
    dead_man.look()
    DecisionCycle.objects.all().delete()
    ended(0)
    dead_man.look()
    dead_man.look()
    assert told() == [("CRITICAL", "no_cycles"), ("WARN", "no_cycles_over")]
    DecisionCycle.objects.update(finished_at=datetime.now(UTC) - timedelta(minutes=20))
    dead_man.look()
    assert told()[2:] == [("CRITICAL", "no_cycles")]


@pytest.mark.parametrize("outcome", ["abandoned", "previous_still_running"])
def test_a_cycle_that_nobody_worked_on_is_no_sign_of_life(outcome: str) -> None:
    ended(1, outcome)
    dead_man.look()
    assert told() == [("CRITICAL", "no_cycles")]
    assert "there is none yet" in OutboxMessage.objects.get().payload["detail"]


def test_a_process_that_has_just_started_gives_the_others_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_man, "_STARTED", monotonic() - 60)
    ended(600)
    dead_man.look()
    assert told() == []


def test_the_sandboxs_cycles_are_as_much_shorter_as_its_bars(settings: Any) -> None:
    settings.SANDBOX, settings.SANDBOX_BAR_SECONDS = True, 60
    assert dead_man.longest_silence() == timedelta(minutes=3)
    settings.SANDBOX_BAR_SECONDS = 5
    assert dead_man.longest_silence() == timedelta(minutes=2)


def test_in_lockstep_there_is_nothing_to_miss(settings: Any) -> None:
    settings.SANDBOX, settings.SANDBOX_LOCKSTEP = True, True
    ended(600)
    dead_man.look()
    assert told() == []
