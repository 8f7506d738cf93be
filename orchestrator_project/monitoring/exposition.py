"""The figures in Prometheus's form, worked out at the scrape from Postgres and Redis.

No process counts anything for itself, so each gives the same figures and a restart takes nothing back. A scrape is a
fixed number of short queries and two round trips to Redis; what a server that is away would have said is left out,
and `orchestrator_up` says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from time import time

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from orchestrator_project.monitoring import record, totals
from orchestrator_project.monitoring.catalogue import FIGURES, PREFIX, SECONDS, Figure
from orchestrator_project.monitoring.observation import log, observe
from orchestrator_project.monitoring.readiness import Check, silence
from orchestrator_project.monitoring.record import Trading
from orchestrator_project.monitoring.state import RecordState, RedisState
from orchestrator_project.monitoring.totals import Series
from risk.account_status import Fall

Amount = Decimal | float | int | None
Sample = tuple[str, tuple[str, ...], Amount]
"""The name of a figure, its labels, and the amount; None is left out."""


def exposition(accept: str) -> tuple[bytes, str]:
    """The whole page and its content type, in the newest form that `accept` (an Accept header) takes."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Scrape())
    return encode(registry), content_type


class _Scrape:
    """One look, as prometheus_client wants it."""

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        return families(read())


def read() -> dict[Series, Decimal]:
    """Every series there is at the moment."""
    seen = observe()
    checks = seen.checks
    samples = [*_of_checks(checks), *_of_redis(seen.redis), *_of_record(seen.record)]
    counted: Mapping[Series, Decimal] = {}
    if seen.record is not None:
        try:
            samples += _of_trading(record.read_trading(seen.record.now))
            counted = totals.totals()
        except (DatabaseError, InterfaceError, redis.RedisError) as error:
            log.warning("the record cannot be counted: %s", error)
    return {(name, labels): Decimal(str(amount)) for name, labels, amount in samples if amount is not None} | dict(
        counted
    )


def families(series: Mapping[Series, Decimal]) -> Iterator[Metric]:
    """The series by figure, in the catalogue's order."""
    by_name: dict[str, dict[tuple[str, ...], Decimal]] = defaultdict(dict)
    for (name, labels), amount in series.items():
        by_name[name][labels] = amount
    for figure in FIGURES.values():
        if figure.kind == "histogram":
            yield _histogram(figure, by_name[f"{figure.name}_bucket"], by_name[f"{figure.name}_sum"])
            continue
        family = (CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily)(
            PREFIX + figure.name, figure.help, labels=figure.labels
        )
        for labels, amount in sorted(by_name[figure.name].items()):
            family.add_metric(labels, float(amount))
        yield family


def _histogram(
    figure: Figure, buckets: Mapping[tuple[str, ...], Decimal], sums: Mapping[tuple[str, ...], Decimal]
) -> HistogramMetricFamily:
    """A bucket's last label is its place; Prometheus wants each with all below it."""
    family = HistogramMetricFamily(PREFIX + figure.name, figure.help, labels=figure.labels)
    for labels, summed in sorted(sums.items()):
        below, cumulated = 0.0, []
        for place, bound in enumerate([*map(str, SECONDS), "+Inf"]):
            below += float(buckets.get((*labels, str(place)), 0))
            cumulated.append((bound, below))
        family.add_metric(labels, cumulated, float(summed))
    return family


def _of_checks(checks: Iterable[Check]) -> Iterator[Sample]:
    yield "info", ("sandbox" if settings.SANDBOX else "live",), 1
    for check in checks:
        yield "ready", (check.name,), int(check.passes)
        if check.name in ("postgres", "redis"):
            yield "up", (check.name,), int(check.passes)


def _of_redis(state: RedisState | None) -> Iterator[Sample]:
    if state is None:
        return
    for name, age in silence(state.signs, time()).items():
        yield "heartbeat_age_seconds", (name,), age
    for stream, each in state.streams.items():
        yield "stream_length", (stream,), each.length
        yield "stream_lag", (stream,), each.lag
        yield "stream_pending", (stream,), each.pending
        yield "stream_oldest_seconds", (stream,), each.oldest_seconds
    for stream, length in state.lengths.items():
        yield "stream_length", (stream,), length
    for queue, length in state.queues.items():
        yield "queue_length", (queue,), length
    yield "unacknowledged_tasks", (), state.unacknowledged
    yield "consumers", (), state.consumers
    yield "redis_memory_bytes", (), state.memory_bytes


def _of_record(state: RecordState | None) -> Iterator[Sample]:
    if state is None:
        return
    yield "open_cycles", (), state.open_cycles
    yield "oldest_open_cycle_seconds", (), state.oldest_open_seconds
    yield "last_cycle_age_seconds", (), state.last_cycle_seconds
    for instrument, age in state.snapshots.items():
        yield "snapshot_age_seconds", (instrument,), age.seconds
    yield "positions_age_seconds", (), state.positions.seconds
    yield "outbox_waiting", (), state.outbox_waiting
    yield "waiting_fills", (), state.waiting_fills
    yield "discrepancies", (), state.discrepancies
    yield "blocked_instruments", (), state.blocked_instruments
    yield "database_bytes", (), state.database_bytes


def _of_trading(trading: Trading) -> Iterator[Sample]:
    status, limits = trading.status, settings.RISK_LIMITS
    for word in ("running", "cooldown", "halted", "unknown"):
        yield "risk_state", (word,), int(status.state == word)
    for halt in status.halts:
        yield "halts", (halt.kind,), 1
    yield "equity_usd", (), status.equity
    yield "peak_equity_usd", (), status.peak_equity
    yield "daily_loss_ratio", (), _fall(status.daily_loss)
    yield "drawdown_ratio", (), _fall(status.drawdown)
    yield "exposure_ratio", (), trading.exposure_usd / status.equity if status.equity else None
    yield "limit_ratio", ("daily_loss",), limits.max_daily_loss_pct
    yield "limit_ratio", ("drawdown",), limits.max_drawdown_pct
    yield "limit_ratio", ("exposure",), limits.max_total_exposure_pct
    yield "loss_streak", (), status.loss_streak
    yield "positions", (), len(trading.positions)
    yield "unrealized_pnl_usd", (), trading.reported.account.unrealized_pnl if trading.reported else None
    for order_status, count in trading.live_orders.items():
        yield "live_orders", (order_status,), count
    yield "model_spend_today_usd", (), trading.budget.spent
    yield "model_budget_usd", (), trading.budget.daily
    yield "playbook_version", (), trading.playbook_version


def _fall(fall: Fall) -> Decimal | None:
    """Above 0 when it fell; measured is below."""
    return None if fall.measured is None else max(-fall.measured, Decimal(0))
