"""How fast the consumer books fills, how long it takes to catch up, and whether its memory stays as it is.

    python tests/bench/fills.py [--single 500] [--burst 3000] [--pile 10000] [--messages 100000]

Real servers and real `manage.py consume` processes; the venue is this script. Every position is opened in two parts
and closed by one fill, each of an order that is on record; 50 instruments take turns. After each measurement every fill
must have been booked once and every trade must have come out right.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.bench.fills_venue import FEES_USD, FILLS_A_TRADE, GROSS_USD, INSTRUMENTS, Venue, fields  # noqa: E402
from tests.bench.pipeline import wait  # noqa: E402 - the path is known only now

CATCH_UP_SECONDS = 1800.0
PUBLISHED_AHEAD = 4000
"""Messages that lie ready for the consumer while its memory is watched."""
SAMPLES = 40
BARS = "▁▂▃▄▅▆▇█"


# --- the consumers ----------------------------------------------------------------------------------------------------


class Consumers:
    """Starts and stops `manage.py consume`."""

    def __init__(self, venue: Venue, log: IO[str]) -> None:
        self.venue = venue
        self.log = log

    @contextmanager
    def running(self, number: int) -> "Iterator[list[Popen[bytes]]]":
        """So many consumers, at once, whether they read already or not."""
        command = [sys.executable, "manage.py", "consume"]
        started = [Popen(command, cwd=PROJECT, stdout=self.log, stderr=self.log) for _ in range(number)]
        try:
            yield started
        finally:
            for consumer in started:
                consumer.terminate()
            for consumer in started:
                consumer.wait(60)

    @contextmanager
    def reading(self, number: int) -> "Iterator[list[Popen[bytes]]]":
        """So many consumers that wait for entries."""
        with self.running(number) as started:
            # Each has its own connection that blocks on the streams.
            wait(lambda: sum(client["cmd"] == "xreadgroup" for client in self._clients()) == number, 0.05)
            yield started

    def backlog(self) -> int:
        from decisions.consumer import GROUP, STREAMS
        from orchestrator_project.streams import backlog

        return sum(backlog(self.venue.redis, stream, GROUP) for stream in STREAMS)

    def wait_until_done(self, poll: float = 0.02) -> None:
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self.backlog():
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.backlog()} messages are left after {CATCH_UP_SECONDS:.0f} s")
            time.sleep(poll)

    def _clients(self) -> list[dict[str, str]]:
        clients: Any = self.venue.redis.client_list()
        return clients


# --- the measurements -------------------------------------------------------------------------------------------------


def one_by_one(venue: Venue, consumers: Consumers, number: int) -> list[float]:
    """Milliseconds from a fill on the stream to its acknowledgement, the consumer having nothing else to do."""
    took = []
    with consumers.reading(1):
        for message in venue.fills(number):
            began = time.perf_counter()
            venue.publish([message])
            wait(lambda: consumers.backlog() == 0, 0.0005)
            took.append((time.perf_counter() - began) * 1000)
    return took


def bare_inbox(venue: Venue, number: int) -> list[float]:
    """Milliseconds for what no consumer can do without: append, read, note the message durably, acknowledge."""
    from decisions.models import InboxMessage
    from orchestrator_project.group_reader import GroupReader

    stream, took = "bench:bare", []
    reader = GroupReader(venue.redis, group="bench", consumer="bench", streams=[stream])
    reader.create_groups()
    for _, type_, payload in venue.fills(number):
        began = time.perf_counter()
        venue.publish([(stream, type_, payload)])
        (entry,) = reader.read()
        InboxMessage.objects.create(
            msg_id=entry.fields[b"msg_id"].decode(), stream=stream, entry_id=entry.entry_id, type=type_
        )
        reader.acknowledge(entry)
        took.append((time.perf_counter() - began) * 1000)
    venue.trades -= len(took) // FILLS_A_TRADE  # they were never booked
    return took


def burst(venue: Venue, consumers: Consumers, number: int, *, by: int) -> tuple[float, float]:
    """Fills a second of a pile, by so many consumers that wait for it, and their processor milliseconds for a fill."""
    fills = venue.fills(number)
    with consumers.reading(by) as started:
        worked, began = sum(processor_seconds(each.pid) for each in started), time.perf_counter()
        venue.publish(fills)
        consumers.wait_until_done()
        rate = len(fills) / (time.perf_counter() - began)
        worked = sum(processor_seconds(each.pid) for each in started) - worked
    return rate, 1000 * worked / len(fills)


def catch_up(venue: Venue, consumers: Consumers, number: int) -> tuple[int, float, float]:
    """How many fills piled up, the seconds until the first of them is booked after the start, and until the last."""
    fills = venue.fills(number)
    for place in range(0, len(fills), 1000):
        venue.publish(fills[place : place + 1000])
    began = time.perf_counter()
    with consumers.running(1):
        wait(lambda: consumers.backlog() < len(fills), 0.01)
        first = time.perf_counter() - began
        consumers.wait_until_done()
        return len(fills), first, time.perf_counter() - began


def watched_memory(venue: Venue, consumers: Consumers, number: int) -> list[tuple[int, float, float]]:
    """Messages handled, megabytes resident, messages a second since the sample before; of one consumer."""
    samples, sent, step = [], 0, max(1, number // SAMPLES)
    with consumers.reading(1) as (consumer,):
        before, handled_before = time.perf_counter(), 0
        while (handled := sent - consumers.backlog()) < number:
            while sent - handled < PUBLISHED_AHEAD and sent < number:
                messages = venue.everything()
                venue.publish(messages)
                sent += len(messages)
            if handled - handled_before >= step:
                now = time.perf_counter()
                samples.append((handled, megabytes(consumer.pid), (handled - handled_before) / (now - before)))
                before, handled_before = now, handled
                progress(f"{handled:>7} of {number} messages, {samples[-1][1]:.1f} MB")
            time.sleep(0.05)
        consumers.wait_until_done()
    progress("")
    return samples


def processor_seconds(pid: int) -> float:
    """What a process has had of the processors, for itself and in the kernel."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """What a process has resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def statements(venue: Venue) -> dict[str, tuple[float, float, float]]:
    """For each kind of fill: statements, milliseconds in them, and milliseconds in all, means of a round booked in
    this process."""
    from django.db import connection

    from decisions.consumer import handle
    from orchestrator_project.group_reader import Entry

    told = {}
    for name, messages in zip(("opening", "further part", "closing"), venue.round(), strict=True):
        counted: list[float] = []

        def timed(execute: Any, *words: Any, counted: list[float] = counted) -> Any:
            began = time.perf_counter()
            try:
                return execute(*words)
            finally:
                counted.append(time.perf_counter() - began)

        entries = [
            Entry(stream, f"{place}-0", fields(type_, payload), 1)
            for place, (stream, type_, payload) in enumerate(messages)
        ]
        began = time.perf_counter()
        with connection.execute_wrapper(timed):
            for entry in entries:
                handle(entry)
        spent = time.perf_counter() - began
        told[name] = len(counted) / len(entries), 1000 * sum(counted) / len(entries), 1000 * spent / len(entries)
    return told


