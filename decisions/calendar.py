"""The news calendar: scheduled events that move the market, the window before each, how what a feed tells becomes part
of what is known, and the dates known for sure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["FOMC", "CPI", "NFP", "GDP", "FED_SPEECH"]
Impact = Literal["high", "medium", "low"]

NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEvent:
    """A release or a speech at a known moment (aware, UTC), and who said so. `manual`: a person did."""

    kind: Kind
    name: str
    scheduled_at: datetime
    impact: Impact
    currency: str
    source: str
    manual: bool = False


def news_event(events: Iterable[ScheduledEvent], now: datetime, minutes_before: int = 30) -> ScheduledEvent | None:
    """The next event whose window this is: from `minutes_before` before it up to its moment, both included.

    Events of low impact have no window.
    """
    window = timedelta(minutes=minutes_before)
    near = [event for event in events if event.impact != "low" and timedelta() <= event.scheduled_at - now <= window]
    return min(near, key=_moment, default=None)


def is_news_window(events: Iterable[ScheduledEvent], now: datetime, minutes_before: int = 30) -> bool:
    """Whether an event is at most `minutes_before` minutes away."""
    return news_event(events, now, minutes_before) is not None


def upcoming(events: Iterable[ScheduledEvent], now: datetime, hours: int = 24) -> tuple[ScheduledEvent, ...]:
    """The events of the next `hours`, whatever their impact, soonest first."""
    horizon = timedelta(hours=hours)
    near = [event for event in events if timedelta() <= event.scheduled_at - now <= horizon]
    return tuple(sorted(near, key=_moment))


def _moment(event: ScheduledEvent) -> tuple[datetime, str]:
    return event.scheduled_at, event.name


# --- one name for each release --------------------------------------------------------------------------------------

NAMES: Mapping[Kind, str] = {
    "FOMC": "FOMC statement",
    "CPI": "Consumer Price Index",
    "NFP": "Employment Situation (non-farm payrolls)",
    "GDP": "Gross Domestic Product",
}
"""What a release is called here, whatever a feed calls it, so that two feeds tell of one event and not of two."""

USUAL_TIMES: Mapping[Kind, time] = {"FOMC": time(14), "CPI": time(8, 30), "NFP": time(8, 30), "GDP": time(8, 30)}
"""In New York."""


def release(kind: Kind, moment: datetime, source: str) -> ScheduledEvent:
    """The release of a kind at an aware moment."""
    return ScheduledEvent(
        kind=kind,
        name=NAMES[kind],
        scheduled_at=moment.astimezone(UTC),
        impact="high",
        currency="USD",
        source=source,
    )


def release_on(kind: Kind, day: date, source: str, at: time | None = None) -> ScheduledEvent:
    """The release of a kind on a day, `at` New York time or at its usual hour there."""
    return release(kind, datetime.combine(day, at or USUAL_TIMES[kind], NEW_YORK), source)


def new_york_day(event: ScheduledEvent) -> date:
    """The day it falls on in New York."""
    return event.scheduled_at.astimezone(NEW_YORK).date()


# --- what a feed changes --------------------------------------------------------------------------------------------

SAME_RELEASE = timedelta(days=3)
"""A person's event this close to a feed's of its kind is the same release. Releases of a kind lie weeks apart, and an
unscheduled FOMC decision days before a meeting replaced it (2020-03-15 for 2020-03-18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a feed's answer makes of the events known before: new ones, those it tells again, those no longer true."""

    added: tuple[ScheduledEvent, ...]
    confirmed: tuple[ScheduledEvent, ...]
    removed: tuple[ScheduledEvent, ...]


def merge(known: Iterable[ScheduledEvent], fetched: Iterable[ScheduledEvent], now: datetime) -> Changes:
    """What to change after a feed answered with `fetched`.

    The feed decides about the future events of each kind it holds, from its first of that kind to its last: a release
    that was put off disappears from its old day. It never touches the past, what lies outside its range, other kinds,
    or what a person entered or changed; such an event stands for the feed's own of the same release.
    """
    known, fetched = tuple(known), tuple(fetched)
    people = [event for event in known if event.manual]
    ahead = {
        _key(event): event
        for event in fetched
        if event.scheduled_at > now and not any(_stands_for(person, event) for person in people)
    }
    ours = {_key(event): event for event in known if not event.manual}
    taken = ours.keys() | {_key(event) for event in people}
    spans = _spans(fetched)
    return Changes(
        added=tuple(event for key, event in ahead.items() if key not in taken),
        confirmed=tuple(event for key, event in ahead.items() if key in ours),
        removed=tuple(
            event
            for key, event in ours.items()
            if key not in ahead and event.scheduled_at > now and _lies_in(spans, event)
        ),
    )


def _key(event: ScheduledEvent) -> tuple[str, datetime]:
    """What tells events apart: no two have both."""
    return event.name, event.scheduled_at


def _stands_for(person: ScheduledEvent, event: ScheduledEvent) -> bool:
    if person.kind != event.kind:
        return False
    apart = abs(new_york_day(person) - new_york_day(event))
    if event.kind == "FED_SPEECH":  # several people may speak on one day
        return person.name == event.name and not apart
    return apart <= SAME_RELEASE


def _spans(events: Iterable[ScheduledEvent]) -> dict[Kind, tuple[date, date]]:
    """The first and the last day of each kind."""
    days: dict[Kind, list[date]] = {}
    for event in events:
        days.setdefault(event.kind, []).append(new_york_day(event))
    return {kind: (min(of_kind), max(of_kind)) for kind, of_kind in days.items()}


def _lies_in(spans: Mapping[Kind, tuple[date, date]], event: ScheduledEvent) -> bool:
    if event.kind not in spans:
        return False
    first, last = spans[event.kind]
    return first <= new_york_day(event) <= last


# --- what is missing ------------------------------------------------------------------------------------------------

WATCHED: tuple[Kind, ...] = ("CPI", "NFP")
"""Monthly, and moving the market the most: not to know the next one is never right."""
GAP_DAYS = 45


def gaps(events: Iterable[ScheduledEvent], now: datetime) -> tuple[Kind, ...]:
    """The watched kinds of which nothing is known within the next 45 days."""
    near = {event.kind for event in upcoming(events, now, hours=GAP_DAYS * 24)}
    return tuple(kind for kind in WATCHED if kind not in near)


# --- known dates ----------------------------------------------------------------------------------------------------

_FED_2022 = "Federal Reserve, meeting calendar 2022"
_FED_2026 = "Federal Reserve, press release of 2024-08-09"
_FED_2027 = "Federal Reserve, press release of 2025-09-05 (tentative)"
_BLS = "Bureau of Labor Statistics, release schedule"
_BEA = "Bureau of Economic Analysis, release schedule"

_DATES: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    ("FOMC", _FED_2022, ("2022-11-02", "2022-12-14")),
    ("NFP", _BLS, ("2022-11-04", "2022-12-02")),
    ("CPI", _BLS, ("2022-11-10", "2022-12-13")),
    ("GDP", _BEA, ("2022-11-30", "2022-12-22")),
    ("FOMC", _FED_2026, ("2026-01-28", "2026-03-18", "2026-04-29", "2026-06-17", "2026-07-29", "2026-09-16")),
    ("FOMC", _FED_2026, ("2026-10-28", "2026-12-09")),
    ("NFP", _BLS, ("2026-12-04",)),
    ("CPI", _BLS, ("2026-12-10",)),
    ("GDP", _BEA, ("2026-11-25", "2026-12-23")),
    ("FOMC", _FED_2027, ("2027-01-27", "2027-03-17", "2027-04-28", "2027-06-09", "2027-07-28", "2027-09-15")),
    ("FOMC", _FED_2027, ("2027-10-27", "2027-12-08", "2028-01-26")),
)
"""Dates as published, none guessed. The past ones give replays of those days their news windows."""


KNOWN_EVENTS: tuple[ScheduledEvent, ...] = tuple(
    sorted(
        (release_on(kind, date.fromisoformat(day), source) for kind, source, days in _DATES for day in days),
        key=_moment,
    )
)
