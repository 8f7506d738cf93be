"""The risk gate: the model proposes, these rules dispose. They only shrink or refuse, and no text can talk them round.

`evaluate` judges one proposal by every rule in `RULES`; none short-circuits another, none raises, whatever the numbers.
`account_halts` asks the two account rules alone, for every account update. Both are pure: no clock, no query, no state.

Notional and money in USD, sizes in contracts, every rate and `*_pct` a fraction. What cannot be measured (NaN, an
infinity, a negative size, a missing price) travels through the arithmetic as NaN, and a rule lets pass only what it has
found inside its limit, so the unmeasurable is refused. Exits are the exception by intent: only `well_formed` and
`min_size` can refuse a CLOSE or REDUCE, no halt, loss or broken account figure does.

What is judged and what is answered is described in `inputs`, the figures that rules share in `case`; what the rest of
the bot needs of them is to be had from here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Unpack

from risk.case import Case, case_of, direction_of, too_alike
from risk.inputs import (
    EXITS,
    OPENINGS,
    Account,
    Action,
    Direction,
    Halt,
    Inputs,
    Instrument,
    Outcome,
    PendingOrder,
    Position,
    Proposal,
    RiskState,
    RuleResult,
    RuleVerdict,
    Verdict,
    encoded,
    inputs_from_dict,
    inputs_to_dict,
)
from risk.limits import Limits
from risk.measures import (
    NAN,
    ONE,
    QUIET,
    ZERO,
    finite,
    gain,
    highest,
    lowest,
    over,
    percent,
    positive,
    spoken,
    text,
    total,
)

__all__ = [
    "RULES",
    "Account",
    "Action",
    "Direction",
    "Halt",
    "Inputs",
    "Instrument",
    "PendingOrder",
    "Position",
    "Proposal",
    "RiskState",
    "RuleResult",
    "Verdict",
    "account_halts",
    "direction_of",
    "evaluate",
    "inputs_from_dict",
    "inputs_to_dict",
]

DAILY_LOSS = "daily_loss"
DRAWDOWN = "drawdown"
WARN_SHARE = Decimal("0.8")
"""The share of the daily-loss and drawdown limits from which on a warning is given."""
LIMIT_PRICE_BAND = Decimal("0.01")
"""How far a limit price may lie from the snapshot's price, as a fraction of it."""


# --- the rules ------------------------------------------------------------------------------------------------------


def _found(
    rule: str, verdict: RuleVerdict, reason: str, measured: Decimal | None = None, limit: Decimal | None = None
) -> RuleResult:
    return RuleResult(rule=rule, measured=_known(measured), limit=_known(limit), verdict=verdict, reason=reason)


def _known(value: Decimal | None) -> str | None:
    return None if value is None or value.is_nan() else text(value)


def _bounded(rule: str, holds: bool, measured: Decimal, limit: Decimal, sentence: str) -> RuleResult:
    """Pass when `holds`, else reject; `sentence` says what was measured."""
    reason = f"{rule} cannot be measured with these figures" if measured.is_nan() or limit.is_nan() else sentence
    return _found(rule, "pass" if holds else "reject", reason, measured, limit)


def _not_asked(rule: str, case: Case) -> RuleResult:
    return _found(rule, "pass", f"Not asked of {case.proposal.action}.")


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
        f"since the day's start at {text(state.day_start_equity)} USD",
        account.equity,
        state.day_start_equity,
        state.day_net_transfers,
        limits.max_daily_loss_pct,
    )


def _drawdown(account: Account, state: RiskState, limits: Limits) -> RuleResult:
    if account.equity.is_finite() and account.equity <= 0:
        reason = f"Equity is {text(account.equity)} USD: nothing is left to trade with."
        return _found(DRAWDOWN, "halt", reason, None, -limits.max_drawdown_pct)
    return _fall(
        DRAWDOWN,
        f"since the peak of {text(state.peak_equity)} USD",
        account.equity,
        state.peak_equity,
        state.peak_net_transfers,
        limits.max_drawdown_pct,
    )


