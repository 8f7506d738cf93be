"""The compose file and the image say what the code needs, open nothing beyond loopback and give nothing away.

There is no engine here to start them: the file is read as Compose reads it, and every command in it is parsed by the
program that it names.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery
from click.testing import CliRunner
from django.conf import settings
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config

from orchestrator_project.celery import app
from orchestrator_project.local import endpoints

PROJECT = Path(__file__).resolve().parents[3]
OURS_ALONE = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "MEMORY_LIMIT", "STOP_GRACE"}
"""Names that the compose file knows and the settings do not."""
KEYS = {
    "image", "build", "user", "init", "command", "restart", "read_only", "cap_drop", "security_opt", "pids_limit",
    "logging", "tmpfs", "volumes", "environment", "env_file", "depends_on", "mem_limit", "healthcheck", "shm_size",
    "stop_signal", "stop_grace_period", "ports", "profiles",
}  # fmt: skip
"""What Compose knows of a service, as far as it is used here."""


def in_force(text: str) -> str:
    """A value as Compose reads it with nothing but what must be set: `${NAME:-default}` and `${NAME:?message}`."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda found: found[3] if found[2] == "-" else "given:given", text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)s", in_force(duration))
    assert found, duration
    return int(found[1])


def ours(services: Mapping[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if service["image"] == "orchestrator"}


# --- it is a compose file ---------------------------------------------------------------------------------------------


def test_it_holds_only_what_compose_knows(compose: dict[str, Any], services: dict[str, Any]):
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in services.items():
        assert set(service) <= KEYS, name
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in compose["volumes"], name
        for other, terms in service.get("depends_on", {}).items():
            condition = terms["condition"]
            assert condition in ("service_healthy", "service_completed_successfully"), name
            if condition == "service_healthy":
                assert "healthcheck" in services[other]


def test_every_variable_that_it_asks_for_is_a_setting_or_its_own():
    text = (PROJECT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) - OURS_ALONE <= set(settings.PARAMETERS)


def test_every_environment_variable_is_read_by_somebody(services: dict[str, Any]):
    for name, service in services.items():
        known = {*settings.PARAMETERS, "PGPASSWORD"} if name in ours(services) else OURS_ALONE
        assert set(service.get("environment", {})) <= known, name


# --- what runs --------------------------------------------------------------------------------------------------------


def test_every_process_of_the_design_has_a_service(services: dict[str, Any]):
    workers = {f"worker-{queue}" for queue in settings.QUEUES}
    expected = {"postgres", "valkey", "migrate", "web", "beat", "consumer", "flower", *workers}
    profiles = {name: each["profiles"] for name, each in services.items() if "profiles" in each}
    assert set(services) - set(profiles) == expected
    assert profiles == {"market": ["sandbox"], "venue": ["sandbox"], "market-okx": ["okx"]}


def test_every_queue_has_a_worker_service_of_its_own_with_its_concurrency_in_the_settings_file(
    services: dict[str, Any],
):
    for queue in settings.QUEUES:
        command = services[f"worker-{queue}"]["command"]
        assert command[command.index("--queues") + 1] == queue
        concurrency = command[command.index("--concurrency") + 1]
        assert re.fullmatch(rf"\$\{{WORKER_CONCURRENCY_{queue.upper()}:-\d+\}}", concurrency)


def test_every_command_is_one_that_its_program_takes(services: dict[str, Any]):
    for service in ours(services).values():
        words = [in_force(word) for word in service["command"]]
        for command in words[2].split(" && ") if words[0] == "sh" else [" ".join(words)]:
            _parse(command.split())


def _parse(words: list[str]) -> None:
    program, *arguments = words
    if program == "celery":
        result = CliRunner().invoke(celery, [*arguments, "--help"])
        assert result.exit_code == 0, (words, result.output)
    elif program == "gunicorn":
        parsed = Config().parser().parse_args(arguments)
        assert parsed.args == ["orchestrator_project.wsgi"]
    else:
        assert (program, arguments[0]) == ("python", "manage.py")
        owner = get_commands()[arguments[1]]
        load_command_class(str(owner), arguments[1]).create_parser("manage.py", arguments[1]).parse_args(arguments[2:])


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_a_worker_may_finish_its_longest_task_before_it_is_killed(services: dict[str, Any]):
    for queue in settings.QUEUES:
        assert seconds(services[f"worker-{queue}"]["stop_grace_period"]) > app.conf.task_time_limit + 10


def test_whatever_holds_work_has_time_to_end_it(services: dict[str, Any]):
    for name in ("postgres", "valkey", "web", "beat", "consumer"):
        assert seconds(services[name]["stop_grace_period"]) >= 30, name


def test_what_ends_is_started_again_but_the_migrations(services: dict[str, Any]):
    assert {name for name, each in services.items() if each["restart"] != "unless-stopped"} == {"migrate"}


def test_every_service_is_looked_after(services: dict[str, Any]):
    for name, service in services.items():
        check = service["healthcheck"]
        if name == "migrate":
            assert check == {"disable": True}
            continue
        assert check["test"][0] == "CMD", name
        if "/tmp/alive" in check["test"][-1]:  # noqa: S108 - in the container
            assert service["environment"]["ALIVE_FILE"] == "/tmp/alive"  # noqa: S108


# --- what it gives away -----------------------------------------------------------------------------------------------


def test_redis_forgets_no_message_that_it_acknowledged(services: dict[str, Any]):
    command = services["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")
    assert options["--maxmemory-policy"] == "noeviction"


def test_no_port_is_open_beyond_loopback(services: dict[str, Any]):
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"web", "flower"}
    assert all(port.startswith("127.0.0.1:") for each in ports.values() for port in each)


