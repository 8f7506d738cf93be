"""A closed trade with all that is recorded of it, as the values that its review is asked from."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import cast

from django.conf import settings

from decisions import booked
from decisions.messages import MarketSnapshot
from decisions.models import DecisionCycle, MarketRecord, Order
from journal.excursion import Excursion, RecordedPrice, excursion
from journal.models import Trade
from journal.performance_snapshots import closed_trade
from journal.playbook import Playbook
from journal.services import active_playbook, playbook
from reflection.digest import Direction
from reflection.prompts import CompletedTrade


def completed_trade(trade: Trade) -> CompletedTrade:
    """The plan as it was at the opening, what happened, and the market at both ends as far as it is still kept."""
    order = _opening_order(trade)
    stop, target = (trade.stop_loss, trade.take_profit) if order is None else (order.stop_loss, order.take_profit)
    closed_at = cast(datetime, trade.closed_at)
    return CompletedTrade(
        trade=closed_trade(trade),
        direction=cast(Direction, trade.direction),
        entry_price=trade.entry_price,
        exit_price=trade.exit_price,
        stop_loss=stop,
        take_profit=target,
        size_pct=trade.size_pct,
        leverage=trade.leverage,
        reasoning=trade.opus_reasoning,
        excursion=_excursion(trade, stop),
        research=trade.research_context,
        market_at_entry=_as_decided(trade) or _as_recorded(trade.symbol, trade.opened_at),
        market_at_exit=_as_recorded(trade.symbol, closed_at),
    )


def playbook_of(trade: Trade) -> Playbook:
    """The version that the trade was made by; for one that no decision of ours opened, the one that trades now."""
    return active_playbook() if trade.playbook_version is None else playbook(trade.playbook_version)


def _opening_order(trade: Trade) -> Order | None:
    """The order of the decision that opened it: an addition brings another stop and target to the trade."""
    return None if trade.decision_id is None else Order.objects.filter(decision_id=trade.decision_id).first()


# --- the market -----------------------------------------------------------------------------------------------------


def _gap() -> timedelta:
    """What may lie between two snapshots of a feed that runs."""
    return timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS)


def _as_decided(trade: Trade) -> MarketSnapshot | None:
    """The snapshot that the opening was decided on."""
    if trade.decision_id is None:
        return None
    kept = DecisionCycle.objects.filter(decision_id=trade.decision_id).values_list("snapshot", flat=True).first()
    return None if kept is None else MarketSnapshot.model_validate(kept)


def _as_recorded(symbol: str, at: datetime) -> MarketSnapshot | None:
    """The newest snapshot at a moment, unless none is kept of that time."""
    known = MarketRecord.objects.filter(symbol=symbol, at__lte=at, at__gte=at - _gap()).order_by("-at")
    payload = known.values_list("payload", flat=True).first()
    return None if payload is None else MarketSnapshot.model_validate(payload)


def _excursion(trade: Trade, stop: Decimal | None) -> Excursion:
    recorded = MarketRecord.objects.filter(symbol=trade.symbol, at__gte=trade.opened_at, at__lte=trade.closed_at)
    prices = (RecordedPrice(at, price) for at, price in recorded.order_by("at").values_list("at", "price"))
    return excursion(booked.executions(trade), prices, stop_loss=stop, longest_gap=_gap())
