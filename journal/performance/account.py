"""What the account earned: returns on equity without transfers, Sharpe, Sortino, drawdown.

An index begins at 1 and is multiplied, from one report of the account to the next, by

    (equity - transfers in between - model costs in between) / equity before,

which is the time-weighted return: a deposit or withdrawal counts as made at the end of its stretch, so it is no return
(GIPS, "Guidance Statement on Calculation Methodology"; reports come every few minutes, so hardly anything is lost by
not valuing the account at the very moment). Model costs are paid from elsewhere and are taken off as if they were not.

Ratios are computed from the index at regular marks. A mark is known if the account was reported within the step before
it, and a return is formed between two known neighbours only: a gap is neither filled with zeros nor pressed into one
return. The total return and the drawdown span gaps. Annualised by the square root of the steps in a year of 365 days,
for these markets never close; the risk-free rate is 0.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from journal.performance.values import ONE, ZERO, EquityPoint, Figure, ModelCost, Period, Undefined, figure, mean

YEAR = timedelta(days=365)
NOISE = Decimal("1e-16")
"""Below this part of the largest return a deviation is what division left over, not a movement."""


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """What 1 USD had become."""

    at: datetime
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The deepest fall of the index from a peak: (trough - peak) / peak, zero or below.

    It lasts from the peak until the index is back at it; while it is not (`recovered_at` is None), until the end of
    what is known. Without any fall there are no moments and the length is 0.
    """

    depth: Decimal
    peak_at: datetime | None
    trough_at: datetime | None
    recovered_at: datetime | None
    length_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFigures:
    """Equity at both ends, transfers between, and what was earned on it, model costs taken off.

    `closing_equity` is None when the account was not reported in the period: what it was before is not what it is.
    `returns` were formed from step to step, `returns_missing` could not be. `max_drawdown` is None where `total_return`
    says why.
    """

    opening_equity: Decimal | None
    closing_equity: Decimal | None
    net_transfers: Decimal
    total_return: Figure
    sharpe_ratio: Figure
    sortino_ratio: Figure
    max_drawdown: Drawdown | None
    step_seconds: int
    returns: int
    returns_missing: int


def account_figures(
    period: Period, equity: Iterable[EquityPoint], model_costs: Iterable[ModelCost], step: timedelta
) -> AccountFigures:
    """The figures of `period`. Its opening equity is the last known at or before its start, else the first after.

    What was earned in a gap shows in the period in which the equity was next known. Raises `ValueError` for two
    different points of one moment, or a step that is not a whole number of seconds above zero.
    """
    if step < timedelta(seconds=1) or step % timedelta(seconds=1):
        raise ValueError(f"a step of {step} is not a whole number of seconds")
    points = _within(period, equity)
    try:
        index, failure = growth(points, model_costs), ""
    except Undefined as undefined:
        index, failure = (), str(undefined)
    changes, missing = returns_between(index, marks(period, step), step)
    return AccountFigures(
        opening_equity=points[0].equity if points else None,
        closing_equity=points[-1].equity if points and points[-1].at in period else None,
        net_transfers=points[-1].net_transfers - points[0].net_transfers if points else ZERO,
        total_return=Figure(None, failure) if failure else Figure(index[-1].value - ONE),
        sharpe_ratio=figure(sharpe_ratio, changes, step),
        sortino_ratio=figure(sortino_ratio, changes, step),
        max_drawdown=max_drawdown(index) if index else None,
        step_seconds=step // timedelta(seconds=1),
        returns=len(changes),
        returns_missing=missing,
    )


def _within(period: Period, equity: Iterable[EquityPoint]) -> list[EquityPoint]:
    points = sorted(set(equity), key=lambda point: point.at)
    for before, after in pairwise(points):
        if before.at == after.at:
            raise ValueError(f"two different equities at {after.at}: {before.equity} and {after.equity}")
    first = max(bisect_right(points, period.start, key=lambda point: point.at) - 1, 0)
    return points[first : bisect_right(points, period.end, key=lambda point: point.at)]


def growth(points: Sequence[EquityPoint], model_costs: Iterable[ModelCost]) -> tuple[IndexPoint, ...]:
    """The index over `points`, which are in order. Raises `Undefined` for fewer than two or where equity was lost."""
    if len(points) < 2:
        raise Undefined("the account was not reported twice")
    index = [IndexPoint(points[0].at, ONE)]
    for (before, after), cost in zip(pairwise(points), _costs_by_stretch(points, model_costs), strict=True):
        if before.equity <= 0:
            raise Undefined(f"the equity was {before.equity} USD at {before.at:%Y-%m-%d %H:%M}")
        earned = after.equity - (after.net_transfers - before.net_transfers) - cost
        index.append(IndexPoint(after.at, index[-1].value * earned / before.equity))
    return tuple(index)


