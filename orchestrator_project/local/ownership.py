"""Who starts and stops the embedded servers of a `LOCAL_DIR`.

Three locks in the folder, all released by the kernel when their holder dies:

- `users.lock`, shared by every process that uses the servers, exclusive while they are being stopped;
- `owner.lock`, exclusive, held by the process whose children the servers are;
- `stack.lock`, exclusive, held by the one `runstack` of the folder; it contains its process id.

A command that finds no owner becomes it, and before it stops the servers it waits for the other users.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator_project.local import endpoints, servers

Say = Callable[[str], None]
FOREIGN_START_SECONDS = servers.START_SECONDS + servers.STOP_SECONDS
"""How long another process may take to bring the servers up before we give up on it."""


class StackRunning(Exception):
    """Another `runstack` has this folder. The message names its process."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which servers are embedded; the others were given by URL."""

    postgres: bool
    redis: bool


@contextmanager
def servers_for_command(local_dir: Path, wanted: Wanted) -> Iterator[None]:
    """Have the servers up for the duration: another's where they run, our own otherwise. Raises `ServerFailed`."""
    if not (wanted.postgres or wanted.redis):
        yield
        return
    endpoints.private_dir(local_dir)
    with ExitStack() as on_exit:
        users = on_exit.enter_context(_open_lock(local_dir, "users"))
        owner = on_exit.enter_context(_open_lock(local_dir, "owner"))
        fcntl.flock(users, fcntl.LOCK_SH)
        started = _own_or_find(local_dir, wanted, owner)
        try:
            yield
        finally:
            if started:
                fcntl.flock(users, fcntl.LOCK_EX)
                _stop(started)


@contextmanager
def servers_for_stack(local_dir: Path, wanted: Wanted, say: Say) -> Iterator[list[servers.Server]]:
    """Own the servers, as `runstack` does: wait for a command that owns them. Raises `StackRunning`, `ServerFailed`."""
    endpoints.private_dir(local_dir)
    with ExitStack() as on_exit:
        stack = on_exit.enter_context(_open_lock(local_dir, "stack"))
        if not _taken(stack, fcntl.LOCK_EX):
            raise StackRunning(f"Another runstack is running in {local_dir}: process {_holder(stack)}.")
        _write_holder(stack)
        owner = on_exit.enter_context(_open_lock(local_dir, "owner"))
        users = on_exit.enter_context(_open_lock(local_dir, "users"))
        if not _taken(owner, fcntl.LOCK_EX):
            say(f"Waiting for another command that uses the servers (process {_holder(owner)}) ...")
            fcntl.flock(owner, fcntl.LOCK_EX)
        _write_holder(owner)
        started = _start(local_dir, wanted)
        try:
            yield started
        finally:
            _wait_for_users(users, say)
            _stop(started)


def _wait_for_users(users: int, say: Say, patience: float = 10.0) -> None:
    """Let short commands that use our servers finish, for a while; and keep new ones out."""
    deadline = time.monotonic() + patience
    if not _taken(users, fcntl.LOCK_EX):
        say("Waiting for other commands that use the servers ...")
        while not _taken(users, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.1)


def _own_or_find(local_dir: Path, wanted: Wanted, owner: int) -> list[servers.Server]:
    """Become the owner and start the servers, or wait until those of another owner answer (then an empty list)."""
    deadline = time.monotonic() + FOREIGN_START_SECONDS
    while True:
        if _taken(owner, fcntl.LOCK_EX):
            _write_holder(owner)
            return _start(local_dir, wanted)
        if servers.answering(local_dir, postgres=wanted.postgres, redis=wanted.redis):
            return []
        if time.monotonic() > deadline:
            raise servers.ServerFailed(f"The servers of {local_dir}, owned by process {_holder(owner)}, do not answer.")
        time.sleep(0.05)


def _start(local_dir: Path, wanted: Wanted) -> list[servers.Server]:
    started: list[servers.Server] = []
    try:
        if wanted.redis:
            started.append(servers.start_redis(local_dir))
        if wanted.postgres:
            started.append(servers.start_postgres(local_dir))
    except BaseException:
        _stop(started)
        raise
    return started


def _stop(started: list[servers.Server]) -> None:
    for server in started:
        server.stop()


@contextmanager
def _open_lock(local_dir: Path, name: str) -> Iterator[int]:
    """A lock file, opened but not yet locked; closing it releases it."""
    descriptor = os.open(local_dir / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode() or "unknown"
