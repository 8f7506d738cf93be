"""The Agent API of Perplexity: one question to the news search.

`research` returns a `ResearchReply`, whatever the server does; it hands the reply over to be kept before it judges the
answer. One deadline and one size hold for all of the asking: connecting, attempts, the pauses between them, and an
answer that comes drop by drop. In a sandbox without `PERPLEXITY_API_KEY` the offline model answers at the transport,
and with `MODEL_REPLAY` a recording does, both through the same code.
"""

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

from decisions.clients import bounded, cassette
from decisions.clients.attempts import asked_seconds, is_passing, pause_before_next
from decisions.clients.perplexity_response import error_of, judged, opened
from decisions.clients.reply import LONGEST_ERROR, Keep, ResearchReply, Source, forget, settled, storable
from decisions.prompts import RESEARCH_SYSTEM
from decisions.schemas import ResearchAnswer, output_schema

OFFLINE_URL = "https://offline.invalid"
PATH = "/v1/responses"
MOST_BYTES = 1_000_000
"""Of everything that is received for one question."""
MAX_OUTPUT_TOKENS = 1500
CONNECT_SECONDS = 5.0


def source() -> Source:
    """Who answers: a recording where one is set, the offline model for want of a key (in the sandbox only, since it
    makes its answers up), else the service."""
    if settings.MODEL_REPLAY:
        return "replay"
    return "offline" if settings.SANDBOX and not settings.PERPLEXITY_API_KEY else "live"


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
        question = _Question(client, build_request(query, model), f"research {occasion}".strip(), bounds, now)
        reply, body = question.ask(reply)
    reply = replace(reply, raw=storable(body), latency_ms=round(bounds.spent() * 1000))
    return settled(reply, keep, lambda came: opened(came, body, now), judged)


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


# --- the attempts at a question -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """One question, asked until there is an answer, a lasting failure, or no time.

    What is told of a failure follows from the responses alone, not from the clock: it is shown to the analyst, and a
    replay must show the same.
    """

    client: httpx.Client
    request: Mapping[str, Any]
    name: str
    bounds: bounded.Bounds
    now: datetime

    def ask(self, reply: ResearchReply) -> tuple[ResearchReply, str]:
        """What is told of the last response, and its body as it came; `error` is empty for one that may hold an
        answer."""
        body, before, attempt = "", "", 1
        while True:
            try:
                tried, response, final = self._attempt(replace(reply, attempts=attempt))
            except cassette.Miss as miss:
                # In a later attempt: the recorded run had no time left for it, and ended with the one before.
                return replace(reply, error=reply.error or storable(str(miss), LONGEST_ERROR)), body
            headers, body = (response.headers, response.text) if response else ({}, "")
            pause = None if final else self._pause(tried, headers)
            reply = replace(tried, error=self._told(tried, headers, before))
            if pause is None:
                return reply, body
            if reply.source != "replay":
                time.sleep(pause)
            before, attempt = tried.error, attempt + 1

    def _attempt(self, reply: ResearchReply) -> tuple[ResearchReply, httpx.Response | None, bool]:
        """The reply with what one attempt came to, its response, and whether another attempt would end alike."""
        try:
            response = self._send(reply.attempts)
        except httpx.HTTPError as error:
            unanswered = replace(reply, status=None, retry_after="", error=self._unanswered(error))
            return unanswered, None, bool(self.bounds.broken) or isinstance(error, httpx.DecodingError)
        status = response.status_code
        told = "" if status == httpx.codes.OK else error_of(status, response.text)
        retry_after = storable(response.headers.get("retry-after", ""))
        return replace(reply, status=status, retry_after=retry_after, error=told), response, not told

    def _send(self, attempt: int) -> httpx.Response:
        token = cassette.occasion.set(self.name if attempt == 1 else f"{self.name} attempt {attempt}")
        left = self.bounds.remaining()
        try:
            timeout = httpx.Timeout(left, connect=min(CONNECT_SECONDS, left))
            return self.client.post(PATH, json=self.request, timeout=timeout)
        finally:
            cassette.occasion.reset(token)

    def _pause(self, reply: ResearchReply, headers: Mapping[str, str]) -> float | None:
        """Seconds until the next attempt, or None for no other."""
        return pause_before_next(
            reply.attempts,
            reply.status,
            headers,
            remaining=self.bounds.remaining(),
            chance=random.random(),  # noqa: S311 - spreads pauses, guards nothing
            now=self.now,
        )

    def _unanswered(self, error: httpx.HTTPError) -> str:
        """What came in place of a response, in words."""
        if isinstance(error, httpx.DecodingError):
            return "the answer is compressed, which was not asked for"
        if isinstance(error, httpx.ConnectTimeout):
            return "the connection failed: nobody took it in time"
        if isinstance(error, httpx.TimeoutException):
            return "no answer in time"
        return storable(f"the connection failed: {str(error) or type(error).__name__}", LONGEST_ERROR)

    def _told(self, reply: ResearchReply, headers: Mapping[str, str], before: str) -> str:
        """The failure, with the seconds that the server asks for, how often it was tried, and what came before if that
        was of another kind. Empty for none."""
        if not reply.error:
            return ""
        asked = asked_seconds(headers) if is_passing(reply.status, headers) else None
        told = [reply.error]
        told += [] if asked is None else [f"it asks to wait {asked:.0f} s"]
        told += [f"tried {reply.attempts} times"] if reply.attempts > 1 else []
        told += [f"before that {before}"] if before not in ("", reply.error) else []
        return storable("; ".join(told), 2 * LONGEST_ERROR)
