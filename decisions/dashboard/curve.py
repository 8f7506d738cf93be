"""The account's equity over a range that a person chooses, as few points as a drawing needs, and its drawdown. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from journal.performance import EquityPoint

ZERO = Decimal(0)
POINTS = 240
"""Of the equity's curve, at most."""
POINTS_BEFORE = 60
"""Looks at the history before it, for the peak that it begins under."""
RANGES: Mapping[str, timedelta | None] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "all": None,
}
"""What a person may choose to see of the equity; None is everything."""
LIKE_A_GAP = 4
"""So many of the curve's steps without a report are a gap in it."""
SHORTEST_GAP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The account's equity: what was reported in the chosen range, and some of what was before it."""

    chosen: str
    shown: Sequence[EquityPoint]
    before: Sequence[EquityPoint]
    step: timedelta


def moments(start: datetime, end: datetime, count: int) -> list[datetime]:
    """So many moments at equal steps, the last one `end`, none of them `start`."""
    step = (end - start) / count
    return [end - step * number for number in reversed(range(count))]


def falls(points: Sequence[EquityPoint], before: Sequence[EquityPoint] = ()) -> list[Decimal]:
    """The drawdown at each point: (equity - peak, net of transfers) / peak, as the risk gate measures it.

    The peak is the highest so far, those of `before` included.
    """
    peak: EquityPoint | None = None
    found = []
    for point in (*before, *points):
        if peak is None or point.equity - point.net_transfers > peak.equity - peak.net_transfers:
            peak = point
        change = point.equity - peak.equity - (point.net_transfers - peak.net_transfers)
        found.append(change / peak.equity if peak.equity > 0 else ZERO)
    return found[len(before) :]


def change(points: Sequence[EquityPoint]) -> Decimal | None:
    """USD from the first point to the last, transfers left out."""
    if len(points) < 2:
        return None
    first, last = points[0], points[-1]
    return last.equity - first.equity - (last.net_transfers - first.net_transfers)


def gaps(points: Sequence[EquityPoint], step: timedelta) -> set[datetime]:
    """The points before which nothing was reported for long: a line drawn there would be invented."""
    longest = max(step * LIKE_A_GAP, SHORTEST_GAP)
    return {after.at for before, after in pairwise(points) if after.at - before.at > longest}
