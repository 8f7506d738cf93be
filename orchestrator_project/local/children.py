"""Starting child processes that never outlive us, and stopping them."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Ask the kernel to send `death_signal` to this process when `parent` dies, however it dies.

    To be called in the child after any change of user, which would undo it. Without effect on systems other than Linux.
    """
    if not hasattr(_libc, "prctl"):
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:  # It died before the request was made.
        os.kill(os.getpid(), signal.SIGKILL)


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    inherited: Sequence[int] = (),
    user: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start `command` in a process group of its own, its output appended to `log`.

    Of its own, so that a Ctrl-C at the terminal reaches us alone and we choose the order in which things end. To be
    called in the main thread: the kernel counts the death of the starting *thread* as the parent's.
    """
    parent = os.getpid()

    def before_exec() -> None:
        die_with_parent(death_signal, parent)

    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            preexec_fn=before_exec,  # Safe: single-threaded here, and only this runs after setuid.
            process_group=0,
            pass_fds=tuple(inherited),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def stop(process: "subprocess.Popen[bytes]", stop_signal: signal.Signals, patience: float) -> bool:
    """Ask `process` to end; after `patience` seconds end it and its group. True when it ended by itself."""
    if process.poll() is None:
        process.send_signal(stop_signal)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        end_group(process)
        process.wait()
        return False
    return True


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and whatever is left of the group that it led."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log file, to be quoted in a message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-count:])


Probe = Callable[[], bool]
"""Whether something is ready; false while it is not, never an exception."""
