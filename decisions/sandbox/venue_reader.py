"""What the sandbox venue reads: snapshots and orders, in the order in which they came.

The streams are read from the ids in the ledger, without a consumer group, and merged by entry id.
"""

from collections.abc import Mapping

import redis

from decisions.messages import MARKET_SNAPSHOTS, TRADE_ORDERS
from orchestrator_project.logs import get_logger
from orchestrator_project.streams import Fields, entry_order, newest_id, read_after

BATCH = 100
"""Entries a stream and read."""

log = get_logger(__name__)


class VenueReader:
    """Reads on after the ids given. Raises `redis.RedisError`."""

    def __init__(self, client: redis.Redis, offsets: Mapping[str, str]) -> None:
        self._client = client
        self._offsets = {MARKET_SNAPSHOTS: "0-0", TRADE_ORDERS: "0-0", **offsets}

    def read_up_to(self, offsets: Mapping[str, str]) -> None:
        """The entries up to these ids have taken effect."""
        self._offsets |= offsets

    def read(self, block_seconds: float) -> list[tuple[str, str, Fields]]:
        """The next entries of both streams as (stream, id, fields), in the order in which they were added."""
        batches = read_after(self._client, self._offsets, count=BATCH, block_seconds=block_seconds)
        if not batches:
            self._follow_recreated_streams()
            return []
        merged = [(name, entry_id, fields) for name, found in batches for entry_id, fields in found]
        # Past the end of a full batch the other stream may hold entries that come later than its unread ones.
        ends = [entry_order(found[-1][0]) for _, found in batches if len(found) == BATCH]
        due = [entry for entry in merged if not ends or entry_order(entry[1]) <= min(ends)]
        # Of one millisecond the order across streams is not known: prices first.
        return sorted(due, key=_due_order)

    def _follow_recreated_streams(self) -> None:
        """Begin a stream again whose newest id is older than what was read: Redis was emptied, its clock set back."""
        for stream, offset in self._offsets.items():
            newest = newest_id(self._client, stream)
            if newest is not None and entry_order(newest) < entry_order(offset):
                log.warning("venue_stream_recreated", stream=stream, read_up_to=offset)
                self._offsets[stream] = "0-0"


def _due_order(entry: tuple[str, str, Fields]) -> tuple[int, bool, int]:
    stream, entry_id, _ = entry
    milliseconds, sequence = entry_order(entry_id)
    return milliseconds, stream == TRADE_ORDERS, sequence
