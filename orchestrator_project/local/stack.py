"""What the local stack consists of: every process of it, as a list."""

import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGQUIT
from typing import Literal

from orchestrator_project.local import children
from orchestrator_project.local.supervisor import Process

LOOPBACK = "127.0.0.1"
WSGI = "orchestrator_project.wsgi"
GROUPED_QUEUES = (("cycle", "risk", "execute", "journal"), ("screen", "research", "analyze", "reflect"))
"""The quick stages apart from those that wait for a model."""

CONSUME, MARKET, SERVE, TICK = 1, 2, 2, 3
STOP_SOURCES, STOP_WORKERS, STOP_STREAMS, STOP_WEB = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What is to run, in the project's folder. `web_port` and `flower_port` are None where the web is left out."""

    name: str
    """Of the stack, for its workers' node names: two stacks may share one Redis."""
    sandbox: bool = True
    lockstep: bool = False
    workers: Literal["grouped", "each"] = "grouped"
    concurrency: int = 2
    longest_task_seconds: float = 120.0
    concurrencies: Mapping[str, int] = field(default_factory=dict)
    market: Sequence[str] = ()
    """What `manage.py market` is told."""
    equity: str | None = None
    faults: Path | None = None
    """The plan by which the venue goes wrong."""
    web_port: int | None = None
    flower_port: int | None = None
    worker_ready: Callable[[str], bool] | None = None
    """Whether the worker of that node name answers."""

    def processes(self) -> list[Process]:
        """Everything but the servers, in no particular order: the stages tell it."""
        found = [self._command("consumer", CONSUME, STOP_STREAMS, "consume"), *self._workers()]
        if self.sandbox:
            found.append(self._command("venue", CONSUME, STOP_STREAMS, "venue", *self._venue_options()))
            if not self.lockstep:
                found.append(self._command("market", MARKET, STOP_SOURCES, "market", *self.market, may_finish=True))
        if self.web_port is not None:
            found.append(self._web(self.web_port))
        if self.flower_port is not None:
            found.append(self._flower(self.flower_port))
        found.append(self._celery("beat", TICK, STOP_SOURCES, "beat"))
        return found

    def _venue_options(self) -> list[str]:
        equity = ["--equity", self.equity] if self.equity else []
        return equity + (["--faults", str(self.faults)] if self.faults else [])

    def _worker_groups(self) -> list[tuple[str, tuple[str, ...], int]]:
        if self.workers == "each":
            queues = [queue for group in GROUPED_QUEUES for queue in group]
            return [(queue, (queue,), self.concurrencies.get(queue, self.concurrency)) for queue in queues]
        return [(f"worker-{group[0]}", group, self.concurrency) for group in GROUPED_QUEUES]

    def _workers(self) -> Iterable[Process]:
        # Task events cost a worker 40 % more; only Flower wants them.
        events = ["--task-events"] if self.flower_port is not None else []
        for name, queues, concurrency in self._worker_groups():
            node = f"{name}@{self.name}"
            options = ["--queues", ",".join(queues), "--concurrency", str(concurrency), "--hostname", node]
            yield self._celery(
                name, CONSUME, STOP_WORKERS, "worker", *options, "--without-gossip", "--without-mingle", *events,
                ready=partial(self.worker_ready, node) if self.worker_ready else None,
                stop_seconds=self.longest_task_seconds + 10,  # a running task may finish before its worker is killed
            )  # fmt: skip

    def _web(self, port: int) -> Process:
        return Process(
            name="web",
            command=_python("gunicorn", "--bind", f"{LOOPBACK}:{port}", WSGI),
            start_stage=SERVE,
            stop_stage=STOP_WEB,
            ready=lambda: answers(f"http://{LOOPBACK}:{port}/healthz"),
            death_signal=SIGQUIT,
            address=f"http://{LOOPBACK}:{port}/",
        )  # fmt: skip

    def _flower(self, port: int) -> Process:
        return self._celery(
            "flower", SERVE, STOP_WEB, "flower", f"--address={LOOPBACK}", f"--port={port}", "--read_only=true",
            address=f"http://{LOOPBACK}:{port}/",
        )  # fmt: skip

    def _command(self, name: str, start_stage: int, stop_stage: int, *words: str, may_finish: bool = False) -> Process:
        return Process(
            name=name,
            command=(sys.executable, "manage.py", *words),
            start_stage=start_stage,
            stop_stage=stop_stage,
            may_finish=may_finish,
        )

    def _celery(
        self,
        name: str,
        start_stage: int,
        stop_stage: int,
        *words: str,
        ready: children.Probe | None = None,
        stop_seconds: float = 20.0,
        address: str = "",
    ) -> Process:
        return Process(
            name=name,
            command=_python("celery", "--app", "orchestrator_project", *words),
            start_stage=start_stage,
            stop_stage=stop_stage,
            ready=ready,
            stop_seconds=stop_seconds,
            address=address,
        )


def _python(module: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *words)


def answers(url: str) -> bool:
    """Whether a web server answers there at all."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address on loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port(preferred: int, taken: Iterable[int] = ()) -> int:
    """The preferred port on loopback, or the next one that nobody listens on. Raises `OSError` when there is none."""
    excluded = set(taken)
    for port in range(preferred, min(preferred + 200, 65_536)):
        if port not in excluded and _is_free(port):
            return port
    raise OSError(f"No free port on {LOOPBACK} from {preferred} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As the server itself binds it.
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
