"""What holds for the gate whatever it is given."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk import gate
from risk.limits import LIMIT_FIELDS, Limits
from tests.unit.risk.cases import BTC, LIMITS, LONG, NOW, inputs
from tests.unit.risk.strategies import cents, plausible, spoilt, wild, wild_inputs, wild_states

MANY = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
EXACT = Context(prec=400, traps=[])


@MANY
@given(wild_inputs)
def test_the_gate_never_raises_and_answers_for_every_rule(wild_case: Any) -> None:
    verdict = gate.evaluate(**wild_case)
    assert [found.rule for found in verdict.results] == [rule.__name__ for rule in gate.RULES]
    assert all(found.reason for found in verdict.results)
    assert verdict.contracts.is_finite()
    assert verdict.contracts >= 0
    assert verdict.approved or (verdict.contracts == 0 and verdict.refusals)
    assert verdict.approved == (verdict.outcome == "approved")
    assert gate.evaluate(**wild_case) == verdict


@MANY
@given(wild_inputs)
def test_the_record_brings_back_the_same_verdict(wild_case: Any) -> None:
    stored = json.loads(json.dumps(gate.inputs_to_dict(**wild_case)))
    revived = gate.inputs_from_dict(stored)
    assert gate.inputs_to_dict(**revived) == stored
    first, second = gate.evaluate(**wild_case), gate.evaluate(**revived)
    assert first == second
    assert json.dumps(first.as_dict()) == json.dumps(second.as_dict())


@MANY
@given(st.builds(gate.Account, equity=wild), wild_states)
def test_account_halts_never_raise(account: gate.Account, state: gate.RiskState) -> None:
    assert [found.rule for found in gate.account_halts(account, state, LIMITS)] == ["daily_loss", "drawdown"]


# --- proposals that might pass --------------------------------------------------------------------------------------


def breaches(case: gate.Inputs, verdict: gate.Verdict) -> list[str]:
    """The limits that the account would break with this order in it: plain arithmetic, nothing of the gate's. What
    cannot be compared, since it is no number, counts as broken."""
    proposal, limits, equity, state = case["proposal"], case["limits"], case["account"].equity, case["state"]
    assert verdict.stop_loss is not None
    assert verdict.take_profit is not None
    entry = verdict.limit_price or proposal.snapshot_price
    new = verdict.contracts * max(proposal.snapshot_price, entry) * case["instrument"].ct_val
    taken: dict[str, Decimal] = {proposal.symbol: new}
    held: list[gate.Position | gate.PendingOrder] = [*case["positions"], *case["pending"]]
    for other in held:
        taken[other.symbol] = taken.get(other.symbol, Decimal(0)) + other.notional_usd
    own = next((position for position in case["positions"] if position.symbol == proposal.symbol), None)
    long = own.direction == "LONG" if own else proposal.action == "OPEN_LONG"
    up = 1 if long else -1
    risk, reward = up * (entry - verdict.stop_loss), up * (verdict.take_profit - entry)
    holds = {
        "position": taken[proposal.symbol] <= limits.max_single_trade_pct * equity,
        "exposure": sum(taken.values()) <= limits.max_total_exposure_pct * equity,
        "count": proposal.action == "ADD" or len(taken) <= limits.max_concurrent_positions,
        "leverage": 0 < verdict.leverage <= limits.max_leverage,
        "stop side": risk > 0,
        "target side": reward > 0,
        "distance": risk <= limits.max_sl_distance_pct * entry,
        "reward": reward >= limits.min_rr_ratio * risk,
        "requested": 0 < new <= proposal.size_pct * equity,
        "correlated": not alike(case, long) or new <= proposal.size_pct * equity / 2,
        "resting": proposal.order_type == "market" or up * ((proposal.bid if long else proposal.ask) - entry) >= 0,
        "near": proposal.order_type == "market"
        or abs(entry - proposal.snapshot_price) <= proposal.snapshot_price / 100,
        "no looser": own is None or own.stop_loss is None or up * (verdict.stop_loss - own.stop_loss) >= 0,
        "day": equity - state.day_net_transfers > (1 - limits.max_daily_loss_pct) * state.day_start_equity,
        "drawdown": equity - state.peak_net_transfers > (1 - limits.max_drawdown_pct) * state.peak_equity,
        "streak": state.loss_streak < limits.max_consecutive_losses,
        "cooldown": state.cooldown_until is None or state.cooldown_until <= case["now"],
        "halts": all(halt.kind == "daily_loss" and halt.until and halt.until <= case["now"] for halt in state.halts),
        "tick": verdict.stop_loss % case["instrument"].tick_size == 0,
        "lot": verdict.contracts % case["instrument"].lot_size == 0,
        "minimum": verdict.contracts >= case["instrument"].min_size,
    }
    return [name for name, kept in holds.items() if not kept]


def alike(case: gate.Inputs, long: bool) -> bool:
    """Whether something held or pending elsewhere moves too much like it, or nobody knows."""
    held: list[gate.Position | gate.PendingOrder] = [*case["positions"], *case["pending"]]
    relations = [
        (case["correlations"].get(other.symbol), 1 if (other.direction == "LONG") is long else -1)
        for other in held
        if other.symbol != case["proposal"].symbol
    ]
    return any(r is None or r * same > case["limits"].max_correlation for r, same in relations)


@MANY
@given(plausible() | spoilt())
def test_an_approved_order_breaks_no_limit_when_it_is_applied(case: gate.Inputs) -> None:
    verdict = gate.evaluate(**case)
    if verdict.approved:
        with localcontext(EXACT):
            assert breaches(case, verdict) == []


@MANY
@given(plausible() | spoilt())
def test_the_gate_never_enlarges(case: gate.Inputs) -> None:
    verdict, proposal = gate.evaluate(**case), case["proposal"]
    if verdict.approved:
        worth = verdict.contracts * proposal.snapshot_price * case["instrument"].ct_val
        assert verdict.size_pct <= proposal.size_pct
        assert verdict.leverage <= proposal.leverage
        assert worth <= proposal.size_pct * case["account"].equity
    else:
        assert (verdict.contracts, verdict.size_pct) == (0, 0)


def test_plausible_proposals_are_approved_and_refused_often_enough_to_mean_something() -> None:
    seen: dict[str, int] = {}

    @settings(max_examples=1000, deadline=None, database=None, derandomize=True)
    @given(plausible())
    def tally(case: gate.Inputs) -> None:
        verdict = gate.evaluate(**case)
        for name in (verdict.outcome, *(result.rule for result in verdict.refusals)):
            seen[name] = seen.get(name, 0) + 1

    tally()
    assert seen["approved"] >= 20
    rare = {"leverage", "correlation", "stop_loss", "well_formed"}  # capped, halved, and sound here by construction
    assert {rule.__name__ for rule in gate.RULES} - rare <= seen.keys(), seen


TIGHTER: Mapping[str, st.SearchStrategy[Any]] = {
    "max_daily_loss_pct": cents("0.001", "0.03", 4),
    "max_single_trade_pct": cents("0.001", "0.05", 4),
    "max_total_exposure_pct": cents("0.001", "0.15", 4),
    "max_concurrent_positions": st.integers(1, 3),
    "max_drawdown_pct": cents("0.001", "0.10", 4),
    "max_consecutive_losses": st.integers(1, 3),
    "max_leverage": cents("1", "3"),
    "max_sl_distance_pct": cents("0.001", "0.03", 4),
    "min_rr_ratio": cents("1.5", "3"),
    "max_correlation": cents("0.01", "0.8"),
    "cooldown_after_loss_streak": st.integers(1800, 9999),
}


def test_every_limit_is_tightened() -> None:
    assert set(TIGHTER) == {field.attribute for field in LIMIT_FIELDS}


@MANY
@given(plausible() | spoilt(), st.fixed_dictionaries({}, optional=dict(TIGHTER)))
def test_tighter_limits_never_approve_more(loose: gate.Inputs, tighter: dict[str, Any]) -> None:
    strict = loose.copy()
    strict["limits"] = replace(LIMITS, **tighter)
    more, less = gate.evaluate(**loose), gate.evaluate(**strict)
    assert more.approved or not less.approved
    assert less.contracts <= more.contracts
    if less.approved:
        assert less.leverage <= more.leverage


@MANY
@given(wild_inputs, st.sampled_from(["CLOSE", "REDUCE"]), cents("0.0001", "2", 4), cents("0.001", "9", 3))
def test_an_exit_from_a_sound_position_passes_whatever_the_rest_and_never_flips(
    wild_case: Any, action: Any, size_pct: Decimal, size: Decimal
) -> None:
    symbol = BTC.symbol
    own = gate.Position(
        symbol=symbol, direction="SHORT", size=size, notional_usd=Decimal(1), stop_loss=None, take_profit=None
    )
    case = {
        **wild_case,
        "proposal": replace(wild_case["proposal"], action=action, symbol=symbol, size_pct=size_pct),
        "positions": (own, *(other for other in wild_case["positions"] if other.symbol != symbol)),
        "pending": tuple(order for order in wild_case["pending"] if order.symbol != symbol),
        "instrument": replace(wild_case["instrument"], symbol=symbol),
    }
    verdict = gate.evaluate(**case)
    assert verdict.contracts <= size
    assert verdict.approved or (action == "REDUCE" and verdict.outcome == "size_too_small")
    if action == "CLOSE":
        assert verdict.contracts == size


def test_the_callers_arithmetic_context_changes_nothing() -> None:
    case = inputs(replace(LONG, size_pct=Decimal("0.0333333")), now=NOW, equity="9876.54")
    plain = gate.evaluate(**case)
    with localcontext(Context(prec=2)):
        assert gate.evaluate(**case) == plain
    assert isinstance(case["limits"], Limits)
