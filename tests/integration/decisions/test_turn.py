"""Several consumers: one at a time reads the account's streams, and the next one goes on where it ended."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.db import connection, connections
from pytest_django import Settings

from decisions.consumer import ACCOUNT_STREAMS, GROUP, STREAMS, Consumer
from decisions.messages import TRADE_FILLS
from decisions.models import DeadLetter, Fill
from decisions.outbox import redis_client
from decisions.turn import LOCK, SILENCE_SECONDS, Turn
from journal.models import Trade
from orchestrator_project.group_reader import Entry, GroupReader
from orchestrator_project.streams import backlog
from risk.models import RiskState
from tests.bench.fills_venue import FEES_USD, GROSS_USD, INSTRUMENTS, Message, Venue
from tests.integration.decisions.build import group_reader
from tests.integration.decisions.real_worker import PROJECT, environment
from tests.integration.decisions.scene import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("redis_client"),
    pytest.mark.timeout(240),
]
HOLDERS = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = %s
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def venue(settings: Settings) -> Venue:
    settings.INSTRUMENTS = tuple(INSTRUMENTS)
    RiskState.objects.create(account="main")
    return Venue()


def holders() -> list[int]:
    """The backends that have the turn, of which there should be one at most."""
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS, [LOCK])
        return [pid for (pid,) in cursor.fetchall()]


def left() -> int:
    return sum(backlog(redis_client(), stream, GROUP) for stream in STREAMS)


def in_turn(name: str, **options: Any) -> GroupReader:
    return group_reader(STREAMS, consumer=name, ordered=ACCOUNT_STREAMS, turn=Turn().held_seconds, **options)


# --- the lock ---------------------------------------------------------------------------------------------------------


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread with a connection of its own, which is closed then."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def own_session() -> Iterator[None]:
    yield
    connection.close()


@pytest.mark.usefixtures("own_session")
def test_the_turn_stays_with_the_session_that_has_it_and_is_free_when_that_ends() -> None:
    turn, another = Turn(), Turn()
    first = turn.held_seconds()
    assert first is not None
    assert in_a_thread(another.held_seconds) is None
    later = turn.held_seconds()
    assert later is not None
    assert later > first
    connection.close()
    assert in_a_thread(another.held_seconds) is not None


@pytest.mark.usefixtures("own_session")
def test_a_turn_that_was_lost_with_the_session_begins_anew() -> None:
    turn = Turn()
    turn.held_seconds()
    began = time.monotonic()
    connection.close()
    again = turn.held_seconds()
    assert again is not None
    assert again <= time.monotonic() - began


@pytest.mark.usefixtures("own_session")
def test_the_database_ends_a_session_that_has_the_turn_and_is_silent() -> None:
    Turn().held_seconds()
    with connection.cursor() as cursor:
        for name in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (f"{SILENCE_SECONDS}s",)


# --- three at once ----------------------------------------------------------------------------------------------------


class Recorded(Consumer):
    """Notes which new fills it was given."""

    def __init__(self, reader: GroupReader, taken: list[tuple[str, str]]) -> None:
        super().__init__(reader)
        self.taken = taken

    def _handle_one(self, entry: Entry) -> None:
        if entry.stream == TRADE_FILLS and entry.deliveries == 1:
            self.taken.append((self.reader.consumer, entry.entry_id))
        super()._handle_one(entry)


@contextmanager
def at_work(consumers: list[Consumer]) -> Iterator[None]:
    def run(consumer: Consumer) -> None:
        try:
            consumer.run()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for consumer in consumers:
            consumer.stop()
        for thread in threads:
            thread.join()


def assert_booked_in_order(venue: Venue, fills: list[Message]) -> None:
    """Rows are numbered under the account's lock."""
    assert not DeadLetter.objects.exists()
    booked = Fill.objects.filter(waiting__isnull=True).order_by("id").values_list("fill_id", flat=True)
    assert list(booked) == [payload["fill_id"] for _, _, payload in fills]
    trades = Trade.objects.filter(status="closed", size=2, gross_pnl_usd=GROSS_USD, fees_usd=FEES_USD)
    assert (trades.count(), Trade.objects.count()) == (venue.trades, venue.trades)


