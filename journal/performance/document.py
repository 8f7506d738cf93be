"""Figures as a JSON document."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

from journal.performance.values import ZERO

PLACES = Decimal("0.00000001")
ROOMY = Context(prec=60)


def as_document(value: object) -> Any:
    """A summary, or any part of one, as JSON: numbers are texts of at most eight decimals, times end in Z.

    Raises `TypeError` for what has no place in a document.
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Decimal):
        return format((value.quantize(PLACES, context=ROOMY) or ZERO).normalize(ROOMY), "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(name): as_document(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_document(item) for item in value]
    if is_dataclass(value):
        return {field.name: as_document(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a document")
