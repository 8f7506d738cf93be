"""The model clients against a real server on loopback: every outcome is a reply, and nothing is raised."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from decisions.clients import claude, perplexity, prices
from decisions.clients.reply import ModelReply, ResearchReply
from decisions.messages import MarketSnapshot
from decisions.prompts import Prompt, screening_prompt
from decisions.schemas import AnalysisAnswer, DeepReflectionResult, ResearchAnswer, ScreenAnswer, output_schema

KEY = "sk-ant-canary-0123456789"
GOLDEN = Path(__file__).parents[2] / "unit" / "decisions" / "golden" / "snapshot.json"

GOOD = '{"signal": true, "reason": "break on volume"}'


@dataclass
class ScriptedServer:
    """A server that gives one reply to every request and keeps what it was asked. It hangs while `hang` is set."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def replies(self, body: object, status: int = 200, **headers: str) -> None:
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append((self.path, dict(self.headers), json.loads(content)))
            if server.hang:
                server.released.wait(30)
                return
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(scripted))
    http.daemon_threads = True
    scripted.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    settings.ANTHROPIC_API_KEY = settings.PERPLEXITY_API_KEY = KEY
    monkeypatch.setenv("ANTHROPIC_BASE_URL", scripted.url)
    monkeypatch.setattr(perplexity, "BASE_URL", scripted.url)
    forget_clients()
    yield scripted
    scripted.released.set()
    http.shutdown()
    http.server_close()
    forget_clients()


def forget_clients() -> None:
    claude._client.cache_clear()
    perplexity._client.cache_clear()


def message(text: str | None, **changes: Any) -> dict[str, Any]:
    content = [{"type": "thinking", "thinking": "hm", "signature": "x"}]
    usage = {
        "input_tokens": 400,
        "output_tokens": 30,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 2000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": content if text is None else [*content, {"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": usage,
        **changes,
    }


def asked(timeout_seconds: float = 10, effort: str | None = None) -> ModelReply[ScreenAnswer]:
    return claude.ask(
        "screen",
        Prompt("Screen.", "data"),
        ScreenAnswer,
        model="claude-haiku-4-5-20251001",
        max_tokens=100,
        timeout_seconds=timeout_seconds,
        effort=effort,
    )


def test_a_good_answer_is_parsed_and_priced(server: ScriptedServer) -> None:
    server.replies(message(GOOD), request_id="req_7")
    reply = asked()
    assert (reply.outcome, reply.error, reply.parsed) == ("ok", "", ScreenAnswer(signal=True, reason="break on volume"))
    assert (reply.text, reply.stop_reason, reply.request_id) == (GOOD, "end_turn", "req_7")
    assert (reply.input_tokens, reply.output_tokens) == (400, 30)
    assert (reply.cache_write_tokens, reply.cache_read_tokens) == (100, 2000)
    assert reply.cost_usd == Decimal("0.000875")
    assert (reply.source, reply.attempts, reply.priced) == ("live", 1, True)
    assert json.loads(reply.raw)["id"] == "msg_1"


def test_the_request_is_what_the_api_takes(server: ScriptedServer) -> None:
    server.replies(message(GOOD))
    asked()
    asked(effort="low")
    path, headers, body = server.requests[0]
    assert path == "/v1/messages"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "claude-haiku-4-5-20251001",
        "max_tokens": 100,
        "system": "Screen.",
        "messages": [{"role": "user", "content": "data"}],
        "output_config": {"format": {"type": "json_schema", "schema": output_schema(ScreenAnswer)}},
    }
    assert server.requests[1][2]["output_config"]["effort"] == "low"


@pytest.mark.parametrize(
    ("body", "outcome", "told"),
    [
        (message(None, stop_reason="refusal", stop_details={"category": "cyber"}), "refusal", "refuses (cyber)"),
        (message("I will not.", stop_reason="refusal"), "refusal", "refuses"),
        (message('{"signal": tr', stop_reason="max_tokens"), "invalid_output", "stop reason max_tokens"),
        (message(None), "invalid_output", "no text"),
        (message("Certainly!"), "invalid_output", "not JSON"),
        (message('{"signal": "yes", "reason": ""}'), "invalid_output", "signal"),
        (message('{"signal": true, "reason": "x", "limit": 1}'), "invalid_output", "limit"),
        (message('{"signal": true, "reason": "a\\u0000b"}'), "invalid_output", "NUL"),
        (message("\x00"), "invalid_output", "not JSON"),
        (message("\ud800"), "invalid_output", "not a message"),
        (message(GOOD, usage={"input_tokens": 10**30, "output_tokens": -1}), "invalid_output", "usage"),
        ({"id": "x"}, "invalid_output", "not a message"),
        (b"<html>Bad gateway</html>", "invalid_output", "not a message"),
        (b"", "invalid_output", "not a message"),
        (b'{"id": "msg_1", "con', "invalid_output", "not a message"),
    ],
)
def test_a_useless_answer_is_told_and_kept(
    server: ScriptedServer, body: dict[str, Any] | bytes, outcome: str, told: str
) -> None:
    server.replies(body)
    reply = asked()
    assert (reply.outcome, reply.parsed) == (outcome, None)
    assert told in reply.error
    assert reply.raw == server.body.decode()
    assert "\x00" not in (reply.text or "")
    (reply.text or "").encode()


