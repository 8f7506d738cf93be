"""The news calendar kept up on real Postgres, from a real server that behaves well and badly."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from decisions import calendar, calendar_refresh
from decisions.calendar import NAMES, NEW_YORK, Kind
from decisions.calendar_feeds import FeedError
from decisions.clients import calendars as client
from decisions.models import CalendarFeed, OutboxMessage, ScheduledEvent
from tests.integration.decisions.build import alerts
from tests.integration.decisions.calendar_server import Answer, Calendars, bea, bls, fed, fred, serving

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "fred-canary-0123456789abcdef"


def at(day: str, clock: str = "08:30") -> datetime:
    """A time of day in New York."""
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=NEW_YORK).astimezone(UTC)


NFP, CPI, FOMC, GDP = at("2026-12-04"), at("2026-12-10"), at("2026-12-09", "14:00"), at("2026-12-23")
GOOD = {
    "/fed": Answer(fed(at("2026-10-28", "14:00"), FOMC)),
    "/bea": Answer(bea(at("2026-10-29"), GDP)),
    "/bls": Answer(bls(cpi=[at("2026-11-10"), CPI], nfp=[at("2026-11-06"), NFP])),
    "/fred/10": Answer(fred(10, at("2026-11-10"), CPI)),
    "/fred/50": Answer(fred(50, at("2026-11-06"), NFP)),
}
DENIED = Answer(b"<html><title>Access Denied</title></html>", 403)


@pytest.fixture
def calendars(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Calendars]:
    """All feeds well, no key of FRED's."""
    settings.FRED_API_KEY = ""
    with serving(Calendars(answers=dict(GOOD))) as served:
        for name in ("fed", "bea", "bls", "fred"):
            monkeypatch.setattr(client, f"{name.upper()}_URL", f"{served.url}/{name}")
        monkeypatch.setattr(client, "SECONDS", 5.0)
        client._client.cache_clear()
        yield served
    client._client.cache_clear()


@pytest.fixture
def live(settings: Any, redis_client: Any) -> Any:
    settings.SANDBOX = False
    return settings


def known(kind: Kind) -> list[datetime]:
    return list(
        ScheduledEvent.objects.filter(kind=kind).order_by("scheduled_at").values_list("scheduled_at", flat=True)
    )


def write(kind: Kind, moment: datetime, **columns: Any) -> ScheduledEvent:
    given = {"name": NAMES[kind], "impact": "high", "source": "seed", "fetched_at": NOW - DAY, **columns}
    return ScheduledEvent.objects.create(kind=kind, scheduled_at=moment, **given)


def errors() -> dict[str, str]:
    return dict(CalendarFeed.objects.exclude(error="").values_list("name", "error"))


# --- reading --------------------------------------------------------------------------------------------------------


def test_every_feed_is_read_once_honestly_and_its_events_keep_their_source(calendars: Calendars) -> None:
    readings = calendar_refresh.refresh(NOW)
    assert [(each.feed, each.brought, len(each.added), each.error) for each in readings] == [
        ("Federal Reserve", 2, 1, ""), ("BEA", 2, 1, ""), ("BLS", 4, 2, "")
    ]  # fmt: skip
    assert (known("FOMC"), known("GDP"), known("CPI"), known("NFP")) == ([FOMC], [GDP], [CPI], [NFP])
    row = ScheduledEvent.objects.get(kind="CPI")
    assert (row.source, row.fetched_at, row.manual) == (
        "Bureau of Labor Statistics, release calendar", NOW, False
    )  # fmt: skip
    assert calendars.paths() == ["/fed", "/bea", "/bls"]
    assert {headers["user-agent"] for _, _, headers in calendars.asked} == {client.USER_AGENT}
    for feed in CalendarFeed.objects.all():
        assert (feed.tried_at, feed.fetched_at, feed.error) == (NOW, NOW, "")


def test_reading_again_changes_nothing_but_the_time(calendars: Calendars) -> None:
    calendar_refresh.refresh(NOW)
    before = list(ScheduledEvent.objects.order_by("id").values_list("id", "name", "scheduled_at"))
    readings = calendar_refresh.refresh(NOW + HOUR)
    assert all((each.added, each.removed) == ((), ()) for each in readings)
    assert list(ScheduledEvent.objects.order_by("id").values_list("id", "name", "scheduled_at")) == before
    assert set(ScheduledEvent.objects.values_list("fetched_at", flat=True)) == {NOW + HOUR}


