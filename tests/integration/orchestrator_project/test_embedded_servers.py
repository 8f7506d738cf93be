"""The embedded servers: durable, private, shared between commands, and never two on one folder."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kombu
import psycopg
import pytest
import redis
from django.conf import settings

from orchestrator_project.local import binaries, endpoints, ownership, servers
from orchestrator_project.local.ownership import Wanted, servers_for_command, servers_for_stack

PROJECT = Path(__file__).resolve().parents[3]
BOTH = Wanted(postgres=True, redis=True)
REDIS = Wanted(postgres=False, redis=True)

HOLDER = """
import sys
from pathlib import Path
from orchestrator_project.local.ownership import Wanted, servers_for_command
with servers_for_command(Path(sys.argv[1]), Wanted(postgres=False, redis=True)):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that uses Redis in `tmp_path`, as its owner, until it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def ping(local_dir: Path) -> bool:
    with redis.Redis.from_url(endpoints.redis_url(local_dir)) as client:
        return bool(client.ping())


def answers(local_dir: Path) -> bool:
    try:
        return ping(local_dir)
    except redis.ConnectionError:
        return False


@pytest.mark.usefixtures("servers")
def test_both_keep_what_they_were_given_and_listen_on_no_port():
    with psycopg.connect(host=settings.DATABASES["default"]["HOST"], user="orchestrator", dbname="postgres") as found:
        shown = {
            name: found.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "listen_addresses")
        }
    assert shown == {"fsync": ("on",), "synchronous_commit": ("on",), "listen_addresses": ("",)}
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        kept = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "port")
    assert kept == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "port": "0"}


def test_django_reaches_the_embedded_database(db):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int")
        assert cursor.fetchone()[0] >= 150_000


@pytest.mark.parametrize(("folder", "beside"), [("ö %d", True), ("deep/" * 20, False)])
def test_data_outlives_the_servers_wherever_the_folder_is(tmp_path: Path, folder: str, beside: bool):
    local_dir = tmp_path / folder
    local_dir.mkdir(parents=True)
    sockets = endpoints.socket_dir(local_dir)
    assert sockets.is_relative_to(local_dir) is beside
    database = endpoints.database(endpoints.database_url(local_dir))
    where = {"host": database["HOST"], "user": database["USER"], "dbname": database["NAME"]}
    with servers_for_command(local_dir, BOTH):
        with psycopg.connect(**where) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        with redis.Redis.from_url(endpoints.redis_url(local_dir)) as client:
            client.set("kept", "1")
        with kombu.Connection(endpoints.broker_url(endpoints.redis_url(local_dir))) as broker:
            broker.ensure_connection(max_retries=1, timeout=5)
    with servers_for_command(local_dir, BOTH):
        with psycopg.connect(**where) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with redis.Redis.from_url(endpoints.redis_url(local_dir)) as client:
            assert client.get("kept") == b"1"
    if not beside:
        shutil.rmtree(sockets)


def test_a_second_command_uses_the_servers_of_the_first(tmp_path: Path, holder):
    with servers_for_command(tmp_path, REDIS):
        assert ping(tmp_path)
    assert ping(tmp_path)


def test_the_owner_waits_for_other_users_before_it_stops_the_servers(tmp_path: Path, holder):
    with servers_for_command(tmp_path, REDIS):
        holder.stdin.write("done\n")
        holder.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            holder.wait(0.5)
        assert ping(tmp_path)
    assert holder.wait(30) == 0
    assert not answers(tmp_path)


def test_servers_end_with_an_owner_that_is_killed_and_start_again_at_once(tmp_path: Path, holder):
    with redis.Redis.from_url(endpoints.redis_url(tmp_path)) as client:
        client.set("kept", "1")
    os.kill(holder.pid, signal.SIGKILL)
    with servers_for_command(tmp_path, REDIS), redis.Redis.from_url(endpoints.redis_url(tmp_path)) as client:
        assert client.get("kept") == b"1"


def test_postgres_recovers_after_its_owner_was_killed(tmp_path: Path):
    owner = HOLDER.replace("postgres=False", "postgres=True")
    process = subprocess.Popen(
        [sys.executable, "-c", owner, str(tmp_path)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    with servers_for_command(tmp_path, BOTH):
        assert servers.answering(tmp_path, postgres=True, redis=True)


def test_a_stack_waits_for_a_command_and_then_owns_the_servers(tmp_path: Path, holder):
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        holder.stdin.write("done\n")
        holder.stdin.flush()

    with servers_for_stack(tmp_path, REDIS, say) as owned:
        assert [server.name for server in owned] == ["redis"]
        assert ping(tmp_path)
    assert str(holder.pid) in said[0]
    assert not answers(tmp_path)


def test_a_second_stack_is_refused_and_told_who_runs(tmp_path: Path):
    with servers_for_stack(tmp_path, REDIS, print):
        second = servers_for_stack(tmp_path, REDIS, print)
        with pytest.raises(ownership.StackRunning, match=str(os.getpid())):
            second.__enter__()
        assert ping(tmp_path)


def test_nothing_is_started_where_both_servers_were_given_by_url(tmp_path: Path):
    with servers_for_command(tmp_path, Wanted(postgres=False, redis=False)):
        assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_start_quotes_its_log(tmp_path: Path):
    (tmp_path / "redis").mkdir(mode=0o700)
    (tmp_path / "redis" / "appendonlydir").write_text("not a folder")
    with pytest.raises(servers.ServerFailed, match=r"redis ended at once(.|\n)*redis\.log"):
        servers.start_redis(tmp_path)


def test_a_dead_server_can_be_started_again_on_its_data(tmp_path: Path):
    with servers_for_stack(tmp_path, REDIS, print) as owned:
        with redis.Redis.from_url(endpoints.redis_url(tmp_path)) as client:
            client.set("kept", "1")
        owned[0].process.kill()
        owned[0].process.wait()
        owned[0] = servers.start_again(tmp_path, owned[0])
        with redis.Redis.from_url(endpoints.redis_url(tmp_path)) as client:
            assert client.get("kept") == b"1"


def test_a_missing_server_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binaries, "_wheel", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(binaries.ServerMissing, match="make install"):
        binaries.postgres_programs()
    with pytest.raises(binaries.ServerMissing, match="REDIS_URL"):
        binaries.redis_program()


def test_a_server_on_path_must_be_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binaries, "_wheel", lambda _: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "redis-server"
    for version, accepted in (("6.0.16", False), ("7.2.4", True)):
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 malloc=libc bits=64'\n")
        program.chmod(0o755)
        if accepted:
            assert binaries.redis_program() == program
        else:
            with pytest.raises(binaries.ServerMissing):
                binaries.redis_program()
