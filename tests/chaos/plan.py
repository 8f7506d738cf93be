"""What befalls one run, from its seed alone: which fault, in which slot, how long after the slot began.

Every kind of fault takes its turn from seed to seed, so that a few seeds in a row meet all of them; when each strikes,
and what it meets, is random.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from orchestrator_project.crash_points import POINTS

KILLED = ("worker_child", "worker", "consumer", "venue", "beat")
SERVER_FAULTS = ("redis_kill", "redis_flushall", "postgres_restart", "postgres_terminate")
CLOCK_STEPS = (3600, -3600)
GARBAGE = (
    "no_fields", "not_json", "bytes", "unknown_type", "unknown_version", "missing_key", "nan", "huge", "nested",
    "stale", "repeated",
)  # fmt: skip

VENUE_FAULTS: Mapping[str, Any] = {
    "drop_fill": 0.15,
    "delay_fill": {"share": 0.25, "seconds": 0.8},
    "duplicate_fill": {"share": 0.3, "same_message": 0.5},
    "reorder_fills": {"share": 0.3, "seconds": 0.5},
    "lose_reply": 0.12,
    "reject": 0.12,
    "partial_fill": {"share": 0.4, "cancel_rest": 0.3},
    "late_stop": {"share": 0.2, "seconds": 1.0},
    "no_stop": 0.25,
    "lag_positions": {"share": 0.2, "seconds": 1.0, "repeat": 0.5},
    "disagree_positions": {"share": 0.1, "messages": 2},
}
"""Key of the venue's plan -> what a run sets it to. Such a disagreement is mostly over before anybody acts upon it."""
LASTING_DISAGREEMENT: Mapping[str, Any] = {"disagree_positions": {"share": 1.0, "messages": 1000}}
"""One that is not: a position is missing, of another size or invented, until the record has done something about it."""

FIRST_SLOT, CALM_SLOTS = 2, 2
"""Nothing happens before everything has been seen to work, nor in the last slots."""
LONGEST_WAIT_SECONDS = 0.3
LED_TO = ("close_written", "before_close_send", "close_on_stream", "cycle_abandoned", "repair_written")
"""Points that nobody comes to of himself: something else leads there, and they have to be armed by then."""
AT_A_COMMAND = "effect_committed"
"""Where the consumer dies with a person's halt in hand: a second effect of that is one that is to be seen."""
CRASHES_A_RUN, KILLS_A_RUN, SERVER_FAULTS_A_RUN, VENUE_FAULTS_A_RUN, GARBAGE_A_RUN = 5, 2, 2, 4, 4


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """`what` befalls `whom` so many seconds after the slot has begun, or as soon as possible after that.

    Not before it is `when`: "held" while a position is open, "flat" while none is, "trading" while no halt stands,
    "idle" between two slots, or a crash point that has killed somebody.
    """

    slot: int
    after_seconds: float
    what: str
    whom: str = ""
    when: str = ""

    def __str__(self) -> str:
        return f"{self.what}:{self.whom}" if self.whom else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. `venue` is what the venue's file of faults says while the run is not calm."""

    seed: int
    slots: int
    faults: tuple[Fault, ...]
    venue: Mapping[str, Any]

    def kinds(self) -> set[str]:
        """Every kind of fault in it, as `what:whom`."""
        return {str(fault) for fault in self.faults} | {f"venue:{name}" for name in self.venue if name != "seed"}


def every_kind() -> set[str]:
    """What the seeds together have to cover; points and kinds of the plan."""
    told = {
        "crash": POINTS, "kill": KILLED, "server": SERVER_FAULTS, "garbage": GARBAGE,
        "clock": map(str, CLOCK_STEPS), "person": ("halt", "resume", "close_all"),
        "venue": (*VENUE_FAULTS, "silence", "disagreement"),
    }  # fmt: skip
    return {f"{what}:{whom}" for what, whoms in told.items() for whom in whoms}


def plan(seed: int, slots: int) -> Plan:
    """The plan of a seed."""
    faults = tuple(sorted(_Dealer(seed, slots).faults()))
    venue = {name: VENUE_FAULTS[name] for name in _turn(tuple(VENUE_FAULTS), seed, VENUE_FAULTS_A_RUN)}
    return Plan(seed=seed, slots=slots, faults=faults, venue={"seed": seed, **venue})


