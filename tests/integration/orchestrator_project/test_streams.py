"""The Redis adapter on a real server: what is published once, read in order, kept until acknowledged."""

import json
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from pytest_django import Settings

from decisions.messages import (
    MARKET_SNAPSHOTS,
    OPUS_DECISIONS,
    SYSTEM_ALERTS,
    TRADE_FILLS,
    TRADE_POSITIONS,
    Envelope,
    SystemAlert,
    wrap,
)
from orchestrator_project import streams
from orchestrator_project.group_reader import Entry, GroupReader

GROUP = "orchestrator"


def _alert(msg_id: str, detail: str = "") -> Envelope:
    alert = SystemAlert(severity="WARN", category="test", title="t", detail=detail, action_taken="none")
    return wrap(alert, msg_id=msg_id, source="test", now=datetime(2022, 11, 20, tzinfo=UTC))


def _reader(names: Sequence[str] = (TRADE_FILLS,), consumer: str = "one", **options: Any) -> GroupReader:
    options = {"block_seconds": 0.02, **options}
    reader = GroupReader(
        streams.connect_reader(options["block_seconds"]), group=GROUP, consumer=consumer, streams=names, **options
    )
    reader.create_groups()
    return reader


def _add(client: redis.Redis, *numbers: int, stream: str = TRADE_FILLS) -> list[str]:
    return [str(client.xadd(stream, {"n": str(number)})) for number in numbers]


def _numbers(entries: Sequence[Entry]) -> list[int]:
    return [int(entry.fields[b"n"]) for entry in entries]


# --- publishing -------------------------------------------------------------------------------------------------------


def test_an_envelope_published_again_leaves_one_entry(redis_client: redis.Redis) -> None:
    client = streams.connect()
    first = streams.publish(client, SYSTEM_ALERTS, _alert("a"))
    again = streams.publish(client, SYSTEM_ALERTS, _alert("a", detail="reworded"))
    assert again == first == streams.published(client, SYSTEM_ALERTS, "a")
    assert redis_client.xlen(SYSTEM_ALERTS) == 1
    assert streams.published(client, SYSTEM_ALERTS, "b") is None


def test_publishing_from_many_threads_at_once_leaves_one_entry(redis_client: redis.Redis) -> None:
    start, ids = threading.Barrier(8), []

    def publish() -> None:
        client = streams.connect()
        start.wait()
        ids.append(streams.publish(client, SYSTEM_ALERTS, _alert("a")))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis_client.xlen(SYSTEM_ALERTS) == 1
    assert len(ids) == 8
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("stream", "days"), [(TRADE_FILLS, 7), (SYSTEM_ALERTS, 7), (TRADE_POSITIONS, 1 / 24), (MARKET_SNAPSHOTS, 1 / 24)]
)
def test_a_message_id_is_known_for_longer_than_it_can_come_again(
    stream: str, days: float, redis_client: redis.Redis
) -> None:
    streams.publish(streams.connect(), stream, _alert("a"))
    assert 0 <= days * 86_400 - redis_client.ttl(f"sent:{stream}:a") < 60


def test_a_message_id_is_known_for_one_stream_only(redis_client: redis.Redis) -> None:
    client = streams.connect()
    streams.publish_many(client, [(SYSTEM_ALERTS, _alert("a")), (OPUS_DECISIONS, _alert("a"))])
    assert [redis_client.xlen(stream) for stream in (SYSTEM_ALERTS, OPUS_DECISIONS)] == [1, 1]


def test_several_envelopes_become_visible_together(redis_client: redis.Redis) -> None:
    """A transaction that watches both streams never sees one without the other."""
    client, done, halves = streams.connect(), threading.Event(), []

    def watch() -> None:
        with redis_client.pipeline(transaction=True) as both:
            while not done.is_set():
                first, second = both.xlen(SYSTEM_ALERTS).xlen(TRADE_POSITIONS).execute()
                if first != second:
                    halves.append((first, second))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(200):
        pair = [(SYSTEM_ALERTS, _alert(f"a{number}")), (TRADE_POSITIONS, _alert(f"p{number}"))]
        assert len(streams.publish_many(client, pair)) == 2
    done.set()
    watcher.join()
    assert halves == []


