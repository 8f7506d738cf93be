"""What came of asking a model: a value that is stored before anything in it is believed."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import unquote

from django.conf import settings
from pydantic import Field

from decisions.schemas import AnswerType, Citation, ResearchAnswer
from orchestrator_project.logs import HIDDEN, get_logger, without_secrets

log = get_logger(__name__)

Outcome = Literal["ok", "refusal", "invalid_output", "error", "unread"]
"""`unread` is something that came and has not been judged; a record that ends with it was cut short there."""
Source = Literal["live", "offline", "replay"]
"""Who answers: the service, the offline model, or a recording."""
Purpose = Literal["screen", "analyze", "research", "reflect"]
Tokens = Annotated[int, Field(ge=0, le=10_000_000)]
"""A count of tokens that can be true: several times the largest context there is."""
LONGEST_ID = 100
LONGEST_REASON = 40
LONGEST_ERROR = 600
LONGEST_RAW = 1_000_000
"""Characters. An answer of sixteen thousand tokens, the longest that is asked for, stays below a tenth of it."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What reading a text can raise, a text nested too deeply included."""

NO_SUCH_MODEL = (404, "not_found_error")
"""Status and error type by which the API says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply(Generic[AnswerType]):
    """One call to a model. `parsed` is there exactly when `outcome` is "ok"; `error` says what is wrong otherwise.

    `raw` is the body of the response as it came, `text` what the model wrote in it. `attempts` counts the requests
    that were sent for it, `status` and `retry_after` are the last one's. `cost_usd` is what the call cost, or what it
    would have cost where `source` says that no real model was asked; `priced` is false for a model missing from the
    price table.
    """

    purpose: Purpose
    model: str
    outcome: Outcome
    parsed: AnswerType | None = None
    text: str | None = None
    error: str = ""
    error_type: str = ""
    """The API's own name of the error, such as not_found_error; empty where it gave none."""
    raw: str = ""
    stop_reason: str = ""
    request_id: str = ""
    status: int | None = None
    retry_after: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    priced: bool = True
    latency_ms: int
    attempts: int = 1
    source: Source

    @property
    def model_is_gone(self) -> bool:
        """Whether the API itself says that it has no such model; a proxy's 404 says nothing about it."""
        return (self.status, self.error_type) == NO_SUCH_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchReply(ModelReply[ResearchAnswer]):
    """A research call, with the pages that the search returned."""

    citations: tuple[Citation, ...] = ()


def source_of(key: str) -> Source:
    """Who answers for a service with this key: a recording where one is set, the offline model for want of a key (in
    the sandbox only, since it makes its answers up), else the service."""
    if settings.MODEL_REPLAY:
        return "replay"
    return "offline" if settings.SANDBOX and not key else "live"


# --- kept, then judged ----------------------------------------------------------------------------------------------

Reply = TypeVar("Reply", bound=ModelReply[Any])
Keep = Callable[[ModelReply[Any]], None]
"""Writes a reply down: called when it has come, and once more with the verdict if there was something to judge."""


def forget(_: ModelReply[Any]) -> None:
    """Keep nothing."""


def settled(came: Reply, keep: Keep, read: Callable[[Reply], Reply], judge: Callable[[Reply], Reply]) -> Reply:
    """The reply with its verdict, kept before it is judged.

    A reply without an error is read first (`read`: what it says, and what it costs), then kept, and judged only then.
    Whatever an answer does to its reader, the record of a call that was paid for is not lost over it.
    """
    reply = came if came.error else _guarded(read, replace(came, outcome="unread"))
    keep(reply)
    if reply.outcome == "unread":
        reply = _guarded(judge, reply)
        keep(reply)
    return reply


def _guarded(step: Callable[[Reply], Reply], reply: Reply) -> Reply:
    try:
        return step(reply)
    except UNREADABLE as error:  # what nobody foresaw in a text from outside is an answer of no use, told as that
        log.exception("an answer cannot be read", purpose=reply.purpose, model=reply.model)
        return replace(reply, outcome="invalid_output", error=f"the answer cannot be read: {type(error).__name__}")


# --- texts from outside ---------------------------------------------------------------------------------------------

_ESCAPED = re.compile(r"\\u00([0-7][0-9a-fA-F])")


def storable(text: str, longest: int = sys.maxsize) -> str:
    """A text from outside as it may be stored and told: our secrets hidden, what a database cannot hold replaced (NUL
    characters, lone surrogates), and no longer than `longest` characters."""
    text = _without_secrets(text).replace("\x00", "\ufffd")
    return clipped(text.encode("utf-8", "replace").decode("utf-8"), longest)


def quotes_a_secret(text: str) -> bool:
    """Whether one of our secrets stands in the text, be it escaped as in JSON or encoded as in an address."""
    return any(_holds(form, secret) for form in (text, *_unescaped(text)) for secret in _secrets())


def _secrets() -> tuple[str, ...]:
    return (*settings.SECRETS, settings.ANTHROPIC_API_KEY, settings.PERPLEXITY_API_KEY)


def _holds(text: str, secret: str) -> bool:
    return without_secrets(text, (secret,)) != text


def _without_secrets(text: str) -> str:
    text = without_secrets(text, _secrets())
    forms = _unescaped(text)
    found = {secret for secret in _secrets() for form in forms if _holds(form, secret)}
    for secret in sorted(found, key=len, reverse=True):
        text = re.sub("".join(map(_in_any_form, secret)), HIDDEN, text)
    return text


def _unescaped(text: str) -> tuple[str, ...]:
    """The text as readers of JSON and of addresses come to see it; nothing where nothing is escaped."""
    if "\\" not in text and "%" not in text:
        return ()
    read = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")
    return read, unquote(read)


def _in_any_form(character: str) -> str:
    """A pattern for a character: itself or its number, behind the backslashes of JSON in JSON, or as in an address."""
    number = f"{ord(character):02x}"
    return rf"(?:\\{{0,8}}{re.escape(character)}|(?i:\\{{1,8}}u00{number}|%{number}))"


def clipped(text: str, longest: int = LONGEST_RAW) -> str:
    """The text, or as much of its beginning as fits with a note of how long it was."""
    if len(text) <= longest:
        return text
    mark = f" ... [cut: {len(text)} characters came]"
    return (text[: max(longest - len(mark), 0)] + mark)[:longest]
