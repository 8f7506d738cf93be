"""The wire: every message on the streams as a frozen value, and the envelope around it.

An entry of a stream has the six fields `msg_id, timestamp, source, type, payload, metadata`; the last two are JSON
text. Reading also accepts one field `data` that holds the whole envelope as JSON. Decimals travel as strings, times
as ISO 8601 with `Z`. Keys we do not know are ignored here; the raw entry keeps them.

`decode` turns an entry into an `Envelope`, `parse` an envelope into one of the messages below. Both raise `BadMessage`
with a reason that a person can act on, and nothing else, whatever the bytes are.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

MARKET_SNAPSHOTS = "market:snapshots"
MARKET_ALERTS = "market:alerts"
TRADE_ORDERS = "trade:orders"
TRADE_FILLS = "trade:fills"
TRADE_POSITIONS = "trade:positions"
OPUS_DECISIONS = "opus:decisions"
SYSTEM_ALERTS = "system:alerts"

SMALLEST = Decimal("0.00000001")

LONGEST_ENTRY = 768 * 1024
"""Bytes. The largest honest message, a position update with 500 bytes for each fill of a day, has room for 1,500."""


Model = TypeVar("Model", bound=BaseModel)


class BadMessage(ValueError):
    """An entry that cannot be understood. The text says why; the entry belongs in the dead letters."""


def _plain_number(value: Any) -> Any:
    """Refuse what pydantic would take for a number though no sender means it: true and false."""
    if isinstance(value, bool):
        raise ValueError("a number was expected, not a boolean")
    return value


def _time_of_day(value: Any) -> Any:
    """Refuse what pydantic would take for a moment though no sender means it: Unix seconds, as number or text."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and ":" in value):
        raise ValueError("a time as ISO 8601 text was expected")
    return value


def _holdable(value: Decimal) -> Decimal:
    """Refuse what would be zero, or grow, in a `numeric(20, 8)` column."""
    if value < SMALLEST:
        raise ValueError(f"less than {SMALLEST:f} cannot be kept")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error


def _plain_text(value: Decimal) -> str:
    return format(value, "f")


def _zulu(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Unbounded = Annotated[
    Decimal,
    BeforeValidator(_plain_number),
    Field(max_digits=38),
    PlainSerializer(_plain_text, return_type=str),
]
Number = Annotated[Unbounded, Field(gt=-(10**12), lt=10**12)]
"""What a `numeric(20, 8)` column holds."""
Positive = Annotated[Number, Field(gt=0), AfterValidator(_holdable)]
NotNegative = Annotated[Number, Field(ge=0)]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_time_of_day),
    AfterValidator(_in_utc),
    PlainSerializer(_zulu, return_type=str),
]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)+$", max_length=30)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Reading = Annotated[float, BeforeValidator(_plain_number), Field(allow_inf_nan=False)]
"""An indicator's value: not money, so a float."""

PositionSide = Literal["long", "short"]
Side = Literal["buy", "sell"]
Action = Literal["OPEN_LONG", "OPEN_SHORT", "CLOSE", "ADD", "REDUCE", "HOLD"]
OrderType = Literal["market", "limit"]
Intent = Literal["open", "add", "reduce", "close"]
Regime = Literal["trending_up", "trending_down", "ranging", "volatile"]
ExitReason = Literal["take_profit", "stop_loss", "liquidation", "manual", "trailing_stop", "signal"]
FillStatus = Literal["accepted", "partially_filled", "filled", "rejected", "cancelled", "expired"]
Severity = Literal["INFO", "WARN", "CRITICAL"]


