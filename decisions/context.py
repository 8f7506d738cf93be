"""What the stages read from the database, as values for the pure modules."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

from django.conf import settings
from django.db.models import Case, F, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce

from decisions import calendar
from decisions.budget import DAY, Budget, beginning, market_day
from decisions.clock import AHEAD, wall_now
from decisions.messages import MarketAlert, MarketSnapshot, Position, PositionUpdate
from decisions.models import (
    DecisionCycle,
    Discrepancy,
    InstrumentBlock,
    MarketAlertRecord,
    MarketRecord,
    ModelCall,
    Order,
    OrderStatus,
    Outcome,
    PositionReport,
    ScheduledEvent,
    ScreenerSwitch,
)
from decisions.prompts import TradeSummary
from decisions.screening import Switches
from decisions.triggers import Thresholds
from journal.models import Trade

FETCHED_TRADES = 20


def newest_snapshot(symbol: str) -> MarketRecord | None:
    """The newest snapshot of an instrument: one index look-up, however many instruments share the stream. Live, one
    from before our clock was set back counts only while there is no other."""
    if settings.SANDBOX:
        return _newest_snapshot(symbol)
    return _newest_snapshot(symbol, at__lte=wall_now() + AHEAD) or _newest_snapshot(symbol)


def _newest_snapshot(symbol: str, **conditions: datetime) -> MarketRecord | None:
    """In the order of instrument and time, which one index alone has. By the time alone Postgres would go back through
    everybody's snapshots, past all of them for an instrument that has none."""
    up_to = MarketRecord.objects.filter(symbol__lte=symbol, **conditions).order_by("-symbol", "-at")
    newest = up_to.first()
    return newest if newest is not None and newest.symbol == symbol else None


def snapshot_of(cycle: DecisionCycle) -> MarketSnapshot:
    """The snapshot that the cycle collected."""
    return MarketSnapshot.model_validate(cycle.snapshot)


def position_report() -> PositionUpdate | None:
    """The newest position update, without its fills."""
    payload = PositionReport.objects.values_list("payload", flat=True).first()
    return None if payload is None else PositionUpdate.model_validate(payload)


def open_trade_of(symbol: str) -> Trade | None:
    """Our open trade in an instrument."""
    return Trade.objects.filter(symbol=symbol, closed_at__isnull=True).first()


def position_in(symbol: str, positions: Sequence[Position]) -> Position | None:
    """The position in an instrument, of those given."""
    return next((position for position in positions if position.symbol == symbol), None)


def has_position(symbol: str, positions: Sequence[Position]) -> bool:
    """Whether the venue reports a position in an instrument, or our record has one that it has not reported yet."""
    return position_in(symbol, positions) is not None or open_trade_of(symbol) is not None


def holds_position(cycle: DecisionCycle) -> bool:
    """Whether there is a position in the cycle's instrument, as the cycle found it or as our record has it now."""
    return has_position(cycle.instrument, [Position.model_validate(each) for each in cycle.positions or ()])


def instrument_trouble(symbol: str) -> str | None:
    """Why an instrument takes no new opening apart from the market's and the account's state."""
    block = InstrumentBlock.objects.filter(symbol=symbol, ended_at__isnull=True).first()
    if block is not None:
        return block.reason
    order = (
        Order.objects.filter(symbol=symbol, ended_at__isnull=True)
        .filter(status__in=[OrderStatus.UNKNOWN, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED])
        .first()
    )
    if order is None:
        return _difference(symbol)
    if order.status == OrderStatus.UNKNOWN:
        return f"nobody knows what became of {order}"
    return f"the limit order {order} is still working"


def _difference(symbol: str) -> str | None:
    """That the record and the venue differ about an instrument. Seen in one report only it may be a fill on its way."""
    seen_twice = Q(told=True) | Q(last_told_at__gt=F("first_told_at"))
    found = Discrepancy.objects.filter(seen_twice, symbol=symbol, resolved_at__isnull=True).first()
    if found is None:
        return None
    return f"the record has {found.ours or 'no position'}, the venue {found.theirs or 'none'}"


def known_events(now: datetime, days: int = 1) -> list[calendar.ScheduledEvent]:
    """The scheduled events of the next day, or days, soonest first."""
    rows = ScheduledEvent.objects.filter(scheduled_at__gte=now, scheduled_at__lte=now + timedelta(days=days))
    return [scheduled_event(row) for row in rows.order_by("scheduled_at", "name")]


