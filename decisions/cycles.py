"""The life of a cycle in the database: created once a slot, claimed stage by stage, moved forward, ended.

A stage works only under a claim, and its result is written under the same claim, so that a message delivered twice, a
second beat or a slow twin does no work twice. A claim ends by itself after its lease; the sweeper then wakes the stage
again.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import redis
from celery import current_app
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from kombu.exceptions import OperationalError as BrokerError

from decisions.clock import AHEAD, older_than, wall_now
from decisions.models import DecisionCycle, Outcome, State
from orchestrator_project.crash_points import reached

log = logging.getLogger(__name__)

TASK_OF = {
    State.COLLECTING: "decisions.tasks.collect",
    State.SCREENING: "decisions.tasks.screen",
    State.RESEARCHING: "decisions.tasks.research",
    State.ANALYZING: "decisions.tasks.analyze",
    State.RISK_CHECK: "decisions.tasks.risk",
    State.EXECUTING: "decisions.tasks.execute",
}
"""What wakes the work of a state. A confirming cycle waits for the venue's word, not for a task."""

LEASE_MARGIN_SECONDS = 15

_CLAIM = """
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true) AS set)
UPDATE decision_cycles SET claim = %s, claimed_until = %s, attempts = attempts + 1, updated_at = %s FROM soon
WHERE soon.set = 'off' AND id = %s AND state = %s AND created_at BETWEEN %s AND %s
AND (claimed_until IS NULL OR claimed_until <= %s OR claimed_until > %s)
RETURNING decision_cycles.*
"""
"""A claim does not wait for the disk: one that a crash of Postgres forgets is work done again, and nothing worse."""


class ClaimLost(Exception):
    """Somebody else has the cycle now: whatever was worked out for it is to be dropped."""


def length() -> timedelta:
    """A decision cycle in wall time: the sandbox's bars pass faster, but never faster than work can be done."""
    if not settings.SANDBOX:
        return timedelta(seconds=settings.DECISION_CYCLE_SECONDS)
    return max(timedelta(seconds=float(settings.SANDBOX_BAR_SECONDS)), timedelta(seconds=60))


def is_stale(cycle: DecisionCycle, now: datetime) -> bool:
    """Whether the cycle's time is over: what it would decide belongs to a slot that is gone. `now` is wall time."""
    return older_than(cycle.created_at, length(), now)


def is_claimed(cycle: DecisionCycle, now: datetime) -> bool:
    """Whether somebody works on it. A claim that ends later than any can is of a clock that was set back since, and
    over. `now` is wall time."""
    return cycle.claimed_until is not None and now < cycle.claimed_until <= now + lease(cycle.state) + AHEAD


def lease(state: str) -> timedelta:
    """How long a claim of this state lasts: its model's deadline and some margin for the rest."""
    deadline = {
        State.SCREENING: settings.MAX_OPUS_TIMEOUT_SECONDS,
        State.ANALYZING: settings.MAX_OPUS_TIMEOUT_SECONDS,
        State.RESEARCHING: settings.RESEARCH_TIMEOUT_SECONDS,
    }
    return timedelta(seconds=deadline.get(State(state), 0) + LEASE_MARGIN_SECONDS)


def create(instruments: Sequence[str], slot_at: datetime) -> list[DecisionCycle]:
    """The slot's new cycles, one an instrument; nothing for instruments that have theirs. Nobody is woken.

    An instrument whose last cycle is still open gets one that is over already, for the record.
    """
    found = DecisionCycle.objects.filter(Q(slot_at=slot_at) | Q(finished_at__isnull=True))
    rows = found.values_list("instrument", "slot_at")
    known = {instrument for instrument, slot in rows if slot == slot_at}
    running = {instrument for instrument, _ in rows} - known
    missing = [name for name in instruments if name not in known]
    return [cycle for name in missing if (cycle := _create_one(name, slot_at, busy=name in running))]