def test_what_was_published_of_a_batch_is_completed_and_not_repeated(redis_client: redis.Redis) -> None:
    client = streams.connect()
    first = streams.publish(client, SYSTEM_ALERTS, _alert("a"))
    ids = streams.publish_many(client, [(SYSTEM_ALERTS, _alert(name)) for name in "abc"])
    assert ids[0] == first
    assert [fields["msg_id"] for _, fields in redis_client.xrange(SYSTEM_ALERTS)] == ["a", "b", "c"]


def test_text_of_every_kind_arrives_as_it_was_sent(redis_client: redis.Redis) -> None:
    detail = 'ไทย “quotes” \\ / \x00 \x7f 🚀 {"json": [1]} ' + "ü" * 5000
    client = streams.connect()
    streams.publish(client, SYSTEM_ALERTS, _alert("a", detail))
    latest = streams.read_latest(client, SYSTEM_ALERTS)
    assert latest is not None
    assert latest.payload["detail"] == detail


def test_only_streams_that_may_lose_entries_are_trimmed_by_length(
    redis_client: redis.Redis, settings: Settings
) -> None:
    settings.STREAM_MAX_LENGTH = 100
    client = streams.connect()
    for stream in (MARKET_SNAPSHOTS, TRADE_FILLS):
        streams.publish_many(client, [(stream, _alert(str(number))) for number in range(1000)])
    assert 100 <= redis_client.xlen(MARKET_SNAPSHOTS) < 400  # approximate: whole nodes of the stream
    assert redis_client.xlen(TRADE_FILLS) == 1000


def test_the_newest_readable_entry_is_found_behind_garbage(redis_client: redis.Redis) -> None:
    client = streams.connect()
    assert streams.read_latest(client, SYSTEM_ALERTS) is None
    streams.publish_many(client, [(SYSTEM_ALERTS, _alert("old")), (SYSTEM_ALERTS, _alert("new"))])
    redis_client.xadd(SYSTEM_ALERTS, {"payload": "{"})
    latest = streams.read_latest(client, SYSTEM_ALERTS)
    assert latest is not None
    assert latest.msg_id == "new"


# --- reading ----------------------------------------------------------------------------------------------------------


def test_what_came_before_the_group_was_made_is_read_in_order(redis_client: redis.Redis) -> None:
    for number, stream in ((1, TRADE_FILLS), (2, TRADE_POSITIONS), (3, TRADE_FILLS)):
        redis_client.xadd(stream, {"n": str(number)}, id=f"{number}-1")
    reader = _reader((TRADE_FILLS, TRADE_POSITIONS))
    entries = reader.read()
    assert _numbers(entries) == [1, 2, 3]
    assert [(entry.stream, entry.deliveries) for entry in entries] == [
        (TRADE_FILLS, 1), (TRADE_POSITIONS, 1), (TRADE_FILLS, 1),
    ]  # fmt: skip


def test_an_empty_stream_gives_nothing_within_the_blocking_time(redis_client: redis.Redis) -> None:
    assert _reader().read() == []


def test_each_entry_goes_to_one_consumer_of_the_group(redis_client: redis.Redis) -> None:
    _add(redis_client, *range(10))
    one, two = _reader(consumer="one", batch=5), _reader(consumer="two", batch=5)
    assert sorted(_numbers(one.read()) + _numbers(two.read())) == list(range(10))


def test_a_restarted_consumer_gets_its_own_pending_entries_first(redis_client: redis.Redis) -> None:
    _add(redis_client, 1, 2, 3)
    before = _reader()
    before.acknowledge(before.read()[0])
    _add(redis_client, 4)
    after = _reader()
    pending = after.read()
    assert _numbers(pending) == [2, 3]
    assert [entry.deliveries for entry in pending] == [2, 2]
    for entry in pending:
        after.acknowledge(entry)
    assert _numbers([*after.read(), *after.read()]) == [4]