def test_a_useless_answer_costs_what_it_costs(server: ScriptedServer) -> None:
    server.replies(message("Certainly!"))
    assert asked().cost_usd == Decimal("0.000875")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_http_error_is_an_error_after_one_attempt(server: ScriptedServer, status: int, kind: str) -> None:
    server.replies({"type": "error", "error": {"type": kind, "message": "so it is"}}, status, retry_after="17")
    reply = asked()
    assert (reply.outcome, reply.status, reply.parsed) == ("error", status, None)
    assert reply.error == f"HTTP {status}: so it is"
    assert reply.retry_after == "17"
    assert kind in reply.raw
    assert len(server.requests) == 1
    assert KEY not in repr(reply)


def test_a_server_that_hangs_is_given_up_on(server: ScriptedServer) -> None:
    server.hang = True
    reply = asked(timeout_seconds=0.2)
    assert (reply.outcome, reply.error, reply.status) == ("error", "no answer within 0.2 s", None)


def test_a_server_that_is_not_there_is_an_error(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(perplexity, "BASE_URL", "http://127.0.0.1:1")
    forget_clients()
    assert asked().outcome == "error"
    assert "onnection" in asked().error
    assert searched().error.startswith("no connection")


# --- Perplexity -----------------------------------------------------------------------------------------------------

FOUND = json.dumps(
    {
        "summary": "Inflows rose.",
        "sentiment": "Bullish",
        "impact_level": "medium",
        "time_horizon": "short",
        "key_points": [],
        "trading_implication": "Supports longs.",
        "confidence": 0.6,
        "sources": ["https://example.org/a"],
    }
)


def response(text: str, **changes: Any) -> dict[str, Any]:
    pages = [
        {"id": 1, "url": "https://example.org/a", "title": "A", "snippet": "s", "date": "2026-11-20"},
        {"id": 2, "url": "https://example.org/a", "title": "A again"},
        {"id": 3, "url": "javascript:alert(1)", "title": "B"},
        {"id": 4, "url": "https://example.org/c"},
    ]
    return {
        "id": "resp_1",
        "status": "completed",
        "error": None,
        "output": [
            {"type": "search_results", "queries": ["q"], "results": pages},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]},
        ],
        "usage": {"input_tokens": 40, "output_tokens": 12, "cost": {"currency": "USD", "total_cost": 0.00504}},
        **changes,
    }


def searched(timeout_seconds: float = 10) -> ResearchReply:
    return perplexity.research("BTC?", model="perplexity/sonar", timeout_seconds=timeout_seconds)


def test_research_is_parsed_with_its_citations_and_cost(server: ScriptedServer) -> None:
    server.replies(response(FOUND))
    reply = searched()
    assert (reply.outcome, reply.error) == ("ok", "")
    assert reply.parsed is not None
    assert reply.parsed.sentiment == "bullish"
    assert [(page.url, page.date) for page in reply.citations] == [
        ("https://example.org/a", ""),
        ("https://example.org/c", ""),
    ]
    assert (reply.cost_usd, reply.request_id, reply.source) == (Decimal("0.005040"), "resp_1", "live")


def test_the_search_is_asked_for_by_fields_the_agent_api_knows(server: ScriptedServer) -> None:
    server.replies(response(FOUND))
    searched()
    path, headers, body = server.requests[0]
    assert path == "/v1/responses"
    assert headers["Authorization"] == f"Bearer {KEY}"
    known = {"model", "instructions", "input", "max_output_tokens", "tools", "tool_choice", "response_format"}
    assert set(body) == known
    assert body["response_format"]["json_schema"]["schema"] == output_schema(ResearchAnswer)


