"""Lists with what their rows come to, and a way to take the rows along.

Sums are taken over what is filtered, but never over more than `most_summed` of the newest rows: a page must not become
slow because a table has grown. Where that leaves rows out, the page says so.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from journal.admin_base import ReadOnlyAdmin
from journal.admin_lists import planned_for_their_values
from journal.export import FORMATS, Format
from journal.export_rows import exported

Told = tuple[str, str]
"""A figure: its name and its value, as markup."""


class RecordListAdmin(ReadOnlyAdmin):
    """A list with sums and export. A subclass gives the sums."""

    list_before_template = "journal/record_list.html"
    most_summed: ClassVar[int] = 5_000
    ordering: tuple[str, ...] = ("-id",)
    """Newest first; there is an index for it."""

    def sums(self, rows: QuerySet[Any]) -> tuple[int, Iterable[Told]]:
        """How many rows there are, and their figures. `rows` is cut off already: it is to be asked once only."""
        raise NotImplementedError

    def for_export(self, rows: QuerySet[Any], _: Format) -> QuerySet[Any]:
        """The rows with what is exported beside their columns."""
        return rows

    # --- sums -------------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context |= self._figures(context["cl"]) | {"exports": self._exports(request)}
        return response

    def _figures(self, changes: Any) -> dict[str, Any]:
        bounded = changes.queryset.order_by(*self.ordering)[: self.most_summed]
        with planned_for_their_values():
            count, sums = self.sums(bounded)
            sums = [*sums]
        return {"sums": sums, "summed": count if count == self.most_summed else None}

    # --- export -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [*(self._export_address(wanted) for wanted in FORMATS), *super().get_urls()]

    def _export_address(self, wanted: Format) -> URLPattern:
        view = self.admin_site.admin_view(partial(self.export, wanted=wanted))
        return path(f"export/{wanted}/", view, name=self._export_name(wanted))

    def _export_name(self, wanted: Format) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_export_{wanted}"

    def _exports(self, request: HttpRequest) -> list[tuple[str, str]]:
        """The formats, each with its address for what is filtered now."""
        query = request.GET.copy()
        for name in ("p", "o", "all", "_changelist_filters"):
            query.pop(name, None)
        asked = f"?{query.urlencode()}" if query else ""
        return [(wanted.upper(), reverse(f"admin:{self._export_name(wanted)}") + asked) for wanted in FORMATS]

    def export(self, request: HttpRequest, *, wanted: Format) -> HttpResponse | StreamingHttpResponse:
        """Everything that the list's filters let through, as a file. A filter that makes no sense leads to the list,
        which says so."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            changes = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(
                reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist") + "?e=1"
            )
        rows = self.for_export(changes.queryset.select_related(None).order_by(*self.ordering), wanted)
        name = f"{self.opts.verbose_name_plural}-{timezone.now():%Y%m%dT%H%M%SZ}.{wanted}".replace(" ", "-")
        return StreamingHttpResponse(
            exported(rows, wanted),
            content_type=FORMATS[wanted],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