def test_entries_of_a_dead_peer_are_claimed_when_they_have_waited_long_enough(redis_client: redis.Redis) -> None:
    _add(redis_client, 1, 2)
    _reader(consumer="dead").read()
    patient, eager = _reader(consumer="patient"), _reader(consumer="eager", claim_after_seconds=0.0)
    assert patient.read() == []
    claimed = eager.read()
    assert _numbers(claimed) == [1, 2]
    assert [entry.deliveries for entry in claimed] == [2, 2]


def test_a_peer_that_goes_on_acknowledging_is_not_robbed(redis_client: redis.Redis) -> None:
    """However long its entries have waited by Redis's clock: what counts is whether the oldest stays the same."""
    _add(redis_client, 1, 2, 3)
    slow = _reader(consumer="slow")
    mine = slow.read()
    peer = _reader(consumer="peer", claim_after_seconds=1.0)
    for entry in mine[:2]:
        slow.acknowledge(entry)
        acknowledged = time.monotonic()
        while time.monotonic() < acknowledged + 0.6:  # twice that is longer than a peer may be silent
            assert peer.read() == []
    assert peer.read() == []
    deadline = time.monotonic() + 10
    while not (claimed := peer.read()):
        assert time.monotonic() < deadline
    assert _numbers(claimed) == [3]


def test_only_tries_count_when_entries_are_taken_back(redis_client: redis.Redis) -> None:
    _add(redis_client, 1, 2, 3)
    reader = _reader()
    reader.take_back(reader.read()[1:])
    reader.look_behind()
    assert [(int(entry.fields[b"n"]), entry.deliveries) for entry in reader.read()] == [(1, 2), (2, 1), (3, 1)]


def test_looking_behind_may_be_put_off_and_new_entries_go_on(redis_client: redis.Redis) -> None:
    _add(redis_client, 1)
    reader = _reader()
    reader.read()
    reader.look_behind(after_seconds=0.2)
    _add(redis_client, 2)
    assert _numbers(reader.read()) == [2]
    deadline = time.monotonic() + 5
    while not (found := reader.read()):
        assert time.monotonic() < deadline
    assert _numbers(found) == [1, 2]


def test_a_pending_entry_that_was_trimmed_is_acknowledged_and_not_read(redis_client: redis.Redis) -> None:
    ids = _add(redis_client, 1, 2)
    _reader().read()
    redis_client.xdel(TRADE_FILLS, ids[0])
    assert _numbers(_reader().read()) == [2]
    assert redis_client.xpending(TRADE_FILLS, GROUP)["pending"] == 1


def test_the_groups_come_back_after_the_server_lost_everything(redis_client: redis.Redis) -> None:
    reader = _reader((TRADE_FILLS, TRADE_POSITIONS))
    redis_client.flushall()
    _add(redis_client, 1)
    assert reader.read() == []
    assert _numbers(reader.read()) == [1]


def test_a_reader_that_waits_survives_the_loss_of_everything(redis_client: redis.Redis) -> None:
    reader, found = _reader(block_seconds=5.0), []

    def read() -> None:
        while not found:
            try:
                found.extend(reader.read())
            except redis.ResponseError:
                continue  # the stream went away while it waited

    thread = threading.Thread(target=read)
    thread.start()
    while not any(client.get("cmd") == "xreadgroup" for client in redis_client.client_list()):
        assert thread.is_alive()
    redis_client.flushall()
    _add(redis_client, 1)
    thread.join(timeout=10)
    assert _numbers(found) == [1]


# --- in turn ----------------------------------------------------------------------------------------------------------

BOTH = (TRADE_FILLS, MARKET_SNAPSHOTS)