def _turn(names: Sequence[Any], seed: int, count: int) -> list[Any]:
    """The next so many of the names, going round from seed to seed."""
    return [names[(seed * count + place) % len(names)] for place in range(min(count, len(names)))]


class _Dealer:
    """Deals the faults of one seed to its slots, and what leads to a crash point that is far from every way."""

    def __init__(self, seed: int, slots: int) -> None:
        self.seed = seed
        self.random = Random(f"chaos {seed}")
        self.last = slots - CALM_SLOTS - 1
        self.points = _turn(tuple(POINTS), seed, CRASHES_A_RUN)

    def faults(self) -> Iterator[Fault]:
        for place, point in enumerate(self.points):
            whom = f"{point}:whole" if (self.seed + place) % 2 == 0 else point
            if point != AT_A_COMMAND:
                yield self._some("crash", whom, last=FIRST_SLOT if point in LED_TO else self.last - 4)
        for whom in _turn(KILLED, self.seed, KILLS_A_RUN):
            yield self._some("kill", whom)
        for whom in _turn(SERVER_FAULTS, self.seed, SERVER_FAULTS_A_RUN):
            yield self._some("server", whom)
        for whom in _turn(GARBAGE, self.seed, GARBAGE_A_RUN):
            yield self._some("garbage", whom)
        if self.seed % 2:
            yield from self._silence()
        if "repair_written" in self.points:
            yield self._some("venue", "disagreement", FIRST_SLOT + 1, when="idle")
        yield from self._clock()
        yield from self._person()

    def _some(self, what: str, whom: str, first: int = FIRST_SLOT, last: int | None = None, when: str = "") -> Fault:
        slot = self.random.randint(first, max(first, self.last if last is None else last))
        return Fault(slot, self._moment(), what, whom, when)

    def _moment(self) -> float:
        return round(self.random.uniform(0, LONGEST_WAIT_SECONDS), 3)

    def _silence(self) -> Iterator[Fault]:
        """An order goes out to a venue that is silent, and its sender dies at once: the order is still unanswered when
        somebody else goes on with it."""
        begin = self._some("venue", "silence", last=self.last - 3, when="trading")
        yield begin
        point = "order_on_stream" if self.seed % 4 == 1 else "order_on_stream:whole"
        yield Fault(begin.slot, begin.after_seconds, "crash", point, begin.when)

    def _clock(self) -> Iterator[Fault]:
        """A step of an hour, and the way back. Forth, when a worker has just died at its stage, it is what ends the
        cycle: its time is over then."""
        if "cycle_abandoned" in self.points:
            crash = self._some("crash", "stage_claimed:whole", FIRST_SLOT + 1, FIRST_SLOT + 3)
            begin = Fault(crash.slot, crash.after_seconds, "clock", "3600", when="stage_claimed")
            yield crash
        else:
            begin = self._some("clock", str(CLOCK_STEPS[self.seed % 2]), last=self.last - 3)
        yield begin
        yield Fault(begin.slot + 3, self._moment(), "clock", "0")

    def _person(self) -> Iterator[Fault]:
        """A halt and its end. The one with a close-all waits for something to close, and its end until it is gone."""
        closing = any("close" in point for point in self.points)
        if AT_A_COMMAND in self.points:
            begin = Fault(self.random.randint(FIRST_SLOT, self.last - 3), 1.0, "person", "halt", "idle")
            yield Fault(begin.slot, 0.0, "crash", AT_A_COMMAND, "idle")
        elif closing or self.seed % 3 == 0:
            first, last = (FIRST_SLOT + 1, FIRST_SLOT + 2) if closing else (FIRST_SLOT, self.last - 3)
            begin = self._some("person", "close_all", first, last, when="held")
        else:
            begin = self._some("person", "halt", last=self.last - 3)
        yield begin
        yield Fault(begin.slot + 2, self._moment(), "person", "resume", when="flat" if begin.when == "held" else "")
