"""What counts as a fact that was shown, and what is said of one that was not."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decisions.grounding import check, faults_of, figure, same, why_invalid
from decisions.prompts import sections
from decisions.schemas import CitedFact, Decision
from tests.unit.decisions.test_prompts import HELD, asked

SHOWN = sections(asked(positions=[HELD]).text)


def cited(path: str, value: Any) -> tuple[str, ...]:
    """What is wrong with one fact, cited from a prompt that shows everything there is."""
    return check([CitedFact(path=path, value=value)], SHOWN)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("price", 97250.5),
        ("regime", "trending_up"),
        ("timestamp", "2026-02-07T10:30:00Z"),
        ("market_snapshot.price", 97250.5),
        ("indicators.1H.rsi_14", 63.1),
        ("indicators.1h.RSI_14", 63.1),
        (" indicators . 1H . rsi_14 ", 63.1),
        ("technical_indicators.15m.rsi_14", 66.4214),
        ("indicators['15m'].ema_alignment", "bullish"),
        ("account.equity", 10250.5),
        ("account_state.equity", "10250.5"),
        ("positions.BTC-USDT-SWAP.entry_price", 96800.5),
        ("positions[0].entry_price", 96800.5),
        ("positions.0.pos_side", "long"),
        ("current_positions.btc-usdt-swap.stop_loss", 96300),
        ("research_context.answer.sentiment", "bullish"),
        ("research_context.available", "true"),
        ("research_context.citations[0].title", "ETF flows"),
        ("risk_limits.MAX_LEVERAGE", 3),
        ("recent_trades.0.pnl_usd", 4.321),
        ("recent_trades[1].exit_reason", "take_profit"),
        ("upcoming_events.0.kind", "CPI"),
        ("playbook.version", 1),
        ("playbook.market_regime_rules.trending_up.max_position_pct", 0.05),
        ("playbook.strategy_definitions.momentum_breakout.historical_winrate", "null"),
        ("allowed_actions.actions[0]", "OPEN_LONG"),
        (" price ", " 97250.5 "),
    ],
)
def test_a_fact_as_it_was_shown_is_no_fault(path: str, value: Any) -> None:
    assert cited(path, value) == ()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("indicators.1H.rsi_14", 71.0, "indicators.1H.rsi_14 was cited as 71.0 and shown as 63.1"),
        ("regime", "ranging", 'regime was cited as "ranging" and shown as "trending_up"'),
        ("regime", 3.0, 'regime was cited as 3.0 and shown as "trending_up"'),
        ("price", "97250.5 USD", 'price was cited as "97250.5 USD" and shown as 97250.5'),
        ("change_24h", "1.82%", 'change_24h was cited as "1.82%" and shown as 0.0182'),
        ("change_24h", 1.82, "change_24h was cited as 1.82 and shown as 0.0182"),
        ("price", "97,250.5", 'price was cited as "97,250.5" and shown as 97250.5'),
        ("price", "9e9999", 'price was cited as "9e9999" and shown as 97250.5'),
        ("price", "NaN", 'price was cited as "NaN" and shown as 97250.5'),
        ("price", -97250.5, "price was cited as -97250.5 and shown as 97250.5"),
        ("indicators.4H.ema_200", 93000.0, "indicators.4H.ema_200 was cited as 93000.0 and shown as null"),
        ("indicators.4H.ema_200", 0, "indicators.4H.ema_200 was cited as 0.0 and shown as null"),
        ("research_context.available", 1.0, "research_context.available was cited as 1.0 and shown as true"),
        ("research_context.available", "false", 'research_context.available was cited as "false" and shown as true'),
        ("timestamp", "2026-02-07", 'timestamp was cited as "2026-02-07" and shown as "2026-02-07T10:30:00Z"'),
        ("market.foo", 1, "no field market.foo was shown"),
        ("market_snapshot.foo", 1, "no field market_snapshot.foo was shown"),
        ("indicators.rsi_14", 63.1, "no field indicators.rsi_14 was shown"),
        ("indicators.1D.rsi_14", 63.1, "no field indicators.1D.rsi_14 was shown"),
        ("positions.SOL-USDT-SWAP.size", 1, "no field positions.SOL-USDT-SWAP.size was shown"),
        ("positions[1].size", 1, "no field positions[1].size was shown"),
        ("positions[-1].size", 1, "no field positions[-1].size was shown"),
        ("positions.².size", 1, "no field positions.\\xb2.size was shown"),
        (
            "recent_trades.BTC-USDT-SWAP.pnl_usd",
            4.321,
            "recent_trades.BTC-USDT-SWAP.pnl_usd is ambiguous: more than one entry has that name",
        ),
        ("trades.0", 1, "no field trades.0 was shown"),
        ("positions.99999999999999.size", 1, "no field positions.99999999999999.size was shown"),
        ("price.value", 97250.5, "no field price.value was shown"),
        ("", 1, "no field  was shown"),
        ("pri\u202ece", 1, "no field pri\\u202ece was shown"),
        ("market_snapshot", "x", "market_snapshot is not a single value"),
        ("allowed_actions.actions", "HOLD", "allowed_actions.actions is not a single value"),
    ],
)  # fmt: skip
def test_a_fact_that_was_not_shown_so_is_told_with_what_was(path: str, value: Any, told: str) -> None:
    assert cited(path, value) == (told,)


def test_every_wrong_fact_is_told() -> None:
    facts = [CitedFact(path=path, value=1) for path in ("price", "foo", "playbook.version")]
    assert check(facts, SHOWN) == ("price was cited as 1.0 and shown as 97250.5", "no field foo was shown")


numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)


@given(numbers.filter(lambda number: abs(number) > 1e-300), st.floats(min_value=-0.0099, max_value=0.0099))
def test_a_number_within_one_per_cent_is_the_one_shown_whatever_its_size(shown: float, off: float) -> None:
    assert same(shown * (1 + off), shown)
    assert same(repr(shown * (1 + off)), shown)
    assert same(shown * (1 + off), repr(shown))


@given(numbers.filter(lambda number: abs(number) > 1e-300), st.floats(min_value=0.0101, max_value=100))
def test_a_number_further_off_is_another(shown: float, off: float) -> None:
    assert not same(shown * (1 + off), shown)
    assert not same(shown * (1 - off), shown)


def test_a_number_too_large_to_compare_is_no_match() -> None:
    assert not same(1.0, 10**400)
    assert not same("9" * 400, 10**400)


@given(numbers)
def test_a_zero_is_a_zero(number: float) -> None:
    assert same(number, 0) == (abs(number) <= 1e-9)
    assume(number != 0)
    assert not same(0.0, number)


@given(st.text(max_size=200), st.one_of(st.text(max_size=200), numbers))
def test_any_path_and_value_is_judged_without_an_error(path: str, value: Any) -> None:
    assert len(check([CitedFact.model_construct(path=path, value=value)], SHOWN)) <= 1


def leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Every single value in a document, by its path."""
    if isinstance(value, dict):
        return [leaf for name, member in value.items() for leaf in leaves(member, f"{path}.{name}" if path else name)]
    if isinstance(value, list):
        return [leaf for place, member in enumerate(value) for leaf in leaves(member, f"{path}[{place}]")]
    return [(path, value)]


