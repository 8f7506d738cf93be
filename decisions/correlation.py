"""How alike two instruments move: Pearson's r of 1-hour log returns over the last 72 hours. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import log, sqrt

WINDOW = timedelta(hours=72)
FEWEST_HOURS = 24
_STEP = Decimal("0.000001")

Prices = Mapping[datetime, Decimal]
"""Full hour -> price."""


def correlation(first: Prices, second: Prices) -> Decimal | None:
    """Pearson's r of the hours both have a return for; None for fewer than 24 of them, or when one did not move."""
    returns_first, returns_second = _log_returns(first), _log_returns(second)
    common = sorted(returns_first.keys() & returns_second.keys())
    if len(common) < FEWEST_HOURS:
        return None
    return _pearson([returns_first[hour] for hour in common], [returns_second[hour] for hour in common])


def _log_returns(prices: Prices) -> dict[datetime, float]:
    hours = sorted(prices)
    return {
        later: log(prices[later] / prices[earlier])
        for earlier, later in pairwise(hours)
        if later - earlier == timedelta(hours=1)
    }


def _pearson(first: list[float], second: list[float]) -> Decimal | None:
    mean_first, mean_second = sum(first) / len(first), sum(second) / len(second)
    deviations = [(x - mean_first, y - mean_second) for x, y in zip(first, second, strict=True)]
    spread = sqrt(sum(x * x for x, _ in deviations) * sum(y * y for _, y in deviations))
    if spread == 0:
        return None
    return Decimal(sum(x * y for x, y in deviations) / spread).quantize(_STEP)
