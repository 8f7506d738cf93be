"""What grows is kept in bounds: processed stream entries, the inbox, old snapshots."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max

from decisions.clock import wall_now
from decisions.consumer import GROUP, STREAMS
from decisions.messages import SYSTEM_ALERTS, TRADE_FILLS, TRADE_ORDERS, TRADE_POSITIONS
from decisions.models import InboxMessage, MarketRecord, Order, OrderStatus
from decisions.outbox import redis_client
from orchestrator_project import streams

BATCH = 5000


def tidy() -> None:
    """One round."""
    now = wall_now()
    oldest_kept = now - timedelta(seconds=settings.STREAM_RETENTION_SECONDS)
    _trim_streams(oldest_kept)
    # A message can come again as long as its entry is on the stream.
    _delete_some(InboxMessage, received_at__lt=oldest_kept - timedelta(days=1))
    newest = MarketRecord.objects.aggregate(newest=Max("at"))["newest"]
    if newest is not None:
        _delete_some(MarketRecord, at__lt=newest - timedelta(days=settings.SNAPSHOT_RETENTION_DAYS))


def _trim_streams(oldest_kept: datetime) -> None:
    client, milliseconds = redis_client(), int(oldest_kept.timestamp() * 1000)
    for stream in STREAMS:
        streams.forget_idle_consumers(client, stream, GROUP, idle_seconds=settings.STREAM_RETENTION_SECONDS)
    for stream in (TRADE_FILLS, TRADE_POSITIONS, SYSTEM_ALERTS):
        streams.trim(client, stream, GROUP, older_than_milliseconds=milliseconds)
    unanswered = Order.objects.filter(status__in=[OrderStatus.SENT, OrderStatus.UNKNOWN]).exclude(entry_id="")
    entry_ids = [*unanswered.values_list("entry_id", flat=True), f"{milliseconds}-0"]
    streams.trim_before(client, TRADE_ORDERS, min(entry_ids, key=streams.entry_order))


def _delete_some(model: type[InboxMessage] | type[MarketRecord], **old: datetime) -> None:
    """A batch at a time, so that no transaction gets long."""
    ids = list(model.objects.filter(**old).order_by("id").values_list("id", flat=True)[:BATCH])
    model.objects.filter(id__in=ids).delete()
