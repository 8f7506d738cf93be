"""Lockstep: the market waits for the decisions.

One slot at a time: the market closes a bar, the venue and the consumer take it in, each instrument's cycle runs to its
end, one after the other, and only then comes the next bar. So a run is the same every time, and as fast as the machine.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from celery import current_app
from django.conf import settings

from decisions import clock
from decisions.consumer import GROUP, STREAMS
from decisions.models import DecisionCycle, PositionReport, State
from decisions.outbox import redis_client
from decisions.sandbox.market import SandboxMarket, Step, publish_step
from decisions.sandbox.opening import Sources, open_market
from orchestrator_project.streams import backlog

POLL_SECONDS = 0.002
ASK_AGAIN_SECONDS = 10.0
LOOK_AROUND_SECONDS = 0.25
"""How often a wait lets the caller see to its processes."""


class Interrupted(Exception):
    """The caller wants the run to end."""


class Lockstep:
    """Runs slots of a market. `keep_going` is asked several times a second and says False to end."""

    def __init__(self, market: SandboxMarket, instruments: Sequence[str], keep_going: Callable[[], bool]) -> None:
        self.market = market
        self.instruments = instruments
        self.keep_going = keep_going
        self._look_around_at = 0.0

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
        publish_step(redis_client(), step)
        self.market.remember(step)
        self._wait(lambda: _reported_as_of(step.closed_at) and _all_taken_in())
        slot_at = clock.slot(step.closed_at, settings.DECISION_CYCLE_SECONDS)
        for instrument in self.instruments:
            tick = partial(current_app.send_task, "decisions.tasks.cycle", args=([instrument],))
            self._wait(partial(_has_ended, instrument, slot_at), ask=tick)
            self._wait(_all_taken_in)

    def _wait(self, condition: Callable[[], bool], ask: Callable[[], object] | None = None) -> None:
        """Wait for what was asked for; ask again after a while, since the broker may have lost it."""
        ask_at = 0.0
        while not condition():
            if ask is not None and time.monotonic() >= ask_at:
                ask()
                ask_at = time.monotonic() + ASK_AGAIN_SECONDS
            if time.monotonic() >= self._look_around_at:
                if not self.keep_going():
                    raise Interrupted
                self._look_around_at = time.monotonic() + LOOK_AROUND_SECONDS
            time.sleep(POLL_SECONDS)


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
