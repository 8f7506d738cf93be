"""A canary in every secret setting, a whole sandbox run on real keys, and a look for each canary wherever it could be.

The stack runs as a person starts it, with web and Flower; its models are a server here that sees the keys and, now and
then, quotes them back in an error. The settings say themselves which of them are secret: a new one is looked for too.
"""

import base64
import http.cookiejar
import json
import os
import pprint
import re
import secrets
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
import redis
from django.conf import settings
from django.contrib import admin

from decisions.clients import perplexity
from decisions.command_signature import sign
from decisions.sandbox.offline_model import answer
from orchestrator_project.local import binaries, endpoints
from tests.e2e.test_stack import until
from tests.integration.decisions.build import command_payload
from tests.integration.decisions.model_server import _message, _response

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = sorted(name for name, parameter in settings.PARAMETERS.items() if parameter.secret)
WEB, FLOWER = 18_700, 15_700
RUNS_SECONDS = 300
QUOTED_ONE_IN = 6
pytestmark = pytest.mark.timeout(900)


def canaries() -> dict[str, str]:
    """A secret for every secret setting: 48 characters that stand nowhere else."""
    return {name: f"canary{secrets.token_hex(21)}" for name in SECRETS}


# --- the servers of the run -------------------------------------------------------------------------------------------