class Message(BaseModel):
    """A payload: immutable, unknown keys ignored, every key without a default required."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


# --- the market ---------------------------------------------------------------------------------------------------


class InstrumentSpecification(Message):
    """Contract terms of a linear perpetual swap. `ct_val` is base coin a contract, sizes are in contracts."""

    ct_val: Positive
    lot_size: Positive
    min_size: Positive
    tick_size: Annotated[Number, Field(gt=0)]


class Indicators(Message):
    """Indicators of one timeframe, from closed bars only; null while the warm-up lasts."""

    rsi_14: Annotated[Reading, Field(ge=0, le=100)] | None
    macd: Reading | None
    macd_signal: Reading | None
    macd_hist: Reading | None
    adx_14: Annotated[Reading, Field(ge=0, le=100)] | None
    atr_14: Annotated[Reading, Field(ge=0)] | None
    bb_upper: Reading | None
    bb_middle: Reading | None
    bb_lower: Reading | None
    bb_position: Reading | None
    ema_20: Reading | None
    ema_50: Reading | None
    ema_200: Reading | None
    ema_alignment: Literal["bullish", "bearish", "mixed"] | None


class Timeframes(Message):
    """The indicators of the three timeframes a decision looks at."""

    m15: Indicators = Field(alias="15m")
    h1: Indicators = Field(alias="1H")
    h4: Indicators = Field(alias="4H")


class MarketSnapshot(Message):
    """`market_snapshot`: one instrument at one moment. Prices in quote currency, changes and rates as fractions,
    `volume_24h` in base coin, `open_interest` in USD."""

    symbol: Symbol
    timestamp: Time
    price: Positive
    mark_price: Positive
    bid: Positive
    ask: Positive
    change_24h: Number | None
    price_change_1h: Number | None
    volume_24h: Annotated[Unbounded, Field(ge=0)] | None
    volume_vs_avg: NotNegative | None
    funding_rate: Number | None
    next_funding_at: Time | None
    open_interest: Annotated[Unbounded, Field(ge=0)] | None
    oi_change_4h: Number | None
    regime: Regime | None
    indicators: Timeframes
    instrument: InstrumentSpecification

    @model_validator(mode="after")
    def _book_is_not_crossed(self) -> "MarketSnapshot":
        if self.bid > self.ask:
            raise ValueError(f"bid {self.bid} is above ask {self.ask}")
        return self


class MarketAlert(Message):
    """`market_alert`: something unusual the market data service saw."""

    symbol: Symbol
    kind: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    severity: Severity
    detail: Annotated[str, StringConstraints(max_length=2000)]
    value: Number | None


# --- orders -------------------------------------------------------------------------------------------------------


class TradeOrder(Message):
    """`trade_order`: what the trade server is asked to do. `size` in contracts; `expires_at` is wall time for market
    orders and market time for limit orders."""

    action: Literal["OPEN_LONG", "OPEN_SHORT", "CLOSE", "ADD", "REDUCE"]
    symbol: Symbol
    side: Side
    pos_side: PositionSide
    order_type: OrderType
    size: Positive
    limit_price: Positive | None
    stop_loss: Positive | None
    take_profit: Positive | None
    leverage: Positive
    strategy_used: str | None
    confidence: float | None
    reasoning: str
    decision_id: str
    reduce_only: bool
    client_order_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,32}$")]
    expires_at: Time


class TradeCancel(Message):
    """`trade_cancel`: withdraw a resting limit order."""

    client_order_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,32}$")]
    symbol: Symbol
    reason: str


class TradeFill(Message):
    """`trade_fill`: what became of an order, or an exit that the venue made by itself (`decision_id` null).

    `fill_size` is this fill's, `cumulative_size` the order's so far, both in contracts; `fee_usd` is a cost when
    positive; `pnl_usd` is gross, of this fill, on reduce and close.
    """

    fill_id: Identifier
    decision_id: Identifier | None
    client_order_id: Identifier | None
    order_id: Identifier | None
    algo_id: Identifier | None
    symbol: Symbol
    pos_side: PositionSide
    side: Side
    intent: Intent
    status: FillStatus
    fill_price: Positive | None
    fill_size: Positive | None
    fee_usd: Number | None
    pnl_usd: Number | None
    cumulative_size: NotNegative | None
    exit_reason: ExitReason | None
    stop_confirmed: StrictBool | None
    reject_reason: str | None
    filled_at: Time

    @property
    def executed(self) -> bool:
        """Whether contracts changed hands."""
        return self.status in ("partially_filled", "filled")

    @model_validator(mode="after")
    def _an_execution_has_its_figures(self) -> "TradeFill":
        if not self.executed:
            return self
        needed = ["fill_price", "fill_size", "fee_usd", "cumulative_size"]
        if self.intent in ("reduce", "close"):
            needed.append("pnl_usd")
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.status} without {', '.join(missing)}")
        return self


class FundingPayment(Message):
    """`funding_payment`: received when `amount_usd` is positive, paid when negative."""

    funding_id: Identifier
    symbol: Symbol
    pos_side: PositionSide
    amount_usd: Number
    rate: Number
    paid_at: Time


class Position(Message):
    """An open position as the venue sees it. `size` in contracts, always positive."""

    symbol: Symbol
    pos_side: PositionSide
    size: Positive
    entry_price: Positive
    mark_price: Positive
    notional_usd: NotNegative
    unrealized_pnl: Number
    leverage: Positive
    margin_usd: NotNegative
    liquidation_price: NotNegative | None
    stop_loss: Positive | None
    take_profit: Positive | None
    opened_at: Time


class AccountState(Message):
    """The account's money in USD. `net_transfers_usd` is deposits less withdrawals since the account began."""

    equity: Number
    available: Number
    margin_used: NotNegative
    unrealized_pnl: Number
    net_transfers_usd: Number


