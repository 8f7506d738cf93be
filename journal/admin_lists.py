"""Lists of tables of any length: what a page costs does not grow with its table.

Rows are counted up to as many as the pages reach; beyond that the list says about how many there are, by Postgres's own
estimate, and is narrowed by its dates. Of a page the keys are found first and then the rows, so that what is passed
over is not read whole. Filters offer the values that an index or the newest rows know. A long table is sorted by its
times alone: any other order would read all of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import takewhile
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import InvalidPage, Paginator
from django.db import connection
from django.db.models import DateTimeField, Model, QuerySet
from django.http import HttpRequest
from unfold.views import ChangeList

from journal.date_choices import Period, date_choices
from journal.known_values import is_led_by

MOST_COUNTED = 50_000
"""Rows that are counted, and that the pages of a list reach."""
LONG_TABLE = 200_000
"""Rows from which on a table is sorted by its times alone."""

PARTS = ("year", "month", "day")

_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass"


@contextmanager
def planned_for_their_values() -> Iterator[None]:
    """Have each statement planned for its own parameters. A plan that was prepared for all values of a filter looks at
    every row for the seldom ones."""
    connection.ensure_connection()
    session = connection.connection
    prepared_from, session.prepare_threshold = session.prepare_threshold, None
    try:
        yield
    finally:
        session.prepare_threshold = prepared_from


def estimated_rows(model: type[Model]) -> int:
    """About how many rows a table has, as Postgres last saw it."""
    with connection.cursor() as cursor:
        cursor.execute(_ESTIMATE, [model._meta.db_table])
        return int(cursor.fetchone()[0])


class Pages(Paginator):
    """Pages as far as rows are counted. `about` is how many there are by estimate, 0 if there is none."""

    template_name = "journal/pages.html"

    def __init__(self, listed: "QuerySet[Any]", per_page: int, *, about: int = 0) -> None:
        super().__init__(listed, per_page)
        self.listed, self.about = listed, about

    @cached_property
    def _counted(self) -> int:
        """How many there are, or one more than are counted."""
        if self.about > MOST_COUNTED:
            return MOST_COUNTED + 1
        return self.listed.order_by().values("pk")[: MOST_COUNTED + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._counted, MOST_COUNTED)

    @property
    def in_words(self) -> str:
        """How many rows there are, for a person."""
        if self._counted <= MOST_COUNTED:
            return f"{self._counted:,}"
        return f"about {self.about:,}" if self.about > MOST_COUNTED else f"more than {MOST_COUNTED:,}"

    @property
    def reach(self) -> str | None:
        """How many rows the pages reach, where there are more."""
        return f"{MOST_COUNTED:,}" if self._counted > MOST_COUNTED else None

    def rows(self, number: int) -> list[Any]:
        """The rows of a page. Raises `InvalidPage` for one that there is not."""
        first = (self.validate_number(number) - 1) * self.per_page
        keys = list(self.listed.values_list("pk", flat=True)[first : first + self.per_page])
        return list(self.listed.filter(pk__in=keys))


class RecordList(ChangeList):
    """A list that reads about as many rows as it shows."""

    def __init__(self, request: HttpRequest, model: type[Model], *options: Any, **named: Any) -> None:
        self.estimated_rows = estimated_rows(model)
        with planned_for_their_values():
            super().__init__(request, model, *options, **named)
            self.dates = self._dates()
        self.sortable_by = [column for column in self.list_display if self.get_ordering_field(column)]

    def get_ordering_field(self, field_name: Any) -> Any:
        name = super().get_ordering_field(field_name)
        return name if name and self._is_sortable(str(name)) else None

    def _is_sortable(self, name: str) -> bool:
        field = next((each for each in self.opts.concrete_fields if each.name == name), None)
        if self.estimated_rows < LONG_TABLE or field is None:
            return True
        return isinstance(field, DateTimeField) and is_led_by(self.model, name)

    def get_results(self, _: HttpRequest) -> None:
        """Count, and read the page."""
        narrowed = self.get_filters_params() or self.query
        pages = Pages(self.queryset, self.list_per_page, about=0 if narrowed else self.estimated_rows)
        self.paginator, self.result_count, self.multi_page = pages, pages.count, pages.num_pages > 1
        self.can_show_all = self.show_full_result_count = False
        self.show_all, self.show_admin_actions = False, True
        # Where these two differ the theme tells the count as that of all results.
        self.full_result_count = None if narrowed and not pages.reach else self.result_count
        self.result_list = self._page(pages)

    def _page(self, pages: Pages) -> list[Any]:
        try:
            return pages.rows(self.page_num)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error

    # --- its dates --------------------------------------------------------------------------------------------------

    def _dates(self) -> dict[str, Any] | None:
        """The links that narrow the list by its dates, as the theme's template takes them."""
        span = self._span()
        if span is None:
            return None
        offered = date_choices(*span, self._period())
        back = offered.back and {"title": offered.back.title, "link": self._narrowed(offered.back.period)}
        choices = [
            {"title": each.title, "link": self._narrowed(each.period) if each.leads else None}
            for each in offered.choices
        ]
        return {"back": back, "choices": choices}

    def _span(self) -> tuple[date, date] | None:
        """The dates of the table's first and last row. Where the dates have no index the rows are as old as their keys
        say."""
        name = self.date_hierarchy
        if not name:
            return None
        dated = self.model._default_manager.filter(**{f"{name}__isnull": False})
        by_age = dated.order_by(name if is_led_by(self.model, name) else "pk").values_list(name, flat=True)
        first, last = by_age.first(), by_age.last()
        return None if first is None else (_day(first), _day(last))

    def _period(self) -> Period:
        """The period that is shown. What is no date has been refused by then."""
        parts = [self.params.get(f"{self.date_hierarchy}__{part}") for part in PARTS]
        return tuple(int(part) for part in takewhile(bool, parts))

    def _narrowed(self, period: Period) -> str:
        named = {f"{self.date_hierarchy}__{part}": number for part, number in zip(PARTS, period, strict=False)}
        return self.get_query_string(named, [f"{self.date_hierarchy}__"])


def _day(stamp: datetime | date) -> date:
    return stamp.astimezone(UTC).date() if isinstance(stamp, datetime) else stamp
