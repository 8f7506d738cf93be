"""Everything that was ever on the streams of a run, read as it goes: an emptied Redis forgets it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

ORDERS = "trade:orders"
INCOMING = ("market:snapshots", "market:alerts", "trade:fills", "trade:positions", "system:alerts")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was seen. `life` counts how often Redis was emptied before."""

    stream: str
    entry_id: str
    life: int
    fields: Mapping[bytes, bytes]

    @property
    def message(self) -> str:
        return self.fields.get(b"msg_id", b"").decode(errors="replace")

    @property
    def type(self) -> str:
        return self.fields.get(b"type", b"").decode(errors="replace")

    @property
    def milliseconds(self) -> int:
        """When Redis took it, Unix time."""
        return int(self.entry_id.partition("-")[0])


class Traffic:
    """The entries so far. `lives` counts how often Redis was emptied."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.entries: list[Entry] = []
        self.lives = 0
        self._after: dict[Any, Any] = dict.fromkeys((ORDERS, *INCOMING), "0-0")

    def collect(self) -> None:
        """Read what is new. Raises `redis.RedisError`, and then has read nothing."""
        while reply := self.client.xread(self._after, count=500):
            self._keep(reply)

    def empty_redis(self) -> None:
        """FLUSHALL, with everything read that stood there at that instant."""
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.xread(self._after)
            pipeline.flushall()
            reply, _ = pipeline.execute()
        self._keep(reply or [])
        self.lives += 1
        self._after = dict.fromkeys(self._after, "0-0")

    def _keep(self, reply: Any) -> None:
        for stream, entries in reply.items() if isinstance(reply, dict) else reply:
            plain = entries[0] if entries and isinstance(entries[0], list) else entries
            for entry_id, fields in plain:
                self.entries.append(Entry(stream.decode(), entry_id.decode(), self.lives, fields))
                self._after[stream.decode()] = entry_id

    def of(self, *streams: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.stream in streams)
