"""The risk gate: the model proposes, these rules dispose. They only shrink or refuse, and no text can talk them round.

`evaluate` judges one proposal by every rule in `RULES`; none short-circuits another, none raises, whatever the numbers.
`account_halts` asks the two account rules alone, for every account update. Both are pure: no clock, no query, no state.

Notional and money in USD, sizes in contracts, every rate and `*_pct` a fraction. What cannot be measured (NaN, an
infinity, a negative size, a missing price) travels through the arithmetic as NaN, and a rule lets pass only what it has
found inside its limit, so the unmeasurable is refused. Exits are the exception by intent: only `well_formed` and
`min_size` can refuse a CLOSE or REDUCE, no halt, loss or broken account figure does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from decimal import Context, Decimal, localcontext
from types import UnionType
from typing import Any, Literal, TypedDict, Unpack, get_args, get_origin

from risk import sizing
from risk.limits import Limits

Action = Literal["OPEN_LONG", "OPEN_SHORT", "ADD", "REDUCE", "CLOSE", "HOLD"]
Direction = Literal["LONG", "SHORT"]
RuleVerdict = Literal["pass", "warn", "shrink", "reject", "halt"]
Outcome = Literal["approved", "halted", "cooldown", "size_too_small", "gate_rejected"]

DAILY_LOSS = "daily_loss"
DRAWDOWN = "drawdown"
WARN_SHARE = Decimal("0.8")
"""The share of the daily-loss and drawdown limits from which on a warning is given."""
LIMIT_PRICE_BAND = Decimal("0.01")
"""How far a limit price may lie from the snapshot's price, as a fraction of it."""

_OPENINGS = ("OPEN_LONG", "OPEN_SHORT")
_EXITS = ("CLOSE", "REDUCE")
_QUIET = Context(prec=100, traps=[])
_READABLE = Context(prec=12, traps=[])
_SPOKEN = Context(prec=6, traps=[])
_ZERO = Decimal(0)
_ONE = Decimal(1)
_HALF = Decimal("0.5")
_NAN = Decimal("NaN")
_INFINITY = Decimal("Infinity")
_SIGNS = {"LONG": _ONE, "SHORT": -_ONE}


# --- what is judged, and by what ------------------------------------------------------------------------------------


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
    leverage: Decimal = _ONE
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
        return dict(_encoded(self))


# --- one case: what several rules need, worked out once -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prices:
    """Entry, stop and target of an opening; NaN where there is none."""

    entry: Decimal
    stop: Decimal
    target: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A proposal, all it is judged by, and the figures that more than one rule needs.

    `held` is what is open, or will be when the pending openings fill; `sign` is 1 for long and -1 for short. Prices are
    judged twice, as asked for and as they would be sent, on the tick; both must hold. `requested` is the new notional
    before any shrinking. `relations` are (symbol, r x direction x direction) with all that is held elsewhere.
    `contracts` is what would be sent were nothing refused.
    """

    proposal: Proposal
    account: Account
    positions: tuple[Position, ...]
    pending: tuple[PendingOrder, ...]
    state: RiskState
    correlations: Mapping[str, Decimal | None]
    instrument: Instrument
    limits: Limits
    now: datetime
    position: Position | None
    held: tuple[Position | PendingOrder, ...]
    sign: Decimal
    equity: Decimal
    requested: Decimal
    asked: _Prices
    sent: _Prices
    relations: tuple[tuple[str, Decimal], ...]
    granted_pct: Decimal
    contracts: Decimal

    @property
    def opens(self) -> bool:
        return self.proposal.action in _OPENINGS

    @property
    def adds_risk(self) -> bool:
        """An action nobody knows is judged like an opening, the stricter way."""
        return self.proposal.action not in _EXITS and self.proposal.action != "HOLD"

    @property
    def exit_in_flight(self) -> bool:
        return any(order.reduce_only and order.symbol == self.proposal.symbol for order in self.pending)


def direction_of(proposal: Proposal, positions: Iterable[Position]) -> Direction | None:
    """The side a proposal is about: its own when it opens, else the open position's; None when there is no such one."""
    if proposal.action == "OPEN_LONG":
        return "LONG"
    if proposal.action == "OPEN_SHORT":
        return "SHORT"
    position = _position(proposal.symbol, positions)
    return position.direction if position else None


