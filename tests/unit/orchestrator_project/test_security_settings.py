"""Live, the settings refuse what would leave a door open; and the way they are when nothing is refused is clean."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator_project.live_settings import weaknesses

PROJECT = Path(__file__).resolve().parents[3]
KEY = "k3Yx9" * 13
LIVE = {
    "SANDBOX": "false",
    "ANTHROPIC_API_KEY": "sk-ant-x",
    "SECRET_KEY": KEY,
    "FLOWER_BASIC_AUTH": "ada:a long password",
    "ALLOWED_HOSTS": "bot.example.org",
}


def manage(*words: str, local_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command with these settings and none of this machine's or of the tests'."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(local_dir),
        "SETTINGS_FILE": os.devnull,
        "LOCAL_DIR": str(local_dir),
        **settings,
    }
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_deployment_check_finds_nothing(tmp_path: Path) -> None:
    told = manage("check", "--deploy", "--fail-level", "WARNING", local_dir=tmp_path, **LIVE)
    assert (told.returncode, told.stdout) == (0, "System check identified no issues (0 silenced).\n"), told.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY=5 secret characters: must be at least 50"),
        ({"DEBUG": "true"}, "DEBUG=true: must be false"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS='*': must name each host"),
        ({"FLOWER_BASIC_AUTH": ""}, "FLOWER_BASIC_AUTH is not set"),
        ({"FLOWER_BASIC_AUTH": "a:b"}, "FLOWER_BASIC_AUTH=1 secret characters: must be at least 12"),
        ({"REQUIRE_SECOND_FACTOR": "false"}, "REQUIRE_SECOND_FACTOR=false: must be true"),
        ({"HTTPS_ONLY": "false"}, "HTTPS_ONLY=false: when SANDBOX is false only where"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_live_does_not_start_with_an_open_door(tmp_path: Path, changed: dict[str, str], told: str) -> None:
    refused = manage("check", local_dir=tmp_path, **(LIVE | changed))
    assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
    assert "Traceback" not in refused.stderr
    assert KEY not in refused.stderr


STRONG: dict[str, Any] = {
    "live": True,
    "given": ("ANTHROPIC_API_KEY", "SECRET_KEY", "FLOWER_BASIC_AUTH"),
    "secret_key": KEY,
    "debug": False,
    "hosts": ["bot.example.org"],
    "second_factor": True,
    "https_only": True,
    "command_key": "",
    "passwords": {"FLOWER_BASIC_AUTH": "a long password", "METRICS_TOKEN": "", "ALERT_WEBHOOK_KEY": ""},
}


@pytest.mark.parametrize(
    "change",
    [
        {"secret_key": "k3Yx9" * 9},
        {"secret_key": "abcd" * 20},
        {"secret_key": f"django-insecure-{KEY}"},
        {"hosts": ["bot.example.org", ".example.org"]},
        {"hosts": ["*"]},
        {"debug": True},
        {"second_factor": False},
        {"https_only": False},
        {"command_key": "k" * 31},
        {"passwords": {"FLOWER_BASIC_AUTH": "b"}},
        {"passwords": {"METRICS_TOKEN": "k3Yx9k3Yx9k"}},
        {"passwords": {"ALERT_WEBHOOK_KEY": "abcd" * 4}},
        *({"given": [name for name in STRONG["given"] if name != left_out]} for left_out in STRONG["given"]),
    ],
    ids=str,
)
def test_each_weakness_is_told_once_and_only_live(change: dict[str, Any]) -> None:
    (told,) = weaknesses(**(STRONG | change))
    assert KEY not in told
    in_sandbox = list(weaknesses(**(STRONG | change | {"live": False})))
    assert in_sandbox == ([told] if "command_key" in change else [])


def test_nothing_is_told_of_strong_settings() -> None:
    assert list(weaknesses(**STRONG)) == []
    assert list(weaknesses(**(STRONG | {"command_key": "k" * 32}))) == []


def test_live_without_https_is_for_this_machines_own_names() -> None:
    assert list(weaknesses(**(STRONG | {"https_only": False, "hosts": ["localhost", "127.0.0.1"]}))) == []


PAGES = """
import json, sys
import django
django.setup()
from django.test import Client
client = Client(SERVER_NAME=sys.argv[1].partition(":")[0], HTTP_HOST=sys.argv[1])
asked = {
    "plain": client.get("/admin/login/"),
    "health": client.get("/healthz"),
    "proxied": client.get("/admin/login/", headers={"X-Forwarded-Proto": "https"}),
    "secure": client.get("/admin/login/", secure=True),
}
print(json.dumps({
    name: {"status": each.status_code, "to": each.headers.get("Location", ""),
           "hsts": each.headers.get("Strict-Transport-Security", ""),
           "cookie": str(each.cookies.get("csrftoken", ""))}
    for name, each in asked.items()
}))
"""


def pages(local_dir: Path, host: str = "testserver", **settings: str) -> dict[str, dict[str, Any]]:
    """How a web process with these settings answers; none of these pages asks the database."""
    environment = {
        "PATH": os.environ["PATH"], "SETTINGS_FILE": os.devnull, "LOCAL_DIR": str(local_dir), "LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "orchestrator_project.settings", **settings,
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", PAGES, host], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, Any]] = json.loads(told.stdout)
    return found


def test_live_pages_go_over_https_alone_and_a_health_check_needs_none(tmp_path: Path) -> None:
    live = LIVE | {"ALLOWED_HOSTS": "testserver", "DATABASE_URL": "postgres://x@127.0.0.1:9/x"}
    found = pages(tmp_path, **live)
    assert (found["plain"]["status"], found["plain"]["to"]) == (301, "https://testserver/admin/login/")
    assert found["health"]["status"] == 200
    assert found["proxied"]["status"] == 301  # anybody can write that header
    assert found["secure"]["status"] == 200
    assert found["secure"]["hsts"] == "max-age=31536000; includeSubDomains; preload"
    assert "Secure" in found["secure"]["cookie"]
    assert pages(tmp_path, **live, TRUSTED_PROXIES="1")["proxied"]["status"] == 200


def test_a_health_check_asks_by_this_machines_own_name_whatever_name_the_pages_have(tmp_path: Path) -> None:
    found = pages(tmp_path, **(LIVE | {"ALLOWED_HOSTS": "bot.example.org"}), host="127.0.0.1:8000")
    assert found["health"]["status"] == 200
    assert pages(tmp_path, ALLOWED_HOSTS="bot.example.org")["plain"]["status"] == 400


def test_the_sandbox_works_on_plain_localhost(tmp_path: Path) -> None:
    found = pages(tmp_path, ALLOWED_HOSTS="testserver")
    assert (found["plain"]["status"], found["plain"]["hsts"]) == (200, "")
    assert "Secure" not in found["plain"]["cookie"]
