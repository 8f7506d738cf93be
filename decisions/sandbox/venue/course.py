"""The course of one bar through an account: which triggers and resting orders it executes, in which order."""

from collections.abc import Callable, Iterable

from .executions import execute, exit_position
from .market import Bar, Quote
from .matching import Touch, Trigger, adverse_trigger, profit_trigger, touch
from .state import Outgoing, VenueState
from .terms import VenueTerms


class BarCourse:
    """Plays one bar, once. `play` returns the reports in the order in which things happened."""

    def __init__(self, state: VenueState, terms: VenueTerms, quote: Quote, bar: Bar) -> None:
        self._state = state
        self._terms = terms
        self._quote = quote
        self._bar = bar
        self._touched: set[str] = set()

    def play(self) -> list[Outgoing]:
        """Favourable gaps at the open, then the adverse side, then the favourable one.

        A position entered inside the bar does not reach its take profit in it: whether the price got there before
        or after the entry cannot be known.
        """
        if self._quote.symbol not in self._state.positions:
            return self._walk(self._adverse)
        return [*self._walk(self._favourable_gaps), *self._walk(self._adverse), *self._walk(self._favourable)]

    def _walk(self, events: Callable[[], Iterable[Trigger | Touch]]) -> list[Outgoing]:
        """Execute the nearest event to the open, and look again, until none is left."""
        reports: list[Outgoing] = []
        while (event := min(events(), key=lambda event: event.distance, default=None)) is not None:
            if isinstance(event, Trigger):
                reports += exit_position(self._state, event, self._quote, self._terms.taker_fee)
            else:
                self._touched.add(event.working.order.client_order_id)
                reports += execute(
                    self._state, event.working, self._quote,
                    size=event.size, price=event.price, fee_rate=self._terms.maker_fee,
                )  # fmt: skip
        return reports

    def _adverse(self) -> list[Trigger | Touch]:
        position = self._state.positions.get(self._quote.symbol)
        tick = self._quote.instrument.tick_size
        trigger = adverse_trigger(position, self._bar, self._terms, tick) if position else None
        return [*([trigger] if trigger else []), *self._touches(reducing=False)]

    def _favourable(self) -> list[Trigger | Touch]:
        position = self._state.positions.get(self._quote.symbol)
        trigger = profit_trigger(position, self._bar) if position else None
        return [*([trigger] if trigger else []), *self._touches(reducing=True)]

    def _favourable_gaps(self) -> list[Trigger | Touch]:
        return [event for event in self._favourable() if event.distance == 0]

    def _touches(self, *, reducing: bool) -> list[Touch]:
        """The resting exits, or entries, that the bar reaches and has not filled yet."""
        position = self._state.positions.get(self._quote.symbol)
        most = position.size if position and reducing else None
        found = (
            touch(working, self._bar, self._quote, self._terms, most)
            for working in self._state.orders_resting(self._quote.symbol)
            if working.reducing == reducing
            and working.order.client_order_id not in self._touched
            and working.order.expires_at > self._bar.open_at
        )
        return [event for event in found if event is not None]
