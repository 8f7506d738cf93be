"""Reduce-only closes that no cycle asked for: a person's close-all, and the protection of positions without a stop.

Each is written with a verdict of its own, as any CLOSE is, and goes out after the commit by the same idempotent script.
One that a dead process left unsent goes out with the sweeper; one that came to nothing is tried anew, under a new id,
by whoever wants the position gone: `protection` for its own, `go_on_closing_all` here for a person's.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import redis
from django.conf import settings
from django.db import transaction

from decisions import context, exposure, orders, outbox
from decisions.clock import is_ahead, now_for_record, older_than, wall_now, younger
from decisions.messages import MarketSnapshot, Position
from decisions.models import Order, OrderKind, OrderStatus, OutboxMessage
from decisions.notices import publish
from decisions.rounds import on_its_own
from journal.models import Trade
from orchestrator_project import streams
from orchestrator_project.crash_points import reached
from risk import gate
from risk import services as risk
from risk.models import RiskAction, RiskState

REMINDER = timedelta(minutes=1)
NOT_KNOWN = Decimal("NaN")
"""What the gate is shown of an instrument without a snapshot: it measures no CLOSE by it."""

log = logging.getLogger(__name__)


def reported() -> Sequence[Position]:
    """The positions of the venue's newest report."""
    report = context.position_report()
    return report.positions if report else ()


def exit_in_flight(symbol: str) -> bool:
    """Whether something is on its way that reduces the position already."""
    return any(order.reduce_only and order.symbol == symbol for order in exposure.live_orders())


def pause() -> timedelta:
    """How long one close is given before the next is tried."""
    return timedelta(seconds=settings.PROTECTION_DEADLINE_SECONDS)


def close(state: RiskState, position: gate.Position, kind: OrderKind, reason: str, now: datetime) -> Order | None:
    """Write the order that closes a position, and send it after the commit. Called under the account's lock.

    `now` is market time. None when the gate refuses: it does so for a size that is no number, and while another exit of
    the instrument is on its way. That is recorded and told once in `REMINDER`, however often it is tried.
    """
    snapshot, decision_id = _snapshot(position.symbol), uuid4()
    proposal, instrument = _proposal(position.symbol, snapshot), _instrument(position.symbol, snapshot)
    positions, pending = (*_elsewhere(position.symbol), position), tuple(exposure.live_orders())
    if _refused_lately(position.symbol) and not _weighed(state, proposal, positions, pending, instrument, now).approved:
        return None
    judged = risk.judge(
        state,
        decision_id=decision_id,
        cycle_number=None,
        decision={"action": "CLOSE", "symbol": position.symbol, "reasoning": reason},
        proposal=proposal,
        equity=risk.gate_account(state).equity,
        positions=positions,
        pending=pending,
        correlations={},
        instrument=instrument,
        now=now,
    )
    publish(judged.notices)
    if not judged.verdict.approved:
        against = "; ".join(result.reason for result in judged.verdict.refusals)
        _tell_refused(position.symbol, against)
        return None
    order = Order.objects.create(
        kind=kind,
        decision_id=decision_id,
        client_order_id=decision_id.hex,
        symbol=position.symbol,
        action="CLOSE",
        side=orders.side(position.direction, reduce_only=True),
        pos_side=position.direction.lower(),
        order_type="market",
        size=judged.verdict.contracts,
        reduce_only=True,
        judged_price=_price(position.symbol, snapshot),
        notional_usd=position.notional_usd,
        reason=reason,
        streams_life=_streams_life(),
        expires_at=orders.expiry("market", now),
    )
    transaction.on_commit(lambda: _send_now(order.pk))
    return order


def _refused_lately(symbol: str) -> bool:
    told = OutboxMessage.objects.filter(category="close_refused", metadata={"symbol": symbol})
    return told.filter(younger("created_at", REMINDER, wall_now())).exists()


def _weighed(
    state: RiskState,
    proposal: gate.Proposal,
    positions: tuple[gate.Position, ...],
    pending: tuple[gate.PendingOrder, ...],
    instrument: gate.Instrument,
    now: datetime,
) -> gate.Verdict:
    """The gate's word on a close, recorded nowhere."""
    return risk.weigh(
        proposal=proposal,
        account=risk.gate_account(state),
        positions=positions,
        pending=pending,
        state=risk.gate_state(state),
        correlations={},
        instrument=instrument,
        now=now,
    )[1]


def _tell_refused(symbol: str, against: str) -> None:
    outbox.record_alert_at_most(
        REMINDER,
        "CRITICAL",
        "close_refused",
        title=f"Closing {symbol} was refused",
        detail=against,
        action_taken="None",
        about={"symbol": symbol},
    )


def _streams_life() -> str:
    """Empty while Redis is away: a close is written all the same, and goes out when Redis is back."""
    try:
        return streams.life(outbox.redis_client())
    except redis.RedisError as error:
        log.warning("a close is written while Redis is away: %s", error)
        return ""


def _snapshot(symbol: str) -> MarketSnapshot | None:
    record = context.newest_snapshot(symbol)
    return None if record is None else MarketSnapshot.model_validate(record.payload)


