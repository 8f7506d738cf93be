"""Celery: the queues, the schedule, and what keeps workers honest.

A task message is a hint that carries ids: the truth is in Postgres, where claims, unique keys and the sweeper make up
for whatever the broker loses or repeats.
"""

import ctypes
import inspect
import logging
import logging.config
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from celery import Celery, signals
from celery.app.amqp import AMQP
from django.conf import settings
from kombu import Connection, Queue
from kombu.transport.redis import Channel, Transport
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import ConnectionError as BrokerGone

from orchestrator_project import logs
from orchestrator_project.monitoring import heartbeats

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_project.settings")

ROUTES = {
    "decisions.tasks.cycle": "cycle",
    "decisions.tasks.collect": "cycle",
    "decisions.tasks.screen": "screen",
    "decisions.tasks.research": "research",
    "decisions.tasks.analyze": "analyze",
    "decisions.tasks.risk": "risk",
    "decisions.tasks.execute": "execute",
    "decisions.tasks.sweep": "journal",
    "decisions.tasks.housekeeping": "journal",
    "decisions.tasks.protect": "execute",
    "decisions.tasks.reconcile": "journal",
    # These wait for slow servers outside: on a queue where nothing is urgent.
    "decisions.tasks.check_models": "reflect",
    "decisions.tasks.refresh_calendar": "reflect",
    "decisions.tasks.watch": "reflect",
    "reflection.tasks.closed": "reflect",
    "reflection.tasks.work": "reflect",
    "reflection.tasks.sweep": "reflect",
    "reflection.tasks.write_performance": "reflect",
    "reflection.tasks.ask_challenger": "reflect",
    "reflection.tasks.try_challenger": "reflect",
    "orchestrator_project.tasks.fold_totals": "journal",
}

TICK_SECONDS = 1 if settings.SANDBOX else 5
"""How often beat asks for the slot's cycles. A slot's rows are unique, so all but the first ask in vain."""

PROTECT_SECONDS = 5
"""How often positions are looked at whose stop is not confirmed."""

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 2
"""The longest pause between two attempts to reach the broker again; Celery's own grows to half a minute."""


class PersistentChannel(Channel):
    """A channel whose connection may be given up while messages of it are not acknowledged.

    Giving them back, or acknowledging them late, then fails as when the broker is away, which the worker survives;
    kombu 5.7 itself runs into an AttributeError, which ends the worker. Postgres knows what is unfinished.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        transport: Any = self.connection
        if transport is None or transport.client is None:
            raise BrokerGone("The connection to the broker that this message came by was given up.")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        return parameters


class PersistentTransport(Transport):
    Channel = PersistentChannel


class PersistentConnection(Connection):
    """A broker connection that is tried again soon however long the broker has been away."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        soon = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **(soon | options))

    def get_transport_cls(self) -> type[Transport]:
        return PersistentTransport

    def info(self) -> dict[str, Any]:
        """What a worker tells whoever asks, as Flower does. A socket's host is the whole address, password and all."""
        told: dict[str, Any] = super().info()
        return {**told, "hostname": maybe_sanitize_url(str(told["hostname"]))}


class PersistentAMQP(AMQP):
    Connection = PersistentConnection


