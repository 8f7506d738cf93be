"""The stack of a chaos run: the product's own list of processes, on servers of its own, each to be killed at will.

It lives for a whole invocation; between two runs the processes end and the data is made new from a prepared database.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

import psycopg
import redis

from orchestrator_project.local import endpoints, servers
from orchestrator_project.local.children import last_lines
from orchestrator_project.local.stack import StackPlan
from tests.chaos.process import FOLDER, PLANT

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATE = "prepared"
LOAD_SECONDS = 60.0
MOST_DEATHS = 60
STOP_SECONDS = 10.0


class Broken(Exception):
    """The stack cannot go on. The message says why and which log to read."""


@dataclass(slots=True)
class Member:
    """One process, in its present life."""

    name: str
    words: tuple[str, ...]
    pid: int | None = None
    deaths: int = 0


class Stack:
    """Servers, and the processes of the plan. `unwanted` is what ended without having been killed."""

    def __init__(self, local_dir: Path, environment: Mapping[str, str], plant: str) -> None:
        self.local_dir = local_dir
        self.folder = local_dir / "chaos"
        self.folder.mkdir(parents=True)
        self.database = endpoints.database_url(local_dir)
        self.redis_url = endpoints.redis_url(local_dir)
        self.environment = {
            **environment, "DATABASE_URL": self.database, "REDIS_URL": self.redis_url, "LOCAL_DIR": str(local_dir),
            FOLDER: str(self.folder), PLANT: plant, "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.logs = local_dir / "run-logs"
        self.members: dict[str, Member] = {}
        self.unwanted: list[str] = []
        self.redis = servers.start_redis(local_dir)
        self.postgres = servers.start_postgres(local_dir)
        self._parent = self._start_parent()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._unread = b""
        self._started: list[int] = []
        self._ended: dict[int, int] = {}

    # --- the processes

    def start(self, faults: Path | None) -> None:
        """All processes of a run, with empty logs."""
        self.logs = self.folder / "logs"
        self.logs.mkdir(exist_ok=True)
        for log in self.logs.iterdir():
            log.unlink()
        self.unwanted = []
        self.members = {name: Member(name, words) for name, words in _processes(self.local_dir, faults).items()}
        for member in self.members.values():
            self._launch(member)

    def watch(self) -> None:
        """Notice what has ended, and start it again at once. Raises `Broken`."""
        self._take_news(0)
        for member in self.members.values():
            if member.pid in self._ended:
                self._bury(member, self._ended.pop(member.pid))
            if member.pid is None:
                if member.deaths > MOST_DEATHS:
                    raise Broken(f"{member.name} died {member.deaths} times; see {self.logs / member.name}.log")
                self._launch(member)

    def stop(self) -> None:
        """End every process, at once: what they leave behind is what a crash leaves."""
        members, self.members = self.members, {}
        alive = {member.pid for member in members.values() if member.pid is not None}
        for pid in alive:
            _kill_group(pid)
        deadline = time.monotonic() + STOP_SECONDS
        while not alive <= self._ended.keys() and time.monotonic() < deadline:
            self._take_news(0.1)

    def command(self, *words: str, seconds: float = 60.0, tick: Callable[[], object] = lambda: None) -> tuple[int, str]:
        """A command of `manage.py`, to its end. Returns the exit code and what it said."""
        log = self.folder / f"command-{time.monotonic_ns()}.log"
        pid = self._fork("command", ("manage", *words), log)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._take_news(0.02)
            if pid in self._ended:
                return self._ended.pop(pid), log.read_text(errors="replace")
            tick()
        _kill_group(pid)
        return -int(signal.SIGKILL), f"`manage.py {' '.join(words)}` did not end within {seconds:.0f} s"

    def kill(self, whom: str, random: Random) -> str:
        """SIGKILL one process of the kind. Returns which."""
        kind = "worker" if whom == "worker_child" else whom
        member = random.choice([each for each in self.members.values() if each.name.startswith(kind)])
        if member.pid is None:
            return f"{member.name} (dead already)"
        if whom == "worker_child":
            children = _children(member.pid)
            if children:
                os.kill(random.choice(children), signal.SIGKILL)
            return f"{member.name}'s child"
        _kill_group(member.pid)
        return member.name

    def _launch(self, member: Member) -> None:
        member.pid = self._fork(member.name, member.words, self.logs / f"{member.name}.log")

    def _bury(self, member: Member, code: int) -> None:
        member.pid = None
        member.deaths += 1
        if code != -signal.SIGKILL:
            self.unwanted.append(f"{member.name} ended by itself with {code}")

    # --- the servers

    def kill_redis(self) -> None:
        """kill -9, and the start after it on what the append-only file has."""
        self.redis.process.kill()
        self.redis.process.wait()
        self.redis = servers.start_again(self.local_dir, self.redis)

    def restart_postgres(self) -> None:
        """An immediate restart: every connection is cut, nothing is written down first."""
        self.postgres.process.send_signal(signal.SIGQUIT)
        self.postgres.process.wait()
        self.postgres = servers.start_again(self.local_dir, self.postgres)

    def terminate_backends(self) -> None:
        """Every connection is cut while the server stays."""
        with self.administrator() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend'",
                [endpoints.DATABASE],
            )

    def administrator(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection to the server, but not to the stack's database."""
        host = str(endpoints.socket_dir(self.local_dir))
        return psycopg.connect(host=host, user=endpoints.DATABASE, dbname="postgres", autocommit=True)

    def keep_as_template(self) -> None:
        """From now on every run begins with the database as it is.

        After a crash the server looks through its whole folder first; what that takes says nothing about the product.
        """
        with self.administrator() as connection:
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"ALTER DATABASE {endpoints.DATABASE} RENAME TO {TEMPLATE}")

    def renew(self) -> None:
        """Empty streams, a new database, no ledger and no market."""
        for name in ("venue", "market"):
            folder = self.local_dir / name
            for file in folder.iterdir() if folder.exists() else ():
                file.unlink()
        for name in ("beat-schedule", "beat-schedule-2"):
            for file in self.local_dir.glob(f"{name}*"):
                file.unlink()
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()
        with self.administrator() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {endpoints.DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {endpoints.DATABASE} TEMPLATE {TEMPLATE}")

    def close(self) -> None:
        self.stop()
        if self._parent.stdin is not None:
            self._parent.stdin.close()
        self._parent.wait(10)
        self.redis.stop()
        self.postgres.stop()

    # --- the parent of the processes

    def _start_parent(self) -> "subprocess.Popen[bytes]":
        log = (self.local_dir / "parent.log").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.process"], cwd=PROJECT, env=self.environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, process_group=0,
            )  # fmt: skip

    @property
    def _output(self) -> IO[bytes]:
        if self._parent.stdout is None:
            raise Broken("no pipe to the parent of the processes")
        return self._parent.stdout

    def _fork(self, name: str, words: tuple[str, ...], log: Path) -> int:
        request = {"name": name, "words": words, "log": str(log)}
        if self._parent.stdin is None:
            raise Broken("no pipe to the parent of the processes")
        self._parent.stdin.write(json.dumps(request).encode() + b"\n")
        self._parent.stdin.flush()
        deadline = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < deadline:
            self._take_news(0.05)
            if self._started:
                return self._started.pop()
        raise Broken(f"{name} was not started; see {self.local_dir / 'parent.log'}")

    def _take_news(self, seconds: float) -> None:
        """Note what the parent has told of processes that it started, and of those that ended."""
        if not self._selector.select(seconds):
            return
        read = os.read(self._output.fileno(), 65536)
        if not read:
            raise Broken(f"the parent of the processes ended:\n{last_lines(self.local_dir / 'parent.log', 12)}")
        *lines, self._unread = (self._unread + read).split(b"\n")
        for news in map(json.loads, lines):
            if "started" in news:
                self._started.append(int(news["pid"]))
            else:
                self._ended[int(news["ended"])] = int(news["code"])


def _processes(local_dir: Path, faults: Path | None) -> dict[str, tuple[str, ...]]:
    """Name -> words of every process: those of the stack's plan, a second beat, three consumers."""
    found = {
        each.name: _words(each.command) for each in StackPlan(name="chaos", lockstep=True, concurrency=2).processes()
    }
    consumer, beat = found.pop("consumer"), found.pop("beat")
    found |= {f"consumer-{number}": consumer for number in (1, 2, 3)}
    found |= {"beat-1": beat, "beat-2": (*beat, "--schedule", str(local_dir / "beat-schedule-2"))}
    if faults is not None:
        found["venue"] += ("--faults", str(faults))
    return found


def _words(command: tuple[str, ...]) -> tuple[str, ...]:
    """What comes after `python manage.py` or `python -m celery --app ...`, as the parent of the processes takes it."""
    if command[1] == "manage.py":
        return ("manage", *command[2:])
    return ("celery", *command[command.index("--app") + 2 :])


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
