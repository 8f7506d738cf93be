"""One look at everything: what could be read, what could not, and the checks of `/readyz`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import time
from typing import TypeVar

import redis
from celery import current_app
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from orchestrator_project.monitoring import readiness, record, servers
from orchestrator_project.monitoring.readiness import Check
from orchestrator_project.monitoring.state import RecordState, RedisState

WATCHED_SECONDS = 30
"""Tasks that are due less often are no sign of life."""
UNHURRIED = "reflect"
"""The queue of what waits for slow servers outside: nothing on it is urgent."""

log = logging.getLogger(__name__)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was read; None where its server could not be asked. `missing` migrations are None likewise."""

    redis: RedisState | None
    missing: list[str] | None
    record: RecordState | None

    @property
    def checks(self) -> list[Check]:
        """Every check that can be made, the servers' own first."""
        limits = _limits()
        checks = [_answers("postgres", self.missing), _answers("redis", self.redis)]
        if self.missing is not None:
            lacking = ", ".join(self.missing)
            checks.append(Check("migrations", not self.missing, f"missing: {lacking}" if lacking else "complete"))
        if self.redis is not None:
            checks += readiness.of_redis(self.redis, limits, time())
        if self.record is not None:
            checks += readiness.of_record(self.record, limits)
        return checks


def observe() -> Observation:
    """Look now. What cannot be read is logged and left out: the checks say so."""
    missing = _unless_away("Postgres", record.missing_migrations)
    return Observation(
        redis=_unless_away("Redis", servers.read_redis),
        missing=missing,
        record=None if missing is None or missing else _unless_away("Postgres", record.read_record),
    )


def _unless_away(server: str, read: Callable[[], Value]) -> Value | None:
    try:
        return read()
    except (DatabaseError, InterfaceError, redis.RedisError) as error:
        log.warning("%s cannot be asked how it stands: %s", server, error)
        return None


def _answers(name: str, state: object) -> Check:
    return Check(name, state is not None, "answers" if state is not None else "does not answer, see the log")


def _limits() -> readiness.Limits:
    bar = float(settings.SANDBOX_BAR_SECONDS)
    return readiness.Limits(
        schedule=_watched(),
        max_snapshot_age=timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS),
        max_positions_age=timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS),
        wall_data_seconds=max(120.0, 10 * bar) if settings.SANDBOX else None,
    )


def _watched() -> dict[str, float]:
    """The tasks of beat's schedule whose silence means something, with their intervals in seconds."""
    routes = current_app.conf.task_routes
    entries = [entry for entry in current_app.conf.beat_schedule.values() if isinstance(entry["schedule"], int | float)]
    return {
        entry["task"]: float(entry["schedule"])
        for entry in entries
        if entry["schedule"] <= WATCHED_SECONDS and routes[entry["task"]]["queue"] != UNHURRIED
    }
