"""Everything a server of the Agent API can do wrong, through the real tasks: the analysis goes on without research and
is told why, or the cycle ends where research is required. The table here is the one in the document."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from decisions.clients import attempts, claude, perplexity
from decisions.models import Order, Outcome, ResearchCache, ScheduledEvent, State
from decisions.prompts import sections
from tests.integration.decisions.build import BTC, NOON, position_payload
from tests.integration.decisions.misbehaving import (
    CLAUDE_KEY,
    GAVE_UP,
    NO_HTTP,
    PERPLEXITY_KEY,
    REDIRECT,
    SLACK_SECONDS,
    Answer,
    Case,
    MisbehavingServer,
    Script,
    as_table,
    compressed,
    cut_short,
    documented,
    everything_stored,
    http,
    message,
    misbehaving,
    page,
    response,
    too_slow,
)
from tests.integration.decisions.model_server import DEFAULTS, left
from tests.integration.decisions.scene import drive, later, order_of, sent_orders, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready", "server", "analyst")]

TABLE = "perplexity"
SPIKE: dict[str, Any] = {"price_change_1h": "0.031"}
PAGE = f"<html><h1>Sign in</h1><!-- authorization: Bearer {PERPLEXITY_KEY} --></html>"


def fault(status: int, kind: str, text: str, **headers: str) -> Answer:
    return (http({"error": {"message": text, "type": kind, "code": status}}, status, **headers),)


def says(text: object, *pages: dict[str, Any], **changes: Any) -> Script:
    return [(http(response(text, *(pages or (page(),)), **changes)),)]


def claude_says(answer: dict[str, Any]) -> Answer:
    return (http(message(answer)),)


def ended(answer: dict[str, Any], status: str, **changes: Any) -> Script:
    return says(answer, status=status, **changes)


def whole(answer: dict[str, Any], **headers: str) -> bytes:
    return http(response(answer, page()), **headers)


def without_a_page(answer: dict[str, Any]) -> Script:
    body = response(answer)
    body["output"] = [item for item in body["output"] if item["type"] != "search_results"]
    return [(http(body),)]


def among_odd_parts(answer: dict[str, Any]) -> Script:
    results = [None, "a page", {"url": 7}, page(id=None, date=1767225600, title=["A"], last_updated={})]
    output: list[Any] = [
        "an item", None, {"type": "reasoning", "content": "hm"}, {"type": "message", "content": "a text"},
        {"type": "search_results", "results": "none"}, {"type": "search_results", "results": results},
        {"type": "message", "content": [{"type": "hint", "text": 7}, *response(answer)["output"][1]["content"]]},
    ]  # fmt: skip
    usage = {"input_tokens": None, "output_tokens": None, "cost": {"total_cost": None}}
    return says(answer, id=7, output=output, usage=usage, created_at="now", error="none", incomplete_details=[])


def quoting_the_key(answer: dict[str, Any]) -> Script:
    encoded = "".join(f"%{ord(character):02x}" for character in PERPLEXITY_KEY)
    return says({**answer, "summary": f"See https://example.org/?key={encoded}"})


def old() -> dict[str, Any]:
    return page(url="https://example.org/old", date="2024-03-01")


def from_the_future() -> dict[str, Any]:
    return page(url="https://example.org/tomorrow", date=f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}")


BUSY = fault(503, "internal_error", "busy")
KEY_REFUSED = "the key in PERPLEXITY_API_KEY is refused"
TOO_LATE = "no answer in time"

CASES = [
    # refuses at the door
    Case(
        "400: a field that it does not know",
        lambda _: [fault(400, "invalid_request", 'invalid request body: json: unknown field "top_k"')],
        "error", 400, 1, "unknown field",
    ),
    Case("401", lambda _: [fault(401, "forbidden", "no")], "error", 401, 1, KEY_REFUSED),
    Case(
        "401, and quotes the key",
        lambda _: [fault(401, "forbidden", f"no such key: {PERPLEXITY_KEY}")],
        "error", 401, 1, "no such key: [hidden]",
    ),
    Case(
        "403 `chat_completions_not_available`",
        lambda _: [fault(403, "chat_completions_not_available", "Sonar is now the Agent API.")],
        "error", 403, 1, "the API has moved, the key is not wrong",
    ),
    Case(
        "403 `agent_api_migration_required`",
        lambda _: [fault(403, "agent_api_migration_required", "Sonar is now the Agent API.")],
        "error", 403, 1, "the API has moved, the key is not wrong",
    ),
    Case("403", lambda _: [fault(403, "forbidden", "not for this key")], "error", 403, 1, KEY_REFUSED),
    Case("404 with a page of a proxy", lambda _: [(http(PAGE, 404),)], "error", 404, 1, "HTTP 404"),
    Case("413", lambda _: [fault(413, "invalid_request", "too long")], "error", 413, 1, "HTTP 413: too long"),
    REDIRECT,
    # not now
    Case("429", lambda _: [fault(429, "request_rate_limit_exceeded", "slow")], "error", 429, 3, GAVE_UP),
    Case(
        "429 `retry-after: 1`, then a good answer",
        lambda answer: [fault(429, "request_rate_limit_exceeded", "slow", retry_after="1"), *says(answer)],
        "ok", 200, 2,
    ),
    Case(
        "429 `retry-after: 3600`",
        lambda _: [fault(429, "request_rate_limit_exceeded", "slow", retry_after="3600")],
        "error", 429, 1, "it asks to wait 3600 s",
    ),
    Case("500", lambda _: [fault(500, "internal_error", "broken")], "error", 500, 3, GAVE_UP),
    Case("502 with a page of a proxy", lambda _: [(http(PAGE, 502),)], "error", 502, 3, GAVE_UP),
    Case("503, then a good answer", lambda answer: [BUSY, *says(answer)], "ok", 200, 2),
    # the connection
    *cut_short(whole),
    NO_HTTP,
    *too_slow(whole, TOO_LATE),
    # 200, and no response
    Case("200 with a page that quotes the key", lambda _: [(http(PAGE),)], "invalid_output", 200, 1, "not a response"),
    Case("200 with nothing", lambda _: [(http(),)], "invalid_output", 200, 1, "not a response"),
    Case('200 with `{"id":"x"}`', lambda _: [(http({"id": "x"}),)], "invalid_output", 200, 1, "not a response"),
    compressed(whole),
    Case("200 with 2 MB", lambda _: says("x" * 2_000_000), "error", None, 1, "longer than 1000000 bytes"),
    # a response, and no finding
    Case(
        "200 `failed`",
        lambda answer: ended(answer, "failed", error={"message": "no tools", "code": "internal_error"}),
        "error", 200, 1, "the search ended failed: no tools",
    ),
    Case(
        "200 `incomplete`",
        lambda answer: ended(answer, "incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "error", 200, 1, "the search ended incomplete: max_output_tokens",
    ),
    Case("200 `cancelled`", lambda answer: ended(answer, "cancelled"), "error", 200, 1, "the search ended cancelled"),
    Case("an answer that names no page", without_a_page, "invalid_output", 200, 1, "the search named no page"),
    Case(
        "an answer from pages of 2024 only",
        lambda answer: says(answer, old()),
        "invalid_output", 200, 1, "every page is older than 7 days, the newest of 2024-03-01",
    ),
    Case(
        "an answer from pages of next month only",
        lambda answer: says(answer, from_the_future()),
        "invalid_output", 200, 1, "dated in the future",
    ),
    Case("an answer from an old page and one of today", lambda answer: says(answer, old(), page()), "ok", 200, 1),
    Case("an answer among items, ids and dates of any shape", among_odd_parts, "ok", 200, 1),
    Case(
        "an answer that quotes the key, encoded",
        quoting_the_key,
        "invalid_output", 200, 1, "the answer quotes a secret",
    ),
    Case("prose", lambda _: says("Inflows rose."), "invalid_output", 200, 1, "not JSON"),
    Case("JSON that breaks off", lambda answer: says(json.dumps(answer)[:-5]), "invalid_output", 200, 1, "not JSON"),
    Case(
        "a value out of bounds",
        lambda answer: says({**answer, "confidence": 7}),
        "invalid_output", 200, 1, "confidence: Input should be less than or equal to 1",
    ),
    Case(
        "an unknown key",
        lambda answer: says({**answer, "order": "buy"}),
        "invalid_output", 200, 1, "order: Extra inputs are not permitted",
    ),
]  # fmt: skip


# --- the scene --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _sdk() -> None:
    """The SDK takes seconds to import, which workers do before the fork: no deadline here pays for it."""
    import anthropic  # noqa: F401


@pytest.fixture
def analyst(settings: Any) -> Iterator[MisbehavingServer]:
    """A Claude that behaves."""
    settings.ANTHROPIC_API_KEY = CLAUDE_KEY
    with misbehaving() as server:
        settings.ANTHROPIC_BASE_URL = server.url
        claude._client.cache_clear()
        yield server
    claude._client.cache_clear()


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """The search that is asked; pauses between attempts are short."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.02)
    settings.PERPLEXITY_API_KEY = PERPLEXITY_KEY
    with misbehaving() as server:
        settings.PERPLEXITY_BASE_URL = server.url
        perplexity._client.cache_clear()
        yield server
    perplexity._client.cache_clear()


