"""The sandbox venue's process: reads snapshots and orders, lets the account act, publishes what came of it.

The streams are read from the ids in the ledger, without a consumer group, and merged by entry id. All snapshots of one
moment are one step, followed by one position update; so is each order and cancel. A step that cannot be understood or
applied is logged, counted and skipped. When Redis is away the venue keeps trying; nothing is lost or done twice.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from threading import Event
from typing import Any

import redis
from pydantic import ValidationError

from decisions.messages import (
    MARKET_SNAPSHOTS,
    TRADE_FILLS,
    TRADE_ORDERS,
    TRADE_POSITIONS,
    BadMessage,
    MarketSnapshot,
    Message,
    TradeCancel,
    TradeOrder,
    decode,
    parse,
)
from orchestrator_project.logs import get_logger
from orchestrator_project.streams import Fields, entry_order, newest_id, publish_many, read_after

from .ledger import Ledger, ReceivedOrder
from .venue import Bar, Quote, VenueAccount

BLOCK_SECONDS = 0.5
BATCH = 100
"""Entries a stream and read."""
HEARTBEAT_SECONDS = 10.0
"""Wall time without any other position update after which one goes out."""
_LONGEST_PAUSE = 5.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An entry of one of the two streams, understood."""

    stream: str
    entry_id: str
    message: Message
    bar: Bar | None

    @property
    def step(self) -> Any:
        """Equal for entries that belong together: the snapshots of one moment."""
        return self.message.timestamp if isinstance(self.message, MarketSnapshot) else self.entry_id


