"""What the venue knows of the market: the newest quote of an instrument and the bar that led to it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import model_validator

from decisions.messages import (
    InstrumentSpecification,
    MarketSnapshot,
    Message,
    NotNegative,
    Number,
    Positive,
    Time,
)


@dataclass(frozen=True, slots=True)
class Quote:
    """An instrument's price at a moment of market time, and its contract terms."""

    symbol: str
    at: datetime
    price: Decimal
    mark_price: Decimal
    bid: Decimal
    ask: Decimal
    instrument: InstrumentSpecification

    @classmethod
    def of(cls, snapshot: MarketSnapshot) -> Self:
        return cls(
            symbol=snapshot.symbol,
            at=snapshot.timestamp,
            price=snapshot.price,
            mark_price=snapshot.mark_price,
            bid=snapshot.bid,
            ask=snapshot.ask,
            instrument=snapshot.instrument,
        )


class Funding(Message):
    """A funding settlement: who is long pays a positive rate."""

    rate: Number
    settles_at: Time


class Bar(Message):
    """A closed bar as it comes with a snapshot. `volume` is in base coin, null where it is not known; `funding` is set
    when a settlement falls on the bar's close."""

    open_at: Time
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: NotNegative | None
    funding: Funding | None = None

    @model_validator(mode="after")
    def _range_holds_its_ends(self) -> Self:
        if self.low > min(self.open, self.close) or self.high < max(self.open, self.close):
            raise ValueError(f"high {self.high} and low {self.low} do not hold open {self.open} and close {self.close}")
        return self

    @classmethod
    def point(cls, quote: Quote) -> Self:
        """The bar of a market service that sends none: a single price, of unknown volume, without funding."""
        return cls(
            open_at=quote.at, open=quote.price, high=quote.price, low=quote.price, close=quote.price, volume=None
        )
