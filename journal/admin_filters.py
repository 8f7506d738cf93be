"""Filters whose choices cost little however long the table is."""

from typing import Any

from django.contrib.admin import AllValuesFieldListFilter
from django.db.models import BooleanField, DateField, Field, Model
from django.http import HttpRequest

from journal.known_values import known_values


class KnownValuesFilter(AllValuesFieldListFilter):
    """A filter by the values that are known without a look at all rows."""

    def __init__(
        self,
        field: "Field[Any, Any]",
        request: HttpRequest,
        params: Any,
        model: type[Model],
        *others: Any,
        **named: Any,
    ) -> None:
        super().__init__(field, request, params, model, *others, **named)
        choices: Any = [value for value in known_values(model, field) if value != ""]
        self.lookup_choices = choices


def takes_any_value(field: "Field[Any, Any]") -> bool:
    """Whether Django itself would offer all the values of a field that the table holds."""
    return not (field.remote_field or field.choices or isinstance(field, BooleanField | DateField))
