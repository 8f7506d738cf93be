"""The tasks: each takes an id, claims the cycle and calls one stage.

Delivery: acknowledged after the work, run again after a lost worker; a second run finds the cycle claimed or moved on
and does nothing.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from celery import shared_task
from django.conf import settings

from decisions import calendar_refresh, clock, cycles, model_status, protection, reconciliation
from decisions.alerts_out.watch import look_and_deliver
from decisions.housekeeping import tidy
from decisions.models import DecisionCycle, State
from decisions.rounds import on_its_own
from decisions.stages import analyze as analyze_stage
from decisions.stages import collect as collect_stage
from decisions.stages import execute as execute_stage
from decisions.stages import judge as judge_stage
from decisions.stages import research as research_stage
from decisions.stages import screen as screen_stage
from decisions.sweeper import abandon_stale
from decisions.sweeper import sweep as sweep_once
from orchestrator_project.logs import about

log = logging.getLogger(__name__)


def _run(cycle_id: int, state: State, stage: Callable[[DecisionCycle, datetime], None]) -> None:
    cycle = cycles.claim(cycle_id, state)
    if cycle is None:
        return
    with about(cycle=cycle.pk, instrument=cycle.instrument, decision=str(cycle.decision_id)):
        try:
            stage(cycle, clock.now_for_record())
        except cycles.ClaimLost as lost:
            log.info("%s", lost)
        except Exception as error:
            # The edge of a task: the failure is kept on the cycle, the sweeper decides what follows.
            cycles.release(cycle, error)
            raise


@shared_task
def cycle(instruments: Sequence[str] | None = None) -> None:
    """The tick: the current slot's cycles of the instruments, by default of all.

    The record is reconciled before them when that is due, as it is in a process that has just started; that it fails
    keeps no cycle back, for exits are decided there. The first is collected here, which saves it a hop; the others are
    for whoever is free.
    """
    now = clock.market_now()
    if now is None:
        return
    abandon_stale()
    with on_its_own("the reconciliation"):
        reconciliation.reconcile_if_due(now)
    created = cycles.create(instruments or settings.INSTRUMENTS, clock.slot(now, settings.DECISION_CYCLE_SECONDS))
    for other in created[1:]:
        cycles.wake(other)
    for first in created[:1]:
        collect(first.pk)


@shared_task
def collect(cycle_id: int) -> None:
    _run(cycle_id, State.COLLECTING, collect_stage.collect)


@shared_task
def screen(cycle_id: int) -> None:
    _run(cycle_id, State.SCREENING, screen_stage.screen)


@shared_task
def research(cycle_id: int) -> None:
    _run(cycle_id, State.RESEARCHING, research_stage.research)


@shared_task
def analyze(cycle_id: int) -> None:
    _run(cycle_id, State.ANALYZING, analyze_stage.analyze)


@shared_task
def risk(cycle_id: int) -> None:
    _run(cycle_id, State.RISK_CHECK, judge_stage.judge)


@shared_task
def execute(cycle_id: int) -> None:
    _run(cycle_id, State.EXECUTING, execute_stage.execute)


@shared_task
def sweep() -> None:
    """Look for what nobody works on any more."""
    sweep_once()


@shared_task
def housekeeping() -> None:
    """Keep what grows in bounds, and an eye on the screener."""
    tidy()
    screen_stage.watch_pass_rate()


@shared_task
def reconcile() -> None:
    """Once a minute, and sooner while a difference is being watched, compare the record with the venue."""
    reconciliation.reconcile_if_due(clock.now_for_record())


@shared_task
def protect() -> None:
    """Close what has stood without a confirmed stop for too long."""
    protection.protect()


@shared_task
def check_models() -> None:
    """Once a day ask whether the models that we use are still there."""
    model_status.look_up_if_due(clock.wall_now())


@shared_task
def refresh_calendar() -> None:
    """Once a day read the official calendars, and say so when a release is missing."""
    calendar_refresh.keep_calendar(clock.wall_now())


@shared_task
def watch() -> None:
    """Look whether cycles end, and send the alerts that go out; the consumers do so too."""
    look_and_deliver()
