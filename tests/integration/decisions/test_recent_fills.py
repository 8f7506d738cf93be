"""What position updates tell of the last day is looked up in few words, and told apart from what is booked."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import TypeAdapter

from decisions import recent_fills
from decisions.messages import Recent
from decisions.models import Fill, FundingPayment
from decisions.recent_fills import not_booked
from tests.integration.decisions.build import NOON, fill_payload, funding_payload

pytestmark = pytest.mark.django_db


def recent(payloads: Sequence[dict[str, Any]]) -> tuple[Recent, ...]:
    return TypeAdapter(tuple[Recent, ...]).validate_python(payloads)


def test_what_is_not_in_the_record_is_found_in_its_order() -> None:
    payloads = [fill_payload(), funding_payload(), fill_payload(), funding_payload()]
    told = recent(payloads)
    Fill.objects.create(fill_id=payloads[2]["fill_id"], symbol="X", filled_at=NOON)
    FundingPayment.objects.create(funding_id=payloads[1]["funding_id"], symbol="X", amount_usd=1, rate=0, paid_at=NOON)
    assert not_booked(told) == [told[0], told[3]]


def test_however_many_there_are_they_are_looked_up_by_the_same_two_statements() -> None:
    texts = set()
    for count in (1, 2, 50):
        told = recent([each for _ in range(count) for each in (fill_payload(), funding_payload())])
        with CaptureQueriesContext(connection) as asked, connection.execute_wrapper(_noting(texts)):
            assert not_booked(told) == list(told)
        assert len(asked) == 2
    assert len(texts) == 2


def _noting(texts: set[str]) -> Any:
    def wrapper(execute: Any, sql: str, *rest: Any) -> Any:
        texts.add(sql)
        return execute(sql, *rest)

    return wrapper


def test_nothing_is_asked_when_nothing_is_told() -> None:
    with CaptureQueriesContext(connection) as asked:
        assert recent_fills.not_booked(()) == []
    assert len(asked) == 0
