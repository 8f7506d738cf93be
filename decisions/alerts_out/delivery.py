"""One round of deliveries: claim what waits for a channel, send it, note what became of it.

At least once: a process that dies between sending and noting has it sent again, under the same id, when its claim is
over. A channel that refuses rests, each time twice as long or for as long as it asks; no transaction is open while
anything is sent.
"""

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet

from decisions.alerts_out import channels, plan
from decisions.alerts_out.plan import Outgoing, Plan, Waiting
from decisions.alerts_out.sender import NotTaken
from decisions.clock import wall_now, younger
from decisions.models import AlertDelivery, OutboxMessage

State = AlertDelivery.State

CLAIM = timedelta(minutes=5)
"""Longer than a round takes: ten messages of ten seconds each."""
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=15)
MOST_AT_ONCE = 500

log = logging.getLogger(__name__)


def deliver() -> int:
    """Send by every channel what can go out now. Returns how many messages were taken."""
    return sum(_deliver_by(channel) for channel in channels.channels_on())


def _deliver_by(channel: str) -> int:
    claimed = _claim(channel, wall_now())
    if not claimed:
        return 0
    now = wall_now()
    planned = plan.plan(
        [_waiting(each) for each in claimed],
        told_of_late=_told_of_late(channel, now),
        sent_in_the_last_minute=_sent_in_the_last_minute(channel, now),
        now=now,
    )
    _put_away(planned)
    taken, refusal = _send_all(channel, planned.messages)
    _wait_again(claimed, refusal)
    return taken


def _send_all(channel: str, messages: Sequence[Outgoing]) -> tuple[int, NotTaken | None]:
    """Send in turn, up to the first that is not taken: how many were, and the refusal."""
    for taken, message in enumerate(messages):
        try:
            channels.send(channel, message, wall_now())
        except NotTaken as refusal:
            log.warning("%s did not take an alert: %s", channel, refusal)
            return taken, refusal
        told = len(message.deliveries) if message.is_summary else 1
        _end(message.deliveries[:told], State.SENT)
        _end(message.deliveries[told:], State.COUNTED)
    return len(messages), None


# --- rows -------------------------------------------------------------------------------------------------------------


def _pending(channel: str) -> QuerySet[AlertDelivery]:
    return AlertDelivery.objects.filter(channel=channel, ended_at__isnull=True)


@transaction.atomic
def _claim(channel: str, now: datetime) -> list[AlertDelivery]:
    """What waits for the channel, ours until the claim is over; nothing while the channel rests, or somebody is at it.
    A time further ahead than any pause is from before the clock was set back."""
    pending = _pending(channel)
    if pending.filter(next_try_at__gt=now, next_try_at__lte=now + LONGEST_PAUSE).exists():
        return []
    free = pending.select_for_update(skip_locked=True, of=("self",)).select_related("alert")
    claimed = list(free.order_by("id")[:MOST_AT_ONCE])
    ids = [each.pk for each in claimed]
    AlertDelivery.objects.filter(pk__in=ids).update(next_try_at=now + CLAIM, attempts=F("attempts") + 1)
    return claimed


def _waiting(delivery: AlertDelivery) -> Waiting:
    alert = delivery.alert
    return Waiting(
        delivery=delivery.pk,
        msg_id=str(alert.msg_id),
        severity=alert.severity,
        category=alert.category,
        about=_about(alert),
        title=alert.payload["title"],
        detail=alert.payload["detail"],
        action_taken=alert.payload["action_taken"],
        told_at=alert.created_at,
    )


def _about(alert: OutboxMessage) -> str:
    """What tells alerts of one category apart: what they say that they are about, else their title."""
    return json.dumps(alert.metadata, sort_keys=True) if alert.metadata else str(alert.payload["title"])


def _ended_lately(channel: str, age: timedelta, now: datetime) -> QuerySet[AlertDelivery]:
    return AlertDelivery.objects.filter(younger("ended_at", age, now), channel=channel, state=State.SENT)


def _told_of_late(channel: str, now: datetime) -> list[plan.Key]:
    lately = _ended_lately(channel, plan.AGAIN_AFTER, now).select_related("alert")
    return [(each.alert.category, _about(each.alert)) for each in lately]


def _sent_in_the_last_minute(channel: str, now: datetime) -> int:
    """Messages, by the moments at which their rows ended: those of a summary ended together."""
    return _ended_lately(channel, timedelta(minutes=1), now).values("ended_at").distinct().count()


def _put_away(planned: Plan) -> None:
    _end(planned.counted, State.COUNTED)
    _end(planned.too_old, State.GIVEN_UP)
    if planned.too_old:
        log.warning("%d alerts were given up: too old to be told now", len(planned.too_old))


def _end(deliveries: Sequence[int], state: AlertDelivery.State) -> None:
    if deliveries:
        AlertDelivery.objects.filter(pk__in=deliveries, ended_at__isnull=True).update(
            state=state, ended_at=wall_now(), next_try_at=None, **({"error": ""} if state == State.SENT else {})
        )


def _wait_again(claimed: Sequence[AlertDelivery], refusal: NotTaken | None) -> None:
    """What is left of the claim waits: for room, or for the channel to recover."""
    left = AlertDelivery.objects.filter(Q(pk__in=[each.pk for each in claimed]), ended_at__isnull=True)
    if refusal is None:
        left.update(next_try_at=None)
        return
    asked = timedelta(seconds=refusal.pause or 0)
    grown = FIRST_PAUSE * 2 ** min(max(each.attempts for each in claimed), 10)
    left.update(next_try_at=wall_now() + min(max(asked, grown), LONGEST_PAUSE), error=str(refusal))
