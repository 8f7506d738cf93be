"""Scripted models: a real server on loopback that answers the clients as Anthropic and Perplexity would."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from decisions.clients import perplexity
from decisions.prompts import sections
from decisions.sandbox.offline_model import answer, user_text
from tests.integration.decisions.build import BTC

Question = Literal["screen", "analyze", "research", "review", "reflect"]
KEY = "sk-ant-canary-9876543210"


def screened(signal: bool = True) -> dict[str, Any]:
    return {"signal": signal, "reason": "a break on volume" if signal else "no setup"}


def analysed(action: str = "OPEN_LONG", *, strategy: str = "momentum_breakout", **changes: Any) -> dict[str, Any]:
    """An analysis that the gate approves as it stands: 3 % long at 20000, the stop 1 % away, 2.25 times that to win."""
    decision = {
        "action": action,
        "symbol": BTC,
        "size_pct": 0.03,
        "entry_price": None,
        "stop_loss": 19800.0,
        "take_profit": 20450.0,
        "order_type": "market",
        "limit_price": None,
        "leverage": 2,
        "research_request": None,
        "cited_facts": [{"path": "price", "value": 20000}],
    }
    return {
        "analysis": {"market_regime": "trending_up", "bias": "bullish", "key_observations": [], "risk_factors": []},
        "decision": {**decision, **changes},
        "confidence": 0.7,
        "strategy_used": strategy,
        "reasoning": "A break on volume.",
    }


def left(action: str, **changes: Any) -> dict[str, Any]:
    """The analysis that leaves a position, or does nothing."""
    prices = {"stop_loss": None, "take_profit": None, "leverage": None}
    return analysed(action, strategy="none", **{"size_pct": 0, **prices, **changes})


def found(summary: str = "Inflows rose.") -> dict[str, Any]:
    return {
        "summary": summary,
        "sentiment": "bullish",
        "impact_level": "medium",
        "time_horizon": "short",
        "key_points": [],
        "trading_implication": "Supports longs.",
        "confidence": 0.6,
        "sources": ["https://example.org/a"],
    }


DEFAULTS: dict[Question, Any] = {"screen": screened(), "analyze": analysed(), "research": found()}
"""What is said without a script; who looks back is answered as by the offline model."""


@dataclass(frozen=True)
class Reply:
    """A whole response of the server, for what is not an ordinary answer."""

    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def refusal() -> Reply:
    return Reply(_message("", stop_reason="refusal", stop_details={"category": "finance"}))


def overloaded() -> Reply:
    """The service is overloaded, and says that asking again at once is of no use."""
    error = {"type": "overloaded_error", "message": "come back later"}
    return Reply({"type": "error", "error": error}, 529, {"x-should-retry": "false"})


def _message(text: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 400, "output_tokens": 30},
        **changes,
    }


def _response(text: str) -> dict[str, Any]:
    results = [{"url": "https://example.org/a", "title": "A", "date": None}]
    return {
        "id": "resp_1",
        "status": "completed",
        "output": [
            {"type": "search_results", "results": results},
            {"type": "message", "content": [{"type": "output_text", "text": text}]},
        ],
        "usage": {"input_tokens": 40, "output_tokens": 12, "cost": {"total_cost": 0.005}},
    }


class ScriptedModels:
    """Gives each question the next answer in its script, or the default; keeps what was asked, in `asked`.

    An answer is an object, a text that is no JSON, or a `Reply`.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Question, dict[str, Any]]] = []
        self._scripts: dict[Question, list[Any]] = defaultdict(list)
        self._held: dict[Question, threading.Event] = {}
        self._lock = threading.Lock()

    def will_say(self, question: Question, *answers: Any) -> None:
        self._scripts[question] += answers

    def hold_next(self, question: Question) -> threading.Event:
        """The next request waits for its answer until the event is set."""
        return self._held.setdefault(question, threading.Event())

    def times_asked(self, question: Question) -> int:
        return sum(asked == question for asked, _ in self.asked)

    def shown(self, number: int = -1, question: Question = "analyze") -> dict[str, Any]:
        """The sections of an analysis prompt, or of another question's, by default the last one's."""
        prompts = [body for asked, body in self.asked if asked == question]
        return sections(user_text(prompts[number]))

    def answer(self, path: str, body: dict[str, Any]) -> Reply:
        question = _question(path, body)
        with self._lock:
            self.asked.append((question, body))
            script = self._scripts[question]
            said = script.pop(0) if script else DEFAULTS[question] if question in DEFAULTS else answer(body)
            waiting = self._held.pop(question, None)
        if waiting is not None:
            waiting.wait(30)
        if isinstance(said, Reply):
            return said
        text = said if isinstance(said, str) else json.dumps(said)
        return Reply(_response(text) if question == "research" else _message(text))


def _question(path: str, body: dict[str, Any]) -> Question:
    if path == perplexity.PATH:
        return "research"
    asked = body["output_config"]["format"]["schema"]["properties"]
    told_by: dict[str, Question] = {"signal": "screen", "execution_quality": "review", "updated_playbook": "reflect"}
    return next((question for name, question in told_by.items() if name in asked), "analyze")


def _handler(models: ScriptedModels) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            reply = models.answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            content = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def serving(models: ScriptedModels) -> Iterator[str]:
    """The server's address, while it serves."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(models))
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
