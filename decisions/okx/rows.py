"""What OKX answers, read strictly: an answer is understood whole or refused whole, and asked for again. Pure.

Every answer is `{"code": "0", "msg": "", "data": [...]}`; a mistake comes with another code, often under HTTP 200.
Numbers are text, times milliseconds since the Unix epoch as text, and what there is none of is an empty text.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from decisions.bars import Bar, fault_of, time_of
from decisions.messages import (
    InstrumentSpecification,
    Number,
    Positive,
    Unbounded,
    first_faults,
    refuse_constant,
)

OK = "0"
NO_SUCH_INSTRUMENT = "51001"
PASSING_CODES: Mapping[str, int] = {"50011": 429, "50001": 503, "50004": 503, "50013": 503, "50026": 503}
"""Codes of mistakes that pass, with the HTTP status that says the same: asked too often, or a system that is busy."""
BAD_REQUEST, NOT_FOUND = 400, 404
CANDLE_CELLS = 9
LONGEST_TOLD = 200


class OkxError(Exception):
    """Why there is nothing from OKX. `status` is that of HTTP, or the one that says the same; None: no answer."""

    def __init__(self, text: str, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers: Mapping[str, str] = headers or {}


class NoAnswer(OkxError):
    """OKX could not be reached, or did not answer as it should."""


class Unreadable(OkxError):
    """An answer that cannot be what was asked for."""


class Refused(OkxError):
    """OKX says that it will not."""


class NotTraded(OkxError):
    """The instrument cannot be traded: it does not exist, is suspended, or is of a kind that we do not know."""


Row = TypeVar("Row", bound="OkxRow")


def _moment(value: Any) -> datetime:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 14:
        raise ValueError("milliseconds since 1970 as text were expected")
    return time_of(int(value))


def _nothing(value: Any) -> Any:
    return None if value == "" else value


Moment = Annotated[datetime, BeforeValidator(_moment)]


class OkxRow(BaseModel):
    """One row of `data`. Unknown keys are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    symbol: str = Field(alias="instId")


class Ticker(OkxRow):
    at: Moment = Field(alias="ts")
    last: Positive
    bid: Positive = Field(alias="bidPx")
    ask: Positive = Field(alias="askPx")

    @model_validator(mode="after")
    def _book_is_not_crossed(self) -> Self:
        if self.bid > self.ask:
            raise ValueError(f"bid {self.bid} is above ask {self.ask}")
        return self


class MarkPrice(OkxRow):
    price: Positive = Field(alias="markPx")


class OpenInterest(OkxRow):
    """`usd` is the notional of all open contracts."""

    at: Moment = Field(alias="ts")
    usd: Annotated[Unbounded, Field(ge=0)] = Field(alias="oiUsd")


class FundingRate(OkxRow):
    """`rate` is what is to be paid at `next_at`; `settled_rate` was paid the last time."""

    rate: Number = Field(alias="fundingRate")
    next_at: Moment = Field(alias="fundingTime")
    settled_rate: Annotated[Number | None, BeforeValidator(_nothing)] = Field(alias="settFundingRate", default=None)


class Instrument(OkxRow):
    ct_val: Positive = Field(alias="ctVal")
    ct_mult: Positive = Field(alias="ctMult", default=Decimal(1))
    lot_size: Positive = Field(alias="lotSz")
    min_size: Positive = Field(alias="minSz")
    tick_size: Positive = Field(alias="tickSz")
    state: str = "live"
    kind: str = Field(alias="ctType", default="linear")

    def terms(self) -> InstrumentSpecification:
        """The contract's terms. Raises `NotTraded`."""
        if self.kind != "linear":
            raise NotTraded(
                f"{self.symbol} is a contract of the kind {self.kind!r}; only linear ones, settled in USDT or USDC, "
                "can be traded: take it out of INSTRUMENTS",
                NOT_FOUND,
            )
        if self.state != "live":
            raise NotTraded(
                f"{self.symbol} is not traded at OKX now (its state is {self.state!r}): wait until it is, or take it "
                "out of INSTRUMENTS",
                NOT_FOUND,
            )
        return InstrumentSpecification(
            ct_val=self.ct_val * self.ct_mult,
            lot_size=self.lot_size,
            min_size=self.min_size,
            tick_size=self.tick_size,
        )


