"""What of a table is exported: every column in JSON; in CSV those that hold one value, which a spreadsheet can show."""

from collections.abc import Iterator
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import JSONField, Model, QuerySet

from journal.export import Format, as_csv, as_json

CHUNK = 1000
"""Rows that are fetched from the server's cursor at a time."""
BATCH = 64 * 1024
"""Characters that are sent at a time."""
DOCUMENTS = (JSONField, ArrayField)


def columns(model: type[Model], wanted: Format) -> list[str]:
    """The names of the columns, in the table's order."""
    return [
        field.attname for field in model._meta.concrete_fields if wanted == "json" or not isinstance(field, DOCUMENTS)
    ]


def exported(rows: QuerySet[Any], wanted: Format) -> Iterator[str]:
    """The rows in their order, and what the query adds to them, in pieces."""
    names = [*columns(rows.model, wanted), *rows.query.annotations]
    found = rows.values(*names).iterator(chunk_size=CHUNK)
    return _pieces(as_json(found) if wanted == "json" else as_csv(names, found))


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """The same text in pieces that are worth a write."""
    held: list[str] = []
    length = 0
    for line in lines:
        held.append(line)
        length += len(line)
        if length >= BATCH:
            yield "".join(held)
            held, length = [], 0
    if held:
        yield "".join(held)
