"""The Redis adapter: publishes envelopes, reads entries, decides nothing.

Publishing goes through one Lua script that remembers each `msg_id`, so that an envelope published again, after a lost
reply or a crash, leaves one entry. Reading goes through a consumer group, in three steps: what this consumer was given
and never acknowledged, what a dead consumer left, what is new.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from decisions.messages import (
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    OPUS_DECISIONS,
    BadMessage,
    Envelope,
    decode,
    encode,
)

TRIMMED_BY_LENGTH = (MARKET_SNAPSHOTS, MARKET_ALERTS, OPUS_DECISIONS)
"""Only streams whose entries may be lost without harm; the others are trimmed by id once they were processed."""

REMEMBERED_SECONDS = 7 * 24 * 3600
REMEMBERED_BRIEFLY_SECONDS = 3600
"""How long a published `msg_id` is known: longer than any retry. On the streams whose entries may be lost without harm
an hour will do."""

Fields = Mapping[bytes, bytes]
"""An entry as Redis gives it."""

_PUBLISH = """
local ids = {}
for i = 1, #KEYS, 2 do
  local known, stream, base = KEYS[i], KEYS[i + 1], (i - 1) / 2 * 3
  local id = redis.call('GET', known)
  if not id then
    local length, fields = tonumber(ARGV[base + 2]), cjson.decode(ARGV[base + 3])
    if length > 0 then
      id = redis.call('XADD', stream, 'MAXLEN', '~', length, '*', unpack(fields))
    else
      id = redis.call('XADD', stream, '*', unpack(fields))
    end
    redis.call('SET', known, id, 'EX', ARGV[base + 1])
  end
  ids[#ids + 1] = id
end
return ids
"""


def connect() -> redis.Redis:
    """A client for short commands, over a pool of its own."""
    return _client(socket_timeout=5)


def connect_reader(block_seconds: float) -> redis.Redis:
    """A client for blocking reads: it outwaits BLOCK and never repeats a read by itself, since the entries of a lost
    reply are in this consumer's pending list already."""
    return _client(socket_timeout=block_seconds + 5, retry=Retry(NoBackoff(), 0))


def _client(**options: Any) -> redis.Redis:
    if not settings.REDIS_URL.startswith("unix:"):  # a unix socket has no peer to be kept alive
        options["socket_keepalive"] = True
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5, **options)


def _memory_key(stream: str, msg_id: str) -> str:
    return f"sent:{stream}:{msg_id}"


def publish_many(client: redis.Redis, messages: Sequence[tuple[str, Envelope]]) -> list[str]:
    """Append each envelope to its stream unless its `msg_id` is there already; all at once, visible together.

    Returns the entry ids, those of the first publication for envelopes published before.
    """
    keys: list[str] = []
    arguments: list[str | int] = []
    for stream, envelope in messages:
        length = settings.STREAM_MAX_LENGTH if stream in TRIMMED_BY_LENGTH else 0
        fields = [part for pair in encode(envelope).items() for part in pair]
        keys += [_memory_key(stream, envelope.msg_id), stream]
        remembered = REMEMBERED_BRIEFLY_SECONDS if length else REMEMBERED_SECONDS
        arguments += [remembered, length, json.dumps(fields)]
    ids: Any = client.eval(_PUBLISH, len(keys), *keys, *arguments)
    return [entry_id.decode() for entry_id in ids]


def publish(client: redis.Redis, stream: str, envelope: Envelope) -> str:
    """Append one envelope, once. Returns the entry's id."""
    return publish_many(client, [(stream, envelope)])[0]


def published(client: redis.Redis, stream: str, msg_id: str) -> str | None:
    """The entry id under which a message went out, or None if it is not known to have gone out."""
    known: Any = client.get(_memory_key(stream, msg_id))
    return known.decode() if known else None


def read_latest(client: redis.Redis, stream: str) -> Envelope | None:
    """The newest entry of the stream that can be decoded, of the last 100."""
    entries: Any = client.xrevrange(stream, count=100)
    for _, fields in entries:
        try:
            return decode(fields)
        except BadMessage:
            continue
    return None


def read_after(
    client: redis.Redis, offsets: Mapping[str, str], *, count: int, block_seconds: float
) -> list[tuple[str, list[tuple[str, Fields]]]]:
    """Up to `count` entries of each stream after the id given for it, without a consumer group; waits so long for the
    first. Streams without new entries are left out."""
    after: Any = offsets
    reply: Any = client.xread(after, count=count, block=max(1, int(block_seconds * 1000)))
    return list(_by_stream(reply))


def newest_id(client: redis.Redis, stream: str) -> str | None:
    """The id of the newest entry, None on an empty stream."""
    entries: Any = client.xrevrange(stream, count=1)
    return entries[0][0].decode() if entries else None


def _by_stream(reply: Any) -> Iterable[tuple[str, list[tuple[str, Fields]]]]:
    """Stream and entries of an XREAD reply. By the newer protocol it is a mapping, and the entries are wrapped in one
    more list."""
    for stream, entries in reply.items() if isinstance(reply, dict) else (reply or []):
        plain = entries[0] if entries and isinstance(entries[0], list) else entries
        yield stream.decode(), [(entry_id.decode(), fields) for entry_id, fields in plain]


# --- consumer group -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery. `deliveries` counts this one, so 1 is the first."""

    stream: str
    entry_id: str
    fields: Fields
    deliveries: int


