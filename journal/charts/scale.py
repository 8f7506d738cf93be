"""Scales: where between the two ends of an axis a value lies, and which round values to name on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, takewhile
from math import ceil, floor, isfinite, log10
from typing import Protocol, Self, TypeVar

Number = Decimal | float
"""What is drawn: exact or not, a pixel does not tell."""

Value = TypeVar("Value", contravariant=True)

STEPS = (1, 2, 5, 10)
CLOSE_STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720))
DAY_STEPS = (1, 2, 7, 14)
MONTH_STEPS = (1, 3, 6, 12, 60, 120)
DAYS_A_MONTH = 28
"""Of the shortest one."""
MONTHS_A_YEAR = 12


@dataclass(frozen=True, slots=True)
class Tick:
    """A value named on an axis: its place, 0 to 1, and its name."""

    share: float
    label: str


class Scale(Protocol[Value]):
    """An axis from its low end, 0, to its high end, 1."""

    def share(self, value: Value) -> float:
        """Where the value lies; beyond the ends it is below 0 or above 1."""
        ...

    def ticks(self, most: int) -> list[Tick]:
        """At most so many round values within the ends, in order."""
        ...


def grouped(value: float, step: float) -> str:
    """A number with as many decimals as tell neighbours `step` apart from one another, thousands apart."""
    decimals = max(0, -floor(log10(step) + 1e-9))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")


def per_cent(value: float, step: float) -> str:
    """A fraction as per cent."""
    return f"{grouped(value * 100, step * 100)} %"


@dataclass(frozen=True, slots=True)
class LinearScale:
    """Numbers in proportion. `name` says a value, told how far apart the values on the axis are.

    Raises `ValueError` for ends that are not finite or not in order.
    """

    low: float
    high: float
    name: Callable[[float, float], str] = grouped

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale from {self.low} to {self.high}: its ends must be finite and in order")

    @classmethod
    def over(
        cls, values: Iterable[Number], *, margin: float = 0.06, name: Callable[[float, float], str] = grouped
    ) -> Self:
        """A scale that holds all the values, with a margin (a share of their range) at both ends.

        Values that are all the same, or none at all, get a range of their own about them.
        """
        known = [float(value) for value in values] or [0.0]
        low, high = min(known), max(known)
        room = (high - low) * margin or abs(high) * margin or 1.0
        return cls(low - room, high + room, name)

    def share(self, value: Number) -> float:
        return (float(value) - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[Tick]:
        """Multiples of 1, 2 or 5 times a power of ten: the finest such step that does not give too many."""
        step = self._step(most)
        multiples = range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)
        return [Tick(self.share(multiple * step), self.name(multiple * step, step)) for multiple in multiples]

    def _step(self, most: int) -> float:
        rough = (self.high - self.low) / max(most, 1)
        power = 10.0 ** floor(log10(rough))
        steps = (multiple * power for multiple in (*STEPS, 20))
        return next(step for step in steps if self._held(step) <= max(most, 1))

    def _held(self, step: float) -> int:
        return floor(self.high / step + 1e-9) - ceil(self.low / step - 1e-9) + 1


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Aware times in proportion, named in UTC.

    Raises `ValueError` for a naive time or an end that is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.start >= self.end:
            raise ValueError(f"a scale from {self.start} to {self.end}: its ends must be aware and in order")

    def share(self, value: datetime) -> float:
        return (value - self.start) / (self.end - self.start)

    def ticks(self, most: int) -> list[Tick]:
        """Full minutes, hours, days or months: the finest step that does not give too many."""
        length, most = self.end - self.start, max(most, 1)
        for step in CLOSE_STEPS:
            if length / step < most:
                return self._named(_multiples(self.start, step), _clock)
        for days in DAY_STEPS:
            if length / timedelta(days=days) < most:
                return self._named(_multiples(self.start, timedelta(days=days)), _day)
        wanted = length / timedelta(days=DAYS_A_MONTH) / most
        months = next((step for step in MONTH_STEPS if step > wanted), ceil(wanted / MONTHS_A_YEAR) * MONTHS_A_YEAR)
        return self._named(_months(self.start, months), _month)

    def _named(self, times: Iterable[datetime], name: Callable[[datetime], str]) -> list[Tick]:
        return [Tick(self.share(time), name(time)) for time in takewhile(lambda time: time <= self.end, times)]


MONDAY = datetime(2001, 1, 1, tzinfo=UTC)
"""What steps are counted from: a midnight, so that weeks begin on Mondays."""


def _multiples(start: datetime, step: timedelta) -> Iterable[datetime]:
    first = ceil((start - MONDAY) / step)
    return (MONDAY + number * step for number in count(first))


def _months(start: datetime, step: int) -> Iterable[datetime]:
    """The first days of every `step`th month, from the start on."""
    utc = start.astimezone(UTC)
    first = (utc.year * MONTHS_A_YEAR + utc.month - 1) // step
    days = (_first_of(number * step) for number in count(first))
    return (day for day in days if day >= start)


def _first_of(month: int) -> datetime:
    return datetime(month // MONTHS_A_YEAR, month % MONTHS_A_YEAR + 1, 1, tzinfo=UTC)


def _clock(time: datetime) -> str:
    """The time of day; at midnight the day that begins."""
    return f"{time:%H:%M}" if time.hour or time.minute else _day(time)


def _day(time: datetime) -> str:
    return f"{time.day} {time:%b}"


def _month(time: datetime) -> str:
    return f"{time:%b %Y}"
