"""Each rule just inside, at and just outside its limit, long and short, with figures computed by hand.

The base case (see `cases`): equity 10,000, entry 20,000, so 5 % is 500 USD and 3 % of the entry is 600.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest

from risk import gate
from risk.limits import parse_limits
from tests.unit.risk.cases import BTC, CALM, HELD, LONG, NOW, SHORT, dec, held, inputs, judge, pending, refusing, result

ETH, SOL, XRP = "ETH-USDT-SWAP", "SOL-USDT-SWAP", "XRP-USDT-SWAP"
BOTH = pytest.mark.parametrize("proposal", [LONG, SHORT], ids=["long", "short"])
SHORT_HELD = replace(HELD, direction="SHORT", stop_loss=dec("20500"), take_profit=dec("19000"))
ADD = replace(LONG, action="ADD", size_pct=dec("0.01"))
ADD_SHORT = replace(SHORT, action="ADD", size_pct=dec("0.01"))
CLOSE = replace(LONG, action="CLOSE", stop_loss=None, take_profit=None)
REDUCE = replace(CLOSE, action="REDUCE", size_pct=dec("0.02"))
HOLD = replace(CLOSE, action="HOLD")


@BOTH
def test_a_sound_proposal_is_approved_at_full_size(proposal: gate.Proposal) -> None:
    verdict = judge(proposal)
    assert verdict.approved
    assert verdict.outcome == "approved"
    assert (verdict.contracts, verdict.size_pct, verdict.leverage) == (dec("2.5"), dec("0.05"), dec(2))
    assert (verdict.stop_loss, verdict.take_profit) == (proposal.stop_loss, proposal.take_profit)
    assert (verdict.limit_price, verdict.reduce_only, verdict.new_halts, verdict.refusals) == (None, False, (), ())


def test_every_rule_is_evaluated_whatever_the_others_say() -> None:
    nonsense = replace(LONG, size_pct=dec(9), stop_loss=None, take_profit=None, leverage=dec(20), symbol="?")
    names = [rule.__name__ for rule in gate.RULES]
    assert [found.rule for found in judge(nonsense).results] == names
    assert len(set(names)) == 16
    assert {"trade_size", "total_exposure", "stop_loss", "sl_distance", "rr_ratio", "well_formed"} <= refusing(
        judge(nonsense)
    )


# --- the account ----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("equity", "expected", "measured"),
    [
        ("9760.01", "pass", "-0.023999"),
        ("9760", "warn", "-0.024"),  # 80 % of 3 %
        ("9700.01", "warn", "-0.029999"),
        ("9700", "halt", "-0.03"),
        ("9699.99", "halt", "-0.030001"),
    ],
)
def test_daily_loss_halts_at_three_percent(proposal: gate.Proposal, equity: str, expected: str, measured: str) -> None:
    verdict = judge(proposal, equity=equity)
    found = result(verdict, "daily_loss")
    assert (found.verdict, found.measured, found.limit) == (expected, measured, "-0.03")
    assert verdict.approved == (expected != "halt")
    assert [kind for kind, _ in verdict.new_halts] == (["daily_loss"] if expected == "halt" else [])
    assert verdict.outcome == ("halted" if expected == "halt" else "approved")


@BOTH
@pytest.mark.parametrize(
    ("equity", "expected", "measured"),
    [
        ("9200.01", "pass", "-0.079999"),
        ("9200", "warn", "-0.08"),
        ("9000.01", "warn", "-0.099999"),
        ("9000", "halt", "-0.1"),
        ("8999.99", "halt", "-0.100001"),
        ("1", "halt", "-0.9999"),
        ("0", "halt", None),
        ("-5", "halt", None),
    ],
)
def test_drawdown_halts_at_ten_percent(
    proposal: gate.Proposal, equity: str, expected: str, measured: str | None
) -> None:
    verdict = judge(proposal, equity=equity, state=replace(CALM, day_start_equity=dec(equity)))
    found = result(verdict, "drawdown")
    assert (found.verdict, found.measured, found.limit) == (expected, measured, "-0.1")
    assert ("drawdown" in dict(verdict.new_halts)) == (expected == "halt")
    assert verdict.approved == (expected != "halt")


@pytest.mark.parametrize(
    ("transfers", "equity", "expected"),
    [
        ("-2000", "7700.01", "warn"),  # 2,000 withdrawn, 299.99 lost
        ("-2000", "7700", "halt"),
        ("1000", "10700.01", "warn"),  # 1,000 paid in hides no loss
        ("1000", "10700", "halt"),
    ],
)
def test_transfers_are_neither_loss_nor_gain(transfers: str, equity: str, expected: str) -> None:
    day = replace(CALM, day_net_transfers=dec(transfers), peak_net_transfers=dec(transfers))
    assert result(judge(equity=equity, state=day), "daily_loss").verdict == expected
    peak = replace(day, peak_equity=dec(10000), day_start_equity=dec(equity), day_net_transfers=dec(0))
    loosened = parse_limits({"MAX_DRAWDOWN_PCT": "0.03"})
    assert result(judge(equity=equity, state=peak, limits=loosened), "drawdown").verdict == expected


def test_account_halts_asks_the_two_account_rules_alone() -> None:
    found = gate.account_halts(gate.Account(equity=dec(9000)), CALM, inputs()["limits"])
    assert [(one.rule, one.verdict) for one in found] == [("daily_loss", "halt"), ("drawdown", "halt")]
    found = gate.account_halts(gate.Account(equity=dec("NaN")), CALM, inputs()["limits"])
    assert [(one.verdict, one.measured) for one in found] == [("reject", None), ("reject", None)]


@pytest.mark.parametrize("broken", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    "name", ["day_start_equity", "day_net_transfers", "peak_equity", "peak_net_transfers", "account's equity"]
)
def test_an_account_that_cannot_be_measured_opens_nothing(name: str, broken: str) -> None:
    changes: dict[str, Any] = {} if name == "account's equity" else {name: dec(broken)}
    verdict = judge(equity="10000" if changes else broken, state=replace(CALM, **changes))
    rule = "drawdown" if name.startswith("peak") else "daily_loss"
    assert rule in refusing(verdict)
    assert (result(verdict, rule).verdict, result(verdict, rule).measured) == ("reject", None)


def test_account_halts_are_measured_exactly_whatever_the_callers_arithmetic() -> None:
    account, state = gate.Account(equity=dec("9700.01")), replace(CALM, peak_equity=dec("10777.78"))
    plain = gate.account_halts(account, state, inputs()["limits"])
    assert [found.verdict for found in plain] == ["warn", "warn"]
    with localcontext(Context(prec=2)):
        assert gate.account_halts(account, state, inputs()["limits"]) == plain


def test_a_halt_that_stands_already_is_not_new() -> None:
    standing = gate.Halt(kind="daily_loss", reason="lost", since=NOW, until=NOW + timedelta(hours=12))
    assert judge(equity="9700", state=replace(CALM, halts=(standing,))).new_halts == ()


@pytest.mark.parametrize(
    ("streak", "until", "refused"),
    [
        (2, None, False),
        (3, None, True),
        (4, None, True),
        (0, NOW + timedelta(microseconds=1), True),
        (0, NOW, False),
        (0, NOW - timedelta(microseconds=1), False),
        (0, NOW.replace(tzinfo=None) - timedelta(days=1), True),  # without a zone nobody can tell
    ],
)
@BOTH
def test_cooldown_refuses_until_it_has_ended(
    proposal: gate.Proposal, streak: int, until: datetime | None, refused: bool
) -> None:
    verdict = judge(proposal, state=replace(CALM, loss_streak=streak, cooldown_until=until))
    assert verdict.approved is not refused
    assert verdict.outcome == ("cooldown" if refused else "approved")
    assert refusing(verdict) == ({"cooldown"} if refused else set())


@pytest.mark.parametrize(
    ("kind", "until", "refused"),
    [
        ("daily_loss", NOW + timedelta(microseconds=1), True),
        ("daily_loss", NOW, False),
        ("daily_loss", None, True),
        ("drawdown", None, True),
        ("drawdown", NOW - timedelta(days=1), True),  # only a person lifts it
        ("manual", NOW - timedelta(days=1), True),
    ],
)
def test_any_halt_that_stands_refuses_openings(kind: str, until: datetime | None, refused: bool) -> None:
    halts = (gate.Halt(kind=kind, reason="enough", since=NOW - timedelta(days=2), until=until),)
    verdict = judge(state=replace(CALM, halts=halts))
    assert refusing(verdict) == ({"halted"} if refused else set())
    assert verdict.outcome == ("halted" if refused else "approved")


# --- how much -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "orders", "count"),
    [
        ((held(ETH), held(SOL)), (), "2"),
        ((held(ETH), held(SOL), held(XRP)), (), "3"),
        ((held(ETH),), (pending(SOL),), "2"),
        ((held(ETH),), (pending(SOL), pending(XRP, "SHORT")), "3"),
        ((held(ETH), held(SOL)), (pending(ETH),), "2"),  # an order that adds to what is open
        ((held(ETH), held(SOL)), (pending(XRP, reduce_only=True),), "2"),
        ((held(ETH), held(SOL), held(XRP)), (pending("DOGE-USDT-SWAP"),), "4"),
    ],
)
@BOTH
def test_position_count_refuses_from_three(proposal: gate.Proposal, positions: Any, orders: Any, count: str) -> None:
    found = result(judge(proposal, positions=positions, pending=orders), "position_count")
    assert (found.measured, found.limit) == (count, "3")
    assert found.verdict == ("reject" if int(count) >= 3 else "pass")


def test_an_add_takes_no_new_place() -> None:
    verdict = judge(ADD, positions=(HELD, held(ETH), held(SOL)))
    assert verdict.approved
    assert result(verdict, "position_count").measured is None


@BOTH
@pytest.mark.parametrize(("size", "refused"), [("0.0499999", False), ("0.05", False), ("0.0500001", True)])
def test_trade_size_refuses_above_five_percent(proposal: gate.Proposal, size: str, refused: bool) -> None:
    verdict = judge(replace(proposal, size_pct=dec(size)))
    assert refusing(verdict) == ({"trade_size"} if refused else set())
    assert result(verdict, "trade_size").measured == size


@pytest.mark.parametrize(("proposal", "position"), [(ADD, HELD), (ADD_SHORT, SHORT_HELD)], ids=["long", "short"])
@pytest.mark.parametrize(("size", "refused"), [("0.0249999", False), ("0.025", False), ("0.0250001", True)])
def test_trade_size_judges_an_add_by_the_resulting_position(
    proposal: gate.Proposal, position: gate.Position, size: str, refused: bool
) -> None:
    verdict = judge(replace(proposal, size_pct=dec(size)), positions=(position,))  # 250 USD are held
    assert refusing(verdict) == ({"trade_size"} if refused else set())


def test_an_add_counts_the_adds_that_are_on_their_way() -> None:
    on_its_way = replace(pending(BTC.symbol, notional="150.01"), action="ADD")
    assert refusing(judge(ADD, positions=(HELD,), pending=(on_its_way,))) == {"trade_size"}
    assert judge(ADD, positions=(HELD,), pending=(replace(on_its_way, notional_usd=dec(150)),)).approved


def test_size_is_judged_as_requested_not_as_halved() -> None:
    verdict = judge(replace(LONG, size_pct=dec("0.06")), positions=(held(ETH),), correlations={ETH: dec("0.9")})
    assert refusing(verdict) == {"trade_size"}


@BOTH
@pytest.mark.parametrize(
    ("notional", "orders", "refused"),
    [
        ("999.99", (), False),
        ("1000", (), False),
        ("1000.01", (), True),
        ("600", (pending(SOL, notional="400"),), False),
        ("600", (pending(SOL, notional="400.01"),), True),
        ("1000", (pending(SOL, notional="9999", reduce_only=True),), False),
    ],
)
def test_total_exposure_refuses_above_fifteen_percent(
    proposal: gate.Proposal, notional: str, orders: Any, refused: bool
) -> None:
    verdict = judge(proposal, positions=(held(ETH, "SHORT", notional),), pending=orders)
    assert refusing(verdict) == ({"total_exposure"} if refused else set())


@BOTH
@pytest.mark.parametrize(
    ("asked", "granted", "expected"),
    [("2.99", "2.99", "pass"), ("3", "3", "pass"), ("3.01", "3", "shrink"), ("20", "3", "shrink")],
)
def test_leverage_is_capped_at_three(proposal: gate.Proposal, asked: str, granted: str, expected: str) -> None:
    verdict = judge(replace(proposal, leverage=dec(asked)))
    assert verdict.approved
    assert verdict.leverage == dec(granted)
    assert verdict.contracts == dec("2.5")
    assert result(verdict, "leverage").verdict == expected


# --- stop and target ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposal", "stop", "refused"),
    [
        (LONG, "19999.9", False),
        (LONG, "20000", True),
        (LONG, "20000.1", True),
        (SHORT, "20000.1", False),
        (SHORT, "20000", True),
        (SHORT, "19999.9", True),
        (LONG, None, True),
        (SHORT, None, True),
        (LONG, "0", True),
        (SHORT, "0", True),
        (LONG, "-1", True),
        (LONG, "NaN", True),
        (LONG, "19999.95", True),  # between the last tick and the entry: it would be sent at the entry
    ],
)
def test_a_stop_loss_must_be_on_the_losing_side(proposal: gate.Proposal, stop: str | None, refused: bool) -> None:
    verdict = judge(replace(proposal, stop_loss=None if stop is None else dec(stop)))
    assert (result(verdict, "stop_loss").verdict == "reject") is refused
    assert verdict.approved is not refused


@pytest.mark.parametrize(
    ("proposal", "stop", "refused"),
    [
        (LONG, "19400.1", False),
        (LONG, "19400", False),
        (LONG, "19399.9", True),
        (LONG, "19399.99", True),  # though it would be sent at 19,400.0
        (SHORT, "20599.9", False),
        (SHORT, "20600", False),
        (SHORT, "20600.1", True),
        (SHORT, "20600.01", True),
    ],
)
def test_a_stop_may_be_three_percent_away(proposal: gate.Proposal, stop: str, refused: bool) -> None:
    target = dec(22000) if proposal is LONG else dec(18000)
    verdict = judge(replace(proposal, stop_loss=dec(stop), take_profit=target))
    assert refusing(verdict) == ({"sl_distance"} if refused else set())


@pytest.mark.parametrize(
    ("proposal", "target", "refused"),
    [
        (LONG, "20600.1", False),  # the risk is 400
        (LONG, "20600", False),
        (LONG, "20599.9", True),
        (LONG, "20000", True),
        (LONG, "19000", True),
        (SHORT, "19399.9", False),
        (SHORT, "19400", False),
        (SHORT, "19400.1", True),
        (SHORT, "20000", True),
        (SHORT, "21000", True),
        (LONG, None, True),
        (SHORT, None, True),
        (SHORT, "0", True),
        (LONG, "NaN", True),
    ],
)
def test_the_reward_is_at_least_one_and_a_half_times_the_risk(
    proposal: gate.Proposal, target: str | None, refused: bool
) -> None:
    verdict = judge(replace(proposal, take_profit=None if target is None else dec(target)))
    assert (result(verdict, "rr_ratio").verdict == "reject") is refused
    assert verdict.approved is not refused


def test_the_ratio_holds_for_the_prices_that_are_sent() -> None:
    coarse = replace(BTC, tick_size=dec(50))
    verdict = judge(replace(LONG, take_profit=dec(20620)), instrument=coarse)  # sent at 20,600: still 1.5
    assert (verdict.approved, verdict.take_profit) == (True, dec(20600))
    asked_for = replace(LONG, stop_loss=dec(19600), take_profit=dec(20600))
    assert judge(asked_for).approved
    # On a tick of 70 the stop stays and the target comes down to 20,580: 580 for a risk of 400.
    assert refusing(judge(asked_for, instrument=replace(BTC, tick_size=dec(70)))) == {"rr_ratio"}


@pytest.mark.parametrize(
    ("proposal", "stop", "target"),
    [
        (replace(LONG, stop_loss=dec("19600.04"), take_profit=dec("20800.06")), "19600.1", "20800.0"),
        (replace(SHORT, stop_loss=dec("20400.06"), take_profit=dec("19199.94")), "20400.0", "19200.0"),
    ],
)
def test_stop_and_target_are_sent_on_the_tick_towards_the_entry(
    proposal: gate.Proposal, stop: str, target: str
) -> None:
    verdict = judge(proposal)
    assert (verdict.stop_loss, verdict.take_profit) == (dec(stop), dec(target))


@pytest.mark.parametrize(
    ("proposal", "position", "stop", "refused"),
    [
        (ADD, HELD, "19499.9", True),  # the position's stop is 19,500
        (ADD, HELD, "19500", False),
        (ADD, HELD, "19500.1", False),
        (ADD_SHORT, SHORT_HELD, "20500.1", True),
        (ADD_SHORT, SHORT_HELD, "20500", False),
        (ADD_SHORT, SHORT_HELD, "20499.9", False),
        (ADD, replace(HELD, stop_loss=None), "19400", False),
        (ADD, replace(HELD, stop_loss=dec("NaN")), "19600", True),
    ],
)
def test_an_add_may_not_loosen_the_stop(
    proposal: gate.Proposal, position: gate.Position, stop: str, refused: bool
) -> None:
    target = dec(21000) if position.direction == "LONG" else dec(19000)
    verdict = judge(replace(proposal, stop_loss=dec(stop), take_profit=target), positions=(position,))
    assert refusing(verdict) == ({"add_stop"} if refused else set())


# --- correlation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposal", "other", "r", "halved"),
    [
        (LONG, "LONG", "0.8", False),
        (LONG, "LONG", "0.8000001", True),
        (SHORT, "SHORT", "0.8", False),
        (SHORT, "SHORT", "0.8000001", True),
        (LONG, "SHORT", "0.99", False),  # a hedge
        (SHORT, "LONG", "0.99", False),
        (LONG, "SHORT", "-0.8000001", True),
        (SHORT, "LONG", "-0.8", False),
        (LONG, "LONG", "-0.99", False),
        (LONG, "LONG", None, True),
        (LONG, "SHORT", None, True),  # not known: it might be -1
        (LONG, "LONG", "NaN", True),
    ],
)
def test_what_moves_alike_is_halved(proposal: gate.Proposal, other: str, r: str | None, halved: bool) -> None:
    verdict = judge(proposal, positions=(held(ETH, other),), correlations={ETH: None if r is None else dec(r)})
    assert verdict.approved
    assert result(verdict, "correlation").verdict == ("shrink" if halved else "pass")
    assert (verdict.contracts, verdict.size_pct) == (
        (dec("1.25"), dec("0.025")) if halved else (dec("2.5"), dec("0.05"))
    )


def test_an_absent_correlation_counts_as_correlated() -> None:
    verdict = judge(positions=(held(ETH),), correlations={})
    assert verdict.contracts == dec("1.25")
    assert "not known" in result(verdict, "correlation").reason


def test_only_what_moves_alike_is_named() -> None:
    verdict = judge(positions=(held(ETH), held(SOL)), correlations={ETH: dec("0.8"), SOL: dec("0.81")})
    assert result(verdict, "correlation").reason == f"Moves with {SOL}: the size is halved."


def test_the_size_is_halved_once_and_before_rounding_to_lots() -> None:
    odd = replace(LONG, size_pct=dec("0.0402"))  # 2.01 contracts: halved 1.005, floored 1.00
    verdict = judge(odd, positions=(held(ETH), held(SOL)), correlations={ETH: dec("0.9"), SOL: dec("0.95")})
    assert (verdict.contracts, verdict.size_pct) == (dec("1.00"), dec("0.0201"))
    assert result(verdict, "correlation").measured == "0.95"


def test_a_pending_opening_elsewhere_correlates_and_an_exit_or_the_own_instrument_does_not() -> None:
    alike = {ETH: dec("0.9"), BTC.symbol: dec(1)}
    assert judge(pending=(pending(ETH),), correlations=alike).contracts == dec("1.25")
    assert judge(pending=(pending(ETH, reduce_only=True),), correlations=alike).contracts == dec("2.5")
    assert judge(ADD, positions=(HELD,), correlations=alike).contracts == dec("0.5")


# --- limit orders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proposal", "price", "refused"),
    [
        (LONG, "19999.8", False),
        (LONG, "19999.9", False),  # the bid
        (LONG, "20000", True),
        (LONG, "19800.1", False),
        (LONG, "19800", False),  # 1 % below
        (LONG, "19799.9", True),
        (LONG, "19800.05", False),
        (SHORT, "20000.2", False),
        (SHORT, "20000.1", False),  # the ask
        (SHORT, "20000", True),
        (SHORT, "20199.9", False),
        (SHORT, "20200", False),
        (SHORT, "20200.1", True),
        (LONG, None, True),
        (LONG, "0", True),
        (LONG, "NaN", True),
        (SHORT, "Infinity", True),
    ],
)
def test_a_limit_order_rests_within_one_percent(proposal: gate.Proposal, price: str | None, refused: bool) -> None:
    stop, target = (dec(19600), dec(21000)) if proposal is LONG else (dec(20500), dec(19000))
    limit = None if price is None else dec(price)
    order = replace(proposal, order_type="limit", limit_price=limit, stop_loss=stop, take_profit=target)
    verdict = judge(order)
    assert (result(verdict, "limit_price").verdict == "reject") is refused
    assert verdict.approved is not refused
    assert (verdict.limit_price is None) is refused


def test_a_limit_order_is_sized_at_the_higher_of_limit_and_snapshot() -> None:
    buy = replace(LONG, order_type="limit", limit_price=dec(19900))
    sell = replace(SHORT, order_type="limit", limit_price=dec(20100), stop_loss=dec(20400), take_profit=dec(19200))
    assert judge(buy).contracts == dec("2.5")  # 500 / 200
    assert judge(sell).contracts == dec("2.48")  # 500 / 201 = 2.4876


def test_a_limit_price_is_sent_on_the_tick_away_from_the_market() -> None:
    buy = replace(LONG, order_type="limit", limit_price=dec("19990.07"))
    sell = replace(SHORT, order_type="limit", limit_price=dec("20010.03"))
    assert judge(buy).limit_price == dec("19990.0")
    assert judge(sell).limit_price == dec("20010.1")


def test_the_distance_of_a_stop_counts_from_the_limit_price() -> None:
    buy = replace(LONG, order_type="limit", limit_price=dec(19900), stop_loss=dec(19303), take_profit=dec(21000))
    assert judge(buy).approved  # 597 is 3 % of 19,900
    assert refusing(judge(replace(buy, stop_loss=dec("19302.9")))) == {"sl_distance"}


def test_the_limit_price_of_a_market_order_is_ignored() -> None:
    assert judge(replace(LONG, limit_price=dec("NaN"))).approved


# --- sizes below the venue's minimum --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("size", "contracts"), [("0.0004", "0.02"), ("0.0002", "0.01"), ("0.000199", "0"), ("0.0000001", "0")]
)
def test_less_than_the_minimum_is_too_small(proposal: gate.Proposal, size: str, contracts: str) -> None:
    verdict = judge(replace(proposal, size_pct=dec(size)))
    assert verdict.contracts == dec(contracts)
    assert verdict.outcome == ("approved" if verdict.contracts else "size_too_small")
    assert refusing(verdict) == (set() if verdict.contracts else {"min_size"})


def test_halving_can_make_a_size_too_small() -> None:
    small = replace(LONG, size_pct=dec("0.0002"))
    assert judge(small).approved
    assert judge(small, positions=(held(ETH),), correlations={}).outcome == "size_too_small"


# --- form and fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity", "-1", "0"])
@pytest.mark.parametrize("name", ["size_pct", "leverage", "snapshot_price", "bid", "ask"])
def test_a_number_that_is_none_is_refused_by_name(name: str, bad: str) -> None:
    changes: dict[str, Any] = {name: dec(bad)}
    verdict = judge(replace(LONG, **changes))
    assert f"{name} is {bad}" in result(verdict, "well_formed").reason
    assert (verdict.approved, verdict.contracts, verdict.size_pct) == (False, dec(0), dec(0))


@pytest.mark.parametrize("name", ["ct_val", "lot_size", "min_size", "tick_size"])
@pytest.mark.parametrize("bad", ["NaN", "-1", "0"])
def test_an_instrument_without_terms_opens_nothing(name: str, bad: str) -> None:
    changes: dict[str, Any] = {name: dec(bad)}
    assert "well_formed" in refusing(judge(instrument=replace(BTC, **changes)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"symbol": "DOGE-USDT-SWAP"}, "'DOGE-USDT-SWAP' is not the instrument at hand"),
        ({"action": "BUY_EVERYTHING"}, "action 'BUY_EVERYTHING' is unknown"),
        ({"order_type": "iceberg"}, "order type 'iceberg' is unknown"),
        ({"bid": dec("20000.2")}, "bid is above ask"),
        ({"take_profit": dec("-1")}, "take_profit is -1"),
        ({"size_pct": dec("1E+999999")}, "cannot be computed"),
    ],
)
def test_nonsense_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    verdict = judge(replace(LONG, **changes))
    assert reason in result(verdict, "well_formed").reason
    assert verdict.outcome == "gate_rejected"


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"positions": (HELD,)},
        {"positions": (SHORT_HELD,)},
        {"pending": (pending(BTC.symbol, notional="1"),)},
        {"pending": (pending(BTC.symbol, reduce_only=True),)},
    ],
    ids=["long open", "short open", "opening pending", "exit pending"],
)
def test_nothing_is_opened_over_what_is_open_or_pending(proposal: gate.Proposal, changes: dict[str, Any]) -> None:
    assert "well_formed" in refusing(judge(replace(proposal, size_pct=dec("0.01")), **changes))


def test_an_add_needs_a_position_that_is_not_being_left() -> None:
    assert judge(ADD, positions=(HELD,)).approved
    assert "well_formed" in refusing(judge(ADD))
    assert "well_formed" in refusing(judge(ADD, pending=(pending(BTC.symbol),)))
    assert refusing(judge(ADD, positions=(HELD,), pending=(pending(BTC.symbol, reduce_only=True),))) == {"well_formed"}


def test_a_book_without_spread_and_a_position_worth_nothing_are_sound() -> None:
    assert judge(replace(LONG, bid=dec(20000), ask=dec(20000))).approved
    assert judge(positions=(held(ETH, notional="0"),)).approved


def test_a_stop_at_the_entry_leaves_no_ratio_to_measure() -> None:
    found = result(judge(replace(LONG, stop_loss=dec(20000))), "rr_ratio")
    assert (found.verdict, found.measured) == ("reject", None)


@pytest.mark.parametrize("broken", [replace(HELD, notional_usd=dec("NaN")), replace(HELD, notional_usd=dec(-1))])
def test_exposure_that_cannot_be_measured_opens_nothing(broken: gate.Position) -> None:
    verdict = judge(positions=(replace(broken, symbol=ETH),), correlations={ETH: dec(0)})
    assert refusing(verdict) == {"total_exposure"}
    assert result(verdict, "total_exposure").measured is None
    assert "cannot be measured" in result(verdict, "total_exposure").reason


# --- exits ----------------------------------------------------------------------------------------------------------

STATES: dict[str, dict[str, Any]] = {
    "calm": {},
    "halted": {"state": replace(CALM, halts=(gate.Halt(kind="manual", reason="no", since=NOW, until=None),))},
    "cooldown": {"state": replace(CALM, loss_streak=9, cooldown_until=NOW + timedelta(hours=1))},
    "daily loss": {"equity": "9000"},
    "ruined": {"equity": "-10"},
    "equity not a number": {"equity": "NaN"},
    "no day start": {"state": replace(CALM, day_start_equity=dec(0), peak_equity=dec("NaN"))},
    "full": {"pending": tuple(pending(symbol, notional="9999") for symbol in (ETH, SOL, XRP, BTC.symbol))},
    "bad snapshot": {"instrument": replace(BTC, lot_size=dec("NaN"), tick_size=dec(0))},
}
IN_ANY_STATE = pytest.mark.parametrize("changes", STATES.values(), ids=STATES.keys())


@IN_ANY_STATE
@pytest.mark.parametrize("position", [HELD, SHORT_HELD], ids=["long", "short"])
def test_a_close_passes_in_every_state_and_takes_the_whole_position(
    position: gate.Position, changes: dict[str, Any]
) -> None:
    verdict = judge(CLOSE, positions=(position,), **changes)
    assert (verdict.approved, verdict.outcome, verdict.refusals) == (True, "approved", ())
    assert (verdict.contracts, verdict.reduce_only) == (position.size, True)
    assert (verdict.stop_loss, verdict.take_profit, verdict.limit_price, verdict.size_pct) == (None, None, None, dec(0))


@IN_ANY_STATE
@pytest.mark.parametrize("position", [HELD, SHORT_HELD], ids=["long", "short"])
def test_a_reduce_passes_in_every_state_and_never_exceeds_the_position(
    position: gate.Position, changes: dict[str, Any]
) -> None:
    verdict = judge(REDUCE, positions=(position,), **changes)
    assert (verdict.approved, verdict.reduce_only) == (True, True)
    assert 0 < verdict.contracts <= position.size


@pytest.mark.parametrize(
    ("size", "contracts"),
    [
        ("0.01", "0.5"),  # 100 USD of 250
        ("0.0247", "1.23"),  # 1.235 floored: 0.02 stay
        ("0.0248", "1.24"),  # 0.01, the minimum, stays
        ("0.02499", "1.24"),
        ("0.025", "1.25"),
        ("0.5", "1.25"),  # clipped
        ("1E+300", "1.25"),
    ],
)
def test_a_reduce_takes_the_notional_asked_for_clipped_to_what_is_open(size: str, contracts: str) -> None:
    assert judge(replace(REDUCE, size_pct=dec(size)), positions=(HELD,)).contracts == dec(contracts)


def test_a_remainder_below_the_minimum_is_closed_with_the_rest() -> None:
    coarse = replace(BTC, min_size=dec("0.1"))
    assert judge(replace(REDUCE, size_pct=dec("0.023")), positions=(HELD,), instrument=coarse).contracts == dec("1.15")
    assert judge(replace(REDUCE, size_pct=dec("0.0231")), positions=(HELD,), instrument=coarse).contracts == dec("1.15")
    assert judge(replace(REDUCE, size_pct=dec("0.0232")), positions=(HELD,), instrument=coarse).contracts == dec("1.25")


def test_a_whole_exit_is_exempt_from_the_minimum_and_a_partial_one_is_not() -> None:
    crumb = replace(HELD, size=dec("0.005"))
    assert judge(CLOSE, positions=(crumb,)).contracts == dec("0.005")
    assert judge(replace(REDUCE, size_pct=dec("0.0001")), positions=(crumb,)).contracts == dec("0.005")
    assert judge(replace(REDUCE, size_pct=dec("0.0001")), positions=(HELD,)).outcome == "size_too_small"


@pytest.mark.parametrize("proposal", [CLOSE, REDUCE], ids=["close", "reduce"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": (held(ETH),)},
        {"positions": (HELD, SHORT_HELD)},
        {"positions": (replace(HELD, size=dec("NaN")),)},
        {"positions": (replace(HELD, size=dec(0)),)},
        {"positions": (HELD,), "pending": (pending(BTC.symbol, reduce_only=True),)},
    ],
    ids=["nothing open", "open elsewhere", "open both ways", "size unknown", "size zero", "exit in flight"],
)
def test_an_exit_that_fits_no_position_is_refused(proposal: gate.Proposal, changes: dict[str, Any]) -> None:
    verdict = judge(proposal, **changes)
    assert "well_formed" in refusing(verdict)
    assert refusing(verdict) <= {"well_formed", "min_size"}  # a reduction of nothing has no size either
    assert (verdict.outcome, verdict.contracts) == ("gate_rejected", dec(0))


@pytest.mark.parametrize("bad", ["0", "-0.01", "NaN", "Infinity"])
def test_a_reduce_by_no_number_is_refused(bad: str) -> None:
    assert refusing(judge(replace(REDUCE, size_pct=dec(bad)), positions=(HELD,))) == {"well_formed"}


def test_an_exit_still_reports_a_halt_it_found() -> None:
    verdict = judge(CLOSE, positions=(HELD,), equity="9700")
    assert verdict.approved
    assert [kind for kind, _ in verdict.new_halts] == ["daily_loss"]


@IN_ANY_STATE
def test_a_hold_touches_nothing(changes: dict[str, Any]) -> None:
    verdict = judge(HOLD, **changes)
    assert (verdict.approved, verdict.contracts, verdict.reduce_only) == (True, dec(0), False)


@pytest.mark.parametrize(
    ("proposal", "positions", "expected"),
    [
        (LONG, (), "LONG"),
        (SHORT, (HELD,), "SHORT"),
        (ADD, (HELD,), "LONG"),
        (CLOSE, (held(ETH), SHORT_HELD), "SHORT"),
        (CLOSE, (held(ETH),), None),
        (REDUCE, (HELD, SHORT_HELD), None),
    ],
)
def test_the_direction_is_the_proposals_or_the_positions(
    proposal: gate.Proposal, positions: tuple[gate.Position, ...], expected: str | None
) -> None:
    assert gate.direction_of(proposal, positions) == expected


# --- the outcome and the record -------------------------------------------------------------------------------------


def test_the_weightiest_reason_names_the_outcome() -> None:
    halted = gate.Halt(kind="manual", reason="no", since=NOW, until=None)
    huge = replace(LONG, size_pct=dec(1))
    tired = replace(CALM, loss_streak=3)
    assert judge(huge, state=replace(tired, halts=(halted,))).outcome == "halted"
    assert judge(huge, state=tired).outcome == "cooldown"
    assert judge(huge).outcome == "gate_rejected"


def test_inputs_and_verdicts_survive_json_exactly() -> None:
    halts = (gate.Halt(kind="manual", reason="no", since=NOW, until=None),)
    given = inputs(
        replace(ADD, size_pct=dec("0.0100"), limit_price=dec("NaN")),
        positions=(HELD, held(ETH)),
        pending=(pending(SOL),),
        correlations={ETH: dec("0.91"), SOL: None},
        state=replace(CALM, cooldown_until=NOW, halts=halts, peak_equity=dec("1E+4")),
    )
    stored = json.loads(json.dumps(gate.inputs_to_dict(**given)))
    revived = gate.inputs_from_dict(stored)
    assert gate.inputs_to_dict(**revived) == stored
    assert stored["now"] == "2022-11-09T12:00:00Z"
    assert (stored["proposal"]["size_pct"], stored["state"]["peak_equity"]) == ("0.0100", "1E+4")
    assert {name: value for name, value in revived.items() if name != "proposal"} == {
        name: value for name, value in given.items() if name != "proposal"
    }
    before, after = gate.evaluate(**given), gate.evaluate(**revived)
    assert before == after
    assert json.dumps(before.as_dict()) == json.dumps(after.as_dict())
    assert before.as_dict()["contracts"] == "0"


def test_a_time_of_another_zone_is_compared_as_a_moment() -> None:
    until = datetime(2022, 11, 9, 13, 0, tzinfo=UTC)
    assert judge(state=replace(CALM, cooldown_until=until)).outcome == "cooldown"
    assert judge(state=replace(CALM, cooldown_until=until), now=until).approved


def test_the_tuple_is_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    oversized = replace(LONG, size_pct=dec("0.06"))
    assert not judge(oversized).approved
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule is not gate.trade_size))
    assert judge(oversized).approved


def test_the_measured_value_reads_like_a_number() -> None:
    third = judge(replace(LONG, take_profit=dec("21333.3"), stop_loss=dec("19700")))
    assert result(third, "rr_ratio").measured == "4.44433333333"
    assert result(judge(equity=Decimal("1E+30")), "daily_loss").measured == "1E+26"
