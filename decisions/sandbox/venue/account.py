"""The simulated account: orders and bars in, fills and funding payments out.

Rules where an exchange leaves a choice:

- One position an instrument. A limit order must be passive (post only). A cancel of an order that has ended, and an
  order whose client order id was seen before, have no effect and no answer.
- A position entered by a market order meets its triggers from the next bar on. One entered by a limit order inside a
  bar may be stopped out in the same bar, since the price passes the limit first; its take profit waits for the next.
- When a position is gone, the orders that presuppose it are cancelled, the rest of its own opening order included.
- An ADD takes the position's leverage; where it brings no stop or target, the position's stays.
- A loss beyond the margin, through a gap, is the account's: there is no insurance fund.
- Bars are the market's clock: an order that rests when a bar opens takes part in the whole of it.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any, Self

from decisions.messages import PositionUpdate, TradeCancel, TradeOrder

from .checks import Request, refusal
from .course import BarCourse
from .executions import execute, notice, settle, withdraw
from .faults import NO_FAULTS
from .holdings import Books, WorkingOrder
from .market import Bar, Quote
from .report import position_update
from .state import Outgoing, VenueState, own_number
from .terms import EXACT, VenueTerms, floored


class VenueAccount:
    """One account at the simulated venue.

    Figures too large for the wire raise `pydantic.ValidationError` or `ArithmeticError` and leave the account half
    changed: go back to the state from before.
    """

    def __init__(self, state: VenueState, terms: VenueTerms | None = None) -> None:
        self.state = state
        self.terms = terms or VenueTerms()
        self.faults = NO_FAULTS
        """What goes wrong from now on. Not part of the state: whoever runs the account sets it."""

    @classmethod
    def opened(cls, *, account_id: str, start_equity: Decimal, terms: VenueTerms | None = None) -> Self:
        """A new account. `account_id` is the prefix of every identifier that it gives out."""
        return cls(VenueState(account_id=account_id, books=Books(start_equity=start_equity)), terms)

    @classmethod
    def from_state(cls, written: dict[str, Any], terms: VenueTerms | None = None) -> Self:
        """An account that goes on exactly where the one of `to_state` was."""
        return cls(VenueState.from_json(written), terms)

    def to_state(self, *, with_seen: bool = True) -> dict[str, Any]:
        """Everything the account remembers, in plain JSON types; without `seen`, which only grows, it stays small."""
        return self.state.to_json(with_seen=with_seen)

    def on_bar(self, quote: Quote, bar: Bar | None = None) -> list[Outgoing]:
        """A bar has closed, and `quote` is the market since then. One that is not newer than the last is ignored."""
        known = self.state.quotes.get(quote.symbol)
        if known is not None and quote.at <= known.at:
            return []
        with localcontext(EXACT):
            self.state.quotes[quote.symbol] = quote
            bar = bar or Bar.point(quote)
            reports = BarCourse(self.state, self.terms, quote, bar).play()
            if bar.funding is not None:
                reports += settle(self.state, bar.funding, quote)
            late = [found for found in self.state.orders_resting(quote.symbol) if found.order.expires_at <= quote.at]
            reports += [withdraw(self.state, found, "expired", quote.at, "not filled in time") for found in late]
            self.state.remember(reports)
            return reports

    def on_order(self, order: TradeOrder, *, wall_now: datetime) -> list[Outgoing]:
        """An order has arrived: it is refused, filled at once, or rests.

        `wall_now` is the clock by which market orders expire; limit orders expire by market time.
        """
        if order.client_order_id in self.state.seen:
            return []
        with localcontext(EXACT):
            working = WorkingOrder(order, self.state.next_id("order"))
            self.state.seen[order.client_order_id] = working.order_id
            quote = self.state.quotes.get(order.symbol)
            if quote is None:
                at = self.state.market_now or wall_now
                return [notice(self.state, working, "rejected", at, f"no price for {order.symbol} is known")]
            return self._judged(working, quote, wall_now)

    def on_cancel(self, cancel: TradeCancel) -> list[Outgoing]:
        """Withdraw a resting order; one that does not rest is left alone."""
        working = self.state.resting.get(cancel.client_order_id)
        if working is None or working.order.symbol != cancel.symbol:
            return []
        with localcontext(EXACT):
            return [withdraw(self.state, working, "cancelled", self.state.quotes[cancel.symbol].at, cancel.reason)]

    def place_late_stops(self, wall_now: datetime) -> bool:
        """Give positions the stops that came late and are due. Returns whether there was one."""
        placed = False
        for symbol, late in list(self.state.late_stops.items()):
            if late.since is None:
                self.state.late_stops[symbol] = replace(late, since=wall_now)
            elif late.is_due(wall_now):
                self.state.positions[symbol] = replace(self.state.positions[symbol], stop_loss=late.stop_loss)
                del self.state.late_stops[symbol]
                placed = True
        return placed

    @property
    def market_now(self) -> datetime | None:
        """The newest market time that is known; None before the first price."""
        return self.state.market_now

    @property
    def balance(self) -> Decimal:
        """USD: start + realised - fees + funding + transfers."""
        with localcontext(EXACT):
            return self.state.books.balance

    @property
    def equity(self) -> Decimal:
        """USD: the balance and the unrealised P&L at the newest mark prices."""
        with localcontext(EXACT):
            return self.state.equity

    def position_update(self, as_of: datetime) -> PositionUpdate:
        """The whole account, as on `trade:positions`."""
        with localcontext(EXACT):
            return position_update(self.state, self.terms, as_of)

    def _judged(self, working: WorkingOrder, quote: Quote, wall_now: datetime) -> list[Outgoing]:
        order = working.order
        request = Request(
            order=order,
            quote=quote,
            position=self.state.positions.get(order.symbol),
            resting=self.state.orders_resting(order.symbol),
            available=self.state.available,
            terms=self.terms,
            wall_now=wall_now,
        )
        refused = refusal(request)
        if refused is not None:
            return [notice(self.state, working, refused.status, quote.at, refused.reason)]
        number = own_number(self.state.account_id, working.order_id)
        if self.faults.befalls("reject", number):
            return [notice(self.state, working, "rejected", quote.at, "refused by the fault plan")]
        order = order.model_copy(update={"size": request.clipped_size})
        working = replace(working, order=order, stop_after=self.faults.stop_after(number))
        if order.order_type == "limit":
            self.state.resting[order.client_order_id] = working
            return [notice(self.state, working, "accepted", quote.at)]
        reports = self._taken(working, quote, request.entry_price, number)
        self.state.remember(reports)
        return reports

    def _taken(self, working: WorkingOrder, quote: Quote, price: Decimal, number: str) -> list[Outgoing]:
        """A market order takes what is offered: all at the price, or in parts, each a tick worse than the one before.
        Of some orders the last part finds nobody, and is cancelled."""
        lot, tick, size = quote.instrument.lot_size, quote.instrument.tick_size, working.order.size
        count = self.faults.parts_of(number)
        part = floored(size / count, lot)
        sizes = [part] * (count - 1) + [size - part * (count - 1)] if part else [size]
        rest = sizes.pop() if len(sizes) > 1 and self.faults.cancels_rest(number) else None
        reports: list[Outgoing] = []
        for size in sizes:
            fee_rate = self.terms.taker_fee
            reports += execute(self.state, working, quote, size=size, price=price, fee_rate=fee_rate)
            working = self.state.resting.get(working.order.client_order_id, working)
            price = price + tick if working.order.side == "buy" else max(price - tick, tick)
        if rest is not None:
            reports.append(withdraw(self.state, working, "cancelled", quote.at, "nobody took the rest"))
        return reports