def _create_one(instrument: str, slot_at: datetime, *, busy: bool) -> DecisionCycle | None:
    cycle = DecisionCycle(instrument=instrument, slot_at=slot_at)
    if busy:
        cycle.state, cycle.outcome, cycle.finished_at = State.DONE, Outcome.PREVIOUS_STILL_RUNNING, wall_now()
        cycle.reason = "the instrument's cycle before this one had not ended"
    try:
        with transaction.atomic():
            cycle.save(force_insert=True)
    except IntegrityError:  # another beat was quicker
        return None
    reached("cycle_created")
    return None if busy else cycle


def wake(cycle: DecisionCycle) -> None:
    """After the commit, send the task that does the work of the cycle's state."""
    name = TASK_OF.get(State(cycle.state))
    if name is not None:
        transaction.on_commit(lambda: _send(name, cycle.pk))


def _send(task: str, cycle_id: int) -> None:
    try:
        current_app.send_task(task, args=(cycle_id,))
    except (BrokerError, redis.RedisError) as error:
        log.warning("cycle %s waits for the sweeper: %s", cycle_id, error)


def claim(cycle_id: int, state: State) -> DecisionCycle | None:
    """Take the cycle's current stage, if it is in `state`, nobody has it and it is not stale: a message that waited
    through an outage starts no work late."""
    now, longest = wall_now(), lease(state)
    of_its_time = [now - length(), now + AHEAD]
    free = [now, now + longest + AHEAD]
    taken = list(DecisionCycle.objects.raw(_CLAIM, [uuid4(), now + longest, now, cycle_id, state, *of_its_time, *free]))
    if not taken:
        return None
    reached("stage_claimed")
    taken[0].work_began = monotonic()
    return taken[0]


def advance(cycle: DecisionCycle, state: State, **fields: Any) -> None:
    """Write the stage's result, move the cycle on and wake the next stage. Raises `ClaimLost`."""
    _write(cycle, state=state, attempts=0, **fields)
    wake(cycle)


def finish(cycle: DecisionCycle, outcome: Outcome, reason: str, **fields: Any) -> None:
    """Write the stage's result and end the cycle. Raises `ClaimLost`."""
    _write(cycle, state=State.DONE, outcome=outcome, reason=reason, finished_at=wall_now(), **fields)


def release(cycle: DecisionCycle, error: BaseException) -> None:
    """Give the stage up after a failure: the sweeper wakes it again, or ends the cycle when it has failed too often."""
    DecisionCycle.objects.filter(pk=cycle.pk, claim=cycle.claim).update(
        claim=None, claimed_until=None, last_error=f"{type(error).__name__}: {error}"[:2000], updated_at=wall_now()
    )


def _write(cycle: DecisionCycle, **fields: Any) -> None:
    worked = round((monotonic() - cycle.work_began) * 1000, 3)
    reached("before_stage_saved")
    stage_ms = {**cycle.stage_ms, cycle.state: cycle.stage_ms.get(cycle.state, 0) + worked}
    fields = {**fields, "stage_ms": stage_ms, "claim": None, "claimed_until": None, "updated_at": wall_now()}
    mine = DecisionCycle.objects.filter(pk=cycle.pk, state=cycle.state, claim=cycle.claim)
    if not mine.update(**fields):
        raise ClaimLost(f"cycle {cycle.pk} left {cycle.state} meanwhile")
    for name, value in fields.items():
        setattr(cycle, name, value)
    reached("stage_saved")


def end_by_order(decision_id: UUID, outcome: Outcome, reason: str) -> None:
    """The venue's word on the order ends its cycle, wherever the cycle stands by then: a fill may be quicker than the
    stage that sent the order."""
    waiting = DecisionCycle.objects.filter(
        decision_id=decision_id, state__in=[State.EXECUTING, State.CONFIRMING, State.JOURNALING]
    )
    now = wall_now()
    waiting.update(
        state=State.DONE,
        outcome=outcome,
        reason=reason,
        finished_at=now,
        claim=None,
        claimed_until=None,
        updated_at=now,
    )
