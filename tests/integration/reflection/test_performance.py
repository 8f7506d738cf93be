"""The figures of every hour, written by the task from what models cost and what instruments were worth."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions import housekeeping
from decisions.models import MarketRecord
from journal.models import PerformanceSnapshot
from journal.performance import Period
from orchestrator_project.celery import app
from reflection import period_record, tasks
from reflection.closings import LOOK_BACK
from tests.integration.decisions.build import BTC, NOON, alerts
from tests.integration.decisions.scene import ETH, account, at_once
from tests.integration.reflection.scene import closed, price, spend, world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready")]

HOUR = timedelta(hours=1)
SETTLED = timedelta(minutes=5)


def hours() -> list[PerformanceSnapshot]:
    return list(PerformanceSnapshot.objects.filter(snapshot_type="hourly").order_by("period_end"))


def test_an_hour_that_is_over_has_its_row_with_costs_and_holding() -> None:
    world(NOON)
    closed("4", minutes=20)
    spend("0.25", NOON + timedelta(minutes=10))
    price(NOON + HOUR, "20200")
    world(NOON + HOUR + SETTLED)
    tasks.write_performance()
    (row,) = hours()
    assert (row.period_end, row.total_trades, row.total_pnl) == (NOON + HOUR, 1, Decimal("3.7500"))
    assert row.metrics_json is not None
    assert row.metrics_json["buy_and_hold"]["by_symbol"] == {BTC: "0.01"}
    tasks.write_performance()
    assert len(hours()) == 1


def test_after_an_outage_the_missing_hours_follow_as_they_would_have_come() -> None:
    for number in range(4):
        world(NOON + number * HOUR)
        closed("4", minutes=60 * number + 30)
        spend("1", NOON + number * HOUR + timedelta(minutes=30))
    world(NOON + 4 * HOUR + SETTLED)
    assert at_once(*[tasks.write_performance] * 3) == []
    assert [(row.total_trades, row.total_pnl) for row in hours()] == [(1, Decimal(3))] * 4
    assert alerts("round_failed") == []


@pytest.mark.parametrize(("start", "end"), [(0, 50), (10, 60), (10, 200)])
def test_the_costs_of_parts_of_hours_are_counted(start: int, end: int) -> None:
    begun, over = NOON + timedelta(minutes=start), NOON + timedelta(minutes=end)
    for at in (begun, begun + timedelta(minutes=5), over, over + timedelta(minutes=1)):
        spend("0.25", at)
    closed("4", minutes=20)
    account(begun)
    account(over)
    found = period_record.performance(Period(start=begun, end=over))
    assert (found.total.model_costs, found.total.total_pnl) == (Decimal("0.50"), Decimal("3.50"))


def test_the_prices_that_a_deep_reflection_looks_back_to_are_kept(settings: Any) -> None:
    now = NOON + timedelta(days=40)
    start = now - LOOK_BACK
    price(start, "20000")
    price(now, "21000")
    housekeeping.tidy()
    assert [span.symbol for span in period_record.price_spans(start, now)] == [BTC]
    price(now + timedelta(hours=1), "21000")  # the reflection is carried out a little later
    housekeeping.tidy()
    assert [span.symbol for span in period_record.price_spans(start, now)] == [BTC]


def test_costs_and_prices_are_those_of_the_moments_asked_for(settings: Any) -> None:
    for minutes, usd in ((0, "1"), (1, "2"), (60, "4"), (61, "8")):
        spend(usd, NOON + timedelta(minutes=minutes))
    assert period_record.model_costs(NOON, NOON + HOUR) == Decimal(6)
    price(NOON, "20000")
    price(NOON + HOUR, "21000")
    MarketRecord.objects.create(symbol=ETH, at=NOON, price=Decimal(1500), payload={})
    (span,) = period_record.price_spans(NOON, NOON + HOUR)
    assert (span.symbol, span.first, span.last) == (BTC, Decimal(20000), Decimal(21000))
    late = timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS + 1)
    assert period_record.price_spans(NOON, NOON + HOUR + late) == []


def test_beat_asks_for_everything_of_reflection() -> None:
    schedule = app.conf.beat_schedule
    assert schedule["performance"]["task"] == tasks.write_performance.name
    assert schedule["reflection"]["task"] == tasks.sweep.name
    assert {app.conf.task_routes[task.name]["queue"] for task in (tasks.closed, tasks.work, tasks.sweep)} == {"reflect"}
