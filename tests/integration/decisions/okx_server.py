"""OKX on loopback: a real server that answers as the exchange does, counts what it is asked, and goes wrong as told."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from decisions.okx.pace import Endpoint
from tests.unit.decisions.okx_exchange import Exchange

WINDOW_SECONDS = 2.0
PREFIX = "/api/v5/"


@dataclass(frozen=True)
class Fault:
    """What is said instead of an answer. A hanging one says nothing until the server ends; a broken one ends early."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: Literal["whole", "hangs", "breaks"] = "whole"


def refused(code: str, said: str = "Too Many Requests", *, status: int = 200, **headers: str) -> Fault:
    body = json.dumps({"code": code, "msg": said, "data": []}).encode()
    return Fault(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class OkxServer:
    """`asked` are the requests as (moment, path, query); `faults` are used up one by one by requests to their path, or
    to a path and instrument (`"market/ticker BTC-USDT-SWAP"`); while `away` everything is answered by HTTP 503. With
    `live` the exchange's time is that of the wall clock."""

    exchange: Exchange
    live: bool = False
    away: bool = False
    url: str = ""
    asked: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    too_often: list[str] = field(default_factory=list)
    """The paths of requests that were more than the exchange allows."""
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Fault:
        with self._lock:
            now = time.monotonic()
            self.asked.append((now, path, query))
            self.headers.append(headers)
            allowed = next(endpoint.allowed for endpoint in Endpoint if endpoint.path == path)
            recent = sum(at > now - WINDOW_SECONDS and asked == path for at, asked, _ in self.asked)
            if recent > allowed:
                self.too_often.append(path)
                return refused("50011")
            if self.away:
                return Fault(b"<html>Service Unavailable</html>", 503)
            for name in (path, f"{path} {query.get('instId', '')}"):
                if self.faults[name]:
                    return self.faults[name].pop(0)
            if self.live:
                self.exchange.now_ms = int(time.time() * 1000)
            return Fault(json.dumps(self.exchange.answer(path, query)).encode())


def _handler(server: OkxServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            told = {name.lower(): value for name, value in self.headers.items()}
            fault = server.answer(address.path.removeprefix(PREFIX), dict(parse_qsl(address.query)), told)
            if fault.manner == "hangs":
                server.closing.wait(30)
            self.send_response(fault.status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(fault.body) + (fault.manner == "breaks")))
            self.end_headers()
            self.wfile.write(fault.body)
            self.close_connection = fault.manner != "whole"

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def serving(server: OkxServer) -> Iterator[OkxServer]:
    """The server with its address, while it serves."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    yield server
    server.closing.set()
    http.shutdown()
    http.server_close()
