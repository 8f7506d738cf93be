"""The Agent API of Perplexity: one question to the news search.

`research` returns a `ResearchReply`, whatever the server does; it hands the reply over to be kept before it judges the
answer. One deadline and one size hold for all of the asking: connecting, attempts, the pauses between them, and an
answer that comes drop by drop. In a sandbox without `PERPLEXITY_API_KEY` the offline model answers at the transport,
and with `MODEL_REPLAY` a recording does, both through the same code.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

from decisions.clients import bounded, cassette
from decisions.clients.attempts import asked_seconds, is_passing
from decisions.clients.exchange import Exchange, Response, missing
from decisions.clients.perplexity_response import error_of, judged, opened
from decisions.clients.reply import LONGEST_ERROR, Keep, ResearchReply, Source, forget, settled, source_of, storable
from decisions.prompts import RESEARCH_SYSTEM
from decisions.schemas import ResearchAnswer, output_schema

OFFLINE_URL = "https://offline.invalid"
PATH = "/v1/responses"
MOST_BYTES = 1_000_000
"""Of everything that is received for one question."""
MAX_OUTPUT_TOKENS = 1500
CONNECT_SECONDS = 5.0


def source() -> Source:
    """Who answers."""
    return source_of(settings.PERPLEXITY_API_KEY)


def research(
    query: str, *, model: str, timeout_seconds: float, now: datetime, occasion: str = "", keep: Keep = forget
) -> ResearchReply:
    """Search the news of the last day for `query`. Never raises for what the server or the network can do.

    `timeout_seconds` bounds the whole. `now` is wall time, which the pages' dates are held against: the search looks at
    the world as it is. `occasion` names the question in a recording. `keep` writes the reply down.
    """
    reply = ResearchReply(purpose="research", model=model, outcome="error", latency_ms=0, attempts=0, source=source())
    if reply.source == "live" and not settings.PERPLEXITY_API_KEY:
        reply = replace(reply, error="PERPLEXITY_API_KEY is not set")
        keep(reply)
        return reply
    client = _this_client()
    with bounded.limits(seconds=timeout_seconds, most_bytes=MOST_BYTES) as bounds:
        exchange = Exchange(bounds, f"research {occasion}".strip(), _told, is_replay=reply.source == "replay")
        request = build_request(query, model)
        response = exchange.run(lambda seconds: _attempted(client, request, seconds, bounds))
    reply = exchange.noted_on(reply, response)
    return settled(reply, keep, lambda came: opened(came, response.body, now), judged)


def build_request(query: str, model: str) -> dict[str, Any]:
    """The body. The server refuses any key that it does not know."""
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


# --- one client a process -------------------------------------------------------------------------------------------


def _this_client() -> httpx.Client:
    return _client(
        os.getpid(),
        source(),
        settings.PERPLEXITY_API_KEY,
        settings.PERPLEXITY_BASE_URL,
        settings.MODEL_RECORD,
        settings.MODEL_REPLAY,
    )


@lru_cache(maxsize=1)
def _client(
    _process: int, answering: Source, api_key: str, base_url: str, record: Path | None, recorded: Path | None
) -> httpx.Client:
    """The client of this process: a child that forked after it was built gets one of its own, and so do new settings.

    It follows no redirect: a request carries the key.
    """
    if recorded:
        client = httpx.Client(base_url=base_url, transport=cassette.replaying(httpx, recorded))
    elif answering == "offline":
        from decisions.sandbox.offline_transport import OfflinePerplexity

        client = httpx.Client(base_url=OFFLINE_URL, transport=OfflinePerplexity())
    else:
        client = bounded.bind(httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {api_key}"}))
    return cassette.recording(client, record) if record else client


# --- an attempt at a question ---------------------------------------------------------------------------------------
#
# What is told of a failure follows from the responses alone, not from the clock: it is shown to the analyst, and a
# replay must show the same.


def _attempted(client: httpx.Client, request: Mapping[str, Any], seconds: float, bounds: bounded.Bounds) -> Response:
    timeout = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
    try:
        response = client.post(PATH, json=request, timeout=timeout)
    except cassette.Miss as miss:
        return missing(miss)
    except httpx.HTTPError as error:
        final = bool(bounds.broken) or isinstance(error, httpx.DecodingError)
        return Response(error=_unanswered(error), is_final=final)
    status, text = response.status_code, response.text
    told = "" if status == httpx.codes.OK else error_of(status, text)
    return Response(status=status, headers=response.headers, body=text, error=told)


def _unanswered(error: httpx.HTTPError) -> str:
    """What came in place of a response, in words."""
    if isinstance(error, httpx.DecodingError):
        return "the answer is compressed, which was not asked for"
    if isinstance(error, httpx.ConnectTimeout):
        return "the connection failed: nobody took it in time"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return storable(f"the connection failed: {str(error) or type(error).__name__}", LONGEST_ERROR)


def _told(exchange: Exchange, response: Response) -> Iterator[str]:
    """The seconds that the server asks for, how often it was tried, and what came before if that was of another
    kind."""
    asked = asked_seconds(response.headers) if is_passing(response.status, response.headers) else None
    if asked is not None:
        yield f"it asks to wait {asked:.0f} s"
    if exchange.attempts > 1:
        yield f"tried {exchange.attempts} times"
    if exchange.error_before not in ("", response.error):
        yield f"before that {exchange.error_before}"
