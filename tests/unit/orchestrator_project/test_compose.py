"""The compose file says what the code needs: a worker for every queue, nothing open beyond loopback."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from orchestrator_project.celery import app

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    return found


def test_every_queue_has_a_worker_service_of_its_own(services: dict[str, Any]):
    served = {
        name.removeprefix("worker-"): service["command"][service["command"].index("--queues") + 1]
        for name, service in services.items()
        if name.startswith("worker-")
    }
    assert served == {queue: queue for queue in settings.QUEUES}


def test_a_worker_may_finish_its_longest_task_before_it_is_killed(services: dict[str, Any]):
    for name, service in services.items():
        if name.startswith("worker-"):
            (seconds,) = re.fullmatch(r"(\d+)s", service["stop_grace_period"]).groups()
            assert int(seconds) > app.conf.task_time_limit


def test_redis_forgets_no_message_that_it_acknowledged(services: dict[str, Any]):
    command = services["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")
    assert options["--maxmemory-policy"] == "noeviction"


def test_no_port_is_open_beyond_loopback(services: dict[str, Any]):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_holds_every_package(services: dict[str, Any]):
    dockerfile = (PROJECT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    assert copied == {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert "COPY manage.py gunicorn.conf.py ./\n" in dockerfile