class Candle(NamedTuple):
    """A closed candle with its exact figures; volume in base coin."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def as_bar(self) -> Bar:
        return Bar(self.open_ms, *(float(figure) for figure in self[1:]))


def data_in(body: bytes, symbol: str = "") -> list[Any]:
    """The rows of an answer. Raises `Unreadable`, `Refused`, or `NotTraded` where there is no such instrument."""
    try:
        answer = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the answer is not JSON: {str(error)[:LONGEST_TOLD]}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("code"), str):
        raise Unreadable("the answer has no code")
    code, said = answer["code"], " ".join(str(answer.get("msg", "")).split())[:LONGEST_TOLD]
    if code == NO_SUCH_INSTRUMENT:
        raise no_such_instrument(symbol)
    if code != OK:
        raise Refused(f"code {code}: {said or 'without a reason'}", PASSING_CODES.get(code, BAD_REQUEST))
    if not isinstance(answer.get("data"), list):
        raise Unreadable("the answer has no list of data")
    return list(answer["data"])


def no_such_instrument(symbol: str) -> NotTraded:
    return NotTraded(
        f"OKX has no swap {symbol}: correct its name in INSTRUMENTS (like BTC-USDT-SWAP), or take it out", NOT_FOUND
    )


def only_row(model: type[Row], rows: Sequence[Any], symbol: str) -> Row:
    """The single row there has to be, about `symbol`. Raises `Unreadable`."""
    if len(rows) != 1:
        raise Unreadable(f"{model.__name__}: {len(rows)} rows about one instrument")
    try:
        row = model.model_validate(rows[0])
    except ValidationError as error:
        raise Unreadable(f"{model.__name__}: {first_faults(error, 'row')}") from None
    if row.symbol != symbol:
        raise Unreadable(f"{model.__name__}: asked about {symbol}, the answer is about {row.symbol[:40]!r}")
    return row


def server_time(rows: Sequence[Any]) -> datetime:
    """What time it is at OKX. Raises `Unreadable`."""
    try:
        return _moment(rows[0]["ts"])
    except (LookupError, TypeError, ValueError):
        raise Unreadable("the answer tells no time") from None


def closed_candles(rows: Sequence[Any], seconds: int) -> list[Candle]:
    """The closed candles of `seconds` length among the rows, newest first as they are told; the forming one is left
    out. Raises `Unreadable` for a row that cannot be true, whichever it is, and for one that is out of place."""
    found = [_candle(row, seconds) for row in rows]
    times = [candle.open_ms for candle, _ in found]
    if times != sorted(set(times), reverse=True):
        raise Unreadable("candles: not newest first, or one of them twice")
    closed = [candle for candle, is_closed in found if is_closed]
    if [is_closed for _, is_closed in found] != [False] * (len(found) - len(closed)) + [True] * len(closed):
        raise Unreadable("candles: one that is not closed lies between others")
    return closed


def _candle(row: Any, seconds: int) -> tuple[Candle, bool]:
    try:
        opened, first, high, low, last, _, volume, _, confirm = row
        open_ms = round(_moment(opened).timestamp() * 1000)
        candle = Candle(open_ms, *(_figure(cell) for cell in (first, high, low, last, volume)))
    except (TypeError, ValueError, InvalidOperation):
        raise Unreadable(f"candles: {str(row)[:LONGEST_TOLD]} is not a candle of {CANDLE_CELLS} texts") from None
    fault = fault_of(candle.as_bar())
    if open_ms % (seconds * 1000):
        fault = "it does not open where a bar of its length does, counted in UTC"
    if confirm not in ("0", "1"):
        fault = f"confirm is {confirm!r:.20}"
    if fault:
        raise Unreadable(f"candles: {time_of(open_ms):%Y-%m-%d %H:%M}: {fault}")
    return candle, confirm == "1"


def _figure(cell: Any) -> Decimal:
    if not isinstance(cell, str):
        raise TypeError("a number as text was expected")
    return Decimal(cell)
