"""Keeping the news calendar: read the official feeds once a day, keep what is known when they fail, and say so when a
release that must be known is not."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from decisions import calendar, calendar_feeds, context, outbox
from decisions.calendar_feeds import FeedError
from decisions.clients import calendars
from decisions.clients.reply import storable
from decisions.models import CalendarFeed, ScheduledEvent

EVERY = timedelta(days=1)
AFTER_A_FAILURE = timedelta(hours=1)
REACH_BACK = timedelta(days=100)
"""How far back a feed is read. Its range begins with the last past release of each kind, which shows that the next one
of ours is within it; further back, old mistakes would fail it for nothing."""
LONGEST_ERROR = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Feed:
    """A calendar, and what reads it: the events since a day. Raises `FeedError`."""

    name: str
    read: Callable[[date], tuple[calendar.ScheduledEvent, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a feed brought and changed, or why it could not be read."""

    feed: str
    brought: int = 0
    added: tuple[calendar.ScheduledEvent, ...] = ()
    removed: tuple[calendar.ScheduledEvent, ...] = ()
    error: str = ""


def feeds() -> tuple[Feed, ...]:
    """The feeds that can be asked, in their order: the last to tell of a release is right. FRED only repeats BLS."""
    by_fred = [Feed(f"FRED {kind}", partial(_fred, kind)) for kind in calendar_feeds.FRED_RELEASES]
    return (
        Feed("Federal Reserve", lambda since: calendar_feeds.parse_fed(calendars.fed(), since)),
        Feed("BEA", lambda since: calendar_feeds.parse_bea(calendars.bea(), since)),
        *(by_fred if settings.FRED_API_KEY else ()),
        Feed("BLS", lambda since: calendar_feeds.parse_bls(calendars.bls(), since)),
    )


def _fred(kind: calendar.Kind, since: date) -> tuple[calendar.ScheduledEvent, ...]:
    return calendar_feeds.parse_fred(kind, calendars.fred(calendar_feeds.FRED_RELEASES[kind], since), since)


def refresh(now: datetime) -> list[Reading]:
    """Read every feed now (wall time). One that fails leaves the events as they are, and the others are read."""
    for feed in feeds():
        CalendarFeed.objects.update_or_create(name=feed.name, defaults={"tried_at": now})
    return [_refreshed(feed, now) for feed in feeds()]


def refresh_if_due(now: datetime) -> list[Reading]:
    """Read the feeds that were last read a day ago, or failed an hour ago."""
    return [_refreshed(feed, now) for feed in feeds() if _claimed(feed, now)]


def keep_calendar(now: datetime) -> None:
    """One round at wall time `now`, live only: a sandbox trades in a time of its own."""
    if settings.SANDBOX:
        return
    for reading in refresh_if_due(now):
        if reading.error:
            log.warning("the calendar of %s was not read: %s", reading.feed, reading.error)
    missing = calendar.gaps(context.known_events(now, calendar.GAP_DAYS), now)
    if missing:
        _tell(missing)


def _claimed(feed: Feed, now: datetime) -> bool:
    """Whether the feed is due and nobody else took it up."""
    _, is_new = CalendarFeed.objects.get_or_create(name=feed.name, defaults={"tried_at": now})
    due = CalendarFeed.objects.filter(
        Q(fetched_at=None) | Q(fetched_at__lte=now - EVERY), name=feed.name, tried_at__lte=now - AFTER_A_FAILURE
    )
    return is_new or due.update(tried_at=now) == 1


def _refreshed(feed: Feed, now: datetime) -> Reading:
    row = CalendarFeed.objects.filter(name=feed.name)
    try:
        fetched = feed.read((now - REACH_BACK).date())
    except FeedError as failure:
        error = storable(str(failure))[:LONGEST_ERROR]
        row.update(error=error)
        return Reading(feed=feed.name, error=error)
    with transaction.atomic():
        changes = _merged(fetched, now)
        row.update(fetched_at=now, error="")
    return Reading(feed=feed.name, brought=len(fetched), added=changes.added, removed=changes.removed)


def _merged(fetched: tuple[calendar.ScheduledEvent, ...], now: datetime) -> calendar.Changes:
    """Write what the feed told. The rows are held, so that nobody changes one meanwhile."""
    since = now - calendar.SAME_RELEASE - timedelta(days=1)
    held = ScheduledEvent.objects.select_for_update().filter(scheduled_at__gt=since)
    rows = {(row.name, row.scheduled_at): row for row in held}
    changes = calendar.merge([context.scheduled_event(row) for row in rows.values()], fetched, now)
    ScheduledEvent.objects.filter(pk__in=[rows[each.name, each.scheduled_at].pk for each in changes.removed]).delete()
    for event in changes.confirmed:
        row = rows[event.name, event.scheduled_at]
        row.source, row.fetched_at = event.source, now
    ScheduledEvent.objects.bulk_update(
        [rows[each.name, each.scheduled_at] for each in changes.confirmed], ["source", "fetched_at"]
    )
    # Somebody may have read another feed with the same release meanwhile.
    ScheduledEvent.objects.bulk_create([_row(event, now) for event in changes.added], ignore_conflicts=True)
    return changes


def _row(event: calendar.ScheduledEvent, now: datetime) -> ScheduledEvent:
    return ScheduledEvent(
        kind=event.kind,
        name=event.name,
        scheduled_at=event.scheduled_at,
        impact=event.impact,
        currency=event.currency,
        source=event.source,
        fetched_at=now,
    )


def cure(missing: Sequence[calendar.Kind]) -> str:
    """What is not known, and what a person can do about it."""
    return (
        f"No {' and no '.join(missing)} release is known within the next {calendar.GAP_DAYS} days, so no news window "
        "comes before it. Run `manage.py calendar --refresh`, set FRED_API_KEY (free of charge), or enter the date in "
        "the admin under Scheduled events."
    )


def _tell(missing: Sequence[calendar.Kind]) -> None:
    outbox.record_alert_at_most(
        EVERY,
        "WARN",
        "calendar_gap",
        title=f"The news calendar lacks {' and '.join(missing)}",
        detail=cure(missing),
        action_taken="None: trading goes on without that news window.",
    )
