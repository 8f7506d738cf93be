"""What a bar does to a position's triggers and to a resting order: at which price, and how far from the open.

Of a bar only its four prices are known, so the worse order of events is assumed: after the open first everything on
the adverse side (stop, liquidation, entries that rest there), the nearest to the open first, and only then take
profit and resting exits. A level the bar opens beyond is executed at the open: worse for a stop, better for a limit.
"""

from dataclasses import dataclass
from decimal import Decimal

from decisions.messages import ExitReason

from .holdings import HeldPosition, WorkingOrder
from .market import Bar, Quote
from .terms import VenueTerms, ceiled, floored, slipped


@dataclass(frozen=True, slots=True)
class Trigger:
    """An exit by the venue: at this price, after the bar moved `distance` from its open."""

    price: Decimal
    distance: Decimal
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Touch:
    """A resting order that the bar fills: `size` contracts at this price, after moving `distance` from the open."""

    working: WorkingOrder
    price: Decimal
    size: Decimal
    distance: Decimal


def liquidation_level(position: HeldPosition, terms: VenueTerms, tick: Decimal) -> Decimal | None:
    """The liquidation price, rounded to tick towards the entry."""
    level = position.liquidation_price(terms.maintenance_margin)
    if level is None:
        return None
    return ceiled(level, tick) if position.pos_side == "long" else floored(level, tick)


def adverse_trigger(position: HeldPosition, bar: Bar, terms: VenueTerms, tick: Decimal) -> Trigger | None:
    """Stop loss or liquidation, whichever the price meets first on its way against the position.

    A stop is a market order, so it slips; a liquidation is made at its level.
    """
    long = position.pos_side == "long"
    levels: list[tuple[Decimal, ExitReason]] = []
    if position.stop_loss is not None:
        levels.append((position.stop_loss, "stop_loss"))
    liquidation = liquidation_level(position, terms, tick)
    if liquidation is not None and liquidation > 0:
        levels.append((liquidation, "liquidation"))
    if not levels:
        return None
    level, reason = (max if long else min)(levels, key=lambda entry: entry[0])
    if not (bar.low <= level if long else bar.high >= level):
        return None
    met = min(level, bar.open) if long else max(level, bar.open)
    price = slipped(met, position.exit_side, terms.slippage, tick) if reason == "stop_loss" else met
    return Trigger(price, abs(met - bar.open), reason)


def profit_trigger(position: HeldPosition, bar: Bar) -> Trigger | None:
    """Take profit, at its price, or at the open when that is better."""
    level, long = position.take_profit, position.pos_side == "long"
    if level is None or not (bar.high >= level if long else bar.low <= level):
        return None
    price = max(level, bar.open) if long else min(level, bar.open)
    return Trigger(price, abs(price - bar.open), "take_profit")


def touch(working: WorkingOrder, bar: Bar, quote: Quote, terms: VenueTerms, most: Decimal | None) -> Touch | None:
    """How far the bar fills a resting order, if at all; `most` contracts, the position it may reduce.

    It fills when the bar trades through its limit, not when it merely touches it: others were in the queue before.
    """
    limit, buying = working.limit_price, working.order.side == "buy"
    if not (bar.low < limit if buying else bar.high > limit):
        return None
    size = working.remaining if most is None else min(working.remaining, most)
    if bar.volume is not None:
        share = bar.volume * terms.volume_share / quote.instrument.ct_val
        size = min(size, floored(share, quote.instrument.lot_size))
    if size <= 0:
        return None
    price = min(limit, bar.open) if buying else max(limit, bar.open)
    return Touch(working, price, size, abs(price - bar.open))
