"""The sweeper: finds what nobody works on any more, and has it go on or end.

Postgres knows what is unfinished; the broker may have lost the message. Everything here may run twice at once.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from decisions import closing, cycles, orders, outbox
from decisions.clock import market_now, wall_now
from decisions.models import DecisionCycle, Order, OrderStatus, Outcome, State
from risk import services as risk

MOST_ATTEMPTS = 3
IDLE = timedelta(seconds=5)
"""How long a stage may wait unclaimed before it is woken again: longer than any queue is when workers are alive."""

log = logging.getLogger(__name__)


def sweep() -> None:
    """One round."""
    outbox.relay()
    now = wall_now()
    for cycle in DecisionCycle.objects.exclude(state=State.DONE).order_by("id"):
        _look_at(cycle, now)
    _declare_unknown(now)
    _withdraw_expired_limits()
    closing.send_what_is_left()
    closing.go_on_closing_all()


def cycle_length() -> timedelta:
    """A decision cycle in wall time: the sandbox's bars pass faster, but never faster than work can be done."""
    if not settings.SANDBOX:
        return timedelta(seconds=settings.DECISION_CYCLE_SECONDS)
    return max(timedelta(seconds=float(settings.SANDBOX_BAR_SECONDS)), timedelta(seconds=60))


def _look_at(cycle: DecisionCycle, now: datetime) -> None:
    if cycle.state in (State.CONFIRMING, State.JOURNALING):
        return  # an order is out: its answer, or its silence, ends the cycle
    if cycle.claimed_until is not None and cycle.claimed_until > now:
        return  # somebody works on it
    too_old = now - cycle.created_at > cycle_length()
    if too_old or cycle.attempts >= MOST_ATTEMPTS:
        _abandon(cycle, "older than a cycle" if too_old else f"{cycle.attempts} attempts failed: {cycle.last_error}")
    elif now - cycle.updated_at > IDLE or cycle.claimed_until is not None:
        log.info("waking cycle %s in %s", cycle.pk, cycle.state)
        with transaction.atomic():
            cycles.wake(cycle)


@transaction.atomic
def _abandon(cycle: DecisionCycle, why: str) -> None:
    """End a cycle that sent no order; its order, if there is one, is not sent any more."""
    risk.lock_state()
    now = wall_now()
    untouched = DecisionCycle.objects.filter(pk=cycle.pk, state=cycle.state).exclude(claimed_until__gt=now)
    if not untouched.select_for_update().exists():
        return  # another sweeper was quicker, or somebody works on it again
    order = Order.objects.select_for_update().filter(decision_id=cycle.decision_id).first()
    if order is not None and (order.status != OrderStatus.PENDING or orders.was_sent(order)):
        _note_sent(cycle, order)
        return
    if order is not None:
        orders.end(order, OrderStatus.EXPIRED, f"its cycle was abandoned: {why}")
    DecisionCycle.objects.filter(pk=cycle.pk).update(
        state=State.DONE,
        outcome=Outcome.ABANDONED,
        reason=f"abandoned while {cycle.state}: {why}",
        finished_at=now,
        claim=None,
        claimed_until=None,
        updated_at=now,
    )


def _note_sent(cycle: DecisionCycle, order: Order) -> None:
    """The order went out and only the note of it was lost."""
    if entry_id := orders.was_sent(order):
        orders.mark_sent(order, entry_id)
    DecisionCycle.objects.filter(pk=cycle.pk, state=State.EXECUTING).update(
        state=State.CONFIRMING, claim=None, claimed_until=None, updated_at=wall_now()
    )


def _declare_unknown(now: datetime) -> None:
    """An order that nobody confirms in time is unknown, and said to be; so is a market order that was accepted and
    then never filled, since its cycle waits for the end of it."""
    answered = [OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED]
    silent = Order.objects.filter(
        Q(status=OrderStatus.SENT) | Q(status__in=answered, order_type="market"),
        sent_at__lt=now - timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS),
    )
    for order in silent:
        with transaction.atomic():
            risk.lock_state()
            changed = Order.objects.filter(pk=order.pk, status=order.status).update(status=OrderStatus.UNKNOWN)
            if changed:
                _tell_unknown(order)


def _tell_unknown(order: Order) -> None:
    reason = f"no answer to the order within {settings.CONFIRM_TIMEOUT_SECONDS} seconds"
    cycles.end_by_order(order.decision_id, Outcome.ORDER_UNKNOWN, reason)
    outbox.record_alert(
        "WARN",
        "order_unknown",
        f"Nobody knows what became of {order}",
        f"{reason} (client order id {order.client_order_id})",
        f"{order.symbol} opens nothing until it is known",
    )


def _withdraw_expired_limits() -> None:
    """Ask for the end of limits that the venue should have ended by itself, until it answers."""
    now = market_now()
    if now is None:
        return
    patience = timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS)
    unasked = Q(cancel_asked_at__isnull=True) | Q(cancel_asked_at__lt=wall_now() - patience)
    working = Order.objects.filter(status__in=[OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED], order_type="limit")
    for order in working.filter(unasked, expires_at__lt=now - patience):
        with transaction.atomic():
            orders.withdraw(order, "expired")
