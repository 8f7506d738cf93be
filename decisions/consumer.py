"""The stream consumer: every incoming message takes effect once, or is kept among the dead letters.

A message's effect and its inbox row are one transaction; the stream entry is acknowledged after the commit. A message
that cannot be read or applied is kept whole with the reason, told, and acknowledged: it stops nothing. One that fails
for a passing reason (the database is away, the fill before it is still on its way) stays unacknowledged and is tried
again, at most five times. An execution that is booked already, which position updates and redeliveries bring, is
acknowledged without a word.

Of several consumers one at a time reads the account's streams (see `decisions.turn`); all read the others.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import redis
from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    close_old_connections,
    connection,
    transaction,
)

from decisions import commands, fills, funding, market_data, outbox, positions
from decisions.clock import wall_now
from decisions.command_signature import check_signature
from decisions.messages import (
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    SYSTEM_ALERTS,
    TRADE_FILLS,
    TRADE_POSITIONS,
    BadMessage,
    Envelope,
    FundingPayment,
    MarketAlert,
    MarketSnapshot,
    Message,
    PositionUpdate,
    SystemAlert,
    SystemCommand,
    TradeFill,
    decode,
    parse,
)
from decisions.models import DeadLetter, InboxMessage
from decisions.refusals import DATABASE_AWAY, AlreadyBooked, CannotBook, OutOfTurn
from orchestrator_project.crash_points import reached
from orchestrator_project.group_reader import Entry, GroupReader
from orchestrator_project.logs import about, also
from orchestrator_project.monitoring.heartbeats import touch

GROUP = "orchestrator"
STREAMS = (MARKET_SNAPSHOTS, MARKET_ALERTS, TRADE_FILLS, TRADE_POSITIONS, SYSTEM_ALERTS)
ACCOUNT_STREAMS = (TRADE_FILLS, TRADE_POSITIONS)
"""What comes on them takes effect in the order in which the venue said it."""
MOST_DELIVERIES = 5
ALERT_INTERVAL = timedelta(minutes=1)
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds before a look at servers that are away: from look to look twice as long."""
OUT_OF_TURN_PAUSE = 1.0
"""Seconds after which an execution that came too early is tried again."""
PASSING = (*DATABASE_AWAY, redis.RedisError)
"""Operational errors are Postgres's restarts, terminated sessions, deadlocks and serialization failures; an internal
one is a transaction that turned read-only, on a server that is being switched over. Redis's LOADING, READONLY and OOM
are its own kinds or plain response errors."""

HANDLERS: Mapping[type[Message], Callable[[Any], None]] = {
    MarketSnapshot: market_data.record_snapshot,
    MarketAlert: market_data.record_alert,
    FundingPayment: funding.book,
    SystemCommand: commands.carry_out,
}

log = logging.getLogger(__name__)


def handle(entry: Entry) -> None:
    """Give one entry its effect, or bury it. Raises only what may pass: `OutOfTurn`, and what is in `PASSING`."""
    try:
        envelope = decode(entry.fields)
        message = parse(entry.stream, envelope)
        if isinstance(message, SystemAlert):
            return  # ours or somebody else's: for people, not for us
        if isinstance(message, SystemCommand) and settings.COMMAND_HMAC_KEY:
            remembered = timedelta(seconds=settings.STREAM_RETENTION_SECONDS)
            check_signature(envelope, key=settings.COMMAND_HMAC_KEY, now=wall_now(), remembered=remembered)
        _apply(entry, envelope, message)
    except OutOfTurn as error:
        if entry.deliveries < MOST_DELIVERIES:
            raise
        bury(entry, str(error))
    except AlreadyBooked as error:
        log.info("%s %s is booked already: %s", entry.stream, entry.entry_id, error)
    except (BadMessage, CannotBook) as error:
        bury(entry, str(error))


@transaction.atomic
def _apply(entry: Entry, envelope: Envelope, message: Message) -> None:
    first = _remember(entry, envelope)
    if first is None:
        _carry_out(entry, envelope, message)
    elif first != (entry.stream, entry.entry_id):
        raise CannotBook(f"message {envelope.msg_id} came before, as entry {first[1]} of {first[0]}")
    # else this very entry took effect before, and only its acknowledgement was lost
    reached("effect_written")


def _carry_out(entry: Entry, envelope: Envelope, message: Message) -> None:
    if isinstance(message, PositionUpdate):
        positions.take_in(message, told_at=envelope.timestamp)
    elif isinstance(message, TradeFill):
        also(order=message.client_order_id, fill=message.fill_id, instrument=message.symbol)
        fills.book_fill(message, last_try=entry.deliveries >= MOST_DELIVERIES)
    else:
        HANDLERS[type(message)](message)


