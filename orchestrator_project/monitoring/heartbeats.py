"""When beat and its tasks were last seen, in one hash in Redis: the sign of life that a stuck process cannot give.

Beat signs for itself on every turn of its clockwork, and a worker for a task of the schedule when that has ended well.
A sign that cannot be given is left out: it keeps nothing from being done.

Beside that a process may touch a file of its own (`touch`), where whoever runs it looks for its health: a container's
check reads the file's time, which costs nothing, where asking through the broker would start a Python each time.
"""

import logging
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic, time
from typing import Any

import redis
from django.conf import settings

from orchestrator_project import streams

KEY = "monitoring:heartbeats"
BEAT = "beat"
SHORTEST_SECONDS = 2.0
"""Between two signs of one name from one process."""

log = logging.getLogger(__name__)
_given: dict[str, float] = {}


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return streams.connect_probe()


def beat(name: str) -> None:
    """Sign that `name` is alive now, by the wall clock. Redis being away is logged and otherwise ignored."""
    now = monotonic()
    if now - _given.get(name, -SHORTEST_SECONDS) < SHORTEST_SECONDS:
        return
    _given[name] = now
    try:
        _client().hset(KEY, name, str(time()))
    except redis.RedisError as error:
        log.warning("no sign of life of %s could be given: %s", name, error)


def touch(**_: Any) -> None:
    """Give `ALIVE_FILE`, where there is one, the time of now."""
    if settings.ALIVE_FILE is not None:
        settings.ALIVE_FILE.touch()


def signs(reply: Mapping[bytes, bytes]) -> dict[str, float]:
    """The hash as Redis gives it: name -> Unix time of the last sign."""
    found: dict[str, float] = {}
    for name, at in reply.items():
        found[name.decode()] = float(at)
    return found


def on_task_success(sender: Any = None, **_: Any) -> None:
    """Celery's signal: a task has ended well. Only those of beat's schedule sign."""
    if sender.name in {entry["task"] for entry in sender.app.conf.beat_schedule.values()}:
        beat(sender.name)
