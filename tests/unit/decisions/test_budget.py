"""The steps in which the day's money for models gives way."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from decisions.budget import Budget, Level, beginning, market_day


def budget(spent: str, daily: str = "15") -> Budget:
    return Budget(Decimal(spent), Decimal(daily))


@pytest.mark.parametrize(
    ("spent", "level"),
    [
        ("0", Level.NORMAL),
        ("11.999999", Level.NORMAL),
        ("12", Level.TIGHT),
        ("14.999999", Level.TIGHT),
        ("15", Level.SPENT),
        ("40", Level.SPENT),
    ],
)
def test_a_level_begins_at_its_share_of_the_budget(spent: str, level: Level) -> None:
    assert budget(spent).level is level


def test_a_budget_of_nothing_is_spent_from_the_start() -> None:
    assert budget("0", "0").level is Level.SPENT


@pytest.mark.parametrize(
    ("spent", "audits", "openings"), [("1", True, True), ("12", False, True), ("15", False, False)]
)
def test_audits_go_before_openings(spent: str, audits: bool, openings: bool) -> None:
    assert (budget(spent).allows_audits, budget(spent).allows_openings) == (audits, openings)


@pytest.mark.parametrize("spent", ["0", "12", "15", "1000"])
def test_a_position_is_managed_at_every_level(spent: str) -> None:
    assert budget(spent).allows_analysis(has_position=True)


def test_a_spent_budget_asks_the_big_model_about_positions_only() -> None:
    assert budget("14").allows_analysis(has_position=False)
    assert not budget("15").allows_analysis(has_position=False)


def test_it_says_what_was_spent_and_of_how_much() -> None:
    assert str(budget("12.5")) == "models have cost 12.5 USD today, of 15"


def test_a_market_day_begins_at_midnight_utc() -> None:
    midnight = datetime(2022, 11, 20, tzinfo=UTC)
    in_bangkok = midnight.astimezone(timezone(timedelta(hours=7)))
    assert market_day(midnight) == market_day(in_bangkok) == date(2022, 11, 20)
    assert market_day(midnight - timedelta(microseconds=1)) == date(2022, 11, 19)
    assert beginning(date(2022, 11, 20)) == midnight
