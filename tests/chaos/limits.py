"""Exposure, position size and count, judged by the venue's ledger and the market's prices, with no part of the gate.

Every entry that the venue took is judged as it arrived: by the market's price of each instrument at that bar, and the
account's equity, against what was held and on its way then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tests.chaos.evidence import Event, Ledger

ENTRIES = ("OPEN_LONG", "OPEN_SHORT", "ADD")
ENDED = ("filled", "cancelled", "expired", "rejected")
MOST_POSITIONS, LARGEST, MOST_EXPOSURE, MOST_LEVERAGE = 3, Decimal("0.05"), Decimal("0.15"), Decimal(3)
SAME_BAR, OTHER_BAR = Decimal("1.001"), Decimal("1.01")
"""What a limit may seem to be passed by: the fee of another order in between; and, for an order that reached the venue
bars after it was judged, the move of the prices since."""
ZERO = Decimal(0)

Prices = Mapping[tuple[str, datetime], Decimal]


@dataclass(slots=True)
class Working:
    """An entry that may still fill: what is left of it, valued at the higher of limit and price."""

    symbol: str
    left: Decimal
    price: Decimal


class Limits:
    """The ledger told again. `judged_at` is client order id -> the bar on which the order was decided."""

    def __init__(self, ledger: Ledger, prices: Prices, judged_at: Mapping[str, datetime]) -> None:
        self.ledger, self.prices, self.judged_at = ledger, prices, judged_at
        self.held: dict[str, Decimal] = {}
        self.working: dict[str, Working] = {}
        self.taken = {
            event.payload["client_order_id"] for event in ledger.of("fill") if event.payload["status"] != "rejected"
        }

    def breaches(self) -> Iterator[str]:
        for event in self.ledger.events:
            if event.kind == "order" and event.payload["action"] in ENTRIES:
                yield from self._arrives(event)
            elif event.kind == "fill":
                self._book(event)

    def _arrives(self, event: Event) -> Iterator[str]:
        order, name = event.payload, event.payload["client_order_id"]
        if name not in self.taken or event.arrival["price"] is None:
            return
        at, price = datetime.fromisoformat(event.arrival["market_at"]), Decimal(event.arrival["price"])
        entry = Working(order["symbol"], Decimal(order["size"]), max(price, Decimal(order["limit_price"] or 0)))
        self.working[name] = entry
        equity = Decimal(event.arrival["equity"])
        tolerated = SAME_BAR if self.judged_at.get(name) == at else OTHER_BAR
        own = self._value(entry.symbol, at)
        everything = sum((self._value(symbol, at) for symbol in self._instruments()), ZERO)
        if own > LARGEST * equity * tolerated:
            yield f"order {name}: {own / equity:.4%} in {entry.symbol}"
        if everything > MOST_EXPOSURE * equity * tolerated:
            yield f"order {name}: {everything / equity:.4%} exposed"
        if len(self._instruments()) > MOST_POSITIONS:
            yield f"order {name}: {len(self._instruments())} positions"
        if not ZERO < Decimal(order["leverage"]) <= MOST_LEVERAGE:
            yield f"order {name}: leverage {order['leverage']}"
        if order["stop_loss"] is None:
            yield f"order {name}: without a stop"

    def _instruments(self) -> set[str]:
        return {*self.held, *(entry.symbol for entry in self.working.values())}

    def _value(self, symbol: str, at: datetime) -> Decimal:
        """USD of what is held and on its way in the instrument."""
        ct_val = self.ledger.contract(symbol)
        waiting = (entry.left * entry.price for entry in self.working.values() if entry.symbol == symbol)
        return ct_val * (self.held.get(symbol, ZERO) * self.prices[symbol, at] + sum(waiting, ZERO))

    def _book(self, event: Event) -> None:
        name, symbol = event.payload["client_order_id"], event.payload["symbol"]
        size = event.amount("fill_size") if event.executed else ZERO
        entering = event.payload["intent"] in ("open", "add")
        if name in self.working:
            self.working[name].left -= size
            if event.payload["status"] in ENDED:
                del self.working[name]
        self.held[symbol] = self.held.get(symbol, ZERO) + (size if entering else -size)
        if not self.held[symbol]:
            del self.held[symbol]