# --- what came of it --------------------------------------------------------------------------------------------------


def assert_all_is_booked(venue: Venue) -> None:
    """Every trade closed with the result it must have, every fill once, nothing among the dead."""
    from django.db.models import Sum

    from decisions.models import DeadLetter, Fill
    from journal.models import Trade

    dead = DeadLetter.objects.first()
    if dead is not None:
        raise SystemExit(f"{DeadLetter.objects.count()} dead letters, the first: {dead}")
    booked = Trade.objects.filter(status="closed", size=2).aggregate(gross=Sum("gross_pnl_usd"), fees=Sum("fees_usd"))
    counts = (Trade.objects.count(), Trade.objects.filter(status="closed").count(), Fill.objects.count())
    if counts != (venue.trades, venue.trades, FILLS_A_TRADE * venue.trades):
        raise SystemExit(f"trades, closed, fills: {counts}, and {venue.trades} trades were made")
    if (booked["gross"], booked["fees"]) != (venue.trades * GROSS_USD, venue.trades * FEES_USD):
        raise SystemExit(f"the books are wrong: {booked} of {venue.trades} trades")


def out_of_turn(log: Path) -> int:
    """How often an exit was read before its entry was booked, and was tried again."""
    return log.read_text().count("comes too early")


def told(name: str, milliseconds: list[float]) -> float:
    p50, p99 = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]
    print(f"{name:<44} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   (min {min(milliseconds):.2f})", flush=True)
    return p50


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def tell_memory(samples: list[tuple[int, float, float]]) -> None:
    """A line of bars, a row for each tenth, and the slope once warm: from a fifth of the messages on."""
    lowest, highest = min(sample[1] for sample in samples), max(sample[1] for sample in samples)
    scale = (len(BARS) - 1) / max(highest - lowest, 1.0)
    bars = "".join(BARS[round((resident - lowest) * scale)] for _, resident, _ in samples)
    print(f"{'memory of one consumer':<44} {bars}  {lowest:.1f} to {highest:.1f} MB")
    for handled, resident, rate in samples[:: max(1, len(samples) // 10)]:
        print(f"{handled:>12} messages {resident:8.1f} MB {rate:8.0f} messages a second")
    warm = [sample for sample in samples if sample[0] >= samples[-1][0] / 5]
    slope = statistics.linear_regression([each[0] for each in warm], [each[1] for each in warm]).slope
    print(f"{'slope once warm':<44} {slope * 2**20:+.2f} bytes a message")


def tell_burst(venue: Venue, consumers: Consumers, number: int, log: Path, *, by: int) -> None:
    early = out_of_turn(log)
    rate, processor = burst(venue, consumers, number, by=by)
    retried = out_of_turn(log) - early
    print(
        f"{f'fills a second, consumers: {by}':<44} {rate:7.0f}, {processor:.1f} ms of processor each, "
        f"{retried} tried again as too early",
        flush=True,
    )
    assert_all_is_booked(venue)


def measure(options: argparse.Namespace, folder: Path) -> None:
    log = folder / "consumers.log"
    with log.open("w") as output:
        venue = Venue()
        consumers = Consumers(venue, output)
        with consumers.reading(1):  # The first makes the group.
            venue.publish(venue.fills(300))
            consumers.wait_until_done()
        assert_all_is_booked(venue)

        for name, (number, within, whole) in statements(venue).items():
            print(f"{name:<44} {number:4.1f} statements, {within:.2f} ms of {whole:.2f} ms")
        bare = told("a bare inbox, one by one", bare_inbox(venue, options.single))
        fill_p50 = told("a fill, one by one, until acknowledged", one_by_one(venue, consumers, options.single))
        print(f"{'ratio':<44} p50 {fill_p50 / bare:7.2f}")
        assert_all_is_booked(venue)

        tell_burst(venue, consumers, options.burst, log, by=1)
        piled, first, last = catch_up(venue, consumers, options.pile)
        print(f"{f'{piled} fills that piled up':<44} first after {first:.1f} s, all after {last:.1f} s", flush=True)
        assert_all_is_booked(venue)

        tell_memory(watched_memory(venue, consumers, options.messages))
        assert_all_is_booked(venue)

        tell_burst(venue, consumers, options.burst, log, by=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--single", type=int, default=500, help="fills measured one by one")
    parser.add_argument("--burst", type=int, default=3000, help="fills for each number of consumers")
    parser.add_argument("--pile", type=int, default=10_000, help="fills that pile up while no consumer runs")
    parser.add_argument("--messages", type=int, default=100_000, help="messages while memory is watched")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings",
            LOCAL_DIR=folder,
            SETTINGS_FILE=os.devnull,
            INSTRUMENTS=json.dumps(INSTRUMENTS),
        )
        import django

        django.setup()
        from django.conf import settings

        from orchestrator_project.local.ownership import Wanted, servers_for_command

        with servers_for_command(Path(folder), Wanted(postgres=True, redis=True)):
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            os.environ.update(DATABASE_URL=settings.DATABASE_URL, REDIS_URL=settings.REDIS_URL)
            measure(options, Path(folder))


if __name__ == "__main__":
    main()
