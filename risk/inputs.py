"""What the gate judges and what it answers, and the record of both as JSON.

Plain frozen values, taken as they come: nothing here checks a number, a broken one is the gate's to refuse. Notional
and money in USD, sizes in contracts, every rate and `*_pct` a fraction, times aware. Written as JSON, a Decimal is text
and a time ISO 8601; read back they are what was written, NaN included, so that a proposal can be judged once more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, TypedDict, Unpack, get_args, get_origin

from risk.limits import Limits

Action = Literal["OPEN_LONG", "OPEN_SHORT", "ADD", "REDUCE", "CLOSE", "HOLD"]
Direction = Literal["LONG", "SHORT"]
RuleVerdict = Literal["pass", "warn", "shrink", "reject", "halt"]
Outcome = Literal["approved", "halted", "cooldown", "size_too_small", "gate_rejected"]

OPENINGS = ("OPEN_LONG", "OPEN_SHORT")
EXITS = ("CLOSE", "REDUCE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What the model wants, with the snapshot's prices. `size_pct` is notional / equity: the position's on OPEN, the
    increment on ADD, the notional removed on REDUCE; CLOSE and HOLD need none. Exits are market orders."""

    action: Action
    symbol: str
    size_pct: Decimal
    order_type: Literal["market", "limit"]
    limit_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    leverage: Decimal = Decimal(1)
    snapshot_price: Decimal
    bid: Decimal
    ask: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account's money."""

    equity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """An open position; `size` and `notional_usd` are positive in both directions."""

    symbol: str
    direction: Direction
    size: Decimal
    notional_usd: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOrder:
    """An order that may still fill: pending, working or unknown. Unless reduce-only it reserves its notional."""

    symbol: str
    direction: Direction
    action: Action
    notional_usd: Decimal
    reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A reason why nothing may be opened. Only a `daily_loss` halt ends by itself, at `until`."""

    kind: str
    reason: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskState:
    """What the account remembers. `*_net_transfers` are deposits less withdrawals since that equity was taken."""

    day_start_equity: Decimal
    day_net_transfers: Decimal
    peak_equity: Decimal
    peak_net_transfers: Decimal
    loss_streak: int
    cooldown_until: datetime | None
    halts: tuple[Halt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Contract terms of a linear perpetual swap: base coin a contract, steps of size and price."""

    symbol: str
    ct_val: Decimal
    lot_size: Decimal
    min_size: Decimal
    tick_size: Decimal


class Inputs(TypedDict):
    """Everything that a verdict depends on: the arguments of `evaluate`. `correlations` has Pearson's r of the
    proposal's instrument with every other one that is held or about to be; None or absent means not known."""

    proposal: Proposal
    account: Account
    positions: tuple[Position, ...]
    pending: tuple[PendingOrder, ...]
    state: RiskState
    correlations: Mapping[str, Decimal | None]
    instrument: Instrument
    limits: Limits
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one rule found: the measured value and its limit (None where there is no number) and a plain sentence."""

    rule: str
    measured: str | None
    limit: str | None
    verdict: RuleVerdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be sent. `contracts` is 0 when refused and for HOLD. `size_pct` (after shrinking) and the prices (on the
    tick) are of an approved OPEN or ADD, else zero and None: a REDUCE keeps the position's stop and target. `new_halts`
    are the (kind, reason) pairs that were found now and do not stand yet."""

    approved: bool
    results: tuple[RuleResult, ...]
    contracts: Decimal
    size_pct: Decimal
    leverage: Decimal
    limit_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    reduce_only: bool
    outcome: Outcome
    new_halts: tuple[tuple[str, str], ...]

    @property
    def refusals(self) -> tuple[RuleResult, ...]:
        """The results that speak against an order that was refused."""
        return () if self.approved else tuple(result for result in self.results if result.verdict in ("reject", "halt"))

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values, numbers as text."""
        return dict(encoded(self))


# --- the record: every input and output as JSON, and back -----------------------------------------------------------


def inputs_to_dict(**inputs: Unpack[Inputs]) -> dict[str, Any]:
    """The arguments of `evaluate` as JSON values; `inputs_from_dict` gives them back exactly, NaN included."""
    return {name: encoded(value) for name, value in inputs.items()}


def inputs_from_dict(stored: Mapping[str, Any]) -> Inputs:
    """The arguments for `evaluate` that `inputs_to_dict` wrote."""
    return Inputs(
        proposal=_decoded(Proposal, stored["proposal"]),
        account=_decoded(Account, stored["account"]),
        positions=_decoded(tuple[Position, ...], stored["positions"]),
        pending=_decoded(tuple[PendingOrder, ...], stored["pending"]),
        state=_decoded(RiskState, stored["state"]),
        correlations={symbol: _decoded(Decimal, value) for symbol, value in stored["correlations"].items()},
        instrument=_decoded(Instrument, stored["instrument"]),
        limits=Limits.from_dict(stored["limits"]),
        now=_decoded(datetime, stored["now"]),
    )


def encoded(value: Any) -> Any:
    """One of these values, or a part of it, as JSON values."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Limits):
        return value.as_dict()
    if is_dataclass(value):
        return {field.name: encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [encoded(item) for item in value]
    if isinstance(value, Mapping):
        return {name: encoded(item) for name, item in value.items()}
    return value


def _decoded(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(kind) is UnionType:
        return _decoded(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        return tuple(_decoded(get_args(kind)[0], item) for item in value)
    if is_dataclass(kind):
        return kind(**{field.name: _decoded(field.type, value[field.name]) for field in fields(kind)})  # type: ignore[operator]
    if kind is Decimal:
        return Decimal(value)
    return datetime.fromisoformat(value) if kind is datetime else value