app = Celery("orchestrator_project", amqp=PersistentAMQP)
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 3600,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    },
    accept_content=["json"],
    task_serializer="json",
    task_queues=[Queue(name) for name in settings.QUEUES],
    task_routes={task: {"queue": queue} for task, queue in ROUTES.items()},
    task_default_queue="journal",
    task_create_missing_queues=False,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_store_eager_result=False,
    task_time_limit=settings.LONGEST_TASK_SECONDS,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=90,
    worker_enable_soft_shutdown_on_idle=False,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
    beat_scheduler="orchestrator_project.beat:SteadyScheduler",
    beat_schedule={
        "sweep": {
            "task": "decisions.tasks.sweep",
            "schedule": settings.SWEEP_SECONDS,
            "options": {"expires": settings.SWEEP_SECONDS},
        },
        "housekeeping": {"task": "decisions.tasks.housekeeping", "schedule": 60, "options": {"expires": 60}},
        "fold-totals": {"task": "orchestrator_project.tasks.fold_totals", "schedule": 60, "options": {"expires": 60}},
        "protect": {
            "task": "decisions.tasks.protect",
            "schedule": PROTECT_SECONDS,
            "options": {"expires": PROTECT_SECONDS},
        },
        # Once a minute, but a difference that was seen is looked at again with the next report of the venue.
        "reconcile": {"task": "decisions.tasks.reconcile", "schedule": 10, "options": {"expires": 10}},
        "performance": {"task": "reflection.tasks.write_performance", "schedule": 60, "options": {"expires": 60}},
        # Each asks the database whether anything is due, and only then the outside.
        "watch": {"task": "decisions.tasks.watch", "schedule": 15, "options": {"expires": 15}},
        "check-models": {"task": "decisions.tasks.check_models", "schedule": 60, "options": {"expires": 60}},
        "refresh-calendar": {"task": "decisions.tasks.refresh_calendar", "schedule": 60, "options": {"expires": 60}},
    },
)
if not settings.SANDBOX_LOCKSTEP:
    app.conf.beat_schedule["cycle"] = {
        "task": "decisions.tasks.cycle",
        "schedule": TICK_SECONDS,
        "options": {"expires": TICK_SECONDS * 5},
    }
    app.conf.beat_schedule["challenger"] = {
        "task": "reflection.tasks.try_challenger",
        "schedule": 60,
        "options": {"expires": 60},
    }
    app.conf.beat_schedule["reflection"] = {
        "task": "reflection.tasks.sweep",
        "schedule": settings.SWEEP_SECONDS,
        "options": {"expires": settings.SWEEP_SECONDS},
    }
app.conf["CELERY_DB_REUSE_MAX"] = 10**9
"""Without it the connection is closed around every task, which doubles the time of a cycle."""
app.autodiscover_tasks()
signals.task_success.connect(heartbeats.on_task_success)
signals.heartbeat_sent.connect(heartbeats.touch)  # from the loop of a worker that has its broker


@signals.setup_logging.connect
def _log_as_everything_else_does(**_: Any) -> None:
    """Otherwise Celery sets up handlers of its own, past the processor that hides secrets."""
    logging.config.dictConfig(settings.LOGGING)


@signals.task_prerun.connect
def _name_the_task_in_its_lines(
    task: Any = None, task_id: str = "", args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **_: Any
) -> None:
    """With its ids: `cycle_id=7` is told as `cycle: 7`."""
    given = inspect.signature(task.run).bind_partial(*args, **(kwargs or {})).arguments
    ids = {name.removesuffix("_id"): value for name, value in given.items() if name.endswith("_id")}
    structlog.contextvars.clear_contextvars()
    logs.also(task=task.name, task_id=task_id, **ids)


@signals.task_postrun.connect
def _forget_the_task(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@signals.worker_init.connect
def _refuse_to_trade_behind_a_broken_gate(**_: Any) -> None:
    """Probe every limit in force before the first task; a worker whose gate fails the drill does not start."""
    import django

    django.setup()
    from risk.services import drill_limits

    if wrong := [finding for finding in drill_limits() if finding.fault]:
        for finding in wrong:
            log.critical("limits drill: %s, %s: %s", finding.rule, finding.told, finding.fault)
        raise SystemExit("The risk gate failed its drill: this worker does not start. See `manage.py risk drill`.")


@signals.worker_init.connect
def _import_the_model_client_before_the_fork(**_: Any) -> None:
    """The SDK takes seconds to import: once in the parent, whose memory the pool's children share. Clients are made
    after the fork."""
    import anthropic  # noqa: F401


@signals.beat_init.connect
def _ask_at_once(**_: Any) -> None:
    """At the start, rather than after the first interval."""
    for task in ("decisions.tasks.check_models", "decisions.tasks.refresh_calendar"):
        app.send_task(task, expires=60)


@signals.worker_process_init.connect
def _die_with_the_worker(**_: Any) -> None:
    """A pool child whose parent was killed would go on alone with its task: have the kernel end it (Linux)."""
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


@signals.task_prerun.connect
@signals.task_postrun.connect
def _drop_broken_connections(**_: Any) -> None:
    """Celery is told to keep the database connection between tasks, so a broken one must be noticed here."""
    from django.db import close_old_connections

    close_old_connections()
