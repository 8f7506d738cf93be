"""Reading the official calendars: bytes as they came, made into events. Pure.

Each parser takes all that matters or raises `FeedError`, which says what was wrong: half a calendar would look like a
quiet month. What matters is of its kinds and not before `since`: a feed holds years of past rows, typed by hand.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from decisions.calendar import (
    NEW_YORK,
    USUAL_TIMES,
    Kind,
    ScheduledEvent,
    new_york_day,
    release,
    release_on,
)

FED_SOURCE = "Federal Reserve, calendar"
BEA_SOURCE = "Bureau of Economic Analysis, release dates"
BLS_SOURCE = "Bureau of Labor Statistics, release calendar"
FRED_SOURCE = "FRED, release dates (at 08:30 New York, their usual time)"

FRED_RELEASES: dict[Kind, int] = {"CPI": 10, "NFP": 50}
"""What FRED calls the releases whose dates it is asked for."""

LONGEST_NAME = 100


class FeedError(Exception):
    """A calendar did not answer, or what it answered cannot be relied on."""


# --- Federal Reserve ------------------------------------------------------------------------------------------------

_MEETING = "fomc meeting"
_SPEAKING = ("speeches", "testimony")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_DAYS = re.compile(r"(\d{1,2})(?:\s*[-–]\s*(\d{1,2}))?")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*([ap])\.?\s?m\.?(?:\s*ET)?(?:\s*[-–].*)?", re.IGNORECASE)
_NO_TIME_YET = ("", "tbd", "tba")


def parse_fed(content: bytes, since: date) -> tuple[ScheduledEvent, ...]:
    """FOMC statements (at 14:00 unless told otherwise) and appearances of the Board's members.

    `{"events": [{"type": "FOMC", "title": "FOMC Meeting", "month": "2026-10", "days": "28", "time": "2:00 p.m."}]}`,
    New York time, with a byte order mark. `days` names the day of the statement or the two of the meeting; one that
    runs over the end of a month stands under its second day. An appearance without a time is left out until it has one.
    """
    events: list[ScheduledEvent] = []
    for row in _listed(_json_object(content), "events"):
        if not isinstance(row, dict):
            raise FeedError(f"a row is not an object: {_shown(row)}")
        sort, title = _word(row, "type").casefold(), _word(row, "title")
        if sort == "fomc" and title.casefold().startswith(_MEETING):
            events += _meeting(row, title, since)
        elif sort in _SPEAKING:
            events += _appearance(row, title or "Fed speech", since)
    return _settled(events, ("FOMC",), since)


def _meeting(row: dict[str, Any], title: str, since: date) -> Iterator[ScheduledEvent]:
    """The statement of a meeting. One that is called anything but a meeting may be cancelled, or by telephone."""
    month = _month(row)
    if month < since.replace(day=1):
        return
    if title.casefold() != _MEETING:
        raise FeedError(f"not clear what an FOMC row means: {_shown(row)}")
    found = _DAYS.fullmatch(_word(row, "days"))
    if found is None:
        raise FeedError(f"not one meeting's days: {_shown(row)}")
    first, last = int(found[1]), int(found[2] or found[1])
    if found[2] and last != first + 1:
        raise FeedError(f"not two days of one month that follow each other: {_shown(row)}")
    yield release_on("FOMC", _day(month, last, row), FED_SOURCE, _clock(row) or USUAL_TIMES["FOMC"])


def _appearance(row: dict[str, Any], title: str, since: date) -> Iterator[ScheduledEvent]:
    month = _month(row)
    if month < since.replace(day=1):
        return
    at = _clock(row)
    if at is None:
        return
    for number in _word(row, "days").split(","):
        if not number.strip().isdecimal():
            raise FeedError(f"not days of a month: {_shown(row)}")
        yield ScheduledEvent(
            kind="FED_SPEECH",
            name=title[:LONGEST_NAME],
            scheduled_at=datetime.combine(_day(month, int(number), row), at, NEW_YORK).astimezone(UTC),
            impact="medium",
            currency="USD",
            source=FED_SOURCE,
        )


def _month(row: dict[str, Any]) -> date:
    """The first of its month."""
    found = _MONTH.fullmatch(_word(row, "month"))
    try:
        if found is not None:
            return date(int(found[1]), int(found[2]), 1)
    except ValueError:
        pass
    raise FeedError(f"no month as 2026-10: {_shown(row)}")


def _day(month: date, number: int, row: dict[str, Any]) -> date:
    try:
        return month.replace(day=number)
    except ValueError:
        raise FeedError(f"the month has no day {number}: {_shown(row)}") from None


def _clock(row: dict[str, Any]) -> time | None:
    """The time of day, the beginning of one that is a span; None while it is not known."""
    text = _word(row, "time")
    if text.casefold() in _NO_TIME_YET:
        return None
    found = _CLOCK.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= 12 or int(found[2] or 0) > 59:
        raise FeedError(f"no time of day: {_shown(row)}")
    afternoon = found[3].lower() == "p"
    return time(int(found[1]) % 12 + 12 * afternoon, int(found[2] or 0))


# --- Bureau of Economic Analysis ------------------------------------------------------------------------------------

_GDP = "Gross Domestic Product"


def parse_bea(content: bytes, since: date) -> tuple[ScheduledEvent, ...]:
    """The releases of GDP: `{"Gross Domestic Product": {"release_dates": ["2026-10-29T12:30:00+00:00", ...]}, ...}`.

    Dates under `to_be_rescheduled`, where there are any, are no longer dates.
    """
    document = _json_object(content)
    entry = document.get(_GDP)
    if not isinstance(entry, dict):
        raise FeedError(f"it does not hold {_GDP!r}")
    put_off = set(_moments(entry, "to_be_rescheduled")) if "to_be_rescheduled" in entry else set()
    moments = [moment for moment in _moments(entry, "release_dates") if moment not in put_off]
    return _settled((release("GDP", moment, BEA_SOURCE) for moment in moments), ("GDP",), since)


def _moments(entry: dict[str, Any], name: str) -> list[datetime]:
    moments = []
    for told in _listed(entry, name):
        try:
            moment = datetime.fromisoformat(told)
        except (TypeError, ValueError):
            raise FeedError(f"{name}: not a time: {_shown(told)}") from None
        if moment.tzinfo is None:
            raise FeedError(f"{name}: a time without its zone: {_shown(told)}")
        moments.append(moment)
    return moments


# --- Bureau of Labor Statistics -------------------------------------------------------------------------------------

_TITLES: tuple[tuple[Kind, str], ...] = (("CPI", "consumer price index"), ("NFP", "employment situation"))
_EASTERN = ("US-Eastern", "US/Eastern", "America/New_York")


def parse_bls(content: bytes, since: date) -> tuple[ScheduledEvent, ...]:
    """CPI and Employment Situation out of the iCalendar file (RFC 5545): `DTSTART;TZID=US-Eastern:20261210T083000`.

    US-Eastern is the file's own name of New York's time. What the file says of that zone's offsets is not used.
    """
    import icalendar  # a fifth of a second, once a day

    if not content.rstrip().endswith(b"END:VCALENDAR"):
        raise FeedError(f"not a whole iCalendar file: it ends {_shown(content[-80:].decode('utf-8', 'replace'))}")
    try:
        entries = icalendar.Calendar.from_ical(content).walk("VEVENT")
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # the library's own slips are among them
        raise FeedError(f"not an iCalendar file: {_shown(str(error))}") from error
    events = []
    for entry in entries:
        kind = _kind_titled(str(entry.get("SUMMARY", "")))
        if kind is None or str(entry.get("STATUS", "")).upper() == "CANCELLED":
            continue
        moment = _start(kind, entry, since)
        if moment is not None:
            events.append(release(kind, moment, BLS_SOURCE))
    return _settled(events, ("CPI", "NFP"), since)


def _kind_titled(title: str) -> Kind | None:
    """Whose release it is. Employment Situation *of Veterans* is another, *for August 2026* is the same."""
    words = " ".join(title.split()).casefold()
    return next((kind for kind, name in _TITLES if words == name or words.startswith(f"{name} for ")), None)


def _start(kind: Kind, entry: Any, since: date) -> datetime | None:
    """The aware moment of a release; None for a day before `since` that has no time, as one that fell out may have."""
    from icalendar import vDDDTypes

    start = entry.get("DTSTART")
    moment = start.dt if isinstance(start, vDDDTypes) else None
    if not isinstance(moment, datetime):
        if isinstance(moment, date) and moment < since:
            return None
        raise FeedError(f"a {kind} release without a day and a time")
    if "RRULE" in entry or "RDATE" in entry:
        raise FeedError(f"a {kind} release that repeats itself")
    zone = start.params.get("TZID")
    if zone in _EASTERN:
        return moment.replace(tzinfo=NEW_YORK)
    if zone is None and moment.tzinfo is not None:
        return moment
    raise FeedError(f"a {kind} release in a time zone that is not New York's: {_shown(zone)}")


# --- FRED -----------------------------------------------------------------------------------------------------------


def parse_fred(kind: Kind, content: bytes, since: date) -> tuple[ScheduledEvent, ...]:
    """The dates of CPI or NFP: `{"count": 2, "release_dates": [{"release_id": 10, "date": "2026-12-10"}, ...]}`.

    FRED tells no times: they are the usual ones.
    """
    document = _json_object(content)
    rows = _listed(document, "release_dates")
    count = document.get("count", len(rows))
    if count != len(rows):
        raise FeedError(f"{len(rows)} dates of {_shown(count)}: the list was cut off")
    days = [_release_day(row, FRED_RELEASES[kind]) for row in rows]
    return _settled((release_on(kind, day, FRED_SOURCE) for day in days), (kind,), since)


def _release_day(row: Any, number: int) -> date:
    if not isinstance(row, dict) or row.get("release_id") != number:
        raise FeedError(f"not a date of release {number}: {_shown(row)}")
    try:
        return date.fromisoformat(row["date"])
    except (KeyError, TypeError, ValueError):
        raise FeedError(f"no date as 2026-12-10: {_shown(row)}") from None


# --- what all have in common ----------------------------------------------------------------------------------------


def _settled(events: Iterable[ScheduledEvent], kinds: Sequence[Kind], since: date) -> tuple[ScheduledEvent, ...]:
    """The events from `since` on, in order, each once. Raises `FeedError` when one of the kinds is missing altogether,
    or when a release is told for two times of one day."""
    found = {(event.scheduled_at, event.name): event for event in events if new_york_day(event) >= since}
    releases: dict[tuple[Kind, date], ScheduledEvent] = {}
    for event in found.values():
        if event.kind == "FED_SPEECH":
            continue
        other = releases.setdefault((event.kind, new_york_day(event)), event)
        if other != event:
            raise FeedError(f"two times on {new_york_day(event)} for the {event.kind} release")
    for kind in kinds:
        if kind not in {known for known, _ in releases}:
            raise FeedError(f"no {kind} release since {since}: its form may have changed")
    return tuple(found[key] for key in sorted(found))


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise FeedError(f"not JSON: it begins {_shown(content[:80].decode('utf-8', 'replace'))}") from None
    if not isinstance(document, dict):
        raise FeedError(f"not a JSON object: it begins {_shown(document)}")
    return document


def _listed(document: dict[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list):
        raise FeedError(f"it holds no list {name!r}")
    return found


def _word(row: dict[str, Any], name: str) -> str:
    """A text of a row on one line, without mark-up and what cannot be printed; empty where there is none."""
    told = row.get(name)
    if told is None:
        return ""
    text = re.sub(r"<[^>]*>", " ", html.unescape(str(told)))
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _shown(value: object) -> str:
    """As an error quotes it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
