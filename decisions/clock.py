"""The two clocks.

The wall clock drives deadlines, confirmation and the sweeper. The market clock drives slots, data ages, news windows,
cooldowns, days, cache lifetimes and limit orders: live it is the wall clock, in the sandbox the time of the newest bar.

The wall clock may be set back or forth while we run. Nothing waits for a time that was noted before: a stamp that lies
ahead counts as old, so that what hangs on its age is done now rather than when the clock has caught up. What must not
be done twice never rests on an age alone, but on a key or a lock.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q

SETTLING = timedelta(seconds=2)
"""How long (wall time) the sandbox waits for the venue's word on a new bar before it ticks without it."""

AHEAD = timedelta(minutes=1)
"""How far ahead of us a stamp may lie that another machine made just now."""

_NEWEST_BAR = """
SELECT at FROM market_snapshots
WHERE at <= (SELECT max(as_of) FROM position_reports) OR received_at <= %s OR received_at > %s
ORDER BY at DESC LIMIT 1
"""


def wall_now() -> datetime:
    return datetime.now(UTC)


def is_ahead(stamp: datetime, now: datetime) -> bool:
    """Whether a stamp was made before the wall clock was set back."""
    return stamp > now + AHEAD


def older_than(stamp: datetime, age: timedelta, now: datetime) -> bool:
    """Whether more than `age` of wall time has passed since a stamp. One that lies ahead counts as old."""
    return now - stamp > age or is_ahead(stamp, now)


def out_of_date(as_of: datetime, age: timedelta, now: datetime) -> bool:
    """Whether what was so at market time `as_of` is older than `age` at market time `now`. Live, a time ahead counts as
    old: our clock was set back, and nobody knows how old it is. In the sandbox the newest bar is ahead of the market
    clock until the venue has reported."""
    return now - as_of > age or (not settings.SANDBOX and is_ahead(as_of, now))


def older(stamp: str, age: timedelta, now: datetime) -> Q:
    """`older_than` for a query: the rows whose stamp is older than `age`. Rows without one are not among them."""
    return Q(**{f"{stamp}__lt": now - age}) | Q(**{f"{stamp}__gt": now + AHEAD})


def younger(stamp: str, age: timedelta, now: datetime) -> Q:
    """The other way round: the rows whose stamp is not older than `age`."""
    return Q(**{f"{stamp}__gte": now - age, f"{stamp}__lte": now + AHEAD})


def market_now() -> datetime | None:
    """Market time, or None in a sandbox that has not seen its first bar.

    In the sandbox a bar counts once the venue has reported its positions as of that bar: a cycle that looked sooner
    would find every position stale. A venue that stays silent does not stop the clock, and never turns it back: its
    silence is to be seen.
    """
    if not settings.SANDBOX:
        return wall_now()
    with connection.cursor() as cursor:
        now = wall_now()
        cursor.execute(_NEWEST_BAR, [now - SETTLING, now + AHEAD])
        row = cursor.fetchone()
    return None if row is None else row[0]


def now_for_record() -> datetime:
    """Market time, or wall time in a sandbox that has no bar yet."""
    return market_now() or wall_now()


def slot(now: datetime, seconds: int) -> datetime:
    """The beginning of the slot of `seconds` that `now` lies in, counted from the Unix epoch."""
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=UTC)
