"""Which candles are there, and which to ask for next: a backlog to begin with, then each bar as it closes. Pure.

Candles come newest first, a page at a time; `after` asks for those that opened before a moment, `before` for those that
opened later. A missing bar is never invented: `Gap` names it, nothing of the page is taken, and the same page is to be
asked for again. What is missing for good ends a backlog: it begins after the gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from decisions.bars import BarSeries, time_of
from decisions.indicators import TIMEFRAMES
from decisions.okx.pace import Endpoint
from decisions.okx.rows import Candle, OkxError

BASE = "5m"
BASE_SECONDS = 300
LENGTHS: Mapping[str, int] = {BASE: BASE_SECONDS, **TIMEFRAMES}
"""The bars that are asked for, by OKX's names, and their lengths in seconds. All of them open on UTC boundaries; from 6
hours on OKX's do not."""

PAGE, HISTORY_PAGE = 300, 100
"""The most candles of an answer, of the newest 1,440 and of older ones."""
BACKLOG: Mapping[str, int] = {BASE: PAGE, **dict.fromkeys(TIMEFRAMES, 4 * PAGE)}
"""How many bars of each length to begin with: 25 hours of base bars, which the rolling figures look back on and which
hold the unfinished bar of any timeframe; of the timeframes more than the 1,000 that the slowest indicator needs."""
GAP_TRIES = 3
"""How often the same page may lack a bar before the bar counts as missing for good."""


class Gap(OkxError):
    """Bars are missing between those that are known and those that were told."""


@dataclass(frozen=True, slots=True)
class CandleQuestion:
    """A page of candles to ask for."""

    endpoint: Endpoint
    bar: str
    limit: int
    after: int | None = None
    before: int | None = None

    @property
    def seconds(self) -> int:
        return LENGTHS[self.bar]

    def query(self) -> dict[str, str]:
        """The parameters of the request, but for the instrument."""
        bounds = {"after": self.after, "before": self.before}
        told = {name: str(moment) for name, moment in bounds.items() if moment is not None}
        return {"bar": self.bar, "limit": str(self.limit), **told}


class Backlog:
    """The newest candles of one length that had closed by a moment, fetched backwards.

    `complete` once `count` of them are there, or all that the exchange has of a young instrument.
    """

    def __init__(self, bar: str, count: int, until_ms: int) -> None:
        self.bar = bar
        self._step_ms = LENGTHS[bar] * 1000
        self._count = count
        self._oldest_ms = until_ms // self._step_ms * self._step_ms
        self._found: list[Candle] = []
        self._tries = 0
        self._is_old = False
        self._is_at_the_end = False

    @property
    def complete(self) -> bool:
        return self._is_at_the_end or len(self._found) >= self._count

    @property
    def candles(self) -> list[Candle]:
        """Those that are there, oldest first."""
        return self._found[::-1]

    @property
    def missing(self) -> int:
        """How many are still to come, at most."""
        return 0 if self.complete else self._count - len(self._found)

    def question(self) -> CandleQuestion:
        """The next page to ask for, while it is not complete."""
        if self._is_old:
            endpoint, most = Endpoint.HISTORY_CANDLES, HISTORY_PAGE
        else:
            endpoint, most = Endpoint.CANDLES, PAGE
        return CandleQuestion(endpoint, self.bar, min(most, self.missing), after=self._oldest_ms)

    def take(self, question: CandleQuestion, page: Sequence[Candle]) -> None:
        """Take the answer. A page that is not full is the last of the newer candles, or of all. Raises `Gap`."""
        expected = range(self._oldest_ms - self._step_ms, 0, -self._step_ms)
        whole = [candle for candle, open_ms in zip(page, expected, strict=False) if candle.open_ms == open_ms]
        if len(whole) < len(page):
            self._tries += 1
            if self._tries < GAP_TRIES or not (self._found or whole):
                raise _gap(self.bar, expected[len(whole)], page[len(whole)].open_ms)
            self._is_at_the_end = True
        self._tries = 0
        self._found += whole
        self._oldest_ms -= len(whole) * self._step_ms
        if len(page) < question.limit:
            self._is_at_the_end = self._is_at_the_end or self._is_old
            self._is_old = True


def newer(last_ms: int, now_ms: int) -> CandleQuestion | None:
    """The question for the base bars that have closed since the one opened at `last_ms`, None where none has.

    It may ask for more than a page holds: then only a backlog can tell them all.
    """
    step_ms = BASE_SECONDS * 1000
    closed = now_ms // step_ms - last_ms // step_ms - 1
    if closed < 1:
        return None
    return CandleQuestion(Endpoint.CANDLES, BASE, closed + 1, before=last_ms)  # and the forming one


def following(last_ms: int, page: Sequence[Candle]) -> list[Candle]:
    """The candles of a page that follow the one opened at `last_ms`, oldest first. Raises `Gap`."""
    found = [candle for candle in reversed(page) if candle.open_ms > last_ms]
    expected = last_ms
    for candle in found:
        expected += BASE_SECONDS * 1000
        if candle.open_ms != expected:
            raise _gap(BASE, expected, candle.open_ms)
    return found


def series(candles: Sequence[Candle]) -> BarSeries:
    """The candles as columns."""
    bars = [candle.as_bar() for candle in candles]
    figures = np.array([bar[1:] for bar in bars], dtype=np.float64).reshape(len(bars), 5)
    times = np.array([bar.open_ms for bar in bars], dtype=np.int64)
    return BarSeries(times, *(np.ascontiguousarray(column) for column in figures.T))


def closes_at(candle: Candle) -> int:
    """When a base bar closes, in milliseconds."""
    return candle.open_ms + BASE_SECONDS * 1000


def _gap(bar: str, expected: int, told: int) -> Gap:
    return Gap(
        f"the {bar} bar of {time_of(expected):%Y-%m-%d %H:%M} is missing: that of {time_of(told):%H:%M} was told"
    )
