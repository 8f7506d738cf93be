"""A real Celery worker on real servers: from the tick to the order, and through the death of a pool process."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import transaction

from decisions import sweeper
from decisions.models import DecisionCycle, Order, OrderStatus, Outcome, State
from decisions.outbox import redis_client
from orchestrator_project.celery import app
from risk import services as risk
from tests.integration.decisions.build import BTC
from tests.integration.decisions.model_server import KEY, ScriptedModels
from tests.integration.decisions.real_worker import PROJECT, worker
from tests.integration.decisions.scene import (
    ETH,
    drive,
    lapse_claim,
    order_of,
    sent_orders,
    tick,
    until,
    venue_says,
    world,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("ready"),
    pytest.mark.timeout(180),
]


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def stands(symbol: str, state: State) -> bool:
    return DecisionCycle.objects.filter(instrument=symbol, state=state).exists()


def test_ticks_and_wakes_however_many_make_one_cycle_an_instrument_and_one_order(
    models: ScriptedModels, tmp_path: Path
) -> None:
    world()
    world(symbol=ETH)
    with worker(tmp_path / "log", processes=2):
        app.send_task("decisions.tasks.execute", args=("not a number",))
        for _ in range(5):
            app.send_task("decisions.tasks.cycle")
        until(lambda: DecisionCycle.objects.count() == 2)
        for name in ("collect", "screen", "analyze", "risk", "execute") * 3:
            app.send_task(f"decisions.tasks.{name}", args=(DecisionCycle.objects.get(instrument=BTC).pk,))
        until(lambda: stands(BTC, State.CONFIRMING) and stands(ETH, State.DONE))
        until(lambda: not any(redis_client().llen(queue) for queue in configured.QUEUES))
    cycle = DecisionCycle.objects.get(instrument=BTC)
    assert DecisionCycle.objects.get(instrument=ETH).outcome == Outcome.INVALID_OUTPUT
    assert set(cycle.stage_ms) == {"collecting", "screening", "analyzing", "risk_check", "executing"}
    assert (cycle.model_calls.count(), Order.objects.count()) == (2, 1)
    assert [fields[b"type"] for fields in sent_orders()] == [b"trade_order"]
    assert redis_client().xlen("opus:decisions") == 2
    assert KEY not in (tmp_path / "log").read_text()
    venue_says(order_of(cycle), "filled")
    cycle.refresh_from_db()
    assert cycle.outcome == Outcome.TRADED


def test_a_pool_process_killed_while_the_model_thinks_costs_one_more_question_and_nothing_else(
    models: ScriptedModels, tmp_path: Path
) -> None:
    world()
    held = models.hold_next("analyze")
    with worker(tmp_path / "log") as process:
        app.send_task("decisions.tasks.cycle", args=([BTC],))
        until(lambda: models.times_asked("analyze") == 1)
        _kill_the_pool(process)
        cycle = DecisionCycle.objects.get()
        lapse_claim(cycle)
        sweeper.sweep()
        until(lambda: stands(BTC, State.CONFIRMING))
        held.set()
    assert models.times_asked("analyze") == 2
    assert cycle.model_calls.filter(purpose="analyze").count() == 1
    assert (Order.objects.count(), len(sent_orders())) == (1, 1)


def test_a_pool_process_killed_on_the_point_of_sending_sends_once(models: ScriptedModels, tmp_path: Path) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    redis_client().delete(*configured.QUEUES)
    with worker(tmp_path / "log") as process:
        with transaction.atomic():
            risk.lock_state()
            app.send_task("decisions.tasks.execute", args=(cycle.pk,))
            until(DecisionCycle.objects.filter(claim__isnull=False).exists)
            _kill_the_pool(process)
        assert sent_orders() == []
        lapse_claim(cycle)
        sweeper.sweep()
        until(lambda: stands(BTC, State.CONFIRMING))
    assert (Order.objects.count(), order_of(cycle).status, len(sent_orders())) == (1, OrderStatus.SENT, 1)


def _kill_the_pool(process: "subprocess.Popen[bytes]") -> None:
    killed = children(process)
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: set(children(process)) - set(killed))


def test_importing_the_tasks_imports_no_model_client() -> None:
    code = (
        "import django, sys; django.setup(); import decisions.tasks; "
        "print([name for name in ('anthropic', 'talib', 'numpy') if name in sys.modules])"
    )
    found: Any = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
