"""What a person reads of a verdict: what each rule measured, its limit, and a sentence, to the letter.

The cases are those of `cases`: equity 10,000, entry 20,000, a stop 400 and a target 800 away.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from risk import gate
from tests.unit.risk.cases import BTC, CALM, HELD, LONG, NOW, SHORT, dec, held, judge, pending, result

ETH, SOL, XRP = "ETH-USDT-SWAP", "SOL-USDT-SWAP", "XRP-USDT-SWAP"
ADD = replace(LONG, action="ADD", size_pct=dec("0.01"))
CLOSE = replace(LONG, action="CLOSE", stop_loss=None, take_profit=None)
REDUCE = replace(CLOSE, action="REDUCE", size_pct=dec("0.02"))
HOLD = replace(CLOSE, action="HOLD")
LIMIT = replace(LONG, order_type="limit", limit_price=dec("19900"), stop_loss=dec(19502), take_profit=dec(20696))
DAILY = gate.Halt(kind="daily_loss", reason="lost 3 %", since=NOW, until=NOW + timedelta(hours=12))
PERSON = gate.Halt(kind="manual", reason="a walk", since=NOW, until=None)

Told = tuple[str, str | None, str | None, str]
NO_CHANGE: dict[str, Told] = {
    "daily_loss": (
        "pass",
        "0",
        "-0.03",
        "Equity changed by 0 % since the day's start at 10000 USD; openings halt at -3 %.",
    ),
    "drawdown": ("pass", "0", "-0.1", "Equity changed by 0 % since the peak of 10000 USD; openings halt at -10 %."),
}
SOUND: dict[str, Told] = {
    **NO_CHANGE,
    "cooldown": ("pass", "0", "3", "0 losses in a row; 3 start a cooldown."),
    "position_count": ("pass", "0", "3", "0 positions are open or pending; nothing is opened from 3 on."),
    "trade_size": ("pass", "0.05", "0.05", "The position would be 5 % of equity; at most 5 % is allowed."),
    "total_exposure": ("pass", "0.05", "0.15", "Exposure would be 5 % of equity; at most 15 % is allowed."),
    "leverage": ("pass", "2", "3", "Leverage is 2; at most 3."),
    "stop_loss": ("pass", "19600", "20000", "The stop at 19600 is on the right side of the entry 20000."),
    "sl_distance": ("pass", "0.02", "0.03", "The stop is 2 % from the entry; at most 3 % is allowed."),
    "rr_ratio": ("pass", "2", "1.5", "Reward is 2 times the risk; at least 1.5 times is needed."),
    "correlation": ("pass", None, "0.8", "Nothing held elsewhere moves alike."),
    "halted": ("pass", None, None, "No halt stands."),
    "well_formed": ("pass", None, None, "The proposal makes sense."),
    "limit_price": ("pass", None, None, "Not a limit order to open or add."),
    "add_stop": ("pass", None, None, "Not asked of OPEN_LONG."),
    "min_size": ("pass", "2.5", "0.01", "The order would be 2.5 contracts; the venue takes 0.01 at least."),
}


def told(verdict: gate.Verdict) -> dict[str, Told]:
    return {found.rule: (found.verdict, found.measured, found.limit, found.reason) for found in verdict.results}


def test_a_sound_opening() -> None:
    assert told(judge()) == SOUND


def not_asked(action: str) -> dict[str, Told]:
    asked = {"well_formed": SOUND["well_formed"], "limit_price": SOUND["limit_price"], **NO_CHANGE}
    return {name: asked.get(name, ("pass", None, None, f"Not asked of {action}.")) for name in SOUND}


def test_what_is_asked_of_exits_and_of_an_add() -> None:
    assert told(judge(CLOSE, positions=(HELD,))) == not_asked("CLOSE")
    assert told(judge(HOLD)) == {**not_asked("HOLD"), "well_formed": ("pass", None, None, "Not asked of HOLD.")}
    order = ("pass", "1", "0.01", "The order would be 1 contracts; the venue takes 0.01 at least.")
    assert told(judge(REDUCE, positions=(HELD,))) == {**not_asked("REDUCE"), "min_size": order}
    added = told(judge(ADD, positions=(HELD,)))
    assert added["position_count"] == ("pass", None, None, "Not asked of ADD.")
    assert {name for name, (*_, reason) in added.items() if reason.startswith("Not asked")} == {"position_count"}


def test_a_hopeless_opening() -> None:
    verdict = judge(
        replace(LONG, size_pct=dec("0.2"), stop_loss=None, take_profit=None, leverage=dec("7.5")),
        equity="8900",
        positions=(held(ETH, notional="300"), held(SOL, notional="300"), held(XRP)),
        correlations={ETH: dec("0.9"), SOL: dec("0.85"), XRP: None},
        state=replace(CALM, loss_streak=5, cooldown_until=NOW + timedelta(minutes=5), halts=(DAILY, PERSON)),
        instrument=replace(BTC, min_size=dec(9)),
    )
    alike = f"Moves with {ETH}, {SOL}, {XRP} (where it is not known it counts as such): the size is halved."
    assert told(verdict) == {
        **SOUND,
        "daily_loss": (
            "halt",
            "-0.11",
            "-0.03",
            "Equity changed by -11 % since the day's start at 10000 USD; openings halt at -3 %.",
        ),
        "drawdown": (
            "halt",
            "-0.11",
            "-0.1",
            "Equity changed by -11 % since the peak of 10000 USD; openings halt at -10 %.",
        ),
        "cooldown": ("reject", "5", "3", "Cooling down until 2022-11-09T12:05:00Z."),
        "position_count": ("reject", "3", "3", "3 positions are open or pending; nothing is opened from 3 on."),
        "trade_size": ("reject", "0.2", "0.05", "The position would be 20 % of equity; at most 5 % is allowed."),
        "total_exposure": (
            "reject",
            "0.278651685393",
            "0.15",
            "Exposure would be 27.8652 % of equity; at most 15 % is allowed.",
        ),
        "leverage": ("shrink", "7.5", "3", "Leverage 7.5 is capped to 3."),
        "stop_loss": ("reject", None, "20000", "There is no stop loss above zero."),
        "sl_distance": ("reject", None, "0.03", "sl_distance cannot be measured with these figures"),
        "rr_ratio": ("reject", None, "1.5", "There is no take profit on the winning side of the entry."),
        "correlation": ("shrink", "0.9", "0.8", alike),
        "halted": ("reject", "2", "0", "Halted (daily_loss: lost 3 %; manual: a walk)."),
        "min_size": ("reject", "4.45", "9", "The order would be 4.45 contracts; the venue takes 9 at least."),
    }


def test_an_opening_without_figures() -> None:
    verdict = judge(replace(LONG, leverage=dec("NaN"), size_pct=dec("NaN"), snapshot_price=dec("NaN")), equity="NaN")
    unmeasured = ("daily_loss", "drawdown", "trade_size", "total_exposure", "leverage", "sl_distance", "min_size")
    expected: dict[str, Told] = {
        **SOUND,
        **{
            name: ("reject", None, SOUND[name][2], f"{name} cannot be measured with these figures")
            for name in unmeasured
        },
        "stop_loss": ("reject", "19600", None, "stop_loss cannot be measured with these figures"),
        "rr_ratio": ("reject", None, "1.5", "There is no take profit on the winning side of the entry."),
        "well_formed": (
            "reject",
            None,
            None,
            "The proposal does not make sense: size_pct is NaN, a number above zero is needed; snapshot_price is NaN, a"
            " number above zero is needed; leverage is NaN, a number above zero is needed; the size in contracts cannot"
            " be computed.",
        ),
    }
    assert told(verdict) == expected
    assert verdict.leverage == 1


@pytest.mark.parametrize(
    ("rule", "proposal", "changes", "expected"),
    [
        (
            "limit_price",
            LIMIT,
            {},
            (
                "pass",
                "0.005",
                "0.01",
                "The limit price rests in the book, 0.5 % from the snapshot; at most 1 % is allowed.",
            ),
        ),
        (
            "limit_price",
            replace(LIMIT, limit_price=dec("20001.07")),
            {},  # sent at 20,001.0
            (
                "reject",
                "0.0000535",
                "0.01",
                "The limit price would not rest in the book, 0.00535 % from the snapshot; at most 1 % is allowed.",
            ),
        ),
        (
            "stop_loss",
            replace(SHORT, stop_loss=dec("19900")),
            {},
            ("reject", "19900", "20000", "The stop at 19900 is on the wrong side of the entry 20000."),
        ),
        (
            "sl_distance",
            replace(LONG, stop_loss=dec("19300.06")),
            {},  # sent at 19,300.1
            ("reject", "0.034997", "0.03", "The stop is 3.4997 % from the entry; at most 3 % is allowed."),
        ),
        (
            "rr_ratio",
            replace(LONG, take_profit=dec("20000.57")),
            {},  # sent at 20,000.5
            ("reject", "0.00125", "1.5", "Reward is 0.00125 times the risk; at least 1.5 times is needed."),
        ),
        (
            "rr_ratio",
            replace(LONG, take_profit=dec("20000")),
            {},
            ("reject", None, "1.5", "There is no take profit on the winning side of the entry."),
        ),
        (
            "rr_ratio",
            replace(LONG, stop_loss=dec("20000")),
            {},
            ("reject", None, "1.5", "rr_ratio cannot be measured with these figures"),
        ),
        (
            "leverage",
            replace(LONG, leverage=dec("3.01")),
            {},
            ("shrink", "3.01", "3", "Leverage 3.01 is capped to 3."),
        ),
        (
            "correlation",
            LONG,
            {"positions": (held(ETH), held(SOL)), "correlations": {ETH: dec("0.123"), SOL: dec("-0.5")}},
            ("pass", "0.123", "0.8", "Nothing held elsewhere moves alike."),
        ),
        (
            "correlation",
            LONG,
            {"positions": (held(ETH), held(SOL)), "correlations": {ETH: dec("0.81"), SOL: dec("0.5")}},
            ("shrink", "0.81", "0.8", f"Moves with {ETH}: the size is halved."),
        ),
        (
            "add_stop",
            replace(ADD, stop_loss=dec("19450"), take_profit=dec(21000)),
            {"positions": (HELD,)},
            ("reject", "19450", "19500", "The stop would move from 19500 to 19450; it may only come closer."),
        ),
        (
            "add_stop",
            replace(ADD, stop_loss=dec("19450")),
            {"positions": (replace(HELD, stop_loss=None),)},
            ("pass", "19450", None, "The position has no stop that could be loosened."),
        ),
        (
            "drawdown",
            LONG,
            {"equity": "-5"},
            ("halt", None, "-0.1", "Equity is -5 USD: nothing is left to trade with."),
        ),
        (
            "daily_loss",
            CLOSE,
            {"positions": (HELD,), "equity": "NaN"},
            ("warn", None, "-0.03", "daily_loss cannot be measured with these figures"),
        ),
    ],
)
def test_the_sentence_of_a_rule(rule: str, proposal: gate.Proposal, changes: dict[str, Any], expected: Told) -> None:
    assert told(judge(proposal, **changes))[rule] == expected


OTHERS = "a position in this instrument is open or pending"
LEAVING = pending(BTC.symbol, reduce_only=True)


@pytest.mark.parametrize(
    ("proposal", "changes", "faults"),
    [
        (
            replace(LONG, symbol=ETH, action="BUY", order_type="iceberg"),
            {},
            f"'{ETH}' is not the instrument at hand, {BTC.symbol}; action 'BUY' is unknown; order type 'iceberg' is"
            " unknown; the size in contracts cannot be computed",
        ),
        (
            replace(LONG, bid=dec(0), ask=dec("-1")),
            {},
            "bid is 0, a number above zero is needed; ask is -1, a number above zero is needed; bid is above ask",
        ),
        (
            replace(LONG, stop_loss=dec(-1), take_profit=dec("NaN")),
            {},
            "stop_loss is -1, a price is needed; take_profit is NaN, a price is needed",
        ),
        (
            LONG,
            {"instrument": replace(BTC, min_size=dec(0), tick_size=dec("NaN"))},
            "the instrument's min_size is 0; the instrument's tick_size is NaN",
        ),
        (replace(LONG, size_pct=dec("1E+999999")), {}, "the size in contracts cannot be computed"),
        (LONG, {"positions": (HELD,)}, OTHERS),
        (LONG, {"pending": (LEAVING,)}, OTHERS),
        (ADD, {"pending": (LEAVING,)}, "ADD needs exactly one open position; an exit is on its way"),
        (CLOSE, {}, "CLOSE needs exactly one open position"),
        (
            CLOSE,
            {"positions": (replace(HELD, size=dec(0)),), "pending": (LEAVING,)},
            "the open position's size is 0; an exit is on its way already",
        ),
        (replace(REDUCE, size_pct=dec(0)), {"positions": (HELD,)}, "size_pct is 0, a number above zero is needed"),
    ],
)
def test_all_that_does_not_make_sense_is_told(proposal: gate.Proposal, changes: dict[str, Any], faults: str) -> None:
    assert result(judge(proposal, **changes), "well_formed").reason == f"The proposal does not make sense: {faults}."
