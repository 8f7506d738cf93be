"""Contracts and ticks: hand-computed figures, then what holds for any."""

from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk import sizing

POSITIVE = st.decimals(min_value="0.0001", max_value="1000000", places=4)


def dec(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


@pytest.mark.parametrize(
    ("size_pct", "equity", "price", "ct_val", "lot_size", "expected"),
    [
        ("0.05", "10000", "20000", "0.01", "0.01", "2.50"),  # 500 USD of contracts at 200 USD
        ("0.05", "10000", "20000.1", "0.01", "0.01", "2.49"),  # 2.49998...
        ("0.05", "10000", "1250", "0.1", "1", "4"),
        ("0.05", "10000", "1249.9", "0.1", "1", "4"),  # 4.0003...
        ("0.05", "9999.99", "1250", "0.1", "1", "3"),  # 3.999996
        ("0.001", "100", "20000", "0.01", "0.01", "0.00"),  # 0.0005 contracts
        ("1", "3", "1", "1", "0.7", "2.8"),
    ],
)
def test_contracts_are_floored_to_the_lot(
    size_pct: str, equity: str, price: str, ct_val: str, lot_size: str, expected: str
) -> None:
    assert sizing.contracts(*dec(size_pct, equity, price, ct_val, lot_size)) == Decimal(expected)


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE, POSITIVE)
def test_contracts_are_whole_lots_and_the_most_that_fit(
    size_pct: Decimal, equity: Decimal, price: Decimal, ct_val: Decimal, lot_size: Decimal
) -> None:
    size = sizing.contracts(size_pct, equity, price, ct_val, lot_size)
    assert size % lot_size == 0
    assert sizing.notional(size, price, ct_val) <= size_pct * equity < sizing.notional(size + lot_size, price, ct_val)


@pytest.mark.parametrize(
    ("price", "towards", "expected"),
    [
        ("19600.04", "20000", "19600.1"),  # a long's stop comes up to the entry
        ("20400.06", "20000", "20400.0"),  # a short's comes down
        ("20800.07", "20000", "20800.0"),  # a long's target comes down
        ("19200.01", "20000", "19200.1"),  # a short's comes up
        ("19600.1", "20000", "19600.1"),
        ("20400.1", "20000", "20400.1"),
        ("19999.95", "0", "19999.9"),
        ("20000.05", "Infinity", "20000.1"),
        ("20000.05", "20000.05", "20000.0"),  # between two ticks with its aim: down
    ],
)
def test_prices_round_towards_the_entry(price: str, towards: str, expected: str) -> None:
    assert sizing.round_to_tick(*dec(price, "0.1", towards)) == Decimal(expected)


@given(POSITIVE, POSITIVE, POSITIVE)
def test_a_rounded_price_is_on_the_tick_less_than_one_tick_away_and_never_on_the_far_side(
    price: Decimal, tick_size: Decimal, towards: Decimal
) -> None:
    rounded = sizing.round_to_tick(price, tick_size, towards)
    assert rounded % tick_size == 0
    assert abs(rounded - price) < tick_size
    assert rounded >= price if price < towards else rounded <= price


def test_notional_is_contracts_at_their_price() -> None:
    assert sizing.notional(*dec("2.5", "20000", "0.01")) == 500
    assert sizing.notional(*dec("0", "20000", "0.01")) == 0


@pytest.mark.parametrize("bad", ["0", "-1", "NaN", "sNaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", range(5))
def test_contracts_of_a_number_that_is_none_are_refused_by_name(bad: str, place: int) -> None:
    arguments = dec("0.05", "10000", "20000", "0.01", "0.01")
    arguments[place] = Decimal(bad)
    name = ("size_pct", "equity", "price", "ct_val", "lot_size")[place]
    with pytest.raises(ValueError, match=f"^{name} is "):
        sizing.contracts(*arguments)


@pytest.mark.parametrize("bad", ["0", "-1", "NaN", "Infinity"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_notional_at_no_price_is_refused_by_name(bad: str, place: int) -> None:
    arguments = dec("2.5", "20000", "0.01")
    arguments[place] = Decimal(bad)
    with pytest.raises(ValueError, match=f"^{('price', 'ct_val')[place - 1]} is "):
        sizing.notional(*arguments)


@pytest.mark.parametrize("bad", ["-1", "NaN", "Infinity"])
def test_a_notional_of_no_contracts_count_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^contracts is "):
        sizing.notional(*dec(bad, "20000", "0.01"))


@pytest.mark.parametrize("arguments", [("0", "0.1", "1"), ("1", "0", "1"), ("NaN", "0.1", "1"), ("1", "0.1", "NaN")])
def test_a_price_that_cannot_be_rounded_is_refused(arguments: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="needed"):
        sizing.round_to_tick(*dec(*arguments))


@pytest.mark.parametrize(
    ("compute", "arguments"),
    [
        (sizing.contracts, ("1", "1E+300", "1E-300", "1", "1")),
        (sizing.contracts, ("1", "1E+999999", "1E-999999", "1", "1")),
        (sizing.round_to_tick, ("1E+300", "1E-300", "1")),
        (sizing.notional, ("1E+999999", "1E+999999", "1")),
        (sizing.notional, ("1E-999999", "1E-999999", "1")),
    ],
)
def test_what_needs_rounding_to_be_computed_is_refused(
    compute: Callable[..., Decimal], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="too far apart to be computed with exactly"):
        compute(*dec(*arguments))


def test_the_callers_precision_changes_nothing() -> None:
    with localcontext(Context(prec=2)):
        assert str(sizing.contracts(*dec("0.05", "98765.43", "20000", "0.01", "0.01"))) == "24.69"
        assert str(sizing.round_to_tick(*dec("19876.54", "0.1", "20000"))) == "19876.6"
        assert str(sizing.notional(*dec("12.34", "19876.5", "0.01"))) == "2452.76010"
