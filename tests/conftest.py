"""What every test stands on: settings of its own, private servers, and no network beyond this machine.

This file is read before Django is configured, so the environment is made here and not in a fixture. The servers start
with the first test that asks for the database or for Redis; pure tests need neither.
"""

import atexit
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
import redis

PROJECT = Path(__file__).resolve().parent.parent
LOCAL_DIR = Path(tempfile.mkdtemp(prefix="orchestrator-tests-"))
atexit.register(shutil.rmtree, LOCAL_DIR, ignore_errors=True)


def _use_settings_of_our_own() -> None:
    """Forget what this machine has set, in its environment or a `.env`: the tests know defaults only."""
    for name in re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (PROJECT / ".env.example").read_text(), re.MULTILINE):
        os.environ.pop(name, None)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="orchestrator_project.settings",
        SETTINGS_FILE=os.devnull,
        LOCAL_DIR=str(LOCAL_DIR),
    )


_use_settings_of_our_own()
django.setup()  # here, and not in a hook: the conftest files below this one import models


def pytest_xdist_setupnodes() -> None:
    """Side by side (`-n 2`), each process has settings and servers of its own: what this one has set is not for them,
    and where pytest-django finds settings named it reads them before this file has a say."""
    del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test wrote goes from one process to another, and a lone surrogate, which some write, cannot."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def servers() -> Iterator[None]:
    """Embedded Postgres and Valkey, for the whole run."""
    from orchestrator_project.local.ownership import Wanted, servers_for_command

    with servers_for_command(LOCAL_DIR, Wanted(postgres=True, redis=True)):
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: None) -> None:
    """pytest-django's hook before it makes the test database."""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Tests with transactions of their own empty every table between them, which append-only ones refuse: here, and
    nowhere else, they let themselves be emptied. Changing or deleting a row is refused as everywhere."""
    from django.db import connection

    from journal.append_only import WHOLE

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = %s", [WHOLE])
        for (table,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {WHOLE}")


@pytest.fixture
def redis_client(servers: None) -> Iterator["redis.Redis"]:
    """A client of an empty Redis; what it returns is text."""
    from django.conf import settings

    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that would leave this machine."""
    connect = socket.socket.connect

    def connect_here_only(this: socket.socket, address: Any) -> None:
        if this.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"A test tried to reach {address[0]}: tests have no network.")
        connect(this, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here_only)
