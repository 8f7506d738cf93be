"""Whether the model knows how sure it may be: stated confidence against how often it was right."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from journal.performance.values import ONE, ZERO, ClosedTrade, Figure, Rate, figure, mean, rate

BUCKETS = 10
NOTHING = "no trade with a known result and a stated confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The trades entered with a confidence of at least `low` and below `high` (the last one includes 1)."""

    low: Decimal
    high: Decimal
    count: int
    stated_mean: Decimal
    actual_win_rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Stated confidence against wins, for trades with a known result; `without` states none or is not known yet.

    `brier_score` is the mean of (confidence - outcome)^2, where the outcome is 1 for a win and 0 otherwise: 0 is
    perfect, 0.25 is what "one half" always earns (G. W. Brier, "Verification of Forecasts Expressed in Terms of
    Probability", Monthly Weather Review 78, 1950, in its usual form for two outcomes). `reference_score` is that of
    always stating the actual win rate p, p (1 - p): a higher score than this knows less than the average does.
    """

    count: int
    without: int
    stated_mean: Figure
    actual_win_rate: Rate
    brier_score: Figure
    reference_score: Figure
    buckets: tuple[Bucket, ...]


def calibration(trades: Iterable[ClosedTrade]) -> Calibration:
    """The calibration of `trades`, in buckets of a tenth, empty ones left out.

    Raises `ValueError` for a confidence outside 0 to 1.
    """
    trades = list(trades)
    forecasts = [
        (trade.confidence, pnl > 0)
        for trade in trades
        if trade.confidence is not None and (pnl := trade.pnl) is not None
    ]
    if wrong := [stated for stated, _ in forecasts if not ZERO <= stated <= ONE]:
        raise ValueError(f"a confidence of {wrong[0]} is not between 0 and 1")
    actual = rate(sum(won for _, won in forecasts), len(forecasts))
    base = [] if actual.value is None else [actual.value * (1 - actual.value)]
    return Calibration(
        count=len(forecasts),
        without=len(trades) - len(forecasts),
        stated_mean=figure(mean, [stated for stated, _ in forecasts], NOTHING),
        actual_win_rate=actual,
        brier_score=figure(mean, [(stated - int(won)) ** 2 for stated, won in forecasts], NOTHING),
        reference_score=figure(mean, base, NOTHING),
        buckets=_buckets(forecasts),
    )


def _buckets(forecasts: Iterable[tuple[Decimal, bool]]) -> tuple[Bucket, ...]:
    groups: defaultdict[int, list[tuple[Decimal, bool]]] = defaultdict(list)
    for stated, won in forecasts:
        groups[min(int(stated * BUCKETS), BUCKETS - 1)].append((stated, won))
    return tuple(
        Bucket(
            low=Decimal(number) / BUCKETS,
            high=Decimal(number + 1) / BUCKETS,
            count=len(group),
            stated_mean=mean([stated for stated, _ in group], NOTHING),
            actual_win_rate=rate(sum(won for _, won in group), len(group)),
        )
        for number, group in sorted(groups.items())
    )
