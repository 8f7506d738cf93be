"""A valid row of any table of ours, filled by the types of its columns, and somebody to read it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.contrib.auth.models import User
from django.db.models import Field, Model
from django.test import Client

from decisions.models import AlertDelivery, DecisionCycle, Order
from journal.models import Trade
from reflection.models import PlaybookSuggestion, Reflection

START = datetime(2022, 11, 1, tzinfo=UTC)
OURS = [
    model for name in ("journal", "decisions", "risk", "reflection") for model in apps.get_app_config(name).get_models()
]
WORDS = {
    "side": "buy", "pos_side": "long", "order_type": "market", "action": "OPEN_LONG", "name": "SCREENER_ENABLED",
    "kind": "CPI", "currency": "USD", "direction": "LONG", "tag": "news",
}  # fmt: skip
"""Words of closed sets that the columns do not name themselves."""
A_REVIEW: dict[str, Any] = {
    "status": "waiting", "cause": "", "considered_in": None, "log": None,
    **dict.fromkeys(("period_start", "finished_at", "claim", "claimed_until")),
}  # fmt: skip
ENDINGS: dict[type[Model], dict[str, Any]] = {
    AlertDelivery: {"ended_at": None},
    DecisionCycle: {"state": "done", "outcome": "traded"},
    Order: {"ended_at": None},
    Trade: {"status": "closed", "open_size": 0},
    **dict.fromkeys((Reflection, PlaybookSuggestion), A_REVIEW),
}


def row(model: type[Model], number: int = 0, **values: Any) -> Model:
    """Write one row; `number` keeps it apart from others. A cycle has ended, a trade is closed."""
    given = {**ENDINGS.get(model, {}), **values}
    filled = {
        field.name: _value(field, number)
        for field in model._meta.concrete_fields
        if not (
            field.name in given or field.primary_key or field.has_default() or getattr(field, "auto_now_add", False)
        )
    }
    return model._default_manager.create(**filled, **given)


def _value(field: "Field[Any, Any]", number: int) -> Any:
    if field.is_relation:
        return row(field.related_model, number)
    if field.choices:
        return field.choices[0][0]
    kind = field.get_internal_type()
    word = None if field.unique else WORDS.get(field.name)
    makers: dict[str, Callable[[], Any]] = {
        "CharField": lambda: (word or f"{field.name} {number}")[: field.max_length],
        "TextField": lambda: f"The {field.name} of row {number}.",
        "DateTimeField": lambda: START + timedelta(minutes=number),
        "DateField": lambda: START.date(),
        "DecimalField": lambda: Decimal(1),
        "UUIDField": uuid4,
        "JSONField": dict,
        "BooleanField": lambda: False,
        "ArrayField": lambda: [number],
    }
    return makers.get(kind, lambda: number + 1)()


def logged_in(name: str, *, is_superuser: bool = False) -> tuple[Client, User]:
    """A member of staff, at the admin's door already."""
    user = User.objects.create_user(name, is_staff=True, is_superuser=is_superuser)
    client = Client()
    client.force_login(user)
    return client, user
