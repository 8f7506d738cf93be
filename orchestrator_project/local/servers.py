"""The embedded Postgres and Valkey of one `LOCAL_DIR`: created on first use, durable, on Unix sockets only.

Whoever starts them holds the folder's owner lock (`ownership`). Each server also holds a lock of its own for as long as
any process of it lives, so that a new one never opens the files of an old one that is still going down.
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from orchestrator_project.local import binaries, children, endpoints

START_SECONDS = 60.0
"""Recovery after a crash included."""
STOP_SECONDS = 30.0
MAP_TO_NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
NOBODY = 65_534
POSTGRES_OPTIONS = ("-c", "max_connections=200")
"""Room for a worker per queue with its pool, the web server's threads and a few people; the rest are the defaults,
which are durable (`fsync`, `synchronous_commit` and `full_page_writes` are on)."""


class ServerFailed(Exception):
    """An embedded server did not start. The message says why and where its log is."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded server. It ends with the process that started it, at the latest."""

    name: str
    process: "subprocess.Popen[bytes]"
    stop_signal: signal.Signals
    log: Path

    def stop(self) -> None:
        children.stop(self.process, self.stop_signal, STOP_SECONDS)


def start_postgres(local_dir: Path) -> Server:
    """Start Postgres on the folder's data, made on first use, with the database. Raises `ServerFailed`."""
    programs = binaries.postgres_programs()
    data, sockets, log = local_dir / "postgres", endpoints.socket_dir(local_dir), _log(local_dir, "postgres")
    endpoints.private_dir(sockets)
    identity = _Identity.for_postgres(local_dir)
    identity.check_ways(local_dir, programs)
    lock = _wait_for_predecessor(local_dir, "postgres")
    try:
        _create_cluster(programs, data, identity, log)
        (data / "postmaster.pid").unlink(missing_ok=True)  # Nobody's: the lock is ours.
        identity.share(sockets)
        options: list[str | Path] = ["-D", data, "-k", sockets, "-c", "listen_addresses=", *POSTGRES_OPTIONS]
        command = [*identity.prefix, programs / "postgres", *options]
        process = children.spawn(command, log=log, death_signal=signal.SIGINT, inherited=[lock], user=identity.user)
    finally:
        os.close(lock)
    server = Server("postgres", process, signal.SIGINT, log)
    _wait_until(server, lambda: _postgres_answers(local_dir))
    return server


def start_redis(local_dir: Path) -> Server:
    """Start Valkey (or Redis) on the folder's append-only file. Raises `ServerFailed`."""
    program = binaries.redis_program()
    data, log = endpoints.private_dir(local_dir / "redis"), _log(local_dir, "redis")
    socket = endpoints.private_dir(endpoints.socket_dir(local_dir)) / endpoints.REDIS_SOCKET
    options = {
        "port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(data),
        # Every message durable before it is acknowledged: an order sent must not be forgotten. Costs 0.3 ms a write.
        "appendonly": "yes", "appendfsync": "always", "save": "",
        # Losing an entry to make room would lose an order: refuse the write instead.
        "maxmemory-policy": "noeviction",
    }  # fmt: skip
    lock = _wait_for_predecessor(local_dir, "redis")
    try:
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = children.spawn([program, *words], log=log, inherited=[lock])
    finally:
        os.close(lock)
    server = Server("redis", process, signal.SIGTERM, log)
    _wait_until(server, lambda: _redis_answers(local_dir))
    return server


def _log(local_dir: Path, name: str) -> Path:
    return endpoints.private_dir(local_dir / "logs") / f"{name}.log"