def test_a_server_named_in_the_settings_file_wins_and_a_password_may_hold_any_character(services: dict[str, Any]):
    for name, service in ours(services).items():
        said = service["environment"]
        assert re.fullmatch(r"\$\{DATABASE_URL:-[^}$]+\}", said["DATABASE_URL"]), name
        assert re.fullmatch(r"\$\{REDIS_URL:-[^}$]+\}", said["REDIS_URL"]), name
        assert endpoints.database(in_force(said["DATABASE_URL"]))["PASSWORD"] == ""
        assert said["PGPASSWORD"].startswith("${POSTGRES_PASSWORD:?"), name


def test_flower_asks_for_a_password_and_changes_nothing(services: dict[str, Any]):
    flower = services["flower"]
    assert ":?" in flower["environment"]["FLOWER_BASIC_AUTH"]
    assert "--read_only=true" in flower["command"]


def test_no_container_may_do_more_than_it_has_to(services: dict[str, Any]):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] not in ("root", "0", "0:0"), name
        assert "mem_limit" in service, name
        assert "privileged" not in service, name
        assert not any("docker.sock" in volume for volume in service.get("volumes", ())), name


def test_no_secret_stands_in_it_or_in_the_image():
    for file in ("docker-compose.yml", "Dockerfile"):
        assert not re.search(r"(?i)(password|secret_key|api_key|token|basic_auth)[:=] *[\"']?\w", _unset(file)), file


def _unset(file: str) -> str:
    return re.sub(r"\$\{[^}]*\}", "", (PROJECT / file).read_text())


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_holds_every_package_and_nothing_private():
    dockerfile = (PROJECT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    assert copied == {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert "COPY manage.py gunicorn.conf.py ./\n" in dockerfile
    assert {".env", ".local", ".git"} <= set((PROJECT / ".dockerignore").read_text().split())


def test_the_image_runs_as_a_user_installs_what_is_locked_and_says_how_it_is():
    *_, last = (PROJECT / "Dockerfile").read_text().split("\nFROM ")
    assert last.startswith("python:3.12-slim\n")
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\n.*/healthz", last, re.MULTILINE)
    installed = re.findall(r"pip install [^\\\n]*", (PROJECT / "Dockerfile").read_text())
    assert installed
    assert all("--require-hashes" in each for each in installed)
    assert not re.search(r"(apt|apt-get|pip|uv pip) install", last)
