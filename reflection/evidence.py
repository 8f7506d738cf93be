"""How sure one may be of what trades seem to show. Pure.

Returns are net P&L / entry notional, model costs not counted: those belong to no single trade.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from journal.performance import ClosedTrade, Rate
from journal.performance.values import ZERO, mean, rate

UNKNOWN = "unknown"

_QUANTILES = """
    6.314 2.920 2.353 2.132 2.015 1.943 1.895 1.860 1.833 1.812 1.796 1.782 1.771 1.761 1.753
    1.746 1.740 1.734 1.729 1.725 1.721 1.717 1.714 1.711 1.708 1.706 1.703 1.701 1.699 1.697
"""
T_95 = tuple(Decimal(quantile) for quantile in _QUANTILES.split())
"""The 95th percentile of Student's t for 1 to 30 degrees of freedom; the last one serves beyond, on the safe side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanReturn:
    """A mean, and between which limits the true one lies with 90 % confidence; no limits for fewer than two returns."""

    value: Decimal
    low: Decimal | None
    high: Decimal | None


def mean_return(returns: Sequence[Decimal]) -> MeanReturn:
    """mean ± t * s / sqrt(n), with s the standard deviation (n - 1) and t the 95th percentile of Student's distribution
    with n - 1 degrees of freedom ("Student", "The Probable Error of a Mean", Biometrika 6, 1908).

    It takes returns as independent and not too far from normal, and knows nothing of how many groups were looked at: of
    twenty without any edge one lies wholly below zero by chance. Raises `Undefined` for no returns.
    """
    centre, count = mean(list(returns), "no returns"), len(returns)
    if count < 2:
        return MeanReturn(value=centre, low=None, high=None)
    variance = sum(((each - centre) ** 2 for each in sorted(returns)), ZERO) / (count - 1)
    half = T_95[min(count - 1, len(T_95)) - 1] * (variance / count).sqrt()
    return MeanReturn(value=centre, low=centre - half, high=centre + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How a strategy did in a regime: trades with a known result, by what they brought net of fees and funding."""

    strategy: str
    regime: str
    trades: int
    win_rate: Rate
    net_pnl_usd: Decimal
    mean_return: MeanReturn


def records(trades: Iterable[ClosedTrade]) -> list[Record]:
    """The record of every strategy in every regime it traded in, the one with the most trades first."""
    groups: defaultdict[tuple[str, str], list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for trade in trades:
        if (pnl := trade.pnl) is not None:
            groups[trade.strategy or UNKNOWN, trade.regime or UNKNOWN].append((pnl, trade.entry_notional))
    found = [_record(strategy, regime, results) for (strategy, regime), results in groups.items()]
    return sorted(found, key=lambda each: (-each.trades, each.strategy, each.regime))


def _record(strategy: str, regime: str, results: Sequence[tuple[Decimal, Decimal]]) -> Record:
    return Record(
        strategy=strategy,
        regime=regime,
        trades=len(results),
        win_rate=rate(sum(pnl > 0 for pnl, _ in results), len(results)),
        net_pnl_usd=sum((pnl for pnl, _ in results), ZERO),
        mean_return=mean_return([pnl / notional for pnl, notional in results]),
    )