def _fall(rule: str, since: str, equity: Decimal, reference: Decimal, transfers: Decimal, limit: Decimal) -> RuleResult:
    reference = positive(reference)
    change = finite(equity) - finite(transfers) - reference
    furthest = -limit * reference
    if change.is_nan():
        return _found(rule, "reject", f"{rule} cannot be measured with these figures", None, -limit)
    verdict: RuleVerdict = "pass"
    if change <= furthest * WARN_SHARE:
        verdict = "warn"
    if change <= furthest:
        verdict = "halt"
    measured = change / reference
    reason = f"Equity changed by {percent(measured)} {since}; openings halt at {percent(-limit)}."
    return _found(rule, verdict, reason, measured, -limit)


def cooldown(case: Case) -> RuleResult:
    """Refuses while now < the cooldown's end, and at loss streak >= limit."""
    if not case.adds_risk:
        return _not_asked("cooldown", case)
    until, streak, most = case.state.cooldown_until, case.state.loss_streak, case.limits.max_consecutive_losses
    cooling = until is not None and not over(until, case.now)
    reason = (
        f"Cooling down until {encoded(until)}." if cooling else f"{streak} losses in a row; {most} start a cooldown."
    )
    return _bounded("cooldown", not cooling and streak < most, Decimal(streak), Decimal(most), reason)


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
    return _share_of_equity("trade_size", "The position", total(here), case, case.limits.max_single_trade_pct)


def total_exposure(case: Case) -> RuleResult:
    """Notional of all that is open or pending plus the new, as requested, / equity; refuses at > limit."""
    if not case.adds_risk:
        return _not_asked("total_exposure", case)
    everywhere = [held.notional_usd for held in case.held]
    return _share_of_equity("total_exposure", "Exposure", total(everywhere), case, case.limits.max_total_exposure_pct)


def _share_of_equity(rule: str, what: str, taken: Decimal, case: Case, limit: Decimal) -> RuleResult:
    notional = taken + case.requested
    measured = notional / case.equity
    sentence = f"{what} would be {percent(measured)} of equity; at most {percent(limit)} is allowed."
    return _bounded(rule, notional <= limit * case.equity, measured, limit, sentence)


def leverage(case: Case) -> RuleResult:
    """Capped to the limit at > limit."""
    if not case.adds_risk:
        return _not_asked("leverage", case)
    asked, most = positive(case.proposal.leverage), case.limits.max_leverage
    if asked > most:
        return _found("leverage", "shrink", f"Leverage {text(asked)} is capped to {text(most)}.", asked, most)
    return _bounded("leverage", asked <= most, asked, most, f"Leverage is {text(asked)}; at most {text(most)}.")


def stop_loss(case: Case) -> RuleResult:
    """There is a stop above zero, below the entry of a long (stop < entry), above that of a short (stop > entry)."""
    if not case.adds_risk:
        return _not_asked("stop_loss", case)
    stop, entry = case.asked.stop, case.asked.entry
    holds = all(gain(case.sign, prices.stop, prices.entry) > 0 for prices in (case.asked, case.sent))
    if stop.is_nan():
        return _found("stop_loss", "reject", "There is no stop loss above zero.", None, entry)
    sentence = f"The stop at {text(stop)} is on the {'right' if holds else 'wrong'} side of the entry {text(entry)}."
    return _bounded("stop_loss", holds, stop, entry, sentence)


def sl_distance(case: Case) -> RuleResult:
    """|entry - stop| / entry; refuses at > limit."""
    if not case.adds_risk:
        return _not_asked("sl_distance", case)
    both, limit = (case.asked, case.sent), case.limits.max_sl_distance_pct
    holds = all(abs(prices.entry - prices.stop) <= limit * prices.entry for prices in both)
    measured = highest(*(abs(prices.entry - prices.stop) / prices.entry for prices in both))
    sentence = f"The stop is {percent(measured)} from the entry; at most {percent(limit)} is allowed."
    return _bounded("sl_distance", holds, measured, limit, sentence)


def rr_ratio(case: Case) -> RuleResult:
    """|target - entry| / |entry - stop|; refuses at < limit, and a target that is missing or not beyond the entry."""
    if not case.adds_risk:
        return _not_asked("rr_ratio", case)
    both, limit = (case.asked, case.sent), case.limits.min_rr_ratio
    stakes = [
        (gain(case.sign, prices.entry, prices.target), positive(abs(prices.entry - prices.stop))) for prices in both
    ]
    if not all(reward > 0 for reward, _ in stakes):
        reason = "There is no take profit on the winning side of the entry."
        return _found("rr_ratio", "reject", reason, None, limit)
    holds = all(reward >= limit * risk for reward, risk in stakes)
    measured = lowest(*(reward / risk for reward, risk in stakes))
    sentence = f"Reward is {spoken(measured)} times the risk; at least {text(limit)} times is needed."
    return _bounded("rr_ratio", holds, measured, limit, sentence)


