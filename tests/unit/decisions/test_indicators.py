from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import talib

from decisions.bars import Bar, BarError, BarSeries, aggregate
from decisions.indicators import (
    STUDIES,
    TIMEFRAMES,
    VOLATILITY_BARS,
    WARM_UP_BARS,
    IndicatorEngine,
    TimeframeIndicators,
    bb_position,
    ema_alignment,
)
from decisions.messages import Indicators, Timeframes
from decisions.sandbox.candles import CandleFile

FIELDS = {
    "rsi_14": ("rsi_14",),
    "macd": ("macd", "macd_signal", "macd_hist"),
    "adx_14": ("adx_14",),
    "atr_14": ("atr_14",),
    "bollinger": ("bb_upper", "bb_middle", "bb_lower"),
    "ema_20": ("ema_20",),
    "ema_50": ("ema_50",),
    "ema_200": ("ema_200",),
}


def batch(bars: BarSeries) -> dict[str, np.ndarray]:
    """What TA-Lib's batch functions say of whole columns."""
    high, low, close = bars.high, bars.low, bars.close
    macd, macd_signal, macd_hist = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    return {
        "rsi_14": talib.RSI(close, 14),
        "macd": macd,
        "macd_signal": macd_signal,
        "macd_hist": macd_hist,
        "adx_14": talib.ADX(high, low, close, 14),
        "atr_14": talib.ATR(high, low, close, 14),
        "bb_upper": upper,
        "bb_middle": middle,
        "bb_lower": lower,
        "ema_20": talib.EMA(close, 20),
        "ema_50": talib.EMA(close, 50),
        "ema_200": talib.EMA(close, 200),
    }


def by_name(timeframes: Timeframes) -> dict[str, Indicators]:
    return {"15m": timeframes.m15, "1H": timeframes.h1, "4H": timeframes.h4}


@pytest.mark.parametrize(
    "name",
    ["okx_BTC-USDT-SWAP_5m_20220501_20221231.csv.gz", "okx_BTC-USDT-SWAP_15m_20230101_20241230.csv.gz"],
)
def test_values_on_real_candles_are_those_of_talib_batch_functions(recorded: Path, name: str) -> None:
    candles = CandleFile(recorded / name)
    engine = IndicatorEngine(candles.bar_seconds)
    expected = {
        timeframe: batch(aggregate(candles.bars, base_seconds=candles.bar_seconds, seconds=seconds))
        for timeframe, seconds in TIMEFRAMES.items()
    }
    shown: dict[str, list[Indicators]] = {timeframe: [] for timeframe in TIMEFRAMES}
    for bar in candles.bars:
        values = by_name(engine.update(bar))
        close_ms = bar.open_ms + candles.bar_seconds * 1000
        for timeframe, seconds in TIMEFRAMES.items():
            if close_ms % (seconds * 1000) == 0:
                shown[timeframe].append(values[timeframe])
    for timeframe, columns in expected.items():
        for field, column in columns.items():
            known = [index for index, value in enumerate(shown[timeframe]) if getattr(value, field) is not None]
            assert len(known) > 400, (timeframe, field)
            ours = [getattr(shown[timeframe][index], field) for index in known]
            np.testing.assert_allclose(ours, column[known], rtol=1e-6, atol=1e-6, err_msg=f"{timeframe} {field}")
    assert None not in values["4H"].model_dump().values()


def test_opening_on_history_gives_what_feeding_it_bar_by_bar_gives(walk: BarSeries) -> None:
    end = 50_017  # inside a bar of every timeframe
    fed = IndicatorEngine(300)
    for bar in walk.part(0, end):
        fed.update(bar)
    opened = IndicatorEngine(300, walk.part(0, end))
    assert opened.values == fed.values
    assert list(opened.hourly.relative_atr) == pytest.approx(list(fed.hourly.relative_atr), rel=1e-12)
    for bar in walk.part(end, end + 100):
        assert opened.update(bar) == fed.update(bar)


def test_changing_every_later_bar_changes_nothing_before(walk: BarSeries) -> None:
    now = 49_000
    scale = np.ones(len(walk))
    scale[now:] = 3.0
    other = replace(
        walk, open=walk.open * scale, high=walk.high * scale, low=walk.low * scale, close=walk.close * scale
    )
    first, second = IndicatorEngine(300), IndicatorEngine(300)
    for index, (bar, changed) in enumerate(zip(walk.part(0, now + 48), other.part(0, now + 48), strict=True)):
        values, others = first.update(bar), second.update(changed)
        if index < now:
            assert values == others
    assert values != others, "the change must be seen once its bars have closed"


