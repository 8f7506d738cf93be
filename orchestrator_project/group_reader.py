"""Reads streams through a consumer group, in three steps: what this consumer was given and never acknowledged, what a
dead consumer left, what is new.

Streams whose entries have to take effect in order are read by one consumer at a time: the one whose turn it is takes
what is new, once nobody else owes anything of what came before.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import redis

from orchestrator_project.streams import Fields, by_stream, entry_order

TURN_PAUSE = 1.25
"""Blocking times that a new turn begins with, in which a read of the one before may still be given entries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery. `deliveries` counts this one, so 1 is the first."""

    stream: str
    entry_id: str
    fields: Fields
    deliveries: int


Turn = Callable[[], float | None]
"""For how many seconds it has been this consumer's turn; None while it is another's."""


class GroupReader:
    """Reads several streams as one consumer of a group.

    Groups are created at the beginning of the stream, so that nothing that came before the first start is missed.

    Of the `ordered` streams, which are among `streams`, new entries and those of dead peers go to the consumer whose
    `turn` it is; what a consumer was given it finishes, whoever's turn it is now.
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
        claim_after_seconds: float = 7.0,
        ordered: Sequence[str] = (),
        turn: Turn = lambda: inf,
    ) -> None:
        self.client = client
        self.group = group
        self.consumer = consumer
        self.streams = tuple(streams)
        self.ordered = tuple(ordered)
        self.block_seconds = block_seconds
        self.batch = batch
        self.claim_after_seconds = claim_after_seconds
        self._turn = turn
        self._held: float | None = None
        self._alone = False
        self._oldest_owed: dict[tuple[str, str], tuple[tuple[str, int], float]] = {}
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
        """The next entries, oldest duty first; empty when nothing came within the blocking time. Raises what the turn
        raises too."""
        try:
            self._look_whose_turn_it_is()
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

    def _look_whose_turn_it_is(self) -> None:
        """Whether it is ours, and whether the one before us has nothing left: neither a read that still waits for new
        entries, nor entries that it was given. Once it has nothing it gets nothing more."""
        if not self.ordered:
            return
        self._held = self._turn()
        if self._held is None or self._held < TURN_PAUSE * self.block_seconds:
            self._alone = False
        elif not self._alone:
            self._alone = not any([*self._owed_by_peers(stream)] for stream in self.ordered)

    def _pending(self) -> list[Entry]:
        if monotonic() < self._look_behind_at:
            return []
        found = self._read_group(dict.fromkeys(self.streams, "0"), block=None)
        if not found:
            self._look_behind_at = inf
        return self._with_deliveries(found)

    def _claimed(self) -> list[Entry]:
        """What peers owe that have acknowledged nothing of it for `claim_after_seconds`.

        Redis measures how long an entry has waited by its wall clock, which may be set back; so what is looked at is
        whether the oldest entry that a peer owes stays the same. A living peer acknowledges entry by entry, and none
        takes it so long; if one does, two handle the same entry, which the inbox allows to one of them.
        """
        if monotonic() < self._next_claim:
            return []
        owed = {(stream, peer): oldest for stream in self.streams for peer, oldest in self._owed_by_peers(stream)}
        self._oldest_owed = {key: self._seen_since(key, oldest) for key, oldest in owed.items()}
        found: list[tuple[str, str, Fields]] = []
        for (stream, peer), (_, since) in self._oldest_owed.items():
            ours = stream not in self.ordered or self._held is not None
            if ours and monotonic() - since >= self.claim_after_seconds:
                found += self._claim(stream, peer)
        if not found:
            self._next_claim = monotonic() + self.claim_after_seconds / 4
        return self._with_deliveries(_in_order(found))

    def _seen_since(self, key: tuple[str, str], oldest: tuple[str, int]) -> tuple[tuple[str, int], float]:
        known = self._oldest_owed.get(key)
        return known if known is not None and known[0] == oldest else (oldest, monotonic())

    def _owed_by_peers(self, stream: str) -> Iterable[tuple[str, tuple[str, int]]]:
        """The name of each peer that owes entries, with the id and the deliveries of the oldest."""
        summary: Any = self.client.xpending(stream, self.group)
        for peer in summary["consumers"]:
            name = peer["name"].decode()
            if name != self.consumer and (oldest := self._pending_of(stream, name, count=1)):
                yield name, (oldest[0]["message_id"].decode(), oldest[0]["times_delivered"])

    def _pending_of(self, stream: str, peer: str, *, count: int) -> Any:
        return self.client.xpending_range(stream, self.group, "-", "+", count, consumername=peer)

    def _claim(self, stream: str, peer: str) -> list[tuple[str, str, Fields]]:
        pending = self._pending_of(stream, peer, count=self.batch)
        if not pending:
            return []
        # Whoever claims first sets the time that they have waited to zero: another one then gets none of them.
        waited = min(entry["time_since_delivered"] for entry in pending)
        ids = [entry["message_id"] for entry in pending]
        entries: Any = self.client.xclaim(stream, self.group, self.consumer, waited, ids)
        return [(stream, entry_id.decode(), fields) for entry_id, fields in entries if fields]

    def _new(self) -> list[Entry]:
        streams, seconds = self.streams, self.block_seconds
        if self.ordered and not self._alone:
            streams = tuple(stream for stream in streams if stream not in self.ordered)
            seconds /= 1 if self._held is None else 8  # ours soon
        found = self._read_group(dict.fromkeys(streams, ">"), block=max(1, int(seconds * 1000)))
        return [Entry(stream, entry_id, fields, 1) for stream, entry_id, fields in found]

    def _read_group(self, ids: dict[Any, Any], block: int | None) -> list[tuple[str, str, Fields]]:
        reply: Any = self.client.xreadgroup(self.group, self.consumer, ids, count=self.batch, block=block)
        found = []
        for stream, entries in by_stream(reply):
            for entry_id, fields in entries:
                if fields:
                    found.append((stream, entry_id, fields))
                else:  # trimmed while pending: there is nothing left to handle
                    self.client.xack(stream, self.group, entry_id)
        return _in_order(found)

    def _with_deliveries(self, found: Sequence[tuple[str, str, Fields]]) -> list[Entry]:
        entries = []
        for stream, entry_id, fields in found:
            pending: Any = self.client.xpending_range(stream, self.group, entry_id, entry_id, 1)
            deliveries = pending[0]["times_delivered"] if pending else 1
            entries.append(Entry(stream, entry_id, fields, deliveries))
        return entries


def _in_order(found: Iterable[tuple[str, str, Fields]]) -> list[tuple[str, str, Fields]]:
    """By entry id. Of one millisecond the order across streams is not known: then it stays as it was."""
    return sorted(found, key=lambda item: entry_order(item[1]))
