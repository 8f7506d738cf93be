"""The dashboard's drawings: equity with its drawdown, calibration, and where a position stands. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from decisions.dashboard.curve import Curve, change, falls, gaps
from decisions.dashboard.holdings import Holding
from decisions.dashboard.words import counted, moment, per_cent, price, usd
from journal.charts import scale
from journal.charts.chart import Chart
from journal.charts.plot import Frame, Svg
from journal.charts.scale import LinearScale, TimeScale
from journal.performance import Bucket, Calibration

ROWS = 24
"""Of a curve's table, at most."""
WIDE, HIGH, LOW, SQUARE = 900, 240, 120, 280
Row = TypeVar("Row")
Points = list[tuple[datetime, Decimal | None]]


# --- equity -----------------------------------------------------------------------------------------------------------


def equity_charts(curve: Curve, limit: Decimal) -> list[Chart]:
    """Equity and, below it, the drawdown; `limit` is the drawdown's, below zero. None for fewer than two reports."""
    if len(curve.shown) < 2:
        return []
    depths = falls(curve.shown, curve.before)
    return [_equity(curve, depths), _drawdown(curve, depths, limit)]


def _equity(curve: Curve, depths: Sequence[Decimal]) -> Chart:
    points = _with_gaps(curve, [point.equity for point in curve.shown])
    first, last = curve.shown[0], curve.shown[-1]
    values = [point.equity for point in curve.shown]
    heights = LinearScale.over(values)
    frame = Frame(WIDE, HIGH, _times(curve), heights)
    summary = (
        f"From {usd(first.equity)} to {usd(last.equity)}, {usd(change(curve.shown), signed=True)} without transfers; "
        f"lowest {usd(min(values))}, highest {usd(max(values))}."
    )
    rows = [
        (moment(point.at), usd(point.equity), per_cent(depth))
        for point, depth in _some(list(zip(curve.shown, depths, strict=True)))
    ]
    return Chart(
        title="Equity",
        summary=summary,
        drawing=frame.drawing(
            "equity", "Equity in USD", summary, [frame.area(points, base=heights.low), frame.line(points)]
        ),
        headers=("Time", "Equity", "Drawdown"),
        rows=rows,
    )


def _drawdown(curve: Curve, depths: Sequence[Decimal], limit: Decimal) -> Chart:
    points = _with_gaps(curve, depths)
    deepest = min(depths)
    shows_limit = deepest <= limit / 2
    low = min(deepest, limit) if shows_limit else min(deepest, Decimal("-0.001"))
    frame = Frame(WIDE, LOW, _times(curve), LinearScale(float(low) * 1.1, 0.0, scale.per_cent))
    summary = f"Drawdown from the highest equity so far: deepest {per_cent(deepest)}, now {per_cent(depths[-1])}."
    level = [frame.level(limit, f"halt at {per_cent(limit, 0)}", "loss")] if shows_limit else []
    return Chart(
        title="Drawdown",
        summary=summary,
        drawing=frame.drawing(
            "drawdown", "Drawdown", summary, [frame.area(points, "loss"), frame.line(points, "loss"), *level]
        ),
    )


def _times(curve: Curve) -> TimeScale:
    return TimeScale(curve.shown[0].at, curve.shown[-1].at)


def _with_gaps(curve: Curve, values: Sequence[Decimal]) -> Points:
    """The values at their times, with nothing where nothing was reported."""
    breaks = gaps(curve.shown, curve.step)
    points: Points = []
    for point, value in zip(curve.shown, values, strict=True):
        if point.at in breaks:
            points.append((point.at - timedelta(microseconds=1), None))
        points.append((point.at, value))
    return points


def _some(rows: Sequence[Row]) -> Iterator[Row]:
    """At most `ROWS` of the rows at equal distances, the last one among them, newest first."""
    step = -(-len(rows) // ROWS)
    return iter(rows[::-1][::step])


# --- calibration ------------------------------------------------------------------------------------------------------


def calibration_chart(calibration: Calibration) -> Chart:
    """Stated confidence against wins, a point a bucket with its 90 % interval; the dashed line is perfect."""
    full = LinearScale(0, 1, scale.per_cent)
    frame = Frame(420, SQUARE, full, full)
    summary = (
        f"{calibration.count:,} trades: {per_cent(calibration.stated_mean.value, 0)} stated on average, "
        f"{per_cent(calibration.actual_win_rate.value, 0)} won."
    )
    parts = [frame.line([(0.0, 0.0), (1.0, 1.0)], "quiet", dashed=True)]
    for bucket in calibration.buckets:
        parts += _bucket(frame, bucket)
    return Chart(
        title="Calibration",
        summary=summary,
        drawing=frame.drawing("calibration", "Stated confidence (across) against wins (up)", summary, parts),
        headers=("Stated", "Trades", "Stated on average", "Won", "90 % interval"),
        rows=[
            (
                f"{per_cent(bucket.low, 0)} to {per_cent(bucket.high, 0)}",
                str(bucket.count),
                per_cent(bucket.stated_mean, 1),
                per_cent(bucket.actual_win_rate.value, 1),
                f"{per_cent(bucket.actual_win_rate.low, 0)} to {per_cent(bucket.actual_win_rate.high, 0)}",
            )
            for bucket in calibration.buckets
        ],
    )


def _bucket(frame: Frame[scale.Number], bucket: Bucket) -> list[Svg]:
    stated, won = bucket.stated_mean, bucket.actual_win_rate
    note = f"Stated {per_cent(stated, 0)}: {counted(won, 'trades won')}"
    return [
        frame.segment(stated, won.low, stated, won.high),
        frame.marker(stated, won.value or 0, note=note),
    ]


# --- a position -------------------------------------------------------------------------------------------------------


def strip(holding: Holding) -> Svg | None:
    """From the stop to the target, with the entry and the price now; None unless all four are known.

    What is won or lost so far is filled. It says nothing that the figures beside it do not.
    """
    if holding.entry is None or holding.mark is None or holding.stop is None or holding.target is None:
        return None
    if holding.stop == holding.target:
        return None
    entry, mark = (
        min(max((value - holding.stop) / (holding.target - holding.stop), Decimal(0)), Decimal(1))
        for value in (holding.entry, holding.mark)
    )
    left, right = sorted((entry, mark))
    tone = "gain" if mark >= entry else "loss"
    return Svg(
        '<svg class="strip" height="26" aria-hidden="true">'
        '<rect class="strip-way" x="0" y="9" width="100%" height="8" rx="4"/>'
        f'<rect class="chart-box chart-{tone}" x="{left:.2%}" y="9" width="{right - left:.2%}" height="8"/>'
        f'<line class="chart-line chart-quiet" x1="{entry:.2%}" x2="{entry:.2%}" y1="3" y2="23"/>'
        f'<svg x="{mark:.2%}" y="13" overflow="visible"><g class="chart-marker chart-{tone}"><circle r="6">'
        f"<title>{price(holding.mark)}</title></circle></g></svg></svg>"
    )
