"""Every number that stands in the gate's modules by itself: nudged either way, something judged comes out differently.

Each has an example that lies on its edge. The expected answers are computed by hand, not taken from the constant.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import ModuleType
from typing import Any

import pytest

from risk import case, gate, inputs, limits, measures, sizing
from risk.drill import drill
from risk.limits import LIMIT_FIELDS, LimitField, parse_limits
from tests.unit.risk.cases import CALM, HELD, LIMITS, LONG, NOW, SHORT, dec, held, judge, result

MODULES = (gate, case, measures, sizing, inputs)
ETH = "ETH-USDT-SWAP"
ADD = replace(LONG, action="ADD", size_pct=dec("0.01"))
CLOSE = replace(LONG, action="CLOSE", stop_loss=None, take_profit=None)


def warning(equity: str) -> str:
    return result(judge(equity=equity), "daily_loss").verdict


def rests(price: str) -> bool:
    buy = replace(LONG, order_type="limit", limit_price=dec(price), stop_loss=dec(19600), take_profit=dec(21000))
    return judge(buy).approved


def halved() -> tuple[Decimal, Decimal]:
    verdict = judge(positions=(held(ETH),), correlations={})
    return verdict.contracts, verdict.size_pct


def halts() -> list[str]:
    return [kind for kind, _ in judge(equity="8999", state=CALM).new_halts]


def daily_halt_at_its_end() -> bool:
    return judge(state=replace(CALM, halts=(gate.Halt(kind="daily_loss", reason="", since=NOW, until=NOW),))).approved


def sent_limits() -> tuple[Decimal | None, ...]:
    """A limit price between two ticks, of a buy and of a sell."""
    buy = replace(LONG, order_type="limit", limit_price=dec("19990.07"))
    sell = replace(SHORT, order_type="limit", limit_price=dec("20010.03"))
    return judge(buy).limit_price, judge(sell).limit_price


def last_digit() -> bool:
    """A size beyond its limit by less than any smaller precision shows."""
    return judge(replace(LONG, size_pct=dec("0.05" + 98 * "0" + "1"))).approved


def broken() -> str:
    return judge(replace(LONG, snapshot_price=dec("NaN")), equity="NaN").outcome


def digits() -> tuple[str | None, str]:
    found = result(judge(replace(LONG, take_profit=dec("21333.3"), stop_loss=dec("19700"))), "rr_ratio")
    return found.measured, found.reason.partition(" times")[0]


def directions() -> tuple[bool, bool, bool]:
    opposite = replace(LONG, stop_loss=SHORT.stop_loss, take_profit=SHORT.take_profit)
    return judge(LONG).approved, judge(SHORT).approved, judge(opposite).approved


def longest(count: int) -> bool:
    """Whether a number of so many digits is computed with."""
    try:
        return sizing.notional(Decimal("7" * count), Decimal(1), Decimal(1)) > 0
    except ValueError:
        return False


def too_long() -> bool:
    """Whether a number of contracts that no context can hold is refused as such."""
    try:
        sizing.contracts(*(Decimal(text) for text in ("1", "1E+300", "1E-300", "1", "1")))
    except ValueError:
        return True
    return False


def actions() -> list[str]:
    """What each kind of action comes to with a position open, and without."""
    proposals = (LONG, SHORT, ADD, CLOSE, replace(CLOSE, action="REDUCE"))
    return [judge(proposal, positions=positions).outcome for proposal in proposals for positions in ((), (HELD,))]


def nothing_held() -> str | None:
    return result(judge(), "total_exposure").measured


def unasked_leverage() -> Decimal:
    return judge(replace(LONG, leverage=dec("NaN"))).leverage


OUTCOMES = ["approved", "gate_rejected"] * 2 + ["gate_rejected", "approved"] * 3
EXACT, QUIET = sizing._EXACT, measures.QUIET
EXAMPLES: list[tuple[str, list[Any], Callable[[], Any], Any]] = [
    ("DAILY_LOSS", ["daily"], halts, ["daily_loss", "drawdown"]),
    ("DAILY_LOSS", ["daily"], daily_halt_at_its_end, True),
    ("DRAWDOWN", ["fall"], halts, ["daily_loss", "drawdown"]),
    ("WARN_SHARE", ["0.80001", "0.9", "1"], lambda: warning("9760"), "warn"),
    ("WARN_SHARE", ["0.7999", "0.7", "0"], lambda: warning("9760.01"), "pass"),
    ("LIMIT_PRICE_BAND", ["0.00999", "0.005", "0"], lambda: rests("19800"), True),
    ("LIMIT_PRICE_BAND", ["0.01001", "0.02", "1"], lambda: rests("19799.9"), False),
    ("_HALF", ["0.49", "0.51", "1"], halved, (dec("1.25"), dec("0.025"))),
    ("_INFINITY", ["0", "1"], sent_limits, (dec("19990.0"), dec("20010.1"))),
    ("QUIET", [Context(prec=99, traps=[]), Context(prec=28, traps=[])], last_digit, False),
    ("QUIET", [Context(prec=100, traps=[InvalidOperation])], broken, "gate_rejected"),
    ("ZERO", ["1", "0.0001"], nothing_held, "0.05"),
    ("ONE", ["2", "0.99"], unasked_leverage, dec(1)),
    ("NAN", ["0", "1"], broken, "gate_rejected"),
    (
        "_READABLE",
        [Context(prec=11, traps=[]), Context(prec=13, traps=[])],
        digits,
        ("4.44433333333", "Reward is 4.44433"),
    ),
    ("_SPOKEN", [Context(prec=5, traps=[]), Context(prec=7, traps=[])], digits, ("4.44433333333", "Reward is 4.44433")),
    (
        "_SIGNS",
        [{"LONG": dec(1)}, {"SHORT": dec(-1)}, {"LONG": dec(-1), "SHORT": dec(1)}],
        directions,
        (True, True, False),
    ),
    (
        "_EXACT",
        [Context(prec=199, traps=EXACT.traps), Context(prec=100, traps=EXACT.traps)],
        lambda: longest(200),
        True,
    ),
    (
        "_EXACT",
        [Context(prec=201, traps=EXACT.traps), Context(prec=200, traps=[InvalidOperation])],
        lambda: longest(201),
        False,
    ),
    ("_EXACT", [Context(prec=200, traps=[Inexact])], too_long, True),
    ("OPENINGS", [("OPEN_LONG",), ("OPEN_SHORT",), ()], actions, OUTCOMES),
    ("EXITS", [("CLOSE",), ("REDUCE",), ()], actions, OUTCOMES),
]


def replaced(original: Any, nudge: Any) -> Any:
    return Decimal(nudge) if isinstance(original, Decimal) else nudge


@pytest.mark.parametrize(
    ("name", "nudge", "example", "expected"),
    [(name, nudge, example, expected) for name, nudges, example, expected in EXAMPLES for nudge in nudges],
    ids=[
        f"{name}-{place}-{number}" for place, (name, nudges, *_) in enumerate(EXAMPLES) for number in range(len(nudges))
    ],
)
def test_a_nudged_constant_is_noticed(
    name: str, nudge: Any, example: Callable[[], Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert example() == expected
    for module in MODULES:
        if hasattr(module, name):
            monkeypatch.setattr(module, name, replaced(getattr(module, name), nudge))
    try:
        found = example()
    except ArithmeticError:
        return
    assert found != expected


def constants(module: ModuleType) -> set[str]:
    """The names of values, not of types, that a module has in capitals."""
    values = (Decimal, Context, str, int, tuple, dict)
    return {name for name, value in vars(module).items() if name.strip("_").isupper() and isinstance(value, values)}


def test_no_constant_is_left_out() -> None:
    assert set().union(*(constants(module) for module in MODULES)) - {"RULES"} == {name for name, *_ in EXAMPLES}


# --- the limits -------------------------------------------------------------------------------------------------------

PUBLISHED = {
    "MAX_DAILY_LOSS_PCT": ("0.03", None, "0.10"),
    "MAX_SINGLE_TRADE_PCT": ("0.05", None, "0.25"),
    "MAX_TOTAL_EXPOSURE_PCT": ("0.15", None, "1.0"),
    "MAX_CONCURRENT_POSITIONS": ("3", "1", "20"),
    "MAX_DRAWDOWN_PCT": ("0.10", None, "0.30"),
    "MAX_CONSECUTIVE_LOSSES": ("3", "1", "10"),
    "MAX_LEVERAGE": ("3", "1", "10"),
    "MAX_SL_DISTANCE_PCT": ("0.03", None, "0.10"),
    "MIN_RR_RATIO": ("1.5", "1.0", "100"),
    "MAX_CORRELATION": ("0.8", None, "0.95"),
    "COOLDOWN_AFTER_LOSS_STREAK": ("1800", "300", "604800"),
}
"""Default, floor (None: above zero) and ceiling of each limit, as they were published."""


def test_defaults_and_hard_bounds_are_the_published_ones() -> None:
    assert {field.name: (field.default, field.floor, field.ceiling) for field in LIMIT_FIELDS} == PUBLISHED
    counts = {"MAX_CONCURRENT_POSITIONS", "MAX_CONSECUTIVE_LOSSES", "COOLDOWN_AFTER_LOSS_STREAK"}
    assert {field.name for field in LIMIT_FIELDS if field.whole} == counts


@pytest.mark.parametrize("field", LIMIT_FIELDS, ids=lambda field: field.name)
@pytest.mark.parametrize("factor", ["0.999", "1.001"])
def test_a_nudged_default_is_noticed(field: LimitField, factor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = (
        int(field.default) + (1 if factor > "1" else -1) if field.whole else Decimal(field.default) * Decimal(factor)
    )
    nudged = tuple(replace(each, default=f"{default}") if each is field else each for each in LIMIT_FIELDS)
    monkeypatch.setattr(limits, "LIMIT_FIELDS", nudged)
    moved = parse_limits({})
    assert moved != LIMITS
    if field.name != "COOLDOWN_AFTER_LOSS_STREAK":  # how long a cooldown lasts is the risk state's to say
        judged = drill(LIMITS, lambda **given: gate.evaluate(**{**given, "limits": moved}))
        assert any(finding.fault for finding in judged)


@pytest.mark.parametrize(
    ("name", "misspelling"), [("MAX_LEVRAGE", 0.97), ("MAX_LEVERAGE_X", 0.95), ("MAX_RATIO", 0.6)], ids=str
)
def test_how_alike_a_misspelt_name_is(name: str, misspelling: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold of 0.8 lies between what is a misspelling and what is another program's name."""
    refuses = name != "MAX_RATIO"
    assert _is_refused(name) is refuses
    monkeypatch.setattr(limits, "MISSPELLING", misspelling)
    assert _is_refused(name) is not refuses


def _is_refused(name: str) -> bool:
    try:
        parse_limits({name: "1"})
    except limits.LimitsError:
        return True
    return False