def test_a_thousand_fills_that_piled_up_are_booked_by_three_consumers_without_one_that_comes_too_early(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    fills = venue.fills(1000)
    venue.publish(fills)
    taken: list[tuple[str, str]] = []
    consumers = [Recorded(in_turn(name, block_seconds=0.2), taken) for name in ("one", "two", "three")]
    with caplog.at_level(logging.INFO, "decisions.consumer"), at_work([*consumers]):
        until(lambda: left() == 0, 120)
        assert len(holders()) == 1
    assert "comes too early" not in caplog.text
    assert len({name for name, _ in taken}) == 1
    assert_booked_in_order(venue, fills)


def test_when_sessions_are_cut_again_and_again_the_fills_still_take_effect_in_order(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    fills = venue.fills(450)
    consumers = [Consumer(in_turn(name, block_seconds=0.05, batch=10)) for name in ("one", "two", "three")]
    with caplog.at_level(logging.INFO, "decisions.consumer"), at_work([*consumers]):
        for place in range(0, len(fills), 50):
            until(lambda: len(holders()) == 1, 30)
            venue.publish(fills[place : place + 50])
            terminate(holders())
        until(lambda: left() == 0, 120)
    assert "comes too early" not in caplog.text
    assert_booked_in_order(venue, fills)


def terminate(backends: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid", [backends])


# --- real processes ---------------------------------------------------------------------------------------------------


@contextmanager
def consume(name: str, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """`manage.py consume`, on the servers and the database of the test."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "consume", "--name", name],
            cwd=PROJECT, env={**os.environ, **environment()}, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def who_owes(client: redis.Redis) -> list[str]:
    """The consumers that have read fills and not acknowledged them."""
    summary: Any = client.xpending(TRADE_FILLS, GROUP)
    return [each["name"].decode() for each in summary["consumers"]]


@pytest.fixture
def three(tmp_path: Path) -> "Iterator[dict[str, subprocess.Popen[bytes]]]":
    """Consumers of which one has the turn."""
    with ExitStack() as running:
        processes = {name: running.enter_context(consume(name, tmp_path / "log")) for name in ("one", "two", "three")}
        until(lambda: len(holders()) == 1, 60)
        yield processes
    assert "comes too early" not in (tmp_path / "log").read_text()


def seconds_without(
    fate: signal.Signals, fills: list[Message], venue: Venue, three: "dict[str, subprocess.Popen[bytes]]"
) -> tuple[str, float]:
    """Who met its fate in the middle of a batch, and how long it took until another booked the first of the fills. The
    account's lock is held meanwhile, so that the first consumer has read and booked nothing."""
    parameters = connection.get_connection_params()
    wanted = {key: parameters[key] for key in ("dbname", "user", "host", "port", "password") if parameters.get(key)}
    with psycopg.connect(**wanted) as elsewhere:
        elsewhere.execute("SELECT 1 FROM risk_state FOR UPDATE")
        venue.publish(fills)
        until(lambda: who_owes(venue.redis) != [])
        (first,) = who_owes(venue.redis)
        three[first].send_signal(fate)
    began = time.monotonic()
    until(Fill.objects.exists)
    return first, time.monotonic() - began


def test_when_the_consumer_that_has_the_turn_is_killed_the_next_one_goes_on_in_order(
    venue: Venue, three: "dict[str, subprocess.Popen[bytes]]"
) -> None:
    fills = venue.fills(300)
    _, seconds = seconds_without(signal.SIGKILL, fills, venue, three)
    print(f"taken over after {seconds:.1f} s")
    until(lambda: left() == 0, 60)
    assert seconds < 12
    assert_booked_in_order(venue, fills)


def test_a_consumer_that_is_stopped_loses_the_turn_and_does_nothing_twice_when_it_goes_on(
    venue: Venue, three: "dict[str, subprocess.Popen[bytes]]"
) -> None:
    fills = venue.fills(300)
    first, seconds = seconds_without(signal.SIGSTOP, fills, venue, three)
    print(f"taken over after {seconds:.1f} s")
    until(lambda: left() == 0, 60)
    assert seconds < SILENCE_SECONDS + 10
    for name, process in three.items():
        process.send_signal(signal.SIGCONT if name == first else signal.SIGKILL)
    more = venue.fills(150)
    venue.publish(more)
    until(lambda: left() == 0, 60)
    assert_booked_in_order(venue, fills + more)
