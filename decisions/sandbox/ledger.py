"""The sandbox venue's ledger: a SQLite file that holds the account's history, its state and what is still to be said.

Everything that one read of the streams causes is one transaction: the orders and fills, the account's new state, the
messages to publish and the ids up to which the streams have been read. So an entry takes effect exactly once, whenever
the process dies. Messages are published after the commit and deleted with the next one; published a second time they
carry the same ids, which the publisher recognises. What a fault plan holds back waits in a table of its own.

Orders, fills, funding and repeats can only be appended: triggers refuse anything else.
"""

import fcntl
import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Self

from decisions.messages import FundingPayment, Message, TradeFill, TradeOrder

from .ledger_outbox import OUTBOX_SCHEMA, Outbox, Unpublished
from .venue import Announcement, VenueAccount, VenueTerms

_HISTORY = ("orders", "fills", "funding", "repeats")
_SCHEMA = (
    OUTBOX_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    account_id TEXT NOT NULL,
    start_equity TEXT NOT NULL,
    state TEXT NOT NULL,
    bad_entries INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS offsets (stream TEXT PRIMARY KEY, entry_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    sequence INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL UNIQUE,
    market_at TEXT,
    price TEXT,
    equity TEXT NOT NULL,
    payload TEXT NOT NULL,
    entry_id TEXT
);
CREATE TABLE IF NOT EXISTS fills (
    sequence INTEGER PRIMARY KEY, fill_id TEXT NOT NULL UNIQUE, payload TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS funding (
    sequence INTEGER PRIMARY KEY, funding_id TEXT NOT NULL UNIQUE, payload TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS repeats (
    sequence INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL, entry_id TEXT NOT NULL, received_at TEXT NOT NULL
);
"""
    + "".join(
        f"CREATE TRIGGER IF NOT EXISTS {table}_keeps_on_{change} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} can only be appended'); END;\n"
        for table in _HISTORY
        for change in ("UPDATE", "DELETE")
    )
)


class LedgerError(Exception):
    """The ledger cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """An order as it arrived: `price` and `market_at` of its instrument's newest quote (None where there was none) and
    the account's `equity` in USD at that moment; `entry_id` is that of the stream entry which brought it."""

    order: TradeOrder
    order_id: str
    market_at: datetime | None
    price: Decimal | None
    equity: Decimal
    entry_id: str | None = None


@dataclass(frozen=True, slots=True)
class RepeatedOrder:
    """An order that came once more, in another entry of the stream, at this wall time. It had no effect."""

    client_order_id: str
    entry_id: str
    received_at: datetime


class Ledger:
    """The open ledger of a running venue. One process writes to it at a time; a second is refused."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes], terms: VenueTerms) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._terms = terms
        self.outbox = Outbox(connection)

    @classmethod
    def open(cls, path: Path, *, start_equity: Decimal, terms: VenueTerms, account_id: str | None = None) -> Self:
        """Open the ledger, or begin one with `start_equity` USD. Raises `LedgerError`.

        A new account gets a random `account_id` unless it is given one: identifiers of an earlier account, whose ledger
        is gone, must not come again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        try:
            connection = _connected(path)
        except LedgerError:
            lock.close()
            raise
        if connection.execute("SELECT 1 FROM account").fetchone() is None:
            account = VenueAccount.opened(account_id=account_id or uuid.uuid4().hex[:8], start_equity=start_equity)
            connection.execute(
                "INSERT INTO account (one, account_id, start_equity, state) VALUES (1, ?, ?, ?)",
                (account.state.account_id, str(start_equity), _without_seen(account.to_state())),
            )
        return cls(path, connection, lock, terms)

    def close(self) -> None:
        self.outbox.forget_published()
        self._connection.close()
        self._lock.close()

    @property
    def start_equity(self) -> Decimal:
        return Decimal(self._connection.execute("SELECT start_equity FROM account").fetchone()[0])

    @property
    def bad_entries(self) -> int:
        return int(self._connection.execute("SELECT bad_entries FROM account").fetchone()[0])

    def account(self) -> VenueAccount:
        """The account as of the last commit."""
        return account_in(self._connection, self._terms)

    def offsets(self) -> dict[str, str]:
        """For each stream the id of the last entry whose effects are here."""
        return dict(self._connection.execute("SELECT stream, entry_id FROM offsets").fetchall())

    def commit(
        self,
        *,
        state: dict[str, Any],
        orders: Iterable[ReceivedOrder],
        messages: Sequence[tuple[str, Message]],
        offsets: Mapping[str, str],
        bad_entries: int,
        wall_now: datetime,
        repeats: Iterable[RepeatedOrder] = (),
        announcements: Iterable[Announcement] | None = None,
    ) -> list[Unpublished]:
        """Write down everything that some entries caused, `messages` as pairs of stream and message, in one go.

        `announcements` are what is said of the messages, which is all of them unless something else is given. Returns
        the messages as they are to be published; those held back wait in the outbox.
        """
        if announcements is None:
            announcements = (Announcement(stream, message) for stream, message in messages)
        connection = self._connection
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            self.outbox.forget_published()
            for received in orders:
                self._append_order(received)
            for repeated in repeats:
                self._append_repeat(repeated)
            for _, message in messages:
                self._append_history(message)
            waiting = [
                entry for each in announcements for entry in self.outbox.announce(each, state["account_id"], wall_now)
            ]
            connection.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?)", offsets.items())
            connection.execute(
                "UPDATE account SET state = ?, bad_entries = bad_entries + ?", (_without_seen(state), bad_entries)
            )
        return waiting

    def entry_of(self, client_order_id: str) -> str | None:
        """The id of the stream entry that brought an order; None where it is not known."""
        row = self._connection.execute(
            "SELECT entry_id FROM orders WHERE client_order_id = ?", (client_order_id,)
        ).fetchone()
        return row[0] if row else None

    def _append_order(self, received: ReceivedOrder) -> None:
        self._connection.execute(
            "INSERT INTO orders (client_order_id, order_id, market_at, price, equity, payload, entry_id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                received.order.client_order_id,
                received.order_id,
                received.market_at.isoformat() if received.market_at else None,
                str(received.price) if received.price is not None else None,
                str(received.equity),
                received.order.model_dump_json(),
                received.entry_id,
            ),
        )

    def _append_repeat(self, repeated: RepeatedOrder) -> None:
        self._connection.execute(
            "INSERT INTO repeats (client_order_id, entry_id, received_at) VALUES (?, ?, ?)",
            (repeated.client_order_id, repeated.entry_id, repeated.received_at.isoformat()),
        )

    def _append_history(self, message: Message) -> None:
        if isinstance(message, TradeFill):
            self._connection.execute(
                "INSERT INTO fills (fill_id, payload) VALUES (?, ?)", (message.fill_id, message.model_dump_json())
            )
        elif isinstance(message, FundingPayment):
            self._connection.execute(
                "INSERT INTO funding (funding_id, payload) VALUES (?, ?)",
                (message.funding_id, message.model_dump_json()),
            )


def _locked(path: Path) -> IO[bytes]:
    """The writer's lock; it goes with the process, however that ends."""
    lock = path.with_suffix(".lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise LedgerError(f"{path} is in use by another venue process: stop that one first") from None
    return lock


def _connected(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=5, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        _add_entry_ids(connection)
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} cannot be used as the venue's ledger: {error}") from error
    return connection


def _add_entry_ids(connection: sqlite3.Connection) -> None:
    """A ledger begun before the orders' entries were noted gets the column."""
    if not any(column[1] == "entry_id" for column in connection.execute("PRAGMA table_info(orders)")):
        connection.execute("ALTER TABLE orders ADD COLUMN entry_id TEXT")


def account_in(connection: sqlite3.Connection, terms: VenueTerms) -> VenueAccount:
    """The account that a ledger holds. Raises `LedgerError` when it holds none."""
    row = connection.execute("SELECT state FROM account").fetchone()
    if row is None:
        raise LedgerError("the venue's ledger holds no account yet")
    written = json.loads(row[0])
    written["seen"] = dict(connection.execute("SELECT client_order_id, order_id FROM orders ORDER BY sequence"))
    return VenueAccount.from_state(written, terms)


def _without_seen(state: dict[str, Any]) -> str:
    """The state as text, less the orders seen: those stand in their own table."""
    return json.dumps({key: value for key, value in state.items() if key != "seen"}, separators=(",", ":"))
