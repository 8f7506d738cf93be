"""What the lines of a consumer and of a stage are about, as they are written."""

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import structlog

from decisions import consumer, tasks
from decisions.consumer import STREAMS, Consumer
from decisions.messages import TRADE_FILLS
from decisions.models import State
from decisions.stages import collect as collect_stage
from journal.models import Trade
from orchestrator_project import logs
from tests.integration.decisions.build import add, cycle_row, fill_payload, group_reader, sent_order

pytestmark = pytest.mark.django_db
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(settings: Any) -> Iterator[Lines]:
    """Everything logged, as JSON, with the project's own configuration put back afterwards."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_plain], foreign_pre_chain=[_named]))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own transaction is to be rolled back."""
    monkeypatch.setattr(consumer, "close_old_connections", lambda: None)


_named = structlog.contextvars.merge_contextvars


def _plain(_logger: Any, _method: str, event: Any) -> str:
    return json.dumps({key: str(value) for key, value in event.items() if not key.startswith("_")})


def test_a_fill_names_its_entry_order_and_trade(redis_client: "redis.Redis", lines: Lines):
    order = sent_order()
    add(redis_client, TRADE_FILLS, "trade_fill", fill_payload(order, fill_id="one"))
    again = add(redis_client, TRADE_FILLS, "trade_fill", fill_payload(order, fill_id="one"))
    reader = group_reader(STREAMS)
    reader.create_groups()
    worker = Consumer(reader)
    while worker.step():
        pass
    (told,) = [line for line in lines() if "is booked already" in line["event"]]
    assert (told["stream"], told["entry"]) == (TRADE_FILLS, again)
    assert (told["order"], told["fill"]) == (order.client_order_id, "one")
    logging.getLogger(__name__).info("afterwards")
    assert "order" not in lines()[-1]


def test_a_booked_fill_names_its_trade(monkeypatch: pytest.MonkeyPatch, redis_client: "redis.Redis", lines: Lines):
    order = sent_order()
    add(redis_client, TRADE_FILLS, "trade_fill", fill_payload(order))
    monkeypatch.setattr(consumer, "reached", lambda place: logging.getLogger(__name__).info("at %s", place))
    reader = group_reader(STREAMS)
    reader.create_groups()
    Consumer(reader).step()
    (told,) = [line for line in lines() if line["event"] == "at effect_committed"]
    assert told["trade"] == str(Trade.objects.get().pk)


def test_a_stage_names_its_cycle(monkeypatch: pytest.MonkeyPatch, lines: Lines):
    cycle = cycle_row(state=State.COLLECTING)

    def stage(*_: Any) -> None:
        logging.getLogger(__name__).info("at work")

    monkeypatch.setattr(collect_stage, "collect", stage)
    tasks.collect(cycle.pk)
    (told,) = [line for line in lines() if line["event"] == "at work"]
    assert (told["cycle"], told["instrument"]) == (str(cycle.pk), cycle.instrument)
    assert told["decision"] == str(cycle.decision_id)
    with logs.about():
        logging.getLogger(__name__).info("afterwards")
    assert "cycle" not in lines()[-1]