def _position(symbol: str, positions: Iterable[Position]) -> Position | None:
    """The one position in an instrument. Two at once are not ours to tell apart: None."""
    here = [position for position in positions if position.symbol == symbol]
    return here[0] if len(here) == 1 else None


def _case(**inputs: Unpack[Inputs]) -> Case:
    proposal, positions, instrument = inputs["proposal"], inputs["positions"], inputs["instrument"]
    sign = _sign(direction_of(proposal, positions))
    equity = _positive(inputs["account"].equity)
    position = _position(proposal.symbol, positions)
    asked = _asked_prices(proposal)
    sent = _sent_prices(proposal, asked, sign, instrument.tick_size)
    held: tuple[Position | PendingOrder, ...] = (
        *positions,
        *(order for order in inputs["pending"] if not order.reduce_only),
    )
    relations = _relations(proposal.symbol, sign, held, inputs["correlations"])
    granted_pct = _positive(proposal.size_pct) * (_HALF if _too_alike(relations, inputs["limits"]) else _ONE)
    price = _highest(asked.entry, sent.entry, _positive(proposal.snapshot_price))
    return Case(
        **inputs,
        position=position,
        held=held,
        sign=sign,
        equity=equity,
        requested=_positive(proposal.size_pct) * equity,
        asked=asked,
        sent=sent,
        relations=relations,
        granted_pct=granted_pct,
        contracts=_contracts(proposal, position, granted_pct, equity, price, instrument),
    )


def _asked_prices(proposal: Proposal) -> _Prices:
    """Entry is the snapshot's price for a market order and the limit price for a limit order."""
    entries = {"market": proposal.snapshot_price, "limit": proposal.limit_price}
    return _Prices(
        _positive(entries.get(proposal.order_type)), _positive(proposal.stop_loss), _positive(proposal.take_profit)
    )


def _sent_prices(proposal: Proposal, asked: _Prices, sign: Decimal, tick_size: Decimal) -> _Prices:
    """Stop and target rounded towards the entry, a limit price away from the market, so that it stays passive."""
    entry = asked.entry
    if proposal.order_type == "limit":
        entry = _ticked(entry, tick_size, towards=_ZERO if sign > 0 else _INFINITY)
    return _Prices(entry, _ticked(asked.stop, tick_size, entry), _ticked(asked.target, tick_size, entry))


def _ticked(price: Decimal, tick_size: Decimal, towards: Decimal) -> Decimal:
    if price.is_nan() or towards.is_nan():
        return _NAN
    try:
        return sizing.round_to_tick(price, tick_size, towards)
    except ValueError:
        return _NAN


def _relations(
    symbol: str, sign: Decimal, held: Iterable[Position | PendingOrder], correlations: Mapping[str, Decimal | None]
) -> tuple[tuple[str, Decimal], ...]:
    """r x direction x direction with all that is held elsewhere, or will be when a pending opening fills."""
    elsewhere = dict.fromkeys((other.symbol, other.direction) for other in held if other.symbol != symbol)
    return tuple(
        (other, _coefficient(correlations.get(other)) * sign * _sign(direction)) for other, direction in elsewhere
    )


def _too_alike(relations: Iterable[tuple[str, Decimal]], limits: Limits) -> bool:
    """Above the limit, or not known."""
    return any(not relation <= limits.max_correlation for _, relation in relations)


def _contracts(
    proposal: Proposal,
    position: Position | None,
    granted_pct: Decimal,
    equity: Decimal,
    price: Decimal,
    instrument: Instrument,
) -> Decimal:
    open_size = _positive(position.size) if position else _NAN
    match proposal.action:
        case "HOLD":
            return _ZERO
        case "CLOSE":
            return open_size
        case "REDUCE":
            snapshot_price = _positive(proposal.snapshot_price)
            removed = _lots(_positive(proposal.size_pct), equity, snapshot_price, instrument)
            return _reduction(removed, open_size, instrument.min_size)
        case _:
            return _lots(granted_pct, equity, price, instrument)