def _wait_for_predecessor(local_dir: Path, name: str) -> int:
    """The server's own lock, once the last process of an earlier one has let go of it. Returned as a descriptor."""
    descriptor = os.open(local_dir / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise ServerFailed(f"An earlier {name} of {local_dir} is still running and does not end.") from None
            time.sleep(0.05)
        else:
            return descriptor


def _create_cluster(programs: Path, data: Path, identity: "_Identity", log: Path) -> None:
    """`initdb`, unless done. Into a draft folder, renamed when complete: a killed one leaves no half of a cluster."""
    if data.exists():
        identity.give(data)
        return
    draft = data.with_name("postgres.draft")
    shutil.rmtree(draft, ignore_errors=True)
    endpoints.private_dir(draft)
    identity.give(draft)
    options = ["-U", endpoints.DATABASE, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]
    process = children.spawn(
        [*identity.prefix, programs / "initdb", "-D", draft, *options], log=log, user=identity.user
    )
    if process.wait() != 0:
        raise ServerFailed(f"initdb failed; the end of {log}:\n{children.last_lines(log)}")
    draft.rename(data)


@dataclass(frozen=True, slots=True)
class _Identity:
    """As whom Postgres runs. It refuses root, and users without a name; so for those it runs in a user namespace in
    which we appear as `nobody` (our files stay within reach, wherever they are). Where the system forbids that, root
    runs it as the real `nobody`."""

    prefix: Sequence[str] = ()
    user: int | None = None

    @classmethod
    def for_postgres(cls, local_dir: Path) -> "_Identity":
        if os.geteuid() != 0 and _has_name(os.geteuid()):
            return cls()
        data = local_dir / "postgres"
        owned_by_nobody = data.exists() and data.stat().st_uid == NOBODY
        if shutil.which("unshare") and not owned_by_nobody:
            tried = subprocess.run([*MAP_TO_NOBODY, "true"], capture_output=True, check=False)
            if tried.returncode == 0:
                return cls(prefix=MAP_TO_NOBODY)
        return cls(user=NOBODY) if os.geteuid() == 0 else cls()

    def check_ways(self, local_dir: Path, programs: Path) -> None:
        """Let the real `nobody` through to its files. Raises `ServerFailed` where a folder above bars the way."""
        if self.user is None:
            return
        local_dir.chmod(0o711)
        for path in (*local_dir.parents, programs, *programs.parents):
            if not path.stat().st_mode & 0o001:
                raise ServerFailed(
                    f"Postgres does not run as root, and its user cannot enter {path}: run as an ordinary user, set "
                    "LOCAL_DIR to a folder that everybody may enter, or set DATABASE_URL."
                )

    def give(self, path: Path) -> None:
        """Make a folder Postgres's own."""
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def share(self, path: Path) -> None:
        """Let Postgres make its socket in a folder that stays ours."""
        if self.user is not None:
            os.chown(path, -1, self.user)
            path.chmod(0o730)


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _wait_until(server: Server, answers: children.Probe) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        ended = server.process.poll() is not None
        if ended or time.monotonic() > deadline:
            children.end_group(server.process)
            what = "ended at once" if ended else f"did not answer within {START_SECONDS:.0f} s"
            raise ServerFailed(f"{server.name} {what}; the end of {server.log}:\n{children.last_lines(server.log)}")
        time.sleep(0.02)


def _postgres_answers(local_dir: Path) -> bool:
    """Whether it takes connections; makes the database the first time."""
    try:
        host = str(endpoints.socket_dir(local_dir))
        with psycopg.connect(host=host, user=endpoints.DATABASE, dbname="postgres", autocommit=True) as connection:
            named = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [endpoints.DATABASE])
            if named.fetchone() is None:
                connection.execute(f'CREATE DATABASE "{endpoints.DATABASE}"')
    except psycopg.OperationalError:
        return False
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return True  # another command that started at the same moment was quicker
    return True


def _redis_answers(local_dir: Path) -> bool:
    try:
        with redis.Redis.from_url(endpoints.redis_url(local_dir)) as client:
            return bool(client.ping())
    except redis.ConnectionError:  # Loading its file counts too: BusyLoadingError is one of these.
        return False


def answering(local_dir: Path, *, postgres: bool, redis: bool) -> bool:
    """Whether the servers asked for take requests."""
    return (not postgres or _postgres_answers(local_dir)) and (not redis or _redis_answers(local_dir))


def start_again(local_dir: Path, dead: Server) -> Server:
    """The same server once more, on the same data. Raises `ServerFailed`."""
    children.end_group(dead.process)
    return start_postgres(local_dir) if dead.name == "postgres" else start_redis(local_dir)