class _Turns:
    """Whose turn it is, and since when."""

    def __init__(self, holder: str) -> None:
        self.give(holder)

    def give(self, holder: str) -> None:
        self.holder, self.since = holder, time.monotonic()

    def reader(self, consumer: str, **options: Any) -> GroupReader:
        def held() -> float | None:
            return time.monotonic() - self.since if self.holder == consumer else None

        return _reader(BOTH, consumer, ordered=(TRADE_FILLS,), turn=held, **options)


def _read_until(reader: GroupReader, seconds: float = 10.0) -> list[Entry]:
    """The first entries that it gets."""
    deadline = time.monotonic() + seconds
    while not (found := reader.read()):
        assert time.monotonic() < deadline
    return found


def test_ordered_streams_are_read_by_the_one_whose_turn_it_is_and_the_others_by_all(redis_client: redis.Redis) -> None:
    turns = _Turns("one")
    one, two = turns.reader("one"), turns.reader("two")
    _add(redis_client, 1, 2)
    _add(redis_client, 10, stream=MARKET_SNAPSHOTS)
    assert _numbers(two.read()) == [10]
    assert two.read() == []
    assert _numbers(_read_until(one)) == [1, 2]
    _add(redis_client, 11, stream=MARKET_SNAPSHOTS)
    assert _numbers(one.read()) == [11]


def test_a_new_turn_begins_when_a_read_of_the_former_one_can_get_nothing_more(redis_client: redis.Redis) -> None:
    turns = _Turns("nobody")
    two = turns.reader("two", block_seconds=0.4)
    _add(redis_client, 1)
    turns.give("two")
    _read_until(two)
    assert 0.4 < time.monotonic() - turns.since < 5


def test_what_a_living_peer_was_given_it_finishes_before_another_takes_what_is_new(redis_client: redis.Redis) -> None:
    turns = _Turns("one")
    one, two = turns.reader("one"), turns.reader("two", claim_after_seconds=60.0)
    _add(redis_client, 1, 2)
    given = _read_until(one)
    turns.give("two")
    _add(redis_client, 3)
    one.look_behind()
    assert _numbers(one.read()) == [1, 2]  # though it is not its turn any more
    for entry in given:
        while time.monotonic() < turns.since + 0.2:
            assert two.read() == []
        assert two.read() == []
        one.acknowledge(entry)
    assert _numbers(_read_until(two)) == [3]


def test_only_the_one_whose_turn_it_is_claims_from_an_ordered_stream_and_in_order(redis_client: redis.Redis) -> None:
    turns = _Turns("dead")
    _add(redis_client, 1, 2)
    assert _numbers(_read_until(turns.reader("dead"))) == [1, 2]
    turns.give("two")
    _add(redis_client, 3)
    bystander, two = (turns.reader(name, claim_after_seconds=0.1) for name in ("bystander", "two"))
    watched = time.monotonic()
    while time.monotonic() < watched + 0.5:
        assert bystander.read() == []
    claimed = _read_until(two)
    assert [(number, entry.deliveries) for number, entry in zip(_numbers(claimed), claimed, strict=True)] == [
        (1, 2), (2, 2),
    ]  # fmt: skip
    for entry in claimed:
        two.acknowledge(entry)
    assert _numbers(_read_until(two)) == [3]


def test_the_turn_may_be_lost_and_taken_again(redis_client: redis.Redis) -> None:
    turns = _Turns("one")
    one = turns.reader("one")
    _add(redis_client, 1)
    for entry in _read_until(one):
        one.acknowledge(entry)
    turns.give("two")
    _add(redis_client, 2)
    assert one.read() == []
    turns.give("one")
    assert _numbers(_read_until(one)) == [2]


# --- how much there is ------------------------------------------------------------------------------------------------


