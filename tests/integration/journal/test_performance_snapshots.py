"""Hourly, daily and weekly rows, each once, from the trades and the account's history."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from journal.models import AccountUpdate, PerformanceSnapshot, Trade
from journal.performance import PriceSpan
from journal.performance_snapshots import SETTLING, write_due
from journal.presentation import page_of
from tests.integration.rewriting import rewriting_the_record

pytestmark = pytest.mark.django_db

MONDAY = datetime(2022, 11, 7, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Kind = PerformanceSnapshot.SnapshotType


def no_costs(start: datetime, end: datetime) -> Decimal:
    return Decimal(0)


def no_prices(start: datetime, end: datetime) -> Sequence[PriceSpan]:
    return []


def write(now: datetime, **changes: Any) -> int:
    return write_due(now, **{"costs": no_costs, "prices": no_prices, **changes})


def report(at: datetime, equity: str = "10000", transfers: str = "0") -> AccountUpdate:
    return AccountUpdate.objects.create(
        as_of=at, equity=Decimal(equity), available=Decimal(equity), margin_used=0, unrealized_pnl=0,
        net_transfers_usd=Decimal(transfers),
    )  # fmt: skip


def reports_to(end: datetime, start: datetime = MONDAY) -> None:
    """The account every hour, and once more when the last hour has settled."""
    at = start
    while at <= end:
        report(at)
        at += HOUR
    report(end + SETTLING)


def a_trade(closed_at: datetime | None, *, net: str | None = "9", hours: int = 1, **values: Any) -> Trade:
    """A trade that made `net` after a fee of 1; without a closing time it is open, without `net` its result unknown."""
    closed = closed_at is not None
    usual: dict[str, Any] = {
        "opened_at": (closed_at or MONDAY + DAY) - hours * HOUR, "closed_at": closed_at, "symbol": "BTC-USDT-SWAP",
        "direction": "LONG", "entry_price": 100, "stop_loss": 98, "size": 5, "ct_val": 1, "entry_value": 500,
        "open_size": 0 if closed else 5, "status": "closed" if closed else "open", "fees_usd": 1,
        "gross_pnl_usd": 0 if net is None else Decimal(net) + 1,
        "pnl_usd": None if net is None or not closed else Decimal(net), "strategy_used": "momentum_breakout",
        "confidence_at_entry": Decimal("0.7"), "playbook_version": 1,
    }  # fmt: skip
    return Trade.objects.create(**{**usual, **values})


def ends(kind: str) -> list[datetime]:
    found = PerformanceSnapshot.objects.filter(snapshot_type=kind).order_by("period_end")
    return list(found.values_list("period_end", flat=True))


def only(kind: str) -> PerformanceSnapshot:
    return PerformanceSnapshot.objects.get(snapshot_type=kind)


def test_before_the_first_report_there_is_nothing_to_write() -> None:
    assert write(MONDAY) == 0
    assert not PerformanceSnapshot.objects.exists()


def test_each_hour_day_and_week_has_one_row_when_it_is_over() -> None:
    reports_to(MONDAY + 7 * DAY)
    now = MONDAY + 7 * DAY + SETTLING
    assert write(now) == 168 + 7 + 1
    assert ends(Kind.HOURLY) == [MONDAY + number * HOUR for number in range(1, 169)]
    assert ends(Kind.DAILY) == [MONDAY + number * DAY for number in range(1, 8)]
    assert ends(Kind.WEEKLY) == [MONDAY + 7 * DAY]
    assert write(now) == 0


def test_weeks_begin_on_monday_and_the_first_periods_with_the_first_report() -> None:
    started = MONDAY + 2 * DAY + timedelta(hours=7, minutes=20)
    report(started)
    report(MONDAY + 8 * DAY)
    write(MONDAY + 8 * DAY)
    assert ends(Kind.HOURLY)[0] == MONDAY + 2 * DAY + 8 * HOUR
    assert ends(Kind.DAILY)[0] == MONDAY + 3 * DAY
    assert ends(Kind.WEEKLY) == [MONDAY + 7 * DAY]


def test_the_last_moments_of_a_period_are_waited_for() -> None:
    report(MONDAY)
    report(MONDAY + HOUR + SETTLING)
    assert write(MONDAY + HOUR + SETTLING - timedelta(seconds=1)) == 0
    assert write(MONDAY + HOUR + SETTLING) == 1


def test_a_silent_account_postpones_the_row_and_is_filled_in_afterwards() -> None:
    """Market time goes on while nothing is heard; what comes late is in its own hour all the same."""
    report(MONDAY)
    report(MONDAY + HOUR)
    assert write(MONDAY + 5 * HOUR) == 0
    for hour in (2, 3, 4, 5):
        report(MONDAY + hour * HOUR, equity=f"10{hour}00")
    a_trade(MONDAY + 3 * HOUR - timedelta(minutes=10))
    assert write(MONDAY + 5 * HOUR) == 4
    rows = list(PerformanceSnapshot.objects.order_by("period_end").values_list("equity", "total_trades"))
    assert rows == [(10000, 0), (10200, 0), (10300, 1), (10400, 0)]


def test_hours_in_which_nothing_was_reported_have_no_equity_and_say_why() -> None:
    report(MONDAY)
    report(MONDAY + 3 * HOUR, equity="11000")
    report(MONDAY + 4 * HOUR, equity="11000")
    write(MONDAY + 4 * HOUR)
    first, second, third = PerformanceSnapshot.objects.order_by("period_end")
    assert (first.equity, second.equity, third.equity) == (None, None, 11000)
    assert first.metrics_json["account"]["total_return"] == {
        "value": None, "reason": "the account was not reported twice",
    }  # fmt: skip
    assert third.metrics_json["account"]["total_return"]["value"] == "0.1"  # all that the gap brought


def test_of_the_reports_of_one_minute_the_newest_counts() -> None:
    report(MONDAY)
    for second, equity in ((10, "9000"), (20, "8000"), (50, "9500"), (50, "9600"), (60, "9700")):
        report(MONDAY + timedelta(minutes=30, seconds=second), equity=equity)
    report(MONDAY + HOUR, equity="10100")
    report(MONDAY + HOUR + SETTLING)
    write(MONDAY + HOUR + SETTLING)
    (row,) = PerformanceSnapshot.objects.all()
    assert row.max_drawdown == Decimal("-0.0400")  # from 10,000 to 9,600: what a minute ended with
    assert row.equity == 10_100


def test_back_filled_rows_are_those_that_would_have_been_written_in_time() -> None:
    def live_through(day: datetime, *, in_time: bool) -> list[Any]:
        for hour in range(25):
            at = day + hour * HOUR
            report(at, equity=str(10_000 + 7 * hour % 5))
            if hour % 6 == 5:
                a_trade(at - timedelta(minutes=20), net=str(hour - 12))
            if in_time:
                write(at, costs=costs)
        report(day + DAY + SETTLING)
        write(day + DAY + SETTLING, costs=costs)
        found = PerformanceSnapshot.objects.filter(snapshot_type__in=[Kind.HOURLY, Kind.DAILY]).order_by("id")
        rows = sorted((row.snapshot_type, row.period_end, row.metrics_json) for row in found)
        with rewriting_the_record():
            for model in (PerformanceSnapshot, AccountUpdate, Trade):
                model.objects.all().delete()
        return rows

    def costs(start: datetime, end: datetime) -> Decimal:
        return Decimal("0.01") * start.hour

    in_time = live_through(MONDAY, in_time=True)
    assert len(in_time) == 25
    assert live_through(MONDAY, in_time=False) == in_time


def test_a_row_is_never_restated() -> None:
    reports_to(MONDAY + HOUR)
    write(MONDAY + HOUR + SETTLING)
    a_trade(MONDAY + HOUR - timedelta(minutes=1))
    assert write(MONDAY + HOUR + SETTLING) == 0
    assert only(Kind.HOURLY).total_trades == 0


def test_a_clock_that_goes_back_writes_nothing_twice() -> None:
    reports_to(MONDAY + 3 * HOUR)
    assert write(MONDAY + 3 * HOUR + SETTLING) == 3
    assert write(MONDAY + 2 * HOUR) == 0


def test_a_round_is_bounded_and_the_next_goes_on_where_it_ended() -> None:
    reports_to(MONDAY + 5 * HOUR)
    now = MONDAY + 5 * HOUR + SETTLING
    assert [write(now, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert ends(Kind.HOURLY) == [MONDAY + number * HOUR for number in range(1, 6)]


def test_the_columns_say_what_the_figures_say() -> None:
    for hour, equity in enumerate(["10000", "10030", "10010", "10015"]):
        report(MONDAY + hour * HOUR, equity)
    report(MONDAY + DAY, "10020")
    report(MONDAY + DAY + SETTLING, "10020")
    a_trade(MONDAY + HOUR, net="30", hours=2)
    a_trade(MONDAY + 2 * HOUR, net="-20", hours=1)
    a_trade(MONDAY + 3 * HOUR, net="10", hours=1)
    a_trade(MONDAY + 4 * HOUR, net=None, hours=1)
    a_trade(None, hours=12)

    def prices(start: datetime, end: datetime) -> Sequence[PriceSpan]:
        return [PriceSpan(symbol="BTC-USDT-SWAP", first=Decimal(100), last=Decimal(110))]

    write(MONDAY + DAY + SETTLING, costs=lambda *_: Decimal("0.0125"), prices=prices)
    row = only(Kind.DAILY)
    assert (row.period_end, row.equity, row.total_trades) == (MONDAY + DAY, 10020, 3)
    assert row.total_pnl == Decimal("19.7")  # 30 - 20 + 10, and 24 hours of 0.0125
    assert (row.win_rate, row.profit_factor) == (Decimal("0.6667"), Decimal("2"))
    assert row.max_drawdown == round(Decimal("-20.0125") / 10030, 4)
    assert row.sharpe_ratio is not None
    figures = row.metrics_json
    assert figures["total"]["unknown_trades"] == 1
    assert figures["total"]["model_costs"] == "0.3"
    assert figures["account"]["returns"] == 3
    assert figures["buy_and_hold"]["equal_weights"]["value"] == "0.1"
    # 00:00 to 04:00 (the first was opened the day before), and the open one from 12:00: 16 of 24 hours.
    assert figures["exposure_time"] == "0.66666667"
    assert figures["by_strategy"]["momentum_breakout"]["wins"] == 2


def test_a_figure_too_large_for_its_column_stands_in_the_document() -> None:
    reports_to(MONDAY + HOUR)
    a_trade(MONDAY + HOUR, net="20000")
    a_trade(MONDAY + HOUR, net="-0.0001", fees_usd=0, gross_pnl_usd=Decimal("-0.0001"))
    write(MONDAY + HOUR + SETTLING)
    row = only(Kind.HOURLY)
    assert row.profit_factor is None
    assert row.metrics_json["total"]["profit_factor"]["value"] == "200000000"


def test_of_two_reports_of_one_moment_the_newer_counts_and_transfers_are_no_return() -> None:
    report(MONDAY, "9000")
    report(MONDAY, "10000")
    report(MONDAY + HOUR, "12000", transfers="2000")
    report(MONDAY + HOUR + SETTLING, "12000", transfers="2000")
    write(MONDAY + HOUR + SETTLING)
    account = only(Kind.HOURLY).metrics_json["account"]
    assert (account["opening_equity"], account["net_transfers"]) == ("10000", "2000")
    assert account["total_return"]["value"] == "0"


def test_costs_are_asked_for_hour_by_hour_without_gap_or_overlap() -> None:
    reports_to(MONDAY + DAY)
    asked: dict[datetime, list[tuple[datetime, datetime]]] = {}

    def costs(start: datetime, end: datetime) -> Decimal:
        asked.setdefault(end, []).append((start, end))
        return Decimal(0)

    write(MONDAY + DAY + SETTLING, costs=costs)
    assert sorted(asked) == [MONDAY + number * HOUR for number in range(1, 25)]
    # Once for the hour's row and once for the day's.
    assert all(calls == [(end - HOUR, end)] * 2 for end, calls in asked.items())


def test_a_failure_leaves_what_was_written_and_the_next_round_goes_on() -> None:
    reports_to(MONDAY + 3 * HOUR)

    def away(start: datetime, end: datetime) -> Decimal:
        if end == MONDAY + 2 * HOUR:
            raise ConnectionError("the costs are away")
        return Decimal(0)

    with pytest.raises(ConnectionError):
        write(MONDAY + 3 * HOUR + SETTLING, costs=away)
    assert ends(Kind.HOURLY) == [MONDAY + HOUR]
    assert write(MONDAY + 3 * HOUR + SETTLING) == 2


@pytest.mark.django_db(transaction=True)
def test_workers_that_write_at_once_write_each_row_once() -> None:
    reports_to(MONDAY + DAY)
    start, counts, failures = threading.Barrier(4), [], []
    computing = threading.local()

    def costs(begin: datetime, end: datetime) -> Decimal:
        """All four are at work on the first hour before any of them has written it."""
        if not getattr(computing, "met", False):
            computing.met = True
            start.wait(timeout=30)
        return Decimal(0)

    def work() -> None:
        try:
            counts.append(write(MONDAY + DAY + SETTLING, costs=costs))
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (len(counts), sum(counts)) == (4, 25)
    assert ends(Kind.HOURLY) == [MONDAY + number * HOUR for number in range(1, 25)]
    assert ends(Kind.DAILY) == [MONDAY + DAY]


def test_the_page_of_a_snapshot_tells_its_figures_in_words(admin_client: Client) -> None:
    a_trade(MONDAY + HOUR / 4, net="4")
    a_trade(MONDAY + HOUR / 2, net="-2")
    reports_to(MONDAY + 2 * HOUR)
    write(MONDAY + 2 * HOUR + SETTLING)
    snapshot, quiet = PerformanceSnapshot.objects.filter(snapshot_type=Kind.HOURLY).order_by("period_end")[:2]
    page = admin_client.get(page_of(snapshot)).content.decode()
    assert "Hourly, to 2022-11-07 01:00 UTC" in page
    assert "1 of 2 (90 %: " in page
    assert "Strategies" in page
    assert "momentum_<wbr>breakout" in page
    assert "no trade" in admin_client.get(page_of(quiet)).content.decode()