def scheduled_event(row: ScheduledEvent) -> calendar.ScheduledEvent:
    """A stored event as a value."""
    return calendar.ScheduledEvent(
        kind=cast("calendar.Kind", row.kind),
        name=row.name,
        scheduled_at=row.scheduled_at,
        impact=cast("calendar.Impact", row.impact),
        currency=row.currency,
        source=row.source,
        manual=row.manual,
    )


def news_at(now: datetime) -> str | None:
    """The event whose window this is."""
    event = calendar.news_event(known_events(now), now, settings.NEWS_WINDOW_MINUTES)
    return None if event is None else event.name


def alerts_since_last_cycle(cycle: DecisionCycle) -> list[MarketAlert]:
    """The instrument's market alerts since its last cycle began; one that was over at once looked at none."""
    before = (  # in the order of one index, as the newest snapshot is found: the first may be another instrument's
        DecisionCycle.objects.filter(instrument__lte=cycle.instrument, slot_at__lt=cycle.slot_at)
        .exclude(outcome=Outcome.PREVIOUS_STILL_RUNNING)
        .order_by("-instrument", "-slot_at")
        .values(began=Case(When(instrument=cycle.instrument, then=F("created_at"))))
    )
    began = Coalesce(Subquery(before[:1]), Value(datetime.min.replace(tzinfo=UTC)))
    alerts = MarketAlertRecord.objects.filter(symbol=cycle.instrument, received_at__gt=began)
    return [
        MarketAlert(symbol=row.symbol, kind=row.kind, severity=row.severity, detail=row.detail, value=row.value)
        for row in alerts.order_by("id")[:20]
    ]


def thresholds() -> Thresholds:
    """Where a market becomes unusual, from the settings."""
    return Thresholds(
        price_change_1h=settings.ANOMALY_PRICE_CHANGE_1H,
        funding_high=settings.ANOMALY_FUNDING_HIGH,
        funding_low=settings.ANOMALY_FUNDING_LOW,
        oi_change_4h=settings.ANOMALY_OI_CHANGE_4H,
    )


def switches() -> Switches:
    """The screener's switches: the settings, unless a person changed one since."""
    changed = dict(ScreenerSwitch.objects.order_by("name", "-id").distinct("name").values_list("name", "value"))

    def value(name: str) -> bool:
        return bool(changed.get(name, getattr(settings, name)))

    return Switches(
        enabled=value("SCREENER_ENABLED"),
        bypass_on_position=value("SCREENER_BYPASS_ON_POSITION"),
        bypass_on_news=value("SCREENER_BYPASS_ON_NEWS"),
    )


def recent_trades() -> list[TradeSummary]:
    """The newest closed trades, as the prompt shows them."""
    unseen = ("opus_reasoning", "indicators_entry", "indicators_exit", "research_context")
    closed = Trade.objects.filter(status=Trade.Status.CLOSED, closed_at__isnull=False).defer(*unseen)
    return [
        TradeSummary(
            symbol=row.symbol,
            direction=row.direction,
            strategy_used=row.strategy_used,
            market_regime=row.market_regime,
            confidence=None if row.confidence_at_entry is None else float(row.confidence_at_entry),
            opened_at=row.opened_at,
            closed_at=row.closed_at,
            entry_price=row.entry_price,
            exit_price=row.exit_price,
            exit_reason=row.exit_reason,
            pnl_usd=row.pnl_usd,
            pnl_pct=row.pnl_pct,
            lesson=(row.self_review or {}).get("lesson", ""),
        )
        for row in closed.order_by("-closed_at", "-id")[:FETCHED_TRADES]
        if row.closed_at is not None
    ]


def told_limits() -> Mapping[str, str]:
    """The limits as the model is told them."""
    return settings.RISK_LIMITS.as_dict()


def budget(now: datetime) -> Budget:
    """What models have cost in the market day of `now`, whoever answered, and what they may cost.

    Answers of the offline model and of recordings count at the price of the real ones: a sandbox and a replay meet the
    same limits as the run that they stand for.
    """
    midnight = beginning(market_day(now))
    today = ModelCall.objects.filter(market_time__gte=midnight, market_time__lt=midnight + DAY)
    spent = today.aggregate(total=Sum("cost_usd"))["total"]
    return Budget(spent or Decimal(0), settings.DAILY_MODEL_BUDGET_USD)
