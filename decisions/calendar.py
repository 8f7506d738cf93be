"""The news calendar: scheduled events that move the market, the window before each, and the dates known for sure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["FOMC", "CPI", "NFP", "GDP", "FED_SPEECH"]
Impact = Literal["high", "medium", "low"]

NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEvent:
    """A release or a speech at a known moment (aware, UTC), and who said so."""

    kind: Kind
    name: str
    scheduled_at: datetime
    impact: Impact
    currency: str
    source: str


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


# --- known dates ----------------------------------------------------------------------------------------------------

_FED_2022 = "Federal Reserve, meeting calendar 2022"
_FED_2026 = "Federal Reserve, press release of 2024-08-09"
_FED_2027 = "Federal Reserve, press release of 2025-09-05 (tentative)"
_BLS = "Bureau of Labor Statistics, release schedule"
_BEA = "Bureau of Economic Analysis, release schedule"

_NAMES: dict[Kind, tuple[str, int, int]] = {
    "FOMC": ("FOMC statement", 14, 0),
    "CPI": ("Consumer Price Index", 8, 30),
    "NFP": ("Employment Situation (non-farm payrolls)", 8, 30),
    "GDP": ("Gross Domestic Product", 8, 30),
}
"""What each is called and its usual hour and minute in New York."""

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


def _event(kind: Kind, date: str, source: str) -> ScheduledEvent:
    name, hour, minute = _NAMES[kind]
    local = datetime.fromisoformat(date).replace(hour=hour, minute=minute, tzinfo=NEW_YORK)
    return ScheduledEvent(
        kind=kind, name=name, scheduled_at=local.astimezone(UTC), impact="high", currency="USD", source=source
    )


KNOWN_EVENTS: tuple[ScheduledEvent, ...] = tuple(
    sorted((_event(kind, date, source) for kind, source, dates in _DATES for date in dates), key=_moment)
)
