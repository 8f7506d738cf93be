"""Pages of the decisions: cycles and all they leave, the messages that came and went, the news calendar."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

from django import forms
from django.contrib import admin
from django.db.models import Count, Field, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest

from decisions import (
    admin_pages,  # noqa: F401 - registers what the pages show of one another
    block_admin,  # noqa: F401 - registers how a person lifts an instrument's block
    calendar,
    models,
    risk_admin,  # noqa: F401 - registers the page of the risk state and what people may do there
)
from decisions.clock import wall_now
from decisions.cycle_filters import StateFilter
from journal.admin_base import EditableAdmin, register
from journal.admin_reasons import Reasoned, with_reason
from journal.export import Format
from journal.presentation import pill, shown
from journal.record_filters import VersionFilter
from journal.record_lists import RecordListAdmin, Told


@admin.register(models.DecisionCycle)
class CycleAdmin(RecordListAdmin):
    """The cycles, with how they ended and what their models cost."""

    list_display = (
        "slot_at", "instrument", "state", "outcome", "reason", "bypass_reason", "screener_signal", "round",
        "playbook_version", "finished_at",
    )  # fmt: skip
    list_filter = (
        "outcome", ("state", StateFilter), "instrument", "screener_signal", "shadow_audit", "openings_blocked",
        "round", VersionFilter,
    )  # fmt: skip
    search_fields = ("instrument", "reason", "decision_id", "last_error")
    date_hierarchy = "slot_at"
    ordering = ("-slot_at", "-id")

    def sums(self, rows: QuerySet[Any]) -> tuple[int, Iterable[Told]]:
        found = dict(rows.values_list("pk", "outcome"))
        paid = models.ModelCall.objects.filter(cycle__in=found)
        spent = paid.aggregate(calls=Count("pk"), usd=Sum("cost_usd"))
        outcomes = Counter(outcome or "under way" for outcome in found.values())
        return len(found), [
            ("Cycles", f"{len(found):,}"),
            ("Model calls", f"{spent['calls']:,}"),
            ("Model cost USD", shown("cost_usd", spent["usd"])),
            *((pill(outcome), f"{cycles:,}") for outcome, cycles in outcomes.most_common()),
        ]

    def for_export(self, rows: QuerySet[Any], _: Format) -> QuerySet[Any]:
        calls = models.ModelCall.objects.filter(cycle=OuterRef("pk")).order_by().values("cycle")
        return rows.annotate(model_cost_usd=Subquery(calls.annotate(usd=Sum("cost_usd")).values("usd")))


register(
    models.ModelCall,
    list_display=(
        "created_at", "purpose", "model", "outcome", "cycle", "cost_usd", "latency_ms", "input_tokens",
        "output_tokens", "stop_reason", "shadow", "source",
    ),
    list_filter=("purpose", "outcome", "model", "source", "shadow"),
    search_fields=("request_id", "error", "cycle__instrument"),
    date_hierarchy="created_at",
)  # fmt: skip
register(
    models.ModelStatus,
    list_display=("model", "lifecycle", "retires_at", "detail", "checked_at"),
    list_filter=("lifecycle",),
    search_fields=("model",),
)
register(
    models.ScreenerLog,
    list_display=("created_at", "symbol", "signal", "reason", "opus_action", "opus_agreed", "latency_ms", "cycle"),
    list_filter=("signal", "opus_agreed", "opus_action", "symbol"),
    search_fields=("symbol", "reason"),
    date_hierarchy="created_at",
)
register(
    models.ResearchCache,
    list_display=("asked_at", "query", "source", "ttl_seconds", "created_at"),
    list_filter=("source",),
    search_fields=("query",),
    date_hierarchy="asked_at",
)
register(
    models.Order,
    list_display=(
        "created_at", "symbol", "action", "kind", "order_type", "size", "filled_size", "limit_price", "stop_loss",
        "take_profit", "status", "reason", "cycle",
    ),
    list_filter=("status", "kind", "action", "order_type", "symbol"),
    search_fields=("symbol", "client_order_id", "venue_order_id", "decision_id", "reason"),
    date_hierarchy="created_at",
)  # fmt: skip
register(
    models.OrderTransition,
    list_display=("at", "order", "from_status", "to_status", "cause"),
    list_filter=("from_status", "to_status"),
    search_fields=("cause", "order__client_order_id", "order__symbol"),
    date_hierarchy="at",
)
register(
    models.Fill,
    list_display=(
        "filled_at", "symbol", "intent", "side", "status", "price", "size", "fee_usd", "pnl_usd", "exit_reason",
        "order", "trade",
    ),
    list_filter=("status", "intent", "exit_reason", "symbol"),
    search_fields=("symbol", "fill_id", "client_order_id", "venue_order_id", "reject_reason"),
    date_hierarchy="filled_at",
)  # fmt: skip
register(
    models.FundingPayment,
    list_display=("paid_at", "symbol", "pos_side", "amount_usd", "rate", "trade"),
    list_filter=("symbol",),
    search_fields=("symbol", "funding_id"),
    date_hierarchy="paid_at",
)
register(
    models.MarketRecord,
    list_display=("at", "symbol", "price", "received_at"),
    list_filter=("symbol",),
    search_fields=("symbol",),
    date_hierarchy="at",
    ordering=("-at", "-id"),
)
register(
    models.MarketAlertRecord,
    list_display=("market_time", "symbol", "kind", "severity", "detail", "value", "received_at"),
    list_filter=("kind", "severity", "symbol"),
    search_fields=("symbol", "detail"),
    date_hierarchy="market_time",
)
register(models.PositionReport, list_display=("account", "as_of", "received_at", "reconciled_at"))
register(
    models.Discrepancy,
    list_display=(
        "first_told_at", "symbol", "kind", "ours", "theirs", "last_told_at", "told", "resolved_at", "resolution",
    ),
    list_filter=("kind", "symbol", "told", ("resolved_at", admin.EmptyFieldListFilter)),
    search_fields=("symbol", "resolution"),
    date_hierarchy="first_told_at",
)  # fmt: skip
register(
    models.InstrumentBlock,
    list_display=("symbol", "reason", "started_at", "ended_at", "ended_by"),
    list_filter=("symbol", ("ended_at", admin.EmptyFieldListFilter)),
    search_fields=("symbol", "reason"),
    date_hierarchy="started_at",
)
register(
    models.Command,
    list_display=("created_at", "command", "args", "issued_by", "issued_at", "accepted", "detail"),
    list_filter=("command", "accepted", "issued_by"),
    search_fields=("issued_by", "detail"),
    date_hierarchy="created_at",
)
register(
    models.ScreenerSwitch,
    list_display=("created_at", "name", "value", "changed_by"),
    list_filter=("name", "value"),
    search_fields=("changed_by",),
)
register(
    models.ResearchRequest,
    list_display=("created_at", "symbol", "requested_by", "cycle"),
    list_filter=("symbol",),
    search_fields=("symbol", "requested_by"),
)
register(
    models.InboxMessage,
    list_display=("received_at", "stream", "type", "entry_id", "msg_id"),
    list_filter=("stream", "type"),
    search_fields=("msg_id", "entry_id"),
    date_hierarchy="received_at",
)
register(
    models.DeadLetter,
    list_display=("created_at", "stream", "reason", "raw", "deliveries", "entry_id"),
    list_filter=("stream",),
    search_fields=("reason", "entry_id", "raw"),
    date_hierarchy="created_at",
)
register(
    models.OutboxMessage,
    list_display=("created_at", "stream", "type", "severity", "category", "payload", "sent_at"),
    list_filter=("stream", "type", "severity", "category", ("sent_at", admin.EmptyFieldListFilter)),
    search_fields=("msg_id", "category"),
    date_hierarchy="sent_at",
)
register(
    models.AlertDelivery,
    list_display=("created_at", "alert", "channel", "state", "attempts", "error", "ended_at"),
    list_filter=("channel", "state"),
    search_fields=("error",),
)
register(
    models.CalendarFeed,
    list_display=("name", "tried_at", "fetched_at", "error"),
    search_fields=("name",),
)


@admin.register(models.ScheduledEvent)
class ScheduledEventAdmin(Reasoned, EditableAdmin):
    """The news calendar, the one table here that people keep. What a person saves, no feed replaces."""

    form = with_reason(forms.ModelForm)
    list_display = ("name", "kind", "scheduled_at", "impact", "currency", "source", "fetched_at", "manual")
    list_filter = ("kind", "impact", "currency", "manual")
    search_fields = ("name", "source")
    date_hierarchy = "scheduled_at"
    ordering = ("-scheduled_at",)
    exclude = ("fetched_at",)
    readonly_fields = ("manual",)

    def formfield_for_dbfield(
        self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any
    ) -> forms.Field | None:
        """A kind is one of those that the calendar knows."""
        if db_field.name == "kind":
            kinds = [(kind, kind) for kind in get_args(calendar.Kind)]
            return forms.ChoiceField(choices=kinds, widget=self.choice_widget())
        return super().formfield_for_dbfield(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: models.ScheduledEvent, form: forms.ModelForm, change: bool) -> None:
        obj.fetched_at, obj.manual = wall_now(), True
        super().save_model(request, obj, form, change)
