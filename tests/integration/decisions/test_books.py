"""The books: what the venue's equity did, explained to the last digit by what the journal booked."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from decisions import funding, positions, report
from decisions.messages import FundingPayment, PositionUpdate
from decisions.models import Order, OrderStatus, Outcome
from journal.models import Trade
from tests.integration.decisions.build import (
    NOON,
    NOTHING_FILLED,
    book,
    funding_payload,
    position_payload,
    position_update_payload,
    sent_order,
)

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def _no_ledger(settings: Settings, tmp_path: Any) -> None:
    """The account is known by what the trade server reported, as in live running."""
    settings.LOCAL_DIR = tmp_path


def account(minutes: int, equity: str, unrealized: str = "0", transfers: str = "0", **changes: Any) -> None:
    payload = position_update_payload(NOON + timedelta(minutes=minutes), equity, transfers, unrealized, **changes)
    with transaction.atomic():
        positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))


def run(*, without: str = "") -> None:
    """A long of 2 from 20000, half of it closed at 20100, funding and a deposit between; one contract stays open.

    10000 - 0.2 fee - 0.04 funding + 1 profit - 0.1005 fee + 1 unrealised + 500 deposit = 10501.6595.
    """
    account(0, "10000")
    if without != "entry":
        book(sent_order(), fee_usd="0.2")
    account(5, "9999.8")
    if without != "funding":
        with transaction.atomic():
            funding.book(FundingPayment.model_validate(funding_payload(amount_usd="-0.04")))
    account(10, "10499.76", transfers="500")
    if without != "exit":
        book(sent_order("REDUCE", size="1"), fill_price="20100", pnl_usd="1", fee_usd="0.1005")
    account(15, "10501.6595", unrealized="1", transfers="500", positions=[position_payload(size="1")])


def test_the_books_balance_when_every_message_was_booked() -> None:
    run()
    assert report.books().as_dict() == {
        "start_equity": "10000.0000", "end_equity": "10501.6595", "realized_gross_pnl": "1.0000", "fees": "0.3005",
        "funding": "-0.0400", "unrealized_pnl": "1.0000", "transfers": "500.0000", "difference": "0.0000",
    }  # fmt: skip
    assert report.faults(report.report()) == []


@pytest.mark.parametrize(("missing", "difference"), [("exit", "0.8995"), ("funding", "-0.0400")])
def test_the_books_show_what_a_missing_message_was_worth(missing: str, difference: str) -> None:
    run(without=missing)
    assert report.books().as_dict()["difference"] == difference
    assert any(f"difference {difference} USD" in fault for fault in report.faults(report.report()))


def test_before_anything_was_reported_the_books_are_empty_and_balance() -> None:
    assert set(report.books().as_dict().values()) == {"0.0000"}


def test_an_order_without_a_fill_moves_no_money() -> None:
    account(0, "10000")
    book(sent_order(), **NOTHING_FILLED | {"status": "rejected", "reject_reason": "margin"})
    account(5, "10000")
    assert report.books().difference == 0


def test_trades_that_disagree_with_their_fills_are_a_fault() -> None:
    run()
    Trade.objects.update(fees_usd=D("0.3"))
    assert any("trades and fills disagree on fees" in fault for fault in report.faults(report.report()))


def test_the_report_counts_what_happened() -> None:
    run()
    book(sent_order("CLOSE", size="1"), fill_price="19800", pnl_usd="-2", fee_usd="0.1", exit_reason="stop_loss")
    unknown = sent_order(status=OrderStatus.UNKNOWN)
    Order.objects.filter(pk=unknown.pk).update(sent_at=datetime.now(UTC))
    found = report.report(wall_seconds=1.23456)
    assert found["cycles"] == {"total": 4, "open": 1, "by_outcome": {Outcome.TRADED: 3}}
    assert found["orders"] == {"sent": 4, "filled": 3, "rejected": 0, "unknown": 1, "live": 1}
    assert found["trades"] == {"open": 0, "closed": 1, "by_exit_reason": {"stop_loss": 1}}
    assert (found["fills"], found["dead_letters"], found["wall_seconds"]) == (3, 0, 1.235)
    assert report.faults(found)[0] == "1 cycles did not end"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert report.percentile([float(number) for number in range(1, 101)], share) == expected
    assert report.percentile([7.0], share) == 7
