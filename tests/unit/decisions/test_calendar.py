"""News windows, and the dates known for sure."""

from datetime import UTC, datetime, timedelta

import pytest

from decisions.calendar import KNOWN_EVENTS, Impact, ScheduledEvent, is_news_window, news_event, upcoming

AT = datetime(2026, 12, 9, 19, 0, tzinfo=UTC)


def event(name: str = "FOMC statement", at: datetime = AT, impact: Impact = "high") -> ScheduledEvent:
    return ScheduledEvent(kind="FOMC", name=name, scheduled_at=at, impact=impact, currency="USD", source="test")


@pytest.mark.parametrize(
    ("minutes_to_go", "inside"), [(31, False), (30.02, False), (30, True), (1, True), (0, True), (-0.02, False)]
)
def test_the_window_is_the_minutes_before_and_the_moment_itself(minutes_to_go: float, inside: bool) -> None:
    assert is_news_window([event()], AT - timedelta(minutes=minutes_to_go)) is inside


def test_the_window_has_the_length_asked_for() -> None:
    assert is_news_window([event()], AT - timedelta(minutes=45), minutes_before=60)


def test_an_event_of_low_impact_has_no_window_but_is_upcoming() -> None:
    small = event(impact="low")
    assert not is_news_window([small], AT)
    assert upcoming([small], AT) == (small,)


def test_the_next_of_several_events_names_the_window() -> None:
    first, second = event("CPI", AT), event("FOMC", AT + timedelta(minutes=5))
    assert news_event([second, first], AT - timedelta(minutes=10)) == first


def test_upcoming_events_are_sorted_and_within_the_hours() -> None:
    soon, later, past = event(at=AT + timedelta(hours=1)), event(at=AT + timedelta(hours=25)), event(at=AT)
    now = AT + timedelta(seconds=1)
    assert upcoming([later, soon, past], now) == (soon,)
    assert upcoming([later, soon, past], now, hours=48) == (soon, later)


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("FOMC", "2022-11-02T18:00"),
        ("FOMC", "2026-12-09T19:00"),
        ("FOMC", "2027-03-17T18:00"),
        ("FOMC", "2027-12-08T19:00"),
        ("CPI", "2022-11-10T13:30"),
        ("CPI", "2026-12-10T13:30"),
        ("NFP", "2022-11-04T12:30"),
        ("NFP", "2026-12-04T13:30"),
        ("GDP", "2026-11-25T13:30"),
    ],
)
def test_known_dates_follow_new_york_through_summer_and_winter_time(kind: str, moment: str) -> None:
    expected = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert expected in {each.scheduled_at for each in KNOWN_EVENTS if each.kind == kind}


def test_known_events_are_in_order_and_none_stands_twice() -> None:
    keys = [(each.scheduled_at, each.kind) for each in KNOWN_EVENTS]
    assert keys == sorted(set(keys))
    assert all(each.source and each.impact == "high" for each in KNOWN_EVENTS)
