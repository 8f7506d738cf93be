"""What the dashboard is told of the system, as values, and the figures that follow from them. Pure.

Times are aware. `now` is market time; what came in is dated by the wall clock too, since in the sandbox the market's
clock stands still with its source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from decisions.budget import Budget
from decisions.dashboard.curve import Curve
from decisions.dashboard.holdings import Exposure
from journal.performance import Calibration, Rate
from journal.performance.values import rate

AHEAD = timedelta(minutes=1)
"""How far ahead of us a stamp may lie that another machine made just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A halt that stands; `until` is None when only a person ends it."""

    kind: str
    reason: str
    since: datetime
    by: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A change as a fraction, below zero when it is a loss, its limit likewise, and the share of it that is used."""

    measured: Decimal | None
    limit: Decimal
    used: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account against its limits; money in USD, None before the first report. `key` is its row."""

    key: int | None
    state: Literal["unknown", "halted", "cooldown", "running"]
    sentence: str
    halts: Sequence[Halt]
    cooldown_until: datetime | None
    equity: Decimal | None
    day_start_equity: Decimal | None
    daily_loss: Fall
    drawdown: Fall
    loss_streak: int
    losses_to_cooldown: int
    max_exposure: Decimal
    max_positions: int
    warns_at: Decimal

    @property
    def result_today(self) -> Decimal | None:
        """USD since 00:00 UTC, transfers left out."""
        if self.daily_loss.measured is None or self.day_start_equity is None:
            return None
        return self.daily_loss.measured * self.day_start_equity


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedToday:
    """Trades closed since 00:00 UTC; `net_usd` is after fees and funding, of those whose result is known."""

    count: int
    won: int
    net_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """The cycles of a day, by outcome; of the screened ones, how many passed."""

    by_outcome: Mapping[str, int]
    still_open: int
    screened: int
    passed: int
    screened_out: int
    audited: int

    @property
    def pass_rate(self) -> Rate:
        return rate(self.passed, self.screened)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A cycle that has ended."""

    key: int
    slot_at: datetime
    instrument: str
    outcome: str
    reason: str
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Audits:
    """Screened-out cycles that the big model was asked about in shadow: in how many it wanted to act."""

    counted: int
    missed: int

    @property
    def miss_rate(self) -> Rate:
        return rate(self.missed, self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What models cost: the day's budget, its sums and calls by purpose, and the cycles of 24 h that asked the big
    model for a decision."""

    budget: Budget
    today: Mapping[str, tuple[int, Decimal]]
    analysed: int


def dear_calls_saved(cycles: Cycles, spending: Spending) -> Rate:
    """Of the cycles that would have asked the big model without a screener, those that it kept from it. An audited
    cycle saved nothing."""
    saved = max(cycles.screened_out - cycles.audited, 0)
    return rate(saved, saved + spending.analysed + cycles.audited)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """When something was last heard of, and how old it may be: by the market's clock, where that says anything, and by
    the wall's."""

    name: str
    address: str
    market_at: datetime | None
    wall_at: datetime | None
    market_limit: timedelta | None
    wall_limit: timedelta

    def is_stale(self, now: datetime, wall: datetime) -> bool:
        """Whether it is older than it may be by either clock, or was never heard of. What came in ahead of the wall
        clock is from before that was set back: nobody knows how old it is."""
        if self.wall_at is None:
            return True
        behind = self.market_limit is not None and self.market_at is not None
        if behind and now - (self.market_at or now) > (self.market_limit or timedelta.max):
            return True
        age = wall - self.wall_at
        return age > self.wall_limit or age < -AHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person was told."""

    key: int
    at: datetime
    severity: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Rows that wait for a person: how many, in words, and where."""

    count: int
    what: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of the playbook: who wrote it or let it trade, and when."""

    key: int
    version: int
    by: str
    at: datetime
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the dashboard shows."""

    now: datetime
    wall: datetime
    is_live: bool
    account: Account
    curve: Curve
    exposure: Exposure
    closed_today: ClosedToday
    cycles: Cycles
    last_cycles: Sequence[Cycle]
    audits: Audits
    spending: Spending
    calibration: Calibration
    heard: Sequence[Heard]
    alerts: Sequence[Alert]
    troubles: Sequence[Trouble]
    active: Version | None
    challenger: Version | None

    @property
    def stale(self) -> list[Heard]:
        return [each for each in self.heard if each.is_stale(self.now, self.wall)]
