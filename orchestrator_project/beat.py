"""Beat's clockwork: what is due by the time that passes, not by the time that the wall clock shows.

Celery notes when each entry ran last, and when it runs next, by the wall clock: set back an hour, it would send nothing
for an hour. Here a step of the clock begins all intervals anew. Nothing is kept on disk: every interval is a minute at
most, and what is due is asked of the database anyway.
"""

import logging
import time
from typing import Any

from celery.beat import Scheduler

from orchestrator_project.monitoring import heartbeats

STEP_SECONDS = 1.0
"""A difference between the two clocks that is more than drift."""

log = logging.getLogger(__name__)


def _wall_ahead_of_monotonic() -> float:
    return time.time() - time.monotonic()


class SteadyScheduler(Scheduler):
    """The scheduler in memory, deaf to steps of the wall clock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._offset = _wall_ahead_of_monotonic()
        super().__init__(*args, **options)

    def setup_schedule(self) -> None:
        """Take the schedule of the configuration, and nothing of an earlier life."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def tick(self, *args: Any, **options: Any) -> float:
        """Send one entry that is due, and sign that beat is alive. Returns the seconds until the next is."""
        step = _wall_ahead_of_monotonic() - self._offset
        if abs(step) > STEP_SECONDS:
            log.warning("the wall clock was set by %.0f s: all intervals begin anew", step)
            self._begin_anew()
        pause = super().tick(*args, **options)
        heartbeats.beat(heartbeats.BEAT)
        heartbeats.touch()
        return pause

    def _begin_anew(self) -> None:
        self._offset = _wall_ahead_of_monotonic()
        for entry in self.schedule.values():
            entry.last_run_at = entry.default_now()
        self._heap = None
