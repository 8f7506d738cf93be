"""A small world for cycles: bars, an account, ticks, and the venue's word on orders; and the stages, driven by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from threading import Barrier, Thread
from time import monotonic, sleep
from typing import Any

import redis
from django.core.management import call_command
from django.db import connections, transaction

from decisions import cycles, fills, market_data, positions, tasks
from decisions.messages import MarketSnapshot, PositionUpdate, TradeFill
from decisions.models import DecisionCycle, MarketRecord, Order, State
from decisions.outbox import redis_client
from tests.integration.decisions.build import (
    BTC,
    NOON,
    fill_payload,
    position_update_payload,
    snapshot_payload,
)

ETH = "ETH-USDT-SWAP"

STAGES: dict[State, Callable[[int], None]] = {
    State.COLLECTING: tasks.collect,
    State.SCREENING: tasks.screen,
    State.RESEARCHING: tasks.research,
    State.ANALYZING: tasks.analyze,
    State.RISK_CHECK: tasks.risk,
    State.EXECUTING: tasks.execute,
}


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def bar(at: datetime = NOON, price: str = "20000", symbol: str = BTC, **changes: Any) -> None:
    """A snapshot comes in."""
    market_data.record_snapshot(MarketSnapshot.model_validate(snapshot_payload(symbol, at, price, **changes)))


@transaction.atomic
def account(at: datetime = NOON, *held: dict[str, Any], equity: str = "10000") -> None:
    """A position update comes in."""
    payload = position_update_payload(at, equity, positions=list(held))
    positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))


def world(at: datetime = NOON, *held: dict[str, Any], **market: Any) -> None:
    """A bar, and the account as of it."""
    bar(at, **market)
    account(at, *held)


def venue_is_silent() -> None:
    """Long enough for the newest bar to count without the venue's word on it."""
    MarketRecord.objects.update(received_at=datetime.now(UTC) - timedelta(seconds=10))


def tick(at: datetime = NOON, symbol: str = BTC) -> DecisionCycle:
    """The new cycle of the slot that begins then."""
    (cycle,) = cycles.create([symbol], at)
    return cycle


def drive(cycle: DecisionCycle, until: State | None = None) -> DecisionCycle:
    """Run stage after stage, up to a state, or until the cycle has ended or waits for the venue."""
    while (stage := STAGES.get(State(cycle.state))) is not None and cycle.state != until:
        before = (cycle.round, cycle.state)
        stage(cycle.pk)
        cycle.refresh_from_db()
        assert (cycle.round, cycle.state) != before, cycle.last_error
    return cycle


def decided(at: datetime = NOON, **market: Any) -> DecisionCycle:
    """A whole cycle in a fresh world."""
    world(at, **market)
    return drive(tick(at))


@transaction.atomic
def venue_says(order: Order, status: str, **changes: Any) -> None:
    """A fill message comes in."""
    if status in ("rejected", "expired", "cancelled", "accepted"):
        changes = {**dict.fromkeys(("fill_price", "fill_size", "fee_usd", "cumulative_size")), **changes}
    fills.book_fill(TradeFill.model_validate(fill_payload(order, status=status, **changes)))


def order_of(cycle: DecisionCycle) -> Order:
    return Order.objects.get(cycle=cycle)


def sent_orders() -> list[dict[bytes, bytes]]:
    """The entries on the order stream."""
    entries: Any = redis_client().xrange("trade:orders")
    return [fields for _, fields in entries]


def lapse_claim(cycle: DecisionCycle) -> None:
    """As if the lease of whoever works on the cycle were over."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    DecisionCycle.objects.filter(pk=cycle.pk).update(claimed_until=moment)


def queued(client: "redis.Redis", queue: str) -> int:
    """How many messages wait in a Celery queue."""
    length: Any = client.llen(queue)
    return int(length)


def at_once(*functions: Callable[[], object]) -> list[BaseException]:
    """Run the functions in threads that start together, each with connections of its own. Returns what was raised."""
    barrier = Barrier(len(functions))
    raised: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            function()
        except Exception as error:
            raised.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return raised


def command(*words: str) -> tuple[int, str]:
    """The exit code of a management command, and what it printed."""
    out, code = StringIO(), 0
    try:
        call_command(*words, stdout=out)
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, out.getvalue()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"not within {seconds} s"
        sleep(0.02)
