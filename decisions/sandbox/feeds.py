"""Where the sandbox market's bars come from: recorded files or the generator, behind one interface.

A feed answers for one instrument what was known at the close of a bar, and never more: the funding rate is the last one
settled, open interest the last reading. The time of the next settlement is a schedule, not a forecast.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import takewhile
from typing import NamedTuple, Protocol

import numpy as np

from decisions.bars import BarSeries, time_of
from decisions.sandbox.candles import Candle, CandleFile, ReadingsFile
from decisions.sandbox.generator import (
    BAR_SECONDS,
    BLOCK_BARS,
    FUNDING_PLACES,
    FUNDING_SECONDS,
    Block,
    InstrumentGenerator,
)

STALE_OPEN_INTEREST_MS = 2 * 3_600_000
"""An hourly reading that is two hours old is no longer known."""
STALE_FUNDING_MS = FUNDING_SECONDS * 1000


class Funding(NamedTuple):
    """The last settlement, and when the next one falls (None where the record ends)."""

    rate: Decimal
    settled_at: datetime
    next_at: datetime | None


class Feed(Protocol):
    """One instrument's market. Moments are milliseconds since the Unix epoch, UTC; bars are named by their opening."""

    symbol: str
    bar_seconds: int

    @property
    def first_open_ms(self) -> int: ...

    @property
    def last_open_ms(self) -> int | None:
        """None: the feed never ends."""

    def history(self, before_ms: int) -> BarSeries:
        """Every bar that opened before the moment, from the first on."""

    def candle(self, open_ms: int) -> Candle: ...

    def funding(self, moment_ms: int) -> Funding | None:
        """As known at the moment; None where there is no record of it."""

    def open_interest(self, moment_ms: int) -> Decimal | None: ...


class RecordedFeed:
    """Candles from a file, with funding and open interest where there are files of them."""

    def __init__(
        self,
        symbol: str,
        candles: CandleFile,
        funding: ReadingsFile | None = None,
        open_interest: ReadingsFile | None = None,
    ) -> None:
        self.symbol = symbol
        self.bar_seconds = candles.bar_seconds
        self._candles = candles
        self._funding = funding
        self._open_interest = open_interest

    @property
    def first_open_ms(self) -> int:
        return self._candles.first_open_ms

    @property
    def last_open_ms(self) -> int | None:
        return self._candles.last_open_ms

    def history(self, before_ms: int) -> BarSeries:
        return self._candles.bars.part(0, max(0, self._candles.index_of(before_ms)))

    def candle(self, open_ms: int) -> Candle:
        return self._candles.candle(open_ms)

    def funding(self, moment_ms: int) -> Funding | None:
        last = self._funding.last_before(moment_ms) if self._funding else None
        if self._funding is None or last is None or moment_ms - last[0] > STALE_FUNDING_MS:
            return None
        next_ms = self._funding.next_after(moment_ms)
        return Funding(last[1], time_of(last[0]), time_of(next_ms) if next_ms else None)

    def open_interest(self, moment_ms: int) -> Decimal | None:
        last = self._open_interest.last_before(moment_ms) if self._open_interest else None
        if last is None or moment_ms - last[0] >= STALE_OPEN_INTEREST_MS:
            return None
        return last[1]


class GeneratedFeed:
    """The generator's market. It goes forward: what is more than a week before the newest bar asked for is gone."""

    last_open_ms: int | None = None

    def __init__(self, symbol: str, generator: InstrumentGenerator, *, genesis_ms: int) -> None:
        self.symbol = symbol
        self.bar_seconds = BAR_SECONDS
        self._genesis_ms = genesis_ms
        self._price_places = generator.tick_places
        self._volume_places = generator.volume_places
        self._blocks: Iterator[Block] = generator.blocks()
        self._made = 0
        self._recent: deque[Block] = deque(maxlen=2)
        self._settlements: deque[tuple[int, float]] = deque(maxlen=64)

    @property
    def first_open_ms(self) -> int:
        return self._genesis_ms

    def history(self, before_ms: int) -> BarSeries:
        if self._made:
            raise RuntimeError("the history of a generated market can be taken once, before its bars")
        count = (before_ms - self._genesis_ms) // (BAR_SECONDS * 1000)
        made = [self._next_block().bars for _ in range(max(1, -(-count // BLOCK_BARS)))]
        return _joined(made).part(0, count)

    def candle(self, open_ms: int) -> Candle:
        block, index = self._place(open_ms)
        bars = block.bars
        prices = [_exact(column[index], self._price_places) for column in (bars.open, bars.high, bars.low, bars.close)]
        figures = [*prices, _exact(bars.volume[index], self._volume_places)]
        return Candle(time_of(open_ms), BAR_SECONDS, *figures)

    def funding(self, moment_ms: int) -> Funding | None:
        known = list(takewhile(lambda settlement: settlement[0] <= moment_ms, self._settlements))
        if not known:
            return None
        settled_ms, rate = known[-1]
        next_ms = (moment_ms // STALE_FUNDING_MS + 1) * STALE_FUNDING_MS
        return Funding(_exact(rate, FUNDING_PLACES), time_of(settled_ms), time_of(next_ms))

    def open_interest(self, moment_ms: int) -> Decimal | None:
        block, index = self._place(moment_ms - BAR_SECONDS * 1000)
        return _exact(block.open_interest[index], 0)

    def _place(self, open_ms: int) -> tuple[Block, int]:
        number, index = divmod((open_ms - self._genesis_ms) // (BAR_SECONDS * 1000), BLOCK_BARS)
        while number >= self._made:
            self._next_block()
        age = self._made - number
        if not 0 < age <= len(self._recent):
            raise ValueError(f"the bar of {time_of(open_ms)} is no longer kept")
        return self._recent[-age], index

    def _next_block(self) -> Block:
        block = next(self._blocks)
        self._made += 1
        self._recent.append(block)
        self._settlements.extend(block.funding)
        return block


def _joined(parts: list[BarSeries]) -> BarSeries:
    names = ("open_ms", "open", "high", "low", "close", "volume")
    return BarSeries(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _exact(value: float, places: int) -> Decimal:
    return Decimal(f"{value:.{places}f}")
