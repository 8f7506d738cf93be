"""The Redis adapter: publishes envelopes, reads entries, decides nothing.

Publishing goes through one Lua script that remembers each `msg_id`, so that an envelope published again, after a lost
reply or a crash, leaves one entry. That memory is gone with everything else when Redis is emptied: what must not go out
twice names the life of the streams that it belongs to, and goes out in no other.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from decisions.messages import (
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    OPUS_DECISIONS,
    TRADE_POSITIONS,
    BadMessage,
    Envelope,
    decode,
    encode,
)

TRIMMED_BY_LENGTH = (MARKET_SNAPSHOTS, MARKET_ALERTS, OPUS_DECISIONS)
"""Only streams whose entries may be lost without harm; the others are trimmed by id once they were processed."""

REMEMBERED_SECONDS = 7 * 24 * 3600
REMEMBERED_BRIEFLY_SECONDS = 3600
"""How long a published `msg_id` is known: longer than any retry."""
REMEMBERED_BRIEFLY = frozenset({*TRIMMED_BY_LENGTH, TRADE_POSITIONS})
"""An hour will do where entries may be lost without harm, and where an old one that came again would change nothing."""

Fields = Mapping[bytes, bytes]
"""An entry as Redis gives it."""

_LIFE = "streams:life"

_PUBLISH = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {}
end
local ids = {}
for i = 2, #KEYS, 2 do
  local known, stream, base = KEYS[i], KEYS[i + 1], (i - 2) / 2 * 3 + 1
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


def connect_probe() -> redis.Redis:
    """A client for a look: it has its answer within two seconds, or none."""
    return _client(socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


def _client(**options: Any) -> redis.Redis:
    if not settings.REDIS_URL.startswith("unix:"):  # a unix socket has no peer to be kept alive
        options["socket_keepalive"] = True
    return redis.Redis.from_url(settings.REDIS_URL, **({"socket_connect_timeout": 5} | options))


def _memory_key(stream: str, msg_id: str) -> str:
    return f"sent:{stream}:{msg_id}"


class AnotherLife(redis.RedisError):
    """Redis was emptied since the message was written: it may have gone out before, and does not go out now."""


def life(client: redis.Redis) -> str:
    """Which life of the streams this is: a random name that vanishes with everything else when Redis is emptied."""
    known: Any = client.get(_LIFE)
    if known is None:
        client.set(_LIFE, uuid4().hex, nx=True)
        known = client.get(_LIFE)
    if known is None:
        raise redis.RedisError("Redis is being emptied")
    return known.decode()


def publish_many(client: redis.Redis, messages: Sequence[tuple[str, Envelope]], *, life: str = "") -> list[str]:
    """Append each envelope to its stream unless its `msg_id` is there already; all at once, visible together.

    Returns the entry ids, those of the first publication for envelopes published before. With a `life` given they go
    out in that life of the streams only. Raises `AnotherLife`.
    """
    keys: list[str] = [_LIFE]
    arguments: list[str | int] = [life]
    for stream, envelope in messages:
        length = settings.STREAM_MAX_LENGTH if stream in TRIMMED_BY_LENGTH else 0
        fields = [part for pair in encode(envelope).items() for part in pair]
        keys += [_memory_key(stream, envelope.msg_id), stream]
        remembered = REMEMBERED_BRIEFLY_SECONDS if stream in REMEMBERED_BRIEFLY else REMEMBERED_SECONDS
        arguments += [remembered, length, json.dumps(fields)]
    ids: Any = client.eval(_PUBLISH, len(keys), *keys, *arguments)
    if messages and not ids:
        raise AnotherLife("the streams have begun another life since the message was written")
    return [entry_id.decode() for entry_id in ids]


def publish(client: redis.Redis, stream: str, envelope: Envelope, *, life: str = "") -> str:
    """Append one envelope, once; in one life of the streams only, if it is given. Returns the entry's id."""
    return publish_many(client, [(stream, envelope)], life=life)[0]


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
    return list(by_stream(reply))


def newest_id(client: redis.Redis, stream: str) -> str | None:
    """The id of the newest entry, None on an empty stream."""
    entries: Any = client.xrevrange(stream, count=1)
    return entries[0][0].decode() if entries else None


def by_stream(reply: Any) -> Iterable[tuple[str, list[tuple[str, Fields]]]]:
    """Stream and entries of an XREAD reply. By the newer protocol it is a mapping, and the entries are wrapped in one
    more list."""
    for stream, entries in reply.items() if isinstance(reply, dict) else (reply or []):
        plain = entries[0] if entries and isinstance(entries[0], list) else entries
        yield stream.decode(), [(entry_id.decode(), fields) for entry_id, fields in plain]


# --- consumer groups --------------------------------------------------------------------------------------------------


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
