"""The stack's processes as a chaos run starts them: forked from one parent that has imported everything.

`python -m tests.chaos.process` reads one JSON line for each process to start, `{"name", "words", "log"}` with `words`
such as `["manage", "consume"]` or `["celery", "worker", ...]`, and writes `{"started": name, "pid"}` and, when one has
ended, `{"ended": pid, "code"}`. Importing the product takes a process three seconds, forking none: a killed process is
back at once. A forked process runs the very entry points that a started one runs.

`python -m tests.chaos.process consume` runs one process by hand, with `CRASH_AT=name[:nth]` if it is to die there.

What a test changes in a process before it runs, and what the product itself knows nothing of: the handler of the crash
points, a wall clock that is stepped through a file, timeouts that no setting shortens, and, where it was asked for, a
planted bug.
"""

import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from tests.chaos.crashes import Crashes

FOLDER, PLANT = "CHAOS_FOLDER", "CHAOS_PLANT"
POLL_SECONDS = 0.02

SHORTENED: Mapping[str, Any] = {
    "decisions.cycles.LEASE_MARGIN_SECONDS": 2,
    "decisions.sweeper.IDLE": timedelta(seconds=1),
    "decisions.sandbox.venue_service.HEARTBEAT_SECONDS": 1.0,
    "decisions.reconciliation.INTERVAL": timedelta(seconds=5),
    "decisions.reconciliation.PATIENCE": timedelta(seconds=2),
    "reflection.claims.MARGIN": timedelta(seconds=2),
}
"""Waiting times that are constants of the product: minutes of waiting would show nothing that seconds do not. Each
keeps its place among the others: a lease outlasts its stage, the venue tells again within the patience. How long things
take with the product's own, that every process is back within ten seconds above all, tests/e2e/test_recovery.py shows.
"""
RECONCILE_SECONDS = 2
CLAIM_AFTER_SECONDS = 3.0


def prepare(folder: Path, plant: str) -> None:
    """Install everything that a test needs in the product, in this process and those forked from it."""
    from django.utils import timezone

    from decisions import clock
    from decisions.sandbox import venue_service
    from orchestrator_project import crash_points, group_reader
    from orchestrator_project.celery import app
    from tests.chaos import planted

    stepped = SteppedClock(folder / "clock")
    crash_points._handler = Crashes(folder).handle
    clock.datetime = stepped  # type: ignore[assignment,misc]
    venue_service.datetime = stepped  # type: ignore[assignment,misc]
    timezone.now = lambda: stepped.now(UTC)
    for name, value in SHORTENED.items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    app.conf.beat_schedule["reconcile"]["schedule"] = RECONCILE_SECONDS
    defaults = group_reader.GroupReader.__init__.__kwdefaults__
    defaults["claim_after_seconds"] = min(defaults["claim_after_seconds"], CLAIM_AFTER_SECONDS)
    if plant:
        planted.BUGS[plant]()


class SteppedClock:
    """Stands in for `datetime`: the time of day is so many seconds off as the file says."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self, zone: tzinfo | None = None) -> datetime:
        return datetime.now(zone) + offset(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


def offset(file: Path) -> timedelta:
    """By how much the wall clock is off."""
    try:
        return timedelta(seconds=float(file.read_text() or 0))
    except FileNotFoundError:
        return timedelta()


def run(words: Sequence[str]) -> int:
    """One process of the product, as `words` name it, to its end. Returns the exit code."""
    program, *arguments = words
    try:
        if program == "celery":
            from celery.__main__ import main as celery

            sys.argv = ["celery", "--app", "orchestrator_project", *arguments]
            celery()
            return 0
        import manage

        return manage.main(["manage.py", *arguments])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        # The outermost edge of a process: its log has the reason, its parent the exit code.
        traceback.print_exc()
        return 1


class Parent:
    """Starts processes by forking, and tells when they end."""

    def serve(self) -> None:
        """Until whoever asks closes the pipe; the children end with this process."""
        waiting = b""
        while True:
            ready, _, _ = select.select([0], [], [], POLL_SECONDS)
            if ready:
                read = os.read(0, 65536)
                if not read:
                    return
                *lines, waiting = (waiting + read).split(b"\n")
                for line in lines:
                    self._start(**json.loads(line))
            self._tell_ended()

    def _start(self, name: str, words: Sequence[str], log: str) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _become(parent, Path(log))
                code = run(words)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _tell({"started": name, "pid": pid})

    def _tell_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become(parent: int, log: Path) -> None:
    """What distinguishes a child: a group and a log of its own, and that it does not outlive its parent."""
    from orchestrator_project.local.children import die_with_parent

    os.setpgid(0, 0)
    die_with_parent(signal.SIGKILL, parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _tell(news: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


def load() -> None:
    """Import what any process of the stack needs, so that none has to."""
    import django

    django.setup()
    for name in (
        "anthropic", "orchestrator_project.celery", "decisions.tasks", "decisions.consumer",
        "decisions.sandbox.venue_service", "decisions.sandbox.offline_transport", "celery.bin.celery",
        "celery.bin.worker",
        "celery.bin.beat", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.prefork",
        "kombu.transport.redis",
        "psycopg", "django.db.backends.postgresql.base",
    ):  # fmt: skip
        importlib.import_module(name)


def main(words: Sequence[str]) -> int:
    folder = Path(os.environ[FOLDER])
    load()
    prepare(folder, os.environ.get(PLANT, ""))
    if words:
        if point := os.environ.get("CRASH_AT"):
            name, _, nth = point.partition(":")
            Crashes(folder).arm(name, nth=int(nth or 1))
        return run(words if words[0] == "celery" else ["manage", *words])
    Parent().serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
