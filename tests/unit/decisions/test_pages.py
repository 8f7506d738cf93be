"""Which pages a search may rest on: their addresses, their dates, and how much of them is kept."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.clients.pages import (
    LONGEST_ADDRESS,
    MOST_AGE,
    MOST_AHEAD,
    MOST_PAGES,
    NoSource,
    Page,
    citations,
    is_web_address,
    moment_of,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def kept(*dates: str) -> list[str]:
    """The dates of what is kept of pages with these dates."""
    pages = [Page(f"https://example.org/{number}", "A", date) for number, date in enumerate(dates)]
    return [citation.date for citation in citations(pages, NOW)]


def at(age: timedelta) -> str:
    return (NOW - age).isoformat()


@pytest.mark.parametrize(
    "date",
    [
        "2026-11-20", "2026-11-20T08:00:00Z", "2026-11-20 08:00:00", "2026-11-20T08:00:00+09:00",
        at(MOST_AGE), at(-MOST_AHEAD), "2026-11-24",
    ],
)  # fmt: skip
def test_a_page_of_the_last_days_is_believed(date: str) -> None:
    assert kept(date) == [date]


@pytest.mark.parametrize("date", ["", "three days ago", "November 2019", "2019", "20/11/2019"])
def test_a_page_whose_date_cannot_be_read_counts_as_undated_and_is_believed(date: str) -> None:
    assert kept(date) == [date]


@pytest.mark.parametrize(
    "date", ["2024-03-01", "2026-11-14", at(MOST_AGE + timedelta(seconds=1)), "2027-01-01", at(-MOST_AHEAD * 1.01)]
)
def test_a_page_too_old_or_dated_in_the_future_is_dropped(date: str) -> None:
    assert kept("2026-11-20", date) == ["2026-11-20"]


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        ((), "the search named no page"),
        (("2024-02-28", "2024-03-01"), "every page is older than 7 days, the newest of 2024-03-01"),
        (("2027-06-01", "2027-05-01"), "every page is dated in the future, the nearest of 2027-05-01"),
        (
            ("2024-03-01", "2027-05-01"),
            "every page is older than 7 days, the newest of 2024-03-01, "
            "or dated in the future, the nearest of 2027-05-01",
        ),
    ],
)
def test_without_a_page_to_believe_the_reason_is_told(dates: tuple[str, ...], told: str) -> None:
    with pytest.raises(NoSource) as raised:
        kept(*dates)
    assert str(raised.value) == told


@pytest.mark.parametrize(
    "address",
    [
        "", "javascript:alert(1)", "ftp://example.org/a", "//example.org/a", "https://", "https:///a", "https://[::1",
        "example.org", "data:text/html,hello", "https://example.org/a b", "https://example.org/\u202ea",
        "https://example.org/\n", "file:///etc/passwd", "https://example.org/" + "a" * LONGEST_ADDRESS,
    ],
)  # fmt: skip
def test_only_addresses_of_the_web_are_kept(address: str) -> None:
    assert not is_web_address(address)
    with pytest.raises(NoSource):
        citations([Page(address, "A")], NOW)


@pytest.mark.parametrize("address", ["https://example.org/a?b=c#d", "HTTP://EXAMPLE.ORG", "https://例え.jp/ニュース"])
def test_an_address_of_the_web_is_kept(address: str) -> None:
    assert citations([Page(address)], NOW)[0].url == address


def test_each_address_stands_once_with_the_first_date_that_it_was_told_with() -> None:
    pages = [Page("https://a.org", "1"), Page("https://b.org", "2"), Page("https://a.org", "3", "2026-11-20")]
    pages += [Page("https://a.org", "4", "2026-11-21")]
    assert [(each.url, each.title, each.date) for each in citations(pages, NOW)] == [
        ("https://a.org", "3", "2026-11-20"),
        ("https://b.org", "2", ""),
    ]


def test_a_stale_page_is_not_made_young_by_being_told_again_without_its_date() -> None:
    with pytest.raises(NoSource):
        citations([Page("https://a.org", "1"), Page("https://a.org", "1", "2019-01-01")], NOW)


def test_long_titles_and_dates_are_cut_and_twenty_pages_are_enough() -> None:
    pages = [Page(f"https://example.org/{number}", "t" * 5000, "d" * 500) for number in range(30)]
    found = citations(pages, NOW)
    assert len(found) == MOST_PAGES
    assert {(len(each.title), len(each.date)) for each in found} == {(500, 40)}


@given(st.text(), st.text(), st.text())
def test_whatever_a_search_tells_of_a_page_it_is_kept_or_refused(address: str, title: str, date: str) -> None:
    page = Page(f"https://example.org/{address}", title.replace("\x00", ""), date.replace("\x00", ""))
    try:
        assert len(citations([page], NOW)) == 1
    except NoSource:
        assert not is_web_address(page.address) or moment_of(page.date) is not None
