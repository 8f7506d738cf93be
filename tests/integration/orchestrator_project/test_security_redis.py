"""The users of docs/deploy/redis/users.acl on a real server: each does its work and nothing else."""

import hashlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from pytest_django import Settings

from decisions.consumer import GROUP, STREAMS
from decisions.messages import (
    MARKET_SNAPSHOTS,
    TRADE_FILLS,
    TRADE_ORDERS,
    TRADE_POSITIONS,
    SystemAlert,
    encode,
    wrap,
)
from decisions.sandbox.venue_reader import VenueReader
from orchestrator_project import streams
from orchestrator_project.group_reader import GroupReader
from orchestrator_project.local import binaries, endpoints
from orchestrator_project.local.stack import free_port
from orchestrator_project.monitoring import heartbeats, servers
from tests.integration.decisions.real_worker import answers, caller, worker
from tests.integration.decisions.scene import until

PROJECT = Path(__file__).resolve().parents[3]
FILE = PROJECT / "docs" / "deploy" / "redis" / "users.acl"
DOTALL_LINES = re.DOTALL | re.MULTILINE
PLACEHOLDER = re.compile(r"#SHA256_OF_THE_([A-Z]+)_PASSWORD")
ENVELOPE = wrap(
    SystemAlert(severity="WARN", category="test", title="t", detail="d", action_taken="none"),
    msg_id="1",
    source="test",
    now=datetime(2022, 11, 20, tzinfo=UTC),
)
NEW = ("XADD", "{}", "*", "data", "{{}}")


def password(user: str) -> str:
    return f"the password of {user}".replace(" ", "-")


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    socket: Path
    port: int

    def url(self, user: str, *, tcp: bool = False) -> str:
        credentials = f"{user}:{password(user)}@"
        return f"redis://{credentials}127.0.0.1:{self.port}/0" if tcp else f"unix://{credentials}{self.socket}?db=0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user))


def start(folder: Path, users: Path) -> "tuple[subprocess.Popen[bytes], Server]":
    port = free_port(26_379)
    server = Server(Path(endpoints.socket_dir(folder) if len(str(folder)) > 80 else folder) / "acl.sock", port)
    server.socket.parent.mkdir(parents=True, exist_ok=True)
    log = (folder / "valkey.log").open("wb")
    command = [
        str(binaries.redis_program()), "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(server.socket),
        "--dir", str(folder), "--save", "", "--aclfile", str(users),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=log, stderr=log), server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("acl")
    users = folder / "users.acl"
    users.write_text(
        PLACEHOLDER.sub(
            lambda found: f"#{hashlib.sha256(password(found[1].lower()).encode()).hexdigest()}", FILE.read_text()
        )
    )
    process, started = start(folder, users)
    try:
        until(lambda: process.poll() is None and _answers(started), 20)
        yield started
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _answers(server: Server) -> bool:
    try:
        with closing(server.client("admin")) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def empty(server: Server) -> Server:
    with closing(server.client("admin")) as client:
        client.flushall()
        client.xgroup_create(TRADE_ORDERS, "others", id="0", mkstream=True)
    return server


ALL = ("orchestrator", "market", "venue", "ui")
WRITES = {
    "trade:orders": ("orchestrator",),
    "opus:decisions": ("orchestrator",),
    "system:alerts": ("orchestrator", "ui"),
    "market:snapshots": ("market",),
    "market:alerts": ("market",),
    "trade:fills": ("venue",),
    "trade:positions": ("venue",),
    "anything:else": (),
}
READS = {
    "trade:orders": ("orchestrator", "venue"),
    "opus:decisions": ("orchestrator", "ui"),
    "system:alerts": ("orchestrator", "ui"),
    "market:snapshots": ("orchestrator", "market", "venue"),
    "market:alerts": ("orchestrator", "market", "venue"),
    "trade:fills": ("orchestrator", "venue", "ui"),
    "trade:positions": ("orchestrator", "venue", "ui"),
    "anything:else": (),
}
each_user = pytest.mark.parametrize("user", ALL)


