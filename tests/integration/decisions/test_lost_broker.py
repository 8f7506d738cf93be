"""The broker dies under a worker that is at work: the worker's main process stays, and reconnects by itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection, transaction

from orchestrator_project.local import endpoints, servers
from tests.integration.decisions.real_worker import answers, caller, worker
from tests.integration.decisions.scene import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

MOST_SECONDS = 10.0


@pytest.fixture
def local_dir(tmp_path: Path, settings: Any) -> Path:
    """The folder of a Redis that may be killed: it is this test's own."""
    settings.REDIS_URL = endpoints.redis_url(tmp_path / "local")
    return endpoints.private_dir(tmp_path / "local")


@contextmanager
def broker(local_dir: Path) -> "Iterator[tuple[servers.Server, redis.Redis]]":
    server = servers.start_redis(local_dir)
    try:
        with redis.Redis.from_url(endpoints.redis_url(local_dir)) as client:
            yield server, client
    finally:
        server.stop()


def somebody_waits(cursor: Any) -> bool:
    cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return bool(cursor.fetchone()[0])


def send_sweep() -> None:
    with caller() as celery:
        celery.send_task("decisions.tasks.sweep", queue="journal")


def kill_broker(server: servers.Server, client: redis.Redis, worker_pid: int) -> None:
    """As a kill -9 that the worker notices at the connection of its remote control first: which of its two it reads
    first is chance otherwise."""
    os.kill(worker_pid, signal.SIGSTOP)
    client.client_kill_filter(_type="pubsub")
    server.process.kill()
    server.process.wait()
    os.kill(worker_pid, signal.SIGCONT)


def test_a_worker_with_a_task_at_work_outlives_its_broker(local_dir: Path, tmp_path: Path) -> None:
    """One of two pool processes is at work, so there is a message to acknowledge and the worker waits for another."""
    log = tmp_path / "log"
    with ExitStack() as stack:
        server, client = stack.enter_context(broker(local_dir))
        process = stack.enter_context(worker(log, processes=2))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE decision_cycles")  # the sweep waits for it
            send_sweep()
            until(lambda: somebody_waits(cursor))
            kill_broker(server, client, process.pid)
            until(lambda: process.poll() is not None or "Connection to broker lost" in log.read_text())
            server, client = stack.enter_context(broker(local_dir))
            assert process.poll() is None
            until(answers, MOST_SECONDS)
        until(lambda: process.poll() is not None or "Couldn't ack" in log.read_text())  # the sweep has ended
        send_sweep()
        until(lambda: process.poll() is not None or (not client.llen("journal") and client.hlen("unacked") == 1))
        assert process.poll() is None, log.read_text()
        assert answers()