def correlation(case: Case) -> RuleResult:
    """r x direction x direction with a position in another instrument; halves the size at > limit, and when r is not
    known. A hedge stands below the limit and is left alone. Pending openings count as positions."""
    if not case.adds_risk:
        return _not_asked("correlation", case)
    limit = case.limits.max_correlation
    known = [relation for _, relation in case.relations if not relation.is_nan()]
    measured = max(known, default=None)
    if not too_alike(case.relations, case.limits):
        return _found("correlation", "pass", "Nothing held elsewhere moves alike.", measured, limit)
    alike = [symbol for symbol, relation in case.relations if not relation <= limit]
    note = "" if len(known) == len(case.relations) else " (where it is not known it counts as such)"
    return _found("correlation", "shrink", f"Moves with {', '.join(alike)}{note}: the size is halved.", measured, limit)


def halted(case: Case) -> RuleResult:
    """Refuses openings and adds while any halt stands; a daily one stands while now < its end."""
    if not case.adds_risk:
        return _not_asked("halted", case)
    standing = [halt for halt in case.state.halts if not _has_lapsed(halt, case.now)]
    if not standing:
        return _found("halted", "pass", "No halt stands.")
    reasons = "; ".join(f"{halt.kind}: {halt.reason}" for halt in standing)
    return _found("halted", "reject", f"Halted ({reasons}).", Decimal(len(standing)), ZERO)


def _has_lapsed(halt: Halt, now: datetime) -> bool:
    """Midnight lifts only the daily halt; every other is lifted by a person, who takes it out of the state."""
    return halt.kind == DAILY_LOSS and over(halt.until, now)


def well_formed(case: Case) -> RuleResult:
    """Numbers are finite and positive where needed, symbol and action are known, and the action fits what is open."""
    if case.proposal.action == "HOLD":
        return _not_asked("well_formed", case)
    if faults := "; ".join(_faults(case)):
        return _found("well_formed", "reject", f"The proposal does not make sense: {faults}.")
    return _found("well_formed", "pass", "The proposal makes sense.")


def _faults(case: Case) -> Iterator[str]:
    if case.proposal.symbol != case.instrument.symbol:
        yield f"{case.proposal.symbol!r:.60} is not the instrument at hand, {case.instrument.symbol}"
    yield from _opening_faults(case) if case.adds_risk else _exit_faults(case)


def _exit_faults(case: Case) -> Iterator[str]:
    if case.position is None:
        yield f"{case.proposal.action} needs exactly one open position"
    elif positive(case.position.size).is_nan():
        yield f"the open position's size is {case.position.size}"
    if case.exit_in_flight:
        yield "an exit is on its way already"
    if case.proposal.action == "REDUCE" and positive(case.proposal.size_pct).is_nan():
        yield f"size_pct is {case.proposal.size_pct}, a number above zero is needed"


def _opening_faults(case: Case) -> Iterator[str]:
    proposal, instrument = case.proposal, case.instrument
    if proposal.action not in (*OPENINGS, "ADD"):
        yield f"action {proposal.action!r:.60} is unknown"
    if proposal.order_type not in ("market", "limit"):
        yield f"order type {proposal.order_type!r:.60} is unknown"
    for name in ("size_pct", "snapshot_price", "bid", "ask", "leverage"):
        if positive(getattr(proposal, name)).is_nan():
            yield f"{name} is {getattr(proposal, name)}, a number above zero is needed"
    for name in ("stop_loss", "take_profit"):
        price = getattr(proposal, name)
        if price is not None and not (price.is_finite() and price >= 0):
            yield f"{name} is {price}, a price is needed"
    for name in ("ct_val", "lot_size", "min_size", "tick_size"):
        if positive(getattr(instrument, name)).is_nan():
            yield f"the instrument's {name} is {getattr(instrument, name)}"
    if not proposal.bid <= proposal.ask:
        yield "bid is above ask"
    if case.contracts.is_nan():
        yield "the size in contracts cannot be computed"
    yield from _misfits(case)


