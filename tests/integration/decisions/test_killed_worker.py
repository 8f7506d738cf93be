"""A whole worker, killed with all its processes round a question to the model: the next one finishes the cycle, at the
price of at most one more question, and never with a second order.

The claim of a killed worker ends by itself after its lease; here it is made to, so as not to wait for it.
"""

from pathlib import Path

import pytest
from django.db import connection, transaction

from decisions.models import DecisionCycle, ModelCall, Order, OrderStatus, State
from orchestrator_project.celery import app
from tests.integration.decisions.build import BTC
from tests.integration.decisions.model_server import KEY, ScriptedModels, analysed
from tests.integration.decisions.real_worker import kill_all_of, worker
from tests.integration.decisions.scene import lapse_claim, order_of, sent_orders, until, world

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("ready"),
    pytest.mark.timeout(180),
]

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


def another_worker_finishes(cycle: DecisionCycle, log: Path) -> None:
    lapse_claim(cycle)
    with worker(log, name="second"):
        app.send_task("decisions.tasks.sweep")
        until(DecisionCycle.objects.filter(pk=cycle.pk, state=State.CONFIRMING).exists)
    cycle.refresh_from_db()


def test_a_worker_killed_while_the_model_thinks_costs_one_more_question(models: ScriptedModels, tmp_path: Path) -> None:
    world()
    log = tmp_path / "log"
    held = models.hold_next("analyze")
    with worker(log, name="first") as process:
        app.send_task("decisions.tasks.cycle", args=([BTC],))
        until(lambda: models.times_asked("analyze") == 1)
        kill_all_of(process)
    another_worker_finishes(cycle := DecisionCycle.objects.get(), log)
    held.set()
    assert (models.times_asked("screen"), models.times_asked("analyze")) == (1, 2)
    assert cycle.model_calls.get(purpose=ModelCall.Purpose.ANALYZE).attempts == 1
    assert (Order.objects.count(), order_of(cycle).status, len(sent_orders())) == (1, OrderStatus.SENT, 1)
    assert KEY not in log.read_text()


def test_a_worker_killed_between_the_note_of_the_reply_and_the_next_stage_sends_one_order(
    models: ScriptedModels, tmp_path: Path
) -> None:
    """The cycle's row is locked so that the note of the call, which needs only its key, can be written, and the cycle
    cannot be moved on."""
    world()
    log = tmp_path / "log"
    models.will_say("analyze", analysed(size_pct=0.03), analysed(size_pct=0.02))
    held = models.hold_next("analyze")
    with worker(log, name="first") as process:
        app.send_task("decisions.tasks.cycle", args=([BTC],))
        until(lambda: models.times_asked("analyze") == 1)
        with transaction.atomic():
            cycle = DecisionCycle.objects.select_for_update(no_key=True).get()
            held.set()
            until(lambda: ModelCall.objects.filter(purpose="analyze", outcome="ok").exists() and somebody_waits())
            kill_all_of(process)
    another_worker_finishes(cycle, log)
    assert models.times_asked("analyze") == cycle.model_calls.filter(purpose="analyze").count() == 2
    assert cycle.decision is not None
    assert cycle.decision["decision"]["size_pct"] == "0.02"
    assert (Order.objects.count(), order_of(cycle).status, len(sent_orders())) == (1, OrderStatus.SENT, 1)


def somebody_waits() -> bool:
    """Whether a statement waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(SOMEBODY_WAITS)
        return cursor.fetchone() == (True,)