def _costs_by_stretch(points: Sequence[EquityPoint], model_costs: Iterable[ModelCost]) -> list[Decimal]:
    """What models cost between each two reports; the last stretch bears what came after it too."""
    paid, moments = [ZERO] * len(points), [point.at for point in points]
    for cost in model_costs:
        paid[min(bisect_left(moments, cost.at), len(points) - 1)] += cost.usd
    return paid[1:]


def marks(period: Period, step: timedelta) -> list[datetime]:
    """The period's start and every whole step after it, up to its end."""
    return [period.start + number * step for number in range((period.end - period.start) // step + 1)]


def returns_between(
    index: Sequence[IndexPoint], moments: Sequence[datetime], step: timedelta
) -> tuple[list[Decimal], int]:
    """The returns from mark to mark, and how many of them are missing."""
    values = [_value_at(index, moment, step) for moment in moments]
    changes = [after / before - ONE for before, after in pairwise(values) if before and after is not None]
    return changes, len(moments) - 1 - len(changes)


def _value_at(index: Sequence[IndexPoint], moment: datetime, step: timedelta) -> Decimal | None:
    number = bisect_right(index, moment, key=lambda point: point.at) - 1
    if number < 0 or index[number].at <= moment - step:
        return None
    return index[number].value


def sharpe_ratio(returns: Sequence[Decimal], step: timedelta) -> Decimal:
    """mean / standard deviation (n - 1) * sqrt(steps in a year).

    W. F. Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1), 1994, with a riskless benchmark of 0. The
    square root holds for independent returns (A. W. Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal
    58 (4), 2002). Raises `Undefined` for fewer than two returns, or returns that do not vary.
    """
    centre = _mean_of_some(returns)
    deviation = (sum(((change - centre) ** 2 for change in returns), ZERO) / (len(returns) - 1)).sqrt()
    if deviation <= _noise(returns):
        raise Undefined("the returns do not vary")
    return centre / deviation * _steps_a_year(step).sqrt()


def sortino_ratio(returns: Sequence[Decimal], step: timedelta) -> Decimal:
    """mean / downside deviation * sqrt(steps in a year); the target is 0.

    The downside deviation is sqrt(sum of min(return, 0)^2 / n), over all returns and not only the negative ones
    (F. A. Sortino and L. N. Price, "Performance Measurement in a Downside Risk Framework", Journal of Investing 3 (3),
    1994). Raises `Undefined` for fewer than two returns, or none below zero.
    """
    centre = _mean_of_some(returns)
    deviation = (sum((min(change, ZERO) ** 2 for change in returns), ZERO) / len(returns)).sqrt()
    if deviation <= _noise(returns):
        raise Undefined("no return is below zero")
    return centre / deviation * _steps_a_year(step).sqrt()


def max_drawdown(index: Sequence[IndexPoint]) -> Drawdown:
    """The deepest fall of an index of at least one point; of equally deep ones the first.

    M. Magdon-Ismail and A. Atiya, "Maximum Drawdown", Risk Magazine 17 (10), 2004.
    """
    peak, depth = index[0], ZERO
    deepest: tuple[IndexPoint, IndexPoint] | None = None
    for point in index:
        if point.value >= peak.value:
            peak = point
        elif (fall := point.value / peak.value - ONE) < depth:
            depth, deepest = fall, (peak, point)
    if deepest is None:
        return Drawdown(depth=ZERO, peak_at=None, trough_at=None, recovered_at=None, length_seconds=0)
    top, trough = deepest
    recovered = next((point.at for point in index if point.at > trough.at and point.value >= top.value), None)
    return Drawdown(
        depth=depth,
        peak_at=top.at,
        trough_at=trough.at,
        recovered_at=recovered,
        length_seconds=((recovered or index[-1].at) - top.at) // timedelta(seconds=1),
    )


def _mean_of_some(returns: Sequence[Decimal]) -> Decimal:
    if len(returns) < 2:
        raise Undefined("fewer than two returns")
    return mean(list(returns), "")


def _noise(returns: Sequence[Decimal]) -> Decimal:
    return NOISE * max(ONE, *(abs(change) for change in returns))


def _steps_a_year(step: timedelta) -> Decimal:
    return Decimal(YEAR // timedelta(seconds=1)) / (step // timedelta(seconds=1))
