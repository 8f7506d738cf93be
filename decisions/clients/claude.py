"""The Messages API of Anthropic: one thin client for every question to Claude.

`ask` sends a prompt with the JSON schema of the wanted answer and returns a `ModelReply`, whatever the server does; it
hands the reply over to be kept before it judges the answer. One deadline holds for all of the asking: connecting,
attempts, the pauses between them, and an answer that comes drop by drop. In a sandbox without `ANTHROPIC_API_KEY` the
offline model answers at the transport, and with `MODEL_REPLAY` a recording does, both through the same code.

The SDK takes two to three seconds to import and a client up to 80 ms to build: both happen at the first question, once
a process, so after a worker's fork, and before the question's own time begins.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from django.conf import settings
from pydantic import AwareDatetime, BaseModel, ValidationError

from decisions.clients import bounded, cassette
from decisions.clients.claude_exchange import attempted, why_no_other
from decisions.clients.claude_message import is_spent, judged, opened
from decisions.clients.claude_request import build_request as build_request
from decisions.clients.claude_request import has_temperature, without_temperature
from decisions.clients.exchange import Exchange, Response, Send
from decisions.clients.reply import (
    LONGEST_ERROR,
    LONGEST_ID,
    NO_SUCH_MODEL,
    Keep,
    ModelReply,
    Purpose,
    Source,
    forget,
    settled,
    source_of,
    storable,
)
from decisions.messages import first_faults
from decisions.prompts import Prompt
from decisions.schemas import AnswerType
from orchestrator_project.logs import get_logger

if TYPE_CHECKING:
    from anthropic import Anthropic

log = get_logger(__name__)

KEYLESS = "none"
"""Stands for the key where nobody asks for one."""
OFFLINE_URL = "https://offline.invalid"
MOST_BYTES = 4_000_000
"""Of everything that is received for one question."""

LOOK_UP_SECONDS = 10.0

_BAD_REQUEST = 400


def source() -> Source:
    """Who answers."""
    return source_of(settings.ANTHROPIC_API_KEY)


def ask(
    purpose: Purpose,
    prompt: Prompt,
    answer_model: type[AnswerType],
    *,
    model: str,
    max_tokens: int,
    timeout_seconds: float,
    effort: str | None = None,
    temperature: Decimal | float | None = None,
    occasion: str = "",
    keep: Keep = forget,
) -> ModelReply[AnswerType]:
    """Ask `model` for an answer of the given shape. Never raises for what a server or the network can do.

    `effort` is sent only when given, `temperature` only to a model that takes one. `timeout_seconds` bounds the whole.
    `occasion` names the question in a recording, beside its purpose. `keep` writes the reply down.
    """
    reply: ModelReply[AnswerType] = ModelReply(
        purpose=purpose, model=model, outcome="error", latency_ms=0, attempts=0, source=source()
    )
    if lacks_key():
        reply = replace(reply, error="ANTHROPIC_API_KEY is not set")
        keep(reply)
        return reply
    client = _this_client()
    request = build_request(
        prompt,
        answer_model,
        model=model,
        max_tokens=max_tokens,
        effort=effort,
        temperature=None if model in client.without_temperature else temperature,
    )
    with bounded.limits(seconds=timeout_seconds, most_bytes=MOST_BYTES) as bounds:
        name = f"{purpose} {occasion}".strip()
        exchange = Exchange(bounds, name, why_no_other, is_replay=reply.source == "replay")
        response = _answered(client, request, exchange)
    reply = exchange.noted_on(reply, response)
    reply = replace(reply, request_id=storable(response.headers.get("request-id", ""))[:LONGEST_ID])
    return settled(reply, keep, lambda came: opened(came, response.body), lambda read: judged(read, answer_model))


def lacks_key() -> bool:
    """Whether the service itself would have to be asked, and cannot be."""
    return source() == "live" and not settings.ANTHROPIC_API_KEY


# --- one client a process -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Client:
    """The SDK's client, and the models that refused a temperature while it lived."""

    sdk: "Anthropic"
    without_temperature: set[str] = field(default_factory=set)


def _this_client() -> _Client:
    return _client(
        os.getpid(),
        source(),
        settings.ANTHROPIC_API_KEY,
        settings.ANTHROPIC_BASE_URL,
        settings.MODEL_RECORD,
        settings.MODEL_REPLAY,
    )


