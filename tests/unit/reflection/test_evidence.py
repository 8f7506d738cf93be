"""How sure one may be of a mean, and the record of a strategy in a regime."""

from decimal import Decimal

import pytest

from journal.performance.values import Undefined
from reflection.evidence import T_95, MeanReturn, mean_return, records
from tests.unit.reflection.scene import closed


def decimals(*values: str) -> list[Decimal]:
    return [Decimal(value) for value in values]


def test_the_interval_of_a_mean_by_hand() -> None:
    """1, 2, 3, 4 %: a mean of 2.5 %, s = sqrt(5/3) %, t(3) = 2.353, half = 2.353 * 1.29099 / 2 = 1.51886 %."""
    found = mean_return(decimals("0.01", "0.02", "0.03", "0.04"))
    assert found.value == Decimal("0.025")
    assert found.low is not None
    assert found.high is not None
    assert float(found.low) == pytest.approx(0.025 - 0.0151886, abs=1e-7)
    assert float(found.high) == pytest.approx(0.025 + 0.0151886, abs=1e-7)


def test_one_return_has_no_limits_and_none_has_no_mean() -> None:
    assert mean_return(decimals("-0.02")) == MeanReturn(value=Decimal("-0.02"), low=None, high=None)
    with pytest.raises(Undefined):
        mean_return([])


def test_the_quantiles_fall_and_serve_beyond_thirty_on_the_safe_side() -> None:
    assert len(T_95) == 30
    assert list(T_95) == sorted(T_95, reverse=True)
    assert (T_95[0], T_95[9], T_95[-1]) == tuple(decimals("6.314", "1.812", "1.697"))
    many = mean_return([Decimal(number % 2) for number in range(100)])
    assert many.high is not None
    assert float(many.high - many.value) == pytest.approx(1.697 * (100 / 99 * 0.25) ** 0.5 / 10, abs=1e-9)


def test_records_are_by_strategy_and_regime_and_leave_unknown_results_out() -> None:
    trades = [
        closed("5"),
        closed("-1"),
        closed("-2", strategy="mean_reversion", regime="volatile"),
        closed(None),
        closed("1", strategy="", regime=""),
    ]
    found = records(trades)
    assert [(each.strategy, each.regime, each.trades) for each in found] == [
        ("trend_pullback", "trending_up", 2),
        ("mean_reversion", "volatile", 1),
        ("unknown", "unknown", 1),
    ]
    assert (found[0].net_pnl_usd, found[0].win_rate.successes) == (4, 1)
    assert found[0].mean_return.value == Decimal("0.004")
    assert records(reversed(trades)) == found
