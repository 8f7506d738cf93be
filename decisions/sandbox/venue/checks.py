"""What the venue refuses, and why: one function a reason, asked in order, the first that answers counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from decisions.messages import TradeOrder

from .holdings import HeldPosition, WorkingOrder
from .market import Quote
from .terms import VenueTerms, cash, cash_up, slipped

_SIDES = {"long": ("buy", "sell"), "short": ("sell", "buy")}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order was not taken: `expired` came too late, `rejected` is wrong."""

    status: Literal["rejected", "expired"]
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """An order and everything that its acceptance depends on; `available` is the margin that is free, in USD."""

    order: TradeOrder
    quote: Quote
    position: HeldPosition | None
    resting: Sequence[WorkingOrder]
    available: Decimal
    terms: VenueTerms
    wall_now: datetime

    @property
    def reducing(self) -> bool:
        return self.order.action in ("REDUCE", "CLOSE")

    @property
    def entry_price(self) -> Decimal:
        """The price at which it would fill now, or rest."""
        if self.order.order_type == "limit" and self.order.limit_price is not None:
            return self.order.limit_price
        tick = self.quote.instrument.tick_size
        return slipped(self.quote.price, self.order.side, self.terms.slippage, tick)

    @property
    def clipped_size(self) -> Decimal:
        """In contracts; an exit takes no more than there is."""
        if self.reducing and self.position is not None:
            return min(self.order.size, self.position.size)
        return self.order.size


def refusal(request: Request) -> Refusal | None:
    """The first reason to refuse the order, or None when it is good."""
    late = _late(request)
    if late is not None:
        return Refusal("expired", late)
    for check in _CHECKS:
        reason = check(request)
        if reason is not None:
            return Refusal("rejected", reason)
    return None


def _late(request: Request) -> str | None:
    """Market orders expire by the wall clock, limit orders by the market's."""
    market = request.order.order_type == "market"
    now = request.wall_now if market else request.quote.at
    if now < request.order.expires_at:
        return None
    return f"expired at {request.order.expires_at.isoformat()}, {'wall' if market else 'market'} time {now.isoformat()}"


def _sides(request: Request) -> str | None:
    order = request.order
    if order.action in ("OPEN_LONG", "OPEN_SHORT") and order.pos_side != order.action.removeprefix("OPEN_").lower():
        return f"{order.action} with position side {order.pos_side}"
    if order.side != _SIDES[order.pos_side][request.reducing]:
        return f"{order.action} of a {order.pos_side} position cannot be a {order.side}"
    if order.reduce_only != request.reducing:
        return f"reduce_only {str(order.reduce_only).lower()} does not fit {order.action}"
    return None


def _position(request: Request) -> str | None:
    order, position = request.order, request.position
    if order.action in ("OPEN_LONG", "OPEN_SHORT"):
        if position is not None:
            return f"a {position.pos_side} position is open: one position an instrument"
        if any(working.order.action.startswith("OPEN") for working in request.resting):
            return "an opening order rests already"
        return None
    if position is None:
        return "reduce_only with nothing to reduce" if request.reducing else "no position to add to"
    if position.pos_side != order.pos_side:
        return f"the open position is {position.pos_side}, not {order.pos_side}"
    return None


def _size(request: Request) -> str | None:
    size, instrument = request.clipped_size, request.quote.instrument
    if request.reducing and request.position is not None and size == request.position.size:
        return None
    if size % instrument.lot_size != 0:
        return f"size {size} is not a multiple of lot size {instrument.lot_size}"
    if size < instrument.min_size:
        return f"size {size} is below the minimum {instrument.min_size}"
    return None


def _limit(request: Request) -> str | None:
    order, quote = request.order, request.quote
    if order.order_type == "market":
        return None
    if order.limit_price is None:
        return "limit order without a limit price"
    if order.limit_price % quote.instrument.tick_size != 0:
        return f"limit price {order.limit_price} is not a multiple of tick size {quote.instrument.tick_size}"
    if order.side == "buy" and order.limit_price >= quote.ask:
        return f"post only: buy limit {order.limit_price} would take the ask {quote.ask}"
    if order.side == "sell" and order.limit_price <= quote.bid:
        return f"post only: sell limit {order.limit_price} would take the bid {quote.bid}"
    return None


def _protection(request: Request) -> str | None:
    if request.reducing:
        return None
    reference = request.quote.price if request.order.order_type == "market" else request.entry_price
    tick, long = request.quote.instrument.tick_size, request.order.pos_side == "long"
    for name, level, below in (
        ("stop_loss", request.order.stop_loss, long),
        ("take_profit", request.order.take_profit, not long),
    ):
        if level is None:
            continue
        if level % tick != 0:
            return f"{name} {level} is not a multiple of tick size {tick}"
        if level == reference or (level < reference) != below:
            return f"{name} {level} is not {'below' if below else 'above'} {reference}"
    return None


def _leverage(request: Request) -> str | None:
    if 1 <= request.order.leverage <= request.terms.largest_leverage:
        return None
    return f"leverage {request.order.leverage} is not between 1 and {request.terms.largest_leverage}"


def _margin(request: Request) -> str | None:
    if request.reducing:
        return None
    notional = request.order.size * request.quote.instrument.ct_val * request.entry_price
    leverage = request.position.leverage if request.position is not None else request.order.leverage
    fee_rate = request.terms.taker_fee if request.order.order_type == "market" else request.terms.maker_fee
    needed = cash_up(notional / leverage) + cash(notional * fee_rate)
    if needed <= request.available:
        return None
    return f"insufficient margin: {needed} USD needed, {request.available} available"


_CHECKS: tuple[Callable[[Request], str | None], ...] = (
    _sides,
    _position,
    _size,
    _limit,
    _leverage,
    _protection,
    _margin,
)
