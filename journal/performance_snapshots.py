"""The performance of every hour, day and week of market time, written once when the period is over.

A row is never restated: what is booked for a period afterwards (a late funding payment) shows in the trade, not here.
After an outage the missing periods follow in their order, from the same record as they would have come from in time;
workers that write at once write one row between them. What models cost and what instruments were worth is not in the
journal: the caller hands it in.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import cast

from django.db.models import Max, Q
from django.db.models.functions import TruncMinute

from journal.models import AccountUpdate, PerformanceSnapshot, Trade
from journal.performance import (
    ClosedTrade,
    EquityPoint,
    ModelCost,
    PerformanceSummary,
    Period,
    PriceSpan,
    as_document,
    summarise,
)

LENGTHS = {
    PerformanceSnapshot.SnapshotType.HOURLY: timedelta(hours=1),
    PerformanceSnapshot.SnapshotType.DAILY: timedelta(days=1),
    PerformanceSnapshot.SnapshotType.WEEKLY: timedelta(days=7),
}
STEP = timedelta(hours=1)
"""What returns are formed over: a day has 24 of them, a week 168, and an hour too few for any ratio."""
SETTLING = timedelta(minutes=5)
"""How long after its end a period is left open for the fills of its last moments, in market time."""
BATCH = 200

_A_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_COLUMN_STEP = Decimal("0.0001")
_COLUMN_LIMIT = Decimal(10_000)

Costs = Callable[[datetime, datetime], Decimal]
"""What models cost, in USD, after the first moment and up to and including the second, in market time."""
Prices = Callable[[datetime, datetime], Iterable[PriceSpan]]
"""The instruments whose price was known at both moments, with the two prices."""


def write_due(now: datetime, *, costs: Costs, prices: Prices, limit: int = BATCH) -> int:
    """Write the snapshots of all periods that are over at market time `now`, at most `limit`; returns how many.

    A period is over once the account has been reported `SETTLING` after its end, so that an outage postpones its row
    and does not empty it. Periods begin with the one of the first report.
    """
    written = 0
    for kind, end in _due(now):
        if written == limit:
            break
        written += _write(kind, end, costs, prices)
    return written


def performance_of(period: Period, *, costs: Costs, prices: Prices, step: timedelta = STEP) -> PerformanceSummary:
    """The figures of any period, from the record as it stands."""
    return summarise(
        period=period,
        trades=map(closed_trade, _closed_in(period)),
        equity=_equity(period),
        model_costs=_model_costs(period, costs),
        prices=prices(period.start, period.end),
        still_open=_open_after(period),
        step=step,
    )


def _due(now: datetime) -> Iterator[tuple[PerformanceSnapshot.SnapshotType, datetime]]:
    """The periods to write by kind and end, the oldest of each kind first."""
    reports = AccountUpdate.objects.order_by("as_of").values_list("as_of", flat=True)
    first, newest = reports.first(), reports.last()
    if first is None or newest is None:
        return
    through = min(now, newest) - SETTLING
    for kind, length in LENGTHS.items():
        end = _next_end(kind, length, first)
        while end <= through:
            yield kind, end
            end += length


def _next_end(kind: PerformanceSnapshot.SnapshotType, length: timedelta, first: datetime) -> datetime:
    """The end of the period after the last one written, or of the one that begins at or before the first report."""
    written = PerformanceSnapshot.objects.filter(snapshot_type=kind).order_by("-period_end").first()
    if written is not None:
        return written.period_end + length
    return _A_MONDAY + ((first - _A_MONDAY) // length + 1) * length


def _write(kind: PerformanceSnapshot.SnapshotType, end: datetime, costs: Costs, prices: Prices) -> bool:
    """Write one row, unless another worker has. Says whether it did."""
    summary = performance_of(Period(start=end - LENGTHS[kind], end=end), costs=costs, prices=prices)
    drawdown = summary.account.max_drawdown
    _, created = PerformanceSnapshot.objects.get_or_create(
        snapshot_type=kind,
        period_end=end,
        defaults={
            "equity": summary.account.closing_equity,
            "total_pnl": summary.total.total_pnl.quantize(_COLUMN_STEP),
            "win_rate": _column(summary.total.win_rate.value),
            "profit_factor": _column(summary.total.profit_factor.value),
            "sharpe_ratio": _column(summary.account.sharpe_ratio.value),
            "max_drawdown": None if drawdown is None else _column(drawdown.depth),
            "total_trades": summary.total.total_trades,
            "metrics_json": as_document(summary),
        },
    )
    return created


def _column(value: Decimal | None) -> Decimal | None:
    """The number as the table's columns hold it; one too large for them stands in `metrics_json` only."""
    if value is None or abs(value) >= _COLUMN_LIMIT - _COLUMN_STEP:
        return None
    return value.quantize(_COLUMN_STEP)


def _closed_in(period: Period) -> Iterable[Trade]:
    return Trade.objects.filter(
        status=Trade.Status.CLOSED, closed_at__gt=period.start, closed_at__lte=period.end
    ).defer("opus_reasoning", "indicators_entry", "indicators_exit", "research_context", "self_review")


def _open_after(period: Period) -> Iterable[datetime]:
    """When the positions were opened that were open at the period's end, whether or not they are now."""
    open_then = Q(closed_at__isnull=True) | Q(closed_at__gt=period.end)
    held = Trade.objects.filter(open_then, opened_at__lte=period.end).exclude(status=Trade.Status.CANCELLED)
    return held.values_list("opened_at", flat=True)


def closed_trade(trade: Trade) -> ClosedTrade:
    """A closed trade's row as a value."""
    return ClosedTrade(
        opened_at=trade.opened_at,
        closed_at=cast(datetime, trade.closed_at),  # the table knows no closed trade without
        symbol=trade.symbol,
        entry_notional=trade.entry_value,
        gross_pnl=None if trade.pnl_usd is None else trade.gross_pnl_usd,
        fees=trade.fees_usd,
        funding=trade.funding_usd,
        strategy=trade.strategy_used,
        regime=trade.market_regime,
        exit_reason=trade.exit_reason,
        playbook_version=trade.playbook_version,
        confidence=trade.confidence_at_entry,
    )


def _equity(period: Period) -> Iterable[EquityPoint]:
    """The last report at or before the period's start, and the newest of each minute in it: a server that reports
    every few seconds tells a hundred thousand a week, which no figure here needs."""
    reports = AccountUpdate.objects.order_by("as_of", "id")
    before = reports.filter(as_of__lte=period.start).last()
    within = AccountUpdate.objects.filter(as_of__gt=period.start, as_of__lte=period.end)
    minutes = within.annotate(minute=TruncMinute("as_of", tzinfo=UTC)).values("minute")
    newest = minutes.annotate(newest=Max("as_of")).values("newest")
    of_one_moment = {
        report.as_of: report for report in ([before] if before else []) + list(reports.filter(as_of__in=newest))
    }
    return [
        EquityPoint(at=report.as_of, equity=report.equity, net_transfers=report.net_transfers_usd)
        for report in of_one_moment.values()
    ]


def _model_costs(period: Period, costs: Costs) -> Iterable[ModelCost]:
    """Hour by hour, so that the returns bear them when they arose; the first and the last may be parts of hours."""
    moments, moment = [period.start], period.start.replace(minute=0, second=0, microsecond=0) + STEP
    while moment < period.end:
        moments.append(moment)
        moment += STEP
    moments.append(period.end)
    return [ModelCost(at=end, usd=costs(start, end)) for start, end in pairwise(moments)]
