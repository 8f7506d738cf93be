"""What the Messages API says: a message that may hold an answer, or an error.

Blocks are picked by their type and unknown fields are ignored, but nothing that is needed is guessed: a message without
its usage, or with a stop reason that is not known to end an answer, is no answer.
"""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ValidationError

from decisions.clients import prices
from decisions.clients.envelope import OrNone, Part, Word, only
from decisions.clients.reply import (
    LONGEST_ERROR,
    LONGEST_REASON,
    NO_SUCH_MODEL,
    ModelReply,
    Outcome,
    Tokens,
    quotes_a_secret,
    storable,
)
from decisions.messages import first_faults
from decisions.schemas import AnswerType, InvalidAnswer, decode_answer

COMPLETE = ("end_turn", "stop_sequence")
"""The stop reasons of a finished answer."""
SPENT = ("You have reached your specified API usage limits", "Your credit balance is too low")
"""How the messages of two errors begin that come as bad requests and are none."""

_BAD_REQUEST, _PAYMENT_REQUIRED = 400, 402
_REDIRECTS = range(300, 400)
_KEY_ERRORS = ("authentication_error", "permission_error")
_LONGEST_PAGE = 200


# --- a message ------------------------------------------------------------------------------------------------------


class _TextBlock(Part):
    text: str


class _CacheCreation(Part):
    ephemeral_5m_input_tokens: Tokens = 0


class _Usage(Part):
    input_tokens: Tokens
    output_tokens: Tokens
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation: Annotated[_CacheCreation | None, OrNone] = None

    def usage(self) -> prices.Usage:
        """For the price; cache writes of unknown lifetime count as the dearer hour's."""
        written = self.cache_creation_input_tokens or 0
        short = self.cache_creation.ephemeral_5m_input_tokens if self.cache_creation else 0
        return prices.Usage(
            input=self.input_tokens,
            output=self.output_tokens,
            cache_write_5m=short,
            cache_write_1h=max(written - short, 0),
            cache_read=self.cache_read_input_tokens or 0,
        )


class _Refusal(Part):
    category: Word = None
    explanation: Word = None


class _Message(Part):
    type: Literal["message"]
    content: Annotated[list[_TextBlock], only("text")]
    stop_reason: str | None
    stop_details: Annotated[_Refusal | None, OrNone] = None
    usage: _Usage


def opened(reply: ModelReply[AnswerType], body: str) -> ModelReply[AnswerType]:
    """The reply with the message in `body` read: what it says, what it cost, and whether it can hold an answer."""
    try:
        message = _Message.model_validate_json(body)
    except ValidationError as error:
        return replace(reply, outcome="invalid_output", error=_told(f"not a message: {first_faults(error, 'body')}"))
    usage = message.usage.usage()
    text = "".join(block.text for block in message.content)
    reply = replace(
        reply,
        text=storable(text),
        stop_reason=storable(message.stop_reason or "")[:LONGEST_REASON],
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_write_tokens=usage.cache_write,
        cache_read_tokens=usage.cache_read,
        cost_usd=prices.cost(reply.model, usage),
        priced=prices.is_priced(reply.model),
    )
    if fault_found := _unusable(message, text):
        outcome, told = fault_found
        return replace(reply, outcome=outcome, error=_told(told))
    return reply


def judged(reply: ModelReply[AnswerType], answer_model: type[AnswerType]) -> ModelReply[AnswerType]:
    """The reply that was opened, with the answer in its text, or what is wrong with it."""
    try:
        return replace(reply, outcome="ok", parsed=decode_answer(answer_model, reply.text or ""))
    except InvalidAnswer as error:
        return replace(reply, outcome="invalid_output", error=_told(str(error)))


def _unusable(message: _Message, text: str) -> tuple[Outcome, str] | None:
    """Why the message cannot hold an answer, before its text is looked at."""
    if message.stop_reason == "refusal":
        details = message.stop_details or _Refusal()
        told = ": ".join(each for each in (details.category, details.explanation) if each)
        return "refusal", f"the model refuses{' (' + told + ')' if told else ''}"
    if message.stop_reason not in COMPLETE:
        return "invalid_output", f"the answer is not complete: stop reason {message.stop_reason}"
    if not text:
        return "invalid_output", "the answer has no text"
    if quotes_a_secret(text):
        return "invalid_output", "the answer quotes a secret"
    return None


# --- an error -------------------------------------------------------------------------------------------------------


class _Error(Part):
    type: str
    message: str = ""


class _ErrorBody(Part):
    error: _Error


def error_of(status: int, body: str) -> tuple[str, str]:
    """An HTTP error in words that name the cure, and the API's own name of it, empty where the API did not answer."""
    try:
        error = _ErrorBody.model_validate_json(body).error
    except ValidationError:
        page = " ".join(body.split())[:_LONGEST_PAGE]
        what = "a redirect, which is not followed" if status in _REDIRECTS else page or "an empty page"
        return _told(f"HTTP {status}, not from the API: {what}"), ""
    words = (f"HTTP {status}", _meaning(status, error), error.message)
    return _told(": ".join(each for each in words if each)), error.type


def is_spent(status: int | None, told: str) -> bool:
    """Whether an error says that the account at Anthropic may or can pay no more."""
    return status == _PAYMENT_REQUIRED or (status == _BAD_REQUEST and any(each in told for each in SPENT))


def _meaning(status: int, error: _Error) -> str:
    if error.type in _KEY_ERRORS:
        return "the key in ANTHROPIC_API_KEY is refused"
    if is_spent(status, error.message):
        return "the spending limit or the credit of the account at Anthropic is used up"
    if (status, error.type) == NO_SUCH_MODEL:
        return "the API has no such model: retired, misspelt or not open to this key"
    return "" if error.message else error.type


def _told(text: str) -> str:
    return storable(text, LONGEST_ERROR)
