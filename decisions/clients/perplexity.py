"""The Agent API of Perplexity: one question to the news search.

Chat completions, which this service was known for, ended on 2026-09-27; a key that still meets their error is told so.
`research` never raises for what the server or the network can do; nothing is retried here. In a sandbox without
`PERPLEXITY_API_KEY` the offline model answers at the transport, through the same code.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

import httpx
from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decisions.clients import prices
from decisions.clients.reply import LONGEST_ID, LONGEST_REASON, ResearchReply, Tokens, storable
from decisions.prompts import RESEARCH_SYSTEM
from decisions.schemas import Citation, InvalidAnswer, ResearchAnswer, decode_answer, output_schema

BASE_URL = "https://api.perplexity.ai"
OFFLINE_URL = "https://offline.invalid"
PATH = "/v1/responses"
MAX_OUTPUT_TOKENS = 1500
MOST_CITATIONS = 20
CONNECT_SECONDS = 5.0

_MOVED = ("chat_completions_not_available", "agent_api_migration_required")


def is_offline() -> bool:
    """Whether the offline model answers, for want of a key: in the sandbox only, since it makes its answers up."""
    return settings.SANDBOX and not settings.PERPLEXITY_API_KEY


def research(query: str, *, model: str, timeout_seconds: float) -> ResearchReply:
    """Search the news of the last day for `query`. `timeout_seconds` bounds each phase of the request."""
    reply = ResearchReply(
        purpose="research", model=model, outcome="error", latency_ms=0, source="offline" if is_offline() else "live"
    )
    if not (settings.PERPLEXITY_API_KEY or is_offline()):
        return replace(reply, error="PERPLEXITY_API_KEY is not set")
    client = _client(os.getpid(), settings.PERPLEXITY_API_KEY)
    timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
    started = time.monotonic()
    try:
        response = client.post(PATH, json=_request(query, model), timeout=timeout)
        reply = replace(reply, status=response.status_code, raw=storable(response.text))
        reply = _judged(reply, response)
    except httpx.TimeoutException:
        reply = replace(reply, error=f"no answer within {timeout_seconds:g} s")
    except httpx.HTTPError as error:
        reply = replace(reply, error=storable(f"no connection: {error}"))
    return replace(reply, latency_ms=round((time.monotonic() - started) * 1000))


@lru_cache(maxsize=1)
def _client(_process: int, api_key: str) -> httpx.Client:
    """The client of this process: a child that forked after it was built gets one of its own."""
    if api_key:
        return httpx.Client(base_url=BASE_URL, headers={"Authorization": f"Bearer {api_key}"})
    from decisions.sandbox.offline_transport import OfflinePerplexity

    return httpx.Client(base_url=OFFLINE_URL, transport=OfflinePerplexity())


def _request(query: str, model: str) -> dict[str, Any]:
    """The body. The server refuses any key it does not know."""
    return {
        "model": model,
        "instructions": RESEARCH_SYSTEM,
        "input": query,
        "max_output_tokens": MAX_OUTPUT_TOKENS,
        "tools": [{"type": "web_search", "search_context_size": "medium", "filters": {"search_recency_filter": "day"}}],
        "tool_choice": {"type": "web_search"},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "research", "schema": output_schema(ResearchAnswer)},
        },
    }


# --- reading a response ---------------------------------------------------------------------------------------------


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Fault(_Part):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(_Part):
    error: _Fault


class _Page(_Part):
    url: str
    title: str | None = None
    date: str | None = None


class _Content(_Part):
    type: str
    text: str | None = None


class _Item(_Part):
    type: str
    results: list[_Page] | None = None
    content: list[_Content] | None = None


class _Cost(_Part):
    total_cost: Decimal | None = Field(default=None, ge=0, lt=100_000, allow_inf_nan=False)


class _Usage(_Part):
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cost: _Cost | None = None


class _Incomplete(_Part):
    reason: str = ""


class _Response(_Part):
    id: str = ""
    status: str
    error: _Fault | None = None
    incomplete_details: _Incomplete | None = None
    output: list[_Item] = Field(default_factory=list)
    usage: _Usage | None = None


def _judged(reply: ResearchReply, response: httpx.Response) -> ResearchReply:
    """The reply with its response read: what was found, what it cost, and whether it is an answer."""
    if response.status_code != httpx.codes.OK:
        retry_after = response.headers.get("retry-after", "")
        return replace(reply, error=storable(_refused(response)), retry_after=retry_after)
    try:
        body = _Response.model_validate_json(reply.raw)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, fault["loc"])) or "body"
        return replace(reply, outcome="invalid_output", error=f"not a response: {place}: {fault['msg']}")
    text = _text(body.output)
    reply = replace(
        reply,
        text=storable(text),
        request_id=storable(body.id)[:LONGEST_ID],
        stop_reason=storable(body.status)[:LONGEST_REASON],
        citations=_citations(body.output),
        **_priced(reply.model, body.usage),
    )
    if body.status != "completed":
        return replace(reply, error=storable(_unfinished(body)))
    try:
        return replace(reply, outcome="ok", parsed=decode_answer(ResearchAnswer, text))
    except InvalidAnswer as error:
        return replace(reply, outcome="invalid_output", error=storable(str(error)))


def _refused(response: httpx.Response) -> str:
    """What an HTTP error means, in words."""
    try:
        fault = _ErrorBody.model_validate_json(response.text).error
    except ValidationError:
        return f"HTTP {response.status_code}: {response.text[:200]}"
    if str(fault.code) in _MOVED or str(fault.type) in _MOVED:
        return f"HTTP {response.status_code}: the API has moved, the key is not wrong: {fault.message}"
    return f"HTTP {response.status_code}: {fault.message or fault.type or fault.code}"


def _unfinished(body: _Response) -> str:
    details = [
        body.error.message if body.error else "",
        body.incomplete_details.reason if body.incomplete_details else "",
    ]
    return ": ".join([f"the search ended {body.status}", *(each for each in details if each)])


def _text(output: Sequence[_Item]) -> str:
    contents = [content for item in output if item.type == "message" for content in item.content or ()]
    return "".join(content.text or "" for content in contents if content.type == "output_text")


def _citations(output: Sequence[_Item]) -> tuple[Citation, ...]:
    """The pages found, each address once. Only web addresses short enough to be real are kept."""
    pages = {page.url: page for item in output if item.type == "search_results" for page in item.results or ()}
    kept = [page for url, page in pages.items() if url.startswith(("https://", "http://")) and len(url) <= 2000]
    return tuple(
        Citation(url=storable(page.url), title=storable(page.title or "")[:500], date=storable(page.date or "")[:40])
        for page in kept[:MOST_CITATIONS]
    )


def _priced(model: str, used: _Usage | None) -> dict[str, Any]:
    """Tokens and cost: the server's own figure where it gives one, else the table's."""
    usage = prices.Usage(input=used.input_tokens, output=used.output_tokens) if used else prices.Usage()
    charged = used.cost.total_cost if used and used.cost else None
    cost = prices.cost(model, usage, web_searches=1) if charged is None else charged.quantize(prices.CENT_FRACTION)
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cost_usd": cost,
        "priced": charged is not None or prices.is_priced(model),
    }
