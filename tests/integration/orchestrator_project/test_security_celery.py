"""Task messages are JSON and nothing else, and nothing of a task is kept at the broker."""

import inspect
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import redis
from kombu import Connection, Queue

from orchestrator_project.celery import ROUTES, app
from tests.integration.decisions.real_worker import caller, worker
from tests.integration.decisions.scene import until

TASK = "decisions.tasks.housekeeping"


class Evil:
    """What runs code when it is read by pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def send_pickled(path: Path) -> None:
    """A task message as Celery makes it, but for its content."""
    with Connection(app.conf.broker_url) as connection:
        connection.Producer().publish(
            pickle.dumps(([Evil(path)], {}, {})),
            routing_key="journal",
            exchange="",
            declare=[Queue("journal", channel=connection.default_channel)],
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"lang": "py", "task": TASK, "id": "evil", "argsrepr": "", "kwargsrepr": ""},
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(180)
def test_a_worker_reads_no_pickle_and_goes_on(redis_client: "redis.Redis", tmp_path: Path) -> None:
    log, touched = tmp_path / "worker.log", tmp_path / "owned"
    with worker(log):
        send_pickled(touched)
        until(lambda: "ContentDisallowed" in log.read_text(), 60)
        with caller() as celery:
            celery.send_task(TASK, queue="journal")
        until(lambda: f"Task {TASK}" in log.read_text() and "succeeded" in log.read_text(), 60)
    assert not touched.exists()


def test_the_pickle_of_the_test_is_a_dangerous_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "owned"))).close()  # noqa: S301 - that it runs is the point
    assert (tmp_path / "owned").exists()


def test_nothing_else_is_sent_and_no_result_is_kept() -> None:
    assert (app.conf.accept_content, app.conf.task_serializer) == (["json"], "json")
    assert (app.conf.result_accept_content, app.conf.event_serializer) == (None, "json")
    assert (app.conf.result_backend, app.conf.task_ignore_result) == (None, True)


def test_tasks_take_ids_and_no_documents() -> None:
    """Whoever looks at the broker, or at Flower, reads numbers there. `cycle` may be given names of instruments."""
    app.loader.import_default_modules()
    taken = {
        str(each.annotation) for name in ROUTES for each in inspect.signature(app.tasks[name].run).parameters.values()
    }
    assert taken == {str(int), str(Sequence[str] | None)}