@lru_cache(maxsize=1)
def _client(
    _process: int, answering: Source, api_key: str, base_url: str, record: Path | None, recorded: Path | None
) -> _Client:
    """The client of this process: a child that forked after it was built gets one of its own, and so do new settings.

    It follows no redirect: a request carries the key.
    """
    import anthropic
    import httpx2

    if recorded:
        http = httpx2.Client(transport=cassette.replaying(httpx2, recorded))
    elif answering == "offline":
        from decisions.sandbox.offline_transport import OfflineClaude

        http, base_url = httpx2.Client(transport=OfflineClaude()), OFFLINE_URL
    else:
        http = bounded.bind(httpx2.Client())
    if record:
        cassette.recording(http, record)
    sdk = anthropic.Anthropic(api_key=api_key or KEYLESS, base_url=base_url, max_retries=0, http_client=http)
    return _Client(sdk)


# --- a question -----------------------------------------------------------------------------------------------------


def _answered(client: _Client, request: dict[str, Any], exchange: Exchange) -> Response:
    """The response to a question, asked again without a temperature where the API finds fault with the request.

    The recorded process had learnt that at another question than this one may have: a recording is asked both ways.
    """
    response = exchange.run(_sender(client, request, exchange))
    bad = response.status == _BAD_REQUEST and not is_spent(response.status, response.error)
    if not ((bad or response.is_missing) and has_temperature(request)):
        return response
    again = exchange.run(_sender(client, without_temperature(request), exchange))
    if again.is_missing:
        return response
    if not again.error and source() != "replay":
        model = request["model"]
        client.without_temperature.add(model)
        log.warning("no temperature is sent to the model from now on", model=model, refused=response.error)
    return again


def _sender(client: _Client, request: Mapping[str, Any], exchange: Exchange) -> Send:
    def create(seconds: float) -> Any:
        return client.sdk.messages.with_raw_response.create(**request, timeout=seconds)

    return lambda seconds: attempted(create, seconds, exchange.bounds)


# --- the models -----------------------------------------------------------------------------------------------------

Lifecycle = Literal["active", "deprecated", "retired", "unknown"]


class LookupFailed(Exception):
    """The API could not be asked about a model; the text says why."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the API says of a model. `unknown` is one that it does not have; `detail` is for a person."""

    model: str
    lifecycle: Lifecycle
    retires_at: datetime | None
    detail: str


class _ModelInfo(BaseModel):
    """The part of the API's answer that matters. Older APIs tell no lifecycle: a model they have is active."""

    display_name: str = ""
    lifecycle: str | None = None
    deprecated_at: AwareDatetime | None = None
    retires_at: AwareDatetime | None = None


def look_up(model: str) -> ModelFacts:
    """What the API says of the model, within ten seconds. Raises `LookupFailed` when it cannot be asked.

    A replay asks nobody: its models are those of the recording.
    """
    if source() == "replay":
        return ModelFacts(model, "active", None, "not looked up: a recording answers")
    if lacks_key():
        raise LookupFailed("ANTHROPIC_API_KEY is not set")
    client = _this_client()
    with bounded.limits(seconds=LOOK_UP_SECONDS, most_bytes=MOST_BYTES) as bounds:
        retrieve = client.sdk.models.with_raw_response.retrieve
        response = Exchange(bounds, f"look up {model}", why_no_other).run(
            lambda seconds: attempted(lambda left: retrieve(model, timeout=left), seconds, bounds)
        )
    if (response.status, response.error_type) == NO_SUCH_MODEL:
        return ModelFacts(model, "unknown", None, response.error)
    if response.error:
        raise LookupFailed(response.error)
    try:
        return _facts(model, _ModelInfo.model_validate_json(response.body))
    except ValidationError as error:
        raise LookupFailed(storable(f"not a model: {first_faults(error, 'body')}", LONGEST_ERROR)) from error


def _facts(model: str, info: _ModelInfo) -> ModelFacts:
    name = storable(info.display_name)[:LONGEST_ID]
    for lifecycle in get_args(Lifecycle):
        if info.lifecycle == lifecycle:
            return ModelFacts(model, lifecycle, info.retires_at, name)
    told = f"{name} ({storable(info.lifecycle)[:LONGEST_ID]})" if info.lifecycle else name
    return ModelFacts(model, "active", info.retires_at, told)
