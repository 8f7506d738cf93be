"""Everything an account has to remember, and its exact JSON form."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from decisions.messages import FundingPayment, TradeFill

from .holdings import Books, HeldPosition, LateStop, WorkingOrder
from .market import Quote
from .terms import cash_up

Outgoing = TradeFill | FundingPayment
"""What the venue reports on `trade:fills`."""

RECENT = timedelta(hours=24)
MOST_RECENT = 250
"""Of more than this a day only the newest are repeated, so that a position update stays below the longest entry."""


@dataclass(slots=True)
class VenueState:
    """An account's memory.

    `counter` is the number of identifiers given out, `seen` maps each client order id ever received to the venue's
    order id, `resting` is by client order id, everything else by symbol. `recent` are the executions and funding
    payments of the last day of market time, oldest first; `late_stops` the stops that positions should have by now.
    """

    account_id: str
    books: Books
    counter: int = 0
    positions: dict[str, HeldPosition] = field(default_factory=dict)
    resting: dict[str, WorkingOrder] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    recent: list[Outgoing] = field(default_factory=list)
    late_stops: dict[str, LateStop] = field(default_factory=dict)

    def to_json(self, *, with_seen: bool = True) -> dict[str, Any]:
        """A dictionary of plain JSON types that `from_json` turns into an equal state, once `seen` is put back."""
        written: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude=None if with_seen else {"seen"})
        return written

    @staticmethod
    def from_json(written: dict[str, Any]) -> "VenueState":
        """Raises `pydantic.ValidationError` when the dictionary is not a written state."""
        return _ADAPTER.validate_python(written)

    @property
    def market_now(self) -> datetime | None:
        """The newest market time that is known."""
        return max((quote.at for quote in self.quotes.values()), default=None)

    @property
    def unrealized_pnl(self) -> Decimal:
        return sum((self.unrealized(held) for held in self.positions.values()), Decimal(0))

    @property
    def equity(self) -> Decimal:
        return self.books.balance + self.unrealized_pnl

    @property
    def margin_used(self) -> Decimal:
        return sum((held.margin for held in self.positions.values()), Decimal(0))

    @property
    def available(self) -> Decimal:
        """What new positions can use: the balance less the margin in use and the margin kept for resting entries."""
        return self.books.balance - self.margin_used - sum(map(self._margin_kept, self.resting.values()), Decimal(0))

    def unrealized(self, position: HeldPosition) -> Decimal:
        return position.unrealized(self.quotes[position.symbol].mark_price)

    def orders_resting(self, symbol: str) -> list[WorkingOrder]:
        """The instrument's resting orders, oldest first."""
        return [working for working in self.resting.values() if working.order.symbol == symbol]

    def next_id(self, kind: str) -> str:
        self.counter += 1
        return f"{self.account_id}-{kind}-{self.counter}"

    def remember(self, messages: list[Outgoing]) -> None:
        """Keep what has happened, and drop what is older than a day."""
        now = self.market_now
        self.recent += [message for message in messages if isinstance(message, FundingPayment) or message.executed]
        if now is not None:
            self.recent = [message for message in self.recent[-MOST_RECENT:] if now - _time_of(message) < RECENT]

    def _margin_kept(self, working: WorkingOrder) -> Decimal:
        if working.reducing:
            return Decimal(0)
        held, quote = self.positions.get(working.order.symbol), self.quotes[working.order.symbol]
        leverage = held.leverage if held is not None else working.order.leverage
        return cash_up(working.remaining * quote.instrument.ct_val * working.limit_price / leverage)


def own_number(account_id: str, identifier: str) -> str:
    """What tells an identifier from the account's others: the same in every account to which the same happened."""
    return identifier.removeprefix(f"{account_id}-")


def _time_of(message: Outgoing) -> datetime:
    return message.paid_at if isinstance(message, FundingPayment) else message.filled_at


_ADAPTER: TypeAdapter[VenueState] = TypeAdapter(VenueState)