def _remember(entry: Entry, envelope: Envelope) -> tuple[str, str] | None:
    """Note the message in the inbox. Returns None if it is new, else the stream and entry it came in first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inbox (msg_id, stream, entry_id, type, received_at) VALUES (%s, %s, %s, %s, now())"
            " ON CONFLICT (msg_id) DO NOTHING",
            [envelope.msg_id, entry.stream, entry.entry_id, envelope.type],
        )
        if cursor.rowcount:
            return None
        cursor.execute("SELECT stream, entry_id FROM inbox WHERE msg_id = %s", [envelope.msg_id])
        stream, entry_id = cursor.fetchone()
    return stream, entry_id


def bury(entry: Entry, reason: str) -> None:
    """Keep an entry that can have no effect, whole, and tell of it, at most once a minute for each stream."""
    reason = _storable(reason)
    with transaction.atomic():
        _, created = DeadLetter.objects.get_or_create(
            stream=entry.stream,
            entry_id=entry.entry_id,
            defaults={
                "reason": reason[:5000],
                "raw": _raw(entry),
                "deliveries": entry.deliveries,
            },
        )
        if created:
            log.warning("dead letter %s %s: %s", entry.stream, entry.entry_id, reason[:500])
            outbox.record_alert_at_most(
                ALERT_INTERVAL,
                "WARN",
                f"dead_letter:{entry.stream}",
                title=f"A message on {entry.stream} could not be used",
                detail=f"{entry.entry_id}: {reason[:1000]}",
                action_taken="Kept among the dead letters",
            )


def _storable(text: str) -> str:
    """Text as Postgres takes it: what it has no place for is escaped."""
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def _raw(entry: Entry) -> str:
    fields = {
        key.decode(errors="backslashreplace"): value.decode(errors="backslashreplace")
        for key, value in entry.fields.items()
    }
    return json.dumps(fields)


class Consumer:
    """The loop around `handle`: reads, handles, acknowledges, and waits out what passes."""

    def __init__(self, reader: GroupReader) -> None:
        self.reader = reader
        self.stopping = threading.Event()
        self.pause = SHORTEST_PAUSE

    def stop(self) -> None:
        """End after the entry at hand."""
        self.stopping.set()

    def run(self) -> None:
        """Consume until stopped."""
        while not self.stopping.is_set():
            touch()
            try:
                self.step()
            except PASSING as error:
                log.warning("waiting: %s", error)
                self._wait_until_servers_answer()
                self.reader.look_behind()

    def step(self) -> int:
        """Read one batch and handle it. Returns how many entries."""
        entries = self.reader.read()
        for place, entry in enumerate(entries):
            if self.stopping.is_set():
                break
            try:
                with about(stream=entry.stream, entry=entry.entry_id):
                    done = self._take_turn(entry)
            except PASSING:
                self.reader.take_back(entries[place + 1 :])
                raise
            if not done:
                continue
            self.reader.acknowledge(entry)
            self.pause = SHORTEST_PAUSE
            reached("entry_acknowledged")
        return len(entries)

    def _take_turn(self, entry: Entry) -> bool:
        """Handle an entry; false when it came too early and is to be tried again. Raises what is in `PASSING`."""
        try:
            self._handle_one(entry)
        except OutOfTurn as error:
            log.info("%s %s comes too early: %s", entry.stream, entry.entry_id, error)
            self.reader.look_behind(after_seconds=OUT_OF_TURN_PAUSE)
            return False
        return True

    def _handle_one(self, entry: Entry) -> None:
        close_old_connections()
        reached("entry_read")
        try:
            handle(entry)
            reached("effect_committed")
        except OutOfTurn:
            raise
        except PASSING as error:
            if entry.deliveries < MOST_DELIVERIES:
                raise
            bury(entry, f"failed {entry.deliveries} times: {type(error).__name__}: {error}")
        except Exception as error:
            # The outermost edge: whatever a message brings to light, it is kept and the next one is handled.
            log.exception("handling %s %s", entry.stream, entry.entry_id)
            bury(entry, f"{type(error).__name__}: {error}")

    def _wait_until_servers_answer(self) -> None:
        """So that an outage does not use up the tries of what waits.

        Servers that answer may still refuse what the entry at hand writes, as on a full disk: until an entry has been
        acknowledged the pauses stay as long as they have become.
        """
        began = monotonic()
        while not self.stopping.wait(self.pause):
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
            try:
                _write_to_servers(self.reader.client)
                break
            except (DatabaseError, InterfaceError, redis.RedisError):
                continue
        log.info("the servers answer again after %.1f s", monotonic() - began)


def _write_to_servers(client: redis.Redis) -> None:
    """Write as the next entry will, and take it back. Raises what a server raises that is away or takes no writes."""
    close_old_connections()
    with transaction.atomic():
        InboxMessage.objects.create(msg_id=f"look {uuid4()}", stream="", entry_id="", type="")
        transaction.set_rollback(True)
    client.ping()
