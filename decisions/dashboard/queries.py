"""What the dashboard reads: a constant number of queries, each over a bounded piece of an index.

The equity's curve is not summed up but looked up: the newest report at each of so many moments, one descent of the
index each, whatever the history holds.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Min, Q, Sum

from decisions.budget import Budget
from decisions.clock import now_for_record, wall_now
from decisions.dashboard import standing
from decisions.dashboard.curve import POINTS, POINTS_BEFORE, RANGES, Curve, moments
from decisions.dashboard.facts import Alert, Audits, ClosedToday, Cycle, Cycles, Facts, Spending, Version
from decisions.dashboard.lookups import midnight
from decisions.dashboard.work_panels import AUDIT_DAYS, AUDITS, CALIBRATED_TRADES, DAY
from decisions.messages import SYSTEM_ALERTS
from decisions.models import DecisionCycle, ModelCall, OutboxMessage, Outcome, ScreenerLog
from journal import playbook_versions
from journal.models import AccountUpdate, Promotion, Trade
from journal.performance import Calibration, ClosedTrade, EquityPoint
from journal.performance.calibration import calibration

LAST_CYCLES = 6
LAST_ALERTS = 8
SEARCHED_MESSAGES = 20_000
"""How far back in our messages alerts are looked for: most tell of decisions."""
LONGEST_SUMMARY = 160

_EQUITY_AT = """
SELECT DISTINCT found.as_of, found.equity, found.net_transfers_usd
FROM unnest(%s::timestamptz[]) AS moment(at)
CROSS JOIN LATERAL (
    SELECT as_of, equity, net_transfers_usd FROM account_history
    WHERE as_of <= moment.at ORDER BY as_of DESC, id DESC LIMIT 1
) AS found
ORDER BY found.as_of
"""


def facts(chosen: str) -> Facts:
    """Everything as it stands now, with the equity over that range of `RANGES`."""
    now, wall = now_for_record(), wall_now()
    last = _last_cycles()
    report = standing.position_report()
    active, challenger = _playbook()
    return Facts(
        now=now,
        wall=wall,
        is_live=not settings.SANDBOX,
        account=standing.account(now),
        curve=_curve(now, chosen),
        exposure=standing.exposed(report),
        closed_today=_closed_today(now),
        cycles=_cycles(now),
        last_cycles=last,
        audits=_audits(now),
        spending=_spending(now),
        calibration=_calibration(),
        heard=standing.heard(report, last),
        alerts=_alerts(),
        troubles=standing.troubles(wall),
        active=active,
        challenger=challenger,
    )


# --- money ------------------------------------------------------------------------------------------------------------


def _curve(now: datetime, chosen: str) -> Curve:
    first = AccountUpdate.objects.aggregate(first=Min("as_of"))["first"] or now
    span = RANGES[chosen]
    start = first if span is None else max(first, now - span)
    if start >= now:
        return Curve(chosen=chosen, shown=(), before=(), step=timedelta(0))
    earlier = [first, *moments(first, start, POINTS_BEFORE)] if first < start else []
    points = _equity_at([*earlier, start, *moments(start, now, POINTS - 1)])
    return Curve(
        chosen=chosen,
        shown=[point for point in points if point.at >= start],
        before=[point for point in points if point.at < start],
        step=(now - start) / POINTS,
    )


def _equity_at(at: Sequence[datetime]) -> list[EquityPoint]:
    """The newest report at each of the moments, each report once."""
    with connection.cursor() as cursor:
        cursor.execute(_EQUITY_AT, [list(at)])
        return [
            EquityPoint(at=as_of, equity=equity, net_transfers=transfers)
            for as_of, equity, transfers in cursor.fetchall()
        ]


def _closed_today(now: datetime) -> ClosedToday:
    figures = Trade.objects.filter(status=Trade.Status.CLOSED, closed_at__gte=midnight(now)).aggregate(
        count=Count("id"), won=Count("id", filter=Q(pnl_usd__gt=0)), net=Sum("pnl_usd")
    )
    return ClosedToday(count=figures["count"], won=figures["won"], net_usd=figures["net"] or Decimal(0))


def _calibration() -> Calibration:
    """Of the newest closed trades whose confidence is known."""
    names = (
        "opened_at", "closed_at", "symbol", "entry_value", "gross_pnl_usd", "pnl_usd", "fees_usd", "funding_usd",
        "confidence_at_entry",
    )  # fmt: skip
    closed = Trade.objects.filter(status=Trade.Status.CLOSED, closed_at__isnull=False)
    newest = closed.order_by("-closed_at").values_list(*names, named=True)[:CALIBRATED_TRADES]
    return calibration(
        ClosedTrade(
            opened_at=row.opened_at,
            closed_at=row.closed_at,
            symbol=row.symbol,
            entry_notional=row.entry_value,
            gross_pnl=None if row.pnl_usd is None else row.gross_pnl_usd,
            fees=row.fees_usd,
            funding=row.funding_usd,
            confidence=row.confidence_at_entry,
        )
        for row in newest
    )


# --- work -------------------------------------------------------------------------------------------------------------


def _cycles(now: datetime) -> Cycles:
    """The slots of the last 24 hours."""
    groups = (
        DecisionCycle.objects.filter(slot_at__gt=now - DAY, slot_at__lte=now)
        .values_list("outcome", "screener_signal", "shadow_audit")
        .annotate(count=Count("id"))
    )
    rows = list(groups)
    outcomes = {outcome for outcome, *_ in rows if outcome is not None}
    out = [row for row in rows if row[0] == Outcome.SCREENED_OUT]
    return Cycles(
        by_outcome={outcome: sum(row[-1] for row in rows if row[0] == outcome) for outcome in outcomes},
        still_open=sum(count for outcome, *_, count in rows if outcome is None),
        screened=sum(row[-1] for row in rows if row[1] is not None),
        passed=sum(row[-1] for row in rows if row[1]),
        screened_out=sum(row[-1] for row in out),
        audited=sum(row[-1] for row in out if row[2]),
    )


def _last_cycles() -> list[Cycle]:
    ended = DecisionCycle.objects.filter(finished_at__isnull=False).order_by("-slot_at", "-id")
    names = ("id", "slot_at", "instrument", "outcome", "reason", "finished_at")
    return [
        Cycle(
            key=key,
            slot_at=slot_at,
            instrument=instrument,
            outcome=outcome or "",
            reason=_short(reason),
            finished_at=finished_at or slot_at,
        )
        for key, slot_at, instrument, outcome, reason, finished_at in ended.values_list(*names)[:LAST_CYCLES]
    ]


def _audits(now: datetime) -> Audits:
    """The newest shadow audits; of these, those whose answer could have traded: they were compared."""
    audited = DecisionCycle.objects.filter(shadow_audit=True, slot_at__gt=now - AUDIT_DAYS * DAY, slot_at__lte=now)
    newest = audited.order_by("-slot_at").values("id")[:AUDITS]
    compared = ScreenerLog.objects.filter(cycle__in=newest, opus_agreed__isnull=False)
    return Audits(**compared.aggregate(counted=Count("id"), missed=Count("id", filter=Q(opus_agreed=False))))


def _spending(now: datetime) -> Spending:
    """One pass over the calls of 24 hours, in which the market day lies."""
    today = Q(market_time__gte=midnight(now))
    deciding = Q(purpose=ModelCall.Purpose.ANALYZE, shadow=False)
    rows = list(
        ModelCall.objects.filter(market_time__gt=now - DAY)
        .values("purpose")
        .annotate(
            calls=Count("id", filter=today),
            cost=Sum("cost_usd", filter=today),
            analysed=Count("cycle", filter=deciding, distinct=True),
        )
        .order_by("purpose")
    )
    spent = sum((row["cost"] or Decimal(0) for row in rows), Decimal(0))
    return Spending(
        budget=Budget(spent, settings.DAILY_MODEL_BUDGET_USD),
        today={row["purpose"]: (row["calls"], row["cost"] or Decimal(0)) for row in rows if row["calls"]},
        analysed=sum(row["analysed"] for row in rows),
    )


def _playbook() -> tuple[Version | None, Version | None]:
    """The version that trades, and the one that waits."""
    promotion = Promotion.objects.select_related("playbook").order_by("-id").first()
    waiting = playbook_versions.challenger()
    active = challenger = None
    if promotion is not None:
        active = Version(
            key=promotion.playbook.pk,
            version=promotion.playbook.version,
            by=promotion.promoted_by,
            at=promotion.created_at,
            summary=_short(promotion.reason),
        )
    if waiting is not None:
        challenger = Version(
            key=waiting.pk,
            version=waiting.version,
            by=playbook_versions.author(waiting),
            at=waiting.created_at,
            summary=_short(waiting.change_summary),
        )
    return active, challenger


def _alerts() -> list[Alert]:
    newest = OutboxMessage.objects.aggregate(newest=Max("id"))["newest"] or 0
    told = OutboxMessage.objects.filter(id__gt=newest - SEARCHED_MESSAGES, stream=SYSTEM_ALERTS).order_by("-id")
    rows = told.values_list("id", "created_at", "severity", "payload__title")[:LAST_ALERTS]
    return [Alert(key=key, at=at, severity=severity, title=_short(title or "")) for key, at, severity, title in rows]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SUMMARY else f"{text[: LONGEST_SUMMARY - 1]}…"
