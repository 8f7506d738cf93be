"""The two clocks.

The wall clock drives deadlines, confirmation and the sweeper. The market clock drives slots, data ages, news windows,
cooldowns, days, cache lifetimes and limit orders: live it is the wall clock, in the sandbox the time of the newest bar.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

SETTLING = timedelta(seconds=2)
"""How long (wall time) the sandbox waits for the venue's word on a new bar before it ticks without it."""

_NEWEST_BAR = """
SELECT at FROM market_snapshots
WHERE at <= (SELECT max(as_of) FROM position_reports) OR received_at <= %s
ORDER BY at DESC LIMIT 1
"""


def wall_now() -> datetime:
    return datetime.now(UTC)


def market_now() -> datetime | None:
    """Market time, or None in a sandbox that has not seen its first bar.

    In the sandbox a bar counts once the venue has reported its positions as of that bar: a cycle that looked sooner
    would find every position stale. A venue that stays silent does not stop the clock, and never turns it back: its
    silence is to be seen.
    """
    if not settings.SANDBOX:
        return wall_now()
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_BAR, [wall_now() - SETTLING])
        row = cursor.fetchone()
    return None if row is None else row[0]


def now_for_record() -> datetime:
    """Market time, or wall time in a sandbox that has no bar yet."""
    return market_now() or wall_now()


def slot(now: datetime, seconds: int) -> datetime:
    """The beginning of the slot of `seconds` that `now` lies in, counted from the Unix epoch."""
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=UTC)
