"""The channels: Telegram's Bot API and a webhook of one's own. Which are on is a matter of settings alone.

The addresses are the operator's own: a webhook on this machine or in a private network is as good as any.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings

from decisions.alerts_out.plan import RANK, Outgoing, Waiting
from decisions.alerts_out.sender import post
from decisions.models import AlertDelivery

Channel = AlertDelivery.Channel

LONGEST_TELEGRAM = 4000
"""Characters; Telegram itself takes 4096."""
SIGNATURE, STAMP = "X-Orchestrator-Signature", "X-Orchestrator-Timestamp"


def channels_on() -> list[AlertDelivery.Channel]:
    """The channels that are set."""
    found = []
    if settings.TELEGRAM_BOT_TOKEN and settings.TELEGRAM_CHAT_ID:
        found.append(Channel.TELEGRAM)
    if settings.ALERT_WEBHOOK_URL:
        found.append(Channel.WEBHOOK)
    return found


def channels_for(severity: str) -> list[AlertDelivery.Channel]:
    """Where an alert of the severity goes."""
    if RANK.get(severity, 0) > RANK[settings.ALERT_MIN_SEVERITY]:
        return []
    return channels_on()


def send(channel: str, message: Outgoing, now: datetime) -> None:
    """Have a channel tell it. Raises `sender.NotTaken`."""
    SENDERS[channel](message, now)


def _to_telegram(message: Outgoing, _: datetime) -> None:
    """As plain text: nothing in it is markup, whatever a model wrote."""
    mode = "SANDBOX" if settings.SANDBOX else "LIVE"
    text = f"[{message.severity}] {mode}: {message.title}\n{message.text}"[:LONGEST_TELEGRAM]
    body = {
        "chat_id": settings.TELEGRAM_CHAT_ID,
        "text": text,
        "disable_notification": message.severity == "INFO",
        "link_preview_options": {"is_disabled": True},
    }
    url = f"{settings.TELEGRAM_BASE_URL.rstrip('/')}/bot{settings.TELEGRAM_BOT_TOKEN}/sendMessage"
    post(url, json.dumps(body).encode())


def _to_webhook(message: Outgoing, now: datetime) -> None:
    body = json.dumps(document(message)).encode()
    post(settings.ALERT_WEBHOOK_URL, body, signed(body, settings.ALERT_WEBHOOK_KEY, now))


def document(message: Outgoing) -> dict[str, Any]:
    """What a webhook is posted. `id` is the same when it is posted again."""
    return {
        "id": message.alerts[0].msg_id,
        "mode": "sandbox" if settings.SANDBOX else "live",
        "severity": message.severity,
        "title": message.title,
        "text": message.text,
        "summary": message.is_summary,
        "count": len(message.alerts),
        "alerts": [_alert(each) for each in message.alerts[:100]],
    }


def _alert(each: Waiting) -> dict[str, str]:
    return {
        "id": each.msg_id,
        "severity": each.severity,
        "category": each.category,
        "title": each.title,
        "detail": each.detail,
        "action_taken": each.action_taken,
        "told_at": each.told_at.isoformat().replace("+00:00", "Z"),
    }


def signed(body: bytes, key: str, now: datetime) -> Mapping[str, str]:
    """The headers of a signed post: HMAC-SHA256 over `<Unix time>.<body>`, in hex. None without a key."""
    if not key:
        return {}
    stamp = str(int(now.timestamp()))
    digest = hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {STAMP: stamp, SIGNATURE: f"sha256={digest}"}


SENDERS: Mapping[str, Callable[[Outgoing, datetime], None]] = {
    Channel.TELEGRAM: _to_telegram,
    Channel.WEBHOOK: _to_webhook,
}
