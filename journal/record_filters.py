"""Filters of the lists of trades and cycles by what is no column of theirs; offering them costs little."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from journal.models import PlaybookVersion, TradeTag

MOST_CHOICES = 50


class ResultFilter(admin.SimpleListFilter):
    """Trades by what they brought."""

    title = "result"
    parameter_name = "result"
    CHOICES: ClassVar[dict[str, tuple[str, Q]]] = {
        "win": ("Won", Q(pnl_usd__gt=0)),
        "loss": ("Lost", Q(pnl_usd__lt=0)),
        "even": ("Neither", Q(pnl_usd=0)),
        "unknown": ("Closed, not known", Q(pnl_usd__isnull=True) & ~Q(status="open")),
    }

    def lookups(self, _: HttpRequest, __: ModelAdmin) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in self.CHOICES.items()]

    def queryset(self, _: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.CHOICES.get(self.value() or "")
        return rows.filter(chosen[1]) if chosen else rows


class VersionFilter(admin.SimpleListFilter):
    """Rows by the version of the playbook they followed."""

    title = "playbook version"
    parameter_name = "playbook_version"

    def lookups(self, _: HttpRequest, __: ModelAdmin) -> list[tuple[str, str]]:
        newest = PlaybookVersion.objects.order_by("-version").values_list("version", flat=True)[:MOST_CHOICES]
        return [(str(version), f"version {version}") for version in newest]

    def queryset(self, _: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        return rows.filter(playbook_version=int(value)) if value.isdecimal() and len(value) < 10 else rows


class TagFilter(admin.SimpleListFilter):
    """Trades by a tag that stands."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, _: HttpRequest, __: ModelAdmin) -> list[tuple[str, str]]:
        standing = TradeTag.objects.filter(removed_at__isnull=True)
        tags = standing.order_by("tag").values_list("tag", flat=True).distinct()[:MOST_CHOICES]
        return [(tag, tag) for tag in tags]

    def queryset(self, _: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return rows
        return rows.filter(pk__in=TradeTag.objects.filter(tag=self.value(), removed_at__isnull=True).values("trade"))