def test_a_rescheduled_release_moves_and_a_persons_stays(calendars: Calendars) -> None:
    write("CPI", at("2026-12-15"))
    write("CPI", at("2026-11-20"))
    persons = write("NFP", at("2026-12-07"), manual=True, source="a person")
    calendars.answers["/bls"] = Answer(bls(cpi=[at("2026-11-10"), at("2026-12-18")], nfp=[at("2026-11-06"), NFP]))
    (reading,) = (each for each in calendar_refresh.refresh(NOW) if each.feed == "BLS")
    assert known("CPI") == [at("2026-11-20"), at("2026-12-18")]
    assert [each.scheduled_at for each in reading.removed] == [at("2026-12-15")]
    assert known("NFP") == [persons.scheduled_at]
    persons.refresh_from_db()
    assert (persons.source, persons.manual) == ("a person", True)


def test_bls_has_the_last_word_over_fred_and_both_tell_of_one_event(calendars: Calendars, settings: Any) -> None:
    settings.FRED_API_KEY = KEY
    calendars.answers["/fred/10"] = Answer(fred(10, at("2026-11-10"), at("2026-12-11")))
    readings = calendar_refresh.refresh(NOW)
    assert [each.feed for each in readings] == ["Federal Reserve", "BEA", "FRED CPI", "FRED NFP", "BLS"]
    assert known("NFP") == [NFP]
    # Told by FRED, and outside what BLS tells of, which ends a day earlier.
    assert known("CPI") == [CPI, at("2026-12-11")]
    calendars.answers["/bls"] = Answer(bls(cpi=[at("2026-11-10"), CPI, at("2027-01-13")], nfp=[NFP]))
    calendar_refresh.refresh(NOW + DAY)
    assert known("CPI") == [CPI, at("2027-01-13")]


def test_fred_is_asked_for_the_dates_ahead_with_its_key(calendars: Calendars, settings: Any) -> None:
    settings.FRED_API_KEY = KEY
    calendar_refresh.refresh(NOW)
    asked = [query for path, query, _ in calendars.asked if path == "/fred"]
    assert [query["release_id"] for query in asked] == [["10"], ["50"]]
    assert asked[0] | {"release_id": ["10"]} == {
        "release_id": ["10"],
        "realtime_start": ["2026-08-14"],
        "include_release_dates_with_no_data": ["true"],
        "sort_order": ["asc"],
        "file_type": ["json"],
        "api_key": [KEY],
    }


# --- failing --------------------------------------------------------------------------------------------------------

