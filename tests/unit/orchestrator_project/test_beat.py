"""Beat keeps its intervals when the wall clock is set an hour forth or back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry

from orchestrator_project import beat
from orchestrator_project.beat import SteadyScheduler
from orchestrator_project.celery import app as product

HOUR = 3600.0


class Time:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.passed, self.steps = 0.0, 0.0

    def now(self) -> datetime:
        return datetime(2022, 11, 20, 12, tzinfo=UTC) + timedelta(seconds=self.passed + self.steps)


class Recorder(SteadyScheduler):
    """Notes what it would send."""

    sent: list[str]

    def apply_entry(self, entry: ScheduleEntry, **_: Any) -> None:
        self.sent.append(entry.name)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(beat, "_wall_ahead_of_monotonic", lambda: 1_000_000.0 + made.steps)
    monkeypatch.setattr(Celery, "now", lambda _: made.now())
    return made


@pytest.fixture
def scheduler(time: Time) -> Recorder:
    app = Celery("test", broker="memory://", timezone="UTC")
    app.conf.beat_schedule = {
        "often": {"task": "often", "schedule": 5.0}, "seldom": {"task": "seldom", "schedule": 60.0},
    }  # fmt: skip
    made = Recorder(app)
    made.sent = []
    return made


def pass_time(scheduler: Recorder, time: Time, seconds: int) -> dict[str, int]:
    """Let so many seconds pass. Returns how often each entry was sent meanwhile."""
    scheduler.sent.clear()
    for _ in range(seconds):
        time.passed += 1
        while scheduler.tick() == 0:
            pass
    return {name: scheduler.sent.count(name) for name in ("often", "seldom")}


def test_the_product_uses_it_and_keeps_no_schedule_on_disk() -> None:
    assert product.conf.beat_scheduler == "orchestrator_project.beat:SteadyScheduler"
    assert not SteadyScheduler.__mro__[1].__name__.startswith("Persistent")
    assert set(SteadyScheduler(product).schedule) == set(product.conf.beat_schedule)


def test_no_tick_that_waited_through_an_outage_is_carried_out_late() -> None:
    for entry in product.conf.beat_schedule.values():
        assert 0 < entry["options"]["expires"] <= max(5 * entry["schedule"], 60)


@pytest.mark.parametrize("step", [HOUR, -HOUR, 0.0])
def test_an_hour_either_way_changes_no_interval(scheduler: Recorder, time: Time, step: float) -> None:
    assert pass_time(scheduler, time, 121) == {"often": 24, "seldom": 2}
    time.steps += step
    sent = pass_time(scheduler, time, 122)
    assert 23 <= sent["often"] <= 25
    assert 1 <= sent["seldom"] <= 2


def test_after_a_step_the_next_of_each_comes_within_one_interval(scheduler: Recorder, time: Time) -> None:
    pass_time(scheduler, time, 30)
    time.steps -= HOUR
    assert pass_time(scheduler, time, 7)["often"] >= 1
    assert pass_time(scheduler, time, 55)["seldom"] == 1
