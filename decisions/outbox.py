"""Messages of ours: written in the transaction of the fact they tell of, published after its commit.

What could not be published then goes out with the sweeper. The `msg_id` stays the same, so nothing goes out twice.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

import redis
from django.db import transaction
from django.db.models import F

from decisions.alerts_out import channels
from decisions.clock import wall_now, younger
from decisions.messages import (
    OPUS_DECISIONS,
    SYSTEM_ALERTS,
    TRADE_ORDERS,
    TYPE_NAMES,
    TYPES,
    Message,
    OpusDecision,
    SystemAlert,
    TradeCancel,
    wrap,
)
from decisions.models import AlertDelivery, OutboxMessage
from orchestrator_project import streams
from orchestrator_project.crash_points import reached

SOURCE = "orchestrator"
REMINDER = timedelta(hours=1)
"""How often a person is told again of what goes on, where nothing shorter is called for."""

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def redis_client() -> redis.Redis:
    """This process's client; redis-py renews its connections after a fork."""
    return streams.connect()


def record(
    stream: str, message: Message, *, category: str = "", severity: str = "", metadata: Mapping[str, Any] | None = None
) -> OutboxMessage:
    """Keep a message for `stream` and publish it once the current transaction has committed. Returns its row."""
    kept = OutboxMessage.objects.create(
        stream=stream,
        type=TYPE_NAMES[type(message)],
        category=category,
        severity=severity,
        payload=message.model_dump(mode="json", by_alias=True),
        metadata=dict(metadata or {}),
    )
    transaction.on_commit(lambda: _publish_now(kept))
    return kept


def record_alert(
    severity: Literal["INFO", "WARN", "CRITICAL"],
    category: str,
    title: str,
    detail: str,
    action_taken: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Tell a person. `category` groups alerts of one kind; `metadata` goes along.

    Where alerts go out to other channels too, what is to go out is written with the alert.
    """
    alert = SystemAlert(
        severity=severity, category=category, title=title[:200], detail=detail, action_taken=action_taken
    )
    with transaction.atomic(savepoint=False):
        kept = record(SYSTEM_ALERTS, alert, category=category, severity=severity, metadata=metadata)
        if on := channels.channels_for(severity):
            AlertDelivery.objects.bulk_create(AlertDelivery(alert=kept, channel=channel) for channel in on)


def record_alert_at_most(
    every: timedelta,
    severity: Literal["INFO", "WARN", "CRITICAL"],
    category: str,
    *,
    title: str,
    detail: str,
    action_taken: str,
    about: Mapping[str, str] | None = None,
) -> None:
    """The same, unless one of the category was recorded within the last `every` of wall time; with `about` given, one
    about the same. It goes along as the metadata. What is not told is counted, and the next one that is says how often.
    """
    same = OutboxMessage.objects.filter(category=category)
    if about is not None:
        same = same.filter(metadata=dict(about))
    if (told := same.filter(younger("created_at", every, wall_now())).order_by("-created_at").first()) is not None:
        _count(told)
        return
    if (last := same.order_by("-created_at").first()) is not None and last.repeated:
        detail = f"{detail} ({last.repeated} more of it since {last.created_at:%Y-%m-%d %H:%M} UTC)"
    record_alert(severity, category, title, detail, action_taken, metadata=about)


def _count(told: OutboxMessage) -> None:
    """Once more the same. Whoever else counts at this moment is not waited for: it is a count for people."""
    with transaction.atomic(savepoint=False):
        if OutboxMessage.objects.select_for_update(skip_locked=True).filter(pk=told.pk).values("pk").first():
            OutboxMessage.objects.filter(pk=told.pk).update(repeated=F("repeated") + 1)


def record_decision(decision: OpusDecision, metadata: Mapping[str, Any]) -> None:
    """Tell those who watch what the big model decided."""
    record(OPUS_DECISIONS, decision, metadata=metadata)


def record_cancel(cancel: TradeCancel) -> None:
    """Ask the venue to withdraw a resting order."""
    record(TRADE_ORDERS, cancel, category="trade_cancel")


def relay(limit: int = 500) -> int:
    """Publish what is still unpublished, oldest first. Returns how many."""
    with transaction.atomic():
        waiting = list(
            OutboxMessage.objects.select_for_update(skip_locked=True)
            .filter(sent_at__isnull=True)
            .order_by("id")[:limit]
        )
        _publish(waiting)
    return len(waiting)


def _publish_now(kept: OutboxMessage) -> None:
    try:
        _publish([kept])
    except redis.RedisError as error:
        log.warning("a %s waits for the sweeper: %s", kept.type, error)


def _publish(waiting: Sequence[OutboxMessage]) -> None:
    if not waiting:
        return
    envelopes = [
        (
            message.stream,
            wrap(
                TYPES[message.type].model_validate(message.payload),
                msg_id=str(message.msg_id),
                source=SOURCE,
                now=message.created_at,
                metadata=message.metadata,
            ),
        )
        for message in waiting
    ]
    reached("before_publish")
    streams.publish_many(redis_client(), envelopes)
    reached("published")
    OutboxMessage.objects.filter(pk__in=[message.pk for message in waiting]).update(sent_at=wall_now())
