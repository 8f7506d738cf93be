"""Alerts that go out once for what they are about, however many processes see the reason for them."""

from collections.abc import Mapping
from typing import Literal

from django.db import connection, transaction

from decisions import outbox
from decisions.models import OutboxMessage

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


@transaction.atomic
def record_once(
    severity: Literal["INFO", "WARN", "CRITICAL"],
    category: str,
    about: Mapping[str, str],
    *,
    title: str,
    detail: str,
    action_taken: str,
) -> bool:
    """Tell a person, unless an alert of the category about the same has been recorded. Returns whether it was now.

    `about` goes along as the message's metadata. Two who see the reason at the same moment wait for each other.
    """
    told = OutboxMessage.objects.filter(category=category, metadata=dict(about))
    if told.exists():
        return False
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [f"alert {category} {sorted(about.items())}"])
    if told.exists():
        return False
    outbox.record_alert(severity, category, title, detail, action_taken, metadata=about)
    return True
