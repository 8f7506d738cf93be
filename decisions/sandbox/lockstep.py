"""Lockstep: the market waits for the decisions.

One slot at a time: the market closes a bar, the venue and the consumer take it in, each instrument's cycle runs to its
end, one after the other, and only then comes the next bar. What the cycles leave to be done that later ones depend on,
such as a reflection that writes a playbook, is waited for too. So a run is the same every time, and as fast as the
machine.

Servers that restart while a slot runs are waited for, and what an emptied Redis has lost, the bar's messages or a tick,
is sent again under the same ids.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import redis
from celery import current_app
from django.conf import settings
from django.db import close_old_connections
from kombu.exceptions import OperationalError as BrokerError

from decisions import awaited, clock
from decisions.consumer import GROUP, STREAMS
from decisions.models import DecisionCycle, PositionReport, State
from decisions.outbox import redis_client
from decisions.refusals import DATABASE_AWAY
from decisions.sandbox.market import SandboxMarket, Step, publish_step
from decisions.sandbox.opening import Sources, open_market
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import get_logger
from orchestrator_project.streams import backlog

POLL_SECONDS = 0.002
ASK_AGAIN_SECONDS = 5.0
AWAY = (redis.RedisError, BrokerError, *DATABASE_AWAY)
"""What servers that are away, or starting again, make of a question."""
LOOK_AROUND_SECONDS = 0.25
"""How often a wait lets the caller see to its processes."""


log = get_logger(__name__)


class Interrupted(Exception):
    """The caller wants the run to end."""


class Lockstep:
    """Runs slots of a market. `keep_going` is asked several times a second and says False to end."""

    def __init__(self, market: SandboxMarket, instruments: Sequence[str], keep_going: Callable[[], bool]) -> None:
        self.market = market
        self.instruments = instruments
        self.keep_going = keep_going
        self._look_around_at = 0.0
        self._away = False

    def run(self, cycles: int | None) -> int:
        """Run so many slots, or until the market or the caller ends. Returns how many were completed."""
        done = 0
        try:
            while cycles is None or done < cycles:
                step = self.market.step()
                if step is None:
                    break
                self._run_slot(step)
                done += 1
        except Interrupted:
            return done
        return done

    def _run_slot(self, step: Step) -> None:
        publish = partial(publish_step, redis_client(), step)
        self._wait(publish)
        reached("step_published")
        self.market.remember(step)
        self._wait(lambda: _reported_as_of(step.closed_at) and _all_taken_in(), ask=publish)
        self._settle()
        slot_at = clock.slot(step.closed_at, settings.DECISION_CYCLE_SECONDS)
        for instrument in self.instruments:
            tick = partial(current_app.send_task, "decisions.tasks.cycle", args=([instrument],))
            self._wait(partial(_has_ended, instrument, slot_at), ask=tick)
            self._wait(_all_taken_in)
            self._settle()

    def _settle(self) -> None:
        """Wait for what later cycles depend on; one piece of work may make another."""
        while not self._try(awaited.is_done):
            for done, ask in awaited.in_turn():
                self._wait(done, ask=ask)

    def _wait(self, condition: Callable[[], object], ask: Callable[[], object] | None = None) -> None:
        """Wait for what was asked for; ask again after a while, since Redis may have lost it."""
        ask_at = 0.0
        while not self._try(condition):
            if ask is not None and time.monotonic() >= ask_at:
                self._try(ask)
                ask_at = time.monotonic() + ASK_AGAIN_SECONDS
            self._look_around()
            time.sleep(POLL_SECONDS)

    def _try(self, question: Callable[[], object]) -> bool:
        """Whether the answer is yes; no while a server is away."""
        try:
            answer, self._away = bool(question()), False
        except AWAY as error:
            if not self._away:
                log.warning("waiting for the servers", reason=f"{type(error).__name__}: {error}")
            answer, self._away = False, True
            time.sleep(LOOK_AROUND_SECONDS)
            close_old_connections()
        return answer

    def _look_around(self) -> None:
        if time.monotonic() >= self._look_around_at:
            if not self.keep_going():
                raise Interrupted
            self._look_around_at = time.monotonic() + LOOK_AROUND_SECONDS


def _reported_as_of(moment: datetime) -> bool:
    return PositionReport.objects.filter(as_of__gte=moment).exists()


def _all_taken_in() -> bool:
    return all(backlog(redis_client(), stream, GROUP) == 0 for stream in STREAMS)


def _has_ended(instrument: str, slot_at: datetime) -> bool:
    return DecisionCycle.objects.filter(instrument=instrument, slot_at=slot_at, state=State.DONE).exists()


def run(
    *,
    sources: Sources,
    seed: int,
    instruments: Sequence[str],
    cycles: int | None,
    keep_going: Callable[[], bool],
) -> int:
    """Open the market and run it in lockstep. Returns the completed slots. Raises what `open_market` raises."""
    market = open_market(
        candles=tuple(sources.candles.items()),
        funding=sources.funding,
        open_interest=sources.open_interest,
        instruments=instruments,
        start=sources.start,
        seed=seed,
        local_dir=settings.LOCAL_DIR,
    )
    return Lockstep(market, instruments, keep_going).run(cycles)
