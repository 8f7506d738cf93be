"""A trade drawn on the prices that were recorded while it was open, or why there are none."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.conf import settings
from django.db import connection
from django.db.models import Max

from decisions.chain import Chain
from decisions.models import Fill, MarketRecord, Order
from journal.charts import candles
from journal.charts.candles import TIMEFRAMES, Bracket, Candle, Executed, TradeCourse
from journal.charts.chart import Chart
from journal.models import Trade
from journal.presentation import Notice

ENTRIES = ("open", "add")

_FOLD = """
SELECT date_bin(%(step)s, at - interval '1 microsecond', %(epoch)s) AS start,
       (array_agg(price ORDER BY at))[1], max(price), min(price), (array_agg(price ORDER BY at DESC))[1]
FROM market_snapshots
WHERE symbol = %(symbol)s AND at > %(start)s AND at <= %(end)s
GROUP BY 1 ORDER BY 1
"""
"""Recorded prices folded into candles, each from after its start up to its end."""


def chart_of(trade: Trade, chain: Chain) -> Chart | Notice:
    """The chart, or a word where no price of that time is kept."""
    course = course_of(trade, chain)
    timeframe = candles.timeframe_of(course.ended_at - course.began_at)
    known = recorded_candles(trade.symbol, *candles.stretch_of(course.began_at, course.ended_at, timeframe), timeframe)
    if not known:
        text = f"Snapshots are kept for {settings.SNAPSHOT_RETENTION_DAYS} days of market time: there is no chart."
        return Notice(title="No prices are kept of that time", text=text, tone="plain")
    return candles.trade_chart(course, known, timeframe)


def course_of(trade: Trade, chain: Chain) -> TradeCourse:
    """What happened to the position, by its fills and orders."""
    executions = [executed for fill in chain.fills if (executed := _executed(fill)) is not None]
    began_at = min([trade.opened_at, *(each.at for each in executions)])
    return TradeCourse(
        symbol=trade.symbol,
        direction="LONG" if trade.direction == Trade.Direction.LONG else "SHORT",
        began_at=began_at,
        ended_at=trade.closed_at or _newest(trade.symbol, began_at),
        executions=executions,
        brackets=brackets(trade, chain.orders, chain.fills),
    )


def _executed(fill: Fill) -> Executed | None:
    if fill.price is None or fill.size is None:
        return None
    return Executed(at=fill.filled_at, price=fill.price, size=fill.size, intent=cast("candles.Intent", fill.intent))


def _newest(symbol: str, began_at: datetime) -> datetime:
    """Up to when an open position can be drawn."""
    newest = MarketRecord.objects.filter(symbol=symbol).aggregate(at=Max("at"))["at"]
    return max(began_at, newest or began_at)


def brackets(trade: Trade, orders: Sequence[Order], fills: Sequence[Fill]) -> list[Bracket]:
    """The stop and the target from the first fill of each order that entered: an addition brings its own. Without such
    an order they are the trade's."""
    began: dict[int, datetime] = {}
    for fill in fills:
        if fill.order_id is not None and fill.price is not None and fill.intent in ENTRIES:
            began[fill.order_id] = min(began.get(fill.order_id, fill.filled_at), fill.filled_at)
    entered = sorted((order for order in orders if order.pk in began), key=lambda order: (began[order.pk], order.pk))
    found: list[Bracket] = []
    stop: Decimal | None = None
    target: Decimal | None = None
    for order in entered:
        stop, target = order.stop_loss or stop, order.take_profit or target
        found.append(Bracket(at=began[order.pk], stop=stop, target=target))
    return found or [Bracket(at=trade.opened_at, stop=trade.stop_loss, target=trade.take_profit)]


def recorded_candles(symbol: str, start: datetime, end: datetime, timeframe: str) -> list[Candle]:
    """The candles of an instrument from the prices on record, those without any left out."""
    step = TIMEFRAMES[timeframe]
    values: dict[str, Any] = {"step": step, "epoch": candles.EPOCH, "symbol": symbol, "start": start, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(_FOLD, values)
        rows = cursor.fetchall()
    return candles.joined(
        Candle(start=began, end=began + step, open=first, high=high, low=low, close=last)
        for began, first, high, low, last in rows
    )