def test_a_bar_counts_only_when_its_last_base_bar_has_closed(walk: BarSeries) -> None:
    count = 48 * 1000
    engine = IndicatorEngine(300, walk.part(0, count))
    before = engine.values
    bars = list(walk.part(count, count + 48))
    for number, bar in enumerate(bars[:47], start=1):
        values = engine.update(bar)
        assert values.h4 == before.h4
        assert (values.h1 == before.h1) == (number < 12)
        assert (values.m15 == before.m15) == (number < 3)
    assert engine.update(bars[47]).h4 != before.h4


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_an_indicator_is_null_until_its_required_bars_have_closed(walk: BarSeries, study) -> None:
    hourly = aggregate(walk, base_seconds=300, seconds=3600)
    indicators = TimeframeIndicators(hourly.part(0, study.required_bars - 1))
    fields = FIELDS[study.name]
    assert [getattr(indicators.values, field) for field in fields] == [None] * len(fields)
    (bar,) = hourly.part(study.required_bars - 1, study.required_bars)
    indicators.update(bar)
    assert None not in [getattr(indicators.values, field) for field in fields]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_seed_weighs_less_than_a_thousandth_when_a_value_is_first_shown(walk: BarSeries, study) -> None:
    hourly = aggregate(walk, base_seconds=300, seconds=3600)
    whole = batch(hourly)
    for end in range(3000, len(hourly), 250):
        values = TimeframeIndicators(hourly.part(end - study.required_bars, end)).values
        scale = float(np.ptp(hourly.close[end - study.required_bars : end]))
        for field in FIELDS[study.name]:
            bound = 0.001 * (100 if field in ("rsi_14", "adx_14") else scale)
            assert abs(getattr(values, field) - whole[field][end - 1]) < bound, (field, end)


def test_every_indicator_is_known_after_the_warm_up(walk: BarSeries) -> None:
    values = IndicatorEngine(300, walk.part(0, 48 * WARM_UP_BARS)).values
    assert all(None not in timeframe.model_dump().values() for timeframe in by_name(values).values())
    almost = IndicatorEngine(300, walk.part(0, 48 * WARM_UP_BARS - 1)).values
    assert almost.h4.ema_200 is None
    assert almost.h4.ema_alignment is None


def test_a_market_that_stands_still_is_not_oversold(walk: BarSeries) -> None:
    indicators = TimeframeIndicators(walk.part(0, 1200))
    last = float(walk.close[1199])
    open_ms = int(walk.open_ms[1199])
    shown = []
    for _ in range(25):
        open_ms += 300_000
        shown.append(indicators.update(Bar(open_ms, last, last, last, last, 0.0)))
    assert [values.rsi_14 is None for values in shown] == [number >= 14 for number in range(1, 26)]
    assert [values.adx_14 is None for values in shown] == [number >= 14 for number in range(1, 26)]
    assert [values.bb_position is None for values in shown] == [number >= 19 for number in range(1, 26)]
    moved = indicators.update(Bar(open_ms + 300_000, last, last * 1.01, last, last * 1.01, 5.0))
    assert moved.rsi_14 is not None
    assert moved.rsi_14 > 50


def test_a_history_without_any_movement_has_no_momentum() -> None:
    count = 1100
    flat = np.full(count, 50.0)
    still = BarSeries(np.arange(count, dtype=np.int64) * 900_000, flat, flat, flat, flat, np.zeros(count))
    values = TimeframeIndicators(still).values
    assert (values.rsi_14, values.adx_14, values.bb_position) == (None, None, None)
    assert values.ema_200 == pytest.approx(50.0)


def test_relative_volatility_is_kept_for_a_week_of_hours(walk: BarSeries) -> None:
    hourly = aggregate(walk, base_seconds=300, seconds=3600)
    indicators = TimeframeIndicators(hourly)
    expected = talib.ATR(hourly.high, hourly.low, hourly.close, 14) / hourly.close
    assert list(indicators.relative_atr) == pytest.approx(expected[-VOLATILITY_BARS - 1 :].tolist())


def test_a_bad_bar_is_refused_and_leaves_the_engine_as_it_was(walk: BarSeries) -> None:
    engine = IndicatorEngine(300, walk.part(0, 5000))
    before = engine.values
    (good,) = walk.part(5000, 5001)
    with pytest.raises(BarError, match="2026-01-18 08:40: the high is not"):
        engine.update(good._replace(high=good.low / 2))
    with pytest.raises(BarError, match="a gap of 1 bars"):
        engine.update(good._replace(open_ms=good.open_ms + 300_000))
    assert engine.values is before
    engine.update(good)


def test_a_history_with_a_gap_is_refused(walk: BarSeries) -> None:
    times = walk.open_ms[:1000].copy()
    times[500:] += 300_000
    with pytest.raises(BarError, match="a gap of 1 bars"):
        IndicatorEngine(300, replace(walk.part(0, 1000), open_ms=times))


@pytest.mark.parametrize(
    ("emas", "expected"),
    [
        ((3.0, 2.0, 1.0), "bullish"),
        ((1.0, 2.0, 3.0), "bearish"),
        ((2.0, 3.0, 1.0), "mixed"),
        ((2.0, 2.0, 1.0), "mixed"),
        ((3.0, 2.0, None), None),
    ],
)
def test_ema_alignment(emas, expected) -> None:
    assert ema_alignment(*emas) == expected


@pytest.mark.parametrize(
    ("close", "upper", "lower", "expected"),
    [
        (100.0, 110.0, 90.0, 0.5),
        (90.0, 110.0, 90.0, 0.0),
        (115.0, 110.0, 90.0, 1.25),
        (100.0, 100.0, 100.0, None),
        (100.0, None, None, None),
    ],
)
def test_bb_position(close, upper, lower, expected) -> None:
    assert bb_position(close, upper, lower) == expected
