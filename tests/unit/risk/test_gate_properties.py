"""What holds for the gate whatever it is given."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risk import gate
from risk.limits import LIMIT_FIELDS, Limits
from tests.unit.risk.cases import BTC, CALM, LIMITS, LONG, NOW, SHORT, inputs

SYMBOLS = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP", "XRP-USDT-SWAP"]
MANY = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
EXACT = Context(prec=400)

# --- anything at all ------------------------------------------------------------------------------------------------

wild = st.one_of(
    st.decimals(),
    st.sampled_from(
        ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "0", "-0", "1E+999999", "1E-999999", "-1E+400"]
    ).map(Decimal),
    st.decimals(min_value=-100000, max_value=100000, places=2),
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-12))])
moments = st.one_of(st.datetimes(timezones=zones), st.datetimes(), st.just(datetime.max.replace(tzinfo=UTC)))
words = st.one_of(st.sampled_from(SYMBOLS), st.text(max_size=8))
directions: Any = st.sampled_from(["LONG", "SHORT", "", "sideways"])
actions: Any = st.sampled_from(["OPEN_LONG", "OPEN_SHORT", "ADD", "REDUCE", "CLOSE", "HOLD", "open_long", ""])

wild_proposals = st.builds(
    gate.Proposal,
    action=actions,
    symbol=words,
    size_pct=wild,
    order_type=st.sampled_from(["market", "limit", "stop"]),
    limit_price=st.none() | wild,
    stop_loss=st.none() | wild,
    take_profit=st.none() | wild,
    leverage=wild,
    snapshot_price=wild,
    bid=wild,
    ask=wild,
)
wild_positions = st.builds(
    gate.Position,
    symbol=words,
    direction=directions,
    size=wild,
    notional_usd=wild,
    stop_loss=st.none() | wild,
    take_profit=st.none() | wild,
)
wild_orders = st.builds(
    gate.PendingOrder, symbol=words, direction=directions, action=actions, notional_usd=wild, reduce_only=st.booleans()
)
wild_halts = st.builds(
    gate.Halt,
    kind=st.sampled_from(["daily_loss", "drawdown", "manual"]),
    reason=st.text(max_size=9),
    since=moments,
    until=st.none() | moments,
)
wild_states = st.builds(
    gate.RiskState,
    day_start_equity=wild,
    day_net_transfers=wild,
    peak_equity=wild,
    peak_net_transfers=wild,
    loss_streak=st.integers(),
    cooldown_until=st.none() | moments,
    halts=st.lists(wild_halts, max_size=2).map(tuple),
)
wild_inputs = st.fixed_dictionaries(
    {
        "proposal": wild_proposals,
        "account": st.builds(gate.Account, equity=wild),
        "positions": st.lists(wild_positions, max_size=3).map(tuple),
        "pending": st.lists(wild_orders, max_size=3).map(tuple),
        "state": wild_states,
        "correlations": st.dictionaries(words, st.none() | wild, max_size=4),
        "instrument": st.builds(
            gate.Instrument, symbol=words, ct_val=wild, lot_size=wild, min_size=wild, tick_size=wild
        ),
        "limits": st.just(LIMITS),
        "now": moments,
    }
)


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


def cents(low: str, high: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=low, max_value=high, places=places)


@st.composite
def plausible(draw: st.DrawFn) -> gate.Inputs:
    """Around the limits on both sides, so that a good part is approved."""
    base = draw(st.sampled_from([LONG, SHORT]))
    sign = 1 if base is LONG else -1
    action = draw(st.sampled_from([base.action, "ADD"]))
    limit_order = draw(st.booleans())
    limit_price = Decimal(20000) - sign * draw(cents("0.05", "220"))
    entry = limit_price if limit_order else Decimal(20000)
    risk = draw(cents("1", "620"))
    proposal = replace(
        base,
        action=action,
        size_pct=draw(cents("0.0001", "0.06", 6)),
        order_type="limit" if limit_order else "market",
        limit_price=limit_price if limit_order else None,
        stop_loss=entry - sign * risk,
        take_profit=entry + sign * risk * draw(cents("1.4", "3")),
        leverage=draw(cents("0.5", "5")),
    )
    others = draw(st.lists(st.sampled_from(SYMBOLS[1:]), unique=True, max_size=3))
    notional = cents("1", "600")
    held = [draw_position(draw, symbol, draw(notional)) for symbol in others[:2]]
    if action == "ADD":
        own = draw_position(draw, BTC.symbol, draw(cents("1", "300")))
        held.append(replace(own, direction="LONG" if sign > 0 else "SHORT", stop_loss=Decimal(20000) - sign * 600))
    orders = tuple(
        gate.PendingOrder(
            symbol=symbol, direction="LONG", action="OPEN_LONG", notional_usd=draw(notional), reduce_only=False
        )
        for symbol in others[2:]
    )
    return inputs(
        proposal,
        positions=tuple(held),
        pending=orders,
        equity=draw(cents("9650", "10500")),
        correlations={symbol: draw(st.none() | cents("-1", "1")) for symbol in others},
    )


def draw_position(draw: st.DrawFn, symbol: str, notional: Decimal) -> gate.Position:
    return gate.Position(
        symbol=symbol,
        direction=draw(st.sampled_from(["LONG", "SHORT"])),
        size=Decimal(1),
        notional_usd=notional,
        stop_loss=None,
        take_profit=None,
    )


def breaches(case: gate.Inputs, verdict: gate.Verdict) -> list[str]:
    """The limits that the account would break with this order in it: plain arithmetic, nothing of the gate's."""
    proposal, limits, equity = case["proposal"], case["limits"], case["account"].equity
    price = max(proposal.snapshot_price, verdict.limit_price or proposal.snapshot_price)
    new = verdict.contracts * price * case["instrument"].ct_val
    taken: dict[str, Decimal] = {proposal.symbol: new}
    open_or_pending: list[gate.Position | gate.PendingOrder] = [*case["positions"], *case["pending"]]
    for held in open_or_pending:
        taken[held.symbol] = taken.get(held.symbol, Decimal(0)) + held.notional_usd
    entry = verdict.limit_price or proposal.snapshot_price
    assert verdict.stop_loss is not None
    assert verdict.take_profit is not None
    long = verdict.take_profit > entry
    risk, reward = abs(entry - verdict.stop_loss), abs(verdict.take_profit - entry)
    facts = {
        "position": taken[proposal.symbol] > limits.max_single_trade_pct * equity,
        "exposure": sum(taken.values()) > limits.max_total_exposure_pct * equity,
        "count": proposal.action != "ADD" and len(taken) > limits.max_concurrent_positions,
        "leverage": verdict.leverage > limits.max_leverage,
        "stop side": (verdict.stop_loss >= entry) if long else (verdict.stop_loss <= entry),
        "distance": risk > limits.max_sl_distance_pct * entry,
        "reward": reward < limits.min_rr_ratio * risk,
        "requested": new > proposal.size_pct * equity,
        "day": equity <= (1 - limits.max_daily_loss_pct) * case["state"].day_start_equity,
        "tick": verdict.stop_loss % case["instrument"].tick_size != 0,
        "lot": verdict.contracts % case["instrument"].lot_size != 0,
        "minimum": verdict.contracts < case["instrument"].min_size,
    }
    return [name for name, broken in facts.items() if broken]


