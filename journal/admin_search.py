"""Search in a list of any length: each word has to be found, in one of the list's search fields.

A unique field is searched for the whole word, and a field of few values, one that the list can be filtered by, for the
values that contain it: both by an index. What people have attached to rows is searched whole, since there is little of
it; every other text in the newest rows alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any
from uuid import UUID

from django.contrib.admin.utils import get_fields_from_path, lookup_spawns_duplicates
from django.db.models import Field, Model, Q, QuerySet, UUIDField

from journal.known_values import known_values
from journal.presentation import label

NEWEST_SEARCHED = 20_000
"""Rows whose texts are searched."""
MOST_RELATED = 1000
"""Rows that are found by others. These are looked up first: joined to what else is searched, they would be looked for
row by row."""


@dataclass(frozen=True, slots=True)
class SearchFields:
    """The fields that a list is searched by, as paths, by how they are."""

    whole: Sequence[str]
    few_valued: Sequence[str]
    attached: Sequence[str]
    texts: Sequence[str]

    @property
    def help_text(self) -> str:
        """What is found, for a person."""
        said = {
            "part of {}": [*self.few_valued, *self.attached],
            "a whole {}": self.whole,
            f"part of {{}} in the newest {NEWEST_SEARCHED:,} rows": self.texts,
        }
        return "; ".join(text.format(_names(paths)) for text, paths in said.items() if paths)


def _names(paths: Sequence[str]) -> str:
    return " or ".join(label(path.rpartition("__")[2]) for path in paths)


def search_fields(model: type[Model], paths: Sequence[str], filters: Sequence[Any]) -> SearchFields:
    """The search fields of a list, which has these filters."""
    kinds: dict[str, list[str]] = {"whole": [], "few_valued": [], "attached": [], "texts": []}
    for path in paths:
        kinds[_kind(model, path, filters)].append(path)
    return SearchFields(**kinds)


def _kind(model: type[Model], path: str, filters: Sequence[Any]) -> str:
    field = _field(model, path)
    if lookup_spawns_duplicates(model._meta, path):
        return "attached"
    if field.unique or isinstance(field, UUIDField):
        return "whole"
    return "few_valued" if path in filters else "texts"


def _field(model: type[Model], path: str) -> "Field[Any, Any]":
    return get_fields_from_path(model, path)[-1]


def found(rows: "QuerySet[Any]", fields: SearchFields, words: str) -> "QuerySet[Any]":
    """The rows that have every word."""
    newest = _newest(rows.model) if words.strip() and fields.texts else Q()
    for word in words.split():
        rows = rows.filter(_has(rows.model, fields, word, newest))
    return rows


def _newest(model: type[Model]) -> Q:
    newest = model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0
    return Q(pk__gt=newest - NEWEST_SEARCHED)


def _has(model: type[Model], fields: SearchFields, word: str, newest: Q) -> Q:
    return _either(
        *_whole(model, fields.whole, word),
        *_few_valued(model, fields.few_valued, word),
        *_attached(model, fields.attached, word),
        newest & _either(*(Q(**{f"{path}__icontains": word}) for path in fields.texts)),
    )


def _either(*conditions: Q) -> Q:
    return reduce(Q.__or__, conditions, Q(pk__in=[]))


def _whole(model: type[Model], paths: Sequence[str], word: str) -> Iterator[Q]:
    for path in paths:
        field, (relation, _, name) = _field(model, path), path.rpartition("__")
        if isinstance(field, UUIDField) and not _is_uuid(word):
            continue
        if relation:
            related = field.model._default_manager.filter(**{name: word}).values_list("pk", flat=True)
            yield Q(**{f"{relation}__in": list(related[:MOST_RELATED])})
        else:
            yield Q(**{path: word})


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True


def _few_valued(model: type[Model], paths: Sequence[str], word: str) -> Iterator[Q]:
    for path in paths:
        values = [value for value in known_values(model, _field(model, path)) if word.lower() in str(value).lower()]
        if values:
            yield Q(**{f"{path}__in": values})


def _attached(model: type[Model], paths: Sequence[str], word: str) -> Iterator[Q]:
    for path in paths:
        having = model._default_manager.filter(**{f"{path}__icontains": word}).values_list("pk", flat=True)
        yield Q(pk__in=list(having.distinct()[:MOST_RELATED]))
