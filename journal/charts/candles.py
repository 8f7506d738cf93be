"""A trade on the prices of its time: candles, its entries and exits, its stop and target as they stood. Pure.

Candles are made of single recorded prices, so that what a price did between two records is in none of them. A candle
holds the prices after its start, up to and including its end, and opens at the last price of the candle before it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

from journal.charts.chart import Chart
from journal.charts.plot import Frame, Shape, Svg, Tone
from journal.charts.scale import LinearScale, TimeScale
from journal.wording import plain

WIDTH, HEIGHT = 1000, 380
TIMEFRAMES: dict[str, timedelta] = {
    "15m": timedelta(minutes=15),
    "1H": timedelta(hours=1),
    "4H": timedelta(hours=4),
    "1D": timedelta(days=1),
}
MOST_CANDLES = 60
"""Candles while the position was open; the margins come on top."""
MARGIN, LEAST_MARGIN = 4, 8
"""A quarter of the trade's length before it and after it, and never less than so many candles."""
FILLING = 0.7
"""The share of a candle's time that its body covers."""
EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
"""What candles are counted from: a midnight, and a Monday."""

Intent = Literal["open", "add", "reduce", "close"]
ENTRIES: tuple[Intent, ...] = ("open", "add")
STOP: Tone = "loss"
TARGET: Tone = "gain"
IN: Tone = "notable"
OUT: Tone = "caution"
WORDS: dict[Intent, str] = {"open": "Entry", "add": "Add", "reduce": "Reduce", "close": "Exit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """The prices of one stretch of market time, in quote currency."""

    start: datetime
    end: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """Contracts that changed hands."""

    at: datetime
    price: Decimal
    size: Decimal
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The stop and the target that count from a moment on; None where there is none."""

    at: datetime
    stop: Decimal | None
    target: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeCourse:
    """A position from its first execution to `ended_at`, or to the newest price while it is open."""

    symbol: str
    direction: Literal["LONG", "SHORT"]
    began_at: datetime
    ended_at: datetime
    executions: Sequence[Executed]
    brackets: Sequence[Bracket]


# --- which prices are wanted ------------------------------------------------------------------------------------------


def timeframe_of(length: timedelta) -> str:
    """The shortest timeframe that tells so long a trade in at most `MOST_CANDLES` candles; else the longest one."""
    return next((name for name, step in TIMEFRAMES.items() if length <= step * MOST_CANDLES), [*TIMEFRAMES][-1])


def stretch_of(began_at: datetime, ended_at: datetime, timeframe: str) -> tuple[datetime, datetime]:
    """The trade's time with a margin on both sides, in whole candles."""
    step = TIMEFRAMES[timeframe]
    margin = max((ended_at - began_at) / MARGIN, step * LEAST_MARGIN)
    first = (began_at - margin - EPOCH) // step
    last = -((EPOCH - ended_at - margin) // step)
    return EPOCH + first * step, EPOCH + last * step


def joined(candles: Iterable[Candle]) -> list[Candle]:
    """Candles in order, each of which opens where the one directly before it closed."""
    result: list[Candle] = []
    for candle in candles:
        if result and result[-1].end == candle.start:
            opening = result[-1].close
            high, low = max(opening, candle.high), min(opening, candle.low)
            candle = replace(candle, open=opening, high=high, low=low)
        result.append(candle)
    return result


# --- the chart --------------------------------------------------------------------------------------------------------


Plot = Frame[datetime]


def trade_chart(course: TradeCourse, candles: Sequence[Candle], timeframe: str) -> Chart:
    """The trade drawn on its candles. Raises `ValueError` without candles: there is nothing to draw on."""
    if not candles:
        raise ValueError("a chart without candles")
    stretch, heights = (
        stretch_of(course.began_at, course.ended_at, timeframe),
        LinearScale.over(_prices(course, candles)),
    )
    frame = Frame(WIDTH, HEIGHT, TimeScale(*stretch), heights)
    held = frame.area([(course.began_at, heights.high), (course.ended_at, heights.high)], "quiet", heights.low)
    title, summary = f"{course.symbol}, candles of {timeframe}", _summary(course, candles, timeframe)
    parts = [held, *_candles(frame, candles), *_levels(frame, course), *_markers(frame, course)]
    return Chart(
        title=title,
        summary=summary,
        drawing=frame.drawing("trade-chart", title, summary, parts),
        key=_key(course),
        headers=("Time, UTC", "What", "Price", "Contracts"),
        rows=_rows(course),
    )


def _prices(course: TradeCourse, candles: Sequence[Candle]) -> list[Decimal]:
    """All that has to be on the chart."""
    levels = [level for each in course.brackets for level in (each.stop, each.target) if level is not None]
    extremes = [price for candle in candles for price in (candle.high, candle.low)]
    return [*levels, *(each.price for each in course.executions), *extremes]


def _candles(frame: Plot, candles: Sequence[Candle]) -> Iterator[Svg]:
    for candle in candles:
        tone: Tone = "gain" if candle.close >= candle.open else "loss"
        half = (candle.end - candle.start) / 2
        middle, body = candle.start + half, half * FILLING
        yield frame.segment(middle, candle.low, middle, candle.high, tone)
        yield frame.box(middle - body, middle + body, candle.open, candle.close, tone, _told(candle))


def _told(candle: Candle) -> str:
    prices = ", ".join(f"{name} {plain(getattr(candle, name))}" for name in ("open", "high", "low", "close"))
    return f"{candle.start:%Y-%m-%d %H:%M} to {candle.end:%H:%M} UTC: {prices}"


def _levels(frame: Plot, course: TradeCourse) -> Iterator[Svg]:
    """Stop and target as steps, each from its moment to the next one's or the end."""
    moments = [*(each.at for each in course.brackets), course.ended_at]
    stops, targets = [each.stop for each in course.brackets], [each.target for each in course.brackets]
    for levels, tone in ((stops, STOP), (targets, TARGET)):
        if any(level is not None for level in levels):
            yield frame.step(list(zip(moments, [*levels, levels[-1]], strict=True)), tone)


def _markers(frame: Plot, course: TradeCourse) -> Iterator[Svg]:
    """A triangle for every execution, up where contracts were bought and down where they were sold."""
    for each in course.executions:
        bought = (each.intent in ENTRIES) == (course.direction == "LONG")
        shape: Shape = "up" if bought else "down"
        yield frame.marker(each.at, each.price, shape, IN if each.intent in ENTRIES else OUT, _note(each))


def _note(each: Executed) -> str:
    return f"{WORDS[each.intent]} {each.at:%Y-%m-%d %H:%M:%S} UTC: {plain(each.size)} at {plain(each.price)}"


# --- the same in words ------------------------------------------------------------------------------------------------


def _key(course: TradeCourse) -> list[tuple[Tone, str]]:
    last = course.brackets[-1] if course.brackets else None
    bought, sold = ("entry", "exit") if course.direction == "LONG" else ("exit", "entry")
    key = [(STOP, "stop", last and last.stop), (TARGET, "target", last and last.target)]
    return [
        *((tone, f"{word} {plain(level)}") for tone, word, level in key if level),
        (IN if course.direction == "LONG" else OUT, f"▲ bought: {bought}"),
        (OUT if course.direction == "LONG" else IN, f"▼ sold: {sold}"),
        ("quiet", "shaded: while it was open"),
    ]


def _summary(course: TradeCourse, candles: Sequence[Candle], timeframe: str) -> str:
    start, end = stretch_of(course.began_at, course.ended_at, timeframe)
    missing = (candles[-1].end - start) // TIMEFRAMES[timeframe] - len(candles)
    low, high = min(candle.low for candle in candles), max(candle.high for candle in candles)
    told = (
        f"From {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC the price was between {plain(low)} and"
        f" {plain(high)}, by the snapshots on record: what it did between two of them is not known."
    )
    return f"{told} Of {missing} of the {len(candles) + missing} candles no prices are kept." if missing > 0 else told


def _rows(course: TradeCourse) -> list[tuple[str, ...]]:
    """Executions, stops and targets by time."""
    rows = [(each.at, WORDS[each.intent], each.price, plain(each.size)) for each in course.executions]
    for each in course.brackets:
        rows += [
            (each.at, word, level, "")
            for word, level in (("Stop from then on", each.stop), ("Target from then on", each.target))
            if level is not None
        ]
    ordered = sorted(rows, key=lambda row: row[0])
    return [(f"{at:%Y-%m-%d %H:%M:%S}", word, plain(price), size) for at, word, price, size in ordered]
