"""Orders: the intent is a row, written with the verdict that approved it; sending comes after and happens once."""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.conf import settings
from django.db.models import Case, F, Value, When

from decisions import outbox
from decisions.clock import wall_now
from decisions.messages import TRADE_ORDERS, Envelope, MarketSnapshot, TradeCancel, TradeOrder, wrap
from decisions.models import LIVE, DecisionCycle, Order, OrderStatus
from decisions.schemas import AnalysisAnswer
from orchestrator_project import streams
from risk import gate, sizing

ENDED = (OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED)


def write_intent(
    cycle: DecisionCycle, answer: AnalysisAnswer, verdict: gate.Verdict, direction: gate.Direction, *, now: datetime
) -> Order:
    """The order that an approving verdict allows. `now` is market time."""
    snapshot = MarketSnapshot.model_validate(cycle.snapshot)
    order_type = "market" if verdict.reduce_only else answer.decision.order_type
    judged_price = max(verdict.limit_price or snapshot.price, snapshot.price)
    return Order.objects.create(
        cycle=cycle,
        decision_id=cycle.decision_id,
        client_order_id=cycle.decision_id.hex,
        symbol=cycle.instrument,
        action=answer.decision.action,
        side=side(direction, reduce_only=verdict.reduce_only),
        pos_side=direction.lower(),
        order_type=order_type,
        size=verdict.contracts,
        size_pct=None if verdict.reduce_only else verdict.size_pct,
        limit_price=verdict.limit_price,
        stop_loss=verdict.stop_loss,
        take_profit=verdict.take_profit,
        leverage=verdict.leverage,
        reduce_only=verdict.reduce_only,
        judged_price=snapshot.price,
        notional_usd=sizing.notional(verdict.contracts, judged_price, snapshot.instrument.ct_val),
        expires_at=expiry(order_type, now),
    )


def side(direction: gate.Direction, *, reduce_only: bool) -> str:
    """Entering a long and leaving a short is a buy."""
    return "buy" if (direction == "LONG") != reduce_only else "sell"


def expiry(order_type: str, market_time: datetime) -> datetime:
    """When the order may no longer be executed: by the wall clock for market orders, by the market's for limits."""
    if order_type == "limit":
        return market_time + timedelta(seconds=settings.ORDER_TTL_LIMIT_SECONDS)
    return wall_now() + timedelta(seconds=settings.ORDER_TTL_MARKET_SECONDS)


def expired(order: Order, market_time: datetime) -> bool:
    """Whether the order is past its expiry by the clock that counts for it."""
    return order.expires_at <= (market_time if order.order_type == "limit" else wall_now())


def message_id(order: Order) -> str:
    """The same for every attempt to send the order."""
    return str(uuid5(NAMESPACE_URL, f"order:{order.client_order_id}"))


def was_sent(order: Order) -> str | None:
    """The order's entry on the stream, if it is known to have gone out already."""
    return streams.published(outbox.redis_client(), TRADE_ORDERS, message_id(order))


def send(order: Order) -> str:
    """Put the order on the stream, once however often it is called. Returns the entry's id."""
    return streams.publish(outbox.redis_client(), TRADE_ORDERS, envelope(order))


def envelope(order: Order) -> Envelope:
    """The message that asks the trade server for the order."""
    decision: dict[str, Any] = (order.cycle.decision if order.cycle else None) or {}
    message = TradeOrder(
        action=order.action,
        symbol=order.symbol,
        side=order.side,
        pos_side=order.pos_side,
        order_type=order.order_type,
        size=order.size.normalize(),
        limit_price=order.limit_price and order.limit_price.normalize(),
        stop_loss=order.stop_loss and order.stop_loss.normalize(),
        take_profit=order.take_profit and order.take_profit.normalize(),
        leverage=order.leverage.normalize(),
        strategy_used=decision.get("strategy_used"),
        confidence=decision.get("confidence"),
        reasoning=decision.get("reasoning", order.reason),
        decision_id=str(order.decision_id),
        reduce_only=order.reduce_only,
        client_order_id=order.client_order_id,
        expires_at=order.expires_at,
    )
    metadata = {
        "playbook_version": order.cycle.playbook_version if order.cycle else None,
        "cycle_number": order.cycle_id,
    }
    return wrap(message, msg_id=message_id(order), source=outbox.SOURCE, now=wall_now(), metadata=metadata)


def mark_sent(order: Order, entry_id: str) -> None:
    """Note that the order went out, unless the venue has answered meanwhile. A limit order that was withdrawn while
    nobody knew that it was out is withdrawn at the venue now."""
    still_pending = When(status=OrderStatus.PENDING, then=Value(OrderStatus.SENT))
    Order.objects.filter(pk=order.pk, sent_at__isnull=True).update(
        entry_id=entry_id, sent_at=wall_now(), status=Case(still_pending, default=F("status"))
    )
    if order.order_type == "limit" and order.cancel_asked_at is not None:
        withdraw(order, "it was withdrawn before it was known to be out")


def end(order: Order, status: OrderStatus, reason: str) -> bool:
    """End an order that is not over yet. Says whether it was so."""
    ended = Order.objects.filter(pk=order.pk, status__in=LIVE).update(status=status, reason=reason, ended_at=wall_now())
    return bool(ended)


def withdraw_openings(reason: str, symbol: str | None = None) -> None:
    """Let no opening go out that has not gone yet, and ask the venue to cancel every opening limit order that rests
    there, or may do so soon; of one instrument only, if it is given."""
    live = Order.objects.filter(reduce_only=False, status__in=LIVE, **({"symbol": symbol} if symbol else {}))
    for order in live.filter(order_type="limit").exclude(status=OrderStatus.PENDING):
        withdraw(order, reason)
    live.filter(status=OrderStatus.PENDING).update(cancel_asked_at=wall_now())


def withdraw(order: Order, reason: str) -> None:
    """Ask the venue to cancel a resting order; its answer ends it."""
    Order.objects.filter(pk=order.pk).update(cancel_asked_at=wall_now())
    outbox.record_cancel(TradeCancel(client_order_id=order.client_order_id, symbol=order.symbol, reason=reason))
