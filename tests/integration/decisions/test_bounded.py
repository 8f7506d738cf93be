"""Bounded clients against servers on loopback that keep no bounds themselves; alike for httpx and httpx2."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from typing import Any

import httpx
import httpx2
import pytest

from decisions.clients.bounded import Bounds, bind, limits

SECONDS = 0.3
GENEROUS = 3.0
"""Seconds beyond the bound that a busy machine may take; without the bound each of these would take far longer."""
PLENTY = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

Handle = Callable[[socket.socket, threading.Event], None]


@contextmanager
def serving(handle: Handle) -> Iterator[str]:
    """The address of a server that lets `handle` speak on each connection until the event is set."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def speak(connection: socket.socket) -> None:
        with connection:
            try:
                handle(connection, over)
            except OSError:  # the client has gone
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=speak, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def saying(*parts: bytes, every: float = 0.0) -> Handle:
    """Read a request, say the parts one after another, then nothing more."""

    def handle(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65_536)
        for part in parts:
            connection.sendall(part)
            if over.wait(every):
                return
        over.wait(30)

    return handle


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait(30)


def whole(body: bytes, *headers: bytes) -> bytes:
    return HEAD + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(library: Any) -> Iterator[Any]:
    """A bound client without time-outs of its own."""
    with closing(bind(library.Client(timeout=None))) as bound:
        yield bound


@contextmanager
def refused(error: type[Exception]) -> Iterator[Bounds]:
    """What is done ends with the error in about the time allowed."""
    began = time.monotonic()
    with limits(seconds=SECONDS, most_bytes=PLENTY) as bounds, pytest.raises(error):
        yield bounds
    assert time.monotonic() - began < SECONDS + GENEROUS
    assert bounds.broken == f"no answer within {SECONDS:g} s"


def test_an_ordinary_answer_is_taken_on_one_connection(client: Any) -> None:
    met = []

    def handle(connection: socket.socket, _: threading.Event) -> None:
        met.append(connection)
        while connection.recv(65_536):
            connection.sendall(whole(b"good"))

    with serving(handle) as address:
        with limits(seconds=20, most_bytes=PLENTY) as bounds:
            assert [client.get(f"http://{address}/").text for _ in range(3)] == ["good"] * 3
        assert client.get(f"http://{address}/").text == "good"
    assert (len(met), bounds.broken) == (1, "")


def test_a_server_that_hangs_is_left(library: Any, client: Any) -> None:
    with serving(silent) as address, refused(library.ReadTimeout):
        client.get(f"http://{address}/")