@MANY
@given(plausible())
def test_an_approved_order_breaks_no_limit_when_it_is_applied(case: gate.Inputs) -> None:
    verdict = gate.evaluate(**case)
    if verdict.approved:
        with localcontext(EXACT):
            assert breaches(case, verdict) == []


@MANY
@given(plausible())
def test_the_gate_never_enlarges(case: gate.Inputs) -> None:
    verdict = gate.evaluate(**case)
    proposal = case["proposal"]
    assert verdict.size_pct <= proposal.size_pct
    assert verdict.leverage <= proposal.leverage
    assert verdict.contracts * proposal.snapshot_price * BTC.ct_val <= proposal.size_pct * case["account"].equity


def test_plausible_proposals_are_approved_and_refused_often_enough_to_mean_something() -> None:
    seen: dict[str, int] = {}

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(plausible())
    def tally(case: gate.Inputs) -> None:
        outcome = gate.evaluate(**case).outcome
        seen[outcome] = seen.get(outcome, 0) + 1

    tally()
    assert seen["approved"] >= 20
    assert seen["gate_rejected"] >= 20


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
@given(plausible(), st.fixed_dictionaries({}, optional=dict(TIGHTER)), st.integers(0, 4))
def test_tighter_limits_never_approve_more(case: gate.Inputs, tighter: dict[str, Any], streak: int) -> None:
    loose = case.copy()
    loose["state"] = replace(CALM, loss_streak=streak)
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
