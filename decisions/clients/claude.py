"""The Messages API of Anthropic: one thin client for every question to Claude.

`ask` sends a prompt with the JSON schema of the wanted answer and returns a `ModelReply`, whatever the server does; the
caller stores it before it uses the answer. Nothing is retried here. In a sandbox without `ANTHROPIC_API_KEY` the
offline model answers at the transport, through the same code.

The SDK takes two to three seconds to import and a client up to 80 ms to build: both happen at the first question, once
a process, so after a worker's fork.
"""

import os
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from pydantic import BaseModel, ConfigDict, ValidationError

from decisions.clients import prices
from decisions.clients.reply import LONGEST_ID, LONGEST_REASON, ModelReply, Outcome, Purpose, Tokens, storable
from decisions.prompts import Prompt
from decisions.schemas import AnswerType, InvalidAnswer, decode_answer, output_schema

if TYPE_CHECKING:
    from anthropic import Anthropic

OFFLINE_KEY = "offline"
OFFLINE_URL = "https://offline.invalid"
HTTP_OK = 200
COMPLETE = ("end_turn", "stop_sequence")
"""The stop reasons of a finished answer."""


def is_offline() -> bool:
    """Whether the offline model answers, for want of a key: in the sandbox only."""
    return settings.SANDBOX and not settings.ANTHROPIC_API_KEY


def ask(
    purpose: Purpose,
    prompt: Prompt,
    answer_model: type[AnswerType],
    *,
    model: str,
    max_tokens: int,
    timeout_seconds: float,
    effort: str | None = None,
) -> ModelReply[AnswerType]:
    """Ask `model` for an answer of the given shape. Never raises for what a server or the network can do.

    `effort` is sent only when given: not every model takes it. `timeout_seconds` bounds each phase of the request.
    """
    config: dict[str, Any] = {"format": {"type": "json_schema", "schema": output_schema(answer_model)}}
    if effort:
        config["effort"] = effort
    request = {
        "model": model,
        "max_tokens": max_tokens,
        "system": prompt.system,
        "messages": [{"role": "user", "content": prompt.user}],
        "output_config": config,
    }
    reply: ModelReply[AnswerType] = ModelReply(
        purpose=purpose, model=model, outcome="error", latency_ms=0, source="offline" if is_offline() else "live"
    )
    if not (settings.ANTHROPIC_API_KEY or is_offline()):
        return replace(reply, error="ANTHROPIC_API_KEY is not set")
    client = _client(os.getpid(), settings.ANTHROPIC_API_KEY)
    started = time.monotonic()
    reply = _exchanged(client, request, timeout_seconds, reply)
    reply = replace(reply, latency_ms=round((time.monotonic() - started) * 1000))
    return _judged(reply, answer_model) if reply.status == HTTP_OK else reply


@lru_cache(maxsize=1)
def _client(_process: int, api_key: str) -> "Anthropic":
    """The client of this process: a child that forked after it was built gets one of its own."""
    import anthropic

    if api_key:
        return anthropic.Anthropic(api_key=api_key, max_retries=0)
    import httpx2

    from decisions.sandbox.offline_transport import OfflineClaude

    http = httpx2.Client(transport=OfflineClaude())
    return anthropic.Anthropic(api_key=OFFLINE_KEY, base_url=OFFLINE_URL, max_retries=0, http_client=http)


def _exchanged(
    client: "Anthropic", request: dict[str, Any], timeout_seconds: float, reply: ModelReply[AnswerType]
) -> ModelReply[AnswerType]:
    """The reply with the response of the server in it, or with what went wrong instead."""
    import anthropic

    try:
        response = client.messages.with_raw_response.create(**request, timeout=timeout_seconds)
    except anthropic.APIStatusError as error:
        return replace(
            reply,
            status=error.status_code,
            error=storable(f"HTTP {error.status_code}: {error.api_message or error.message}"),
            raw=storable(error.response.text),
            request_id=(error.request_id or "")[:LONGEST_ID],
            retry_after=error.response.headers.get("retry-after", ""),
        )
    except anthropic.APITimeoutError:
        return replace(reply, error=f"no answer within {timeout_seconds:g} s")
    except anthropic.AnthropicError as error:
        return replace(reply, error=storable(f"{error} {error.__cause__ or ''}".strip()))
    return replace(
        reply,
        status=response.status_code,
        raw=storable(response.text()),
        request_id=(response.request_id or "")[:LONGEST_ID],
    )


# --- reading a message ----------------------------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Block(_Part):
    type: str
    text: str | None = None


class _CacheCreation(_Part):
    ephemeral_5m_input_tokens: Tokens = 0


class _Usage(_Part):
    input_tokens: Tokens
    output_tokens: Tokens
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation: _CacheCreation | None = None

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


class _Refusal(_Part):
    category: str | None = None
    explanation: str | None = None


class _Message(_Part):
    model: str
    content: list[_Block]
    stop_reason: str | None
    stop_details: _Refusal | None = None
    usage: _Usage


def _judged(reply: ModelReply[AnswerType], answer_model: type[AnswerType]) -> ModelReply[AnswerType]:
    """The reply with its message read: what it says, what it cost, and whether it is an answer."""
    try:
        message = _Message.model_validate_json(reply.raw)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, fault["loc"])) or "body"
        return replace(reply, outcome="invalid_output", error=f"not a message: {place}: {fault['msg']}")
    usage = message.usage.usage()
    text = "".join(block.text or "" for block in message.content if block.type == "text")
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
        return replace(reply, outcome=outcome, error=storable(told))
    try:
        return replace(reply, outcome="ok", parsed=decode_answer(answer_model, text))
    except InvalidAnswer as error:
        return replace(reply, outcome="invalid_output", error=storable(str(error)))


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
    return None