def test_everything_that_is_shown_can_be_cited() -> None:
    found = leaves(SHOWN, "")
    assert len(found) > 150
    assert all(figure(path, SHOWN) == value for path, value in found)
    told = [(path, value if isinstance(value, str | int | float) else "null") for path, value in found]
    told = [(path, str(value).lower() if isinstance(value, bool) else value) for path, value in told]
    assert [fault for path, value in told for fault in cited(path, value)] == []


def decision(action: str, *facts: tuple[str, Any], symbol: str = "BTC-USDT-SWAP") -> Decision:
    return Decision.model_construct(
        action=action,
        symbol=symbol,
        size_pct=Decimal("0.01"),
        cited_facts=tuple(CitedFact(path=path, value=value) for path, value in facts),
    )


@pytest.mark.parametrize("action", ["OPEN_LONG", "OPEN_SHORT", "ADD"])
@pytest.mark.parametrize("facts", [(), (("foo", 1),), (("price", 97250.5), ("regime", "ranging"))])
def test_an_opening_needs_facts_and_every_one_of_them_right(action: str, facts: tuple[tuple[str, Any], ...]) -> None:
    asked_for = decision(action, *facts)
    told = why_invalid(asked_for, "BTC-USDT-SWAP", faults_of(asked_for, SHOWN))
    assert told is not None
    assert told.startswith(f"{action} does not rest on what was shown: ")


@pytest.mark.parametrize("action", ["CLOSE", "REDUCE", "HOLD"])
@pytest.mark.parametrize("facts", [(), (("foo", 1),)])
def test_an_exit_is_believed_whatever_it_cites_and_its_faults_are_told(
    action: str, facts: tuple[tuple[str, Any], ...]
) -> None:
    asked_for = decision(action, *facts)
    faults = faults_of(asked_for, SHOWN)
    assert why_invalid(asked_for, "BTC-USDT-SWAP", faults) is None
    wanted = "no field foo was shown" if facts else "no fact was cited"
    assert faults == (() if action == "HOLD" and not facts else (wanted,))


def test_a_decision_on_another_instrument_is_invalid_whatever_it_does() -> None:
    told = why_invalid(decision("CLOSE", symbol="ETH-USDT-SWAP"), "BTC-USDT-SWAP", ())
    assert told == "asked about BTC-USDT-SWAP, the analyst decided on ETH-USDT-SWAP"