def test_the_backlog_counts_new_and_pending_entries(redis_client: redis.Redis) -> None:
    client = streams.connect()
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 0
    _add(redis_client, 1, 2, 3)
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 3  # nobody has read yet
    reader = _reader(batch=2)
    entries = reader.read()
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 3
    reader.acknowledge(entries[0])
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 2
    reader.acknowledge(entries[1])
    reader.acknowledge(reader.read()[0])
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 0


def test_a_backlog_whose_length_the_server_has_lost_count_of_is_not_taken_for_none(redis_client: redis.Redis) -> None:
    client, reader = streams.connect(), _reader(batch=1)
    ids = _add(redis_client, 1, 2, 3, 4)
    reader.acknowledge(reader.read()[0])
    redis_client.xdel(TRADE_FILLS, ids[2])
    assert streams.backlog(client, TRADE_FILLS, GROUP) >= 1
    for _ in range(2):
        reader.acknowledge(reader.read()[0])
    assert streams.backlog(client, TRADE_FILLS, GROUP) == 0


def test_trimming_drops_what_is_old_and_acknowledged_and_nothing_else(redis_client: redis.Redis) -> None:
    client, now = streams.connect(), int(time.time() * 1000)
    for number in range(6):
        redis_client.xadd(TRADE_FILLS, {"n": str(number)}, id=f"{now - 100_000 + number}-0")
    _add(redis_client, 6)
    reader = _reader(batch=4)
    old = now - 50_000
    assert streams.trim(client, TRADE_FILLS, GROUP, older_than_milliseconds=old) == 0  # nothing read yet
    entries = reader.read()
    for entry in (entries[0], entries[1], entries[3]):
        reader.acknowledge(entry)
    assert streams.trim(client, TRADE_FILLS, GROUP, older_than_milliseconds=old) == 2  # the third is pending
    reader.acknowledge(entries[2])
    for entry in reader.read():
        reader.acknowledge(entry)
    assert streams.trim(client, TRADE_FILLS, GROUP, older_than_milliseconds=old) == 4
    assert [fields["n"] for _, fields in redis_client.xrange(TRADE_FILLS)] == ["6"]  # acknowledged, but young
    assert streams.trim(client, TRADE_POSITIONS, GROUP, older_than_milliseconds=old) == 0  # no such stream


@pytest.mark.parametrize(("one", "other"), [("9-0", "10-0"), ("10-9", "10-10"), ("999-99", "1000-0")])
def test_entry_ids_are_ordered_by_number_and_not_by_text(one: str, other: str) -> None:
    assert streams.entry_order(one) < streams.entry_order(other)


def test_an_entry_written_by_another_program_in_one_field_is_read(redis_client: redis.Redis) -> None:
    envelope = _alert("whole")
    redis_client.xadd(SYSTEM_ALERTS, {"data": json.dumps(envelope.model_dump(mode="json"))})
    assert streams.read_latest(streams.connect(), SYSTEM_ALERTS) == envelope


def test_only_consumers_that_owe_nothing_are_forgotten(redis_client: redis.Redis) -> None:
    _add(redis_client, 1)
    client = streams.connect()
    assert streams.forget_idle_consumers(client, TRADE_FILLS, "nobody", idle_seconds=0) == 0
    gone, owing = _reader((TRADE_FILLS,), consumer="gone"), _reader((TRADE_FILLS,), consumer="owing")
    gone.create_groups()
    assert _numbers(owing.read()) == [1]
    assert gone.read() == []
    assert streams.forget_idle_consumers(client, TRADE_FILLS, gone.group, idle_seconds=3600) == 0
    _wait_a_millisecond(client)
    assert streams.forget_idle_consumers(client, TRADE_FILLS, gone.group, idle_seconds=0) == 1
    assert [each["name"] for each in redis_client.xinfo_consumers(TRADE_FILLS, gone.group)] == ["owing"]


def _wait_a_millisecond(client: "redis.Redis") -> None:
    """By the server's clock, which counts how long a consumer has been idle."""
    began = client.time()
    while client.time()[1] // 1000 == began[1] // 1000:
        pass
