"""The whole stack goes on by itself when its servers die, restart or forget: how long each part takes, as it is seen
in the database. The aim is ten seconds; a busy machine may take three times as long before the test fails."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from orchestrator_project.local import endpoints

PROJECT = Path(__file__).resolve().parents[2]
WEB = "http://127.0.0.1:18200/admin/login/"
MOST_SECONDS = 30.0

SIGNS = {
    "market and consumer": "SELECT count(*) FROM market_snapshots WHERE received_at > %s",
    "venue and consumer": "SELECT count(*) FROM position_reports WHERE received_at > %s AND told_at > %s",
    "beat and workers": "SELECT count(*) FROM decision_cycles WHERE created_at > %s",
    "every stage's worker": "SELECT count(*) FROM decision_cycles WHERE created_at > %s AND state = 'done'",
}
"""What shows that a part works again: rows made after a moment."""


class Stack:
    """A running stack of five-minute bars, one every two seconds."""

    def __init__(self, local_dir: Path) -> None:
        self.local_dir = local_dir
        self.output = local_dir.with_name("output")
        environment = {
            **os.environ, "LOCAL_DIR": str(local_dir), "SANDBOX_BAR_SECONDS": "2", "INSTRUMENTS": "BTC-USDT-SWAP",
            "WEB_PORT": "18200", "FLOWER_PORT": "15755",
        }  # fmt: skip
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runstack"],
                cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip

    def database(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(endpoints.socket_dir(self.local_dir)), user=endpoints.DATABASE, dbname=endpoints.DATABASE,
            autocommit=True,
        )  # fmt: skip

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(endpoints.redis_url(self.local_dir))

    def since(self, statement: str, moment: float) -> bool:
        at = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(moment))
        try:
            with self.database() as connection:
                row = connection.execute(statement, [at] * statement.count("%s")).fetchone()
        except psycopg.Error:
            return False
        return row is not None and row[0] > 0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack") / "local")
    try:
        until(lambda: made.process.poll() is not None or all(made.since(sign, 0) for sign in SIGNS.values()), 400)
        assert made.process.poll() is None, made.output.read_text()
        yield made
    finally:
        made.process.send_signal(signal.SIGINT)
        try:
            made.process.wait(180)
        except subprocess.TimeoutExpired:
            made.process.kill()


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition. Returns the seconds it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - begun


def web_answers() -> bool:
    try:
        with urllib.request.urlopen(WEB, timeout=5) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def kill_redis(stack: Stack) -> None:
    information = stack.redis().info("server")
    os.kill(information["process_id"], signal.SIGKILL)


def empty_redis(stack: Stack) -> None:
    stack.redis().flushall()


def restart_postgres(stack: Stack) -> None:
    """As `pg_ctl stop -m immediate`: without a checkpoint, all sessions cut off."""
    lock_file = stack.local_dir / "postgres" / "postmaster.pid"
    os.kill(int(lock_file.read_text().splitlines()[0]), signal.SIGQUIT)


def terminate_sessions(stack: Stack) -> None:
    with stack.database() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [kill_redis, empty_redis, restart_postgres, terminate_sessions])
def test_every_process_goes_on_by_itself(stack: Stack, fault: Callable[[Stack], None]) -> None:
    fault(stack)
    begun, moment = time.monotonic(), time.time() + 1  # a stamp later than this was made after the fault
    took: dict[str, float] = {}
    while len(took) <= len(SIGNS):
        for name, statement in SIGNS.items():
            if name not in took and stack.since(statement, moment):
                took[name] = time.monotonic() - begun
        if "web" not in took and web_answers():
            took["web"] = time.monotonic() - begun
        assert stack.process.poll() is None, stack.output.read_text()
        assert time.monotonic() - begun < MOST_SECONDS, (took, stack.output.read_text()[-3000:])
        time.sleep(0.1)
    print(f"{fault.__name__}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
