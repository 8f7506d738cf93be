"""The record of model calls, summed for `costs` by the database: two queries, each over one range of an index."""

from datetime import UTC, date, timedelta
from decimal import Decimal

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate

from decisions import context, costs
from decisions.budget import DAY, beginning, market_day
from decisions.clock import now_for_record
from decisions.costs import Cycles, Entry, Totals
from decisions.models import ModelCall, Outcome

ZERO = Decimal(0)
LIVE = Q(source=ModelCall.Source.LIVE)
BILLED = Q(cost_usd__gt=0)
UNKNOWN = Q(cost_usd=0, attempts__gt=0) & (Q(http_status__isnull=True) | Q(http_status=200))
"""Sent, and no answer came, or one that does not say what was used: the service's bill alone knows what it cost."""
DECIDING = Q(purpose=ModelCall.Purpose.ANALYZE, shadow=False)


def report(days: int) -> costs.Report:
    """What the last `days` market days have cost, today included."""
    now = now_for_record()
    today = market_day(now)
    first_day = today - timedelta(days=days - 1)
    calls = _calls(first_day, today)
    return costs.report(_entries(calls), _cycles(calls), context.budget(now), today=today, first_day=first_day)


def _calls(first_day: date, last_day: date) -> QuerySet[ModelCall]:
    return ModelCall.objects.filter(market_time__gte=beginning(first_day), market_time__lt=beginning(last_day) + DAY)


def _entries(calls: QuerySet[ModelCall]) -> list[Entry]:
    rows = (
        calls.annotate(day=TruncDate("market_time", tzinfo=UTC))
        .values("day", "model", "purpose", "source")
        .annotate(
            count=Count("id"),
            failed=Count("id", filter=~Q(outcome="ok")),
            unknown=Count("id", filter=UNKNOWN),
            billed=Count("id", filter=BILLED),
            given=Sum("input_tokens"),
            answered=Sum("output_tokens"),
            cache_written=Sum("cache_write_tokens"),
            cache_read=Sum("cache_read_tokens"),
            cost=Sum("cost_usd"),
            paid=Coalesce(Sum("cost_usd", filter=LIVE), ZERO),
        )
    )
    return [
        Entry(
            day=row["day"],
            model=row["model"],
            purpose=row["purpose"],
            source=row["source"],
            totals=Totals(
                calls=row["count"],
                failed=row["failed"],
                unknown=row["unknown"],
                billed=row["billed"],
                input_tokens=row["given"],
                output_tokens=row["answered"],
                cache_write_tokens=row["cache_written"],
                cache_read_tokens=row["cache_read"],
                cost_usd=row["cost"],
                paid_usd=row["paid"],
            ),
        )
        for row in rows
    ]


def _cycles(calls: QuerySet[ModelCall]) -> Cycles:
    by_cycle = (
        calls.filter(cycle__isnull=False)
        .values("cycle_id", "cycle__outcome")
        .annotate(
            cost=Sum("cost_usd"),
            own=Sum("cost_usd", filter=Q(shadow=False)),
            decisions=Count("id", filter=DECIDING),
            screens=Count("id", filter=Q(purpose=ModelCall.Purpose.SCREEN)),
            audits=Count("id", filter=Q(shadow=True)),
        )
    )
    out = Q(cycle__outcome=Outcome.SCREENED_OUT)
    return Cycles(
        **by_cycle.aggregate(
            analysed=Count("cycle_id", filter=Q(decisions__gt=0)),
            analysed_usd=Coalesce(Sum("own", filter=Q(decisions__gt=0)), ZERO),
            screened=Count("cycle_id", filter=Q(screens__gt=0)),
            screened_out=Count("cycle_id", filter=out),
            screened_out_usd=Coalesce(Sum("cost", filter=out), ZERO),
            audited=Count("cycle_id", filter=out & Q(audits__gt=0)),
        )
    )