@pytest.mark.parametrize(
    ("body", "status", "outcome", "told"),
    [
        ({"error": {"message": 'unknown field "X"', "type": "invalid_request", "code": 400}}, 400, "error", "field"),
        (
            {
                "error": {
                    "message": "Sonar is now the Agent API.",
                    "type": "chat_completions_not_available",
                    "code": 403,
                }
            },
            403,
            "error",
            "the API has moved, the key is not wrong",
        ),
        ({"error": {"message": "no", "type": "forbidden", "code": 403}}, 403, "error", "HTTP 403: no"),
        (b"slow down", 429, "error", "HTTP 429: slow down"),
        (b"", 502, "error", "HTTP 502"),
        (response("", status="failed", error={"message": "no tools"}), 200, "error", "ended failed: no tools"),
        (
            response(FOUND, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            200,
            "error",
            "ended incomplete: max_output_tokens",
        ),
        (response("As an AI"), 200, "invalid_output", "not JSON"),
        (response(FOUND.replace("0.6", "6")), 200, "invalid_output", "confidence"),
        ({"id": "x"}, 200, "invalid_output", "not a response"),
        (b"<html>", 200, "invalid_output", "not a response"),
    ],
)
def test_research_that_fails_is_told_as_what_it_is(
    server: ScriptedServer, body: dict[str, Any] | bytes, status: int, outcome: str, told: str
) -> None:
    server.replies(body, status)
    reply = searched()
    assert (reply.outcome, reply.parsed, reply.status) == (outcome, None, status)
    assert told in reply.error
    assert KEY not in repr(reply)


def test_research_without_its_cost_is_priced_by_the_table(server: ScriptedServer) -> None:
    server.replies(response(FOUND, usage={"input_tokens": 1000, "output_tokens": 400}))
    assert searched().cost_usd == Decimal("0.006250")


def test_a_search_that_hangs_is_given_up_on(server: ScriptedServer) -> None:
    server.hang = True
    assert searched(timeout_seconds=0.2).error == "no answer within 0.2 s"


# --- offline, prices, schema ----------------------------------------------------------------------------------------


@pytest.fixture
def offline(settings: Any) -> Iterator[None]:
    settings.ANTHROPIC_API_KEY = settings.PERPLEXITY_API_KEY = ""
    forget_clients()
    yield
    forget_clients()


@pytest.mark.usefixtures("offline")
def test_without_keys_the_offline_model_answers_through_the_same_code() -> None:
    prompt = screening_prompt(MarketSnapshot.model_validate_json(GOLDEN.read_text()))
    screen = claude.ask(
        "screen", prompt, ScreenAnswer, model="claude-haiku-4-5-20251001", max_tokens=100, timeout_seconds=5
    )
    assert (screen.outcome, screen.source) == ("ok", "offline")
    assert screen.parsed is not None
    assert screen.parsed.reason.startswith("Offline model:")
    assert screen.output_tokens < 100
    assert Decimal(0) < screen.cost_usd < Decimal("0.001")
    found = searched()
    assert (found.outcome, found.source, found.citations) == ("ok", "offline", ())


class Colour(BaseModel):
    """An answer that the offline model has no rules for."""

    colour: str


@pytest.mark.usefixtures("offline")
def test_a_question_that_the_offline_model_does_not_know_is_an_error() -> None:
    reply = claude.ask("reflect", Prompt("", ""), Colour, model="claude-opus-4-6", max_tokens=100, timeout_seconds=5)
    assert (reply.outcome, reply.status) == ("error", 400)
    assert "no rules" in reply.error


def test_a_model_missing_from_the_price_table_is_priced_as_the_dearest() -> None:
    usage = prices.Usage(input=1_000_000)
    assert not prices.is_priced("claude-new-9")
    assert prices.cost("claude-new-9", usage) == max(prices.cost(model, usage) for model in prices.PRICES)


def test_a_long_prompt_has_its_own_price() -> None:
    assert prices.cost("claude-haiku-5-5", prices.Usage(input=100_000)) == Decimal("0.01")
    assert prices.cost("claude-haiku-5-5", prices.Usage(input=100_001)) == Decimal("0.050001")


@pytest.mark.parametrize("model", [ScreenAnswer, AnalysisAnswer, ResearchAnswer, DeepReflectionResult])
def test_the_schema_is_one_that_the_sdk_would_send_unchanged(model: type[BaseModel]) -> None:
    import anthropic

    assert anthropic.transform_schema(output_schema(model)) == output_schema(model)


def test_live_without_a_key_nothing_is_made_up(settings: Any) -> None:
    settings.SANDBOX, settings.ANTHROPIC_API_KEY, settings.PERPLEXITY_API_KEY = False, "", ""
    analysis = claude.ask("analyze", Prompt("s", "u"), AnalysisAnswer, model="m", max_tokens=100, timeout_seconds=1)
    assert (analysis.outcome, analysis.error, analysis.source) == ("error", "ANTHROPIC_API_KEY is not set", "live")
    found = perplexity.research("BTC?", model="m", timeout_seconds=1)
    assert (found.outcome, found.error, found.source) == ("error", "PERPLEXITY_API_KEY is not set", "live")