class OpenOrder(Message):
    """A limit order that rests at the venue."""

    client_order_id: Identifier | None
    order_id: Identifier
    symbol: Symbol
    pos_side: PositionSide
    side: Side
    size: Positive
    filled_size: NotNegative
    limit_price: Positive
    expires_at: Time | None


Recent = TradeFill | FundingPayment


def read_recent(told: Iterable[Any]) -> tuple[tuple[Recent, ...], tuple[str, ...]]:
    """The executions and payments among what was told, in its order, and what is wrong with each of the others."""
    read: list[Recent] = []
    faults = []
    for place, each in enumerate(told):
        try:
            read.append(_read_one(each))
        except ValidationError as error:
            name = each.get("fill_id", each.get("funding_id")) if isinstance(each, Mapping) else None
            faults.append(f"number {place + 1}, {name!r:.80}: {first_faults(error, 'value')}")
    return tuple(read), tuple(faults)


def _read_one(told: Any) -> Recent:
    if isinstance(told, FundingPayment) or (isinstance(told, Mapping) and "funding_id" in told):
        return FundingPayment.model_validate(told)
    return TradeFill.model_validate(told)


class PositionUpdate(Message):
    """`position_update`: the whole account at `as_of`, with the executions and funding of the last 24 hours.

    One of these that cannot be read does not cost us the update: what is wrong with it is among the `recent_faults`.
    """

    positions: tuple[Position, ...]
    account: AccountState
    open_orders: tuple[OpenOrder, ...]
    recent_fills: tuple[Recent, ...]
    recent_faults: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    as_of: Time

    @model_validator(mode="before")
    @classmethod
    def _read_recent_one_by_one(cls, value: Any) -> Any:
        told = value.get("recent_fills") if isinstance(value, Mapping) else None
        if not isinstance(told, (list, tuple)):
            return value
        read, faults = read_recent(told)
        return {**value, "recent_fills": read, "recent_faults": faults}


# --- people, and what we tell them ----------------------------------------------------------------------------------


class SystemCommand(Message):
    """`system_command`: what a person asks through the UI."""

    command: Literal["halt", "resume", "research", "config"]
    args: dict[str, Any]
    issued_by: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    issued_at: Time


class SystemAlert(Message):
    """`system_alert`: what a person should know."""

    severity: Severity
    category: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    detail: str
    action_taken: str


class OpusDecision(Message):
    """`opus_decision`: each analysed cycle, for those who watch."""

    action: Action
    symbol: Symbol
    confidence: float
    market_regime: str
    bias: str
    strategy_used: str
    reasoning: str
    risk_approved: bool | None
    screener_signal: bool | None


