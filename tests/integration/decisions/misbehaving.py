"""A server that misbehaves: a real one on loopback that speaks bytes, so that it can break off, hang, drip or lie
wherever a server of the world can; and what a table of such cases is made of.

Each answer is a few steps. What is not in the script is answered as it should be.
"""

import gzip
import json
import re
import socket
import socketserver
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from django.db import connection

from decisions.outbox import redis_client
from tests.integration.decisions.model_server import DEFAULTS, Question

CLAUDE_KEY = "sk-ant-canary-1234509876"
PERPLEXITY_KEY = "pplx-canary-5432167890"
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "models.md"
DRIP_SECONDS = 0.05
SLACK_SECONDS = 3
"""What a test may take beyond the deadline that it gives."""

ESCAPED = "".join(f"\\u{ord(character):04x}" for character in CLAUDE_KEY)
"""The key as JSON may write it."""


@dataclass(frozen=True)
class Drip:
    """Bytes that come one by one: each wait is short, all of them together are longer than any deadline here."""

    content: bytes


class End(Enum):
    """How an answer ends other than by closing the connection."""

    HANG = auto()
    """The connection stays, and nothing more comes."""
    RESET = auto()
    """The connection is cut off."""


Answer = tuple[bytes | Drip | End, ...]
Script = Sequence[Answer]
"""The answers to a question and to each time it is asked again. The last one is repeated."""


@dataclass(frozen=True)
class Case:
    """Something that a server does, and what comes of it."""

    name: str
    """What the server does, or says."""
    script: Callable[[dict[str, Any]], Script]
    """From what would be a good answer, what it says; nothing at all is a server that is not there."""
    outcome: str
    """Of the call."""
    status: int | None
    attempts: int
    told: str = ""
    """Stands in the error that is kept and told."""
    asks: tuple[Question, ...] = ("screen", "analyze")
    """The questions that it can happen to."""

    def __str__(self) -> str:
        return self.name

    @property
    def deadline(self) -> int:
        """Seconds allowed: one where the server is waited for to the end, plenty where it answers."""
        return 1 if "no answer" in self.told else 20


# --- what is said -----------------------------------------------------------------------------------------------------


def http(body: object = b"", status: int = 200, **headers: str) -> bytes:
    """A whole response: bytes as they are, a text, or anything else as JSON. `Content-Length` is right unless given."""
    if isinstance(body, str):
        body = body.encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"content-length": str(len(content)), "content-type": "application/json", "connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in told.items()), "", ""]
    return "\r\n".join(lines).encode() + content


def message(text: object, **changes: Any) -> dict[str, Any]:
    """A message of the Messages API that says `text`: a text, or a value as JSON."""
    said = text if isinstance(text, str) else json.dumps(text)
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": said}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 400, "output_tokens": 30},
    } | changes  # fmt: skip


def page(**changes: Any) -> dict[str, Any]:
    """A page that the search found today."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"id": 1, "url": "https://example.org/a", "title": "A", "snippet": "s", "date": today} | changes


def response(text: object, *pages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A response of the Agent API that says `text` and rests on `pages`."""
    said = text if isinstance(text, str) else json.dumps(text)
    return {
        "id": "resp_1", "object": "response", "model": "perplexity/sonar", "status": "completed", "error": None,
        "output": [
            {"type": "search_results", "queries": ["q"], "results": list(pages)},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]},
        ],
        "usage": {"input_tokens": 40, "output_tokens": 12, "cost": {"currency": "USD", "total_cost": 0.00504}},
    } | changes  # fmt: skip


def good(question: Question) -> Answer:
    answer = DEFAULTS[question]
    return (http(response(answer, page()) if question == "research" else message(answer)),)


