"""What is ready and what is not: the rules on their boundaries."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator_project.monitoring.readiness import Check, Limits, all_pass, of_record, of_redis, silence
from orchestrator_project.monitoring.state import Age, RecordState, RedisState, StreamState

NOW = datetime(2022, 11, 20, 12, tzinfo=UTC)
UNIX = 1_668_945_600.0
LIVE = Limits(
    schedule={"sweep": 15.0, "slow": 30.0},
    max_snapshot_age=timedelta(seconds=120),
    max_positions_age=timedelta(seconds=60),
    wall_data_seconds=None,
)
SANDBOX = Limits(
    schedule={}, max_snapshot_age=timedelta(minutes=10), max_positions_age=timedelta(minutes=2), wall_data_seconds=120.0
)


def redis_state(**changes: Any) -> RedisState:
    stream = StreamState(length=5, lag=0, pending=0, oldest_seconds=0.0)
    usual: dict[str, Any] = {
        "signs": {"beat": UNIX, "sweep": UNIX, "slow": UNIX}, "streams": {"trade:fills": stream}, "consumers": 1,
    }  # fmt: skip
    return RedisState(**(usual | changes))


def record_state(**changes: Any) -> RecordState:
    usual: dict[str, Any] = {
        "now": NOW, "open_cycles": 1, "oldest_open_seconds": 5.0, "unclaimed_seconds": 0.0, "last_cycle_seconds": 9.0,
        "outbox_waiting": 0, "outbox_seconds": 0.0, "waiting_fills": 0, "discrepancies": 0, "blocked_instruments": 0,
        "positions": Age(NOW, 1.0), "database_bytes": 1, "snapshots": {"BTC": Age(NOW, 1.0)},
    }  # fmt: skip
    return RecordState(**(usual | changes))


def failing(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passes]


def test_all_is_well():
    checks = [*of_redis(redis_state(), LIVE, UNIX), *of_record(record_state(), LIVE)]
    assert failing(checks) == []
    assert all_pass(checks)
    assert not all_pass([*checks, Check("x", False, "")])


@pytest.mark.parametrize(
    ("signs", "fails"),
    [
        ({"beat": UNIX - 60}, []),
        ({"beat": UNIX - 60.5}, ["beat"]),
        ({"beat": UNIX + 60}, []),
        ({"beat": UNIX + 61}, ["beat"]),
        ({"sweep": UNIX - 60}, []),
        ({"sweep": UNIX - 61}, ["schedule"]),
        ({"slow": UNIX - 119}, []),
        ({"slow": UNIX - 121}, ["schedule"]),
        ({"unknown": UNIX - 9999}, []),
    ],
)
def test_beat_and_its_tasks_may_be_silent_for_so_long(signs: dict[str, float], fails: list[str]):
    usual = {"beat": UNIX, "sweep": UNIX, "slow": UNIX}
    assert failing(of_redis(redis_state(signs=usual | signs), LIVE, UNIX)) == fails


def test_what_was_never_seen_is_not_ready():
    assert failing(of_redis(redis_state(signs={}), LIVE, UNIX)) == ["beat", "schedule"]


def test_the_age_of_a_sign_from_before_the_clock_was_set_back_is_not_known():
    assert silence({"a": UNIX - 5, "b": UNIX + 5, "c": UNIX + 3600}, UNIX) == {"a": 5, "b": 0, "c": float("inf")}


@pytest.mark.parametrize(("oldest", "fails"), [(60.0, []), (60.1, ["streams"])])
def test_a_stream_may_be_behind_for_a_minute(oldest: float, fails: list[str]):
    stream = StreamState(length=5, lag=3, pending=1, oldest_seconds=oldest)
    assert failing(of_redis(redis_state(streams={"trade:fills": stream}), LIVE, UNIX)) == fails


def test_a_long_stream_that_is_read_is_ready():
    stream = StreamState(length=10_000, lag=500, pending=50, oldest_seconds=1.0)
    assert failing(of_redis(redis_state(streams={"market:snapshots": stream}), LIVE, UNIX)) == []


def test_without_a_consumer_it_is_not_ready():
    assert failing(of_redis(redis_state(consumers=0), LIVE, UNIX)) == ["consumer"]


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"unclaimed_seconds": 60.0}, []),
        ({"unclaimed_seconds": 61.0}, ["stages"]),
        ({"oldest_open_seconds": 9999.0}, []),
        ({"outbox_seconds": 61.0}, ["outbox"]),
        ({"snapshots": {"BTC": Age(NOW - timedelta(seconds=120), 120.0)}}, []),
        ({"snapshots": {"BTC": Age(NOW - timedelta(seconds=121), 121.0)}}, ["market_data"]),
        ({"snapshots": {"BTC": Age(NOW, 0.0), "ETH": Age(None, None)}}, ["market_data"]),
        ({"snapshots": {"BTC": Age(NOW + timedelta(seconds=61), 0.0)}}, ["market_data"]),
        ({"positions": Age(NOW - timedelta(seconds=61), 61.0)}, ["positions"]),
        ({"positions": Age(None, None)}, ["positions"]),
        ({"discrepancies": 3, "waiting_fills": 2, "blocked_instruments": 1}, []),
    ],
)
def test_what_waits_and_what_is_stale_is_not_ready(changes: dict[str, Any], fails: list[str]):
    assert failing(of_record(record_state(**changes), LIVE)) == fails


@pytest.mark.parametrize(
    ("age", "fails"),
    [
        (Age(NOW, 120.0), []),
        (Age(NOW, 121.0), ["market_data"]),
        (Age(NOW + timedelta(hours=1), 1.0), []),
        (Age(NOW - timedelta(minutes=11), 1.0), ["market_data"]),
    ],
)
def test_the_sandbox_stands_still_with_its_market_and_that_shows(age: Age, fails: list[str]):
    assert failing(of_record(record_state(snapshots={"BTC": age}), SANDBOX)) == fails


def test_what_is_wrong_is_said_by_name():
    (told,) = [check for check in of_record(record_state(snapshots={"BTC": Age(None, None)}), LIVE) if not check.passes]
    assert told.detail == "BTC: never came in"