def _reduction(removed: Decimal, open_size: Decimal, min_size: Decimal) -> Decimal:
    """Never more than is open; everything when the rest could not be traded, or when the part cannot be computed."""
    return removed if open_size - removed >= min_size else open_size


def _lots(size_pct: Decimal, equity: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    if size_pct.is_nan() or equity.is_nan() or price.is_nan():
        return _NAN
    try:
        return sizing.contracts(size_pct, equity, price, instrument.ct_val, instrument.lot_size)
    except ValueError:
        return _NAN


# --- numbers that may be missing or broken --------------------------------------------------------------------------


def _finite(value: Decimal) -> Decimal:
    return value if value.is_finite() else _NAN


def _positive(value: Decimal | None) -> Decimal:
    return value if value is not None and value.is_finite() and value > 0 else _NAN


def _coefficient(value: Decimal | None) -> Decimal:
    return _NAN if value is None else _finite(value)


def _sign(direction: str | None) -> Decimal:
    return _SIGNS.get(direction or "", _NAN)


def _total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum; NaN if one amount is negative or no finite number."""
    return sum((amount if amount.is_finite() and amount >= 0 else _NAN for amount in amounts), _ZERO)


def _highest(*values: Decimal) -> Decimal:
    return _NAN if any(value.is_nan() for value in values) else max(values)


def _lowest(*values: Decimal) -> Decimal:
    return _NAN if any(value.is_nan() for value in values) else min(values)


def _text(value: Decimal) -> str:
    """At most twelve significant digits, without an exponent where a person would not use one."""
    short = value.normalize(_READABLE)
    return format(short, "f") if short.is_finite() and -15 < short.adjusted() < 15 else str(short)


def _percent(value: Decimal) -> str:
    return f"{_text(_SPOKEN.plus(value * 100))} %"


def _over(until: datetime | None, now: datetime) -> bool:
    """Whether a moment has come. A time without a zone cannot be compared: it has not."""
    if until is None or until.tzinfo is None or now.tzinfo is None:
        return False
    return now >= until


# --- the rules ------------------------------------------------------------------------------------------------------


def _passed(rule: str, reason: str, measured: Decimal | None = None, limit: Decimal | None = None) -> RuleResult:
    return _found(rule, "pass", reason, measured, limit)


def _found(
    rule: str, verdict: RuleVerdict, reason: str, measured: Decimal | None = None, limit: Decimal | None = None
) -> RuleResult:
    known = None if measured is None or measured.is_nan() else _text(measured)
    bound = None if limit is None else _text(limit)
    return RuleResult(rule=rule, measured=known, limit=bound, verdict=verdict, reason=reason)


def _bounded(rule: str, holds: bool, measured: Decimal, limit: Decimal, sentence: str) -> RuleResult:
    """Pass when `holds`, else reject; `sentence` says what was measured."""
    reason = f"{rule} cannot be measured with these figures" if measured.is_nan() else sentence
    return _found(rule, "pass" if holds else "reject", reason, measured, limit)


def _not_asked(rule: str, case: Case) -> RuleResult:
    return _passed(rule, f"Not asked of {case.proposal.action}.")


def daily_loss(case: Case) -> RuleResult:
    """(equity - day start, net of transfers) / day start; halts at <= -limit, warns at <= -0.8 x limit."""
    return _never_blocking_an_exit(case, _daily_loss(case.account, case.state, case.limits))


def drawdown(case: Case) -> RuleResult:
    """(equity - peak, net of transfers) / peak; halts at <= -limit and at equity <= 0, warns at <= -0.8 x limit."""
    return _never_blocking_an_exit(case, _drawdown(case.account, case.state, case.limits))


def _never_blocking_an_exit(case: Case, result: RuleResult) -> RuleResult:
    """An account that cannot be measured opens nothing, but can always be left."""
    return result if case.adds_risk or result.verdict != "reject" else replace(result, verdict="warn")


def _daily_loss(account: Account, state: RiskState, limits: Limits) -> RuleResult:
    return _fall(
        DAILY_LOSS,
        f"since the day's start at {_text(state.day_start_equity)} USD",
        account.equity,
        state.day_start_equity,
        state.day_net_transfers,
        limits.max_daily_loss_pct,
    )


def _drawdown(account: Account, state: RiskState, limits: Limits) -> RuleResult:
    if account.equity.is_finite() and account.equity <= 0:
        reason = f"Equity is {_text(account.equity)} USD: nothing is left to trade with."
        return _found(DRAWDOWN, "halt", reason, None, -limits.max_drawdown_pct)
    return _fall(
        DRAWDOWN,
        f"since the peak of {_text(state.peak_equity)} USD",
        account.equity,
        state.peak_equity,
        state.peak_net_transfers,
        limits.max_drawdown_pct,
    )


def _fall(rule: str, since: str, equity: Decimal, reference: Decimal, transfers: Decimal, limit: Decimal) -> RuleResult:
    reference = _positive(reference)
    change = _finite(equity) - _finite(transfers) - reference
    furthest = -limit * reference
    if (change - furthest).is_nan():
        return _found(rule, "reject", f"{rule} cannot be measured with these figures", None, -limit)
    verdict: RuleVerdict = "pass"
    if change <= furthest * WARN_SHARE:
        verdict = "warn"
    if change <= furthest:
        verdict = "halt"
    measured = change / reference
    reason = f"Equity changed by {_percent(measured)} {since}; openings halt at {_percent(-limit)}."
    return _found(rule, verdict, reason, measured, -limit)


def cooldown(case: Case) -> RuleResult:
    """Refuses while now < the cooldown's end, and at loss streak >= limit."""
    if not case.adds_risk:
        return _not_asked("cooldown", case)
    until, streak, most = case.state.cooldown_until, case.state.loss_streak, case.limits.max_consecutive_losses
    cooling = until is not None and not _over(until, case.now)
    reason = (
        f"Cooling down until {_encoded(until)}." if cooling else f"{streak} losses in a row; {most} start a cooldown."
    )
    verdict: RuleVerdict = "reject" if cooling or streak >= most else "pass"
    return _found("cooldown", verdict, reason, Decimal(streak), Decimal(most))


def position_count(case: Case) -> RuleResult:
    """Open and pending positions before this one; refuses at >= limit. Asked of openings only."""
    if not case.adds_risk or case.proposal.action == "ADD":
        return _not_asked("position_count", case)
    taken = {(held.symbol, held.direction) for held in case.held}
    count, most = len(taken), case.limits.max_concurrent_positions
    sentence = f"{count} positions are open or pending; nothing is opened from {most} on."
    return _bounded("position_count", count < most, Decimal(count), Decimal(most), sentence)


def trade_size(case: Case) -> RuleResult:
    """Notional of the resulting position in this instrument, as requested, / equity; refuses at > limit."""
    if not case.adds_risk:
        return _not_asked("trade_size", case)
    here = [held.notional_usd for held in case.held if held.symbol == case.proposal.symbol]
    return _share_of_equity("trade_size", "The position", _total(here), case, case.limits.max_single_trade_pct)


def total_exposure(case: Case) -> RuleResult:
    """Notional of all that is open or pending plus the new, as requested, / equity; refuses at > limit."""
    if not case.adds_risk:
        return _not_asked("total_exposure", case)
    everywhere = [held.notional_usd for held in case.held]
    return _share_of_equity("total_exposure", "Exposure", _total(everywhere), case, case.limits.max_total_exposure_pct)


def _share_of_equity(rule: str, what: str, taken: Decimal, case: Case, limit: Decimal) -> RuleResult:
    notional = taken + case.requested
    measured = notional / case.equity
    sentence = f"{what} would be {_percent(measured)} of equity; at most {_percent(limit)} is allowed."
    return _bounded(rule, notional <= limit * case.equity, measured, limit, sentence)


def leverage(case: Case) -> RuleResult:
    """Capped to the limit at > limit."""
    if not case.adds_risk:
        return _not_asked("leverage", case)
    asked, most = _positive(case.proposal.leverage), case.limits.max_leverage
    if asked > most:
        return _found("leverage", "shrink", f"Leverage {_text(asked)} is capped to {_text(most)}.", asked, most)
    return _bounded("leverage", asked <= most, asked, most, f"Leverage is {_text(asked)}; at most {_text(most)}.")


def stop_loss(case: Case) -> RuleResult:
    """There is a stop above zero, below the entry of a long (stop < entry), above that of a short (stop > entry)."""
    if not case.adds_risk:
        return _not_asked("stop_loss", case)
    stop, entry = case.asked.stop, case.asked.entry
    holds = all((prices.entry - prices.stop) * case.sign > 0 for prices in (case.asked, case.sent))
    if case.proposal.stop_loss is None or case.proposal.stop_loss == 0:
        return _found("stop_loss", "reject", "There is no stop loss.", None, entry)
    sentence = f"The stop at {_text(stop)} is on the {'right' if holds else 'wrong'} side of the entry {_text(entry)}."
    return _bounded("stop_loss", holds, stop, entry, sentence)


def sl_distance(case: Case) -> RuleResult:
    """|entry - stop| / entry; refuses at > limit."""
    if not case.adds_risk:
        return _not_asked("sl_distance", case)
    both, limit = (case.asked, case.sent), case.limits.max_sl_distance_pct
    holds = all(abs(prices.entry - prices.stop) <= limit * prices.entry for prices in both)
    measured = _highest(*(abs(prices.entry - prices.stop) / prices.entry for prices in both))
    sentence = f"The stop is {_percent(measured)} from the entry; at most {_percent(limit)} is allowed."
    return _bounded("sl_distance", holds, measured, limit, sentence)


def rr_ratio(case: Case) -> RuleResult:
    """|target - entry| / |entry - stop|; refuses at < limit, and a target that is missing or not beyond the entry."""
    if not case.adds_risk:
        return _not_asked("rr_ratio", case)
    both, limit = (case.asked, case.sent), case.limits.min_rr_ratio
    rewards = [(prices.target - prices.entry) * case.sign for prices in both]
    risks = [_positive(abs(prices.entry - prices.stop)) for prices in both]
    if case.proposal.take_profit is None or not all(reward > 0 for reward in rewards):
        reason = "There is no take profit on the winning side of the entry."
        return _found("rr_ratio", "reject", reason, None, limit)
    holds = all(reward >= limit * risk for reward, risk in zip(rewards, risks, strict=True))
    measured = _lowest(*(reward / risk for reward, risk in zip(rewards, risks, strict=True)))
    sentence = f"Reward is {_text(_SPOKEN.plus(measured))} times the risk; at least {_text(limit)} times is needed."
    return _bounded("rr_ratio", holds, measured, limit, sentence)


def correlation(case: Case) -> RuleResult:
    """r x direction x direction with a position in another instrument; halves the size at > limit, and when r is not
    known. A hedge stands below the limit and is left alone. Pending openings count as positions."""
    if not case.adds_risk:
        return _not_asked("correlation", case)
    limit = case.limits.max_correlation
    known = [relation for _, relation in case.relations if not relation.is_nan()]
    measured = max(known, default=None)
    if not _too_alike(case.relations, case.limits):
        return _passed("correlation", "Nothing held elsewhere moves alike.", measured, limit)
    alike = [symbol for symbol, relation in case.relations if not relation <= limit]
    note = "" if len(known) == len(case.relations) else " (where it is not known it counts as such)"
    return _found("correlation", "shrink", f"Moves with {', '.join(alike)}{note}: the size is halved.", measured, limit)


def halted(case: Case) -> RuleResult:
    """Refuses openings and adds while any halt stands; a daily one stands while now < its end."""
    if not case.adds_risk:
        return _not_asked("halted", case)
    standing = [halt for halt in case.state.halts if not _has_lapsed(halt, case.now)]
    if not standing:
        return _passed("halted", "No halt stands.")
    reasons = "; ".join(f"{halt.kind}: {halt.reason}" for halt in standing)
    return _found("halted", "reject", f"Halted ({reasons}).", Decimal(len(standing)), _ZERO)


def _has_lapsed(halt: Halt, now: datetime) -> bool:
    """Midnight lifts only the daily halt; every other is lifted by a person, who takes it out of the state."""
    return halt.kind == DAILY_LOSS and _over(halt.until, now)


def well_formed(case: Case) -> RuleResult:
    """Numbers are finite and positive where needed, symbol and action are known, and the action fits what is open."""
    if case.proposal.action == "HOLD":
        return _not_asked("well_formed", case)
    faults = list(_exit_faults(case) if case.proposal.action in _EXITS else _opening_faults(case))
    if case.proposal.symbol != case.instrument.symbol:
        faults.insert(0, f"{case.proposal.symbol!r:.60} is not the instrument at hand, {case.instrument.symbol}")
    if faults:
        return _found("well_formed", "reject", f"The proposal does not make sense: {'; '.join(faults)}.")
    return _passed("well_formed", "The proposal makes sense.")


def _exit_faults(case: Case) -> Iterator[str]:
    if case.position is None:
        yield f"{case.proposal.action} needs exactly one open position"
    elif _positive(case.position.size).is_nan():
        yield f"the open position's size is {case.position.size}"
    if case.exit_in_flight:
        yield "an exit is on its way already"
    if case.proposal.action == "REDUCE" and _positive(case.proposal.size_pct).is_nan():
        yield f"size_pct is {case.proposal.size_pct}, a number above zero is needed"


def _opening_faults(case: Case) -> Iterator[str]:
    proposal, instrument = case.proposal, case.instrument
    if not case.opens and proposal.action != "ADD":
        yield f"action {proposal.action!r:.60} is unknown"
    if proposal.order_type not in ("market", "limit"):
        yield f"order type {proposal.order_type!r:.60} is unknown"
    for name in ("size_pct", "snapshot_price", "bid", "ask", "leverage"):
        if _positive(getattr(proposal, name)).is_nan():
            yield f"{name} is {getattr(proposal, name)}, a number above zero is needed"
    for name in ("stop_loss", "take_profit"):
        price = getattr(proposal, name)
        if price is not None and not (price.is_finite() and price >= 0):
            yield f"{name} is {price}, a price is needed"
    for name in ("ct_val", "lot_size", "min_size", "tick_size"):
        if _positive(getattr(instrument, name)).is_nan():
            yield f"the instrument's {name} is {getattr(instrument, name)}"
    if not proposal.bid <= proposal.ask:
        yield "bid is above ask"
    if case.contracts.is_nan():
        yield "the size in contracts cannot be computed"
    yield from _misfits(case)


def _misfits(case: Case) -> Iterator[str]:
    """Why this opening or add does not fit what is open or on its way in the instrument."""
    if case.opens:
        if any(order.symbol == case.proposal.symbol for order in case.pending) or any(
            position.symbol == case.proposal.symbol for position in case.positions
        ):
            yield "a position in this instrument is open or pending"
        return
    if case.position is None:
        yield "ADD needs exactly one open position"
    if case.exit_in_flight:
        yield "an exit is on its way"


def limit_price(case: Case) -> RuleResult:
    """A limit order is passive (long: limit <= bid, short: limit >= ask) and |limit - snapshot| / snapshot <= 0.01."""
    if not case.adds_risk or case.proposal.order_type == "market":
        return _passed("limit_price", "Not a limit order to open or add.")
    snapshot = _positive(case.proposal.snapshot_price)
    touch = _positive(case.proposal.bid if case.sign > 0 else case.proposal.ask)
    entries = (case.asked.entry, case.sent.entry)
    passive = all((touch - entry) * case.sign >= 0 for entry in entries)
    near = all(abs(entry - snapshot) <= LIMIT_PRICE_BAND * snapshot for entry in entries)
    measured = _highest(*(abs(entry - snapshot) / snapshot for entry in entries))
    sentence = (
        f"The limit price {'rests' if passive else 'would not rest'} in the book, {_percent(measured)} from the"
        f" snapshot; at most {_percent(LIMIT_PRICE_BAND)} is allowed."
    )
    return _bounded("limit_price", passive and near, measured, LIMIT_PRICE_BAND, sentence)


def add_stop(case: Case) -> RuleResult:
    """An ADD's stop replaces the position's and is no looser (long: new >= old, short: new <= old)."""
    if case.proposal.action != "ADD":
        return _not_asked("add_stop", case)
    if case.position is not None and case.position.stop_loss is None:
        return _passed("add_stop", "The position has no stop that could be loosened.", case.asked.stop)
    old = _positive(case.position.stop_loss) if case.position else _NAN
    holds = (case.asked.stop - old) * case.sign >= 0
    sentence = f"The stop would move from {_text(old)} to {_text(case.asked.stop)}; it may only come closer."
    return _bounded("add_stop", holds, case.asked.stop, old, sentence)


def min_size(case: Case) -> RuleResult:
    """Contracts to send, after shrinking and rounding to lots; refuses at < the instrument's minimum. Leaving a
    position whole is exempt."""
    action, smallest = case.proposal.action, case.instrument.min_size
    whole = case.position is not None and action in _EXITS and case.contracts == case.position.size
    if action in ("HOLD", "CLOSE") or whole:
        return _not_asked("min_size", case)
    sentence = f"The order would be {_text(case.contracts)} contracts; the venue takes {_text(smallest)} at least."
    return _bounded("min_size", case.contracts >= smallest, case.contracts, smallest, sentence)


RULES: tuple[Callable[[Case], RuleResult], ...] = (
    daily_loss,
    drawdown,
    cooldown,
    position_count,
    trade_size,
    total_exposure,
    leverage,
    stop_loss,
    sl_distance,
    rr_ratio,
    correlation,
    halted,
    well_formed,
    limit_price,
    add_stop,
    min_size,
)


# --- the verdict ----------------------------------------------------------------------------------------------------


def evaluate(**inputs: Unpack[Inputs]) -> Verdict:
    """Judge a proposal by every rule; the arguments are those of `Inputs`, all by name, all required. Never raises on
    account of a number, and never enlarges what was asked for."""
    with localcontext(_QUIET):
        case = _case(**inputs)
        return _verdict(case, tuple(rule(case) for rule in RULES))


def account_halts(account: Account, state: RiskState, limits: Limits) -> tuple[RuleResult, ...]:
    """The daily-loss and drawdown rules alone. A halt is reported for as long as it is measured, whether it stands
    already or not; figures that cannot be measured are a `reject`, not a halt."""
    with localcontext(_QUIET):
        return _daily_loss(account, state, limits), _drawdown(account, state, limits)


def _verdict(case: Case, results: tuple[RuleResult, ...]) -> Verdict:
    refusing = ("reject", "halt") if case.adds_risk else ("reject",)
    refused_by = {result.rule: result.verdict for result in results if result.verdict in refusing}
    approved = not refused_by
    enters = approved and case.adds_risk
    resting = enters and case.proposal.order_type == "limit"
    standing = {halt.kind for halt in case.state.halts if not _has_lapsed(halt, case.now)}
    found = [result for result in results if result.verdict == "halt" and result.rule not in standing]
    return Verdict(
        approved=approved,
        results=results,
        contracts=case.contracts if approved else _ZERO,
        size_pct=case.granted_pct if enters else _ZERO,
        leverage=_granted_leverage(case),
        limit_price=case.sent.entry if resting else None,
        stop_loss=case.sent.stop if enters else None,
        take_profit=case.sent.target if enters else None,
        reduce_only=case.proposal.action in _EXITS,
        outcome=_outcome(refused_by),
        new_halts=tuple((result.rule, result.reason) for result in found),
    )


def _granted_leverage(case: Case) -> Decimal:
    asked = _positive(case.proposal.leverage)
    return _ONE if asked.is_nan() else min(asked, case.limits.max_leverage)


def _outcome(refused_by: Mapping[str, RuleVerdict]) -> Outcome:
    """The weightiest reason: the account's state before the proposal's faults, its size only when that is all."""
    if not refused_by:
        return "approved"
    if "halted" in refused_by or "halt" in refused_by.values():
        return "halted"
    if "cooldown" in refused_by:
        return "cooldown"
    return "size_too_small" if set(refused_by) == {"min_size"} else "gate_rejected"


# --- the record: every input and output as JSON, and back -----------------------------------------------------------


def inputs_to_dict(**inputs: Unpack[Inputs]) -> dict[str, Any]:
    """The arguments of `evaluate` as JSON values; `inputs_from_dict` gives them back exactly, NaN included."""
    return {name: _encoded(value) for name, value in inputs.items()}


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


def _encoded(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Limits):
        return value.as_dict()
    if is_dataclass(value):
        return {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _encoded(item) for name, item in value.items()}
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
