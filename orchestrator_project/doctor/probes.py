"""What the doctor reads of this installation. A server that is away is a finding, and keeps back no other."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import monotonic, time
from typing import Any

import redis
from django.conf import settings
from django.db import connection

from decisions import calendar, context, model_status
from decisions.alerts_out.channels import channels_on
from decisions.clock import wall_now
from decisions.models import AlertDelivery
from decisions.refusals import DATABASE_AWAY
from orchestrator_project.doctor import findings
from orchestrator_project.doctor.findings import Finding, RedisFacts, SettingsFacts
from orchestrator_project.monitoring import record, servers
from orchestrator_project.monitoring.observation import observe
from risk import services as risk

ROUND_TRIPS = 5


def settings_facts() -> SettingsFacts:
    names = ("ANTHROPIC_API_KEY", "PERPLEXITY_API_KEY", "FRED_API_KEY", "FLOWER_BASIC_AUTH", "COMMAND_HMAC_KEY")
    return SettingsFacts(
        live=not settings.SANDBOX,
        promotion=settings.PLAYBOOK_PROMOTION,
        log_json=settings.LOG_JSON,
        second_factor=settings.REQUIRE_SECOND_FACTOR,
        alert_channels=[channel.label for channel in channels_on()],
        keys={name: bool(getattr(settings, name)) for name in names},
    )


def look() -> Iterator[Finding]:
    """Everything that can be seen from here."""
    postgres = list(_postgres())
    yield from postgres
    yield from _redis()
    yield from _drill()
    yield findings.disk(str(settings.LOCAL_DIR), shutil.disk_usage(_existing(settings.LOCAL_DIR)).free)
    facts = settings_facts()
    yield from findings.keys(facts)
    yield from findings.advice(facts)
    if not findings.failed(postgres):
        yield from _of_record()
        yield from _deliveries()
    seen = observe()
    yield from findings.at_work(seen.checks, ever_started=seen.redis is not None and bool(seen.redis.signs))


def _postgres() -> Iterator[Finding]:
    try:
        yield findings.postgres(int(_value("SHOW server_version_num")))
        yield findings.latency("Postgres", _milliseconds(lambda: _value("SELECT 1")))
        ahead = _ahead(lambda: float(_value("SELECT extract(epoch FROM clock_timestamp())")))
        yield findings.clock("Postgres", ahead)
        yield findings.migrations(record.missing_migrations())
    except DATABASE_AWAY as error:
        yield findings.away("Postgres", "DATABASE_URL", _line(error))


def _value(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def _redis() -> Iterator[Finding]:
    client = servers.client()
    try:
        told: Any = client.info()
        yield from findings.redis(
            RedisFacts(
                name="Valkey" if told.get("server_name") == "valkey" else "Redis",
                version=str(told.get("valkey_version", told["redis_version"])),
                append_only=bool(told["aof_enabled"]),
                policy=str(told["maxmemory_policy"]),
            )
        )
        yield findings.latency("Redis", _milliseconds(client.ping))
        yield findings.clock("Redis", _ahead(lambda: _seconds(client)))
    except redis.RedisError as error:
        yield findings.away("Redis", "REDIS_URL", _line(error))


def _seconds(client: "redis.Redis") -> float:
    told: Any = client.time()
    return float(told[0]) + float(told[1]) / 1e6


def _milliseconds(ask: Callable[[], object]) -> float:
    """The median of some round trips."""
    took = []
    for _ in range(ROUND_TRIPS):
        began = monotonic()
        ask()
        took.append((monotonic() - began) * 1000)
    return median(took)


def _ahead(ask: Callable[[], float]) -> float:
    """How far a clock is ahead of ours, in seconds: it was read in the middle of the round trip."""
    before = time()
    theirs = ask()
    return theirs - (before + time()) / 2


def _drill() -> Iterator[Finding]:
    probes = risk.drill_limits()
    yield findings.drill(len(probes), [each.rule for each in probes if each.fault])


def _of_record() -> Iterator[Finding]:
    """What the database tells of models and news."""
    for each in model_status.standings():
        is_going = each.lifecycle == model_status.Lifecycle.DEPRECATED
        yield findings.model(str(each), gone=each.is_gone, going=is_going, cure=each.cure)
    if not settings.SANDBOX:
        now = wall_now()
        missing = calendar.gaps(context.known_events(now, calendar.GAP_DAYS), now)
        yield findings.calendar(missing, calendar.GAP_DAYS)


def _deliveries() -> Iterator[Finding]:
    """The channels that have refused the last alert, each with its words."""
    for channel in channels_on():
        waiting = AlertDelivery.objects.filter(channel=channel, ended_at__isnull=True).exclude(error="")
        newest = waiting.order_by("-id").first()
        yield findings.channel(channel, waiting.count(), "" if newest is None else newest.error)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
