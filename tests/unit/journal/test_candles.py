"""A trade's chart: candles as they follow from prices, and everything that happened where it happened."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

from journal.charts.candles import (
    MOST_CANDLES,
    TIMEFRAMES,
    Bracket,
    Candle,
    Executed,
    TradeCourse,
    joined,
    stretch_of,
    timeframe_of,
    trade_chart,
)

NOON = datetime(2022, 11, 1, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)  # noqa: S314 - we drew it ourselves


def candle(place: int, *prices: int) -> Candle:
    """The candle `place` quarters of an hour after noon: open, high, low, close."""
    first, high, low, last = (Decimal(price) for price in prices)
    start = NOON + place * QUARTER
    return Candle(start=start, end=start + QUARTER, open=first, high=high, low=low, close=last)


def course(direction: str = "LONG", **changes) -> TradeCourse:
    """In at 100 at noon, more at 104 with a nearer stop, a part out at 106, the rest at 101, two hours later."""
    executions = [
        Executed(at=NOON + timedelta(minutes=minutes), price=Decimal(price), size=Decimal(size), intent=intent)
        for minutes, price, size, intent in (
            (0, 100, 2, "open"), (30, 104, 1, "add"), (60, 106, 1, "reduce"), (120, 101, 2, "close"),
        )
    ]  # fmt: skip
    brackets = [
        Bracket(at=NOON, stop=Decimal("97.5"), target=Decimal(110)),
        Bracket(at=NOON + timedelta(minutes=30), stop=Decimal(101), target=Decimal(112)),
    ]
    values = {"symbol": "BTC-USDT-SWAP", "direction": direction, "began_at": NOON, "ended_at": NOON + 8 * QUARTER}
    return TradeCourse(**{**values, "executions": executions, "brackets": brackets, **changes})


CANDLES = [candle(place, 100, 106, 99, 101) for place in range(-8, 16)]


@pytest.mark.parametrize(
    ("length", "name"),
    [
        (timedelta(), "15m"),
        (QUARTER * MOST_CANDLES, "15m"),
        (QUARTER * MOST_CANDLES + timedelta(seconds=1), "1H"),
        (timedelta(hours=MOST_CANDLES + 1), "4H"),
        (timedelta(hours=4) * MOST_CANDLES * 2, "1D"),
        (timedelta(days=3650), "1D"),
    ],
)
def test_the_timeframe_follows_the_trades_length(length: timedelta, name: str):
    assert timeframe_of(length) == name


@given(some.timedeltas(min_value=timedelta(), max_value=timedelta(days=60)), some.sampled_from([*TIMEFRAMES]))
def test_the_stretch_holds_the_trade_and_margins_in_whole_candles(length: timedelta, timeframe: str):
    start, end = stretch_of(NOON, NOON + length, timeframe)
    step = TIMEFRAMES[timeframe]
    assert (end - start) % step == timedelta()
    assert NOON - start >= 8 * step
    assert end - NOON - length >= max(8 * step, length / 4) - timedelta(microseconds=1)
    assert start.minute % 15 == 0
    assert (end - start) - length <= 2 * max(8 * step, length / 4) + 2 * step


def test_a_candle_opens_where_the_one_directly_before_it_closed():
    first, second, after_a_gap = joined(
        [candle(0, 100, 103, 99, 103), candle(1, 101, 102, 100, 100), candle(3, 90, 91, 89, 90)]
    )
    assert (second.open, second.high, second.low, second.close) == (103, 103, 100, 100)
    assert (first.open, after_a_gap.open, after_a_gap.high) == (100, 90, 91)


def markers(drawing: str, tone: str) -> list[str]:
    tree = parsed(drawing)
    return ["".join(group.itertext()) for group in tree.iter("g") if group.get("class") == f"chart-marker chart-{tone}"]


def test_every_execution_is_marked_and_told():
    drawing = trade_chart(course(), CANDLES, "15m").drawing
    assert markers(drawing, "notable") == [
        "Entry 2022-11-01 12:00:00 UTC: 2 at 100",
        "Add 2022-11-01 12:30:00 UTC: 1 at 104",
    ]
    assert markers(drawing, "caution") == [
        "Reduce 2022-11-01 13:00:00 UTC: 1 at 106",
        "Exit 2022-11-01 14:00:00 UTC: 2 at 101",
    ]


@pytest.mark.parametrize(("direction", "entry"), [("LONG", "M0 -6L6 5H-6Z"), ("SHORT", "M0 6L6 -5H-6Z")])
def test_what_was_bought_points_up_and_what_was_sold_down(direction: str, entry: str):
    tree = parsed(trade_chart(course(direction), CANDLES, "15m").drawing)
    first = next(group for group in tree.iter("g") if group.get("class") == "chart-marker chart-notable")
    assert [path.get("d") for path in first.iter("path")] == [entry]


def test_stop_and_target_step_where_an_addition_brought_its_own():
    tree = parsed(trade_chart(course(), CANDLES, "15m").drawing)
    lines = [
        path.get("d")
        for path in tree.iter("path")
        if path.get("class") in ("chart-line chart-loss", "chart-line chart-gain")
    ]
    assert len(lines) == 2
    assert all(line.count("L") == 4 for line in lines)  # along, up or down, along: two steps to the end


def test_a_trade_without_stop_and_target_has_no_such_lines():
    bare = course(brackets=[Bracket(at=NOON, stop=None, target=None)])
    chart = trade_chart(bare, CANDLES, "15m")
    tree = parsed(chart.drawing)
    assert [path for path in tree.iter("path") if path.get("class", "").startswith("chart-line")] == []
    assert [meaning for _, meaning in chart.key if meaning.startswith(("stop", "target"))] == []


def test_a_candle_is_coloured_by_where_it_closed_and_tells_its_prices():
    chart = trade_chart(course(), [candle(0, 100, 103, 99, 102), candle(1, 102, 102, 98, 98)], "15m")
    boxes = list(parsed(chart.drawing).iter("rect"))
    assert [box.get("class") for box in boxes] == ["chart-box chart-gain", "chart-box chart-loss"]
    assert "".join(boxes[0].itertext()) == "2022-11-01 12:00 to 12:15 UTC: open 100, high 103, low 99, close 102"


def test_the_figures_stand_in_words_by_time():
    chart = trade_chart(course(), CANDLES, "15m")
    assert [row[:3] for row in chart.rows] == [
        ("2022-11-01 12:00:00", "Entry", "100"),
        ("2022-11-01 12:00:00", "Stop from then on", "97.5"),
        ("2022-11-01 12:00:00", "Target from then on", "110"),
        ("2022-11-01 12:30:00", "Add", "104"),
        ("2022-11-01 12:30:00", "Stop from then on", "101"),
        ("2022-11-01 12:30:00", "Target from then on", "112"),
        ("2022-11-01 13:00:00", "Reduce", "106"),
        ("2022-11-01 14:00:00", "Exit", "101"),
    ]
    assert ("loss", "stop 101") in chart.key
    assert ("gain", "target 112") in chart.key


def test_it_says_of_how_many_candles_no_price_is_kept():
    start, _ = stretch_of(NOON, NOON + 8 * QUARTER, "15m")
    whole = [candle(round((start - NOON) / QUARTER) + place, 100, 101, 99, 100) for place in range(20)]
    assert "no prices are kept" not in trade_chart(course(), whole, "15m").summary
    assert "Of 5 of the 20 candles no prices are kept." in trade_chart(course(), whole[5:], "15m").summary


def test_a_symbol_cannot_break_out_of_the_drawing():
    drawing = trade_chart(course(symbol="<script>alert(1)</script>"), CANDLES, "15m").drawing
    assert "<script>" not in drawing
    parsed(drawing)


def test_without_candles_there_is_nothing_to_draw_on():
    with pytest.raises(ValueError, match="without candles"):
        trade_chart(course(), [], "15m")
