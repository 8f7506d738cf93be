"""Whatever befalls the messages about one position or two in a row, trades and orders end as if nothing had."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from decisions.models import MarketRecord
from tests.integration.decisions.fill_book import Course, Hearing, histories, in_order_and_as_heard, snapshots

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(900)]  # a failure is shrunk for minutes
anyhow: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


@pytest.fixture(autouse=True)
def market(db: None) -> None:
    MarketRecord.objects.bulk_create(snapshots())


@given(history=histories())
@settings(max_examples=100, derandomize=True, database=None, **anyhow)
def test_any_interleaving_of_fills_ends_in_the_same_trades(history: tuple[list[Course], Hearing]) -> None:
    in_order_and_as_heard(*history)


@pytest.mark.prove
@pytest.mark.timeout(3600)
@given(history=histories())
@settings(max_examples=3000, **anyhow)
def test_so_it_does_in_three_thousand_courses(history: tuple[list[Course], Hearing]) -> None:
    in_order_and_as_heard(*history)
