"""One log line a fact, as text or JSON, with every secret taken out on its way."""

import re
from collections.abc import Collection
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(r"(?i)(api_?key|secret|password|passwd|token$|authorization|cookie|database_url|redis_url)")
_SHORTEST_SECRET = 6
"""Characters. Shorter values would blot out ordinary words."""

QUIET = ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio")
"""Libraries whose own detail nobody needs: it holds whole prompts."""


def without_secrets(text: str, secrets: Collection[str]) -> str:
    """The text with every secret in it hidden; the longest first, since one may hold another."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


def redactor(secrets: Collection[str]) -> Processor:
    """A processor that hides values under secret names, and the secrets themselves wherever they stand."""
    literals = frozenset(secrets)

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return without_secrets(value, literals)
        if isinstance(value, dict):
            return {key: HIDDEN if _SECRET_NAME.search(str(key)) else hide(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [hide(inner) for inner in value]
        return value

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        hidden: EventDict = hide(dict(event))
        return hidden

    return redact


def configuration(*, level: str, as_json: bool, secrets: Collection[str]) -> dict[str, Any]:
    """The `LOGGING` setting. Standard library loggers and structlog's go through the same processors."""
    redact = redactor(secrets)
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
    renderer: Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                # A traceback is made text before it is redacted, since it may quote what it failed on.
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    redact,
                    renderer,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": "WARNING"} for name in QUIET},
    }


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