class GroupReader:
    """Reads several streams as one consumer of a group.

    Groups are created at the beginning of the stream, so that nothing that came before the first start is missed.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        group: str,
        consumer: str,
        streams: Sequence[str],
        block_seconds: float = 2.0,
        batch: int = 50,
        claim_after_seconds: float = 30.0,
    ) -> None:
        self.client = client
        self.group = group
        self.consumer = consumer
        self.streams = tuple(streams)
        self.block_milliseconds = int(block_seconds * 1000)
        self.batch = batch
        self.claim_after_seconds = claim_after_seconds
        self.look_behind()

    def look_behind(self, after_seconds: float = 0.0) -> None:
        """Begin again with what was delivered and not acknowledged: at start, after a failure, or a moment later."""
        self._look_behind_at = monotonic() + after_seconds
        self._next_claim = 0.0

    def create_groups(self) -> None:
        for stream in self.streams:
            try:
                self.client.xgroup_create(stream, self.group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read(self) -> list[Entry]:
        """The next entries, oldest duty first; empty when nothing came within the blocking time."""
        try:
            return self._pending() or self._claimed() or self._new()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.create_groups()
            return []

    def acknowledge(self, entry: Entry) -> None:
        self.client.xack(entry.stream, self.group, entry.entry_id)

    def take_back(self, entries: Iterable[Entry]) -> None:
        """Uncount the delivery of entries that were read and not tried, so that what counts are tries."""
        for entry in entries:
            tries = entry.deliveries - 1
            self.client.xclaim(
                entry.stream, self.group, self.consumer, 0, [entry.entry_id], retrycount=tries, justid=True
            )

    def _pending(self) -> list[Entry]:
        if monotonic() < self._look_behind_at:
            return []
        found = self._read_group(dict.fromkeys(self.streams, "0"), block=None)
        if not found:
            self._look_behind_at = inf
        return self._with_deliveries(found)

    def _claimed(self) -> list[Entry]:
        if monotonic() < self._next_claim:
            return []
        found: list[tuple[str, str, Fields]] = []
        for stream in self.streams:
            reply: Any = self.client.xautoclaim(
                stream, self.group, self.consumer, int(self.claim_after_seconds * 1000), count=self.batch
            )
            found += [(stream, entry_id.decode(), fields) for entry_id, fields in reply[1] if fields]
        if not found:
            self._next_claim = monotonic() + self.claim_after_seconds / 2
        return self._with_deliveries(found)

    def _new(self) -> list[Entry]:
        found = self._read_group(dict.fromkeys(self.streams, ">"), block=self.block_milliseconds)
        return [Entry(stream, entry_id, fields, 1) for stream, entry_id, fields in found]

    def _read_group(self, ids: dict[Any, Any], block: int | None) -> list[tuple[str, str, Fields]]:
        reply: Any = self.client.xreadgroup(self.group, self.consumer, ids, count=self.batch, block=block)
        found = []
        for stream, entries in _by_stream(reply):
            for entry_id, fields in entries:
                if fields:
                    found.append((stream, entry_id, fields))
                else:  # trimmed while pending: there is nothing left to handle
                    self.client.xack(stream, self.group, entry_id)
        # Of one millisecond the order across streams is not known: then they come in the order of `streams`.
        return sorted(found, key=lambda item: entry_order(item[1]))

    def _with_deliveries(self, found: Sequence[tuple[str, str, Fields]]) -> list[Entry]:
        entries = []
        for stream, entry_id, fields in found:
            pending: Any = self.client.xpending_range(stream, self.group, entry_id, entry_id, 1)
            deliveries = pending[0]["times_delivered"] if pending else 1
            entries.append(Entry(stream, entry_id, fields, deliveries))
        return entries


def entry_order(entry_id: str) -> tuple[int, int]:
    """The sort key of entry ids."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def backlog(client: redis.Redis, stream: str, group: str) -> int:
    """How many entries of the stream the group has not acknowledged, new and pending; all while there is no group."""
    found = _group(client, stream, group)
    if found is None:
        length: Any = client.xlen(stream)
        return int(length)
    return int(found["pending"]) + _undelivered(client, stream, found)


def _group(client: redis.Redis, stream: str, group: str) -> Mapping[str, Any] | None:
    groups: Any = client.xinfo_groups(stream) if client.exists(stream) else []
    return next((found for found in groups if found["name"] == group.encode()), None)


def _undelivered(client: redis.Redis, stream: str, group: Mapping[str, Any]) -> int:
    """The group's lag. A server may not know it (Redis before 7, entries dropped unread): then 1 for "some"."""
    if (lag := group.get("lag")) is not None:
        return int(lag)
    information: Any = client.xinfo_stream(stream)
    return int(group["last-delivered-id"] != information["last-generated-id"])


def trim(client: redis.Redis, stream: str, group: str, *, older_than_milliseconds: int) -> int:
    """Drop the entries that the group has acknowledged and that are older than a Unix time. Returns how many."""
    mine = _group(client, stream, group)
    if mine is None:
        return 0
    summary: Any = client.xpending(stream, group)
    oldest_needed = (summary["min"] if summary["pending"] else mine["last-delivered-id"]).decode()
    return trim_before(client, stream, min(oldest_needed, f"{older_than_milliseconds}-0", key=entry_order))


def forget_idle_consumers(client: redis.Redis, stream: str, group: str, *, idle_seconds: float) -> int:
    """Drop the group's consumers that have asked for nothing for so long and owe nothing. Returns how many."""
    if _group(client, stream, group) is None:
        return 0
    consumers: Any = client.xinfo_consumers(stream, group)
    idle = [each for each in consumers if each["pending"] == 0 and each["idle"] > idle_seconds * 1000]
    for each in idle:
        client.xgroup_delconsumer(stream, group, each["name"])
    return len(idle)


def trim_before(client: redis.Redis, stream: str, entry_id: str) -> int:
    """Drop the entries older than the one given. Returns how many."""
    dropped: Any = client.xtrim(stream, minid=entry_id, approximate=False)
    return int(dropped)
