"""The paired randomisation test of a challenger's shadow record against the champion's. Pure.

Both were asked on the same cycles and filled at the same prices, so the records are paired. The hypothesis is that it
makes no difference whose playbook is asked. Then, of each day's results, either might as well have been the other's:
exchanging the two for any choice of days gives records that were as likely as those that came. The test is the paired
randomisation test (R. A. Fisher, "The Design of Experiments", 1935, section 21; E. S. Edgington, "Randomization Tests",
1980): p is the share of all exchanges under which the challenger looks at least as good as it does. Nothing is assumed
of how results are distributed. What happens on one market day (UTC, by the moment of opening) stays together, because
trades of one day, and of instruments that move alike, are not independent.

Two figures are tested so: the net result in USD, and the Brier score of the stated confidence, the mean of
(confidence - won)^2 over a record's trades. What follows from them is `reflection.promotion`.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date

import numpy as np
from numpy.typing import NDArray

from journal.performance import ClosedTrade
from reflection.promotion import Comparison, level_of

MOST_EXACT = 12
"""Up to so many days every exchange is looked at; beyond, a sample."""
SAMPLED = 9_999
SEED = 20_261_122
TIE = 1e-9
"""Sums of floats that differ by less are the same."""

Floats = NDArray[np.float64]


def compare(challenger: Sequence[ClosedTrade], champion: Sequence[ClosedTrade], look: int) -> Comparison:
    """Test the challenger's closed trades against the champion's."""
    days = _days(challenger, champion)
    exchanged = _exchanges(len(days))
    difference = days[:, _NET, 0] - days[:, _NET, 1]
    net = (1.0 - 2.0 * exchanged) @ difference
    return Comparison(
        look=look,
        level=level_of(look),
        days=len(days),
        net_better=_share(net >= net[0] - TIE),
        net_worse=_share(net <= net[0] + TIE),
        calibration_better=_calibration(days, exchanged, challenger, champion),
    )


_NET, _ERROR, _STATED = range(3)


def _days(challenger: Sequence[ClosedTrade], champion: Sequence[ClosedTrade]) -> Floats:
    """For each day on which the books differ: net result, squared error and count of stated confidences, of each."""
    sums: defaultdict[date, Floats] = defaultdict(lambda: np.zeros((3, 2)))
    for side, trades in enumerate((challenger, champion)):
        for trade in trades:
            sums[trade.opened_at.astimezone(UTC).date()][:, side] += _figures(trade)
    differing = [day for _, day in sorted(sums.items()) if not np.allclose(day[:, 0], day[:, 1], rtol=0, atol=TIE)]
    return np.array(differing).reshape(len(differing), 3, 2)


def _figures(trade: ClosedTrade) -> tuple[float, float, float]:
    """Net result, squared error of the confidence, and whether one was stated. An unknown result counts nothing."""
    pnl = trade.pnl
    if pnl is None:
        return 0.0, 0.0, 0.0
    if trade.confidence is None:
        return float(pnl), 0.0, 0.0
    return float(pnl), (float(trade.confidence) - (pnl > 0)) ** 2, 1.0


def _sum(trades: Sequence[ClosedTrade]) -> Floats:
    return np.sum([_figures(trade) for trade in trades], axis=0) if trades else np.zeros(3)


def _exchanges(days: int) -> Floats:
    """Which days are exchanged (1) in each of the looked-at cases; the first is the record as it came."""
    if days <= MOST_EXACT:
        numbers = np.arange(2**days)[:, None] >> np.arange(days)[None, :]
        return (numbers & 1).astype(np.float64)
    drawn = np.random.default_rng(SEED).integers(0, 2, (SAMPLED, days))
    return np.vstack([np.zeros((1, days)), drawn]).astype(np.float64)


def _share(extreme: NDArray[np.bool_]) -> float:
    """The p-value: of a sample too the record itself is one, so that it is never zero (B. Phipson and G. K. Smyth,
    "Permutation P-values Should Never Be Zero", 2010)."""
    return float(np.mean(extreme))


def _calibration(
    days: Floats, exchanged: Floats, challenger: Sequence[ClosedTrade], champion: Sequence[ClosedTrade]
) -> float | None:
    """The p-value of a lower Brier score; None where a record states no confidence."""
    own, others = _sum(challenger), _sum(champion)
    if not (own[_STATED] and others[_STATED]):
        return None
    moved = exchanged @ (days[:, :, 1] - days[:, :, 0])
    errors = (own[_ERROR] + moved[:, _ERROR], others[_ERROR] - moved[:, _ERROR])
    counts = (own[_STATED] + moved[:, _STATED], others[_STATED] - moved[:, _STATED])
    known = (counts[0] > 0) & (counts[1] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = errors[0] / counts[0] - errors[1] / counts[1]
    # An exchange that leaves one record without trades says nothing against the hypothesis: it counts as extreme.
    return _share(~known | (difference <= difference[0] + TIE))
