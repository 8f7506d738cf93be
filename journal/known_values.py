"""The values that a column holds, without a look at all rows.

Where an index begins with the column it is gone through value by value, in one step each, however many rows have it
("loose index scan"); else the newest rows tell.
"""

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.models import F, Field, Index, Model, OrderBy, UniqueConstraint

MOST_VALUES = 200
NEWEST = 10_000
"""Rows that are looked at where no index helps."""

_STEP_BY_STEP = """
WITH RECURSIVE known AS (
    (SELECT {column} AS value FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1)
    UNION ALL
    (SELECT (SELECT {column} FROM {table} WHERE {column} > known.value ORDER BY {column} LIMIT 1)
     FROM known WHERE known.value IS NOT NULL)
)
SELECT value FROM known WHERE value IS NOT NULL LIMIT %s
"""
_OF_THE_NEWEST = """
SELECT DISTINCT value FROM (SELECT {column} AS value FROM {table} ORDER BY {key} DESC LIMIT {newest}) AS newest
WHERE value IS NOT NULL ORDER BY value LIMIT %s
"""


def is_led_by(model: type[Model], name: str) -> bool:
    """Whether an index of all rows begins with the field."""
    field = model._meta.get_field(name)
    if getattr(field, "unique", False) or getattr(field, "db_index", False):
        return True
    whole = [
        each for each in (*model._meta.indexes, *model._meta.constraints) if getattr(each, "condition", None) is None
    ]
    return any(_leading(each) == name for each in whole if isinstance(each, Index | UniqueConstraint))


def _leading(index: Index | UniqueConstraint) -> str | None:
    if index.fields:
        return str(index.fields[0]).lstrip("-")
    first: Any = index.expressions[0] if index.expressions else None
    if isinstance(first, OrderBy):
        first = first.expression
    return getattr(first, "name", None) if isinstance(first, F) else None


def known_values(model: type[Model], field: "Field[Any, Any]") -> list[Any]:
    """The values of a field in their order, at most `MOST_VALUES`, without null."""
    statement = _STEP_BY_STEP if is_led_by(model, field.name) else _OF_THE_NEWEST
    quote: Callable[[Any], str] = connection.ops.quote_name
    names = {"column": quote(field.column), "table": quote(model._meta.db_table), "key": quote(model._meta.pk.column)}
    with connection.cursor() as cursor:
        cursor.execute(statement.format(**names, newest=NEWEST), [MOST_VALUES])
        return [value for (value,) in cursor.fetchall()]
