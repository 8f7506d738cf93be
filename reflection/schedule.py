"""When a deep reflection is due. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Cause = Literal["trades", "hours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """So many new trades, or so much market time with at least one, whichever comes first."""

    trades: int
    interval: timedelta

    def due(self, *, new_trades: int, since: datetime | None, now: datetime) -> Cause | None:
        """What makes a reflection due at market time `now`, or None.

        `since` is when the last one was, or before the first when the first new trade closed. A time ahead of now was
        stamped before the clock was set back: the interval counts as over rather than being waited for again.
        """
        if new_trades >= self.trades:
            return "trades"
        if new_trades == 0 or since is None:
            return None
        over = now - since >= self.interval or since > now + timedelta(minutes=1)
        return "hours" if over else None

    def left(self, *, new_trades: int, since: datetime | None) -> tuple[int, datetime | None]:
        """How many trades are missing, and when the interval is over."""
        return max(self.trades - new_trades, 0), None if since is None else since + self.interval
