"""What the venue's ledger holds for the streams: messages to be published now, and messages that are held back.

Both are written in the ledger's transaction and deleted after they were published. Published again, because the process
died in between, they carry the same ids.
"""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from decisions.messages import Envelope, Message, wrap

from .venue import Announcement

SOURCE = "sandbox-venue"

Unpublished = tuple[int, str, Envelope]
"""Sequence in the outbox, stream, envelope."""

OUTBOX_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    envelope TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS held (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    envelope TEXT NOT NULL,
    since TEXT NOT NULL,
    seconds REAL NOT NULL,
    overtaken INTEGER NOT NULL,
    verbatim INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is held back for so many seconds of wall time, or until it was overtaken by a later fill. One that
    is `verbatim` is a duplicate under the id of the original: the publisher must not recognise it."""

    sequence: int
    stream: str
    envelope: Envelope
    since: datetime
    seconds: float
    overtaken: bool
    verbatim: bool

    def is_due(self, wall_now: datetime) -> bool:
        """Whether its time has come, or the clock was set back behind its beginning."""
        return not self.since <= wall_now < self.since + timedelta(seconds=self.seconds)


class Outbox:
    """The two tables. Who writes to them holds the ledger's transaction, or needs none."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._published = 0

    def announce(self, announcement: Announcement, account_id: str, wall_now: datetime) -> list[Unpublished]:
        """Write a message down as it is to be said. Returns what can be said at once."""
        waiting = []
        if announcement.held_seconds > 0:
            envelope = self._append_held(announcement, None, account_id, wall_now)
        else:
            waiting = [self._append_waiting(announcement.stream, announcement.message, account_id, wall_now)]
            envelope = waiting[0][2]
        if announcement.again != "no":
            original = envelope if announcement.again == "same_id" else None
            self._append_held(announcement, original, account_id, wall_now)
        return waiting

    def _append_waiting(self, stream: str, message: Message, account_id: str, wall_now: datetime) -> Unpublished:
        cursor = self._connection.execute("INSERT INTO outbox (stream, envelope) VALUES (?, '')", (stream,))
        sequence = cursor.lastrowid or 0
        envelope = _wrapped(message, f"{account_id}/{sequence}", wall_now)
        self._connection.execute(
            "UPDATE outbox SET envelope = ? WHERE sequence = ?", (envelope.model_dump_json(), sequence)
        )
        return sequence, stream, envelope

    def _append_held(
        self, announcement: Announcement, original: Envelope | None, account_id: str, wall_now: datetime
    ) -> Envelope:
        """Hold a message back, under an id of its own unless it repeats an `original` to the letter."""
        cursor = self._connection.execute(
            "INSERT INTO held (stream, envelope, since, seconds, overtaken, verbatim) VALUES (?, '', ?, ?, ?, ?)",
            (
                announcement.stream,
                wall_now.isoformat(),
                announcement.held_seconds,
                announcement.overtaken,
                original is not None,
            ),
        )
        envelope = original or _wrapped(announcement.message, f"{account_id}/held/{cursor.lastrowid}", wall_now)
        self._connection.execute(
            "UPDATE held SET envelope = ? WHERE sequence = ?", (envelope.model_dump_json(), cursor.lastrowid)
        )
        return envelope

    def unpublished(self) -> list[Unpublished]:
        """What an earlier process may have left unpublished, oldest first."""
        rows = self._connection.execute(
            "SELECT sequence, stream, envelope FROM outbox WHERE sequence > ? ORDER BY sequence", (self._published,)
        )
        return [(sequence, stream, Envelope.model_validate_json(text)) for sequence, stream, text in rows]

    def mark_published(self, up_to: int) -> None:
        """The messages up to this sequence are on the streams. Noted for good with the next commit."""
        self._published = up_to

    def held(self) -> list[Held]:
        """What is held back, oldest first."""
        rows = self._connection.execute(
            "SELECT sequence, stream, envelope, since, seconds, overtaken, verbatim FROM held ORDER BY sequence"
        )
        return [
            Held(
                sequence,
                stream,
                Envelope.model_validate_json(envelope),
                datetime.fromisoformat(since),
                seconds,
                bool(overtaken),
                bool(verbatim),
            )
            for sequence, stream, envelope, since, seconds, overtaken, verbatim in rows
        ]

    def release(self, held: Iterable[Held]) -> None:
        """These have been said."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM held WHERE sequence = ?", [(each.sequence,) for each in held])

    def messages_said(self) -> int:
        """How many messages the account has ever given out to be published, those held back included."""
        row = self._connection.execute("SELECT coalesce(sum(seq), 0) FROM sqlite_sequence").fetchone()
        return int(row[0])

    def forget_published(self) -> None:
        """Delete what is on the streams."""
        self._connection.execute("DELETE FROM outbox WHERE sequence <= ?", (self._published,))


def _wrapped(message: Message, identity: str, wall_now: datetime) -> Envelope:
    msg_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{SOURCE}/{identity}"))
    return wrap(message, msg_id=msg_id, source=SOURCE, now=wall_now)