def may(server: Server, user: str, *words: str) -> bool:
    with closing(server.client(user)) as client:
        try:
            client.execute_command(*words)
        except redis.exceptions.NoPermissionError:
            return False
        except redis.ResponseError as error:
            if not str(error).startswith("ACL failure in script"):
                raise
            return False
    return True


@each_user
@pytest.mark.parametrize("stream", WRITES)
def test_who_writes_a_stream(empty: Server, user: str, stream: str) -> None:
    assert may(empty, user, "XADD", stream, "*", "data", "{}") == (user in WRITES[stream])
    script = "return redis.call('XADD', KEYS[1], '*', 'data', '{}')"
    assert may(empty, user, "EVAL", script, "1", stream) == (user in WRITES[stream] and user != "ui")
    hidden = f"return redis.call('XADD', '{stream}', '*', 'data', '{{}}')"  # a key that the script does not declare
    assert may(empty, user, "EVAL", hidden, "0") == (user in WRITES[stream] and user != "ui")


@each_user
@pytest.mark.parametrize("stream", READS)
def test_who_reads_a_stream(empty: Server, user: str, stream: str) -> None:
    assert may(empty, user, "XREAD", "COUNT", "1", "STREAMS", stream, "0") == (user in READS[stream])
    assert may(empty, user, "XREVRANGE", stream, "+", "-", "COUNT", "1") == (user in READS[stream])


