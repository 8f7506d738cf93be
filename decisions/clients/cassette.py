"""Cassettes: exchanges with models, recorded in a folder and answered from it again without a network.

    client = recording(httpx.Client(), folder)                    # answers as ever, and each exchange is written down
    client = httpx.Client(transport=replaying(httpx, folder))     # answers from the folder alone

It works alike for httpx and httpx2. An exchange is known by its `occasion`, which whoever asks sets, and by its
request: the same text may be asked twice and answered differently, and one occasion answers no other text than its
own. Of the headers only those that the clients read are kept, and none of the request's. Each exchange is one file, put
in its place whole, so that several processes may record into one folder; an occasion recorded again replaces the file.

A file made by hand or changed by hand is answered from like any other.
"""

import hashlib
import importlib
import json
import logging
import re
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from decisions.clients.reply import storable
from decisions.messages import first_faults

log = logging.getLogger(__name__)

Client = TypeVar("Client")

occasion: ContextVar[str] = ContextVar("occasion", default="")
"""Who asks, the same in the recorded run and in its replay, for instance
"analyze BTC-USDT-SWAP 2026-02-07T12:00Z round 1", with " attempt 2" behind it when it is asked again."""

KEPT_HEADERS = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry")
LONGEST_NAME = 150
"""Characters of an occasion in a file's name; the whole of it stands in the file."""
SHOWN_BEFORE, SHOWN_AFTER = 40, 30
"""Characters told of two requests, before and after the place where they begin to differ."""


class Miss(Exception):
    """A request that the folder has no answer to. Says what is there instead."""


class Question(BaseModel):
    """A request. `body` is JSON, or the text of what is none."""

    method: str
    path: str
    body: Any


class Answer(BaseModel):
    """A response."""

    status: int
    headers: dict[str, str]
    body: Any


class Exchange(BaseModel):
    """What a file holds: a response, or in `error` the library's exception that came instead, "ReadTimeout: told"."""

    occasion: str
    request: Question
    response: Answer | None = None
    error: str | None = None


# --- recording ------------------------------------------------------------------------------------------------------


def recording(client: Client, folder: Path) -> Client:
    """Have a client of httpx or httpx2 write down every exchange. Returns the client.

    Its transports, those of proxies included, are not part of httpx's public interface; a test fails should they move.
    An exchange that cannot be written is logged and answered all the same.
    """
    recorded: Any = client
    library = importlib.import_module(type(client).__module__.partition(".")[0])
    recorded._transport = _Recording(library, recorded._transport, folder)
    recorded._mounts = {
        pattern: transport and _Recording(library, transport, folder) for pattern, transport in recorded._mounts.items()
    }
    return client


class _Transport:
    """What a client wants of a transport besides its answers."""

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> "_Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Recording(_Transport):
    def __init__(self, library: ModuleType, inner: Any, folder: Path) -> None:
        self._library = library
        self._inner = inner
        self._folder = folder

    def handle_request(self, request: Any) -> Any:
        asked = {"occasion": occasion.get(), "request": _question(request)}
        try:
            response = self._inner.handle_request(request)
            content = b"".join(response.stream)
        except self._library.RequestError as error:
            self._keep(Exchange(**asked, error=storable(f"{type(error).__name__}: {error}")))
            raise
        response.stream = self._library.ByteStream(content)
        self._keep(Exchange(**asked, **_outcome(response, content)))
        return response

    def close(self) -> None:
        self._inner.close()

    def _keep(self, exchange: Exchange) -> None:
        try:
            _write(self._folder, exchange)
        except (OSError, RecursionError) as error:
            log.error("the exchange %r is not recorded: %s", exchange.occasion, error)


def _outcome(response: Any, content: bytes) -> dict[str, Any]:
    """The response; one that is compressed is refused unread by the clients, which never ask for it."""
    if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
        return {"error": f"DecodingError: the answer is compressed ({encoding}), which was not asked for"}
    headers = {name: storable(response.headers[name]) for name in KEPT_HEADERS if name in response.headers}
    body = _json_or_text(storable(content.decode("utf-8", "replace")))
    return {"response": Answer(status=response.status_code, headers=headers, body=body)}