BAD = {
    "forbidden": (DENIED, "HTTP 403: the Bureau of Labor Statistics refuses programs"),
    "server error": (Answer(b"<h1>Oops</h1>", 500), "HTTP 500: Oops"),
    "no words": (Answer(b"", 503), "HTTP 503: and nothing else"),
    "page instead of a calendar": (Answer(b"<html><body>Maintenance</body></html>"), "not a whole iCalendar file"),
    "empty": (Answer(b""), "not a whole iCalendar file"),
    "truncated": (Answer(GOOD["/bls"].body, manner="truncated"), "no answer: peer closed connection"),
    "half a file": (Answer(GOOD["/bls"].body[:-30]), "not a whole iCalendar file"),
    "huge": (Answer(GOOD["/bls"].body + b" " * 2_100_000), "longer than 2000000 bytes"),
    "slow drip": (Answer(b"BEGIN:VCALENDAR\n", manner="dripping"), "no answer within 0.5 s"),
    "moved": (
        Answer(b"", 301, {"Location": "http://192.0.2.1/bls.ics"}), "HTTP 301: it has moved, to 'http://192.0.2.1/bls.ics'"
    ),
    "compressed": (Answer(GOOD["/bls"].body, headers={"Content-Encoding": "gzip"}), "compressed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_feed_that_fails_is_told_leaves_what_is_known_and_stops_no_other(
    case: str, calendars: Calendars, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar_refresh.refresh(NOW - DAY)
    before = list(ScheduledEvent.objects.filter(kind__in=["CPI", "NFP"]).values_list("id", "fetched_at"))
    monkeypatch.setattr(client, "SECONDS", 0.5 if case == "slow drip" else 5.0)
    calendars.answers["/bls"], told = BAD[case]
    calendars.answers["/bea"] = Answer(bea(at("2026-10-29"), GDP, at("2027-01-28")))
    began = time.monotonic()
    readings = {reading.feed: reading for reading in calendar_refresh.refresh(NOW)}
    assert time.monotonic() - began < 4
    assert told in readings["BLS"].error
    assert errors() == {"BLS": readings["BLS"].error}
    feed = CalendarFeed.objects.get(name="BLS")
    assert (feed.tried_at, feed.fetched_at) == (NOW, NOW - DAY)
    assert list(ScheduledEvent.objects.filter(kind__in=["CPI", "NFP"]).values_list("id", "fetched_at")) == before
    assert known("GDP") == [GDP, at("2027-01-28")]
    assert "192.0.2.1" not in str(calendars.paths())


def test_nobody_there_is_told_and_a_good_answer_clears_it(
    calendars: Calendars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FED_URL", "http://127.0.0.1:9/fed")
    calendar_refresh.refresh(NOW)
    assert errors()["Federal Reserve"].startswith("no answer: ")
    monkeypatch.setattr(client, "FED_URL", f"{calendars.url}/fed")
    calendar_refresh.refresh(NOW + HOUR)
    assert errors() == {}
    assert known("FOMC") == [FOMC]


def test_what_fred_quotes_of_the_request_does_not_tell_the_key(
    calendars: Calendars, live: Any, caplog: pytest.LogCaptureFixture
) -> None:
    live.FRED_API_KEY = KEY
    said = json.dumps({"error_code": 400, "error_message": f"Bad Request. {KEY} is not a registered api_key."})
    calendars.answers["/fred/10"] = Answer(said.encode(), 400)
    calendar_refresh.keep_calendar(NOW)
    assert "the calendar of FRED CPI was not read: HTTP 400" in caplog.text
    assert "is not a registered api_key" in errors()["FRED CPI"]
    assert KEY not in caplog.text + str(errors())


def test_what_a_database_cannot_hold_is_no_reason_to_fail(calendars: Calendars) -> None:
    calendars.answers["/fed"] = Answer(b"\x00 out of order", 500)
    calendar_refresh.refresh(NOW)
    assert errors()["Federal Reserve"] == "HTTP 500: \ufffd out of order"


def test_the_addresses_are_official_and_encrypted() -> None:
    addresses = [client.FED_URL, client.BEA_URL, client.BLS_URL, client.FRED_URL]
    hosts = ["www.federalreserve.gov", "apps.bea.gov", "www.bls.gov", "api.stlouisfed.org"]
    assert all(address.startswith(f"https://{host}/") for address, host in zip(addresses, hosts, strict=True))


def test_a_feed_refuses_more_than_a_feed_error_can_tell(calendars: Calendars) -> None:
    calendars.answers["/bls"] = Answer(b"x" * 100_000, 500)
    with pytest.raises(FeedError) as failure:
        client.bls()
    assert len(str(failure.value)) < 300


# --- when -----------------------------------------------------------------------------------------------------------


def test_a_feed_is_read_once_a_day_and_an_hour_after_it_failed(calendars: Calendars) -> None:
    calendars.answers["/bls"] = DENIED

    def read(now: datetime) -> list[str]:
        return [each.feed for each in calendar_refresh.refresh_if_due(now)]

    assert read(NOW) == ["Federal Reserve", "BEA", "BLS"]
    assert read(NOW + timedelta(minutes=59)) == []
    assert read(NOW + HOUR) == ["BLS"]
    assert read(NOW + HOUR + timedelta(minutes=1)) == []
    calendars.answers["/bls"] = GOOD["/bls"]
    assert read(NOW + 2 * HOUR) == ["BLS"]
    assert read(NOW + DAY - timedelta(seconds=1)) == []
    assert read(NOW + DAY) == ["Federal Reserve", "BEA"]
    assert read(NOW + DAY + 2 * HOUR) == ["BLS"]


def test_a_reading_that_died_on_its_way_is_taken_up_an_hour_later(calendars: Calendars) -> None:
    calendar_refresh.refresh(NOW - 2 * DAY)
    CalendarFeed.objects.update(tried_at=NOW)
    assert calendar_refresh.refresh_if_due(NOW + HOUR - timedelta(seconds=1)) == []
    assert len(calendar_refresh.refresh_if_due(NOW + HOUR)) == 3


def test_two_at_once_read_a_feed_once(calendars: Calendars, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, *_ = calendar_refresh.feeds()
    assert [calendar_refresh._claimed(feed, NOW), calendar_refresh._claimed(feed, NOW)] == [True, False]
    assert [calendar_refresh._claimed(feed, NOW + HOUR), calendar_refresh._claimed(feed, NOW + HOUR)] == [True, False]


# --- keeping it live ------------------------------------------------------------------------------------------------


def test_live_it_is_refreshed_and_no_alarm_is_raised_while_all_is_known(calendars: Calendars, live: Any) -> None:
    calendar_refresh.keep_calendar(NOW)
    assert (known("CPI"), known("NFP")) == ([CPI], [NFP])
    assert alerts("calendar_gap") == []


def test_live_a_missing_release_is_told_once_a_day_with_its_cure(calendars: Calendars, live: Any) -> None:
    calendars.answers["/bls"] = DENIED
    write("NFP", NFP)
    write("CPI", NOW + timedelta(days=60))
    calendar_refresh.keep_calendar(NOW)
    calendar_refresh.keep_calendar(NOW + HOUR)
    message = OutboxMessage.objects.get(category="calendar_gap")
    assert message.severity == "WARN"
    assert message.payload["title"] == "The news calendar lacks CPI"
    for word in ("manage.py calendar --refresh", "FRED_API_KEY", "admin"):
        assert word in message.payload["detail"]
    OutboxMessage.objects.update(created_at=message.created_at - DAY)
    calendar_refresh.keep_calendar(NOW + DAY)
    assert len(alerts("calendar_gap")) == 2


def test_a_sandbox_asks_nobody_and_raises_no_alarm(calendars: Calendars) -> None:
    calendar_refresh.keep_calendar(NOW)
    assert calendars.asked == []
    assert not CalendarFeed.objects.exists()
    assert not OutboxMessage.objects.exists()


# --- manage.py calendar ---------------------------------------------------------------------------------------------


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decisions.clock.wall_now", lambda: NOW)


def shown(*words: str) -> str:
    out = StringIO()
    call_command("calendar", *words, stdout=out)
    return out.getvalue()


def test_the_command_shows_what_is_ahead_where_it_is_from_and_what_is_missing(noon: None) -> None:
    write("NFP", NFP, source="Bureau of Labor Statistics", fetched_at=at("2026-11-21", "07:00"))
    write("FOMC", FOMC, manual=True)
    write("GDP", at("2027-03-01"))
    lines = shown().splitlines()
    assert lines[0] == "Scheduled within 45 days of 2026-11-22 12:00 UTC"
    nfp, fomc = ([cell for cell in line.split("  ") if cell] for line in lines[2:4])
    assert [cell.strip() for cell in nfp] == [
        "2026-12-04 13:30", "Fri 04 Dec 08:30", "NFP", "high", NAMES["NFP"], "Bureau of Labor Statistics",
        "2026-11-21 12:00",
    ]  # fmt: skip
    assert [cell.strip() for cell in fomc][:2] == ["2026-12-09 19:00", "Wed 09 Dec 14:00"]
    assert "seed (kept by a person)" in lines[3]
    assert "  BLS: not read yet" in lines
    assert "  FRED: not asked, FRED_API_KEY is not set" in lines
    assert lines[-1].startswith("No CPI release is known within the next 45 days")
    assert "2027-03-01" in shown("--days", "100")


def test_the_command_refreshes_in_a_sandbox_too_and_tells_what_each_feed_brought(
    calendars: Calendars, noon: None
) -> None:
    write("CPI", at("2026-12-02"))
    told = shown("--refresh")
    assert "Federal Reserve: 2 events read; added FOMC statement 2026-12-09 19:00\n" in told
    assert "removed Consumer Price Index 2026-12-02 13:30" in told
    assert "  BLS: last read 2026-11-22 12:00 UTC\n" in told
    assert "No CPI" not in told
    assert "BEA: 2 events read; nothing changed" in shown("--refresh")


def test_the_command_tells_a_failure_shows_the_rest_and_ends_with_1(calendars: Calendars, noon: None) -> None:
    calendars.answers["/bls"] = DENIED
    out = StringIO()
    with pytest.raises(CommandError, match=r"^1 of 3 feeds could not be read: BLS$") as failure:
        call_command("calendar", "--refresh", stdout=out)
    assert failure.value.returncode == 1
    assert "BLS: not read, what was known stays: HTTP 403" in out.getvalue()
    assert "  BLS: never read; failed 2026-11-22 12:00 UTC: HTTP 403" in out.getvalue()
    assert "FOMC statement" in out.getvalue()


def test_the_command_as_json_tells_the_same(calendars: Calendars, noon: None) -> None:
    told = json.loads(shown("--refresh", "--json", "--days", "30"))
    assert told["now"] == "2026-11-22T12:00:00Z"
    assert [event["kind"] for event in told["events"]] == ["NFP", "FOMC", "CPI"]
    assert told["events"][0] == {
        "kind": "NFP", "name": NAMES["NFP"], "scheduled_at": "2026-12-04T13:30:00Z",
        "new_york": "2026-12-04T08:30:00-05:00", "impact": "high", "currency": "USD",
        "source": "Bureau of Labor Statistics, release calendar", "fetched_at": "2026-11-22T12:00:00Z", "manual": False,
    }  # fmt: skip
    assert told["feeds"][2] == {
        "name": "BLS", "tried_at": "2026-11-22T12:00:00Z", "fetched_at": "2026-11-22T12:00:00Z", "error": ""
    }  # fmt: skip
    assert [reading["brought"] for reading in told["readings"]] == [2, 2, 4]
    assert told["gaps"] == []


@pytest.mark.parametrize("days", ["0", "-1", "1001"])
def test_the_command_refuses_a_span_that_makes_no_sense(days: str) -> None:
    with pytest.raises(CommandError, match=f"--days {days}: from 1 to 1000") as failure:
        shown(f"--days={days}")
    assert failure.value.returncode == 2


# --- people ---------------------------------------------------------------------------------------------------------


def test_what_a_person_saves_in_the_admin_is_theirs(calendars: Calendars, admin_client: Client) -> None:
    calendar_refresh.refresh(NOW)
    row = ScheduledEvent.objects.get(kind="CPI")
    page = reverse("admin:decisions_scheduledevent_change", args=[row.pk])
    form = {
        "kind": "CPI", "name": row.name, "scheduled_at_0": "2026-12-11", "scheduled_at_1": "13:30:00",
        "impact": "high", "currency": "USD", "source": "a person", "reason": "it was put off",
    }  # fmt: skip
    assert admin_client.post(page, form).status_code == 302
    row.refresh_from_db()
    assert (row.manual, row.scheduled_at) == (True, at("2026-12-11"))
    calendar_refresh.refresh(NOW)
    assert known("CPI") == [at("2026-12-11")]


# --- seeds ----------------------------------------------------------------------------------------------------------


def test_known_dates_are_seeded_once_and_what_moved_since_does_not_come_back() -> None:
    call_command("seed", stdout=StringIO())
    assert ScheduledEvent.objects.count() == len(calendar.KNOWN_EVENTS)
    ScheduledEvent.objects.filter(kind="CPI", scheduled_at=CPI).update(scheduled_at=at("2027-01-20"), manual=True)
    ScheduledEvent.objects.filter(kind="GDP", scheduled_at=GDP).delete()
    before = list(ScheduledEvent.objects.order_by("id").values_list("id", "scheduled_at"))
    call_command("seed", stdout=StringIO())
    assert list(ScheduledEvent.objects.order_by("id").values_list("id", "scheduled_at")) == before


def test_known_dates_and_feeds_tell_of_the_same_events(calendars: Calendars) -> None:
    call_command("seed", stdout=StringIO())
    readings = calendar_refresh.refresh(NOW)
    assert all((each.added, each.removed, each.error) == ((), (), "") for each in readings[::2])
    # The second estimate of GDP, seeded for 2026-11-25, is missing in this BEA feed.
    assert [each.scheduled_at for each in readings[1].removed] == [at("2026-11-25")]
    assert known("FOMC")[-1] == at("2028-01-26", "14:00")
