"""What our client of the Messages API adds to the bare SDK: one analysis over a transport that answers at once.

    python tests/bench/model_client.py [--rounds 300]

Both send the same request to the same transport and validate the same answer. No network and no server.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
AIM_MS = 2.0
WARM_UP = 30
MODEL, MAX_TOKENS = "claude-opus-4-6", 4096
SYSTEM, REFERENCE, USER = "You trade. " * 700, "A rule of the playbook. " * 100, "A figure of the market. " * 150
"""Of 8, 2 and 4 kB, about what an analysis has."""

if TYPE_CHECKING:
    import httpx2

ANSWER: dict[str, Any] = {
    "analysis": {"market_regime": "ranging", "bias": "neutral", "key_observations": ["a"], "risk_factors": ["b"]},
    "decision": {
        "action": "HOLD", "symbol": "BTC-USDT-SWAP", "size_pct": 0, "entry_price": None, "stop_loss": None,
        "take_profit": None, "order_type": "market", "limit_price": None, "leverage": None, "research_request": None,
        "cited_facts": [{"path": "price", "value": 20000}],
    },
    "confidence": 0.5, "strategy_used": "none", "reasoning": "There is nothing to do. " * 20,
}  # fmt: skip

MESSAGE = json.dumps(
    {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "text", "text": json.dumps(ANSWER)}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 4000, "output_tokens": 300},
    }
).encode()  # fmt: skip


def instant() -> "httpx2.Client":
    """A client whose every request is answered at once."""
    import httpx2

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        headers = {"content-type": "application/json", "request-id": "req_1"}
        return httpx2.Response(200, content=MESSAGE, headers=headers, request=request)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def bare() -> Callable[[], object]:
    """The question asked of the SDK itself."""
    import anthropic

    from decisions.clients.claude_request import build_request
    from decisions.prompts import Prompt
    from decisions.schemas import AnalysisAnswer

    sdk = anthropic.Anthropic(api_key="none", base_url="https://bench.invalid", max_retries=0, http_client=instant())
    prompt = Prompt(SYSTEM, USER, reference=REFERENCE)
    request = build_request(prompt, AnalysisAnswer, model=MODEL, max_tokens=MAX_TOKENS)

    def ask() -> object:
        message = sdk.messages.create(**request, timeout=30)
        return AnalysisAnswer.model_validate_json(message.content[0].text)

    return ask


def ours() -> Callable[[], object]:
    """The same question asked through our client."""
    import anthropic

    from decisions.clients import claude
    from decisions.prompts import Prompt
    from decisions.schemas import AnalysisAnswer

    sdk = anthropic.Anthropic(api_key="none", base_url="https://bench.invalid", max_retries=0, http_client=instant())
    client = claude._Client(sdk)
    claude._client = lambda *_: client  # type: ignore[assignment]  # whatever the settings are
    prompt = Prompt(SYSTEM, USER, reference=REFERENCE)

    def ask() -> object:
        reply = claude.ask("analyze", prompt, AnalysisAnswer, model=MODEL, max_tokens=MAX_TOKENS, timeout_seconds=30)
        assert reply.parsed is not None, reply.error
        return reply.parsed

    return ask


def timed(ask: Callable[[], object]) -> float:
    """Milliseconds for one question."""
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def told(name: str, milliseconds: list[float]) -> float:
    p50, p95 = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=20)[18]
    print(f"{name:<34} p50 {p50:7.2f} ms   p95 {p95:7.2f} ms   (min {min(milliseconds):.2f})")
    return p50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    os.environ.update(DJANGO_SETTINGS_MODULE="orchestrator_project.settings", SETTINGS_FILE=os.devnull)
    import django

    django.setup()
    alone, through = bare(), ours()
    for _ in range(WARM_UP):
        alone(), through()
    assert alone() == through()
    sdk, client = [], []
    for _ in range(options.rounds):  # alternating, so that whatever else the machine does falls on both
        sdk.append(timed(alone))
        client.append(timed(through))
    added = told("our client", client) - told("the SDK alone", sdk)
    verdict = "within" if added < AIM_MS else "beyond"
    print(f"{'our client adds':<34} p50 {added:7.2f} ms   ({verdict} the aim of {AIM_MS:g} ms)")


if __name__ == "__main__":
    main()
