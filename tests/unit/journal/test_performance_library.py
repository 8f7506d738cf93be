"""The same figures from libraries that others keep: empyrical for the ratios and drawdown, SciPy for the interval."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import empyrical
import numpy
import pytest
from scipy.stats import binomtest

from journal.performance import AccountFigures, EquityPoint, Period, summarise
from journal.performance.values import rate
from tests.unit.journal.test_performance import COSTS, EQUITY, NOT_KNOWN, TWELVE, WEEK, a_trade

START = datetime(2022, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
close = pytest.approx


def floats(values: Sequence[Decimal]) -> "numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]":
    return numpy.array([float(value) for value in values])


def random_equity(seed: int, count: int, step: timedelta, *, transfers: bool) -> list[EquityPoint]:
    """An account of 10,000 USD that moves by some per mille a step, with money going in and out."""
    chance = random.Random(seed)
    points = [EquityPoint(at=START, equity=Decimal(10_000))]
    for number in range(1, count + 1):
        moved = Decimal(round(chance.gauss(1.0005, 0.01), 8))
        transfer = Decimal(chance.choice([0, 0, 0, 500, -300])) if transfers else Decimal(0)
        before = points[-1]
        points.append(
            EquityPoint(
                at=START + number * step,
                equity=before.equity * moved + transfer,
                net_transfers=before.net_transfers + transfer,
            )
        )
    return points


def returns_of(points: Sequence[EquityPoint]) -> list[Decimal]:
    return [
        (after.equity - (after.net_transfers - before.net_transfers)) / before.equity - 1
        for before, after in pairwise(points)
    ]


def account_of(points: Sequence[EquityPoint], step: timedelta) -> AccountFigures:
    period = Period(start=START, end=points[-1].at)
    return summarise(period=period, trades=[], equity=points, model_costs=[], step=step).account


@pytest.mark.parametrize("transfers", [False, True], ids=["left alone", "with transfers"])
@pytest.mark.parametrize(("step", "steps_a_year"), [(DAY, 365), (HOUR, 8760)], ids=["daily", "hourly"])
@pytest.mark.parametrize("seed", range(10))
def test_sharpe_sortino_drawdown_and_return_are_those_of_empyrical(
    seed: int, step: timedelta, steps_a_year: int, transfers: bool
):
    points = random_equity(seed, count=20 + 40 * seed, step=step, transfers=transfers)
    found, returns = account_of(points, step), floats(returns_of(points))
    assert float(found.sharpe_ratio.value) == close(empyrical.sharpe_ratio(returns, annualization=steps_a_year))
    assert float(found.sortino_ratio.value) == close(empyrical.sortino_ratio(returns, annualization=steps_a_year))
    assert found.max_drawdown is not None
    assert float(found.max_drawdown.depth) == close(empyrical.max_drawdown(returns))
    assert float(found.total_return.value) == close(empyrical.cum_returns_final(returns))


@pytest.mark.parametrize("seed", range(10))
def test_the_profit_factor_is_empyricals_omega_ratio_at_a_threshold_of_zero(seed: int):
    chance = random.Random(seed)
    trades = [
        a_trade(gross_pnl=Decimal(round(chance.gauss(2, 30), 4)), fees=Decimal("1.25"), funding=Decimal("-0.3"))
        for _ in range(5 + 20 * seed)
    ]
    period = Period(start=WEEK.start, end=WEEK.end)
    found = summarise(period=period, trades=trades, equity=[], model_costs=[]).total.profit_factor.value
    assert found is not None
    assert float(found) == close(empyrical.omega_ratio(floats([trade.pnl for trade in trades]), annualization=1))


def test_the_week_worked_out_by_hand_is_empyricals_too():
    week = summarise(period=WEEK, trades=[*TWELVE, NOT_KNOWN], equity=EQUITY, model_costs=COSTS)
    returns = floats(
        [
            (after.equity - (after.net_transfers - before.net_transfers) - 2) / before.equity - 1
            for before, after in pairwise(EQUITY)
        ]
    )
    assert float(week.account.sharpe_ratio.value) == close(empyrical.sharpe_ratio(returns, annualization=365))
    assert float(week.account.sortino_ratio.value) == close(empyrical.sortino_ratio(returns, annualization=365))
    assert week.account.max_drawdown is not None
    assert float(week.account.max_drawdown.depth) == close(empyrical.max_drawdown(returns))
    results = floats([trade.pnl for trade in TWELVE])
    assert float(week.total.profit_factor.value) == close(empyrical.omega_ratio(results, annualization=1))


@pytest.mark.parametrize("count", [1, 2, 4, 10, 37, 500])
def test_the_interval_is_the_wilson_interval_of_scipy(count: int):
    for successes in {0, 1, count // 3, count // 2, count - 1, count}:
        expected = binomtest(successes, count).proportion_ci(confidence_level=0.9, method="wilson")
        found = rate(successes, count)
        assert (float(found.low), float(found.high)) == (close(expected.low, abs=1e-12), close(expected.high))
