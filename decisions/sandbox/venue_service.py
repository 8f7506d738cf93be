"""The sandbox venue's process: reads snapshots and orders, lets the account act, publishes what came of it.

All snapshots of one moment are one step, followed by one position update; so is each order and cancel. A step that
cannot be understood or applied is logged, counted and skipped. When Redis is away the venue keeps trying; nothing is
lost or done twice.

A fault plan makes orders go wrong in the account, and changes what is said of what happened. The ledger stays true.
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
    TRADE_FILLS,
    TRADE_POSITIONS,
    BadMessage,
    MarketSnapshot,
    Message,
    TradeCancel,
    TradeFill,
    TradeOrder,
    decode,
    parse,
)
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import get_logger
from orchestrator_project.monitoring.heartbeats import touch
from orchestrator_project.streams import Fields

from .ledger import Ledger, ReceivedOrder, RepeatedOrder
from .venue import NO_FAULTS, Bar, FaultPlan, Quote, VenueAccount
from .venue_announcer import Announcer
from .venue_reader import VenueReader

BLOCK_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
"""Wall time without any other position update after which one goes out."""
_LONGEST_PAUSE = 5.0
_LOOK_FOR_HELD_SECONDS = 0.05
"""The longest wait for entries while a message is held back."""

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
    orders expire and messages are dated; `faults` gives the plan of the moment.
    """

    def __init__(
        self,
        client: redis.Redis,
        ledger: Ledger,
        *,
        wall_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        faults: Callable[[], FaultPlan] = lambda: NO_FAULTS,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._wall_now = wall_now
        self._faults = faults
        self._account: VenueAccount = ledger.account()
        self._keep()
        self._announcer = Announcer(client, ledger.outbox, wall_now)
        self._reader = VenueReader(client, ledger.offsets())
        self._orders: list[ReceivedOrder] = []
        self._repeats: list[RepeatedOrder] = []
        self._replies: list[str] = []
        self._bad_entries = 0
        self._next_heartbeat = 0.0

    def run(self, stop: Event) -> None:
        """Work until `stop` is set; what has been read is finished first."""
        pause = 0.1
        while not stop.is_set():
            touch()
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
        self._account.faults = self._faults()
        self.publish()
        longest = _LOOK_FOR_HELD_SECONDS if self._announcer.holds_back else block_seconds
        entries = self._reader.read(min(block_seconds, longest))
        self._place_late_stops()
        if entries:
            self._apply_all(entries)
        if time.monotonic() >= self._next_heartbeat and self._account.market_now is not None:
            self._commit(self._update(), {}, heartbeat=True)
        self.publish()
        return len(entries)

    def publish(self) -> None:
        """Put on the streams what the ledger holds for them."""
        self._announcer.publish()

    def _place_late_stops(self) -> None:
        if self._account.state.late_stops and self._account.place_late_stops(self._wall_now()):
            self._keep()
            self._commit(self._update(), {})

    # --- understanding --------------------------------------------------------------------------------------------

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
        noted: tuple[list[Any], ...] = (self._orders, self._repeats, self._replies)
        lengths = [len(each) for each in noted]
        try:
            messages = self._applied(step)
            self._keep()
            return messages
        except (ArithmeticError, ValueError) as error:
            self._take_back()
            for each, length in zip(noted, lengths, strict=True):
                del each[length:]
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
        faults, written = self._account.faults, {**self._state, "seen": seen}
        self._account = VenueAccount.from_state(written, self._account.terms)
        self._account.faults = faults

    def _applied(self, step: list[Incoming]) -> list[tuple[str, Message]]:
        reports = [report for incoming in step for report in self._one(incoming)]
        self._account.place_late_stops(self._wall_now())  # from now on their time runs
        return [*((TRADE_FILLS, report) for report in reports), *self._update()]

    def _one(self, incoming: Incoming) -> Iterable[Message]:
        message = incoming.message
        if isinstance(message, MarketSnapshot):
            return self._account.on_bar(Quote.of(message), incoming.bar)
        if isinstance(message, TradeCancel):
            return self._account.on_cancel(message)
        if isinstance(message, TradeOrder):
            return self._take(message, incoming.entry_id)
        raise BadMessage(f"{type(message).__name__} is not for the venue")

    def _take(self, order: TradeOrder, entry_id: str) -> Iterable[Message]:
        state = self._account.state
        if order.client_order_id in state.seen:
            self._note_repeat(order.client_order_id, entry_id)
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
                entry_id=entry_id,
            )
        )
        own = (report for report in reports if isinstance(report, TradeFill))
        self._replies += [report.fill_id for report in own if report.client_order_id == order.client_order_id]
        return reports

    def _note_repeat(self, client_order_id: str, entry_id: str) -> None:
        """Write down an order that came again; not an entry that is read again, after its stream has lost its end."""
        log.info("venue_repeated_order", client_order_id=client_order_id)
        taken = {received.order.client_order_id: received.entry_id for received in self._orders}
        first = taken.get(client_order_id) or self._ledger.entry_of(client_order_id)
        if entry_id != first:
            self._repeats.append(RepeatedOrder(client_order_id, entry_id, self._wall_now()))

    def _update(self) -> list[tuple[str, Message]]:
        """The position update of this moment; none before the first price, when there is no market time yet."""
        now = self._account.market_now
        return [] if now is None else [(TRADE_POSITIONS, self._account.position_update(now))]

    def _commit(self, messages: list[tuple[str, Message]], offsets: dict[str, str], *, heartbeat: bool = False) -> None:
        reached("before_ledger_commit")
        replies = frozenset(self._replies)
        said = self._announcer.what_to_say(self._account, messages, replies=replies, heartbeat=heartbeat)
        waiting = self._ledger.commit(
            state=self._state,
            orders=self._orders,
            messages=messages,
            offsets=offsets,
            bad_entries=self._bad_entries,
            wall_now=self._wall_now(),
            repeats=self._repeats,
            announcements=said,
        )
        reached("ledger_committed")
        self._announcer.take(waiting, held=said is not None)
        self._reader.read_up_to(offsets)
        self._orders, self._repeats, self._replies, self._bad_entries = [], [], [], 0
        if any(stream == TRADE_POSITIONS for stream, _ in messages):
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS


def _reason(error: Exception) -> str:
    """The error in a line, without the input that a validation error would quote."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{fault['loc']}: {fault['msg']}" for fault in error.errors(include_input=False)[:3])
    return str(error)
