"""What grows is kept in bounds: processed stream entries, the inbox, old snapshots, and what was told and heard.

The record of decisions, orders, fills and trades stays whole.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Max, Model

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
        SELECT id, as_of FROM account_history
        WHERE as_of < (SELECT max(as_of) FROM account_history) - %s::interval
        ORDER BY as_of, id LIMIT %s
    ) AS oldest
    WHERE id <> (SELECT min(id) FROM account_history) AND EXISTS (
        SELECT FROM account_history AS later
        WHERE (later.as_of, later.id) > (oldest.as_of, oldest.id)
        AND later.as_of < date_trunc('day', oldest.as_of, 'UTC') + interval '1 day'
    )
)
"""
"""Of an old day its last report stays; of all the first one, which the books begin with. Only the oldest reports are
looked at: a batch holds thirteen years of those that stay."""


def tidy() -> None:
    """One round."""
    now = wall_now()
    oldest_kept = now - timedelta(seconds=settings.STREAM_RETENTION_SECONDS)
    _trim_streams(now, oldest_kept)
    # A message can come again as long as its entry is on the stream.
    _delete_some(InboxMessage, "received_at", oldest_kept - timedelta(days=1))
    newest = MarketRecord.objects.aggregate(newest=Max("at"))["newest"]
    if newest is not None:
        _delete_some(MarketRecord, "at", newest - timedelta(days=settings.SNAPSHOT_RETENTION_DAYS))
    _delete_some(OutboxMessage, "sent_at", now - KEPT)
    _delete_some(MarketAlertRecord, "received_at", now - KEPT)
    _delete_some(ResearchCache, "created_at", now - KEPT)
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
    unanswered = Order.objects.filter(ended_at__isnull=True, status__in=[OrderStatus.SENT, OrderStatus.UNKNOWN])
    entry_ids = [*unanswered.exclude(entry_id="").values_list("entry_id", flat=True), f"{milliseconds}-0"]
    streams.trim_before(client, TRADE_ORDERS, min(entry_ids, key=streams.entry_order))


def _milliseconds(at: datetime) -> int:
    """A moment as entry ids count it."""
    return int(at.timestamp() * 1000)


def _delete_some(model: type[Model], stamp: str, oldest_kept: datetime) -> None:
    """The oldest rows, a batch at a time, so that no transaction gets long. The stamp has an index: where nothing is
    old, nothing is read."""
    rows = model._default_manager
    old = rows.filter(**{f"{stamp}__lt": oldest_kept}).order_by(stamp)
    rows.filter(pk__in=list(old.values_list("pk", flat=True)[:BATCH])).delete()