class VenueService:
    """Runs one account between the streams and its ledger.

    `client` blocks for `BLOCK_SECONDS` and must not repeat reads by itself; `wall_now` is the clock by which market
    orders expire and messages are dated.
    """

    def __init__(
        self, client: redis.Redis, ledger: Ledger, *, wall_now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._wall_now = wall_now
        self._account: VenueAccount = ledger.account()
        self._keep()
        self._waiting = ledger.unpublished()
        self._offsets = dict.fromkeys((MARKET_SNAPSHOTS, TRADE_ORDERS), "0-0") | ledger.offsets()
        self._orders: list[ReceivedOrder] = []
        self._bad_entries = 0
        self._next_heartbeat = 0.0

    def run(self, stop: Event) -> None:
        """Work until `stop` is set; what has been read is finished first."""
        pause = 0.1
        while not stop.is_set():
            try:
                self.work()
                pause = 0.1
            except redis.RedisError as error:
                log.warning("venue_redis_away", error=str(error), retry_in_seconds=pause)
                stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def work(self, block_seconds: float = BLOCK_SECONDS) -> int:
        """One round: say what is unsaid, wait for entries, apply them, publish. Returns how many entries came.

        Raises `redis.RedisError`; nothing is lost by calling again.
        """
        self.publish()
        entries = self._read(block_seconds)
        if entries:
            self._apply_all(entries)
        if time.monotonic() >= self._next_heartbeat and self._account.market_now is not None:
            self._commit(self._update(), {})
        self.publish()
        return len(entries)

    def publish(self) -> None:
        """Put on the streams, all at once, what the ledger holds for them."""
        if self._waiting:
            publish_many(self._client, [(stream, envelope) for _, stream, envelope in self._waiting])
            self._ledger.mark_published(self._waiting[-1][0])
            self._waiting = []

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self, block_seconds: float) -> list[tuple[str, str, Fields]]:
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

    def _understood(self, stream: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Incoming | None:
        try:
            envelope = decode(fields)
            bar = envelope.payload.get("bar")
            return Incoming(stream, entry_id, parse(stream, envelope), None if bar is None else Bar.model_validate(bar))
        except (BadMessage, ValidationError) as error:
            self._skip(stream, entry_id, error)
            return None

    def _skip(self, stream: str, entry_id: str, error: Exception) -> None:
        self._bad_entries += 1
        log.warning("venue_bad_entry", stream=stream, entry_id=entry_id, reason=_reason(error))

    # --- applying -------------------------------------------------------------------------------------------------

    def _apply_all(self, entries: list[tuple[str, str, Fields]]) -> None:
        understood = (self._understood(*entry) for entry in entries)
        steps = groupby((found for found in understood if found is not None), key=lambda found: found.step)
        messages = [message for _, step in steps for message in self._guarded(list(step))]
        self._commit(messages, {stream: entry_id for stream, entry_id, _ in entries})

    def _guarded(self, step: list[Incoming]) -> list[tuple[str, Message]]:
        """The step's effect. When it has none that can be said, it is taken back and its entries are tried singly."""
        received = len(self._orders)
        try:
            messages = self._applied(step)
            self._keep()
            return messages
        except (ArithmeticError, ValueError) as error:
            self._take_back()
            del self._orders[received:]
            if len(step) > 1:
                return [message for incoming in step for message in self._guarded([incoming])]
            self._skip(step[0].stream, step[0].entry_id, error)
            return []

    def _keep(self) -> None:
        """Note the account as it is now. Of the orders seen their number is enough, since they only grow."""
        self._state = self._account.to_state(with_seen=False)
        self._seen = len(self._account.state.seen)

    def _take_back(self) -> None:
        """The account as it was when it was last noted."""
        seen = self._account.state.seen
        while len(seen) > self._seen:
            seen.popitem()
        self._account = VenueAccount.from_state({**self._state, "seen": seen}, self._account.terms)

    def _applied(self, step: list[Incoming]) -> list[tuple[str, Message]]:
        reports = [report for incoming in step for report in self._one(incoming)]
        return [*((TRADE_FILLS, report) for report in reports), *self._update()]

    def _one(self, incoming: Incoming) -> Iterable[Message]:
        message = incoming.message
        if isinstance(message, MarketSnapshot):
            return self._account.on_bar(Quote.of(message), incoming.bar)
        if isinstance(message, TradeCancel):
            return self._account.on_cancel(message)
        if isinstance(message, TradeOrder):
            return self._take(message)
        raise BadMessage(f"{type(message).__name__} is not for the venue")

    def _take(self, order: TradeOrder) -> Iterable[Message]:
        state = self._account.state
        if order.client_order_id in state.seen:
            log.info("venue_repeated_order", client_order_id=order.client_order_id)
            return []
        quote, equity = state.quotes.get(order.symbol), self._account.equity
        reports = self._account.on_order(order, wall_now=self._wall_now())
        self._orders.append(
            ReceivedOrder(
                order=order,
                order_id=state.seen[order.client_order_id],
                market_at=quote.at if quote else None,
                price=quote.price if quote else None,
                equity=equity,
            )
        )
        return reports

    def _update(self) -> list[tuple[str, Message]]:
        """The position update of this moment; none before the first price, when there is no market time yet."""
        now = self._account.market_now
        return [] if now is None else [(TRADE_POSITIONS, self._account.position_update(now))]

    def _commit(self, messages: list[tuple[str, Message]], offsets: dict[str, str]) -> None:
        self._waiting += self._ledger.commit(
            state=self._state,
            orders=self._orders,
            messages=messages,
            offsets=offsets,
            bad_entries=self._bad_entries,
            wall_now=self._wall_now(),
        )
        self._offsets |= offsets
        self._orders, self._bad_entries = [], 0
        if any(stream == TRADE_POSITIONS for stream, _ in messages):
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS


def _due_order(entry: tuple[str, str, Fields]) -> tuple[int, bool, int]:
    stream, entry_id, _ = entry
    milliseconds, sequence = entry_order(entry_id)
    return milliseconds, stream == TRADE_ORDERS, sequence


def _reason(error: Exception) -> str:
    """The error in a line, without the input that a validation error would quote."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{fault['loc']}: {fault['msg']}" for fault in error.errors(include_input=False)[:3])
    return str(error)
