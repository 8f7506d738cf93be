"""How the account stands, what is held, what was heard of when, and what waits for a person: read for the dashboard."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from decisions import dead_man, exposure
from decisions.dashboard.addresses import ADDRESSES
from decisions.dashboard.facts import Account, Cycle, Fall, Halt, Heard, Trouble
from decisions.dashboard.holdings import Exposure, Holding
from decisions.dashboard.lookups import stamp
from decisions.messages import Position, PositionUpdate
from decisions.models import DeadLetter, Discrepancy, Fill, InstrumentBlock, Order, OrderStatus, PositionReport
from journal.models import Trade
from risk import account_status as status
from risk import gate
from risk.models import RiskState
from risk.state import ACCOUNT

SILENT_BARS = 10
SHORTEST_SILENCE = timedelta(minutes=2)

_NEWEST_SNAPSHOTS = """
SELECT wanted.symbol, newest.at, newest.received_at
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted(symbol, place)
LEFT JOIN LATERAL (
    SELECT at, received_at FROM market_snapshots WHERE symbol = wanted.symbol ORDER BY at DESC LIMIT 1
) AS newest ON true
ORDER BY wanted.place
"""


# --- the account ------------------------------------------------------------------------------------------------------


def account(now: datetime) -> Account:
    """Its state and what is used up of the limits."""
    known, limits = status.account_status(now), settings.RISK_LIMITS
    return Account(
        key=RiskState.objects.filter(account=ACCOUNT).values_list("id", flat=True).first(),
        state=known.state,
        sentence=known.sentence,
        halts=[
            Halt(kind=each.kind, reason=each.reason, since=each.since, by=each.by, until=each.until)
            for each in known.halts
        ],
        cooldown_until=known.cooldown_until,
        equity=known.equity,
        day_start_equity=known.day_start_equity,
        daily_loss=_fall(known.daily_loss),
        drawdown=_fall(known.drawdown),
        loss_streak=known.loss_streak,
        losses_to_cooldown=known.losses_to_cooldown,
        max_exposure=limits.max_total_exposure_pct,
        max_positions=limits.max_concurrent_positions,
        warns_at=gate.WARN_SHARE,
    )


def _fall(known: status.Fall) -> Fall:
    return Fall(measured=known.measured, limit=known.limit, used=known.used)


# --- what is held -----------------------------------------------------------------------------------------------------


def position_report() -> PositionReport | None:
    """The venue's newest report, without its fills."""
    return PositionReport.objects.filter(account=ACCOUNT).defer("recent_fills").first()


def exposed(report: PositionReport | None) -> Exposure:
    """Positions and openings under way, counted as the risk gate counts them."""
    reported = PositionUpdate.model_validate(report.payload).positions if report else ()
    known = {(each.symbol, each.pos_side.upper()): each for each in reported}
    trades = {trade.symbol: trade for trade in Trade.objects.filter(status=Trade.Status.OPEN, closed_at__isnull=True)}
    openings = [order for order in exposure.live_orders() if not order.reduce_only]
    return Exposure(
        holdings=[
            _holding(each, trades.get(each.symbol), known.get((each.symbol, each.direction)))
            for each in exposure.positions(reported)
        ],
        pending=sum(order.action in ("OPEN_LONG", "OPEN_SHORT") for order in openings),
        pending_usd=sum((order.notional_usd for order in openings), Decimal(0)),
    )


def _holding(position: gate.Position, trade: Trade | None, reported: Position | None) -> Holding:
    """Ours and the venue's words put together; a trade of the other side is not this one."""
    ours = trade if trade is not None and trade.direction == position.direction else None
    entry = ours.entry_price if ours else reported.entry_price if reported else None
    return Holding(
        symbol=position.symbol,
        direction=position.direction,
        trade=ours.pk if ours else None,
        size=position.size,
        notional_usd=position.notional_usd,
        entry=entry,
        mark=reported.mark_price if reported else None,
        stop=position.stop_loss,
        target=position.take_profit,
        unrealized_usd=reported.unrealized_pnl if reported else None,
    )


# --- what was heard, and what waits -----------------------------------------------------------------------------------


def heard(report: PositionReport | None, last_cycles: Sequence[Cycle]) -> list[Heard]:
    """The newest snapshot of every instrument, the newest positions, the newest finished cycle."""
    newest = max(last_cycles, key=lambda cycle: cycle.finished_at, default=None)
    return [
        *(_snapshot(*row) for row in _newest_snapshots()),
        Heard(
            name="Positions",
            address=ADDRESSES.row("decisions.positionreport", report.pk)
            if report
            else ADDRESSES.rows("decisions.positionreport"),
            market_at=report.as_of if report else None,
            wall_at=report.received_at if report else None,
            market_limit=timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS),
            wall_limit=_silence(timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS)),
        ),
        Heard(
            name="Finished cycle",
            address=ADDRESSES.rows("decisions.decisioncycle", state__exact="done"),
            market_at=newest.slot_at if newest else None,
            wall_at=newest.finished_at if newest else None,
            market_limit=None,
            wall_limit=dead_man.longest_silence(),
        ),
    ]


def _newest_snapshots() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_SNAPSHOTS, [list(settings.INSTRUMENTS)])
        return list(cursor.fetchall())


def _snapshot(symbol: str, at: datetime | None, received_at: datetime | None) -> Heard:
    limit = timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS)
    return Heard(
        name=f"{symbol} snapshot",
        address=ADDRESSES.rows("decisions.marketrecord", symbol__exact=symbol),
        market_at=at,
        wall_at=received_at,
        market_limit=limit,
        wall_limit=_silence(limit),
    )


def _silence(live: timedelta) -> timedelta:
    """How long nothing may come in by the wall clock: live as long as data may be old, in the sandbox some bars."""
    if not settings.SANDBOX:
        return live
    return max(SHORTEST_SILENCE, SILENT_BARS * timedelta(seconds=float(settings.SANDBOX_BAR_SECONDS)))


def troubles(wall: datetime) -> list[Trouble]:
    """What a person should look at: what stands in the way of trading, and messages of a day that could not be used."""
    yesterday = wall - timedelta(days=1)
    found: list[tuple[QuerySet[Any], str, str, dict[str, str]]] = [
        (
            InstrumentBlock.objects.filter(ended_at__isnull=True),
            "Instruments blocked until a person lifts it",
            "decisions.instrumentblock",
            {"ended_at__isempty": "1"},
        ),
        (
            Discrepancy.objects.filter(resolved_at__isnull=True),
            "Differences between record and venue",
            "decisions.discrepancy",
            {"resolved_at__isempty": "1"},
        ),
        (
            Order.objects.filter(status=OrderStatus.UNKNOWN, ended_at__isnull=True),
            "Orders of which nobody knows what became",
            "decisions.order",
            {"status__exact": "unknown"},
        ),
        (
            Fill.objects.filter(waiting__isnull=False),
            "Executions that fit no order",
            "decisions.fill",
            {"waiting__isnull": "False"},
        ),
        (
            DeadLetter.objects.filter(created_at__gte=yesterday),
            "Messages of 24 hours that could not be used",
            "decisions.deadletter",
            {"created_at__gte": stamp(yesterday)},
        ),
    ]
    return [
        Trouble(count=rows.count(), what=what, address=ADDRESSES.rows(table, **filters))
        for rows, what, table, filters in found
    ]
