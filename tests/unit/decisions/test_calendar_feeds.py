"""Reading the official calendars: all that matters, or a FeedError that says what is wrong."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions.calendar import KNOWN_EVENTS, ScheduledEvent
from decisions.calendar_feeds import FeedError, parse_bea, parse_bls, parse_fed, parse_fred

SINCE = date(2026, 8, 14)


def moments(events: tuple[ScheduledEvent, ...], kind: str) -> list[str]:
    return [f"{event.scheduled_at:%Y-%m-%dT%H:%MZ}" for event in events if event.kind == kind]


def key(event: ScheduledEvent) -> tuple[str, datetime]:
    return event.name, event.scheduled_at


# --- Federal Reserve ------------------------------------------------------------------------------------------------


def meeting(month: str, days: str, at: str = "2:00 p.m.", title: str = "FOMC Meeting") -> dict[str, Any]:
    return {"title": title, "time": at, "month": month, "days": days, "type": "FOMC"}


def appearance(month: str, days: str, at: str, title: str = "Speech - Governor Michael S. Barr") -> dict[str, Any]:
    return {"title": title, "time": at, "month": month, "days": days, "type": "Speeches"}


def fed(*rows: Any) -> bytes:
    return json.dumps({"events": list(rows), "announcement": []}).encode("utf-8-sig")


OCTOBER = meeting("2026-10", "28")


def test_the_fed_tells_statements_in_new_york_time_through_summer_and_winter() -> None:
    content = fed(OCTOBER, meeting("2026-12", "9"), meeting("2027-03", "17"), meeting("2026-11", "6", "10:30 a.m."))
    found = parse_fed(content, SINCE)
    assert content.startswith(b"\xef\xbb\xbf")
    assert moments(found, "FOMC") == [
        "2026-10-28T18:00Z", "2026-11-06T15:30Z", "2026-12-09T19:00Z", "2027-03-17T18:00Z"
    ]  # fmt: skip
    assert {event.impact for event in found} == {"high"}
    assert {key(event) for event in found} & {key(event) for event in KNOWN_EVENTS} == {
        key(found[0]), key(found[2]), key(found[3])
    }  # fmt: skip


@pytest.mark.parametrize("days", ["27-28", "27 - 28", "27–28", "28"])
def test_a_meeting_of_two_days_ends_with_its_statement(days: str) -> None:
    assert moments(parse_fed(fed(meeting("2026-10", days)), SINCE), "FOMC") == ["2026-10-28T18:00Z"]


def test_a_meeting_without_a_time_has_the_usual_one_and_its_name_may_be_written_otherwise() -> None:
    found = parse_fed(fed(meeting("2026-10", "28", at="", title=" FOMC meeting ")), SINCE)
    assert moments(found, "FOMC") == ["2026-10-28T18:00Z"]
    assert found[0].name == "FOMC statement"


def test_a_meeting_over_the_end_of_a_month_stands_under_its_second_day() -> None:
    described = meeting("2026-11", "1") | {"description": "&lt;p&gt;Two-day meeting, October 31 - November 1&lt;/p&gt;"}
    assert moments(parse_fed(fed(described), SINCE), "FOMC") == ["2026-11-01T19:00Z"]


def test_minutes_press_conferences_and_statistics_are_left_out_and_a_meeting_told_twice_is_one() -> None:
    others = [
        meeting("2026-11", "18", title="FOMC Minutes"),
        meeting("2026-10", "28", "2:30 p.m.", title="FOMC Press Conference"),
        {"title": "H.4.1", "type": "Stat", "time": "4:30 p.m.", "month": "2026-10", "days": "1, 8, 15"},
        {"title": "<p>Offices closed.</p>", "type": "Other", "month": ""},
    ]
    found = parse_fed(fed(*others, OCTOBER, meeting("2026-10", "27-28")), SINCE)
    assert moments(found, "FOMC") == ["2026-10-28T18:00Z"]
    assert len(found) == 1


def test_appearances_are_of_medium_impact_each_day_on_its_own() -> None:
    testimony = appearance("2026-11", "18", "10:00 a.m.", "Testimony - Chair ") | {"type": "Testimony"}
    found = parse_fed(fed(OCTOBER, appearance("2026-10", "30, 2", "12:05 p.m."), testimony), SINCE)
    assert moments(found, "FED_SPEECH") == ["2026-10-02T16:05Z", "2026-10-30T16:05Z", "2026-11-18T15:00Z"]
    spoken = [event for event in found if event.kind == "FED_SPEECH"]
    assert [event.name for event in spoken] == ["Speech - Governor Michael S. Barr"] * 2 + ["Testimony - Chair"]
    assert {event.impact for event in spoken} == {"medium"}


@pytest.mark.parametrize("at", ["", "TBD", " tba "])
def test_an_appearance_without_a_time_waits_until_it_has_one(at: str) -> None:
    assert moments(parse_fed(fed(OCTOBER, appearance("2026-10", "30", at)), SINCE), "FED_SPEECH") == []


@pytest.mark.parametrize(
    ("at", "moment"),
    [
        ("9 a.m.", "13:00"), ("9:15 AM", "13:15"), ("12:00 p.m. ET", "16:00"), ("12:30 a.m.", "04:30"),
        ("1:00 p.m. - 2:30 p.m.", "17:00"),
    ],
)  # fmt: skip
def test_times_are_read_as_people_write_them(at: str, moment: str) -> None:
    found = parse_fed(fed(OCTOBER, appearance("2026-10", "30", at)), SINCE)
    assert moments(found, "FED_SPEECH") == [f"2026-10-30T{moment}Z"]


def test_the_name_of_an_appearance_is_one_short_line_of_plain_text() -> None:
    title = "Speech &#8211; <b>Governor</b>\n &amp; \x00 guests " + "x" * 200
    (_, spoken) = parse_fed(fed(OCTOBER, appearance("2026-10", "30", "9:00 a.m.", title)), SINCE)
    assert spoken.name.startswith("Speech – Governor & guests xxx")
    assert len(spoken.name) == 100


def test_what_is_long_past_is_not_read_however_it_is_written() -> None:
    past = [
        meeting("2020-03", "17-18", title="FOMC Meeting (cancelled)"),
        meeting("2017-10", "31-1"),
        appearance("2019-04", "31", "noonish"),
    ]
    assert len(parse_fed(fed(*past, OCTOBER), SINCE)) == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (meeting("2026-10", "31-1"), "not two days of one month"),
        (meeting("2026-10", "26-28"), "not two days of one month"),
        (meeting("2026-10", "28-27"), "not two days of one month"),
        (meeting("2026-10", "27, 28"), "not one meeting's days"),
        (meeting("2026-10", ""), "not one meeting's days"),
        (meeting("2026-11", "31"), "the month has no day 31"),
        (meeting("2026-13", "1"), "no month as 2026-10"),
        (meeting("October 2026", "28"), "no month as 2026-10"),
        (meeting("", "28"), "no month as 2026-10"),
        (meeting("2026-12", "9", title="FOMC Meeting (cancelled)"), "not clear what an FOMC row means"),
        (meeting("2026-12", "9", at="afternoon"), "no time of day"),
        (meeting("2026-12", "9", at="14:00 p.m."), "no time of day"),
        (meeting("2026-10", "28", at="2:30 p.m."), "two times on 2026-10-28 for the FOMC release"),
        (appearance("2026-10", "soon", "9:00 a.m."), "not days of a month"),
        (appearance("2026-10", "3-4", "9:00 a.m."), "not days of a month"),
        (appearance("2026-10", "0", "9:00 a.m."), "the month has no day 0"),
        ("FOMC Meeting", "a row is not an object"),
    ],
)
def test_a_row_of_the_fed_that_is_not_clear_fails_the_whole_feed(row: Any, told: str) -> None:
    with pytest.raises(FeedError, match=told):
        parse_fed(fed(OCTOBER, row), SINCE)


# --- Bureau of Economic Analysis ------------------------------------------------------------------------------------


def bea(*dates: Any, **more: Any) -> bytes:
    other = {"release_dates": ["no date at all"]}
    return json.dumps(
        {"Gross Domestic Product": {"release_dates": list(dates), **more}, "GDP by State": other}
    ).encode()


def test_the_releases_of_gdp_are_told_in_utc_each_once() -> None:
    found = parse_bea(bea("2026-11-25T13:30:00+00:00", "2026-10-29T12:30:00Z", "2026-10-29T08:30:00-04:00"), SINCE)
    assert moments(found, "GDP") == ["2026-10-29T12:30Z", "2026-11-25T13:30Z"]
    assert {event.name for event in found} == {"Gross Domestic Product"}


def test_a_date_of_gdp_that_is_put_off_is_none_any_more() -> None:
    dates = ("2026-10-29T12:30:00+00:00", "2026-11-25T13:30:00+00:00")
    assert moments(parse_bea(bea(*dates, to_be_rescheduled=[dates[1]]), SINCE), "GDP") == ["2026-10-29T12:30Z"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (bea("2026-10-29T08:30:00"), "without its zone"),
        (bea("2026-10-29T12:30:00Z", "October 29"), "not a time: 'October 29'"),
        (bea(1793277000), "not a time"),
        (bea(), "no GDP release since 2026-08-14"),
        (bea("2025-10-29T12:30:00Z"), "no GDP release since"),
        (bea("2026-10-29T12:30:00Z", to_be_rescheduled=["?"]), "to_be_rescheduled: not a time"),
        (b'{"Gross Domestic Product": {"dates": []}}', "no list 'release_dates'"),
        (b'{"Gross Domestic Product, by Month": {"release_dates": []}}', "does not hold 'Gross Domestic Product'"),
    ],
)
def test_release_dates_of_gdp_that_cannot_be_relied_on(content: bytes, told: str) -> None:
    with pytest.raises(FeedError, match=told):
        parse_bea(content, SINCE)


# --- Bureau of Labor Statistics -------------------------------------------------------------------------------------

ZONE_WITHOUT_SUMMER_TIME = """BEGIN:VTIMEZONE
TZID:US-Eastern
BEGIN:STANDARD
DTSTART:20071104T020000
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
END:STANDARD
END:VTIMEZONE"""


def entry(title: str, start: str, *more: str) -> str:
    return "\n".join(["BEGIN:VEVENT", f"DTSTART{start}", "DURATION:PT0M", f"SUMMARY:{title}", *more, "END:VEVENT"])


def eastern(moment: str) -> str:
    return f";TZID=US-Eastern:{moment}"


def bls(*parts: str) -> bytes:
    return "\n".join(
        ["BEGIN:VCALENDAR", "VERSION:2.0", "X-WR-TIMEZONE:US-Eastern", *parts, "END:VCALENDAR", ""]
    ).encode()


CPI = entry("Consumer Price Index", eastern("20261210T083000"))
NFP = entry("Employment Situation", eastern("20261204T083000"))


def test_labor_statistics_are_told_in_new_york_time_through_summer_and_winter() -> None:
    found = parse_bls(bls(CPI, NFP, entry("Employment Situation for August 2026", eastern("20260904T083000"))), SINCE)
    assert moments(found, "CPI") == ["2026-12-10T13:30Z"]
    assert moments(found, "NFP") == ["2026-09-04T12:30Z", "2026-12-04T13:30Z"]
    assert {key(event) for event in found} & {key(event) for event in KNOWN_EVENTS} == {key(found[1]), key(found[2])}


def test_the_files_own_idea_of_summer_time_is_not_used() -> None:
    summer = entry("Consumer Price Index", eastern("20260911T083000"))
    found = parse_bls(bls(ZONE_WITHOUT_SUMMER_TIME, summer, NFP), SINCE)
    assert moments(found, "CPI") == ["2026-09-11T12:30Z"]


def test_other_releases_cancelled_ones_and_folded_lines_are_read_as_meant() -> None:
    folded = CPI.replace("Price Index", "Price Ind\n ex")
    others = [
        entry("Employment Situation of Veterans", eastern("20260320T100000")),
        entry("Metropolitan Area Consumer Price Index", ";VALUE=DATE:20260320"),
        entry("Consumer Price Index", eastern("20261110T083000"), "STATUS:CANCELLED"),
        entry("Consumer Price Index", ";VALUE=DATE:20260813"),
    ]
    assert len(parse_bls(bls(folded, NFP, *others), SINCE)) == 2


def test_a_moment_in_utc_is_as_good() -> None:
    utc = entry("Consumer Price Index", ":20261210T133000Z")
    assert moments(parse_bls(bls(utc, NFP), SINCE), "CPI") == ["2026-12-10T13:30Z"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a whole iCalendar file"),
        (b"<html><title>Access Denied</title></html>", "not a whole iCalendar file: it ends '<html>"),
        (bls(CPI, NFP)[:-40], "not a whole iCalendar file"),
        (b"\xff\xfe\x00END:VCALENDAR", "not an iCalendar file"),
        (bls(CPI, "BEGIN:VEVENT", NFP), "not an iCalendar file"),
        (bls(), "no CPI release since"),
        (bls(CPI), "no NFP release since"),
        (bls(NFP, entry("Consumer Price Index", ";VALUE=DATE:20261210")), "a CPI release without a day and a time"),
        (bls(NFP, entry("Consumer Price Index", ":soon")), "a CPI release without a day and a time"),
        (bls(NFP, CPI.replace("DTSTART", "DTSTAMP")), "a CPI release without a day and a time"),
        (bls(NFP, CPI.replace("SUMMARY", "RRULE:FREQ=MONTHLY\nSUMMARY")), "a CPI release that repeats itself"),
        (bls(NFP, entry("Consumer Price Index", ":20261210T083000")), "not New York's: None"),
        (bls(NFP, entry("Consumer Price Index", ";TZID=US-Pacific:20261210T053000")), "not New York's: 'US-Pacific'"),
        (bls(NFP, CPI, CPI.replace("0830", "1000")), "two times on 2026-12-10 for the CPI release"),
    ],
)
def test_a_calendar_of_labor_statistics_that_cannot_be_relied_on(content: bytes, told: str) -> None:
    with pytest.raises(FeedError, match=told):
        parse_bls(content, SINCE)


# --- FRED -----------------------------------------------------------------------------------------------------------


def fred(*dates: Any, number: int = 10, **more: Any) -> bytes:
    return json.dumps({"release_dates": [{"release_id": number, "date": day} for day in dates], **more}).encode()


def test_dates_of_fred_have_the_usual_time_and_our_names() -> None:
    found = parse_fred("CPI", fred("2026-10-14", "2026-12-10", count=2), SINCE)
    assert moments(found, "CPI") == ["2026-10-14T12:30Z", "2026-12-10T13:30Z"]
    (by_bls,) = (event for event in parse_bls(bls(CPI, NFP), SINCE) if event.kind == "CPI")
    assert (found[1].name, found[1].scheduled_at) == (by_bls.name, by_bls.scheduled_at)
    assert moments(parse_fred("NFP", fred("2026-12-04", number=50), SINCE), "NFP") == ["2026-12-04T13:30Z"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (fred("2026-12-10", number=50), "not a date of release 10"),
        (fred("2026-12-10", count=9), "1 dates of 9: the list was cut off"),
        (fred("10 December"), "no date as 2026-12-10"),
        (fred(None), "no date as 2026-12-10"),
        (fred(), "no CPI release since 2026-08-14"),
        (b'{"release_dates": ["2026-12-10"]}', "not a date of release 10"),
        (b'{"error_code": 400}', "no list 'release_dates'"),
    ],
)
def test_dates_of_fred_that_cannot_be_relied_on(content: bytes, told: str) -> None:
    with pytest.raises(FeedError, match=told):
        parse_fred("CPI", content, SINCE)


# --- any of them ----------------------------------------------------------------------------------------------------

Parser = Callable[[bytes, date], tuple[ScheduledEvent, ...]]
PARSERS: dict[str, tuple[Parser, bytes]] = {
    "fed": (parse_fed, fed(OCTOBER, appearance("2026-10", "30", "9:00 a.m."))),
    "bea": (parse_bea, bea("2026-10-29T12:30:00Z")),
    "bls": (parse_bls, bls(ZONE_WITHOUT_SUMMER_TIME, CPI, NFP)),
    "fred": (lambda content, since: parse_fred("CPI", content, since), fred("2026-12-10")),
}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"<html><body>Access Denied</body></html>", b"\xff\xfe", b"[" * 100_000],
    ids=lambda content: repr(content[:20]),
)
@pytest.mark.parametrize("name", PARSERS)
def test_what_is_no_calendar_at_all_is_told_and_quoted_in_short(name: str, content: bytes) -> None:
    with pytest.raises(FeedError) as failure:
        PARSERS[name][0](content, SINCE)
    assert len(str(failure.value)) < 400


@pytest.mark.parametrize("name", PARSERS)
def test_half_a_feed_is_none(name: str) -> None:
    parse, whole = PARSERS[name]
    assert parse(whole, SINCE)
    for end in range(len(whole.rstrip())):
        with pytest.raises(FeedError):
            parse(whole[:end], SINCE)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None)  # the first to read an iCalendar file imports its library
@given(data=st.data())
def test_no_damage_ends_in_anything_but_a_feed_error(name: str, data: st.DataObject) -> None:
    parse, whole = PARSERS[name]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    damage = data.draw(
        st.one_of(st.binary(max_size=12), st.text('0123456789-:;,=TZ\n{}[]" ', max_size=12).map(str.encode))
    )
    try:
        found = parse(whole[:start] + damage + whole[end:], SINCE)
    except FeedError:
        return
    assert all(event.scheduled_at.tzinfo is UTC and event.name for event in found)
