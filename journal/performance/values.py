"""What performance is computed from, and the two kinds of figure it is told in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ParamSpec

ZERO = Decimal(0)
ONE = Decimal(1)
Z_90 = Decimal("1.6448536269514722")
"""The 95th percentile of the normal distribution: what leaves 5 % on either side."""

_P = ParamSpec("_P")


class Undefined(ValueError):
    """A figure that these values do not give. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of market time: everything after `start`, up to and including `end`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        _refuse_naive(self.start, self.end)
        if self.start >= self.end:
            raise ValueError(f"a period from {self.start} to {self.end} has no length")

    def __contains__(self, at: datetime) -> bool:
        return self.start < at <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """A trade that has ended. Money in USD; `gross_pnl` is null while its result is not known.

    `funding` is what was received (negative: paid), `entry_notional` the value of all its entries, `confidence` what
    the model stated, from 0 to 1. An empty text, or no version, means that nobody knows.
    """

    opened_at: datetime
    closed_at: datetime
    symbol: str
    entry_notional: Decimal
    gross_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    strategy: str = ""
    regime: str = ""
    exit_reason: str = ""
    playbook_version: int | None = None
    confidence: Decimal | None = None

    def __post_init__(self) -> None:
        _refuse_naive(self.opened_at, self.closed_at)
        if self.entry_notional <= 0:
            raise ValueError(f"a trade in {self.symbol} with an entry of {self.entry_notional} USD")

    @property
    def pnl(self) -> Decimal | None:
        """Net of fees and funding."""
        return None if self.gross_pnl is None else self.gross_pnl - self.fees + self.funding


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """What the account was worth, open positions included. `net_transfers`: all deposits less withdrawals so far."""

    at: datetime
    equity: Decimal
    net_transfers: Decimal = ZERO

    def __post_init__(self) -> None:
        _refuse_naive(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What models cost, in USD, booked at a moment."""

    at: datetime
    usd: Decimal

    def __post_init__(self) -> None:
        _refuse_naive(self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSpan:
    """An instrument's price at the beginning and at the end of the period."""

    symbol: str
    first: Decimal
    last: Decimal

    def __post_init__(self) -> None:
        if self.first <= 0 or self.last <= 0:
            raise ValueError(f"{self.symbol} from {self.first} to {self.last}: prices are above zero")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, or None and the reason why there is none."""

    value: Decimal | None
    reason: str = ""


def figure(compute: Callable[_P, Decimal], *args: _P.args, **kwargs: _P.kwargs) -> Figure:
    """What `compute` returns, or the reason it raised `Undefined` with."""
    try:
        return Figure(compute(*args, **kwargs))
    except Undefined as undefined:
        return Figure(None, str(undefined))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`successes` of `count`, and between which limits the true rate lies with 90 % confidence.

    With nothing counted there is no value, and the interval is everything: 0 to 1.
    """

    successes: int
    count: int
    value: Decimal | None
    low: Decimal
    high: Decimal


def rate(successes: int, count: int) -> Rate:
    """The rate with its Wilson score interval.

    centre = (p + z^2/2n) / (1 + z^2/n), half width = z / (1 + z^2/n) * sqrt(p (1 - p) / n + z^2/4n^2), z = 1.645
    (E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927, 209-212;
    advised for small n by Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion", Statistical
    Science 16, 2001, 101-133). 3 of 4 is 0.75, and anything from 0.36 to 0.94.

    Raises `ValueError` for successes below zero or above the count.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count} is no rate")
    if count == 0:
        return Rate(successes=0, count=0, value=None, low=ZERO, high=ONE)
    value, squared = Decimal(successes) / count, Z_90 * Z_90
    widening = 1 + squared / count
    centre = (value + squared / (2 * count)) / widening
    half = Z_90 * (value * (1 - value) / count + squared / (4 * count * count)).sqrt() / widening
    # At the ends the formula gives 0 and 1 exactly; rounding must not take that away.
    low = ZERO if successes == 0 else centre - half
    high = ONE if successes == count else centre + half
    return Rate(successes=successes, count=count, value=value, low=low, high=high)


def mean(values: list[Decimal], nothing: str) -> Decimal:
    """The arithmetic mean, to the last digit whatever their order. Raises `Undefined(nothing)` for no values."""
    if not values:
        raise Undefined(nothing)
    return sum(sorted(values), ZERO) / len(values)


def _refuse_naive(*moments: datetime) -> None:
    for moment in moments:
        if moment.utcoffset() is None:
            raise ValueError(f"{moment} has no time zone")