def _write(folder: Path, exchange: Exchange) -> None:
    document = {
        name: dict(part) if isinstance(part, BaseModel) else part for name, part in exchange if part is not None
    }
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f".{uuid4().hex}.part"
    try:
        part.write_text(text, "utf-8")
        part.replace(folder / _name(exchange.occasion, exchange.request))
    finally:
        part.unlink(missing_ok=True)


# --- replaying ------------------------------------------------------------------------------------------------------


def replaying(library: ModuleType, folder: Path) -> Any:
    """A transport for clients of `library` (httpx or httpx2) that answers from the folder. Raises `Miss`."""
    return _Replaying(library, folder)


class _Replaying(_Transport):
    def __init__(self, library: ModuleType, folder: Path) -> None:
        self._library = library
        self._folder = folder

    def handle_request(self, request: Any) -> Any:
        question = _question(request)
        path = self._folder / _name(occasion.get(), question)
        if not path.exists():
            raise Miss(_what_is_there(self._folder, occasion.get(), question))
        exchange = _read(path)
        if exchange.response is None:
            raise self._failure(path, exchange.error or "", request)
        answer = exchange.response
        headers = {name: _bytes(value) for name, value in answer.headers.items()}
        response = self._library.Response(answer.status, headers=headers, content=_bytes(_text(answer.body)))
        response.encoding = "utf-8"  # as it was read when it was recorded, whatever its header says
        return response

    def _failure(self, path: Path, error: str, request: Any) -> Exception:
        name, _, told = error.partition(": ")
        kind = getattr(self._library, name, None)
        if not (isinstance(kind, type) and issubclass(kind, self._library.RequestError)):
            return Miss(f"{path} holds neither a response nor a failure of {self._library.__name__}: {error!r}")
        failure: Exception = kind(told, request=request)
        return failure


def _read(path: Path) -> Exchange:
    try:
        return Exchange.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        told = first_faults(error, "file")
    except (OSError, ValueError, RecursionError) as error:
        told = str(error)
    raise Miss(f"{path} cannot be read as a recorded exchange: {told}")


def _what_is_there(folder: Path, asked_by: str, question: Question) -> str:
    """Why there is no answer: nothing of this occasion, or another request."""
    found = sorted(folder.glob(f"{_readable(asked_by)}.*.json"))
    if not found:
        return f"nothing is recorded of {asked_by!r} in {folder}"
    exchange = _read(found[0])
    recorded, asked = _canonical(exchange.occasion, exchange.request), _canonical(asked_by, question)
    alike = next((at for at, (was, now) in enumerate(zip(recorded, asked, strict=False)) if was != now), len(recorded))
    shown = slice(max(alike - SHOWN_BEFORE, 0), alike + SHOWN_AFTER)
    return (
        f"{asked_by!r} was recorded with another request, see {found[0]}: {recorded[shown]!r} was recorded and "
        f"{asked[shown]!r} is asked; the prompt or the settings are not those of the recording"
    )


# --- names and bodies -----------------------------------------------------------------------------------------------


def _question(request: Any) -> Question:
    body = _json_or_text(storable(request.read().decode("utf-8", "replace")))
    return Question(method=request.method, path=storable(request.url.raw_path.decode("ascii")), body=body)


def _name(asked_by: str, question: Question) -> str:
    """The file's name: the occasion for a person, and a digest of the occasion and the request."""
    digest = hashlib.sha256(_canonical(asked_by, question).encode()).hexdigest()
    return f"{_readable(asked_by)}.{digest[:16]}.json"


def _canonical(asked_by: str, question: Question) -> str:
    return json.dumps([asked_by, question.method, question.path, question.body], sort_keys=True)


def _readable(asked_by: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", asked_by)[:LONGEST_NAME] or "unnamed"


def _json_or_text(text: str) -> Any:
    """The JSON document that `_text` makes exactly this text of again, or else the text itself."""
    try:
        document = json.loads(text)
        return document if isinstance(document, (dict, list)) and _text(document) == text else text
    except (ValueError, RecursionError):
        return text


def _text(body: Any) -> str:
    """A body as it went over the wire."""
    if isinstance(body, str):
        return body
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
