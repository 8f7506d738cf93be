"""What a run leaves behind for the checker, read without any of the product's code."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.chaos.traffic import Traffic

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """`prices` is by instrument and bar, `garbage` stream, entry id and life of what had to be refused."""

    ledger: Path
    database: str
    traffic: Traffic
    prices: Mapping[tuple[str, datetime], Decimal]
    garbage: Sequence[tuple[str, str, int]]
    venue_faults: frozenset[str]

    @cached_property
    def venue(self) -> "Ledger":
        return Ledger.read(self.ledger)

    @cached_property
    def record(self) -> "Record":
        return Record.read(self.database)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the venue's history: an order that arrived, a report about one, or a funding payment."""

    number: int
    kind: str
    payload: Mapping[str, Any]
    arrival: Mapping[str, Any]
    """Of an order: `market_at`, `price` and `equity` as it arrived."""

    def amount(self, name: str) -> Decimal:
        return Decimal(self.payload[name] or 0)

    @property
    def executed(self) -> bool:
        return self.kind == "fill" and self.payload["status"] in ("partially_filled", "filled")


@dataclass(frozen=True, slots=True)
class Ledger:
    """The venue's ledger: everything that was, in order, and what it holds now."""

    start_equity: Decimal
    state: Mapping[str, Any]
    events: Sequence[Event]
    repeats: Sequence[str]
    """Client order ids that arrived again."""

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            state, start = connection.execute("SELECT state, start_equity FROM account").fetchone()
            events = [*_orders(connection), *_reports(connection, "fill"), *_reports(connection, "funding")]
            named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'repeats'").fetchone()
            repeats = connection.execute("SELECT client_order_id FROM repeats").fetchall() if named else []
        return cls(
            Decimal(start),
            json.loads(state),
            sorted(events, key=lambda event: event.number),
            [row[0] for row in repeats],
        )

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def executions(self) -> list[Event]:
        return [event for event in self.events if event.executed]

    def contract(self, symbol: str) -> Decimal:
        """Base coin a contract."""
        return Decimal(self.state["quotes"][symbol]["instrument"]["ct_val"])

    @property
    def unrealized(self) -> Decimal:
        """Of everything held, at the newest mark prices, as the venue rounds it."""
        total = Decimal(0)
        for held in self.state["positions"].values():
            mark = Decimal(self.state["quotes"][held["symbol"]]["mark_price"])
            value = Decimal(held["size"]) * Decimal(held["ct_val"]) * mark
            sign = 1 if held["pos_side"] == "long" else -1
            total += (sign * (value - Decimal(held["cost"]))).quantize(Decimal("0.0001"))
        return total


def _orders(connection: sqlite3.Connection) -> list[Event]:
    rows = connection.execute("SELECT payload, order_id, market_at, price, equity FROM orders ORDER BY sequence")
    return [
        Event(_number(order_id), "order", json.loads(payload), {"market_at": at, "price": price, "equity": equity})
        for payload, order_id, at, price, equity in rows
    ]


def _reports(connection: sqlite3.Connection, kind: str) -> list[Event]:
    table = {"fill": "fills", "funding": "funding"}[kind]
    rows = connection.execute(f"SELECT {kind}_id, payload FROM {table} ORDER BY sequence")  # noqa: S608 - our own names
    return [Event(_number(name), kind, json.loads(payload), {}) for name, payload in rows]


def _number(name: str) -> int:
    """The venue numbers everything that it names in one row."""
    return int(name.rpartition("-")[2])


TABLES = (
    "decision_cycles", "orders", "fills", "funding_payments", "trades", "risk_halts", "risk_verdicts", "outbox",
    "inbox",
    "dead_letters", "account_history", "system_commands", "instrument_blocks", "chaos_audit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """The product's tables, whole; each in the order of its ids."""

    tables: Mapping[str, Sequence[Row]]

    @classmethod
    def read(cls, database: str) -> "Record":
        with psycopg.connect(database, row_factory=dict_row) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SET TIME ZONE 'UTC'")
            return cls({
                table: connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()  # noqa: S608 - our own names
                for table in TABLES
            })  # fmt: skip

    def __getitem__(self, table: str) -> Sequence[Row]:
        return self.tables[table]


AUDIT = """
CREATE TABLE chaos_audit (
    id bigserial PRIMARY KEY, kind text NOT NULL, row_id bigint NOT NULL, before text, after text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION chaos_note_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' OR OLD.status <> NEW.status THEN
        INSERT INTO chaos_audit (kind, row_id, before, after)
        VALUES ('order', NEW.id, CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD.status END, NEW.status);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION chaos_note_cycle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.state <> NEW.state OR OLD.round <> NEW.round THEN
        INSERT INTO chaos_audit (kind, row_id, before, after)
        VALUES ('cycle', NEW.id, OLD.round || ' ' || OLD.state, NEW.round || ' ' || NEW.state);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION chaos_note_halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos_audit (kind, row_id, before, after) VALUES ('halt', NEW.id, NULL, 'begun');
    ELSIF OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL THEN
        INSERT INTO chaos_audit (kind, row_id, before, after) VALUES ('halt', NEW.id, 'begun', 'ended');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_order AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION chaos_note_order();
CREATE TRIGGER chaos_cycle AFTER UPDATE ON decision_cycles FOR EACH ROW EXECUTE FUNCTION chaos_note_cycle();
CREATE TRIGGER chaos_halt AFTER INSERT OR UPDATE ON risk_halts FOR EACH ROW EXECUTE FUNCTION chaos_note_halt();
"""
"""Installed in the run's database, in nobody else's: every step of an order, a cycle and a halt as it was written, by
the server's clock, which no test turns. A step that is rolled back leaves nothing."""
