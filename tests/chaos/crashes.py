"""Killing a process at a named point, once: the points are armed as files, so that whoever comes there first is it.

`CRASH_AT=name[:nth]` arms one for a single process that is started by hand.
"""

import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

WHOLE, ALONE = "whole", "alone"
"""Kill the whole process group (a worker with its pool), or the process that reached the point alone."""
SILENCED_AT = "before_send"
"""Where the venue is stopped in its tracks, when it is to be silent to the order that goes out next."""
SILENCE = "silence"


class Crashes:
    """The armed points of one run, in a folder that all its processes see."""

    def __init__(self, folder: Path) -> None:
        self.armed, self.fired = folder / "armed", folder / "fired"
        for each in (self.armed, self.fired):
            each.mkdir(parents=True, exist_ok=True)
        self._seen: Counter[str] = Counter()

    def arm(self, point: str, how: str = ALONE, nth: int = 1) -> None:
        """From now on the `nth` time that one process reaches the point that is what happens; once in the run."""
        draft = self.armed.with_name(f"draft-{point}")
        draft.write_text(f"{how} {nth}")
        draft.rename(self.armed / point)

    def silence(self, venue: int) -> None:
        """Stop the process of this id when the next order is about to go out."""
        draft = self.armed.with_name("draft-silence")
        draft.write_text(str(venue))
        draft.rename(self.armed / SILENCE)

    def silenced(self) -> bool:
        return (self.fired / SILENCE).exists()

    def disarm(self) -> list[str]:
        """Nothing crashes any more. Returns the points that nobody had reached."""
        left = sorted(file.name for file in self.armed.iterdir())
        for name in left:
            (self.armed / name).unlink(missing_ok=True)
        return left

    def reached(self) -> list[str]:
        """The points at which a process was killed."""
        return sorted(file.name for file in self.fired.iterdir() if file.name != SILENCE)

    def newest_death(self) -> float:
        """When a process was last killed at a point, as a Unix time; 0 before the first."""
        return max((file.stat().st_ctime for file in self.fired.iterdir()), default=0.0)

    def handle(self, point: str) -> None:
        """What a process does at a point: die where it is armed, else nothing."""
        if point == SILENCED_AT:
            self._silence()
        if not self.claim(point):
            return
        how = (self.fired / point).read_text().split()[0]
        if how == WHOLE:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _silence(self) -> None:
        try:
            (self.armed / SILENCE).rename(self.fired / SILENCE)
        except FileNotFoundError:
            return
        with suppress(ProcessLookupError):  # it has died meanwhile: that is silence too
            os.kill(int((self.fired / SILENCE).read_text()), signal.SIGSTOP)

    def claim(self, point: str) -> bool:
        """Whether this process is to die here; of several that come at once only one is."""
        armed = self.armed / point
        try:
            nth = int(armed.read_text().split()[1])
            self._seen[point] += 1
            if self._seen[point] < nth:
                return False
            armed.rename(self.fired / point)
        except FileNotFoundError:
            return False
        return True
