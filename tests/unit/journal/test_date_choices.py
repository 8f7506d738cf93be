"""The dates by which a list is narrowed."""

from datetime import date

import pytest

from journal.date_choices import Period, date_choices

FIRST, LAST = date(2024, 11, 28), date(2026, 2, 3)


def offered(first: date, last: date, chosen: Period = ()) -> list[str]:
    return [choice.title for choice in date_choices(first, last, chosen).choices]


def test_years_are_offered_first() -> None:
    assert offered(FIRST, LAST) == ["2024", "2025", "2026"]
    assert date_choices(FIRST, LAST, ()).back is None


@pytest.mark.parametrize(
    ("year", "months"),
    [
        (2024, ["November 2024", "December 2024"]),
        (2026, ["January 2026", "February 2026"]),
        (2019, []),
    ],
)
def test_of_a_year_the_months_with_a_part_in_the_span(year: int, months: list[str]) -> None:
    assert offered(FIRST, LAST, (year,)) == months


def test_a_whole_year_has_twelve_months() -> None:
    assert len(offered(FIRST, LAST, (2025,))) == 12


@pytest.mark.parametrize(
    ("month", "days"),
    [
        ((2024, 11), ["28 November", "29 November", "30 November"]),
        ((2026, 2), ["1 February", "2 February", "3 February"]),
        ((2023, 5), []),
    ],
)
def test_of_a_month_the_days_of_the_span(month: Period, days: list[str]) -> None:
    assert offered(FIRST, LAST, month) == days


def test_december_ends_with_its_year() -> None:
    assert len(offered(FIRST, LAST, (2025, 12))) == 31


def test_a_day_leads_nowhere_and_back_to_its_month() -> None:
    found = date_choices(FIRST, LAST, (2025, 3, 9))
    (day,) = found.choices
    assert (day.title, day.leads) == ("9 March", False)
    assert found.back is not None
    assert (found.back.title, found.back.period) == ("March 2025", (2025, 3))


def test_the_way_back_goes_up_to_all_dates() -> None:
    backs = [date_choices(FIRST, LAST, chosen).back for chosen in ((2025, 3), (2025,))]
    assert [(back.title, back.period) for back in backs if back] == [("2025", (2025,)), ("All dates", ())]


def test_a_span_within_a_year_or_a_month_begins_with_the_parts_that_differ() -> None:
    assert offered(date(2026, 1, 31), date(2026, 3, 1)) == ["January 2026", "February 2026", "March 2026"]
    assert offered(date(2026, 3, 1), date(2026, 3, 3)) == ["1 March", "2 March", "3 March"]
    assert offered(LAST, LAST) == ["3 February"]
