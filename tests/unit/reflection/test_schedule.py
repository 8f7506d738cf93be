"""When a deep reflection is due: so many trades, or so much time with at least one."""

from datetime import timedelta

import pytest

from reflection.schedule import Cause, Schedule
from tests.unit.reflection.scene import NOW

SCHEDULE = Schedule(trades=20, interval=timedelta(hours=6))
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("new", "passed", "cause"),
    [
        (20, timedelta(0), "trades"),
        (19, timedelta(hours=6) - SECOND, None),
        (19, timedelta(hours=6), "hours"),
        (1, timedelta(hours=6), "hours"),
        (0, timedelta(days=30), None),
        (25, timedelta(days=30), "trades"),
    ],
)
def test_it_is_due_by_whichever_comes_first_and_never_without_a_trade(
    new: int, passed: timedelta, cause: Cause | None
) -> None:
    assert SCHEDULE.due(new_trades=new, since=NOW - passed, now=NOW) == cause


def test_a_clock_that_was_set_back_does_not_put_it_off() -> None:
    assert SCHEDULE.due(new_trades=1, since=NOW + timedelta(hours=1), now=NOW) == "hours"
    assert SCHEDULE.due(new_trades=1, since=NOW + SECOND, now=NOW) is None


def test_what_is_left_is_told_in_trades_and_in_time() -> None:
    assert SCHEDULE.left(new_trades=7, since=NOW) == (13, NOW + timedelta(hours=6))
    assert SCHEDULE.left(new_trades=25, since=None) == (0, None)
