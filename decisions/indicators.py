"""Technical indicators of the three timeframes, from closed bars only.

TA-Lib computes them, through its stream handles: a bar costs the same however long the history is, and the values are
those of TA-Lib's batch functions over the whole history. A recursive indicator carries the seed it began with for a
long time (the EMA 200 of 300 bars is off by up to 1.1 %), so each is null until so many bars have closed that its seed
weighs less than a thousandth. Where the market stood still, as in an exchange's outage, momentum is null too: an RSI
computed from no movement is no reading of 0.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import talib
from talib import stream

from decisions.bars import (
    Aggregator,
    Bar,
    BarError,
    BarSeries,
    aggregate,
    check,
    first_fault,
    time_of,
)
from decisions.messages import Indicators, Timeframes

TIMEFRAMES: Mapping[str, int] = {"15m": 900, "1H": 3600, "4H": 14_400}
"""The timeframes and their lengths in seconds."""

VOLATILITY_BARS = 168
"""How many earlier bars the present volatility is compared with: a week of hours."""


@dataclass(frozen=True, slots=True)
class Study:
    """One TA-Lib function: the columns it reads, and the closed bars before its value is shown.

    `required_bars` leaves the seed a weight below 0.001. An EMA of n is seeded with a mean of n bars, which weighs
    (1 - 2/(n+1))^m after m more; Wilder's averages of n (RSI, ADX, ATR) decay by 1 - 1/n. The MACD is a small
    difference of large averages and the ADX is smoothed twice, hence more; Bollinger bands know nothing
    but their window.
    """

    name: str
    open: Callable[..., Any]
    columns: tuple[str, ...]
    required_bars: int


_CLOSE = ("close",)
_RANGE = ("high", "low", "close")
STUDIES: tuple[Study, ...] = (
    Study("rsi_14", partial(stream.RSI, timeperiod=14), _CLOSE, 150),  # weight 0.00004
    Study(
        "macd",
        partial(stream.MACD, fastperiod=12, slowperiod=26, signalperiod=9),
        _CLOSE,
        200,
    ),  # 0.000002
    Study("adx_14", partial(stream.ADX, timeperiod=14), _RANGE, 200),  # 0.0005
    Study("atr_14", partial(stream.ATR, timeperiod=14), _RANGE, 150),  # 0.00004
    Study(
        "bollinger",
        partial(stream.BBANDS, timeperiod=20, nbdevup=2.0, nbdevdn=2.0),
        _CLOSE,
        20,
    ),
    Study("ema_20", partial(stream.EMA, timeperiod=20), _CLOSE, 100),  # 0.0003
    Study("ema_50", partial(stream.EMA, timeperiod=50), _CLOSE, 250),  # 0.0003
    Study("ema_200", partial(stream.EMA, timeperiod=200), _CLOSE, 1000),  # 0.0003
)
WARM_UP_BARS = max(study.required_bars for study in STUDIES)
"""Closed bars after which every indicator of a timeframe is known."""

STILL_MOMENTUM_BARS = 14
STILL_BAND_BARS = 19
"""After so many bars without any movement RSI and ADX, and the place within the bands, are null: nothing happened in
their windows."""


def ema_alignment(
    ema_20: float | None, ema_50: float | None, ema_200: float | None
) -> Literal["bullish", "bearish", "mixed"] | None:
    """bullish: EMA 20 > EMA 50 > EMA 200; bearish: the reverse; mixed: anything else; null while one is unknown."""
    if ema_20 is None or ema_50 is None or ema_200 is None:
        return None
    if ema_20 > ema_50 > ema_200:
        return "bullish"
    return "bearish" if ema_20 < ema_50 < ema_200 else "mixed"


def bb_position(close: float, upper: float | None, lower: float | None) -> float | None:
    """(close - lower) / (upper - lower): 0 on the lower band, 1 on the upper, outside [0, 1] beyond them."""
    if upper is None or lower is None or upper <= lower:
        return None
    return (close - lower) / (upper - lower)


class TimeframeIndicators:
    """The indicators of one timeframe. Feed it closed bars in order; `values` are those after the last one.

    `relative_atr` holds ATR 14 / close of the latest closed bars, newest last, at most `VOLATILITY_BARS` + 1.
    """

    def __init__(self, history: BarSeries | None = None) -> None:
        self._handles: dict[str, Any] = {}
        self._columns: dict[str, list[float]] = {name: [] for name in _RANGE}
        self._still = 0
        self._close = 0.0
        self.count = 0
        self.relative_atr: deque[float] = deque(maxlen=VOLATILITY_BARS + 1)
        self.values = self._values()
        if history is not None and len(history):
            self._begin(history)

    def update(self, bar: Bar) -> Indicators:
        """Take the next closed bar. O(1)."""
        self._still = self._still + 1 if bar.high == bar.low == self._close else 0
        for study in STUDIES:
            if study.name in self._handles:
                self._handles[study.name].update(*(getattr(bar, column) for column in study.columns))
        self.count += 1
        self._close = bar.close
        for name, column in self._columns.items():
            column.append(getattr(bar, name))
        self._open_ready()
        if "atr_14" in self._handles:
            self.relative_atr.append(self._handles["atr_14"].value / bar.close)
        self.values = self._values()
        return self.values

    def _begin(self, history: BarSeries) -> None:
        self._columns = {name: getattr(history, name).tolist() for name in _RANGE}
        self._close = float(history.close[-1])
        self._still = _bars_standing_still(history)
        self.count = len(history)
        self._open_ready()
        if "atr_14" in self._handles:
            atr = talib.ATR(history.high, history.low, history.close, timeperiod=14) / history.close
            first_known = next(study.required_bars for study in STUDIES if study.name == "atr_14") - 1
            self.relative_atr.extend(atr[first_known:].tolist())
        self.values = self._values()

    def _open_ready(self) -> None:
        """Open the handles whose warm-up is complete; after the last one the history is needed no more."""
        if not self._columns:
            return
        for study in STUDIES:
            if study.name not in self._handles and self.count >= study.required_bars:
                inputs = [np.array(self._columns[column], dtype=np.float64) for column in study.columns]
                self._handles[study.name] = study.open(*inputs)
        if len(self._handles) == len(STUDIES):
            self._columns = {}

    def _value(self, name: str) -> Any:
        handle = self._handles.get(name)
        return None if handle is None else handle.value

    def _values(self) -> Indicators:
        macd, macd_signal, macd_hist = self._value("macd") or (None, None, None)
        upper, middle, lower = self._value("bollinger") or (None, None, None)
        ema_20, ema_50, ema_200 = (self._value(f"ema_{period}") for period in (20, 50, 200))
        moved = self._still < STILL_MOMENTUM_BARS
        banded = self._still < STILL_BAND_BARS
        return Indicators(
            rsi_14=self._value("rsi_14") if moved else None,
            macd=macd,
            macd_signal=macd_signal,
            macd_hist=macd_hist,
            adx_14=self._value("adx_14") if moved else None,
            atr_14=self._value("atr_14"),
            bb_upper=upper,
            bb_middle=middle,
            bb_lower=lower,
            bb_position=bb_position(self._close, upper, lower) if banded else None,
            ema_20=ema_20,
            ema_50=ema_50,
            ema_200=ema_200,
            ema_alignment=ema_alignment(ema_20, ema_50, ema_200),
        )


class IndicatorEngine:
    """The indicators of all timeframes of one instrument, fed with its base bars (5 or 15 minutes).

    `history` are the closed base bars so far; opening on them gives what feeding them one by one gives, faster.
    Raises `BarError` for a bar that cannot be true or does not follow the last one directly.
    """

    def __init__(self, base_seconds: int, history: BarSeries | None = None) -> None:
        self._base_seconds = base_seconds
        self._previous_ms: int | None = None
        self._aggregators = {
            name: Aggregator(base_seconds=base_seconds, seconds=seconds) for name, seconds in TIMEFRAMES.items()
        }
        self._indicators = {name: TimeframeIndicators() for name in TIMEFRAMES}
        if history is not None and len(history):
            self._begin(history)
        self.values = self._values()

    @classmethod
    def of_timeframes(cls, base_seconds: int, longer: Mapping[str, BarSeries], base: BarSeries) -> Self:
        """The engine of a source that tells the bars of each timeframe, and of the base bars only the newest.

        `longer` are each timeframe's closed bars; `base` the base bars, at least one, back to the beginning of every
        bar not finished yet. Raises `BarError` also for a timeframe that ends before or after its last bar to have
        closed by then.
        """
        engine = cls(base_seconds)
        _refuse_faults(base, base_seconds)
        end_ms = int(base.open_ms[-1]) + base_seconds * 1000
        for name, seconds in TIMEFRAMES.items():
            _refuse_faults(longer[name], seconds)
            due_ms = end_ms // (seconds * 1000) * seconds * 1000
            if len(longer[name]) and int(longer[name].open_ms[-1]) + seconds * 1000 != due_ms:
                raise BarError(f"the {name} bars do not end at {time_of(due_ms):%Y-%m-%d %H:%M}")
        engine._open(longer, base)
        return engine

    @property
    def hourly(self) -> TimeframeIndicators:
        return self._indicators["1H"]

    def update(self, bar: Bar) -> Timeframes:
        """Take the next closed base bar. A longer timeframe changes only when its own bar has closed."""
        check(bar, previous_ms=self._previous_ms, seconds=self._base_seconds)
        self._previous_ms = bar.open_ms
        closed = {name: aggregator.update(bar) for name, aggregator in self._aggregators.items()}
        for name, longer in closed.items():
            if longer is not None:
                self._indicators[name].update(longer)
        if any(closed.values()):
            self.values = self._values()
        return self.values

    def _begin(self, history: BarSeries) -> None:
        _refuse_faults(history, self._base_seconds)
        base = self._base_seconds
        longer = {name: aggregate(history, base_seconds=base, seconds=each) for name, each in TIMEFRAMES.items()}
        self._open(longer, history)

    def _open(self, longer: Mapping[str, BarSeries], base: BarSeries) -> None:
        """Take the closed bars of each timeframe, and of the base bars those of the bars not finished yet."""
        self._previous_ms = int(base.open_ms[-1])
        for name, seconds in TIMEFRAMES.items():
            self._indicators[name] = TimeframeIndicators(longer[name])
            unfinished = (self._previous_ms // 1000 + self._base_seconds) % seconds // self._base_seconds
            for bar in base.part(max(len(base) - unfinished, 0), len(base)):
                self._aggregators[name].update(bar)
        self.values = self._values()

    def _values(self) -> Timeframes:
        m15, h1, h4 = (self._indicators[name].values for name in TIMEFRAMES)
        return Timeframes.model_validate({"15m": m15, "1H": h1, "4H": h4})


def _refuse_faults(bars: BarSeries, seconds: int) -> None:
    fault = first_fault(bars, seconds) if len(bars) else None
    if fault:
        raise BarError(f"bar {time_of(int(bars.open_ms[fault[0]])):%Y-%m-%d %H:%M}: {fault[1]}")


def _bars_standing_still(bars: BarSeries) -> int:
    """How many of the last bars had no range and closed where the one before them closed."""
    moved = (bars.high != bars.low) | (np.diff(bars.close, prepend=np.nan) != 0)
    return int(moved[::-1].argmax())