@pytest.mark.parametrize("head", [HEAD + b"X-Filler: ", HEAD + b"Content-Length: 100000\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_drips_ends_with_the_time(library: Any, client: Any, head: bytes) -> None:
    dripping = saying(head, *repeat(b"x", 2000), every=0.02)
    with serving(dripping) as address, refused(library.ReadTimeout):
        client.get(f"http://{address}/")


def test_the_clients_own_shorter_time_out_holds(library: Any, client: Any) -> None:
    bounded = limits(seconds=60, most_bytes=PLENTY)
    with serving(silent) as address, bounded as bounds, pytest.raises(library.ReadTimeout):
        client.get(f"http://{address}/", timeout=0.1)
    assert bounds.broken == ""


def test_a_request_that_is_not_read_ends_with_the_time(library: Any, client: Any) -> None:
    with serving(silent) as address, refused(library.WriteTimeout):
        client.post(f"http://{address}/", content=b"x" * 50_000_000)


def test_a_handshake_that_is_not_answered_ends_with_the_time(library: Any, client: Any) -> None:
    with serving(silent) as address, refused(library.ConnectTimeout):
        client.get(f"https://{address}/")


def test_the_way_through_a_proxy_is_bounded_too(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(silent) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        with closing(bind(library.Client(timeout=None))) as client, refused(library.ReadTimeout):
            client.get("https://models.invalid/")


def test_nothing_is_begun_once_the_time_is_over(library: Any, client: Any) -> None:
    no_time = limits(seconds=0, most_bytes=PLENTY)
    with serving(saying(whole(b"good"))) as address, no_time as bounds, pytest.raises(library.ConnectTimeout):
        client.get(f"http://{address}/")
    assert bounds.out_of_time()


def test_several_requests_share_one_time(library: Any, client: Any) -> None:
    with serving(silent) as address, refused(library.ReadTimeout):
        try:
            client.get(f"http://{address}/", timeout=0.1)
        except library.ReadTimeout:
            client.get(f"http://{address}/")


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_an_endless_answer_ends_with_its_bytes(library: Any, client: Any) -> None:
    endless = saying(HEAD + b"\r\n", *repeat(b"x" * 65_536, 1000))
    bounded = limits(seconds=20, most_bytes=PLENTY)
    with serving(endless) as address, bounded as bounds, pytest.raises(library.ReadError):
        client.get(f"http://{address}/")
    assert bounds.broken == f"the answer is longer than {PLENTY} bytes"


def test_a_compressed_answer_is_refused_before_it_is_unpacked(library: Any, client: Any) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    asked = []

    def handle(connection: socket.socket, over: threading.Event) -> None:
        asked.append(connection.recv(65_536).lower())
        connection.sendall(whole(bomb, b"Content-Encoding: GZip"))
        over.wait(30)

    bounded = limits(seconds=20, most_bytes=PLENTY)
    with serving(handle) as address, bounded, pytest.raises(library.DecodingError, match="compressed"):
        client.get(f"http://{address}/")
    assert b"accept-encoding: identity" in asked[0]


@pytest.mark.parametrize("encoding", [b"identity", b"Identity", b""])
def test_an_answer_that_is_plain_in_so_many_words_is_taken(client: Any, encoding: bytes) -> None:
    plain = saying(whole(b"good", b"Content-Encoding: " + encoding))
    with serving(plain) as address, limits(seconds=20, most_bytes=PLENTY):
        assert client.get(f"http://{address}/").text == "good"


@pytest.mark.parametrize("charset", [b"undefined", b"hex", b"rot13", b"utf-16"])
def test_an_answer_is_read_as_utf_8_whatever_charset_it_names(client: Any, charset: bytes) -> None:
    named = saying(whole("Käse".encode(), b"Content-Type: application/json; charset=" + charset))
    with serving(named) as address, limits(seconds=20, most_bytes=PLENTY):
        assert client.get(f"http://{address}/").text == "Käse"


def test_no_cookie_is_kept_or_sent_back(client: Any) -> None:
    asked = []

    def handle(connection: socket.socket, over: threading.Event) -> None:
        asked.append(connection.recv(65_536).lower())
        connection.sendall(whole(b"good", b"Set-Cookie: session=1; Path=/\r\nConnection: close"))

    with serving(handle) as address, limits(seconds=20, most_bytes=PLENTY):
        for _ in range(2):
            client.get(f"http://{address}/")
    assert [b"cookie" in each for each in asked] == [False, False]
    assert list(client.cookies.jar) == []


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that answers, as this machine's would, once the event is set."""
    answering, look_up = threading.Event(), socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        answering.wait(30)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield answering
    answering.set()


def connecting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "connecting"]


def test_a_name_that_is_never_found_ends_with_the_time_and_leaves_no_thread(
    library: Any, client: Any, name_server: threading.Event
) -> None:
    gone = threading.Event()

    def handle(connection: socket.socket, _: threading.Event) -> None:
        if connection.recv(1) == b"":
            gone.set()

    with serving(handle) as address:
        with refused(library.ConnectTimeout):
            client.get(f"http://{address}/")
        (waiting,) = connecting()
        name_server.set()
        assert gone.wait(20), "a connection that came too late stays open"
        waiting.join(20)
    assert connecting() == []


def test_a_name_that_does_not_exist_is_told_at_once(library: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    bounded = limits(seconds=20, most_bytes=PLENTY)
    with bounded as bounds, pytest.raises(library.ConnectError, match="not known"):
        client.get("http://models.invalid/")
    assert bounds.broken == ""
