"""What grows is kept in bounds: processed stream entries, the inbox, old snapshots, and what was told and heard.

The record of decisions, orders, fills and trades stays whole.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Max, QuerySet

from decisions.clock import wall_now
from decisions.consumer import GROUP, STREAMS
from decisions.messages import SYSTEM_ALERTS, TRADE_FILLS, TRADE_ORDERS, TRADE_POSITIONS
from decisions.models import (
    InboxMessage,
    MarketAlertRecord,
    MarketRecord,
    Order,
    OrderStatus,
    OutboxMessage,
    ResearchCache,
)
from decisions.outbox import redis_client
from orchestrator_project import streams

BATCH = 5000
KEPT = timedelta(days=90)
"""A quarter of what we told, heard and looked up, for a person who looks back; nothing decides by more than a day.
The account's history is whole for as long, and has a report a day from then on."""
POSITIONS_KEPT = timedelta(minutes=10)
"""How long position updates stay on their stream once processed. Each tells of a whole day's fills, and only the newest
tells anything new."""

_THIN_OUT = """
DELETE FROM account_history WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (
            PARTITION BY (as_of AT TIME ZONE 'UTC')::date ORDER BY as_of DESC, id DESC
        ) AS place
        FROM account_history WHERE as_of < (SELECT max(as_of) FROM account_history) - %s::interval
    ) AS old
    WHERE place > 1 AND id <> (SELECT min(id) FROM account_history)
    ORDER BY id LIMIT %s
)
"""
"""Of an old day its last report stays; of all the first one, which the books begin with."""


def tidy() -> None:
    """One round."""
    now = wall_now()
    oldest_kept = now - timedelta(seconds=settings.STREAM_RETENTION_SECONDS)
    _trim_streams(now, oldest_kept)
    # A message can come again as long as its entry is on the stream.
    _delete_some(InboxMessage.objects.filter(received_at__lt=oldest_kept - timedelta(days=1)))
    newest = MarketRecord.objects.aggregate(newest=Max("at"))["newest"]
    if newest is not None:
        _delete_some(MarketRecord.objects.filter(at__lt=newest - timedelta(days=settings.SNAPSHOT_RETENTION_DAYS)))
    _delete_some(OutboxMessage.objects.filter(created_at__lt=now - KEPT, sent_at__isnull=False))
    _delete_some(MarketAlertRecord.objects.filter(received_at__lt=now - KEPT))
    _delete_some(ResearchCache.objects.filter(created_at__lt=now - KEPT))
    with connection.cursor() as cursor:
        cursor.execute(_THIN_OUT, [f"{KEPT.days} days", BATCH])


def _trim_streams(now: datetime, oldest_kept: datetime) -> None:
    client, milliseconds = redis_client(), _milliseconds(oldest_kept)
    for stream in STREAMS:
        streams.forget_idle_consumers(client, stream, GROUP, idle_seconds=settings.STREAM_RETENTION_SECONDS)
    for stream in (TRADE_FILLS, SYSTEM_ALERTS):
        streams.trim(client, stream, GROUP, older_than_milliseconds=milliseconds)
    oldest_positions = max(oldest_kept, now - POSITIONS_KEPT)
    streams.trim(client, TRADE_POSITIONS, GROUP, older_than_milliseconds=_milliseconds(oldest_positions))
    unanswered = Order.objects.filter(status__in=[OrderStatus.SENT, OrderStatus.UNKNOWN]).exclude(entry_id="")
    entry_ids = [*unanswered.values_list("entry_id", flat=True), f"{milliseconds}-0"]
    streams.trim_before(client, TRADE_ORDERS, min(entry_ids, key=streams.entry_order))


def _milliseconds(at: datetime) -> int:
    """A moment as entry ids count it."""
    return int(at.timestamp() * 1000)


def _delete_some(old: QuerySet[Any]) -> None:
    """A batch at a time, so that no transaction gets long."""
    ids = list(old.order_by("id").values_list("id", flat=True)[:BATCH])
    old.model._default_manager.filter(id__in=ids).delete()
