"""A whole worker, killed with all its processes round a question of reflection: the next one does the work once, at the
price of at most one more question.

The claim of a killed worker ends by itself after its lease; here it is made to, so as not to wait for it.
"""

from pathlib import Path
from typing import Any, Literal

import pytest
from django.db import transaction

from decisions.models import ModelCall
from journal import playbook_versions
from journal.models import PlaybookVersion, Trade
from orchestrator_project.celery import app
from reflection.models import Reflection, ReflectionLog
from risk.services import lock_state
from tests.integration.decisions.model_server import KEY, ScriptedModels
from tests.integration.decisions.real_worker import kill_all_of, worker
from tests.integration.decisions.scene import until
from tests.integration.decisions.test_killed_worker import somebody_waits
from tests.integration.reflection.scene import closed, lease_is_over, world
from tests.integration.reflection.test_deep import lesson, proposed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("ready"),
    pytest.mark.timeout(180),
]
Question = Literal["review", "reflect"]


def settled() -> bool:
    return Reflection.objects.exists() and not Reflection.objects.filter(status="waiting").exists()


def another_worker_finishes(log: Path) -> None:
    lease_is_over()
    with worker(log, name="second"):
        app.send_task("reflection.tasks.sweep")
        until(settled)


def a_trade_that_makes_a_reflection_due(monkeypatch: pytest.MonkeyPatch, models: ScriptedModels) -> Trade:
    monkeypatch.setenv("REFLECTION_INTERVAL_TRADES", "1")
    world()
    trade = closed()
    models.will_say("reflect", *[proposed(lessons_learned=[lesson(name)]) for name in ("first", "second")])
    return trade


def each_was_done_once(trade: Trade, models: ScriptedModels, asked: dict[Question, int]) -> None:
    trade.refresh_from_db()
    assert {question: models.times_asked(question) for question in asked} == asked
    assert list(ReflectionLog.objects.order_by("id").values_list("reflection_type", flat=True)) == [
        "post_trade", "periodic"
    ]  # fmt: skip
    assert trade.self_review == ReflectionLog.objects.get(reflection_type="post_trade").output_json
    assert list(PlaybookVersion.objects.order_by("version").values_list("version", flat=True)) == [1, 2]
    written = playbook_versions.active()
    assert [each["id"] for each in written.playbook_json["lessons_learned"]] == [
        "second" if asked["reflect"] == 2 else "first"
    ]


@pytest.mark.parametrize("question", ["review", "reflect"])
def test_a_worker_killed_while_the_model_thinks_costs_one_more_question(
    models: ScriptedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: Question
) -> None:
    trade, log = a_trade_that_makes_a_reflection_due(monkeypatch, models), tmp_path / "log"
    held = models.hold_next(question)
    with worker(log, name="first") as process:
        app.send_task("reflection.tasks.closed", args=(trade.pk,))
        until(lambda: models.times_asked(question) == 1)
        kill_all_of(process)
    held.set()
    another_worker_finishes(log)
    each_was_done_once(trade, models, {"review": 1, "reflect": 1} | {question: 2})
    assert ModelCall.objects.count() == 2
    assert KEY not in log.read_text()


@pytest.mark.parametrize("question", ["review", "reflect"])
def test_a_worker_killed_between_the_answer_and_what_is_made_of_it_leaves_nothing_half_done(
    models: ScriptedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: Question
) -> None:
    """The row that its result begins with is locked: the call is recorded, the result cannot be written."""
    trade, log = a_trade_that_makes_a_reflection_due(monkeypatch, models), tmp_path / "log"
    held = models.hold_next(question)
    with worker(log, name="first") as process:
        app.send_task("reflection.tasks.closed", args=(trade.pk,))
        until(lambda: models.times_asked(question) == 1)
        with transaction.atomic():
            lock: Any = lock_state() if question == "review" else PlaybookVersion.objects.select_for_update().get()
            assert lock is not None
            held.set()
            answered = 1 if question == "review" else 2
            until(lambda: ModelCall.objects.filter(outcome="ok").count() == answered and somebody_waits())
            kill_all_of(process)
    another_worker_finishes(log)
    each_was_done_once(trade, models, {"review": 1, "reflect": 1} | {question: 2})
    assert ModelCall.objects.filter(purpose="reflect", outcome="ok").count() == 3
