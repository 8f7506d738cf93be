"""`manage.py calendar`: the scheduled events ahead, where they are from, and what is missing."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from decisions import calendar, calendar_refresh, clock, context
from decisions.calendar_refresh import Reading
from decisions.models import CalendarFeed, ScheduledEvent
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.terminal import columns

LONGEST_DAYS = 1000


EXAMPLES = """
examples:
  manage.py calendar
  manage.py calendar --days 7
  manage.py calendar --refresh --json

exit codes: 0 shown, 1 with --refresh a feed could not be read, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Show the news calendar: events ahead in UTC and New York time, the state of the official feeds, and gaps. "
        "Exit code 1 when --refresh could not read a feed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--refresh", action="store_true", help="read the feeds now (in a sandbox too)")
        parser.add_argument(
            "--days", type=int, default=calendar.GAP_DAYS, help="how far to look ahead (default: %(default)s)"
        )
        parser.add_argument("--json", action="store_true", help="as JSON")

    def handle(self, *_: Any, refresh: bool, days: int, **options: Any) -> None:
        if not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"--days {days}: from 1 to {LONGEST_DAYS}", returncode=2)
        readings = calendar_refresh.refresh(clock.wall_now()) if refresh else []
        told = _facts(clock.wall_now(), days, readings)
        self.stdout.write(json.dumps(told, indent=2) if options["json"] else "\n".join(_lines(told, days)))
        failed = [reading.feed for reading in readings if reading.error]
        if failed:
            raise CommandError(f"{len(failed)} of {len(readings)} feeds could not be read: {', '.join(failed)}")


# --- facts ----------------------------------------------------------------------------------------------------------


def _facts(now: datetime, days: int, readings: Sequence[Reading]) -> dict[str, Any]:
    rows = ScheduledEvent.objects.filter(scheduled_at__gte=now, scheduled_at__lte=now + timedelta(days=days))
    market = clock.market_now() if settings.SANDBOX else None
    return {
        "now": _zulu(now),
        "market_time": _zulu(market) if market else None,
        "readings": [_reading(reading) for reading in readings],
        "events": [
            _event(context.scheduled_event(row)) | {"fetched_at": _zulu(row.fetched_at), "manual": row.manual}
            for row in rows.order_by("scheduled_at", "name")
        ],
        "feeds": [_feed(feed.name) for feed in calendar_refresh.feeds()],
        "gaps": list(calendar.gaps(context.known_events(now, calendar.GAP_DAYS), now)),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "feed": reading.feed,
        "brought": reading.brought,
        "added": [_event(event) for event in reading.added],
        "removed": [_event(event) for event in reading.removed],
        "error": reading.error,
    }


def _event(event: calendar.ScheduledEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "name": event.name,
        "scheduled_at": _zulu(event.scheduled_at),
        "new_york": event.scheduled_at.astimezone(calendar.NEW_YORK).isoformat(),
        "impact": event.impact,
        "currency": event.currency,
        "source": event.source,
    }


def _feed(name: str) -> dict[str, Any]:
    row = CalendarFeed.objects.filter(name=name).first()
    return {
        "name": name,
        "tried_at": _zulu(row.tried_at) if row else None,
        "fetched_at": _zulu(row.fetched_at) if row and row.fetched_at else None,
        "error": row.error if row else "",
    }


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- lines ----------------------------------------------------------------------------------------------------------


def _lines(told: dict[str, Any], days: int) -> list[str]:
    blocks = [
        [_read(reading) for reading in told["readings"]],
        _ahead(told["events"], days, told["now"]),
        ["Feeds", *(f"  {_state(feed)}" for feed in told["feeds"]), *_not_asked()],
        [calendar_refresh.cure(told["gaps"])] if told["gaps"] else [],
        [f"Sandbox: news windows follow the market's time, {_minute(told['market_time'])} UTC."]
        if told["market_time"]
        else [],
    ]
    return [line for block in blocks if block for line in (*block, "")][:-1]


def _read(reading: dict[str, Any]) -> str:
    if reading["error"]:
        return f"{reading['feed']}: not read, what was known stays: {reading['error']}"
    changes = [
        f"{word} {event['name']} {_minute(event['scheduled_at'])}"
        for word in ("added", "removed")
        for event in reading[word]
    ]
    return f"{reading['feed']}: {reading['brought']} events read; {', '.join(changes) or 'nothing changed'}"


def _ahead(events: Sequence[dict[str, Any]], days: int, now: str) -> list[str]:
    """The table of the events."""
    if not events:
        return [f"Nothing is scheduled within {days} days of {_minute(now)} UTC."]
    rows = [("UTC", "New York", "Kind", "Impact", "Event", "Source", "As of (UTC)")] + [
        (
            _minute(event["scheduled_at"]),
            f"{datetime.fromisoformat(event['new_york']):%a %d %b %H:%M}",
            event["kind"],
            event["impact"],
            event["name"],
            f"{event['source']}{' (kept by a person)' if event['manual'] else ''}",
            _minute(event["fetched_at"]),
        )
        for event in events
    ]
    return [f"Scheduled within {days} days of {_minute(now)} UTC", *(f"  {line}" for line in columns(rows))]


def _state(feed: dict[str, Any]) -> str:
    if feed["tried_at"] is None:
        return f"{feed['name']}: not read yet"
    read = f"last read {_minute(feed['fetched_at'])} UTC" if feed["fetched_at"] else "never read"
    failure = f"; failed {_minute(feed['tried_at'])} UTC: {feed['error']}" if feed["error"] else ""
    return f"{feed['name']}: {read}{failure}"


def _not_asked() -> list[str]:
    return [] if settings.FRED_API_KEY else ["  FRED: not asked, FRED_API_KEY is not set"]


def _minute(moment: str) -> str:
    """An ISO time to the minute, without its zone."""
    return moment[:16].replace("T", " ")
