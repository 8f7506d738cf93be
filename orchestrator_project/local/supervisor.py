"""Runs a set of processes: starts them in order, restarts the ones that die, stops them in order.

It knows nothing of what they do. Time passes in `watch`, which the caller calls often (a few times a second); a signal
only notes that it came (`stop_requests`), so that everything happens in the main thread and in a known order.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from orchestrator_project.local import children

Say = Callable[[str], None]
QUICK_DEATH_SECONDS = 30.0
"""Starting alone takes a Python process of ours 3 s, and 15 s when ten of them share two cores."""
QUICK_DEATHS = 3
HURRIED_SECONDS = 2.0
POLL_SECONDS = 0.05
MISTAKE = 2
"""The exit code for what a person has to put right: starting again would not."""


class StackFailed(Exception):
    """Something that the stack cannot do without does not work. The message says what, and which log to read."""


class StopRequested(Exception):
    """A person asked for the end while something was still being waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What to run and how it lives with the others.

    `start_stage` and `stop_stage`: lower ones first; a stage is complete when every process of it is ready (or has
    ended). `may_finish`: an exit with code 0 is its natural end and not a failure.
    """

    name: str
    command: tuple[str, ...]
    start_stage: int
    stop_stage: int
    ready: children.Probe | None = None
    ready_seconds: float = 240.0
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 20.0
    may_finish: bool = False
    address: str = ""


@dataclass(slots=True)
class _Running:
    """One process in its present life."""

    process: Process
    log: Path
    child: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    quick_deaths: int = 0
    start_again_at: float | None = None
    finished: bool = False


@dataclass(slots=True)
class Supervisor:
    """The processes of one stack. `environment` is theirs, whole; they run in `folder` and log to `logs/<name>.log`."""

    processes: Sequence[Process]
    environment: Mapping[str, str]
    folder: Path
    logs: Path
    say: Say
    stop_requests: int = 0
    _running: dict[str, _Running] = field(default_factory=dict)

    def request_stop(self) -> None:
        """Note that a person wants the end; a second time: at once. Safe in a signal handler."""
        self.stop_requests += 1

    def start(self) -> None:
        """Start stage by stage, each ready before the next. Raises `StackFailed`, `StopRequested`."""
        ordered = sorted(self.processes, key=lambda process: process.start_stage)
        for _, stage in groupby(ordered, key=lambda process: process.start_stage):
            members = [_Running(process, self.logs / f"{process.name}.log") for process in stage]
            if self.stop_requests:
                raise StopRequested
            for running in members:
                self._running[running.process.name] = running
                self._launch(running)
            for running in members:
                self._wait_until_ready(running)

    def watch(self) -> None:
        """Notice what has died and start it again, with a growing pause. Raises `StackFailed` after quick deaths."""
        for running in self._running.values():
            if running.start_again_at is not None:
                if time.monotonic() >= running.start_again_at:
                    self._launch(running)
            elif running.child is not None and not running.finished and running.child.poll() is not None:
                self._bury(running, running.child)

    def stop(self) -> None:
        """Stop stage by stage. A stop request that comes meanwhile hurries everything that is left."""
        asked_before = self.stop_requests
        ordered = sorted(self._running.values(), key=lambda running: running.process.stop_stage)
        for _, stage in groupby(ordered, key=lambda running: running.process.stop_stage):
            members = [(running.process, running.child) for running in stage if running.child is not None]
            for process, child in members:
                if child.poll() is None:
                    child.send_signal(process.stop_signal)
            begun = time.monotonic()
            for process, child in members:
                while child.poll() is None:
                    patience = HURRIED_SECONDS if self.stop_requests > asked_before else process.stop_seconds
                    if time.monotonic() > begun + patience:
                        self.say(f"{process.name} does not end by itself: killed.")
                        break
                    time.sleep(POLL_SECONDS)
                children.end_group(child)
                child.wait()

    def table(self) -> list[tuple[str, int, str, Path]]:
        """Name, process id, address and log of everything that runs."""
        return [
            (running.process.name, running.child.pid, running.process.address, running.log)
            for running in self._running.values()
            if running.child is not None
        ]

    def _launch(self, running: _Running) -> None:
        process = running.process
        running.start_again_at = None
        running.started_at = time.monotonic()
        running.child = children.spawn(
            process.command,
            log=running.log,
            environment=self.environment,
            folder=self.folder,
            death_signal=process.death_signal,
        )

    def _bury(self, running: _Running, child: "subprocess.Popen[bytes]") -> None:
        """Decide what the death of a process means."""
        children.end_group(child)  # What it left behind, such as a pool's children.
        name, code = running.process.name, child.returncode
        if code == 0 and running.process.may_finish:
            running.finished = True
            self.say(f"{name} has finished.")
            return
        if code == MISTAKE:
            raise StackFailed(f"{name} refused to start; see {running.log}:\n{children.last_lines(running.log)}")
        quick = time.monotonic() - running.started_at < QUICK_DEATH_SECONDS
        running.quick_deaths = running.quick_deaths + 1 if quick else 0
        if running.quick_deaths >= QUICK_DEATHS:
            raise StackFailed(
                f"{name} died {QUICK_DEATHS} times in a row; see {running.log}:\n{children.last_lines(running.log)}"
            )
        pause = 2.0**running.quick_deaths
        running.start_again_at = time.monotonic() + pause
        self.say(f"{name} ended ({_how(code)}), see {running.log}; it starts again in {pause:.0f} s.")

    def _wait_until_ready(self, running: _Running) -> None:
        ready = running.process.ready
        if ready is None:
            return
        deadline = time.monotonic() + running.process.ready_seconds

        def is_ready() -> bool:
            self.watch()
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"{running.process.name} is not ready after {running.process.ready_seconds:.0f} s; "
                    f"see {running.log}:\n{children.last_lines(running.log)}"
                )
            return running.finished or ready()

        self._wait(is_ready)

    def _wait(self, condition: children.Probe) -> None:
        while not condition():
            if self.stop_requests:
                raise StopRequested
            time.sleep(POLL_SECONDS)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