def news() -> None:
    ScheduledEvent.objects.create(
        kind="CPI", name="Consumer Price Index", scheduled_at=later(20), impact="high", source="test", fetched_at=NOON
    )


EACH = pytest.mark.parametrize("case", CASES, ids=str)


@EACH
def test_the_analysis_goes_on_without_research_and_is_told_why(
    case: Case, server: MisbehavingServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.RESEARCH_TIMEOUT_SECONDS = case.deadline
    script = case.script(DEFAULTS["research"])
    server.will("research", script)
    world(**SPIKE)
    began = time.monotonic()
    cycle = drive(tick())
    assert time.monotonic() - began < case.deadline + SLACK_SECONDS
    call = cycle.model_calls.get(purpose="research")
    assert (call.outcome, call.http_status, call.attempts) == (case.outcome, case.status, case.attempts), call.error
    assert case.told in call.error
    assert server.asked == ["research"] * (case.attempts if script else 0)
    shown = sections(cycle.model_calls.get(purpose="analyze").prompt)["research_context"]
    if case.outcome == "ok":
        assert shown["available"] is True
        assert [each["url"] for each in shown["citations"]] == ["https://example.org/a"]
    else:
        assert shown == {"available": False, "reason": cycle.research_error}
        assert call.error in cycle.research_error
    assert ResearchCache.objects.exists() == (case.outcome == "ok")
    assert (cycle.state, cycle.last_error, Order.objects.count()) == (State.CONFIRMING, "", 1)
    for told in (everything_stored(), caplog.text):
        assert CLAUDE_KEY not in told
        assert PERPLEXITY_KEY not in unquote(told)


@EACH
def test_in_a_news_window_that_requires_it_the_cycle_ends_without_research(
    case: Case, server: MisbehavingServer, settings: Any
) -> None:
    settings.RESEARCH_REQUIRED_IN_NEWS = True
    settings.RESEARCH_TIMEOUT_SECONDS = case.deadline
    server.will("research", case.script(DEFAULTS["research"]))
    news()
    world()
    cycle = drive(tick())
    call = cycle.model_calls.get(purpose="research")
    if case.outcome == "ok":
        assert (cycle.state, Order.objects.count()) == (State.CONFIRMING, 1)
        return
    assert (cycle.state, cycle.outcome) == (State.DONE, Outcome.RESEARCH_ERROR)
    assert call.error in cycle.reason
    assert (cycle.model_calls.count(), Order.objects.count(), sent_orders()) == (1, 0, [])


def test_an_open_position_is_left_in_a_news_window_whatever_the_search_does(
    server: MisbehavingServer, analyst: MisbehavingServer, settings: Any
) -> None:
    settings.RESEARCH_REQUIRED_IN_NEWS = True
    server.will("research", [BUSY])
    analyst.will("analyze", [claude_says(left("CLOSE"))])
    news()
    world(NOON, position_payload(BTC))
    cycle = drive(tick())
    assert (cycle.state, order_of(cycle).action) == (State.CONFIRMING, "CLOSE")
    allowed = sections(cycle.model_calls.get(purpose="analyze").prompt)["allowed_actions"]
    assert allowed["actions"] == ["REDUCE", "CLOSE", "HOLD"]
    assert cycle.openings_blocked == Outcome.RESEARCH_ERROR


def test_the_document_holds_this_table() -> None:
    head = ["the server", "HTTP", "attempts", "the call", "the cycle", "in the window", "told, among other things"]
    rows = [
        [
            case.name,
            case.status or "none",
            case.attempts,
            f"`{case.outcome}`",
            "goes on with it" if case.outcome == "ok" else "goes on without",
            "goes on with it" if case.outcome == "ok" else f"`{Outcome.RESEARCH_ERROR.value}`",
            case.told,
        ]
        for case in CASES
    ]
    table = as_table(head, rows)
    assert documented(TABLE) == table, f"docs/models.md is to hold, between its marks:\n\n{table}"
