"""The sweeper: finds what nobody works on any more, and has it go on or end.

Postgres knows what is unfinished; the broker may have lost the message. Everything here may run twice at once, and
nothing keeps the rest from being done.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from decisions import closing, cycles, fills, orders, outbox
from decisions.clock import market_now, older, older_than, wall_now
from decisions.models import DecisionCycle, Order, OrderStatus, Outcome, State
from decisions.rounds import on_its_own
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import about
from risk import services as risk

MOST_ATTEMPTS = 3
IDLE = timedelta(seconds=5)
"""How long a stage may wait unclaimed before it is woken again: longer than any queue is when workers are alive."""
OUT = (State.CONFIRMING, State.JOURNALING)
"""An order is out: its answer, or its silence, ends the cycle."""

log = logging.getLogger(__name__)


def sweep() -> None:
    """One round."""
    reached("sweep_began")
    now = wall_now()
    with on_its_own("publishing what is left"):
        outbox.relay()
    for cycle in _nobodys(now):
        with about(cycle=cycle.pk, instrument=cycle.instrument), on_its_own("looking after a cycle"):
            _look_at(cycle, now)
    with on_its_own("booking the fills that wait"):
        fills.settle_waiting(now)
    _end_the_answered()
    _declare_unknown(now)
    with on_its_own("asking again for withdrawals"):
        _repeat_withdrawals(now)
    closing.send_what_is_left()
    with on_its_own("closing all"):
        closing.go_on_closing_all()


def abandon_stale() -> None:
    """End the cycles whose time is over, so that they stand in the way of no new slot: what piled up during an outage
    is left out."""
    now = wall_now()
    for cycle in _nobodys(now):
        if cycles.is_stale(cycle, now):
            with on_its_own("abandoning a cycle"):
                _abandon(cycle, STALE)


STALE = "older than a cycle"


def _nobodys(now: datetime) -> list[DecisionCycle]:
    """The open cycles that nobody works on and that wait for no answer of the venue."""
    waiting = DecisionCycle.objects.filter(finished_at__isnull=True).exclude(state__in=OUT).order_by("id")
    return [cycle for cycle in waiting if not cycles.is_claimed(cycle, now)]


def _look_at(cycle: DecisionCycle, now: datetime) -> None:
    if cycles.is_stale(cycle, now):
        _abandon(cycle, STALE)
    elif cycle.attempts >= MOST_ATTEMPTS:
        _abandon(cycle, f"{cycle.attempts} attempts failed: {cycle.last_error}")
    elif older_than(cycle.updated_at, IDLE, now) or cycle.claimed_until is not None:
        log.info("waking cycle %s in %s", cycle.pk, cycle.state)
        with transaction.atomic():
            cycles.wake(cycle)


@transaction.atomic
def _abandon(cycle: DecisionCycle, why: str) -> None:
    """End a cycle that sent no order; its order, if there is one, is not sent any more."""
    risk.lock_state()
    now = wall_now()
    found = DecisionCycle.objects.filter(pk=cycle.pk, state=cycle.state).select_for_update().first()
    if found is None or cycles.is_claimed(found, now):
        return  # another sweeper was quicker, or somebody works on it again
    order = Order.objects.select_for_update().filter(decision_id=cycle.decision_id).first()
    if order is not None and not orders.surely_unsent(order):
        _have_it_wait(cycle, order)
        return
    DecisionCycle.objects.filter(pk=cycle.pk).update(
        state=State.DONE,
        outcome=Outcome.ABANDONED,
        reason=f"abandoned while {cycle.state}: {why}",
        finished_at=now,
        claim=None,
        claimed_until=None,
        updated_at=now,
    )
    if order is not None:
        orders.end(order, OrderStatus.EXPIRED, f"its cycle was abandoned: {why}")
    reached("cycle_abandoned")


def _have_it_wait(cycle: DecisionCycle, order: Order) -> None:
    """The order is out, or over: its cycle waits for the answer, unless that is there."""
    if not orders.end_its_cycle(order):
        DecisionCycle.objects.filter(pk=cycle.pk, state=State.EXECUTING).update(
            state=State.CONFIRMING, claim=None, claimed_until=None, updated_at=wall_now()
        )


def _end_the_answered() -> None:
    """End the cycles that wait for an answer which is there, whatever it was that left them waiting."""
    for order in Order.objects.filter(cycle__finished_at__isnull=True, cycle__state__in=OUT).order_by("id"):
        with on_its_own("ending a cycle whose order has been answered"):
            orders.end_its_cycle(order)


def _patience() -> timedelta:
    return timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS)


def _declare_unknown(now: datetime) -> None:
    """An order that nobody confirms in time is unknown, and said to be; so is a market order that was accepted and
    then never filled, since its cycle waits for the end of it."""
    answered = [OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED]
    silent = Order.objects.filter(
        Q(status=OrderStatus.SENT) | Q(status__in=answered, order_type="market"),
        older("sent_at", _patience(), now),
        ended_at__isnull=True,
    )
    for pk in silent.order_by("id").values_list("pk", flat=True):
        with about(order_row=pk), on_its_own("declaring an order unknown"), transaction.atomic():
            risk.lock_state()
            if (order := silent.select_for_update().filter(pk=pk).first()) is not None:
                orders.give_up(order, f"no answer to the order within {settings.CONFIRM_TIMEOUT_SECONDS} seconds")


def _repeat_withdrawals(now: datetime) -> None:
    """Ask for the end of resting limits again until the venue answers: those that it should have ended by itself, and
    those whose withdrawal it did not hear of."""
    answered = [OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED]
    working = Order.objects.filter(ended_at__isnull=True, status__in=answered, order_type="limit")
    overdue = Q(pk__in=[])
    if (market := market_now()) is not None:
        overdue = Q(cancel_asked_at__isnull=True, expires_at__lt=market - _patience())
    for order in working.filter(overdue | older("cancel_asked_at", _patience(), now)).order_by("id"):
        with transaction.atomic():
            orders.withdraw(order, "asked again, without an answer so far" if order.cancel_asked_at else "expired")
