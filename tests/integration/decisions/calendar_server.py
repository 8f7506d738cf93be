"""The official calendars on loopback: a real server that answers each address as told, well or badly."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from decisions.calendar import NEW_YORK

Manner = Literal["whole", "truncated", "dripping"]


@dataclass(frozen=True)
class Answer:
    """What an address gives. A truncated body ends before the length it was told to have; a dripping one never ends."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = "whole"


@dataclass
class Calendars:
    """What each path answers, and what was asked: path, query, headers."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


# --- feeds as they are when all is well -----------------------------------------------------------------------------


def fed(*statements: datetime) -> bytes:
    """With its byte order mark."""
    rows = [
        {"title": "FOMC Meeting", "type": "FOMC", "month": f"{day:%Y-%m}", "days": f"{day.day}", "time": "2:00 p.m."}
        for day in statements
    ]
    return json.dumps({"events": rows}).encode("utf-8-sig")


def bea(*releases: datetime) -> bytes:
    return json.dumps({"Gross Domestic Product": {"release_dates": [each.isoformat() for each in releases]}}).encode()


def bls(**releases: list[datetime]) -> bytes:
    titles = {"cpi": "Consumer Price Index", "nfp": "Employment Situation"}
    entries = [
        f"BEGIN:VEVENT\nDTSTART;TZID=US-Eastern:{moment.astimezone(NEW_YORK):%Y%m%dT%H%M%S}\n"
        f"SUMMARY:{titles[kind]}\nEND:VEVENT"
        for kind, moments in releases.items()
        for moment in moments
    ]
    return "\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", *entries, "END:VCALENDAR", ""]).encode()


def fred(number: int, *days: datetime) -> bytes:
    rows = [{"release_id": number, "date": f"{day.astimezone(NEW_YORK):%Y-%m-%d}"} for day in days]
    return json.dumps({"count": len(rows), "release_dates": rows}).encode()


# --- the server -----------------------------------------------------------------------------------------------------


def _handler(calendars: Calendars) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = parse_qs(address.query)
            calendars.asked.append((address.path, query, {name.lower(): value for name, value in self.headers.items()}))
            path = "".join([address.path, *(f"/{number}" for number in query.get("release_id", []))])
            self._give(calendars.answers.get(path, Answer(b"<h1>Not found</h1>", 404)))

        def _give(self, answer: Answer) -> None:
            endless = answer.manner == "dripping"
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(1_000_000 if endless else len(answer.body)))
            self.end_headers()
            if answer.manner == "truncated":
                self.wfile.write(answer.body[: len(answer.body) // 2])
                self.close_connection = True
                return
            try:
                self.wfile.write(answer.body)
                while endless and not calendars.closing.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            except OSError:
                self.close_connection = True  # the reader has had enough

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def serving(calendars: Calendars) -> Iterator[Calendars]:
    """The calendars with their address, while they are served."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(calendars))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    calendars.url = f"http://127.0.0.1:{http.server_port}"
    yield calendars
    calendars.closing.set()
    http.shutdown()
    http.server_close()
