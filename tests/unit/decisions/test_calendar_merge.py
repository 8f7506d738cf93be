"""What a feed's answer changes, and what it must leave alone; and which releases are missing."""

from datetime import UTC, datetime, timedelta

import pytest

from decisions.calendar import NAMES, Changes, Kind, ScheduledEvent, gaps, merge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOTHING = Changes(added=(), confirmed=(), removed=())


def event(
    day: str, kind: Kind = "CPI", *, at: str = "13:30", name: str = "", source: str = "seed", manual: bool = False
) -> ScheduledEvent:
    return ScheduledEvent(
        kind=kind,
        name=name or NAMES.get(kind, "Speech - Governor"),
        scheduled_at=datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=UTC),
        impact="high",
        currency="USD",
        source=source,
        manual=manual,
    )


PAST = event("2026-11-10", source="feed")
LAST = event("2027-02-10", source="feed")


def test_what_a_feed_adds_is_added_and_what_it_repeats_is_confirmed_as_the_feed_tells_it() -> None:
    known, again = event("2026-12-10"), event("2026-12-10", source="feed")
    assert merge([known], [PAST, again, LAST], NOW) == Changes(added=(LAST,), confirmed=(again,), removed=())


def test_a_release_that_was_put_off_disappears_from_its_old_day() -> None:
    old, new = event("2026-12-10"), event("2026-12-18", source="feed")
    assert merge([old], [PAST, new], NOW) == Changes(added=(new,), confirmed=(), removed=(old,))


def test_another_time_of_the_same_day_replaces_the_old_one() -> None:
    old, new = event("2026-12-10"), event("2026-12-10", at="15:00", source="feed")
    assert merge([old], [PAST, new], NOW) == Changes(added=(new,), confirmed=(), removed=(old,))


def test_a_release_under_another_name_is_the_same_and_stays_one() -> None:
    old, new = event("2026-12-10", name="CPI (November)"), event("2026-12-10", source="feed")
    assert merge([old], [PAST, new], NOW) == Changes(added=(new,), confirmed=(), removed=(old,))


def test_the_past_is_neither_removed_nor_added() -> None:
    assert merge([event("2026-11-12")], [PAST, event("2026-11-22", at="12:00")], NOW) == NOTHING


def test_what_lies_outside_the_feeds_range_stays() -> None:
    before, after = event("2026-12-01"), event("2027-03-10")
    told = [event("2026-12-10"), LAST]
    assert merge([before, after], told, NOW).removed == ()
    assert merge([event("2026-12-10", at="14:00"), event("2027-02-10", at="23:00")], told, NOW).removed != ()


def test_a_feed_without_a_kind_changes_nothing_of_that_kind() -> None:
    others = [event("2026-12-04", "NFP"), event("2026-12-09", "FOMC")]
    assert merge(others, [PAST, LAST], NOW) == Changes(added=(LAST,), confirmed=(), removed=())
    assert merge(others, [], NOW) == NOTHING


@pytest.mark.parametrize("day", ["2026-12-07", "2026-12-10", "2026-12-13"])
def test_a_persons_event_stands_for_the_feeds_own_of_the_same_release(day: str) -> None:
    persons = event(day, at="14:15", name="CPI, moved", manual=True)
    assert merge([persons], [PAST, event("2026-12-10"), LAST], NOW) == Changes(added=(LAST,), confirmed=(), removed=())


def test_a_persons_event_is_kept_beside_another_release_of_its_kind() -> None:
    persons, told = event("2026-12-14", manual=True), event("2026-12-10", source="feed")
    assert merge([persons], [PAST, told, LAST], NOW).removed == ()
    assert told in merge([persons], [PAST, told, LAST], NOW).added


def test_a_persons_event_does_not_become_the_feeds_when_both_agree() -> None:
    assert merge([event("2026-12-10", manual=True)], [PAST, event("2026-12-10")], NOW) == NOTHING


def test_where_a_person_entered_the_new_day_the_old_one_goes_with_the_next_answer() -> None:
    old, persons = event("2026-12-10"), event("2026-12-11", manual=True)
    assert merge([old, persons], [PAST, event("2026-12-10"), LAST], NOW).removed == (old,)


def test_a_name_and_time_that_a_person_gave_another_kind_is_not_given_twice() -> None:
    persons = event("2026-12-10", "GDP", name=NAMES["CPI"], manual=True)
    assert merge([persons], [PAST, event("2026-12-10")], NOW) == NOTHING


def test_several_speeches_on_one_day_live_side_by_side() -> None:
    day = "2026-12-01"
    barr, cook = (event(day, "FED_SPEECH", name=name, at=at) for name, at in (("Barr", "14:00"), ("Cook", "15:00")))
    moved = event(day, "FED_SPEECH", name="Cook", at="16:00", manual=True)
    assert merge([], [barr, cook], NOW).added == (barr, cook)
    assert merge([moved], [barr, cook], NOW).added == (barr,)


def test_days_are_new_yorks() -> None:
    late = event("2027-02-11", at="04:00")  # 23:00 of the 10th in New York
    assert merge([late], [PAST, LAST], NOW).removed == (late,)


def test_merging_twice_changes_nothing_more() -> None:
    told = [PAST, event("2026-12-10", source="feed"), LAST]
    known = [event("2026-12-11"), event("2026-11-12"), event("2027-06-10", manual=True)]
    first = merge(known, told, NOW)
    after = [each for each in known if each not in first.removed] + list(first.added)
    again = merge(after, told, NOW)
    assert (again.added, again.removed) == ((), ())


@pytest.mark.parametrize(
    ("days_ahead", "missing"), [((1, 2), ()), ((45, 45), ()), ((46, 44), ("CPI",)), ((-1, 60), ("CPI", "NFP"))]
)
def test_a_watched_release_must_be_known_within_45_days(days_ahead: tuple[int, int], missing: tuple[Kind, ...]) -> None:
    cpi, nfp = (NOW + timedelta(days=days) for days in days_ahead)
    known = [
        event(f"{cpi:%Y-%m-%d}", at="12:00"),
        event(f"{nfp:%Y-%m-%d}", "NFP", at="12:00"),
        event("2026-12-09", "GDP"),
    ]
    assert gaps(known, NOW) == missing
