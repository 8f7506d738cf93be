"""Trades told again from the venue's ledger alone, and held against the record's, figure by figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.chaos.evidence import Event, Ledger, Row

ZERO = Decimal(0)
PRICE_STEP = Decimal("1e-8")
CENT_OF_A_CENT = Decimal("0.0001")


@dataclass(slots=True)
class Course:
    """One position from its first contract to its last. Money in USD, sizes in contracts."""

    symbol: str
    direction: str
    ct_val: Decimal
    opened_at: datetime
    size: Decimal = ZERO
    open_size: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_value: Decimal = ZERO
    gross: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    closed_at: datetime | None = None

    def book(self, event: Event) -> None:
        size, value = event.amount("fill_size"), event.amount("fill_size") * event.amount("fill_price") * self.ct_val
        self.fees += event.amount("fee_usd").quantize(CENT_OF_A_CENT)
        if event.payload["intent"] in ("open", "add"):
            self.size, self.open_size = self.size + size, self.open_size + size
            self.entry_value += value
            return
        self.open_size -= size
        self.exit_value += value
        self.gross += event.amount("pnl_usd").quantize(CENT_OF_A_CENT)
        if not self.open_size:
            self.closed_at = _time(event.payload["filled_at"])

    def figures(self) -> dict[str, Any]:
        """By the names of the record's columns."""
        closed = self.closed_at is not None
        left = self.size - self.open_size
        return {
            "direction": self.direction, "size": self.size, "open_size": self.open_size,
            "status": "closed" if closed else "open", "opened_at": self.opened_at, "closed_at": self.closed_at,
            "entry_price": (self.entry_value / (self.size * self.ct_val)).quantize(PRICE_STEP),
            "exit_price": (self.exit_value / (left * self.ct_val)).quantize(PRICE_STEP) if left else None,
            "gross_pnl_usd": self.gross, "fees_usd": self.fees, "funding_usd": self.funding,
            "pnl_usd": self.gross - self.fees + self.funding if closed else None,
        }  # fmt: skip


def courses(ledger: Ledger) -> list[Course]:
    """Every position that the venue ever held, by its opening."""
    found: list[Course] = []
    held: dict[str, Course] = {}
    for event in ledger.events:
        symbol = event.payload["symbol"]
        if event.kind == "funding":
            held[symbol].funding += event.amount("amount_usd").quantize(CENT_OF_A_CENT)
        if not event.executed:
            continue
        if symbol not in held:
            direction = "LONG" if event.payload["pos_side"] == "long" else "SHORT"
            held[symbol] = Course(symbol, direction, ledger.contract(symbol), _time(event.payload["filled_at"]))
            found.append(held[symbol])
        held[symbol].book(event)
        if not held[symbol].open_size:
            del held[symbol]
    return found


def compare(ledger: Ledger, trades: Sequence[Row]) -> Iterator[str]:
    """Where the record's trades differ from what the venue executed."""
    told = courses(ledger)
    for symbol in sorted({*(course.symbol for course in told), *(trade["symbol"] for trade in trades)}):
        theirs = [course for course in told if course.symbol == symbol]
        ours = sorted((row for row in trades if row["symbol"] == symbol), key=lambda row: (row["opened_at"], row["id"]))
        if len(theirs) != len(ours):
            yield f"{symbol}: {len(ours)} trades in the record, {len(theirs)} positions at the venue"
        for course, trade in zip(theirs, ours, strict=False):
            for name, figure in course.figures().items():
                if trade[name] != figure:
                    yield f"{symbol} trade {trade['id']}: {name} is {trade[name]}, the ledger says {figure}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
