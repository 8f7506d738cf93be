"""Orders: the intent is a row, written with the verdict that approved it; sending comes after and happens once.

Every change of a status goes through `move`, by the table in `order_life`, leaves a row that tells when and why, and
ends the order's cycle where it is what that waits for. Only what has surely not gone out is sent, or ended by us.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.conf import settings

from decisions import cycles, order_life, outbox
from decisions.clock import wall_now
from decisions.messages import TRADE_ORDERS, Envelope, MarketSnapshot, TradeCancel, TradeOrder, wrap
from decisions.models import LIVE, DecisionCycle, Order, OrderStatus, OrderTransition, Outcome
from decisions.schemas import AnalysisAnswer
from orchestrator_project import streams
from orchestrator_project.crash_points import reached
from risk import gate, sizing

LOST_TRACK = "it may have gone out before Redis was emptied"


def write_intent(
    cycle: DecisionCycle, answer: AnalysisAnswer, verdict: gate.Verdict, direction: gate.Direction, *, now: datetime
) -> Order:
    """The order that an approving verdict allows. `now` is market time."""
    snapshot = MarketSnapshot.model_validate(cycle.snapshot)
    order_type = "market" if verdict.reduce_only else answer.decision.order_type
    judged_price = max(verdict.limit_price or snapshot.price, snapshot.price)
    order = Order.objects.create(
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
        streams_life=streams.life(outbox.redis_client()),
        expires_at=expiry(order_type, now),
    )
    reached("intent_written")
    return order


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


def surely_unsent(order: Order) -> bool:
    """Whether an order is still to be sent: it is pending, and the streams tell that it has not gone out.

    One that went out and was not noted is noted now; one that may have gone out without a trace is given up, and the
    venue's reports say what became of it. Called under the account's lock.
    """
    unnoted = order.status == OrderStatus.PENDING or not order.entry_id
    if unnoted and (entry_id := was_sent(order)) is not None:
        mark_sent(order, entry_id)
    elif order.status == OrderStatus.PENDING and lost_track_of(order):
        give_up(order, LOST_TRACK)
        _withdraw_after_all(order)
    return order.status == OrderStatus.PENDING


def lost_track_of(order: Order) -> bool:
    """Whether the order may have gone out without a trace: it is not known to be out, and Redis was emptied since it
    was written. One without a life has never been tried."""
    if order.streams_life in ("", streams.life(outbox.redis_client())):
        return False
    return was_sent(order) is None


def send(order: Order) -> str:
    """Put the order on the stream, once however often it is called. Returns the entry's id.

    Raises `streams.AnotherLife`, a passing error, when Redis was emptied a moment ago: see `lost_track_of`.
    """
    return streams.publish(outbox.redis_client(), TRADE_ORDERS, envelope(order), life=order.streams_life)


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


# --- its status -------------------------------------------------------------------------------------------------------


def move(order: Order, to: OrderStatus, *, cause: str, **fields: Any) -> bool:
    """Change the order's status where the table of its life allows it, with other `fields` of its row, and note when
    and why. Says whether it did; either way `order.status` is what the database has by then.

    Of several who move an order at once each sees what the one before has made of it.
    """
    filled = fields.get("filled_size", order.filled_size)
    while order_life.may_become(order.status, to, filled_whole=filled >= order.size):
        before, now = OrderStatus(order.status), wall_now()
        changes = {**fields, "status": to}
        if to in order_life.ENDED:
            changes["ended_at"] = order.ended_at or now
        if Order.objects.filter(pk=order.pk, status=before).update(**changes):
            OrderTransition.objects.create(order=order, from_status=before, to_status=to, cause=cause, at=now)
            _set(order, changes)
            end_its_cycle(order, cause)
            return True
        order.refresh_from_db(fields=["status", "ended_at"])
    return False


def _set(order: Order, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(order, name, value)


def end(order: Order, status: OrderStatus, reason: str) -> bool:
    """End an order that is not over yet. Says whether it was so."""
    return move(order, status, cause=reason, reason=reason)


def give_up(order: Order, reason: str) -> None:
    """Say that nobody knows what became of an order. The venue's reports tell."""
    if not move(order, OrderStatus.UNKNOWN, cause=reason):
        return
    outbox.record_alert(
        "WARN",
        "order_unknown",
        f"Nobody knows what became of {order}",
        f"{reason} (client order id {order.client_order_id})",
        f"{order.symbol} opens nothing until it is known",
    )


def end_its_cycle(order: Order, cause: str = "") -> bool:
    """End the cycle that waits for the order, if the order's status is an answer. Says whether it is one."""
    answer = _answer(order, cause)
    if answer is None:
        return False
    if order.cycle_id is not None:
        cycles.end_by_order(order.decision_id, *answer)
    return True


def _answer(order: Order, cause: str) -> tuple[Outcome, str] | None:
    """What the order's status tells its cycle, and why; None while the cycle has to wait."""
    if order.status == OrderStatus.FILLED or (order.status in order_life.ENDED and order.filled_size > 0):
        filled = f"{order.filled_size.normalize():f} of {order.size.normalize():f} contracts"
        return Outcome.TRADED, f"{order.action} filled: {filled}"
    if order.order_type == "limit" and order.status in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED):
        return Outcome.ORDER_WORKING, "the limit order rests at the venue"
    answers = {
        OrderStatus.REJECTED: (Outcome.ORDER_REJECTED, f"the venue refused: {order.reason}"),
        OrderStatus.EXPIRED: (Outcome.ORDER_EXPIRED, order.reason or "the order expired unfilled"),
        OrderStatus.CANCELLED: (Outcome.ORDER_CANCELLED, order.reason or "the order was cancelled"),
        OrderStatus.UNKNOWN: (Outcome.ORDER_UNKNOWN, cause or "nobody knows what became of the order"),
    }
    return answers.get(OrderStatus(order.status))


def mark_sent(order: Order, entry_id: str) -> None:
    """Note that the order went out, unless the venue has answered meanwhile. A limit order that was withdrawn while
    nobody knew that it was out is withdrawn at the venue now."""
    noted = {"entry_id": entry_id, "sent_at": order.sent_at or wall_now()}
    if not move(order, OrderStatus.SENT, cause=f"entry {entry_id} of {TRADE_ORDERS}", **noted):
        Order.objects.filter(pk=order.pk, entry_id="").update(**noted)
    _withdraw_after_all(order)


def _withdraw_after_all(order: Order) -> None:
    if order.order_type == "limit" and order.cancel_asked_at is not None and order.status in LIVE:
        withdraw(order, "it was withdrawn before it was known to be out")


def withdraw_openings(reason: str, symbol: str | None = None) -> None:
    """Let no opening go out that has not gone yet, and ask the venue to cancel every opening limit order that rests
    there, or may do so soon; of one instrument only, if it is given."""
    live = Order.objects.filter(reduce_only=False, ended_at__isnull=True, **({"symbol": symbol} if symbol else {}))
    for order in live.filter(order_type="limit").exclude(status=OrderStatus.PENDING):
        withdraw(order, reason)
    live.filter(status=OrderStatus.PENDING).update(cancel_asked_at=wall_now())


def withdraw(order: Order, reason: str) -> None:
    """Ask the venue to cancel a resting order; its answer ends it."""
    Order.objects.filter(pk=order.pk).update(cancel_asked_at=wall_now())
    outbox.record_cancel(TradeCancel(client_order_id=order.client_order_id, symbol=order.symbol, reason=reason))