@each_user
@pytest.mark.parametrize(
    "words",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("ACL", "SETUSER", "eve", "on", "nopass", "~*", "+@all"),
        ("SHUTDOWN", "NOSAVE"),
        ("KEYS", "*"),
        ("MONITOR",),
        ("REPLICAOF", "192.0.2.1", "6379"),
        ("DEL", "trade:orders"),
        ("RENAME", "trade:orders", "system:alerts"),
        ("COPY", "trade:orders", "trade:fills"),
        ("XTRIM", "trade:orders", "MAXLEN", "0"),
        ("XGROUP", "DESTROY", "trade:orders", "others"),
        ("XDEL", "trade:orders", "1-1"),
        ("SET", "streams:life", "another"),
        ("SET", "sent:trade:orders:1", "1-1"),
        ("MIGRATE", "192.0.2.1", "6379", "trade:orders", "0", "1000"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_who_may_do_what_is_for_one_or_for_none(empty: Server, user: str, words: tuple[str, ...]) -> None:
    its_own = {
        ("XTRIM", "trade:orders"),
        ("XGROUP", "DESTROY"),
        ("SET", "streams:life"),
        ("SET", "sent:trade:orders:1"),
    }
    assert may(empty, user, *words) == (user == "orchestrator" and words[:2] in its_own)


def test_nobody_comes_in_without_a_password_of_theirs(server: Server) -> None:
    for url in (f"unix://{server.socket}", f"unix://ui:guess@{server.socket}", f"redis://127.0.0.1:{server.port}/0"):
        with closing(redis.Redis.from_url(url)) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_a_server_does_not_start_with_the_file_as_it_stands(tmp_path: Path) -> None:
    process, _ = start(tmp_path, FILE)
    assert process.wait(timeout=20) != 0
    assert "ACL" in (tmp_path / "valkey.log").read_text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl`, which makes the passwords")
def test_the_documented_commands_fill_the_file_in(tmp_path: Path) -> None:
    commands = re.search(
        r"^    (for user in .*?^    done)$", (PROJECT / "docs" / "security.md").read_text(), DOTALL_LINES
    )[1]
    shutil.copy(FILE, tmp_path / "users.acl")
    told = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    made = dict(line.split() for line in told.stdout.splitlines())
    assert set(made) == {"admin", *ALL}
    process, server = start(tmp_path, tmp_path / "users.acl")
    try:
        until(server.socket.exists, 20)
        for user, word in made.items():
            with closing(redis.Redis.from_url(f"unix://{user}:{word}@{server.socket}")) as client:
                assert client.ping()
    finally:
        process.kill()
        process.wait()


def test_the_file_knows_every_user_that_is_told_of() -> None:
    found = re.findall(r"^user (\w+) (on|off)", FILE.read_text(), re.MULTILINE)
    assert found == [("default", "off"), ("admin", "on"), *((user, "on") for user in ALL)]


# --- the work of each, through our own code ---------------------------------------------------------------------------


@pytest.fixture
def as_user(empty: Server, settings: Settings) -> Any:
    """Use the server as this user, as a process with that REDIS_URL does."""

    def use(user: str, *, tcp: bool = False) -> None:
        settings.REDIS_URL = empty.url(user, tcp=tcp)
        settings.BROKER_URL = endpoints.broker_url(settings.REDIS_URL)
        for cached in (heartbeats._client, servers.client):
            cached.cache_clear()

    yield use
    for cached in (heartbeats._client, servers.client):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("user", "stream"), [("market", MARKET_SNAPSHOTS), ("venue", TRADE_FILLS), ("orchestrator", TRADE_ORDERS)]
)
def test_the_adapter_publishes_once_as_each(as_user: Any, user: str, stream: str) -> None:
    as_user(user)
    with closing(streams.connect()) as client:
        assert streams.publish(client, stream, ENVELOPE) == streams.publish(client, stream, ENVELOPE)


def test_the_venue_reads_orders_and_prices_and_says_things_twice(as_user: Any) -> None:
    as_user("venue")
    with closing(streams.connect_reader(0.01)) as client:
        assert VenueReader(client, {}).read(0.01) == []
        client.xadd(TRADE_POSITIONS, encode(ENVELOPE))


def test_the_consumer_reads_acknowledges_takes_over_and_trims(as_user: Any, empty: Server) -> None:
    as_user("orchestrator")
    with closing(empty.client("venue")) as venue:
        streams.publish(venue, TRADE_FILLS, ENVELOPE)
    with closing(streams.connect_reader(0.01)) as client, closing(streams.connect_reader(0.01)) as another:
        options: dict[str, Any] = {
            "group": GROUP,
            "streams": STREAMS,
            "block_seconds": 0.01,
            "claim_after_seconds": 0.0,
        }
        dead = GroupReader(client, consumer="dead", **options)
        dead.create_groups()
        (entry,) = dead.read()
        dead.take_back([entry])
        heir = GroupReader(another, consumer="heir", **options)
        taken: list[Any] = []
        until(lambda: bool(taken.extend(heir.read()) or taken), 10)
        heir.acknowledge(taken[0])
        assert streams.backlog(client, TRADE_FILLS, GROUP) == 0
        assert streams.trim(client, TRADE_FILLS, GROUP, older_than_milliseconds=int(time.time() * 1000) + 1000) in (
            0,
            1,
        )
        assert streams.forget_idle_consumers(client, TRADE_FILLS, GROUP, idle_seconds=0) >= 0
        assert len(streams.life(client)) == 32


def test_monitoring_sees_and_signs(as_user: Any) -> None:
    as_user("orchestrator")
    heartbeats._given.clear()
    heartbeats.beat(heartbeats.BEAT)
    state = servers.read_redis()
    assert heartbeats.BEAT in str(state)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("tcp", [False, True], ids=["a socket", "a port"])
def test_workers_and_their_callers_work_with_a_user_and_password(as_user: Any, tmp_path: Path, tcp: bool) -> None:
    """Broker, remote control and events, over a socket as over a port."""
    as_user("orchestrator", tcp=tcp)
    log = tmp_path / "worker.log"
    with worker(log):
        with caller() as celery:
            celery.send_task("decisions.tasks.housekeeping", queue="journal")
            until(lambda: "decisions.tasks.housekeeping" in log.read_text() and "succeeded" in log.read_text(), 60)
            assert celery.control.inspect(timeout=2).active_queues()
        assert answers()
    assert "NOPERM" not in log.read_text().upper()
    assert password("orchestrator") not in log.read_text()
