"""Everything a server of the Messages API can do wrong, through the real tasks: each is told as what it is, costs one
row in the record and no order, and ends in time. The table here is the one in the document."""

import json
import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from decisions.clients import attempts, claude
from decisions.models import DecisionCycle, InstrumentBlock, ModelCall, Order, OutboxMessage, Outcome, State
from journal.models import Trade
from risk.models import Halt
from tests.integration.decisions.build import BTC, position_payload
from tests.integration.decisions.misbehaving import (
    CLAUDE_KEY,
    ESCAPED,
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
    cut,
    cut_short,
    documented,
    everything_stored,
    good,
    http,
    message,
    misbehaving,
    too_slow,
)
from tests.integration.decisions.model_server import DEFAULTS, Question, left
from tests.integration.decisions.scene import (
    decided,
    drive,
    later,
    order_of,
    sent_orders,
    tick,
    venue_says,
    world,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready", "server")]

TABLE = "claude"
OUTCOMES = {
    "error": Outcome.MODEL_ERROR,
    "invalid_output": Outcome.INVALID_OUTPUT,
    "refusal": Outcome.MODEL_REFUSAL,
}
PAGE = f"<html><h1>Sign in</h1><!-- authorization: Bearer {CLAUDE_KEY} --></html>"


def fault(status: int, kind: str, text: str, **headers: str) -> Answer:
    return (http({"type": "error", "error": {"type": kind, "message": text}}, status, **headers),)


def says(text: object, **changes: Any) -> Script:
    return [(http(message(text, **changes)),)]


def whole(answer: dict[str, Any], **headers: str) -> bytes:
    return http(message(answer), **headers)


def with_first(answer: dict[str, Any], value: object) -> dict[str, Any]:
    """The answer with another first member: the screener's signal, or the whole analysis."""
    return {**answer, next(iter(answer)): value}


def too_long(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "reason" if "signal" in answer else "reasoning": "x" * 5000}


def key_twice(answer: dict[str, Any]) -> str:
    first = json.dumps(dict([next(iter(answer.items()))]))
    return f"{first[:-1]}, {json.dumps(answer)[1:]}"


def spelt_otherwise(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "decision": {**answer["decision"], "action": "Open_Long"}}


def among_odd_parts(answer: dict[str, Any]) -> Script:
    content = ["a text", None, 7, {"type": ["text"]}, {"type": "tool", "text": {}}, *message(answer)["content"]]
    usage = {"input_tokens": 400, "output_tokens": 30, "cache_read_input_tokens": None, "cache_creation": "none"}
    return says("", id=None, content=content, usage=usage, stop_details="none", container=[1])


def quoting_the_key(answer: dict[str, Any]) -> Script:
    text = json.dumps({**answer, "reason" if "signal" in answer else "reasoning": "KEY"})
    return says(text.replace("KEY", ESCAPED))


def in_two_blocks(answer: dict[str, Any]) -> list[dict[str, str]]:
    text = json.dumps(answer)
    return [{"type": "text", "text": text[:20]}, {"type": "text", "text": text[20:]}]


OVERLOADED = fault(529, "overloaded_error", "Overloaded")
LATER = "rate_limit_error", "slow down"
USAGE = "not a message: usage"
KEY_REFUSED = "the key in ANTHROPIC_API_KEY is refused"
SPENT = "the spending limit or the credit of the account at Anthropic is used up"
TOO_LATE = "no answer within 1 s"

CASES = [
    # refuses at the door
    Case("401", lambda _: [fault(401, "authentication_error", "invalid x-api-key")], "error", 401, 1, KEY_REFUSED),
    Case(
        "401, and quotes the key",
        lambda _: [fault(401, "authentication_error", f"no such key: {CLAUDE_KEY}", request_id=CLAUDE_KEY)],
        "error", 401, 1, "no such key: [hidden]",
    ),
    Case("403", lambda _: [fault(403, "permission_error", "not for you")], "error", 403, 1, KEY_REFUSED),
    Case(
        "404 `not_found_error`: the model is retired",
        lambda _: [fault(404, "not_found_error", "model: claude-opus-4-6")],
        "error", 404, 1, "the API has no such model",
    ),
    Case("404 with a page of a proxy", lambda _: [(http(PAGE, 404),)], "error", 404, 1, "not from the API"),
    Case(
        "400: the account's spending limit is reached",
        lambda _: [fault(400, "invalid_request_error", "You have reached your specified API usage limits.")],
        "error", 400, 1, SPENT,
    ),
    Case("402", lambda _: [fault(402, "billing_error", "pay first")], "error", 402, 1, SPENT),
    Case("413", lambda _: [fault(413, "request_too_large", "too long")], "error", 413, 1, "HTTP 413: too long"),
    REDIRECT,
    # not now
    Case("429", lambda _: [fault(429, *LATER)], "error", 429, 3, GAVE_UP),
    Case(
        "429 `retry-after: 1`, then a good answer",
        lambda answer: [fault(429, *LATER, retry_after="1"), *says(answer)],
        "ok", 200, 2,
    ),
    Case(
        "429 `retry-after: 3600`",
        lambda _: [fault(429, *LATER, retry_after="3600")],
        "error", 429, 1, "asks to wait 3600 s, longer than is left of the deadline",
    ),
    Case("500", lambda _: [fault(500, "api_error", "broken")], "error", 500, 3, GAVE_UP),
    Case("502 with a page of a proxy", lambda _: [(http(PAGE, 502),)], "error", 502, 3, GAVE_UP),
    Case("529", lambda _: [OVERLOADED], "error", 529, 3, GAVE_UP),
    Case("529, then a good answer", lambda answer: [OVERLOADED, *says(answer)], "ok", 200, 2),
    # the connection
    *cut_short(whole),
    Case("closes in the body, then a good answer", lambda answer: [(cut(whole(answer)),), *says(answer)], "ok", 200, 2),
    NO_HTTP,
    *too_slow(whole, TOO_LATE),
    # 200, and no message
    Case("200 with a page that quotes the key", lambda _: [(http(PAGE),)], "invalid_output", 200, 1, "not a message"),
    Case("200 with nothing", lambda _: [(http(),)], "invalid_output", 200, 1, "not a message"),
    Case('200 with `{"id":"x"}`', lambda _: [(http({"id": "x"}),)], "invalid_output", 200, 1, "not a message"),
    Case(
        "200 with bytes that are no text",
        lambda _: [(http(b"\xff\x00\xfe"),)],
        "invalid_output", 200, 1, "not a message",
    ),
    Case(
        "200 in a charset that cannot be read",
        lambda answer: [(whole(answer, content_type="application/json; charset=undefined"),)],
        "ok", 200, 1,
    ),
    Case(
        "500 in a charset that cannot be read",
        lambda _: [(http(b"", 500, content_type="text/html; charset=undefined"),)],
        "error", 500, 3, GAVE_UP,
    ),
    compressed(whole),
    Case("200 with 5 MB", lambda _: says("x" * 5_000_000), "error", None, 1, "longer than 4000000 bytes"),
    Case(
        "200, a negative count of tokens",
        lambda answer: says(answer, usage={"input_tokens": 1, "output_tokens": -1}),
        "invalid_output", 200, 1, USAGE,
    ),
    Case(
        "200, an enormous count of tokens",
        lambda answer: says(answer, usage={"input_tokens": 10**30, "output_tokens": 1}),
        "invalid_output", 200, 1, USAGE,
    ),
    # a message, and no answer
    Case(
        "refusal without text",
        lambda _: says("", content=[], stop_reason="refusal", stop_details={"category": "cyber"}),
        "refusal", 200, 1, "the model refuses (cyber)",
    ),
    Case(
        "refusal with text",
        lambda _: says("I would rather not.", stop_reason="refusal"),
        "refusal", 200, 1, "the model refuses",
    ),
    Case(
        "refusal with a good answer in it",
        lambda answer: says(answer, stop_reason="refusal"),
        "refusal", 200, 1, "the model refuses",
    ),
    Case(
        "cut off at `max_tokens`",
        lambda answer: says(json.dumps(answer)[:-5], stop_reason="max_tokens"),
        "invalid_output", 200, 1, "the answer is not complete: stop reason max_tokens",
    ),
    Case(
        "an unknown stop reason",
        lambda answer: says(answer, stop_reason="moonrise"),
        "invalid_output", 200, 1, "the answer is not complete: stop reason moonrise",
    ),
    Case(
        "content without text",
        lambda _: says("", content=[{"type": "thinking", "thinking": "hm", "signature": "x"}]),
        "invalid_output", 200, 1, "the answer has no text",
    ),
    Case(
        "two answers in two blocks",
        lambda answer: says("", content=message(answer)["content"] * 2),
        "invalid_output", 200, 1, "not JSON",
    ),
    Case("one answer in two blocks", lambda answer: says("", content=in_two_blocks(answer)), "ok", 200, 1),
    Case("an answer among blocks, ids and details of any shape", among_odd_parts, "ok", 200, 1),
    Case(
        "an answer that quotes the key, escaped",
        quoting_the_key,
        "invalid_output", 200, 1, "the answer quotes a secret",
    ),
    Case("prose", lambda _: says("I would go long here."), "invalid_output", 200, 1, "not JSON"),
    Case("JSON that breaks off", lambda answer: says(json.dumps(answer)[:-5]), "invalid_output", 200, 1, "not JSON"),
    Case("NaN", lambda answer: says(with_first(answer, math.nan)), "invalid_output", 200, 1, "NaN"),
    Case("a value of another type", lambda answer: says(with_first(answer, [7])), "invalid_output", 200, 1, "should"),
    Case(
        "a value out of bounds (analyst)",
        lambda answer: says({**answer, "confidence": 1.5}),
        "invalid_output", 200, 1, "confidence: Input should be less than or equal to 1",
        asks=("analyze",),
    ),
    Case("a text far too long", lambda answer: says(too_long(answer)), "invalid_output", 200, 1, "5000 characters"),
    Case(
        "an unknown key",
        lambda answer: says({**answer, "max_loss": 1}),
        "invalid_output", 200, 1, "max_loss: Extra inputs are not permitted",
    ),
    Case("a key twice", lambda answer: says(key_twice(answer)), "invalid_output", 200, 1, "a key stands twice"),
    Case("an answer of 1.1 MB", lambda _: says("x" * 1_100_000), "invalid_output", 200, 1, "1100000 characters"),
    Case(
        "`Open_Long` for `OPEN_LONG` (analyst)",
        lambda answer: says(spelt_otherwise(answer)),
        "ok", 200, 1, asks=("analyze",),
    ),
]  # fmt: skip


# --- the scene --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _sdk() -> None:
    """The SDK takes seconds to import, which workers do before the fork: no deadline here pays for it."""
    import anthropic  # noqa: F401


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[MisbehavingServer]:
    """The server that is asked; pauses between attempts are short."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.02)
    settings.ANTHROPIC_API_KEY, settings.PERPLEXITY_API_KEY = CLAUDE_KEY, PERPLEXITY_KEY
    with misbehaving() as server:
        settings.ANTHROPIC_BASE_URL = server.url
        claude._client.cache_clear()
        yield server
    claude._client.cache_clear()


EACH = [pytest.param(case, question, id=f"{case}-{question}") for case in CASES for question in case.asks]


@pytest.fixture
def asked_alone(question: Question, settings: Any) -> None:
    """Ask the analyst without the screener: a server that is not there answers neither."""
    settings.SCREENER_ENABLED = question == "screen"


@pytest.mark.usefixtures("asked_alone")
@pytest.mark.parametrize(("case", "question"), EACH)
def test_whatever_the_server_does_the_cycle_ends_as_it_should(
    case: Case, question: Question, server: MisbehavingServer, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.MAX_OPUS_TIMEOUT_SECONDS = case.deadline
    server.will(question, case.script(DEFAULTS[question]))
    world()
    began = time.monotonic()
    cycle = drive(tick())
    assert time.monotonic() - began < case.deadline + SLACK_SECONDS
    call = cycle.model_calls.get(purpose=question)
    assert (call.outcome, call.http_status, call.attempts) == (case.outcome, case.status, case.attempts), call.error
    assert case.told in call.error
    assert server.asked.count(question) == (case.attempts if case.script(DEFAULTS[question]) else 0)
    assert set(server.asked) <= {"screen", "analyze"}
    _ended_as_told(cycle, call, case)
    assert cycle.last_error == ""
    for told in (everything_stored(), caplog.text):
        assert CLAUDE_KEY not in told
        assert PERPLEXITY_KEY not in told
        assert ESCAPED.replace("\\", "") not in told.replace("\\", "")


def _ended_as_told(cycle: DecisionCycle, call: ModelCall, case: Case) -> None:
    if case.outcome == "ok":
        assert (cycle.state, call.error, Order.objects.count()) == (State.CONFIRMING, "", 1)
        return
    who = "the screener" if call.purpose == "screen" else "the analyst"
    assert (cycle.state, cycle.outcome) == (State.DONE, OUTCOMES[case.outcome])
    assert cycle.reason == f"{who}: {call.error}"
    assert cycle.finished_at is not None
    assert "Traceback" not in call.error
    assert (Order.objects.count(), sent_orders()) == (0, [])


OF_EACH_KIND = ("401", "429 `retry-after: 3600`", "529", "resets the connection", "hangs", "refusal with text", "prose")


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OF_EACH_KIND], ids=str)
def test_a_failure_beside_an_open_position_changes_nothing_and_the_next_cycle_works(
    case: Case, server: MisbehavingServer, settings: Any
) -> None:
    first = decided()
    venue_says(order_of(first), "filled", stop_confirmed=True)
    held = position_payload(BTC, size=str(order_of(first).size))
    settings.MAX_OPUS_TIMEOUT_SECONDS = case.deadline
    server.will("analyze", case.script(left("CLOSE")))
    world(later(5), held)
    second = drive(tick(later(5)))
    assert second.outcome == OUTCOMES[case.outcome]
    assert Order.objects.count() == len(sent_orders()) == 1
    assert Trade.objects.get().status == Trade.Status.OPEN
    assert not Halt.objects.exists()
    assert not InstrumentBlock.objects.exists()
    with misbehaving() as well_again:
        settings.ANTHROPIC_BASE_URL, settings.MAX_OPUS_TIMEOUT_SECONDS = well_again.url, 20
        claude._client.cache_clear()
        well_again.will("analyze", says(left("CLOSE")))
        world(later(10), held)
        third = drive(tick(later(10)))
    assert (third.state, order_of(third).action) == (State.CONFIRMING, "CLOSE")


def test_a_model_is_gone_when_the_api_says_so_and_then_nothing_is_opened(server: MisbehavingServer) -> None:
    server.will("analyze", [fault(404, "not_found_error", "model: claude-opus-4-6"), good("analyze")])
    decided()
    world(later(5))
    second = drive(tick(later(5)))
    assert (second.outcome, second.model_calls.count()) == (Outcome.MODEL_ERROR, 0)
    assert "OPUS_MODEL" in second.reason
    assert OutboxMessage.objects.filter(category="model_gone", severity="CRITICAL").count() == 1


def test_a_page_of_a_proxy_does_not_say_that_a_model_is_gone(server: MisbehavingServer) -> None:
    for question in ("screen", "analyze"):
        server.will(question, [(http(PAGE, 404),), good(question)])
    outcomes = []
    for minutes in (0, 5, 10):
        world(later(minutes))
        outcomes.append(drive(tick(later(minutes))).outcome)
    assert outcomes == [Outcome.MODEL_ERROR, Outcome.MODEL_ERROR, None]
    assert len(sent_orders()) == 1


def test_the_document_holds_this_table() -> None:
    head = ["the server", "HTTP", "attempts", "the call", "the cycle", "told, among other things"]
    rows = [
        [
            case.name,
            case.status or "none",
            case.attempts,
            f"`{case.outcome}`",
            "goes on" if case.outcome == "ok" else f"`{OUTCOMES[case.outcome].value}`",
            case.told,
        ]
        for case in CASES
    ]
    table = as_table(head, rows)
    assert documented(TABLE) == table, f"docs/models.md is to hold, between its marks:\n\n{table}"
