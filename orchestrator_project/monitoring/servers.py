"""What Redis knows of the streams, the queues and the signs of life, in two round trips."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings

from decisions.consumer import GROUP, STREAMS
from decisions.messages import MARKET_SNAPSHOTS, OPUS_DECISIONS, TRADE_ORDERS
from orchestrator_project import streams
from orchestrator_project.monitoring import heartbeats
from orchestrator_project.monitoring.state import RedisState, StreamState

OUTGOING = (TRADE_ORDERS, OPUS_DECISIONS)
"""Their readers are others: what they have not read is theirs to know."""
PRESENT_MILLISECONDS = 60_000
"""A consumer that asked for something within a minute is there: it asks every second."""


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """This process's client for looks; what it cannot have at once it does not wait for."""
    return streams.connect_probe()


def read_redis() -> RedisState:
    """The state now. Raises `redis.RedisError`."""
    asked: Any = client().pipeline(transaction=False)
    asked.time().hgetall(heartbeats.KEY).info("memory").hlen("unacked")
    for queue in settings.QUEUES:
        asked.llen(queue)
    for stream in (*STREAMS, *OUTGOING):
        asked.xlen(stream)
    for stream in STREAMS:
        asked.xinfo_groups(stream).xpending(stream, GROUP)
    replies = asked.execute(raise_on_error=False)
    now, signs, memory, unacknowledged = (_needed(reply) for reply in replies[:4])
    rest = iter(replies[4:])
    queues = {queue: _needed(next(rest)) for queue in settings.QUEUES}
    lengths = {stream: _needed(next(rest)) for stream in (*STREAMS, *OUTGOING)}
    groups = {stream: (_group(next(rest)), next(rest)) for stream in STREAMS}
    unread, consumers = _unread(groups)
    milliseconds = now[0] * 1000 + now[1] // 1000
    return RedisState(
        signs=heartbeats.signs(signs),
        streams={
            stream: _stream_state(lengths[stream], *groups[stream], unread[stream], milliseconds) for stream in STREAMS
        },
        lengths={stream: lengths[stream] for stream in OUTGOING},
        queues=queues,
        unacknowledged=unacknowledged,
        consumers=consumers,
        memory_bytes=memory["used_memory"],
    )


def _needed(reply: Any) -> Any:
    """A reply that there is always one of. Raises it when it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def _group(reply: Any) -> Mapping[str, Any] | None:
    """Our group of a stream; None while there is no stream, or no group."""
    if isinstance(reply, redis.ResponseError):
        return None
    return next((group for group in _needed(reply) if group["name"] == GROUP.encode()), None)


def _unread(groups: Mapping[str, tuple[Any, Any]]) -> tuple[dict[str, str | None], int]:
    """The id of each stream's first entry that nobody was given, and how many consumers are there."""
    asked = client().pipeline(transaction=False)
    for stream, (group, _) in groups.items():
        asked.xrange(stream, min=f"({group['last-delivered-id'].decode()}" if group else "-", count=1)
    asked.xinfo_consumers(MARKET_SNAPSHOTS, GROUP)
    *firsts, present = asked.execute(raise_on_error=False)
    found = dict(zip(groups, (_first_id(reply) for reply in firsts), strict=True))
    consumers: Sequence[Any] = () if isinstance(present, redis.ResponseError) else _needed(present)
    return found, sum(each["idle"] <= PRESENT_MILLISECONDS for each in consumers)


def _first_id(reply: Any) -> str | None:
    entries = _needed(reply)
    return entries[0][0].decode() if entries else None


def _stream_state(length: int, group: Any, summary: Any, unread: str | None, now_ms: int) -> StreamState:
    pending = 0 if group is None else int(group["pending"])
    lag = length if group is None else group.get("lag")
    owed = summary["min"].decode() if pending and isinstance(summary, dict) and summary["min"] else None
    ages = [now_ms - streams.entry_order(each)[0] for each in (owed, unread) if each is not None]
    return StreamState(
        length=length,
        lag=int(unread is not None) if lag is None else int(lag),  # a server that does not know it: 1 for some
        pending=pending,
        oldest_seconds=max([0, *ages]) / 1000,
    )
