"""What a person meets at the command line: plain sentences and exit code 2 for their mistakes, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

PROJECT = Path(__file__).resolve().parents[3]
CANARY = "canary-0123456789"


def run(*words: str, local_dir: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=90,
        env={**os.environ, "LOCAL_DIR": str(local_dir), **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("manage.py", "migrate"),
        ("manage.py", "runstack"),
        ("-m", "celery", "-A", "orchestrator_project", "worker"),
        ("-m", "gunicorn", "orchestrator_project.wsgi"),
    ],
    ids=["command", "stack", "celery", "web"],
)
def test_all_bad_settings_are_told_at_once_before_anything_starts(words: tuple[str, ...], tmp_path: Path):
    told = run(
        *words, local_dir=tmp_path / "new", DECISION_CYCLE_SECONDS="often", MAX_LEVERAGE="50",
        DATABASE_URL=f"mysql://me:{CANARY}@host/x", MAX_DALY_LOSS_PCT="0.5",
    )  # fmt: skip
    assert told.returncode == 2
    for name in ("DECISION_CYCLE_SECONDS='often'", "MAX_LEVERAGE='50'", "DATABASE_URL", "MAX_DAILY_LOSS_PCT"):
        assert name in told.stderr
    assert "Traceback" not in told.stderr
    assert CANARY not in told.stderr + told.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("manage.py", "show_config"),
        ("manage.py", "status"),
        ("-m", "celery", "-A", "orchestrator_project", "worker"),
        ("-m", "gunicorn", "orchestrator_project.wsgi"),
    ],
    ids=["without-servers", "with-servers", "celery", "web"],
)
@pytest.mark.parametrize("place", ["file", "/proc/nowhere"])
def test_a_local_folder_that_cannot_be_used_is_told_in_one_line(words: tuple[str, ...], place: str, tmp_path: Path):
    (tmp_path / "file").touch()
    told = run(*words, local_dir=tmp_path / place)
    assert told.returncode == 2
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"LOCAL_DIR={tmp_path / place} cannot be used: ")


def test_a_file_in_place_of_a_servers_folder_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "logs").touch()
    told = run("manage.py", "status", local_dir=tmp_path)
    assert told.returncode == 2
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"LOCAL_DIR={tmp_path} cannot be used: File exists: {tmp_path / 'logs'}.")


@pytest.mark.parametrize("words", [("nosuch",), ("--nosuch",), ("nosuch", "--help")])
def test_an_unknown_command_is_a_mistake_and_starts_no_server(words: tuple[str, ...], tmp_path: Path):
    told = run("manage.py", *words, local_dir=tmp_path)
    assert (told.returncode, "Unknown command" in told.stderr) == (2, True)
    assert not (tmp_path / "logs").exists()


def test_a_database_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path):
    told = run("manage.py", "status", local_dir=tmp_path, DATABASE_URL=f"postgres://me:{CANARY}@127.0.0.1:1/x")
    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert line.startswith("Postgres cannot be reached (DATABASE_URL): ")
    assert "port 1" in line
    assert CANARY not in line


def test_a_redis_that_cannot_be_reached_ends_the_stack_before_anything_has_started(tmp_path: Path):
    told = run("manage.py", "runstack", local_dir=tmp_path, REDIS_URL=f"redis://:{CANARY}@127.0.0.1:1",
               DATABASE_URL="postgres://me@127.0.0.1:1/x")  # fmt: skip
    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert line.startswith("Redis cannot be reached (REDIS_URL): ")
    assert CANARY not in line
    assert "Migrating" not in told.stdout


def test_live_trading_needs_a_model_and_a_key_of_its_own(tmp_path: Path):
    told = run("manage.py", "check", local_dir=tmp_path, SANDBOX="false")
    assert told.returncode == 2
    assert "ANTHROPIC_API_KEY" in told.stderr
    assert "SECRET_KEY" in told.stderr


def test_a_settings_file_is_read_and_the_environment_wins(tmp_path: Path):
    file = tmp_path / "my.env"
    file.write_text(f"OPUS_MODEL=from-file\nHAIKU_MODEL=from-file\nANTHROPIC_API_KEY={CANARY}\n")
    told = run("manage.py", "show_config", "--json", local_dir=tmp_path, SETTINGS_FILE=str(file), HAIKU_MODEL="mine")
    shown = json.loads(told.stdout)
    assert (shown["OPUS_MODEL"]["value"], shown["OPUS_MODEL"]["source"]) == ("from-file", "settings file")
    assert (shown["HAIKU_MODEL"]["value"], shown["HAIKU_MODEL"]["source"]) == ("mine", "environment")
    assert shown["ANTHROPIC_API_KEY"]["value"] == "set, 17 characters"
    assert CANARY not in told.stdout


def test_an_unknown_limit_in_the_settings_file_is_refused(tmp_path: Path):
    file = tmp_path / "my.env"
    file.write_text("MAX_LOSSES_IN_A_ROW=9\n")
    told = run("manage.py", "check", local_dir=tmp_path, SETTINGS_FILE=str(file))
    assert told.returncode == 2
    assert "MAX_LOSSES_IN_A_ROW" in told.stderr


def test_showing_the_settings_starts_no_server(tmp_path: Path):
    assert run("manage.py", "show_config", local_dir=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"secret_key"}


def test_a_command_before_the_first_migration_says_what_to_do(tmp_path: Path):
    statement = "from django.contrib.auth.models import User; User.objects.count()"
    told = run("manage.py", "shell", "--no-imports", "-c", statement, local_dir=tmp_path)
    assert told.returncode == 2
    assert "manage.py migrate" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_command_has_servers_for_its_own_duration(tmp_path: Path):
    assert run("manage.py", "migrate", "-v", "0", local_dir=tmp_path).returncode == 0
    statement = "from django.contrib.auth.models import User; print('users:', User.objects.count())"
    told = run("manage.py", "shell", "--no-imports", "-c", statement, local_dir=tmp_path)
    assert "users: 0" in told.stdout
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cycles", "5"), "--cycles needs --lockstep"),
        (("--lockstep", "--cycles", "0"), "at least 1"),
        (("--exit-when-done", "--lockstep"), "--exit-when-done needs --cycles"),
        (("--market", "/no/such/file.csv"), "No such file: /no/such/file.csv"),
        (("--market", f"FOO-USDT-SWAP={__file__}"), "no contract terms are known for FOO-USDT-SWAP"),
        (("--funding", f"BTC-USDT-SWAP={__file__}"), "BTC-USDT-SWAP, but no candles"),
        (("--start", "soon"), "--start soon: not a time"),
        (("--lockstep", "--report", "/no/such/out.json"), "--report /no/such/out.json: /no/such is no folder"),
        (("--lockstep", "--report", "/"), "--report /: a folder"),
        (("--faults", "/no/such/plan.json"), "/no/such/plan.json cannot be read"),
        (("--faults", __file__), "is not JSON: line 1"),
    ],
)
def test_a_contradictory_run_is_refused_before_anything_starts(words: tuple[str, ...], sentence: str):
    with pytest.raises(CommandError, match=sentence) as refused:
        call_command("runstack", *words)
    assert refused.value.returncode == 2
    assert not (settings.LOCAL_DIR / "stack.lock").exists()


def test_an_instrument_that_the_sandbox_does_not_know_is_refused_before_anything_starts(settings: Settings):
    settings.INSTRUMENTS = ["BTC-USDT-SWAP", "FOO-USDT-SWAP"]
    with pytest.raises(CommandError, match="no contract terms are known for FOO-USDT-SWAP") as refused:
        call_command("runstack")
    assert refused.value.returncode == 2
    assert not (settings.LOCAL_DIR / "stack.lock").exists()
