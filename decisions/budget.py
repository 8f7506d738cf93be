"""What a day's money for models still allows. Pure.

It gives way in steps: from 80 % on a person is told and nothing is audited; once it is spent nothing is opened, and the
big model is asked for instruments with a position only. Exits are managed at every level.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

TIGHT_SHARE = Decimal("0.80")
DAY = timedelta(days=1)


class Level(StrEnum):
    """How far the day's budget is used up."""

    NORMAL = "normal"
    TIGHT = "tight"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Budget:
    """USD that models have cost in a market day, and USD that they may cost."""

    spent: Decimal
    daily: Decimal

    @property
    def level(self) -> Level:
        if self.spent >= self.daily:
            return Level.SPENT
        return Level.TIGHT if self.spent >= TIGHT_SHARE * self.daily else Level.NORMAL

    @property
    def allows_audits(self) -> bool:
        """Whether the big model may be asked only to measure the screener."""
        return self.level is Level.NORMAL

    @property
    def allows_openings(self) -> bool:
        return self.level is not Level.SPENT

    def allows_analysis(self, *, has_position: bool) -> bool:
        """Whether the big model may be asked about an instrument."""
        return has_position or self.allows_openings

    def __str__(self) -> str:
        return f"models have cost {self.spent} USD today, of {self.daily}"


def market_day(now: datetime) -> date:
    """The budget's day that market time `now` lies in: days begin at 00:00 UTC."""
    return now.astimezone(UTC).date()


def beginning(day: date) -> datetime:
    """The moment a market day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
