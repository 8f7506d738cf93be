"""Bounds on a whole exchange over HTTP: its time and the bytes of its answer.

The time-outs of an HTTP client hold for a phase: a server that drips its headers or its body, or a name server that
never answers, goes on for as long as it likes. Here every read, write and handshake of a client waits only for what is
left of the exchange's own time, looking up the name included, and reading ends at a number of bytes.

    client = bind(httpx.Client())
    with limits(seconds=30, most_bytes=4_000_000) as bounds:
        client.get(...)          # ends in the client's own time-out or connection error, and `bounds.broken` says why

It works alike for httpx and httpx2, whose connection pools take their network from an exchangeable part.
"""

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Client = TypeVar("Client")

SLICE = 16_384
"""Bytes written at once: each write has what is left of the time."""


class Bounds:
    """What is left of one exchange."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds = seconds
        self.most_bytes = most_bytes
        self.broken = ""
        """Which bound ended the exchange, in words; empty while none has."""
        self._ends_at = time.monotonic() + seconds
        self._bytes_left = most_bytes

    def spent(self) -> float:
        """Seconds since the exchange began."""
        return time.monotonic() - (self._ends_at - self.seconds)

    def remaining(self) -> float:
        """Seconds left, 0 when there are none."""
        return max(self._ends_at - time.monotonic(), 0.0)

    def out_of_time(self) -> bool:
        """Whether the time is over; `broken` says so from then on."""
        if self.remaining() > 0:
            return False
        self.broken = self.broken or f"no answer within {self.seconds:g} s"
        return True

    def takes(self, count: int) -> bool:
        """Count bytes that came in. False once they are too many."""
        self._bytes_left -= count
        if self._bytes_left >= 0:
            return True
        self.broken = f"the answer is longer than {self.most_bytes} bytes"
        return False


_bounds: ContextVar[Bounds | None] = ContextVar("bounds", default=None)


@contextmanager
def limits(*, seconds: float, most_bytes: int) -> Iterator[Bounds]:
    """Bound everything that bound clients do in this context, several requests included."""
    bounds = Bounds(seconds, most_bytes)
    token = _bounds.set(bounds)
    try:
        yield bounds
    finally:
        _bounds.reset(token)


def bind(client: Client) -> Client:
    """Have a client of httpx or httpx2 keep to the limits of the context it is used in. Returns the client.

    It asks for answers that are not compressed and refuses others: a few bytes could hold gigabytes. It reads every
    answer as UTF-8 and keeps no cookies, which would pile up. The pool's network is not part of httpx's public
    interface; a test fails should it move.
    """
    bound: Any = client
    library = importlib.import_module(type(client).__module__.partition(".")[0])
    bound.headers["accept-encoding"] = "identity"
    bound.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    bound.event_hooks = {**bound.event_hooks, "response": [_plain_text(library), *bound.event_hooks["response"]]}
    for transport in (bound._transport, *bound._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            core = importlib.import_module(type(pool).__module__.partition(".")[0])
            pool._network_backend = _Network(pool._network_backend, core)
    return client


def _plain_text(library: Any) -> Callable[[Any], None]:
    def check(response: Any) -> None:
        response.encoding = "utf-8"  # some charsets that a server may name raise at the first look at the text
        if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise library.DecodingError("the answer is compressed, which was not asked for", request=response.request)

    return check


class _Network:
    """A network backend of httpcore whose waits end with the exchange."""

    def __init__(self, inner: Any, core: Any) -> None:
        self._inner = inner
        self._core = core

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> "_Stream":
        left = _left(timeout, self._core.ConnectTimeout)
        connect = lambda: self._inner.connect_tcp(host, port, timeout=left, **options)  # noqa: E731
        return _Stream(_in_time(connect, left, self._core), self._core)

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> "_Stream":
        left = _left(timeout, self._core.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, timeout=left, **options), self._core)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(_left(seconds, self._core.ConnectTimeout))


class _Stream:
    """A network stream of httpcore whose waits end with the exchange."""

    def __init__(self, inner: Any, core: Any) -> None:
        self._inner = inner
        self._core = core

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            received: bytes = self._inner.read(max_bytes, timeout=_left(timeout, self._core.ReadTimeout))
        except self._core.ReadTimeout:
            _note_the_time()
            raise
        bounds = _bounds.get()
        if bounds is not None and not bounds.takes(len(received)):
            raise self._core.ReadError(bounds.broken)
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), SLICE):
            try:
                self._inner.write(buffer[start : start + SLICE], timeout=_left(timeout, self._core.WriteTimeout))
            except self._core.WriteTimeout:
                _note_the_time()
                raise

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        left = _left(timeout, self._core.ConnectTimeout)
        try:
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._core)
        except self._core.ConnectTimeout:
            _note_the_time()
            raise

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(timeout: float | None, too_late: type[Exception]) -> float | None:
    """How long one wait may take. Raises `too_late` when the exchange's time is over."""
    bounds = _bounds.get()
    if bounds is None:
        return timeout
    if bounds.out_of_time():
        raise too_late(bounds.broken)
    return bounds.remaining() if timeout is None else min(timeout, bounds.remaining())


def _note_the_time() -> None:
    """Say on the bounds that they ended the wait, if they did."""
    bounds = _bounds.get()
    if bounds is not None:
        bounds.out_of_time()


def _in_time(connect: Callable[[], Any], seconds: float | None, core: Any) -> Any:
    """The stream that `connect` gives, waited for in a thread of its own: looking up a name knows no time-out. A stream
    that comes after the time is closed."""
    failures = (core.TimeoutException, core.NetworkError, OSError, ValueError)  # a name may be none at all
    made: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    abandoned = threading.Event()

    def run() -> None:
        stream, error = None, core.ConnectError("connecting ended without a word")
        try:
            stream, error = connect(), None
        except failures as failure:
            error = failure
        finally:  # whatever happened, somebody waits
            made.put((stream, error))
        if stream is not None and abandoned.is_set():
            stream.close()

    threading.Thread(target=run, name="connecting", daemon=True).start()
    try:
        stream, error = made.get(timeout=seconds)
    except Empty:
        abandoned.set()
        if not made.empty() and (late := made.get()[0]):  # it came between the two lines above
            late.close()
        _note_the_time()
        raise core.ConnectTimeout(f"no connection within {seconds:g} s") from None
    if error is not None:
        _note_the_time()
        raise error
    return stream
