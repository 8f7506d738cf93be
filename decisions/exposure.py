"""What the gate is shown of the account: positions, live orders, correlations, as its own values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import cast

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Extract

from decisions import context, messages
from decisions.clock import AHEAD, wall_now
from decisions.correlation import WINDOW, Prices, correlation
from decisions.models import MarketRecord, Order, OrderStatus
from journal.models import Trade
from risk import gate, sizing


def positions(reported: Sequence[messages.Position]) -> list[gate.Position]:
    """Our open trades, and what the venue holds beyond them: an instrument that is held both ways counts both ways.

    Our record changes in the same transaction as the order that changes it, so no moment exists in which an order has
    ended and its position is not there yet. Each is valued at the venue's mark where there is one, and where the venue
    holds more of it than we know, the venue's size counts: a limit is not passed and a close leaves nothing behind.
    """
    held: dict[tuple[str, str], messages.Position] = {(each.symbol, _direction(each)): each for each in reported}
    marks = {position.symbol: position.mark_price for position in reported}
    trades = list(Trade.objects.filter(closed_at__isnull=True))
    ours = [_from_trade(trade, held.pop((trade.symbol, trade.direction), None), marks) for trade in trades]
    return ours + [_from_venue(position) for position in held.values()]


def for_an_exit(positions: Sequence[gate.Position], symbol: str) -> Sequence[gate.Position]:
    """The positions with one side only of an instrument that is held both ways: ours, else the larger. An exit leaves
    one position, and must not be refused because there is another."""
    sides = [position for position in positions if position.symbol == symbol]
    if len(sides) < 2:
        return positions
    trade = context.open_trade_of(symbol)
    ours = [side for side in sides if trade is not None and side.direction == trade.direction]
    left = max(ours or sides, key=lambda side: side.notional_usd)
    return [position for position in positions if position.symbol != symbol or position is left]


def _direction(position: messages.Position) -> gate.Direction:
    return "LONG" if position.pos_side == "long" else "SHORT"


def _from_trade(trade: Trade, reported: messages.Position | None, marks: Mapping[str, Decimal]) -> gate.Position:
    size = trade.open_size if reported is None else max(trade.open_size, reported.size)
    return gate.Position(
        symbol=trade.symbol,
        direction="LONG" if trade.direction == Trade.Direction.LONG else "SHORT",
        size=size,
        notional_usd=sizing.notional(size, marks.get(trade.symbol, trade.entry_price), trade.ct_val),
        stop_loss=trade.stop_loss,
        take_profit=trade.take_profit,
    )


def _from_venue(position: messages.Position) -> gate.Position:
    return gate.Position(
        symbol=position.symbol,
        direction=_direction(position),
        size=position.size,
        notional_usd=position.notional_usd,
        stop_loss=position.stop_loss,
        take_profit=position.take_profit,
    )


def live_orders() -> list[gate.PendingOrder]:
    """Orders that may still fill, valued at what they reserve.

    An exit that nobody knows about and that the venue may execute no more stands in no other exit's way.
    """
    now, longest = wall_now(), timedelta(seconds=settings.ORDER_TTL_MARKET_SECONDS)
    # Exits are market orders: one that expires later than any can was written before the clock was set back.
    past = Q(expires_at__lt=now) | Q(expires_at__gt=now + longest + AHEAD)
    lost_exits = Q(past, reduce_only=True, status=OrderStatus.UNKNOWN)
    return [
        gate.PendingOrder(
            symbol=order.symbol,
            direction="LONG" if order.pos_side == "long" else "SHORT",
            action=cast("gate.Action", order.action),
            notional_usd=order.notional_usd * max(order.size - order.filled_size, Decimal(0)) / order.size,
            reduce_only=order.reduce_only,
        )
        for order in Order.objects.filter(ended_at__isnull=True).exclude(lost_exits)
    ]


def correlations(symbol: str, held: Iterable[str], now: datetime) -> dict[str, Decimal | None]:
    """Correlation of an instrument with others, from the snapshots of our own record.

    It reads days of prices, so it is asked before the account's lock is taken; an instrument that is held by then and
    not among `held` is not known, and what is not known counts as correlated.
    """
    others = set(held) - {symbol}
    if not others:
        return {}
    prices = _hourly_prices({symbol, *others}, now)
    return {other: correlation(prices[symbol], prices[other]) for other in others}


def _hourly_prices(symbols: set[str], now: datetime) -> Mapping[str, Prices]:
    """The recorded prices at full hours of the window."""
    rows = (
        MarketRecord.objects.filter(symbol__in=symbols, at__gt=now - WINDOW, at__lte=now)
        .annotate(minute=Extract("at", "minute"))
        .filter(minute=0)
        .order_by("-at")  # of several in one minute the first one stays
        .values_list("symbol", "at", "price")
    )
    prices: dict[str, dict[datetime, Decimal]] = {symbol: {} for symbol in symbols}
    for symbol, at, price in rows:
        prices[symbol][at.replace(second=0, microsecond=0)] = price
    return prices
