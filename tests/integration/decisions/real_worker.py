"""A real Celery worker, in a process group of its own, on the servers, the database and the models of a test."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from celery import Celery
from django.conf import settings
from django.db import connection

from orchestrator_project.local import endpoints
from tests.integration.decisions.scene import until

PROJECT = Path(__file__).resolve().parents[3]


@contextmanager
def worker(log: Path, *, name: str = "test", processes: int = 1) -> "Iterator[subprocess.Popen[bytes]]":
    """A worker of all queues that answers already. It is killed in the end, if it lives."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "--app", "orchestrator_project", "worker",
                "--queues", ",".join(settings.QUEUES), "--concurrency", str(processes),
                "--hostname", f"{name}@localhost", "--without-gossip", "--without-mingle",
            ],
            cwd=PROJECT, env={**os.environ, **environment()}, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is None and answers(name), 90)
        yield process
    finally:
        if process.poll() is None:
            kill_all_of(process)


def answers(name: str = "test") -> bool:
    """Whether the worker of that name answers."""
    with caller() as celery:
        return bool(celery.control.ping([f"{name}@localhost"], timeout=0.5))


def caller() -> Celery:
    """A Celery that sends by the Redis of the settings, which may be another than this process began with."""
    return Celery(broker=endpoints.broker_url(settings.REDIS_URL), broker_pool_limit=0, set_as_current=False)


def environment() -> dict[str, str]:
    database = connection.settings_dict
    host = quote(str(database["HOST"]), safe="")
    return {
        "DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?host={host}",
        "REDIS_URL": settings.REDIS_URL,
        "INSTRUMENTS": ",".join(settings.INSTRUMENTS),
        "SCREENER_AUDIT_RATE": "0",
        "ANTHROPIC_API_KEY": settings.ANTHROPIC_API_KEY,
        "ANTHROPIC_BASE_URL": settings.ANTHROPIC_BASE_URL,
    }


def kill_all_of(process: "subprocess.Popen[bytes]") -> None:
    """End the worker and its pool at once, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
