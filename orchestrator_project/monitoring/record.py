"""What the record says of how things stand: a fixed number of short queries, however long it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from decisions import clock, context, exposure
from decisions.budget import Budget
from decisions.messages import PositionUpdate
from decisions.models import LIVE
from journal.models import Promotion
from orchestrator_project.monitoring.state import Age, RecordState
from risk import gate
from risk.account_status import AccountStatus, account_status

PATIENCE_MILLISECONDS = 3000
"""What a look may take of Postgres."""

_NUMBERS = """
SELECT
    (SELECT count(*) FROM decision_cycles WHERE finished_at IS NULL),
    (SELECT extract(epoch FROM now() - min(created_at)) FROM decision_cycles WHERE finished_at IS NULL),
    (SELECT extract(epoch FROM now() - min(updated_at)) FROM decision_cycles WHERE finished_at IS NULL
      AND state NOT IN ('confirming', 'journaling') AND (claimed_until IS NULL OR claimed_until < now())),
    (SELECT extract(epoch FROM now() - max(finished_at)) FROM decision_cycles),
    (SELECT count(*) FROM outbox WHERE sent_at IS NULL),
    (SELECT extract(epoch FROM now() - min(created_at)) FROM outbox WHERE sent_at IS NULL),
    (SELECT count(*) FROM fills WHERE waiting IS NOT NULL),
    (SELECT count(*) FROM discrepancies WHERE resolved_at IS NULL),
    (SELECT count(*) FROM instrument_blocks WHERE ended_at IS NULL),
    (SELECT extract(epoch FROM now() - max(received_at)) FROM position_reports),
    (SELECT max(as_of) FROM position_reports),
    pg_database_size(current_database())
"""
_SNAPSHOTS = """
SELECT symbol, newest.at, extract(epoch FROM now() - newest.received_at)
FROM unnest(%s::text[]) AS symbol LEFT JOIN LATERAL (
    SELECT at, received_at FROM market_snapshots WHERE market_snapshots.symbol = symbol.symbol ORDER BY at DESC LIMIT 1
) AS newest ON true
"""
_LIVE_ORDERS = "SELECT status, count(*) FROM orders WHERE status = ANY(%s) AND ended_at IS NULL GROUP BY status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """The account as the figures show it."""

    status: AccountStatus
    reported: PositionUpdate | None
    positions: Sequence[gate.Position]
    exposure_usd: Decimal
    live_orders: Mapping[str, int]
    budget: Budget
    playbook_version: int | None


def be_brief() -> None:
    """Let no statement of this transaction wait for long. Raises what the database raises."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PATIENCE_MILLISECONDS)])


@transaction.atomic
def missing_migrations() -> list[str]:
    """What the program has and the database lacks. Raises what the database raises."""
    be_brief()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations')")
        if cursor.fetchone() == (None,):
            return sorted(_migrations())
        cursor.execute("SELECT app || '.' || name FROM django_migrations")
        return sorted(_migrations() - {name for (name,) in cursor.fetchall()})


@cache
def _migrations() -> frozenset[str]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return frozenset(f"{app}.{name}" for app, name in loader.disk_migrations)


@transaction.atomic
def read_record() -> RecordState:
    """The state now. Raises what the database raises."""
    be_brief()
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS)
        (
            open_cycles, oldest_open, unclaimed, last_cycle, outbox, outbox_age, waiting, discrepancies, blocks,
            positions_age, positions_at, size,
        ) = cursor.fetchone()  # fmt: skip
        cursor.execute(_SNAPSHOTS, [list(settings.INSTRUMENTS)])
        snapshots = {symbol: Age(at, _age(seconds)) for symbol, at, seconds in cursor.fetchall()}
    return RecordState(
        now=clock.now_for_record(),
        open_cycles=open_cycles,
        oldest_open_seconds=_age(oldest_open) or 0.0,
        unclaimed_seconds=_age(unclaimed) or 0.0,
        last_cycle_seconds=_age(last_cycle),
        outbox_waiting=outbox,
        outbox_seconds=_age(outbox_age) or 0.0,
        waiting_fills=waiting,
        discrepancies=discrepancies,
        blocked_instruments=blocks,
        positions=Age(positions_at, _age(positions_age)),
        database_bytes=size,
        snapshots=snapshots,
    )


def _age(seconds: Any) -> float | None:
    return None if seconds is None else float(seconds)


@transaction.atomic
def read_trading(now: datetime) -> Trading:
    """The account at market time `now`. Raises what the database raises."""
    be_brief()
    reported = context.position_report()
    positions = exposure.positions(reported.positions if reported else [])
    pending = exposure.live_orders()
    openings = (order.notional_usd for order in pending if not order.reduce_only)
    return Trading(
        status=account_status(now),
        reported=reported,
        positions=positions,
        exposure_usd=sum((position.notional_usd for position in positions), Decimal(0)) + sum(openings, Decimal(0)),
        live_orders=_live_orders(),
        budget=context.budget(now),
        playbook_version=Promotion.objects.order_by("-id").values_list("playbook__version", flat=True).first(),
    )


def _live_orders() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_ORDERS, [list(map(str, LIVE))])
        return {str(status): 0 for status in LIVE} | dict(cursor.fetchall())
