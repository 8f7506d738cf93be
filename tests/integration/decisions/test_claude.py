"""The client of the Messages API against a real server on loopback: every outcome is a reply, and nothing is raised."""

import json
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from decisions.clients import claude
from decisions.clients.claude_request import CACHED, build_request
from decisions.clients.reply import LONGEST_RAW, ModelReply
from decisions.messages import MarketSnapshot
from decisions.prompts import Prompt, screening_prompt
from decisions.schemas import AnalysisAnswer, ResearchAnswer, ScreenAnswer, output_schema
from reflection.schemas import DeepReflectionResult
from tests.integration.decisions.scene import until

KEY = "sk-ant-canary-0123456789"
HAIKU, OPUS = "claude-haiku-4-5-20251001", "claude-opus-4-6"
GOLDEN = Path(__file__).parents[2] / "unit" / "decisions" / "golden" / "snapshot.json"
GOOD = '{"signal": true, "reason": "break on volume"}'
GENEROUS = 3.0
"""Seconds beyond a deadline that a busy machine may take."""
SOON = "0.01"
"""A retry-after in seconds: the tests need not wait for the client's own pauses."""


@dataclass
class Said:
    """One answer of the server. `cut` breaks off in the body, `hang` says nothing at all."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False


class ScriptedServer(ThreadingHTTPServer):
    """Gives its answers one after another, the last one again and again, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.over = threading.Event()
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.peers: set[int] = set()
        self._script: list[Said] = []
        self._lock = threading.Lock()

    def says(self, body: object, status: int = 200, **headers: str) -> None:
        """Add an ordinary answer to the script."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.will(Said(content, status, {name.replace("_", "-"): value for name, value in headers.items()}))

    def will(self, *answers: Said) -> None:
        self._script += answers

    def next_answer(self) -> Said:
        with self._lock:
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client hung up, as some tests have it do
            return

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers), json.loads(content or b"{}")))
        self.server.peers.add(self.client_address[1])
        said = self.server.next_answer()
        if said.hang:
            self.server.over.wait(30)
            return
        self.send_response(said.status)
        for name, value in {"Content-Type": "application/json", **said.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        self.wfile.write(said.body[: len(said.body) // 2] if said.cut else said.body)
        self.close_connection = said.cut

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(settings: Any) -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        threading.Thread(target=scripted.serve_forever, args=(0.01,), daemon=True).start()
        settings.ANTHROPIC_API_KEY, settings.ANTHROPIC_BASE_URL = KEY, scripted.url
        claude._client.cache_clear()
        yield scripted
        scripted.over.set()
        scripted.shutdown()
    claude._client.cache_clear()


def message(text: str | None = GOOD, **changes: Any) -> dict[str, Any]:
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
        "model": HAIKU,
        "content": content if text is None else [*content, {"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": usage,
        **changes,
    }


def fault(kind: str, told: str = "so it is") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": told}}


def asked(timeout_seconds: float = 20, *, model: str = HAIKU, **options: Any) -> ModelReply[ScreenAnswer]:
    prompt = options.pop("prompt", Prompt("Screen.", "data"))
    return claude.ask(
        "screen", prompt, ScreenAnswer, model=model, max_tokens=100, timeout_seconds=timeout_seconds, **options
    )


# --- an answer ------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_parsed_and_priced(server: ScriptedServer) -> None:
    server.says(message(), request_id="req_7")
    reply = asked()
    assert (reply.outcome, reply.error, reply.parsed) == ("ok", "", ScreenAnswer(signal=True, reason="break on volume"))
    assert (reply.text, reply.stop_reason, reply.request_id) == (GOOD, "end_turn", "req_7")
    assert (reply.input_tokens, reply.output_tokens) == (400, 30)
    assert (reply.cache_write_tokens, reply.cache_read_tokens) == (100, 2000)
    assert reply.cost_usd == Decimal("0.000875")
    assert (reply.source, reply.attempts, reply.priced, reply.status) == ("live", 1, True, 200)
    assert json.loads(reply.raw)["id"] == "msg_1"


@pytest.mark.parametrize(
    ("body", "outcome", "told"),
    [
        (message(None, stop_reason="refusal", stop_details={"category": "cyber"}), "refusal", "refuses (cyber)"),
        (message("I will not.", stop_reason="refusal"), "refusal", "refuses"),
        (message('{"signal": tr', stop_reason="max_tokens"), "invalid_output", "stop reason max_tokens"),
        (message(stop_reason=None), "invalid_output", "stop reason None"),
        (message(stop_reason="moonrise"), "invalid_output", "stop reason moonrise"),
        (message(None), "invalid_output", "no text"),
        (message("Certainly!"), "invalid_output", "not JSON"),
        (message('{"signal": "yes", "reason": ""}'), "invalid_output", "signal"),
        (message('{"signal": true, "reason": "x", "limit": 1}'), "invalid_output", "limit"),
        (message('{"signal": true, "reason": "a\\u0000b"}'), "invalid_output", "NUL"),
        (message("\x00"), "invalid_output", "not JSON"),
        (message("\ud800"), "invalid_output", "not a message"),
        (message("[" * 100_000), "invalid_output", "not JSON"),
        (message(usage={"input_tokens": 10**30, "output_tokens": -1}), "invalid_output", "usage"),
        (message(usage=None), "invalid_output", "usage"),
        ({"id": "x"}, "invalid_output", "not a message"),
        (b"<html>Bad gateway</html>", "invalid_output", "not a message"),
        (b"", "invalid_output", "not a message"),
        (b'{"id": "msg_1", "con', "invalid_output", "not a message"),
    ],
)
def test_a_useless_answer_is_told_and_kept(
    server: ScriptedServer, body: dict[str, Any] | bytes, outcome: str, told: str
) -> None:
    server.says(body)
    reply = asked()
    assert (reply.outcome, reply.parsed, reply.status) == (outcome, None, 200)
    assert told in reply.error
    assert reply.raw == server.next_answer().body.decode()
    assert "\x00" not in (reply.text or "")
    (reply.text or "").encode()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"id": None, "model": 7, "container": "x"},
        {"content": ["hm", None, 7, [], {}, {"type": None}, {"type": "image", "text": 7}, *message()["content"]]},
        {"usage": {**message()["usage"], "cache_read_input_tokens": None, "cache_creation": None, "service_tier": 1}},
        {"usage": {**message()["usage"], "cache_creation": {"ephemeral_5m_input_tokens": None}}},
        {"stop_details": "none", "stop_sequence": 7},
    ],
    ids=["ids", "blocks", "cache", "lifetimes", "details"],
)
def test_what_is_not_read_may_have_any_shape(server: ScriptedServer, odd: dict[str, Any]) -> None:
    server.says(message(**odd))
    reply = asked()
    assert (reply.outcome, reply.error, reply.output_tokens) == ("ok", "", 30)
    assert reply.cost_usd >= Decimal("0.000675")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"type": "error"}, "not a message: type"),
        ({"stop_reason": 7}, "not a message: stop_reason"),
        ({"content": [{"type": "text", "text": None}]}, "not a message: content.0.text"),
        ({"usage": {"input_tokens": None, "output_tokens": 1}}, "not a message: usage.input_tokens"),
    ],
)
def test_what_is_read_is_not_guessed(server: ScriptedServer, bad: dict[str, Any], told: str) -> None:
    server.says(message(**bad))
    reply = asked()
    assert reply.outcome == "invalid_output"
    assert told in reply.error


class Trap(BaseModel):
    """An answer that trips its reader as nobody foresaw."""

    signal: bool

    @field_validator("signal")
    @classmethod
    def trip(cls, value: bool) -> bool:
        raise RuntimeError(f"no {value} for {KEY}")


def test_a_reply_is_kept_with_its_cost_before_it_is_judged_and_whatever_comes_of_that(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.says(message('{"signal": true}'), request_id="req_7")
    kept: list[ModelReply[Any]] = []
    reply = claude.ask(
        "screen", Prompt("s", "u"), Trap, model=HAIKU, max_tokens=9, timeout_seconds=20, keep=kept.append
    )
    came, verdict = kept
    assert (came.outcome, came.request_id, came.cost_usd) == ("unread", "req_7", Decimal("0.000875"))
    assert came.raw == server.next_answer().body.decode()
    assert reply == verdict
    assert (verdict.outcome, verdict.error) == ("invalid_output", "the answer cannot be read: RuntimeError")
    assert (verdict.raw, verdict.cost_usd) == (came.raw, came.cost_usd)
    assert "an answer cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("body", "status", "outcomes"),
    [
        (message(), 200, ["unread", "ok"]),
        (message("Certainly!"), 200, ["unread", "invalid_output"]),
        (message(stop_reason="refusal"), 200, ["refusal"]),
        (b"<html>", 200, ["invalid_output"]),
        (fault("authentication_error"), 401, ["error"]),
    ],
)
def test_what_holds_no_answer_is_kept_once_and_at_once_with_its_verdict(
    server: ScriptedServer, body: object, status: int, outcomes: list[str]
) -> None:
    server.says(body, status)
    kept: list[ModelReply[Any]] = []
    assert asked(keep=kept.append) == kept[-1]
    assert [reply.outcome for reply in kept] == outcomes


def test_a_useless_answer_costs_what_it_costs(server: ScriptedServer) -> None:
    server.says(message("Certainly!"))
    assert asked().cost_usd == Decimal("0.000875")


def test_the_largest_counts_that_are_believed_can_be_stored(server: ScriptedServer) -> None:
    most = 10_000_000
    counts = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    server.says(message(usage={**dict.fromkeys(counts, most), "cache_creation": {"ephemeral_5m_input_tokens": most}}))
    reply = asked(model="claude-of-no-table")
    assert (reply.outcome, reply.priced) == ("ok", False)
    assert reply.input_tokens + reply.output_tokens + reply.cache_write_tokens + reply.cache_read_tokens < 2**31
    assert reply.cost_usd < 10**6


def test_an_answer_of_a_megabyte_is_kept_in_part_and_not_believed(server: ScriptedServer) -> None:
    server.says(message("x" * 1_000_000))
    reply = asked()
    assert (reply.outcome, reply.cost_usd) == ("invalid_output", Decimal("0.000875"))
    assert "1000000 characters" in reply.error
    assert len(reply.raw) == LONGEST_RAW
    assert reply.raw.endswith("characters came]")


def test_an_answer_beyond_four_megabytes_is_not_taken_in(server: ScriptedServer) -> None:
    server.says(message("x" * 5_000_000))
    reply = asked()
    assert (reply.outcome, reply.error, reply.raw) == ("error", "the answer is longer than 4000000 bytes", "")
    assert len(server.requests) == 1


# --- a request ------------------------------------------------------------------------------------------------------


def test_the_request_is_what_the_api_takes(server: ScriptedServer) -> None:
    server.says(message())
    asked()
    asked(model=OPUS, effort="low", temperature=Decimal("0.2"), prompt=Prompt("Trade.", "data", reference="rules"))
    (path, headers, body), (_, older, second) = server.requests
    assert path == "/v1/messages"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": HAIKU,
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Screen."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "data"}]}],
        "output_config": {"format": {"type": "json_schema", "schema": output_schema(ScreenAnswer)}},
    }
    assert [block["text"] for block in second["messages"][0]["content"]] == ["rules", "data"]
    assert (second["output_config"]["effort"], second["temperature"]) == ("low", 0.2)
    assert (headers["anthropic-version"] > "2023-06-01", older["anthropic-version"]) == (True, "2023-06-01")


LONG = "figures " * 2000
"""About 4,600 tokens: more than what any listed model caches at least."""


def marked(request: dict[str, Any]) -> list[str]:
    """The beginnings of the blocks that end a cached prefix."""
    blocks = [*request["system"], *request["messages"][0]["content"]]
    return [block["text"][:5] for block in blocks if block.get("cache_control") == CACHED]


@pytest.mark.parametrize(
    ("model", "prompt", "cached"),
    [
        (OPUS, Prompt("Trade", LONG, reference="rules"), []),
        (OPUS, Prompt("Trade", "data", reference="rules " + LONG), ["rules"]),
        (OPUS, Prompt("Trade " + LONG, "data", reference="rules"), ["rules"]),
        (OPUS, Prompt("Trade " + LONG, "data"), ["Trade"]),
        (HAIKU, Prompt("Screen", "data"), []),
        ("claude-opus-5", Prompt("Trade " + LONG[:1500], "data"), ["Trade"]),
        (OPUS, Prompt("Trade " + LONG[:1500], "data"), []),
    ],
)
def test_the_stable_part_is_marked_for_an_hour_where_the_model_would_cache_it(
    model: str, prompt: Prompt, cached: list[str]
) -> None:
    assert marked(build_request(prompt, ScreenAnswer, model=model, max_tokens=100)) == cached
    assert CACHED == {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize("model", [ScreenAnswer, AnalysisAnswer, ResearchAnswer, DeepReflectionResult])
def test_the_schema_is_one_that_the_sdk_would_send_unchanged(model: type[BaseModel]) -> None:
    import anthropic

    assert anthropic.transform_schema(output_schema(model)) == output_schema(model)


# --- a temperature --------------------------------------------------------------------------------------------------

REFUSED = fault("invalid_request_error", "temperature: Extra inputs are not permitted")


def test_a_refused_temperature_is_left_out_at_once_and_from_then_on(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.says(REFUSED, 400)
    server.says(message())
    with caplog.at_level(logging.WARNING):
        replies = [asked(model=OPUS, temperature=0.2) for _ in range(2)]
    assert [(reply.outcome, reply.attempts) for reply in replies] == [("ok", 2), ("ok", 1)]
    assert ["temperature" in body for body in server.bodies] == [True, False, False]
    assert "2023-06-01" not in {headers["anthropic-version"] for _, headers, _ in server.requests[1:]}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "no temperature" in line
    assert OPUS in line


def test_a_request_that_is_bad_without_a_temperature_too_is_not_blamed_on_it(server: ScriptedServer) -> None:
    server.says(fault("invalid_request_error", "schema is too complex"), 400)
    reply = asked(model=OPUS, temperature=0.2)
    assert (reply.error, reply.attempts) == ("HTTP 400: schema is too complex; tried 2 times", 2)
    server.will(Said(json.dumps(message()).encode()))
    server.next_answer()
    assert asked(model=OPUS, temperature=0.2).outcome == "ok"
    assert ["temperature" in body for body in server.bodies] == [True, False, True]


def test_no_temperature_is_sent_to_a_model_that_takes_none(server: ScriptedServer) -> None:
    server.says(message())
    asked(model="claude-opus-5-5", temperature=Decimal("0.2"))
    (body,) = server.bodies
    assert "temperature" not in body


# --- errors ---------------------------------------------------------------------------------------------------------

USED_UP = "the spending limit or the credit of the account at Anthropic is used up"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, fault("invalid_request_error"), "HTTP 400: so it is"),
        (
            400,
            fault("invalid_request_error", "You have reached your specified API usage limits. Wait."),
            f"HTTP 400: {USED_UP}: You have reached your specified API usage limits. Wait.",
        ),
        (402, fault("billing_error"), f"HTTP 402: {USED_UP}: so it is"),
        (401, fault("authentication_error"), "HTTP 401: the key in ANTHROPIC_API_KEY is refused: so it is"),
        (403, fault("permission_error"), "HTTP 403: the key in ANTHROPIC_API_KEY is refused: so it is"),
        (403, b"<html>\n blocked</html>", "HTTP 403, not from the API: <html> blocked</html>"),
        (302, b"", "HTTP 302, not from the API: a redirect, which is not followed"),
        (413, fault("request_too_large", ""), "HTTP 413: request_too_large"),
        (422, {"error": "odd"}, 'HTTP 422, not from the API: {"error": "odd"}'),
    ],
)
def test_a_lasting_error_is_told_as_what_it_is_after_one_attempt(
    server: ScriptedServer, status: int, body: object, told: str
) -> None:
    server.says(body, status, location=f"{server.url}/elsewhere")
    reply = asked(temperature=0.2 if USED_UP in told else None, model=OPUS)
    assert (reply.outcome, reply.status, reply.parsed, reply.error) == ("error", status, None, told)
    assert (reply.attempts, len(server.requests), reply.model_is_gone) == (1, 1, False)
    assert reply.raw == server.next_answer().body.decode()


@pytest.mark.parametrize(
    ("body", "gone"),
    [
        (fault("not_found_error", "model: claude-opus-4-6"), True),
        (b"<html>404 Not Found</html>", False),
        (fault("proxy_error"), False),
    ],
)
def test_only_the_api_itself_can_say_that_a_model_is_gone(server: ScriptedServer, body: object, gone: bool) -> None:
    server.says(body, 404)
    reply = asked()
    assert (reply.outcome, reply.status, reply.model_is_gone) == ("error", 404, gone)
    assert ("retired, misspelt or not open to this key" in reply.error) is gone


def test_a_key_that_comes_back_is_hidden(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    server.says(fault("authentication_error", f"no such key: {KEY}"), 401, request_id=KEY, retry_after="1")
    server.says(message(json.dumps({"signal": False, "reason": f"Your key is {KEY}."})))
    with caplog.at_level(logging.DEBUG):
        replies = [asked(), asked()]
    assert [reply.outcome for reply in replies] == ["error", "invalid_output"]
    assert "[hidden]" in replies[0].error
    assert (replies[1].error, replies[1].parsed) == ("the answer quotes a secret", None)
    assert KEY not in repr(replies) + caplog.text


@pytest.mark.parametrize(
    "spelt",
    [
        "".join(f"\\u{ord(character):04X}" for character in KEY),
        "".join(f"%{ord(character):02x}" for character in KEY),
        KEY.replace("0", "%30").replace("s", "\\u0073"),
    ],
    ids=["as JSON may escape it", "as addresses may", "a bit of both"],
)
def test_a_key_that_comes_back_spelt_otherwise_is_hidden_too(server: ScriptedServer, spelt: str) -> None:
    server.says(message('{"signal": false, "reason": "SPELT"}'.replace("SPELT", spelt)))
    server.says(fault("authentication_error", f"no such key: {spelt}"), 401)
    told, failed = asked(), asked()
    assert (told.outcome, told.error) == ("invalid_output", "the answer quotes a secret")
    assert told.text == '{"signal": false, "reason": "[hidden]"}'
    assert json.loads(told.raw)["content"][1]["text"] == told.text
    assert failed.error == "HTTP 401: the key in ANTHROPIC_API_KEY is refused: no such key: [hidden]"


def test_a_key_in_two_pieces_is_no_part_of_an_answer(server: ScriptedServer) -> None:
    halves = f'{{"signal": true, "reason": "{KEY[:9]}', f'{KEY[9:]}"}}'
    server.says(message(content=[{"type": "text", "text": half} for half in halves]))
    reply = asked()
    assert (reply.error, KEY in (reply.text or "")) == ("the answer quotes a secret", False)


def test_a_long_error_is_told_in_short(server: ScriptedServer) -> None:
    server.says(fault("invalid_request_error", "x" * 100_000), 400)
    reply = asked()
    assert len(reply.error) < 2000
    assert len(reply.raw) > 100_000


# --- attempts -------------------------------------------------------------------------------------------------------

GOOD_AT_LAST = Said(json.dumps(message()).encode())
OVERLOADED = Said(json.dumps(fault("overloaded_error", "come back later")).encode(), 529, {"retry-after": SOON})


@pytest.mark.parametrize(
    "first",
    [
        OVERLOADED,
        Said(b"", 500, {"retry-after-ms": "10"}),
        Said(b"", 429, {"retry-after": format_datetime(datetime(2026, 1, 1, tzinfo=UTC), usegmt=True)}),
        Said(b"", 503, {"retry-after": "soon"}),
        Said(b"", 400, {"x-should-retry": "true", "retry-after": SOON}),
        Said(GOOD_AT_LAST.body, cut=True),
    ],
    ids=["529", "500 in ms", "429 until a date", "503 with nonsense", "400 to be tried again", "broken off"],
)
def test_what_passes_is_tried_again(server: ScriptedServer, first: Said) -> None:
    server.will(first, GOOD_AT_LAST)
    reply = asked()
    assert (reply.outcome, reply.error, reply.attempts, reply.retry_after) == ("ok", "", 2, "")
    assert server.bodies[0] == server.bodies[1]


def test_what_does_not_pass_in_three_attempts_is_an_error(server: ScriptedServer) -> None:
    server.will(OVERLOADED)
    reply = asked()
    assert (reply.outcome, reply.status, reply.attempts) == ("error", 529, 3)
    assert reply.error == "HTTP 529: come back later; tried 3 times"
    assert (len(server.requests), reply.retry_after) == (3, SOON)


def test_a_server_that_says_not_to_is_not_asked_again(server: ScriptedServer) -> None:
    server.says(fault("overloaded_error"), 529, x_should_retry="false")
    assert (asked().error, len(server.requests)) == ("HTTP 529: so it is", 1)


def test_a_pause_beyond_the_deadline_is_not_waited_for(server: ScriptedServer) -> None:
    server.says(fault("rate_limit_error", "slow down"), 429, retry_after="3600")
    began = time.monotonic()
    reply = asked()
    assert time.monotonic() - began < GENEROUS
    assert reply.error == "HTTP 429: slow down; asks to wait 3600 s, longer than is left of the deadline"
    assert (reply.attempts, reply.retry_after) == (1, "3600")


def test_too_little_time_for_another_attempt_is_told(server: ScriptedServer) -> None:
    server.says(fault("overloaded_error"), 529)
    assert asked(timeout_seconds=0.8).error == "HTTP 529: so it is; no time is left for another attempt"


def test_one_deadline_holds_for_all_attempts_and_tells_what_failed_before(server: ScriptedServer) -> None:
    server.will(OVERLOADED, Said(b"", hang=True))
    began = time.monotonic()
    reply = asked(timeout_seconds=2)
    assert time.monotonic() - began < 2 + GENEROUS
    assert (reply.outcome, reply.status, reply.attempts) == ("error", None, 2)
    assert reply.error == "no answer within 2 s; tried 2 times; before that HTTP 529: come back later"
    assert 2000 <= reply.latency_ms < (2 + GENEROUS) * 1000


def test_a_server_that_is_not_there_is_an_error(server: ScriptedServer, settings: Any) -> None:
    settings.ANTHROPIC_BASE_URL = "http://127.0.0.1:1"
    reply = asked(timeout_seconds=0.8)
    assert (reply.outcome, reply.status, reply.attempts) == ("error", None, 1)
    assert reply.error.startswith("the connection failed: [Errno ")


# --- clients --------------------------------------------------------------------------------------------------------


def test_new_settings_make_a_new_client_and_nothing_else_does(server: ScriptedServer, settings: Any) -> None:
    server.says(message())
    asked()
    asked()
    assert len(server.peers) == 1
    settings.ANTHROPIC_API_KEY = "sk-ant-another"
    asked()
    assert [headers["Authorization"][-7:] for _, headers, _ in server.requests] == ["3456789", "3456789", "another"]


def test_a_forked_process_has_connections_of_its_own(server: ScriptedServer) -> None:
    server.says(message())
    assert asked().outcome == "ok"
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_ask_in_a_child, args=(there,), daemon=True)
    child.start()
    assert here.poll(30), "the child does not answer"
    assert here.recv() == ("ok", "ok")
    child.join(30)
    assert asked().outcome == "ok"
    assert len(server.peers) == 2


def _ask_in_a_child(pipe: Connection) -> None:
    pipe.send((asked().outcome, asked().outcome))


def test_threads_share_the_client_and_keep_to_their_own_deadlines(server: ScriptedServer) -> None:
    server.will(Said(b"", hang=True), GOOD_AT_LAST)
    replies = {}

    def ask_within(seconds: float) -> None:
        replies[seconds] = asked(timeout_seconds=seconds)

    slow = threading.Thread(target=ask_within, args=(1,))
    slow.start()
    until(lambda: server.requests)
    ask_within(20)
    slow.join(30)
    assert (replies[1].outcome, replies[20].outcome) == ("error", "ok")


# --- recordings and the offline model -------------------------------------------------------------------------------


def test_a_recorded_exchange_is_replayed_without_a_key_or_a_server(
    server: ScriptedServer, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_RECORD = tmp_path
    server.will(OVERLOADED, GOOD_AT_LAST)
    recorded = asked(occasion="BTC-USDT-SWAP 12:00 round 1")
    settings.MODEL_RECORD, settings.MODEL_REPLAY, settings.ANTHROPIC_API_KEY = None, tmp_path, ""
    replayed = asked(occasion="BTC-USDT-SWAP 12:00 round 1")
    assert (recorded.source, replayed.source) == ("live", "replay")
    assert (replayed.outcome, replayed.attempts, replayed.parsed) == ("ok", 2, recorded.parsed)
    assert replayed.cost_usd == recorded.cost_usd
    assert len(server.requests) == 2
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_replay_that_has_no_answer_says_which(server: ScriptedServer, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_REPLAY = tmp_path
    reply = asked(occasion="BTC-USDT-SWAP 12:00 round 1")
    assert (reply.outcome, reply.source, reply.attempts, reply.status) == ("error", "replay", 0, None)
    assert "screen BTC-USDT-SWAP 12:00 round 1" in reply.error
    assert server.requests == []


def test_a_replay_ends_with_the_attempt_that_the_recorded_run_ended_with(
    server: ScriptedServer, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_RECORD = tmp_path
    server.says(fault("overloaded_error"), 529)
    asked(timeout_seconds=0.8)
    settings.MODEL_RECORD, settings.MODEL_REPLAY = None, tmp_path
    replayed = asked(timeout_seconds=20)
    assert (replayed.status, replayed.attempts) == (529, 1)
    assert replayed.error.startswith("HTTP 529: so it is")


def test_a_replay_does_not_wait_where_the_recorded_run_did(
    server: ScriptedServer, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_RECORD = tmp_path
    server.says(fault("overloaded_error"), 529, retry_after="1")
    server.says(message())
    recorded = asked()
    settings.MODEL_RECORD, settings.MODEL_REPLAY = None, tmp_path
    replayed = asked()
    assert (recorded.attempts, replayed.attempts, replayed.outcome) == (2, 2, "ok")
    assert replayed.latency_ms < 1000 <= recorded.latency_ms


def test_a_replay_finds_what_was_asked_without_a_temperature_whoever_had_learnt_that(
    server: ScriptedServer, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_RECORD = tmp_path
    server.says(REFUSED, 400)
    server.says(message())
    for occasion in ("first", "second"):
        asked(model=OPUS, temperature=0.2, occasion=occasion)
    settings.MODEL_RECORD, settings.MODEL_REPLAY = None, tmp_path
    replayed = [asked(model=OPUS, temperature=0.2, occasion=occasion) for occasion in ("second", "first", "second")]
    assert [(reply.outcome, reply.attempts) for reply in replayed] == [("ok", 1), ("ok", 2), ("ok", 1)]
    missed = asked(model=OPUS, temperature=0.2, occasion="third")
    assert (missed.outcome, missed.attempts) == ("error", 0)
    assert "nothing is recorded of 'screen third'" in missed.error


@pytest.fixture
def offline(settings: Any) -> Iterator[None]:
    settings.ANTHROPIC_API_KEY = ""
    claude._client.cache_clear()
    yield
    claude._client.cache_clear()


@pytest.mark.usefixtures("offline")
def test_without_a_key_the_offline_model_answers_through_the_same_code() -> None:
    prompt = screening_prompt(MarketSnapshot.model_validate_json(GOLDEN.read_text()))
    screen = asked(prompt=prompt)
    assert (screen.outcome, screen.source) == ("ok", "offline")
    assert screen.parsed is not None
    assert screen.parsed.reason.startswith("Offline model:")
    assert screen.output_tokens < 100
    assert Decimal(0) < screen.cost_usd < Decimal("0.001")
    assert claude.look_up(OPUS).lifecycle == "active"


class Colour(BaseModel):
    """An answer that the offline model has no rules for."""

    colour: str


@pytest.mark.usefixtures("offline")
def test_a_question_that_the_offline_model_does_not_know_is_an_error() -> None:
    reply = claude.ask("reflect", Prompt("", ""), Colour, model=OPUS, max_tokens=100, timeout_seconds=5)
    assert (reply.outcome, reply.status) == ("error", 400)
    assert "no rules" in reply.error


def test_live_without_a_key_nothing_is_made_up(settings: Any) -> None:
    settings.SANDBOX, settings.ANTHROPIC_API_KEY = False, ""
    analysis = claude.ask("analyze", Prompt("s", "u"), AnalysisAnswer, model="m", max_tokens=100, timeout_seconds=1)
    assert (analysis.outcome, analysis.error, analysis.source) == ("error", "ANTHROPIC_API_KEY is not set", "live")
    assert analysis.attempts == 0
    with pytest.raises(claude.LookupFailed, match="ANTHROPIC_API_KEY is not set"):
        claude.look_up("m")


# --- the models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "lifecycle", "retires", "detail"),
    [
        ({"lifecycle": "active"}, "active", None, "Opus"),
        (
            {"lifecycle": "deprecated", "deprecated_at": "2026-09-01T00:00:00Z", "retires_at": "2027-02-05T00:00:00Z"},
            "deprecated",
            datetime(2027, 2, 5, tzinfo=UTC),
            "Opus",
        ),
        ({"lifecycle": "retired", "retires_at": None}, "retired", None, "Opus"),
        ({}, "active", None, "Opus"),
        ({"lifecycle": "preview"}, "active", None, "Opus (preview)"),
    ],
)
def test_a_model_is_looked_up(
    server: ScriptedServer, told: dict[str, Any], lifecycle: str, retires: datetime | None, detail: str
) -> None:
    server.says({"id": OPUS, "type": "model", "display_name": "Opus", **told})
    facts = claude.look_up(OPUS)
    assert (facts.model, facts.lifecycle, facts.retires_at, facts.detail) == (OPUS, lifecycle, retires, detail)
    ((path, headers, _),) = server.requests
    assert (path, headers["Authorization"]) == (f"/v1/models/{OPUS}", f"Bearer {KEY}")


def test_a_model_that_the_api_does_not_have_is_unknown(server: ScriptedServer) -> None:
    server.says(fault("not_found_error", "model: claude-opsu"), 404)
    facts = claude.look_up("claude-opsu")
    assert (facts.lifecycle, facts.retires_at) == ("unknown", None)
    assert "misspelt" in facts.detail


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (fault("authentication_error"), 401, "the key in ANTHROPIC_API_KEY is refused"),
        (b"<html>404 Not Found</html>", 404, "not from the API"),
        (fault("api_error"), 500, "tried 3 times"),
        (b"<html>", 200, "not a model"),
        ({"lifecycle": "deprecated", "retires_at": "tomorrow"}, 200, "not a model: retires_at"),
    ],
)
def test_a_look_up_that_fails_says_so_and_nothing_of_the_model(
    server: ScriptedServer, body: object, status: int, told: str
) -> None:
    server.says(body, status, retry_after=SOON)
    with pytest.raises(claude.LookupFailed, match=told):
        claude.look_up(OPUS)


def test_a_replay_looks_nothing_up(server: ScriptedServer, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_REPLAY = tmp_path
    assert claude.look_up(OPUS).lifecycle == "active"
    assert server.requests == []
