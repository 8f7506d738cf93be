"""Redis emptied under everything that runs: the queues, the bar of a lockstep slot; nothing needs a hand."""

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from django.conf import settings as configured
from django.db import connections

from decisions.consumer import STREAMS, Consumer
from decisions.models import DecisionCycle, PositionReport, State
from decisions.sandbox.ledger import Ledger
from decisions.sandbox.lockstep import Lockstep
from decisions.sandbox.opening import open_market
from decisions.sandbox.venue import VenueTerms
from decisions.sandbox.venue_service import BLOCK_SECONDS, VenueService
from orchestrator_project.celery import app
from orchestrator_project.streams import connect_reader
from tests.integration.decisions.build import BTC, group_reader
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.decisions.real_worker import worker
from tests.integration.decisions.scene import ETH, until, world

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("ready"),
    pytest.mark.timeout(180),
]


def test_every_queue_goes_on_when_the_brokers_bindings_are_gone(
    models: ScriptedModels, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """A cycle passes through five queues: the tick is sent by this process, which has sent before, and the rest by the
    worker, which has been consuming and sending for a while."""
    world()
    with worker(tmp_path / "log", processes=2):
        app.send_task("decisions.tasks.cycle", args=([BTC],))
        until(lambda: DecisionCycle.objects.filter(state=State.CONFIRMING).exists())
        redis_client.flushall()
        world(symbol=ETH)
        app.send_task("decisions.tasks.cycle", args=([ETH],))
        until(lambda: DecisionCycle.objects.filter(instrument=ETH, state=State.DONE).exists())
        for queue in configured.QUEUES:  # those that no stage of this cycle went through, too
            app.send_task("decisions.tasks.screen", args=(-1,), queue=queue)
        until(lambda: not any(redis_client.llen(queue) for queue in configured.QUEUES))
    cycle = DecisionCycle.objects.get(instrument=ETH)
    assert {"collecting", "screening", "analyzing"} <= set(cycle.stage_ms)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Starts a venue and a consumer in threads of their own."""
    stop, threads, consumer = threading.Event(), [], Consumer(group_reader(STREAMS))

    def venue() -> None:
        ledger = Ledger.open(tmp_path / "ledger.sqlite3", start_equity=Decimal(10000), terms=VenueTerms())
        VenueService(connect_reader(BLOCK_SECONDS), ledger).run(stop)
        ledger.close()

    def consume() -> None:
        try:
            consumer.run()
        finally:
            connections.close_all()

    def start() -> None:
        for work in (venue, consume):
            threads.append(threading.Thread(target=work))
            threads[-1].start()

    yield start
    stop.set()
    consumer.stop()
    for thread in threads:
        thread.join(30)


def test_a_bar_that_was_lost_with_redis_is_published_again(
    redis_client: redis.Redis, service: Callable[[], None], tmp_path: Path
) -> None:
    """The bar goes out while nobody reads, Redis is emptied, and then the venue and the consumer come."""
    market = open_market(
        candles=(), funding={}, open_interest={}, instruments=[BTC], start=None, seed=1, local_dir=tmp_path
    )
    started = False

    def keep_going() -> bool:
        nonlocal started
        if not started and redis_client.exists("market:snapshots"):
            redis_client.flushall()
            service()
            started = True
        return True

    assert Lockstep(market, [], keep_going).run(1) == 1
    assert started
    assert PositionReport.objects.get().as_of == market.next_opens_at
