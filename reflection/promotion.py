"""Whether a challenger has earned its place: when its shadow record is looked at, and what is made of it. Pure.

The test itself is `reflection.randomisation`. Two figures are tested so, both one-sided: the net result in USD, after
fees and funding, and the Brier score of the stated confidence. A challenger is `better` only when both are, at the
level of the look: asking for both can only make a false promotion rarer than either test alone (R. L. Berger,
"Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24, 1982). It is `worse` when its net result
is, at the same level.

A look is made when the challenger has closed M, 2 M, 4 M, 8 M ... trades, M being the fewest that are asked for, and
only then. The k-th look has the level 0.05 / 2^k, so that all of them together falsely promote one challenger in twenty
at most (Bonferroni; unequal shares of the level as in D. L. DeMets and K. K. G. Lan, "Interim Analysis: the Alpha
Spending Function Approach", Statistics in Medicine 13, 1994). The same holds of false rejections.
"""

from dataclasses import dataclass
from typing import Literal

LEVEL = 0.05
"""The chance that all looks at a challenger which is no better, or no worse, have together of a false verdict."""
CHAMPION_SHARE = 3
"""The champion needs one closed trade for so many of the fewest that are asked of the challenger: without any there is
nothing to be better than."""
VerdictName = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one look finds. A p-value is None where there is nothing to compare, such as a record without trades.

    `days` are those on which the records differ.
    """

    look: int
    level: float
    days: int
    net_better: float
    net_worse: float
    calibration_better: float | None

    @property
    def verdict(self) -> VerdictName:
        if self.net_worse <= self.level:
            return "worse"
        calibrated = self.calibration_better is not None and self.calibration_better <= self.level
        return "better" if calibrated and self.net_better <= self.level else "undecided"


def level_of(look: int) -> float:
    """The level of the k-th look, counted from 1."""
    return float(LEVEL / 2**look)


def needed_of_champion(fewest: int) -> int:
    """How many trades the champion needs where the challenger's first look is made at `fewest`."""
    return -(-fewest // CHAMPION_SHARE)


def due(challenger_trades: int, champion_trades: int, fewest: int, looks_made: int) -> bool:
    """Whether the next look may be made, after so many closed trades in each book."""
    return challenger_trades >= fewest * 2**looks_made and champion_trades >= needed_of_champion(fewest)
