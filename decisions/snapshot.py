"""The market snapshot of one instrument: rolling figures, regime, quotes, from what was known when the bar closed.

Changes, rates and ratios are fractions (0.03 is 3 %), rounded to 8 places. What cannot be known yet is None: before a
window is full, without a feed of it. Volumes are in base coin, open interest in USD.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import islice
from statistics import median

from decisions.indicators import VOLATILITY_BARS, IndicatorEngine
from decisions.messages import Indicators, InstrumentSpecification, MarketSnapshot, Regime

HOUR = 3600
PLACES = Decimal("0.00000001")

TREND_ADX = 25.0
"""Wilder's own threshold: an ADX above it is a trend (New Concepts in Technical Trading Systems, 1978)."""
VOLATILE_RATIO = 1.8
"""So many times its usual value makes volatility the regime, whatever the direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one instrument's feeds had published by the close of a bar. `funding_rate` is the last settled rate."""

    closed_at: datetime
    close: Decimal
    volume: Decimal
    funding_rate: Decimal | None = None
    next_funding_at: datetime | None = None
    open_interest: Decimal | None = None


def change(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    """now / before - 1."""
    if now is None or before is None or before == 0:
        return None
    return (now / before - 1).quantize(PLACES)


class RecentBars:
    """The last 25 hours of one instrument, and the figures that follow from them."""

    def __init__(self, bar_seconds: int) -> None:
        self._hour = HOUR // bar_seconds
        self._closes: deque[Decimal] = deque(maxlen=24 * self._hour + 1)
        self._volumes: deque[Decimal] = deque(maxlen=25 * self._hour)
        self._open_interest: deque[Decimal | None] = deque(maxlen=4 * self._hour + 1)

    def add(self, observation: Observation) -> None:
        """Take the next closed bar."""
        self._closes.append(observation.close)
        self._volumes.append(observation.volume)
        self._open_interest.append(observation.open_interest)

    @property
    def price_change_1h(self) -> Decimal | None:
        """Close / the close of the bar that closed one hour earlier - 1."""
        return self._change_over(self._hour)

    @property
    def change_24h(self) -> Decimal | None:
        """Close / the close of the bar that closed 24 hours earlier - 1."""
        return self._change_over(24 * self._hour)

    @property
    def volume_24h(self) -> Decimal | None:
        """Volume of the last 24 hours, up to the bar that just closed."""
        if len(self._volumes) < 24 * self._hour:
            return None
        return sum(islice(reversed(self._volumes), 24 * self._hour), Decimal(0))

    @property
    def volume_vs_avg(self) -> Decimal | None:
        """Volume of the last 60 minutes / mean hourly volume of the 24 hours before them; 1 is usual.

        Both windows end with the bar that just closed, not with the clock's hour, so that the figure is never stale.
        """
        if len(self._volumes) < 25 * self._hour:
            return None
        last_hour = sum(islice(reversed(self._volumes), self._hour), Decimal(0))
        day_before = sum(islice(self._volumes, 24 * self._hour), Decimal(0))
        return (last_hour * 24 / day_before).quantize(PLACES) if day_before else None

    @property
    def oi_change_4h(self) -> Decimal | None:
        """Open interest now / the one known four hours earlier - 1."""
        if len(self._open_interest) < 4 * self._hour + 1:
            return None
        return change(self._open_interest[-1], self._open_interest[0])

    def _change_over(self, bars: int) -> Decimal | None:
        return change(self._closes[-1], self._closes[-1 - bars]) if len(self._closes) > bars else None


def regime(hourly: Indicators, relative_atr: Sequence[float]) -> Regime | None:
    """The market's state on the 1 hour timeframe; the first of these that holds:

    - volatile: ATR 14 / close >= 1.8 times its median over the 168 hourly bars before;
    - trending_up: ADX 14 >= 25 and EMA 20 > EMA 50 > EMA 200; trending_down: the same, reversed;
    - ranging.

    `relative_atr` is ATR 14 / close of the closed hourly bars, newest last. Null while a figure is unknown.
    """
    if len(relative_atr) <= VOLATILITY_BARS or hourly.adx_14 is None or hourly.ema_alignment is None:
        return None
    *earlier, latest = relative_atr
    if latest >= VOLATILE_RATIO * median(earlier[-VOLATILITY_BARS:]):
        return "volatile"
    if hourly.adx_14 >= TREND_ADX and hourly.ema_alignment == "bullish":
        return "trending_up"
    if hourly.adx_14 >= TREND_ADX and hourly.ema_alignment == "bearish":
        return "trending_down"
    return "ranging"


def quotes(price: Decimal, tick: Decimal) -> tuple[Decimal, Decimal]:
    """Bid and ask around a price: half a spread of max(1 tick, 1 basis point) each way, rounded outward to the tick."""
    half_spread = max(tick, price * Decimal("0.0001")) / 2
    bid = ((price - half_spread) / tick).to_integral_value(ROUND_FLOOR) * tick
    ask = ((price + half_spread) / tick).to_integral_value(ROUND_CEILING) * tick
    return max(bid, tick), ask


def build_snapshot(
    symbol: str,
    observation: Observation,
    *,
    recent: RecentBars,
    engine: IndicatorEngine,
    instrument: InstrumentSpecification,
) -> MarketSnapshot:
    """The snapshot at the close of a bar that `recent` and `engine` have already taken.

    Without an order book price and mark price are the close, and the quotes are made around it.
    """
    bid, ask = quotes(observation.close, instrument.tick_size)
    return MarketSnapshot(
        symbol=symbol,
        timestamp=observation.closed_at,
        price=observation.close,
        mark_price=observation.close,
        bid=bid,
        ask=ask,
        change_24h=recent.change_24h,
        price_change_1h=recent.price_change_1h,
        volume_24h=recent.volume_24h,
        volume_vs_avg=recent.volume_vs_avg,
        funding_rate=observation.funding_rate,
        next_funding_at=observation.next_funding_at,
        open_interest=observation.open_interest,
        oi_change_4h=recent.oi_change_4h,
        regime=regime(engine.values.h1, engine.hourly.relative_atr),
        indicators=engine.values,
        instrument=instrument,
    )
