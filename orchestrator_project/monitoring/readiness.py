"""Whether the system does its work now: rules over what was read. Pure.

Ready means that a slot which began now would be decided on fresh data and that an exit would be booked. Whether
anything may be opened is another question: a halt, a cooldown and a spent budget are ready.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator_project.monitoring.state import Age, RecordState, RedisState

LONGEST_SILENCE_SECONDS = 60.0
"""Of beat. It turns every few seconds."""
MISSED_TURNS = 4
"""A task of the schedule that has not ended well for so many of its intervals is behind, or nobody does it."""
BEHIND_SECONDS = 60.0
"""What waits for longer is behind: a stream's entry for the consumer, a stage for its worker, a message of ours."""
AHEAD_SECONDS = 60.0
"""A sign of life further ahead of us than that is from before the clock was set back."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer, in words that hold no secret."""

    name: str
    passes: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How old things may be. `schedule` is beat's: interval in seconds by task; `wall_data_seconds` bounds the arrival
    of market data and positions in a sandbox, whose market clock stands still with them; None live."""

    schedule: Mapping[str, float]
    max_snapshot_age: timedelta
    max_positions_age: timedelta
    wall_data_seconds: float | None


def of_redis(state: RedisState, limits: Limits, unix_now: float) -> list[Check]:
    """What Redis's state says: beat and its tasks, the consumer, and the streams."""
    ages = silence(state.signs, unix_now)
    return [
        Check("beat", ages.get("beat", _NEVER) <= LONGEST_SILENCE_SECONDS, _last_seen(ages.get("beat", _NEVER))),
        _schedule(ages, limits.schedule),
        Check("consumer", state.consumers > 0, f"{state.consumers} seen within a minute"),
        _streams(state),
    ]


def of_record(state: RecordState, limits: Limits) -> list[Check]:
    """What Postgres's state says: the stages, our own messages, the market data and the positions."""
    return [
        _waits("stages", "a stage has waited for its worker for", state.unclaimed_seconds),
        _waits("outbox", "a message of ours has waited to be published for", state.outbox_seconds),
        _market_data(state, limits),
        _fresh("positions", state.positions, limits.max_positions_age, state.now, limits),
    ]


_NEVER = float("inf")


def silence(signs: Mapping[str, float], unix_now: float) -> dict[str, float]:
    """Seconds since each sign of life; infinite for one that is ahead of us, whose age nobody knows."""
    ages = {name: unix_now - at for name, at in signs.items()}
    return {name: _NEVER if age < -AHEAD_SECONDS else max(age, 0.0) for name, age in ages.items()}


def _last_seen(age: float) -> str:
    return "never seen" if age == _NEVER else f"seen {age:.0f} s ago"


def _schedule(ages: Mapping[str, float], schedule: Mapping[str, float]) -> Check:
    """A worker that is away or stuck shows here, and so does a beat that sends nothing."""
    late = [
        f"{task}: {_last_seen(age)}"
        for task, interval in sorted(schedule.items())
        if (age := ages.get(task, _NEVER)) > max(LONGEST_SILENCE_SECONDS, MISSED_TURNS * interval)
    ]
    return Check("schedule", not late, "; ".join(late) or f"{len(schedule)} tasks are on time")


def _streams(state: RedisState) -> Check:
    late = [
        f"{name}: {each.lag} unread, {each.pending} unacknowledged, the oldest {each.oldest_seconds:.0f} s old"
        for name, each in sorted(state.streams.items())
        if each.oldest_seconds > BEHIND_SECONDS
    ]
    return Check("streams", not late, "; ".join(late) or "read up")


def _waits(name: str, sentence: str, seconds: float) -> Check:
    late = seconds > BEHIND_SECONDS
    return Check(name, not late, f"{sentence} {seconds:.0f} s" if late else "nothing waits")


def _market_data(state: RecordState, limits: Limits) -> Check:
    checks = [
        _fresh(symbol, age, limits.max_snapshot_age, state.now, limits)
        for symbol, age in sorted(state.snapshots.items())
    ]
    return Check("market_data", all(each.passes for each in checks), _told(checks))


def _told(checks: Sequence[Check]) -> str:
    wrong = [f"{each.name}: {each.detail}" for each in checks if not each.passes]
    return "; ".join(wrong) or f"{len(checks)} instruments are fresh"


def _fresh(name: str, newest: Age, longest: timedelta, now: datetime, limits: Limits) -> Check:
    if newest.at is None or newest.seconds is None:
        return Check(name, False, "never came in")
    age = (now - newest.at).total_seconds()
    if age > longest.total_seconds():
        return Check(name, False, f"{age:.0f} s old, at most {longest.total_seconds():.0f} are allowed")
    if limits.wall_data_seconds is not None and newest.seconds > limits.wall_data_seconds:
        return Check(
            name, False, f"came in {newest.seconds:.0f} s ago, at most {limits.wall_data_seconds:.0f} are usual"
        )
    if limits.wall_data_seconds is None and age < -AHEAD_SECONDS:
        return Check(name, False, f"{-age:.0f} s ahead of our clock")
    return Check(name, True, f"{max(age, 0):.0f} s old")


def all_pass(checks: Iterable[Check]) -> bool:
    return all(check.passes for check in checks)
