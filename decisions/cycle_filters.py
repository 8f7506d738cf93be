"""The filter of cycles by their state."""

from typing import Any

from django.contrib.admin import ChoicesFieldListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from decisions.models import State


class StateFilter(ChoicesFieldListFilter):
    """All states but the last are of the few cycles that are under way: these have an index of their own."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.lookup_val and State.DONE not in self.lookup_val:
            queryset = queryset.filter(finished_at__isnull=True)
        return super().queryset(request, queryset)