def _proposal(symbol: str, snapshot: MarketSnapshot | None) -> gate.Proposal:
    return gate.Proposal(
        action="CLOSE",
        symbol=symbol,
        size_pct=Decimal(0),
        order_type="market",
        limit_price=None,
        stop_loss=None,
        take_profit=None,
        snapshot_price=snapshot.price if snapshot else NOT_KNOWN,
        bid=snapshot.bid if snapshot else NOT_KNOWN,
        ask=snapshot.ask if snapshot else NOT_KNOWN,
    )


def _instrument(symbol: str, snapshot: MarketSnapshot | None) -> gate.Instrument:
    if snapshot is not None:
        return gate.Instrument(symbol=symbol, **dict(snapshot.instrument))
    return gate.Instrument(symbol=symbol, ct_val=NOT_KNOWN, lot_size=NOT_KNOWN, min_size=NOT_KNOWN, tick_size=NOT_KNOWN)


def _elsewhere(symbol: str) -> list[gate.Position]:
    """The other instruments' positions. Of one instrument held both ways each side is closed by itself."""
    return [other for other in exposure.positions(reported()) if other.symbol != symbol]


def _price(symbol: str, snapshot: MarketSnapshot | None) -> Decimal:
    """The newest price known: the market's, else the venue's mark, else our entry."""
    if snapshot is not None:
        return snapshot.price
    position = context.position_in(symbol, reported())
    if position is not None:
        return position.mark_price
    return Trade.objects.get(symbol=symbol, closed_at__isnull=True).entry_price


# --- sending ----------------------------------------------------------------------------------------------------------


def _send_now(order_id: int) -> None:
    reached("close_written")
    try:
        send(order_id)
    except redis.RedisError as error:
        log.warning("order %s waits for the sweeper: %s", order_id, error)


def send(order_id: int) -> None:
    """Put a pending close on the stream, once however often it is called; end it when it is past its expiry.

    One that may have gone out before Redis was emptied is not sent again: nobody knows what became of it. Not to be
    called in a transaction.
    """
    _note_life(order_id)
    _send(order_id)


def _note_life(order_id: int) -> None:
    """A close that was written while Redis was away belongs to the life of the streams in which it is first tried. That
    is known for good before it is: what dies after the sending finds out whether Redis was emptied since."""
    without = Order.objects.filter(pk=order_id, status=OrderStatus.PENDING, streams_life="")
    if without.exists():
        life = streams.life(outbox.redis_client())
        with transaction.atomic(durable=True):
            without.update(streams_life=life)


@transaction.atomic
def _send(order_id: int) -> None:
    risk.lock_state()
    order = Order.objects.select_for_update().get(pk=order_id)
    if not orders.surely_unsent(order):
        return
    if orders.expired(order, now_for_record()) or is_ahead(order.created_at, wall_now()):
        orders.end(order, OrderStatus.EXPIRED, f"expired at {order.expires_at:%H:%M:%S} before it was sent")
        return
    reached("before_close_send")
    entry_id = orders.send(order)
    reached("close_on_stream")
    orders.mark_sent(order, entry_id)


def send_what_is_left() -> None:
    """Send, or end, the closes that a dead process left behind."""
    pending = Order.objects.filter(ended_at__isnull=True, status=OrderStatus.PENDING, cycle__isnull=True)
    for order_id in pending.order_by("id").values_list("id", flat=True):
        with on_its_own("sending a close"):
            send(order_id)


# --- a person's close-all ---------------------------------------------------------------------------------------------


def go_on_closing_all() -> None:
    """Try again what a close-all has not closed yet: until the positions are gone, or a person resumes."""
    if _close_all_under_way() is None:
        return
    with transaction.atomic():
        state = risk.lock_state()
        if (action := _close_all_under_way()) is None:
            return
        for position in [each for each in exposure.positions(reported()) if _still_to_close(action, each.symbol)]:
            outbox.record_alert_at_most(
                REMINDER,
                "WARN",
                "close_all_again",
                title=f"{position.symbol} is not closed yet",
                detail=f"The close-all by {action.by} has not closed {position.size.normalize():f} contracts",
                action_taken="Another market order goes out",
                about={"symbol": position.symbol},
            )
            close(state, position, OrderKind.CLOSE_ALL, f"close all: {action.reason}", now_for_record())


def _close_all_under_way() -> RiskAction | None:
    either = (RiskAction.Action.CLOSE_ALL, RiskAction.Action.RESUME)
    newest = RiskAction.objects.filter(account=risk.ACCOUNT, action__in=either).order_by("-id").first()
    return newest if newest is not None and newest.action == RiskAction.Action.CLOSE_ALL else None


def _still_to_close(action: RiskAction, symbol: str) -> bool:
    """Whether a position is open against the will of a close-all, with no exit on its way.

    Our own counts whenever it was opened: a resting order may have filled before it was withdrawn. One that only the
    venue knows counts when its close came to nothing: what is there after a filled close, or was not there before, is
    an old report or somebody else's new position.
    """
    now = wall_now()
    tried = Order.objects.filter(kind=OrderKind.CLOSE_ALL, symbol=symbol)
    if not is_ahead(action.created_at, now):  # else the clock was set back, and the stamps of before tell no order
        tried = tried.filter(created_at__gte=action.created_at)
    newest = tried.order_by("-id").first()
    if exit_in_flight(symbol) or (newest is not None and not older_than(newest.created_at, pause(), now)):
        return False
    ours = context.open_trade_of(symbol) is not None
    return ours or (newest is not None and newest.status != OrderStatus.FILLED)