class Models:
    """Answers as the offline model would; remembers the keys that came, and every so often quotes one back. Whoever
    else is sent something, an alert for one, is refused it with the address quoted."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.requests = 0
        self.alerts = 0

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "model" not in body:
            self.alerts += 1
            return 500, {"ok": False, "description": f"nothing is taken at {path}"}  # where a secret may stand itself
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        self.keys.add(key)
        self.requests += 1
        if self.requests % QUOTED_ONE_IN == 0:
            told = f"the key {key!r} (as {quote(key)} or {base64.b64encode(key.encode()).decode()}) has no credit"
            return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": told}}
        text = json.dumps(answer(body))
        return 200, _response(text) if path == perplexity.PATH else _message(text)


@contextmanager
def models_serving() -> Iterator[tuple[Models, str]]:
    models = Models()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = models.reply(self.path, headers, body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield models, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def redis_serving(folder: Path, password: str) -> Iterator[str]:
    """A server that wants the password. Its address, with it."""
    folder.mkdir()
    socket = folder / "redis.sock"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [binaries.redis_program(), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
             "--save", "", "--requirepass", password],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(socket.exists, 20, lambda: "Redis does not listen")
        yield f"unix://default:{password}@{socket}?db=0"
    finally:
        process.kill()
        process.wait()


@contextmanager
def database(name: str, password: str) -> Iterator[str]:
    """A database of its own on the tests' server, which takes any password. Its address, with one."""
    here = str(endpoints.socket_dir(settings.LOCAL_DIR))
    user = endpoints.DATABASE
    with psycopg.connect(host=here, user=user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        yield f"postgresql://{user}:{password}@/{name}?{urlencode({'host': here}, quote_via=quote)}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


class Wire:
    """Everything that anybody tells Redis while it is listened to: task messages, streams, keys, scripts."""

    def __init__(self, url: str) -> None:
        self.said: list[str] = []
        self._client = redis.Redis.from_url(url, socket_timeout=None)  # nobody may say anything for a while
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            with self._client.monitor() as monitor:
                for command in monitor.listen():
                    self.said.append(str(command["command"]))
        except redis.RedisError:  # the server has ended
            return


# --- what is looked through -------------------------------------------------------------------------------------------


def spelt(secret: str) -> list[str]:
    """The secret, and what stays of it in base64 wherever it begins."""
    inner = [base64.b64encode(b" " * before + secret.encode()).decode()[4:-4] for before in range(3)]
    return [secret, *inner]


def found_in(text: str, hidden: dict[str, str]) -> set[str]:
    return {name for name, secret in hidden.items() if any(form in text for form in spelt(secret))}


def around(text: str, hidden: dict[str, str]) -> str:
    """What stands round the first secret in the text."""
    place = min(text.index(form) for secret in hidden.values() for form in spelt(secret) if form in text)
    return text[max(place - 150, 0) : place + 100]


def tables(url: str) -> Iterator[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        named = connection.execute("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in named.fetchall():
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()  # type: ignore[arg-type] # noqa: S608
            yield f"table {table}", "\n".join(row for (row,) in rows)


def keys(url: str) -> Iterator[tuple[str, str]]:
    with closing(redis.Redis.from_url(url)) as client:
        for key in client.scan_iter():
            readers: dict[bytes, Any] = {
                b"string": client.get, b"hash": client.hgetall, b"stream": client.xrange, b"set": client.smembers,
                b"list": lambda name: client.lrange(name, 0, -1), b"zset": lambda name: client.zrange(name, 0, -1),
            }  # fmt: skip
            yield f"key {key.decode(errors='replace')}", str(readers[client.type(key)](key))


def files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"file {path.relative_to(folder)}", path.read_bytes().decode(errors="replace")


def command_lines(mark: str) -> Iterator[tuple[str, str]]:
    """What everybody on the machine may read of the stack's processes."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                yield f"command line {entry.name}", (entry / "cmdline").read_text()
        except OSError:
            continue


class Browser:
    """A person at the admin, by plain requests."""

    def __init__(self) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, address: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, str]:
        """Status, and headers with body."""
        request = urllib.request.Request(address, headers=headers or {}, data=data)  # noqa: S310 - here
        try:
            with self.opener.open(request, timeout=60) as page:
                return page.status, f"{page.headers}\n{page.read().decode(errors='replace')}"
        except urllib.error.HTTPError as refused:
            return refused.code, f"{refused.headers}\n{refused.read().decode(errors='replace')}"

    def sign_in(self, password: str) -> None:
        login = f"http://localhost:{WEB}/admin/login/"
        self.get(login)
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        form = urlencode({"username": "admin", "password": password, "csrfmiddlewaretoken": token}).encode()
        self.get(login, {"Referer": login}, form)

    def pages(self, hidden: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Every list of the admin, a row of each, and the first page; the machine's pages; Flower's."""
        for model in admin.site._registry:
            listed = f"http://localhost:{WEB}/admin/{model._meta.app_label}/{model._meta.model_name}/"
            status, text = self.get(listed)
            assert status == 200, listed
            yield f"page {listed}", text
            if row := re.search(r'href="(/admin/[^"]+/change/)', text):
                yield f"page {row[1]}", self.get(f"http://localhost:{WEB}{row[1]}")[1]
        token = {"Authorization": f"Bearer {hidden['METRICS_TOKEN']}"}
        for path, headers in (("admin/", {}), ("healthz", {}), ("readyz", {}), ("metrics", token), ("nowhere", {})):
            status, text = self.get(f"http://localhost:{WEB}/{path}", headers)
            assert status == 200 or path in ("readyz", "nowhere"), (path, status, text[:500])
            yield f"page /{path}", text
        login = base64.b64encode(f"ada:{hidden['FLOWER_BASIC_AUTH']}".encode()).decode()
        assert self.get(f"http://localhost:{FLOWER}/")[0] == 401
        for path in ("", "tasks", "broker", "workers"):
            status, text = self.get(f"http://localhost:{FLOWER}/{path}", {"Authorization": f"Basic {login}"})
            assert status == 200, path
            yield f"Flower /{path}", text


# --- the run ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_found_anywhere_after_a_run(servers: None, tmp_path: Path) -> None:
    hidden, local_dir, output = canaries(), tmp_path / "local", tmp_path / "output"
    with (
        models_serving() as (models, address),
        redis_serving(tmp_path / "r", hidden["REDIS_URL"]) as redis_url,
        database(f"canary_{secrets.token_hex(4)}", hidden["DATABASE_URL"]) as database_url,
    ):
        wire = Wire(redis_url)
        outside = {
            name: address for name, each in settings.PARAMETERS.items() if each.kind == "URL" and not each.secret
        }
        hooks = {name: f"{address}/{hidden[name]}" for name in SECRETS if settings.PARAMETERS[name].kind == "URL"}
        environment = {
            **os.environ, **hidden, **outside, **hooks, "TELEGRAM_CHAT_ID": "1", "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "FLOWER_BASIC_AUTH": f"ada:{hidden['FLOWER_BASIC_AUTH']}", "LOCAL_DIR": str(local_dir),
            "WEB_PORT": str(WEB),
            "FLOWER_PORT": str(FLOWER), "SANDBOX_BAR_SECONDS": "0.2", "SCREENER_AUDIT_RATE": "0.5",
            "LOG_LEVEL": "DEBUG",
        }  # fmt: skip
        seen: list[tuple[str, str]] = []

        def told() -> str:
            return output.read_text()[-5000:]

        with output.open("wb") as file:
            stack = subprocess.Popen(
                [sys.executable, "manage.py", "runstack"],
                cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        try:
            until(lambda: "beat.log" in output.read_text() or stack.poll() is not None, 300, told)
            command(redis_url, hidden["COMMAND_HMAC_KEY"], "research", symbol="BTC-USDT-SWAP")
            command(redis_url, "another key", "halt", msg_id="c-2")  # which is an alert, for Telegram and webhook
            enough = "SELECT count(*) > 12 FROM model_calls"
            researched = "SELECT count(*) > 0 FROM model_calls WHERE purpose = 'research'"
            obeyed = "SELECT bool_or(accepted) FROM system_commands"

            def has_done_enough() -> bool:
                return models.alerts > 1 and all(asked(database_url, each) for each in (enough, researched, obeyed))

            until(lambda: stack.poll() is not None or has_done_enough(), RUNS_SECONDS, told)
            assert stack.poll() is None, told()
            password = re.search(r"administrator admin, password (\S+)", output.read_text())[1]
            browser = Browser()
            browser.sign_in(password)
            seen += [*browser.pages(hidden), *command_lines(f"LOCAL_DIR={local_dir}")]
            for words in (["show_config"], ["show_config", "--json"], ["status"], ["risk", "status"], ["bogus"]):
                done = subprocess.run(
                    [sys.executable, "manage.py", *words], cwd=PROJECT, env=environment, capture_output=True, text=True,
                    check=False,
                )  # fmt: skip
                seen.append((f"command {' '.join(words)}", done.stdout + done.stderr))
        finally:
            stack.send_signal(signal.SIGINT)
            stack.wait(timeout=180)
        seen += [*tables(database_url), *keys(redis_url), *files(local_dir), ("its own output", output.read_text())]
        seen += [(f"command to Redis {place}", said) for place, said in enumerate(wire.said)]
    assert {hidden["ANTHROPIC_API_KEY"], hidden["PERPLEXITY_API_KEY"]} <= models.keys
    assert_everything_was_looked_at(seen)
    leaks = {place: (names, around(text, hidden)) for place, text in seen if (names := found_in(text, hidden))}
    assert not leaks, pprint.pformat(leaks)


def command(url: str, key: str, name: str, *, msg_id: str = "c-1", **args: Any) -> None:
    """A signed command, as a user interface sends it."""
    at = datetime.now(UTC)
    payload = command_payload(name, at, **args)
    signed = {"signed_at": at.isoformat(), "signature": sign(key, msg_id, at.isoformat(), payload)}
    fields = {
        "msg_id": msg_id, "timestamp": at.isoformat(), "source": "ui", "type": "system_command",
        "payload": json.dumps(payload), "metadata": json.dumps(signed),
    }  # fmt: skip
    with closing(redis.Redis.from_url(url)) as client:
        client.xadd("system:alerts", fields)  # type: ignore[arg-type]


def asked(url: str, question: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute(question).fetchone()[0])  # type: ignore[arg-type]


def assert_everything_was_looked_at(seen: list[tuple[str, str]]) -> None:
    """None of the places was empty: what was looked through is what a run leaves."""
    text = {place: content for place, content in seen if content}
    for place in (
        "table public.model_calls", "table public.decision_cycles", "key market:snapshots", "key system:alerts",
        "file logs/web.log", "file logs/consumer.log", "file logs/worker-cycle.log", "file logs/flower.log",
        "page /metrics", "its own output",
    ):  # fmt: skip
        assert place in text, place
    assert "has no credit" in text["table public.model_calls"]
    assert sum(place.startswith("command line") for place in text) > 3
    assert any(
        "decisions.tasks.analyze" in content for place, content in text.items() if place.startswith("command to")
    )


def test_a_canary_would_be_found_in_every_spelling() -> None:
    hidden = {"A": "canary-of-the-test-itself"}
    for text in ("x canary-of-the-test-itself", base64.b64encode(b"user:canary-of-the-test-itself!").decode()):
        assert found_in(text, hidden) == {"A"}
    assert found_in("nothing", hidden) == set()
    assert {"ANTHROPIC_API_KEY", "DATABASE_URL", "SECRET_KEY", "COMMAND_HMAC_KEY", "FLOWER_BASIC_AUTH"} <= set(SECRETS)