TYPES: Mapping[str, type[Message]] = {
    "market_snapshot": MarketSnapshot,
    "market_alert": MarketAlert,
    "trade_order": TradeOrder,
    "trade_cancel": TradeCancel,
    "trade_fill": TradeFill,
    "funding_payment": FundingPayment,
    "position_update": PositionUpdate,
    "system_command": SystemCommand,
    "system_alert": SystemAlert,
    "opus_decision": OpusDecision,
}
TYPE_NAMES: Mapping[type[Message], str] = {model: name for name, model in TYPES.items()}

EXPECTED: Mapping[str, tuple[str, ...]] = {
    MARKET_SNAPSHOTS: ("market_snapshot",),
    MARKET_ALERTS: ("market_alert",),
    TRADE_ORDERS: ("trade_order", "trade_cancel"),
    TRADE_FILLS: ("trade_fill", "funding_payment"),
    TRADE_POSITIONS: ("position_update",),
    OPUS_DECISIONS: ("opus_decision",),
    SYSTEM_ALERTS: ("system_command", "system_alert"),
}
"""The message types that each stream carries."""


class Envelope(BaseModel):
    """The six members around every payload."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    msg_id: Identifier
    timestamp: Time
    source: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    type: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    payload: dict[str, Any]
    metadata: dict[str, Any] = Field(default_factory=dict)


def wrap(
    message: Message, *, msg_id: str, source: str, now: datetime, metadata: Mapping[str, Any] | None = None
) -> Envelope:
    """The envelope of a message we send."""
    return Envelope(
        msg_id=msg_id,
        timestamp=now,
        source=source,
        type=TYPE_NAMES[type(message)],
        payload=message.model_dump(mode="json", by_alias=True),
        metadata=dict(metadata or {}),
    )


def encode(envelope: Envelope) -> dict[str, str]:
    """The fields of the stream entry that carries the envelope."""
    return {
        "msg_id": envelope.msg_id,
        "timestamp": _zulu(envelope.timestamp),
        "source": envelope.source,
        "type": envelope.type,
        "payload": json.dumps(envelope.payload, separators=(",", ":")),
        "metadata": json.dumps(envelope.metadata, separators=(",", ":")),
    }


def decode(fields: Mapping[bytes, bytes]) -> Envelope:
    """The envelope in an entry's raw fields. Raises `BadMessage`."""
    size = sum(len(key) + len(value) for key, value in fields.items())
    if size > LONGEST_ENTRY:
        raise BadMessage(f"entry of {size} bytes, at most {LONGEST_ENTRY} are read")
    try:
        text = {key.decode(): value.decode() for key, value in fields.items()}
    except UnicodeDecodeError as error:
        raise BadMessage(f"not UTF-8: {error.reason}") from error
    if "data" in text:
        members = _json(text["data"], "data")
    else:
        members = {**text}
        for name in ("payload", "metadata"):
            if name in members:
                members[name] = _json(members[name] or "{}", name)
    return _validated(Envelope, members, "envelope")


def parse(stream: str, envelope: Envelope) -> Message:
    """The message in an envelope that was read from `stream`. Raises `BadMessage`."""
    if envelope.type not in EXPECTED[stream]:
        raise BadMessage(
            f"type {envelope.type!r} does not belong on {stream}: expected {' or '.join(EXPECTED[stream])}"
        )
    return _validated(TYPES[envelope.type], envelope.payload, envelope.type)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise BadMessage(f"{name} is not JSON: {error}") from error


def refuse_constant(name: str) -> NoReturn:
    """For `json.loads`: NaN and the infinities are JSON to Python alone."""
    raise ValueError(f"{name} is not a number")


def _validated(model: type[Model], value: Any, name: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadMessage(f"{name}: {first_faults(error, 'value')}") from error


def first_faults(error: ValidationError, whole: str, most: int = 5) -> str:
    """The first faults in a line, without the input itself: that is kept whole beside the reason. `whole` names what
    was read, for a fault of no field in particular."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(str(part) for part in fault['loc']) or whole}: {fault['msg']}" for fault in faults[:most]]
    if len(faults) > most:
        told.append(f"and {len(faults) - most} more")
    return "; ".join(told)
