"""Whether, when and why not a failed request is sent again."""

from datetime import UTC, datetime

import pytest

from decisions.clients.attempts import LEAST_WORTH_SECONDS, asked_pause, is_passing, pause_before_next, why_the_last

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def pause(
    attempt: int = 1,
    status: int | None = 529,
    headers: dict[str, str] | None = None,
    remaining: float = 30,
    chance: float = 0,
) -> float | None:
    return pause_before_next(attempt, status, headers or {}, remaining=remaining, chance=chance, now=NOW)


@pytest.mark.parametrize(
    ("status", "headers", "passing"),
    [
        (None, {}, True),
        (408, {}, True),
        (409, {}, True),
        (429, {}, True),
        (500, {}, True),
        (529, {}, True),
        (400, {}, False),
        (401, {}, False),
        (404, {}, False),
        (413, {}, False),
        (302, {}, False),
        (400, {"x-should-retry": "true"}, True),
        (529, {"x-should-retry": "false"}, False),
        (529, {"x-should-retry": "perhaps"}, True),
    ],
)
def test_what_passes_is_known_by_its_status_unless_the_server_says(
    status: int | None, headers: dict[str, str], passing: bool
) -> None:
    assert is_passing(status, headers) is passing
    assert (pause(status=status, headers=headers) is not None) is passing


def test_the_pause_doubles_less_a_random_quarter_and_there_are_three_attempts() -> None:
    assert [pause(1), pause(2), pause(3)] == [0.5, 1.0, None]
    assert [pause(1, chance=0.5), pause(2, chance=0.999)] == [0.4375, pytest.approx(0.75, abs=0.001)]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "22 Nov 2026 12:00:30"}, 30.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 99999999999 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 +99999999999999999999999"}, None),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
    ],
)
def test_the_pause_that_a_server_asks_for_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_pause(headers, NOW) == seconds


def test_an_asked_pause_replaces_ours_and_is_not_waited_for_beyond_the_deadline() -> None:
    assert pause(headers={"retry-after": "7"}, remaining=8) == 7
    assert pause(headers={"retry-after": "7"}, remaining=7 + LEAST_WORTH_SECONDS) is None
    assert pause(headers={"retry-after": "4294967"}) is None


def test_nothing_is_tried_with_too_little_time_left() -> None:
    assert pause(remaining=1.01) == 0.5
    assert pause(remaining=1.0) is None
    assert pause(remaining=0) is None


@pytest.mark.parametrize(
    ("attempt", "status", "headers", "remaining", "told"),
    [
        (1, 401, {}, 30, ()),
        (1, 401, {"retry-after": "3600"}, 30, ()),
        (2, 401, {}, 30, ("tried 2 times",)),
        (3, 529, {}, 30, ("tried 3 times",)),
        (1, 529, {}, 0.2, ("no time is left for another attempt",)),
        (1, 429, {"retry-after": "3600"}, 30, ("asks to wait 3600 s, longer than is left of the deadline",)),
        (
            2,
            429,
            {"retry-after": "3600"},
            30,
            ("asks to wait 3600 s, longer than is left of the deadline", "tried 2 times"),
        ),
    ],
)
def test_why_no_other_attempt_follows_is_told(
    attempt: int, status: int, headers: dict[str, str], remaining: float, told: tuple[str, ...]
) -> None:
    assert why_the_last(attempt, status, headers, remaining=remaining, now=NOW) == told
