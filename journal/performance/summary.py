"""All the figures of a period together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from journal.performance.account import AccountFigures, account_figures
from journal.performance.calibration import Calibration, calibration
from journal.performance.outcomes import BREAKDOWNS, Streaks, TradeFigures, breakdown, streaks, trade_figures
from journal.performance.values import (
    ONE,
    ZERO,
    ClosedTrade,
    EquityPoint,
    Figure,
    ModelCost,
    Period,
    PriceSpan,
    figure,
    mean,
)

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyAndHold:
    """What holding would have returned over the same period: last / first price - 1, without fees or funding.

    `equal_weights` is the mean over the instruments: the same sum put into each at the start and left alone.
    """

    by_symbol: Mapping[str, Decimal]
    equal_weights: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceSummary:
    """The figures of `period`: of the trades that closed in it, and of the account over it.

    `exposure_time` is the part of the period in which at least one position was open, from 0 to 1.
    """

    period: Period
    total: TradeFigures
    streaks: Streaks
    account: AccountFigures
    exposure_time: Decimal
    buy_and_hold: BuyAndHold
    confidence_calibration: Calibration
    by_strategy: Mapping[str, TradeFigures]
    by_regime: Mapping[str, TradeFigures]
    by_hour: Mapping[str, TradeFigures]
    by_weekday: Mapping[str, TradeFigures]
    by_symbol: Mapping[str, TradeFigures]
    by_exit_reason: Mapping[str, TradeFigures]
    by_playbook_version: Mapping[str, TradeFigures]


def summarise(
    *,
    period: Period,
    trades: Iterable[ClosedTrade],
    equity: Iterable[EquityPoint],
    model_costs: Iterable[ModelCost],
    prices: Iterable[PriceSpan] = (),
    still_open: Iterable[datetime] = (),
    step: timedelta = DAY,
) -> PerformanceSummary:
    """The performance over `period`; in whatever order the values come, the figures are the same.

    Trades closed outside the period count for the exposure time only; `still_open` are the opening times of positions
    that have not closed. Model costs outside the period do not count. `equity` should begin with the last report at or
    before the period's start. `step` is what returns are formed over for Sharpe and Sortino.

    Raises `ValueError` for values that cannot be: see the modules beside this one.
    """
    trades = list(trades)
    closed = [trade for trade in trades if trade.closed_at in period]
    paid = [cost for cost in model_costs if cost.at in period]
    costs = sum((cost.usd for cost in paid), ZERO)
    held = [(trade.opened_at, trade.closed_at) for trade in trades] + [(at, period.end) for at in still_open]
    return PerformanceSummary(
        period=period,
        total=trade_figures(closed, costs),
        streaks=streaks(closed),
        account=account_figures(period, equity, paid, step),
        exposure_time=exposure_time(period, held),
        buy_and_hold=buy_and_hold(prices),
        confidence_calibration=calibration(closed),
        **{name: breakdown(closed, place, costs) for name, place in BREAKDOWNS.items()},
    )


def exposure_time(period: Period, held: Sequence[tuple[datetime, datetime]]) -> Decimal:
    """The part of the period that at least one of the stretches covers, overlaps once."""
    covered, reached = timedelta(0), period.start
    for opened, closed in sorted(held):
        begin, end = max(opened, reached), min(closed, period.end)
        if begin < end:
            covered, reached = covered + (end - begin), end
    return _microseconds(covered) / _microseconds(period.end - period.start)


def _microseconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1))


def buy_and_hold(prices: Iterable[PriceSpan]) -> BuyAndHold:
    """The return of each instrument and their mean."""
    changes = {span.symbol: span.last / span.first - ONE for span in sorted(prices, key=lambda span: span.symbol)}
    return BuyAndHold(by_symbol=changes, equal_weights=figure(mean, list(changes.values()), "no prices of the period"))
