"""Price bars as the indicators see them: checked, and folded into longer timeframes.

A bar is named by the time it opened, in milliseconds since the Unix epoch, UTC, and is known only when it has closed.
A longer bar is made of all its base bars or not at all: one that began before the data did is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class BarError(ValueError):
    """A bar that cannot be true, or that does not follow the one before it. The text names the bar."""


class Bar(NamedTuple):
    """One closed bar. Prices in quote currency, volume in base coin."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class BarSeries:
    """Bars of one length, oldest first, column by column."""

    open_ms: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.open_ms)

    def __iter__(self) -> Iterator[Bar]:
        columns = (
            self.open_ms,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
        )
        return map(Bar._make, zip(*(column.tolist() for column in columns), strict=True))

    def part(self, first: int, end: int) -> "BarSeries":
        """The bars from index `first` up to, not including, `end`."""
        picked = slice(first, end)
        return BarSeries(
            self.open_ms[picked],
            self.open[picked],
            self.high[picked],
            self.low[picked],
            self.close[picked],
            self.volume[picked],
        )


def time_of(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds_of(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def fault_of(bar: Bar) -> str | None:
    """Why the bar cannot be true, or None."""
    if not all(isfinite(value) for value in bar[1:]):
        return "a value is not a finite number"
    if min(bar.open, bar.high, bar.low, bar.close) <= 0:
        return "a price is not positive"
    if bar.high < max(bar.open, bar.low, bar.close):
        return "the high is not the highest price"
    if bar.low > min(bar.open, bar.close):
        return "the low is not the lowest price"
    if bar.volume < 0:
        return "the volume is negative"
    return None


def fault_of_step(previous_ms: int, open_ms: int, seconds: int) -> str | None:
    """Why a bar opened at `open_ms` cannot follow one opened at `previous_ms`, or None."""
    if open_ms <= previous_ms:
        return f"its time does not come after the previous bar's, {time_of(previous_ms):%Y-%m-%d %H:%M}"
    if open_ms != previous_ms + seconds * 1000:
        missing = (open_ms - previous_ms) / (seconds * 1000) - 1
        return f"a gap of {missing:g} bars after {time_of(previous_ms):%Y-%m-%d %H:%M}"
    return None


def check(bar: Bar, *, previous_ms: int | None, seconds: int) -> None:
    """Raise `BarError` unless the bar is possible and, where there is a previous one, follows it directly."""
    fault = fault_of(bar)
    if fault is None and previous_ms is not None:
        fault = fault_of_step(previous_ms, bar.open_ms, seconds)
    if fault:
        raise BarError(f"bar {time_of(bar.open_ms):%Y-%m-%d %H:%M}: {fault}")


def first_fault(bars: BarSeries, seconds: int) -> tuple[int, str] | None:
    """Index and reason of the first bar that `check` would refuse, or None; at the speed of whole columns."""
    prices = np.stack((bars.open, bars.high, bars.low, bars.close))
    bad = ~(np.isfinite(prices).all(axis=0) & np.isfinite(bars.volume))
    bad |= (prices <= 0).any(axis=0) | (bars.volume < 0)
    bad |= (bars.high < prices.max(axis=0)) | (bars.low > prices.min(axis=0))
    bad[1:] |= np.diff(bars.open_ms) != seconds * 1000
    if not bad.any():
        return None
    index = int(bad.argmax())
    (bar,) = bars.part(index, index + 1)
    reason = fault_of(bar) or fault_of_step(int(bars.open_ms[index - 1]), bar.open_ms, seconds)
    return index, reason or "it is not a possible bar"


def aggregate(bars: BarSeries, *, base_seconds: int, seconds: int) -> BarSeries:
    """The closed bars of `seconds` length within contiguous base bars, aligned to the UTC epoch.

    Open is the first open, high the highest, low the lowest, close the last close, volume the sum.
    """
    each = seconds // base_seconds
    skipped = int(-(bars.open_ms[0] // (base_seconds * 1000)) % each) if len(bars) else 0
    count = max(len(bars) - skipped, 0) // each
    whole = bars.part(skipped, skipped + count * each)
    shape = (count, each)
    return BarSeries(
        whole.open_ms[::each],
        whole.open[::each],
        whole.high.reshape(shape).max(axis=1),
        whole.low.reshape(shape).min(axis=1),
        whole.close[each - 1 :: each],
        whole.volume.reshape(shape).sum(axis=1),
    )


class Aggregator:
    """`aggregate`, one base bar at a time."""

    def __init__(self, *, base_seconds: int, seconds: int) -> None:
        if seconds % base_seconds:
            raise ValueError(f"bars of {base_seconds} s do not add up to bars of {seconds} s")
        self._milliseconds = seconds * 1000
        self._each = seconds // base_seconds
        self._parts: list[Bar] = []

    def update(self, bar: Bar) -> Bar | None:
        """Take the next closed base bar; the longer bar that it completes, if it completes one."""
        if not self._parts and bar.open_ms % self._milliseconds:
            return None
        self._parts.append(bar)
        if len(self._parts) < self._each:
            return None
        parts, self._parts = self._parts, []
        return Bar(
            parts[0].open_ms,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            sum(part.volume for part in parts),
        )
