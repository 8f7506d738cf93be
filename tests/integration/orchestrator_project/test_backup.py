"""Backup and restore on a real server: what comes back is what was there, and nothing else is touched."""

import json
import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from psycopg.conninfo import make_conninfo

from journal.services import seed_first_playbook
from orchestrator_project.backup import BackupFailed, NotPossible, backup, described_by, restore
from orchestrator_project.local import binaries, endpoints, servers
from orchestrator_project.management.commands.backup import database
from tests.integration.decisions import scene
from tests.integration.decisions.build import NOON, book, sent_order

pytestmark = pytest.mark.django_db(transaction=True)

OLDER = next((found for found in map(Path, (f"/usr/lib/postgresql/{n}/bin" for n in (15, 16))) if found.is_dir()), None)
"""The programs of a server that is older than our own `pg_restore`, where Debian keeps them."""


@pytest.fixture
def record(servers: None) -> None:
    """A playbook, bars, an account, and a trade with its order and fill."""
    seed_first_playbook(NOON)
    scene.world()
    book(sent_order())


@pytest.fixture
def empty(record: None) -> Iterator[dict[str, str]]:
    """An empty database beside the one in use."""
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS restored")
        cursor.execute("CREATE DATABASE restored")
    yield {**database(), "dbname": "restored"}
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE restored WITH (FORCE)")


def rows(parameters: dict[str, str], query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(make_conninfo(**parameters)) as made:
        return made.execute(query).fetchall()


def test_what_is_restored_is_what_was_backed_up(empty: dict[str, str], tmp_path: Path):
    file = tmp_path / "one.dump"
    written = backup(database(), file)
    assert written.tables["fills"].rows == written.tables["trades"].rows == written.tables["orders"].rows == 1
    assert restore(empty, file).tables == written.tables
    for table in ("trades", "fills", "orders", "account_history", "playbook_versions"):
        query = f"SELECT * FROM {table} ORDER BY id"  # noqa: S608
        assert rows(empty, query) == rows(database(), query) != []


def test_the_restored_database_keeps_its_rules(empty: dict[str, str], tmp_path: Path):
    backup(database(), tmp_path / "one.dump")
    restore(empty, tmp_path / "one.dump")
    with psycopg.connect(make_conninfo(**empty)) as made, pytest.raises(psycopg.errors.CheckViolation):
        made.execute("UPDATE trades SET direction = 'UP'")
    (last,) = rows(empty, "SELECT max(id) FROM trades")[0]
    (following,) = rows(empty, "SELECT nextval(pg_get_serial_sequence('trades', 'id'))")[0]
    assert following == last + 1


@pytest.fixture
def older_server(record: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An empty database of an older Postgres; the programs are still those of the newer one."""
    with monkeypatch.context() as patched:
        patched.setattr(binaries, "postgres_programs", lambda: OLDER)
        server = servers.start_postgres(tmp_path)
    yield {"host": str(endpoints.socket_dir(tmp_path)), "user": endpoints.DATABASE, "dbname": endpoints.DATABASE}
    server.stop()


@pytest.mark.skipif(OLDER is None, reason="no Postgres 15 or 16 under /usr/lib/postgresql")
def test_an_older_server_takes_a_backup_too(older_server: dict[str, str], tmp_path: Path):
    ((version,),) = rows(older_server, "SHOW server_version_num")
    assert int(str(version)) < 170_000
    written = backup(database(), tmp_path / "one.dump")
    assert restore(older_server, tmp_path / "one.dump").tables == written.tables


def test_nobody_else_may_read_a_backup(record: None, tmp_path: Path):
    backup(database(), tmp_path / "one.dump")
    for path in (tmp_path / "one.dump", described_by(tmp_path / "one.dump")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_overwritten(record: None, tmp_path: Path):
    (tmp_path / "one.dump").write_text("precious")
    with pytest.raises(NotPossible, match="nothing is overwritten"):
        backup(database(), tmp_path / "one.dump")
    assert [path.name for path in tmp_path.iterdir()] == ["one.dump"]
    with pytest.raises(NotPossible, match="is no folder"):
        backup(database(), tmp_path / "nowhere" / "one.dump")


def test_a_file_that_cannot_be_written_is_told(record: None):
    with pytest.raises(BackupFailed, match=r"/proc/one[.]dump cannot be written"):
        backup(database(), Path("/proc/one.dump"))


def test_a_database_that_is_none_of_ours_is_not_backed_up(empty: dict[str, str], tmp_path: Path):
    with pytest.raises(NotPossible, match=r"restored at .* holds no table of ours"):
        backup(empty, tmp_path / "one.dump")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_fails_leaves_nothing_behind(record: None, tmp_path: Path):
    with pytest.raises(psycopg.OperationalError):
        backup({**database(), "dbname": "nosuch"}, tmp_path / "one.dump")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_holds_something_is_left_alone(record: None, tmp_path: Path):
    backup(database(), tmp_path / "one.dump")
    with pytest.raises(NotPossible, match="not empty"):
        restore(database(), tmp_path / "one.dump")


def test_a_torn_dump_restores_nothing(empty: dict[str, str], tmp_path: Path):
    file = tmp_path / "one.dump"
    backup(database(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BackupFailed, match="The restore failed: pg_restore: error"):
        restore(empty, file)
    assert rows(empty, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_table_that_differs_is_told(empty: dict[str, str], tmp_path: Path):
    file = tmp_path / "one.dump"
    backup(database(), file)
    description = json.loads(described_by(file).read_text())
    description["tables"]["trades"]["fingerprint"] += "1"
    described_by(file).write_text(json.dumps(description))
    with pytest.raises(BackupFailed, match="trades"):
        restore(empty, file)


def test_a_dump_without_its_description_is_none_of_ours(empty: dict[str, str], tmp_path: Path):
    (tmp_path / "one.dump").write_bytes(b"PGDMP")
    with pytest.raises(NotPossible, match="description"):
        restore(empty, tmp_path / "one.dump")


def test_the_commands_say_what_they_did(record: None, tmp_path: Path):
    said = StringIO()
    call_command("backup", tmp_path / "one.dump", stdout=said)
    assert "rows of" in said.getvalue()
    assert f"SANDBOX, database {connection.settings_dict['NAME']} at /" in said.getvalue()
    with pytest.raises(CommandError, match="not empty") as raised:
        call_command("restore", tmp_path / "one.dump")
    assert raised.value.returncode == 2
