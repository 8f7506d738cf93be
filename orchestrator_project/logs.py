"""One log line a fact, as text or JSON, with every secret taken out on its way.

Everything that a process of ours writes goes through one formatter: structlog's loggers and the standard library's,
Django, Celery, gunicorn, warnings, and in JSON also what nobody caught. It hides values under secret names, and
everywhere, tracebacks and all, the secrets themselves in every spelling they are likely to be met in.
"""

import base64
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"(?i)(api_?key|secret|password|passwd|token$|authorization|cookie|database_url|redis_url)")
_SHORTEST_SECRET = 6
"""Characters. Shorter values would blot out ordinary words."""

QUIET = ("anthropic", "axes", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio")
"""Libraries whose own detail nobody needs: it holds whole prompts, or says what our own record says."""

OWN_HANDLERS = ("django", "django.server", "gunicorn.error", "gunicorn.access", "tornado.access")
"""Loggers that come with handlers, or with a propagation, of their own: they lose both."""


# --- secrets ----------------------------------------------------------------------------------------------------------


def secret_parts(value: str) -> Iterator[str]:
    """A secret setting, and what in it is a secret by itself: the password of a URL, and of `user:password`."""
    yield value
    if "://" in value:
        password = urlsplit(value).password or ""
        yield from {password, unquote(password)}
    elif ":" in value:
        yield value.partition(":")[2]


def without_secrets(text: str, secrets: Collection[str]) -> str:
    """The text with every secret in it hidden, also where it is escaped as in JSON or Python, encoded as in an
    address, or part of something in base64."""
    pattern = _spelt(frozenset(secrets))
    return pattern.sub(HIDDEN, text) if pattern else text


@lru_cache(maxsize=64)
def _spelt(secrets: frozenset[str]) -> "re.Pattern[str] | None":
    """Every spelling of every secret; the longest first, since one may hold another."""
    known = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _spellings(secret)}
    ordered = sorted((form for form in known if len(form) >= _SHORTEST_SECRET), key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _spellings(secret: str) -> Iterable[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for encoded in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield encoded
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
    yield from _in_base64(secret.encode())


def _in_base64(secret: bytes) -> Iterable[str]:
    """What stays the same of it in base64, whatever stands before and after: each character tells six bits, so it
    depends on the place in the group of three, and the characters at the edges tell of the neighbours too."""
    for before in range(3):
        bits = 8 * (before + len(secret))
        first, last = -(-8 * before // 6), bits // 6
        for alphabet in (b"+/", b"-_"):
            yield base64.b64encode(bytes(before) + secret, alphabet).decode()[first:last]


# --- what a line is about ---------------------------------------------------------------------------------------------


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Name these ids (cycle, order, trade, ...) in everything that is logged in the block; `also` adds to them."""
    before = structlog.contextvars.get_contextvars()
    also(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def also(**ids: object) -> None:
    """Name these ids too, until the block (or the task) ends. None is left out."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value is not None})


# --- the configuration ------------------------------------------------------------------------------------------------


class SafeHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard error. A line that cannot be made is told without its values: nobody has redacted them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        where = f"{record.pathname}:{record.lineno}"
        kind = (sys.exc_info()[0] or Exception).__name__
        sys.stderr.write(f'{{"level": "error", "event": "a log line of {where} could not be written: {kind}"}}\n')


def redactor(secrets: Collection[str]) -> Processor:
    """A processor that hides values under secret names, and the secrets in every text of the event."""
    literals = frozenset(secrets)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return without_secrets(value, literals)
        if isinstance(value, Mapping):
            return {key: HIDDEN if _SECRET_NAME.search(str(key)) else hide(inner) for key, inner in value.items()}
        return [hide(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        hidden: EventDict = hide(dict(event))
        return hidden

    return redact


def redacting(render: Processor, secrets: Collection[str]) -> Processor:
    """A renderer out of whose lines the secrets are taken: those in keys, and in the text of objects."""
    literals = frozenset(secrets)

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return without_secrets(str(render(logger, method, event)), literals)

    return rendered


def of_a_refusal(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that leaves out the traceback of a request that Django refused: it is no fault of ours."""
    logger = str(event.get("logger"))
    if logger.startswith("django.security") or (logger == "django.request" and event.get("level") == "warning"):
        event.pop("exc_info", None)
    return event


def configuration(*, level: str, as_json: bool, secrets: Collection[str]) -> dict[str, Any]:
    """The `LOGGING` setting. Standard library loggers and structlog's go through the same processors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    if as_json:
        _log_what_nobody_caught(secrets)
    render: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    of_a_refusal,
                    structlog.processors.format_exc_info,
                    redactor(secrets),
                    redacting(render, secrets),
                ],
            }
        },
        "handlers": {"stderr": {"()": SafeHandler, "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in QUIET}
        | {name: {"handlers": [], "propagate": True, "level": "NOTSET"} for name in OWN_HANDLERS},
    }


def _log_what_nobody_caught(secrets: Collection[str]) -> None:
    """A traceback that ends a process or a thread is a line like any other."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.exit(130)
        if logging.getLogger().handlers:
            logging.getLogger("uncaught").critical("nobody caught it", exc_info=(kind, error, trace))
        else:  # before logging is set up
            sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace)), secrets))

    def tell_of_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            tell(told.exc_type, told.exc_value, told.exc_traceback)

    sys.excepthook, threading.excepthook = tell, tell_of_thread


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
