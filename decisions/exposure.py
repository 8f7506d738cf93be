"""What the gate is shown of the account: positions, live orders, correlations, as its own values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import cast

from django.db.models import Q
from django.db.models.functions import Extract

from decisions import messages
from decisions.clock import wall_now
from decisions.correlation import WINDOW, Prices, correlation
from decisions.models import LIVE, MarketRecord, Order, OrderStatus
from journal.models import Trade
from risk import gate, sizing


def positions(reported: Sequence[messages.Position]) -> list[gate.Position]:
    """Our open trades, and what the venue holds beyond them.

    Our record changes in the same transaction as the order that changes it, so no moment exists in which an order has
    ended and its position is not there yet. Each is valued at the venue's mark where there is one, and where the venue
    holds more of it than we know, the venue's size counts: a limit is not passed and a close leaves nothing behind.
    """
    by_symbol = {position.symbol: position for position in reported}
    trades = list(Trade.objects.filter(status=Trade.Status.OPEN))
    ours = [_from_trade(trade, by_symbol.get(trade.symbol)) for trade in trades]
    known = {trade.symbol for trade in trades}
    return ours + [_from_venue(position) for position in reported if position.symbol not in known]


def _from_trade(trade: Trade, reported: messages.Position | None) -> gate.Position:
    price = reported.mark_price if reported else trade.entry_price
    same_side = reported is not None and (reported.pos_side == "long") == (trade.direction == Trade.Direction.LONG)
    size = max(trade.open_size, reported.size) if reported is not None and same_side else trade.open_size
    return gate.Position(
        symbol=trade.symbol,
        direction="LONG" if trade.direction == Trade.Direction.LONG else "SHORT",
        size=size,
        notional_usd=sizing.notional(size, price, trade.ct_val),
        stop_loss=trade.stop_loss,
        take_profit=trade.take_profit,
    )


def _from_venue(position: messages.Position) -> gate.Position:
    return gate.Position(
        symbol=position.symbol,
        direction="LONG" if position.pos_side == "long" else "SHORT",
        size=position.size,
        notional_usd=position.notional_usd,
        stop_loss=position.stop_loss,
        take_profit=position.take_profit,
    )


def live_orders() -> list[gate.PendingOrder]:
    """Orders that may still fill, valued at what they reserve.

    An exit that nobody knows about and that the venue may execute no more stands in no other exit's way.
    """
    lost_exits = Q(reduce_only=True, status=OrderStatus.UNKNOWN, expires_at__lt=wall_now())
    return [
        gate.PendingOrder(
            symbol=order.symbol,
            direction="LONG" if order.pos_side == "long" else "SHORT",
            action=cast("gate.Action", order.action),
            notional_usd=order.notional_usd * (order.size - order.filled_size) / order.size,
            reduce_only=order.reduce_only,
        )
        for order in Order.objects.filter(status__in=LIVE).exclude(lost_exits)
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