def _misfits(case: Case) -> Iterator[str]:
    """Why this opening or add does not fit what is open or on its way in the instrument."""
    if case.proposal.action == "ADD":
        if case.position is None:
            yield "ADD needs exactly one open position"
        if case.exit_in_flight:
            yield "an exit is on its way"
        return
    others: tuple[Position | PendingOrder, ...] = (*case.positions, *case.pending)
    if any(other.symbol == case.proposal.symbol for other in others):
        yield "a position in this instrument is open or pending"


def limit_price(case: Case) -> RuleResult:
    """A limit order is passive (long: limit <= bid, short: limit >= ask) and |limit - snapshot| / snapshot <= 0.01."""
    if not case.adds_risk or case.proposal.order_type == "market":
        return _found("limit_price", "pass", "Not a limit order to open or add.")
    snapshot = positive(case.proposal.snapshot_price)
    touch = positive(case.proposal.bid if case.sign == ONE else case.proposal.ask)
    entries = (case.asked.entry, case.sent.entry)
    passive = all(gain(case.sign, entry, touch) >= 0 for entry in entries)
    near = all(abs(entry - snapshot) <= LIMIT_PRICE_BAND * snapshot for entry in entries)
    measured = highest(*(abs(entry - snapshot) / snapshot for entry in entries))
    sentence = (
        f"The limit price {'rests' if passive else 'would not rest'} in the book, {percent(measured)} from the"
        f" snapshot; at most {percent(LIMIT_PRICE_BAND)} is allowed."
    )
    return _bounded("limit_price", passive and near, measured, LIMIT_PRICE_BAND, sentence)


def add_stop(case: Case) -> RuleResult:
    """An ADD's stop replaces the position's and is no looser (long: new >= old, short: new <= old)."""
    if case.proposal.action != "ADD":
        return _not_asked("add_stop", case)
    if case.position is not None and case.position.stop_loss is None:
        return _found("add_stop", "pass", "The position has no stop that could be loosened.", case.asked.stop)
    old = positive(case.position.stop_loss) if case.position else NAN
    holds = gain(case.sign, old, case.asked.stop) >= 0
    sentence = f"The stop would move from {text(old)} to {text(case.asked.stop)}; it may only come closer."
    return _bounded("add_stop", holds, case.asked.stop, old, sentence)


def min_size(case: Case) -> RuleResult:
    """Contracts to send, after shrinking and rounding to lots; refuses at < the instrument's minimum. Leaving a
    position whole is exempt."""
    action, smallest = case.proposal.action, case.instrument.min_size
    whole = case.position is not None and action in EXITS and case.contracts == case.position.size
    if action == "HOLD" or whole:
        return _not_asked("min_size", case)
    sentence = f"The order would be {text(case.contracts)} contracts; the venue takes {text(smallest)} at least."
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
    with localcontext(QUIET):
        case = case_of(**inputs)
        return _verdict(case, tuple(rule(case) for rule in RULES))


def account_halts(account: Account, state: RiskState, limits: Limits) -> tuple[RuleResult, ...]:
    """The daily-loss and drawdown rules alone. A halt is reported for as long as it is measured, whether it stands
    already or not; figures that cannot be measured are a `reject`, not a halt."""
    with localcontext(QUIET):
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
        contracts=case.contracts if approved else ZERO,
        size_pct=case.granted_pct if enters else ZERO,
        leverage=_granted_leverage(case),
        limit_price=case.sent.entry if resting else None,
        stop_loss=case.sent.stop if enters else None,
        take_profit=case.sent.target if enters else None,
        reduce_only=case.proposal.action in EXITS,
        outcome=_outcome(refused_by),
        new_halts=tuple((result.rule, result.reason) for result in found),
    )


def _granted_leverage(case: Case) -> Decimal:
    asked = positive(case.proposal.leverage)
    return ONE if asked.is_nan() else min(asked, case.limits.max_leverage)


def _outcome(refused_by: Mapping[str, RuleVerdict]) -> Outcome:
    """The weightiest reason: the account's state before the proposal's faults, its size only when that is all."""
    if not refused_by:
        return "approved"
    if "halted" in refused_by or "halt" in refused_by.values():
        return "halted"
    if "cooldown" in refused_by:
        return "cooldown"
    return "size_too_small" if set(refused_by) == {"min_size"} else "gate_rejected"
