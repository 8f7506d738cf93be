"""One case: a proposal, all it is judged by, and what several rules need, worked out once.

Pure, and to be worked out under `measures.QUIET`: no number makes it raise, a figure that cannot be computed is NaN.
Nothing is judged here, but the size that would be sent is settled: halved where what is held elsewhere moves alike,
rounded down to lots, and never above what was asked for; only a REDUCE may grow, to all that is open, when its part
cannot be computed or the rest could not be traded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Unpack

from risk import sizing
from risk.inputs import (
    EXITS,
    Account,
    Direction,
    Inputs,
    Instrument,
    PendingOrder,
    Position,
    Proposal,
    RiskState,
)
from risk.limits import Limits
from risk.measures import NAN, ONE, ZERO, coefficient, highest, positive, sign_of

_HALF = Decimal("0.5")
_INFINITY = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Prices:
    """Entry, stop and target of an opening; NaN where there is none."""

    entry: Decimal
    stop: Decimal
    target: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A proposal, all it is judged by, and the figures that more than one rule needs.

    `adds_risk` is everything but exits and HOLD: an action nobody knows is judged like an opening, the stricter way.
    `held` is what is open, or will be when the pending openings fill; `sign` is 1 for long and -1 for short. Prices are
    judged twice, as asked for and as they would be sent, on the tick; both must hold. `requested` is the new notional
    before any shrinking. `relations` are (symbol, r x direction x direction) with all that is held elsewhere.
    `contracts` is what would be sent were nothing refused.
    """

    proposal: Proposal
    account: Account
    positions: tuple[Position, ...]
    pending: tuple[PendingOrder, ...]
    state: RiskState
    correlations: Mapping[str, Decimal | None]
    instrument: Instrument
    limits: Limits
    now: datetime
    adds_risk: bool
    exit_in_flight: bool
    position: Position | None
    held: tuple[Position | PendingOrder, ...]
    sign: Decimal
    equity: Decimal
    requested: Decimal
    asked: Prices
    sent: Prices
    relations: tuple[tuple[str, Decimal], ...]
    granted_pct: Decimal
    contracts: Decimal


def direction_of(proposal: Proposal, positions: Iterable[Position]) -> Direction | None:
    """The side a proposal is about: its own when it opens, else the open position's; None when there is no such one."""
    if proposal.action == "OPEN_LONG":
        return "LONG"
    if proposal.action == "OPEN_SHORT":
        return "SHORT"
    position = _position(proposal.symbol, positions)
    return position.direction if position else None


def _position(symbol: str, positions: Iterable[Position]) -> Position | None:
    """The one position in an instrument. Two at once are not ours to tell apart: None."""
    here = [position for position in positions if position.symbol == symbol]
    return here[0] if len(here) == 1 else None


def case_of(**inputs: Unpack[Inputs]) -> Case:
    """The case that the arguments of `evaluate` make."""
    proposal, positions, instrument = inputs["proposal"], inputs["positions"], inputs["instrument"]
    sign = sign_of(direction_of(proposal, positions))
    equity = positive(inputs["account"].equity)
    position = _position(proposal.symbol, positions)
    asked = _asked_prices(proposal)
    sent = _sent_prices(proposal, asked, sign, instrument.tick_size)
    held: tuple[Position | PendingOrder, ...] = (
        *positions,
        *(order for order in inputs["pending"] if not order.reduce_only),
    )
    relations = _relations(proposal.symbol, sign, held, inputs["correlations"])
    granted_pct = positive(proposal.size_pct) * (_HALF if too_alike(relations, inputs["limits"]) else ONE)
    price = highest(sent.entry, positive(proposal.snapshot_price))
    return Case(
        **inputs,
        adds_risk=proposal.action not in (*EXITS, "HOLD"),
        exit_in_flight=any(order.reduce_only and order.symbol == proposal.symbol for order in inputs["pending"]),
        position=position,
        held=held,
        sign=sign,
        equity=equity,
        requested=positive(proposal.size_pct) * equity,
        asked=asked,
        sent=sent,
        relations=relations,
        granted_pct=granted_pct,
        contracts=_contracts(proposal, position, granted_pct, equity, price, instrument),
    )


def _asked_prices(proposal: Proposal) -> Prices:
    """Entry is the snapshot's price for a market order and the limit price for a limit order."""
    entries = {"market": proposal.snapshot_price, "limit": proposal.limit_price}
    return Prices(
        positive(entries.get(proposal.order_type)), positive(proposal.stop_loss), positive(proposal.take_profit)
    )


def _sent_prices(proposal: Proposal, asked: Prices, sign: Decimal, tick_size: Decimal) -> Prices:
    """Stop and target rounded towards the entry, a limit price away from the market, so that it stays passive."""
    entry = asked.entry
    if proposal.order_type == "limit":
        entry = _ticked(entry, tick_size, towards=ZERO if sign == ONE else _INFINITY)
    return Prices(entry, _ticked(asked.stop, tick_size, entry), _ticked(asked.target, tick_size, entry))


def _ticked(price: Decimal, tick_size: Decimal, towards: Decimal) -> Decimal:
    try:
        return sizing.round_to_tick(price, tick_size, towards)
    except ValueError:
        return NAN


def _relations(
    symbol: str, sign: Decimal, held: Iterable[Position | PendingOrder], correlations: Mapping[str, Decimal | None]
) -> tuple[tuple[str, Decimal], ...]:
    """r x direction x direction with all that is held elsewhere, or will be when a pending opening fills."""
    elsewhere = dict.fromkeys((other.symbol, other.direction) for other in held if other.symbol != symbol)
    return tuple(
        (other, coefficient(correlations.get(other)) * sign * sign_of(direction)) for other, direction in elsewhere
    )


def too_alike(relations: Iterable[tuple[str, Decimal]], limits: Limits) -> bool:
    """Above the limit, or not known."""
    return any(not relation <= limits.max_correlation for _, relation in relations)


def _contracts(
    proposal: Proposal,
    position: Position | None,
    granted_pct: Decimal,
    equity: Decimal,
    price: Decimal,
    instrument: Instrument,
) -> Decimal:
    open_size = positive(position.size) if position else NAN
    match proposal.action:
        case "HOLD":
            return ZERO
        case "CLOSE":
            return open_size
        case "REDUCE":
            snapshot_price = positive(proposal.snapshot_price)
            removed = _lots(positive(proposal.size_pct), equity, snapshot_price, instrument)
            return _reduction(removed, open_size, instrument.min_size)
        case _:
            return _lots(granted_pct, equity, price, instrument)


def _reduction(removed: Decimal, open_size: Decimal, min_size: Decimal) -> Decimal:
    """Never more than is open; everything when the rest could not be traded, or when the part cannot be computed."""
    return removed if open_size - removed >= min_size else open_size


def _lots(size_pct: Decimal, equity: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    try:
        return sizing.contracts(size_pct, equity, price, instrument.ct_val, instrument.lot_size)
    except ValueError:
        return NAN