def cut(whole: bytes) -> bytes:
    """The first two thirds of a whole response."""
    return whole[: len(whole) * 2 // 3]


def head_and_body(whole: bytes) -> tuple[bytes, bytes]:
    head, _, body = whole.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


# --- what can happen to any server ------------------------------------------------------------------------------------

Whole = Callable[..., bytes]
"""A whole response of a service that holds a good answer: `whole(answer, **headers)`."""
FAILED = "the connection failed"
GAVE_UP = "tried 3 times"

REDIRECT = Case(
    "a redirect",
    lambda _: [(http(b"", 307, location="/elsewhere"),)],
    "error", 307, 1, "a redirect, which is not followed",
)  # fmt: skip
NO_HTTP = Case("speaks no HTTP", lambda _: [(b"SSH-2.0-OpenSSH_9.2\r\n",)], "error", None, 3, FAILED)


def cut_short(whole: Whole) -> list[Case]:
    """The connection fails or ends, with and without the beginning of an answer."""
    return [
        Case("is not there", lambda _: [], "error", None, 3, FAILED),
        Case("resets the connection", lambda _: [(End.RESET,)], "error", None, 3, FAILED),
        Case("resets it in the body", lambda answer: [(cut(whole(answer)), End.RESET)], "error", None, 3, FAILED),
        Case("closes in the body", lambda answer: [(cut(whole(answer)),)], "error", None, 3, FAILED),
    ]


def too_slow(whole: Whole, told: str) -> list[Case]:
    """The deadline comes first. `told` says so in the words of the client."""

    def drips_its_body(answer: dict[str, Any]) -> Script:
        head, body = head_and_body(whole(answer))
        return [(head, Drip(body))]

    return [
        Case("hangs", lambda _: [(End.HANG,)], "error", None, 1, told),
        Case("hangs in the body", lambda answer: [(cut(whole(answer)), End.HANG)], "error", None, 1, told),
        Case(
            "drips its headers",
            lambda answer: [(Drip(whole(answer, x_filler="x" * 2000)),)],
            "error", None, 1, told,
        ),
        Case("drips its body", drips_its_body, "error", None, 1, told),
    ]  # fmt: skip


def compressed(whole: Whole) -> Case:
    """An answer that would be good, compressed."""
    return Case(
        "200, compressed, which was not asked for",
        lambda answer: [(http(gzip.compress(head_and_body(whole(answer))[1]), content_encoding="gzip"),)],
        "error", None, 1, "compressed, which was not asked for",
    )  # fmt: skip


# --- the server -------------------------------------------------------------------------------------------------------


class MisbehavingServer(socketserver.ThreadingTCPServer):
    """Answers each question by its script; keeps which were asked, in `asked`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[str] = []
        self.ended = threading.Event()
        self._scripts: dict[str, list[Answer]] = defaultdict(list)
        self._connections: set[socket.socket] = set()

    def will(self, question: Question, script: Script) -> None:
        self._scripts[question] = list(script)
        if not script:
            self.end()

    def answer(self, question: str) -> Answer:
        self.asked.append(question)
        script = self._scripts[question]
        if not script:
            return good(question)  # type: ignore[arg-type]  # an unknown question is nobody's script
        return script.pop(0) if len(script) > 1 else script[0]

    def hold(self, stream: socket.socket) -> None:
        """Wait until the other side goes, or the server ends."""
        self._connections.add(stream)
        try:
            if not self.ended.is_set():
                stream.recv(1)
        except OSError:
            pass

    def end(self) -> None:
        self.ended.set()
        for stream in list(self._connections):
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has gone
                pass
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    """One request and its answer."""

    server: MisbehavingServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        question = _question(self.rfile)
        try:
            for step in self.server.answer(question):
                self._take(step)
        except OSError:  # the other side has seen enough
            return

    def _take(self, step: bytes | Drip | End) -> None:
        if isinstance(step, bytes):
            self.connection.sendall(step)
        elif isinstance(step, Drip):
            for byte in step.content:
                if self.server.ended.wait(DRIP_SECONDS):
                    return
                self.connection.sendall(bytes([byte]))
        elif step is End.HANG:
            self.server.hold(self.connection)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _question(stream: BufferedIOBase) -> str:
    """Read a whole request: what it asks, or the path of one that nobody should make."""
    method, path, _ = stream.readline().decode().split()
    length = 0
    while (line := stream.readline().decode()).strip():
        name, _, value = line.partition(":")
        length = int(value) if name.lower() == "content-length" else length
    body = stream.read(length)
    if path == "/v1/responses":
        return "research"
    if path != "/v1/messages":
        return f"{method} {path}"
    asked = json.loads(body)["output_config"]["format"]["schema"]["properties"]
    return "screen" if "signal" in asked else "analyze"


@contextmanager
def misbehaving() -> Iterator[MisbehavingServer]:
    server = MisbehavingServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.end()


# --- what has come of it ----------------------------------------------------------------------------------------------


def everything_stored() -> str:
    """Every row of every table, and all that Redis holds."""
    with connection.cursor() as cursor:
        stored = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT row_to_json(kept)::text FROM "{table}" AS kept')  # noqa: S608 - our own tables
            stored += [row[0] for row in cursor.fetchall()]
    client: Any = redis_client()
    readers: dict[bytes, Callable[[bytes], object]] = {
        b"stream": client.xrange,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"hash": client.hgetall,
        b"string": client.get,
    }
    stored += [repr(readers[client.type(key)](key)) for key in client.scan_iter()]
    return "\n".join(stored)


def as_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The rows as a table of Markdown."""
    first, *others = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join((first, "|" + "---|" * len(head), *others, ""))


def documented(name: str) -> str:
    """The table of that name in the document."""
    found = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end of table -->", DOCUMENT.read_text(), re.DOTALL)
    assert found, f"docs/models.md has no `<!-- table: {name} -->`"
    return found[1]
