"""How old a stamp is when the wall clock may be set back and forth."""

from datetime import UTC, datetime, timedelta

import pytest

from decisions.clock import is_ahead, older_than

NOON = datetime(2022, 11, 20, 12, tzinfo=UTC)
AGE = timedelta(seconds=15)


@pytest.mark.parametrize(
    ("seconds_ago", "old"),
    [
        (0, False), (15, False), (15.001, True), (3600, True),
        (-5, False),  # another machine's clock, a little ahead of ours
        (-60, False), (-60.001, True), (-3600, True),  # made before the clock was set back
    ],
)  # fmt: skip
def test_a_stamp_is_old_when_its_age_has_passed_or_when_it_lies_ahead(seconds_ago: float, old: bool) -> None:
    assert older_than(NOON - timedelta(seconds=seconds_ago), AGE, NOON) == old


def test_only_what_lies_more_than_a_minute_ahead_tells_of_a_step() -> None:
    assert not is_ahead(NOON + timedelta(seconds=60), NOON)
    assert is_ahead(NOON + timedelta(seconds=61), NOON)
