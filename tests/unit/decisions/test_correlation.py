"""Pearson's r of hourly log returns."""

import statistics
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import exp, log

from hypothesis import given
from hypothesis import strategies as st

from decisions.correlation import FEWEST_HOURS, correlation

START = datetime(2022, 11, 20, tzinfo=UTC)
WAVES = [0.01, -0.02, 0.005, 0.03, -0.015, 0.0, 0.02, -0.01, 0.004, -0.006, 0.011, -0.03, 0.007] * 3


def _prices(returns: list[float], begin: float = 100.0) -> dict[datetime, Decimal]:
    prices, price = {START: Decimal(str(begin))}, begin
    for hour, change in enumerate(returns, start=1):
        price *= exp(change)
        prices[START + timedelta(hours=hour)] = Decimal(str(price))
    return prices


def test_the_same_moves_correlate_fully_whatever_the_price_level() -> None:
    assert correlation(_prices(WAVES), _prices(WAVES, begin=0.02)) == Decimal(1)


def test_opposite_moves_correlate_negatively() -> None:
    assert correlation(_prices(WAVES), _prices([-change for change in WAVES])) == Decimal(-1)


def test_the_figure_is_pearsons_r() -> None:
    other = [0.5 * change + (0.01 if place % 3 else -0.02) for place, change in enumerate(WAVES)]
    first, second = _prices(WAVES), _prices(other)
    returns = [[log(later / earlier) for earlier, later in pairwise(prices.values())] for prices in (first, second)]
    expected = statistics.correlation(*returns)
    found = correlation(first, second)
    assert found is not None
    assert abs(float(found) - expected) < 1e-6


def test_fewer_than_24_common_hours_say_nothing() -> None:
    enough, short = _prices(WAVES[:FEWEST_HOURS]), _prices(WAVES[: FEWEST_HOURS - 1])
    assert correlation(enough, enough) == Decimal(1)
    assert correlation(enough, short) is None
    assert correlation({}, {}) is None


def test_a_market_that_did_not_move_correlates_with_nothing() -> None:
    assert correlation(_prices(WAVES), _prices([0.0] * len(WAVES))) is None


def test_a_gap_of_hours_is_no_return() -> None:
    whole = _prices(WAVES[:25])
    gap = {hour: price for hour, price in whole.items() if hour != START + timedelta(hours=10)}
    assert correlation(whole, gap) is None  # 25 returns less the two that need the missing hour


@given(
    st.lists(st.floats(-0.05, 0.05), min_size=30, max_size=72),
    st.lists(st.floats(-0.05, 0.05), min_size=30, max_size=72),
)
def test_r_is_symmetric_and_never_beyond_one(first: list[float], second: list[float]) -> None:
    one, other = _prices(first), _prices(second)
    found = correlation(one, other)
    assert found == correlation(other, one)
    assert found is None or abs(found) <= 1
