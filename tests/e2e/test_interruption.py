"""A stack that is interrupted in the middle of a cycle, started again, and loses nothing."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from decisions.sandbox.offline_model import answer, user_text
from tests.e2e.test_stack import Stack, until

INSTRUMENTS = [f"{coin}-USDT-SWAP" for coin in ("BTC", "ETH", "SOL", "DOGE", "XRP")]
OPEN_CYCLES = """
from decisions.models import DecisionCycle
print("OPEN", *DecisionCycle.objects.exclude(state="done").values_list("pk", flat=True))
"""


class HesitantModel:
    """The offline model behind real HTTP: keeps the reply to an analysis back until it is told to go on."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if "technical_indicators" in user_text(request):
                    model.asked.set()
                    model.go_on.wait(120)
                message = {
                    "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"],
                    "content": [{"type": "text", "text": json.dumps(answer(request))}],
                    "stop_reason": "end_turn", "usage": {"input_tokens": 1000, "output_tokens": 100},
                }  # fmt: skip
                body = json.dumps(message).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing: the test's own output is what counts."""

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:  # the worker that asked was killed
                    return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def model() -> Iterator[HesitantModel]:
    model = HesitantModel()
    yield model
    model.go_on.set()
    model.server.shutdown()


@pytest.fixture
def stack(tmp_path: Path, model: HesitantModel) -> Iterator[Stack]:
    stack = Stack(tmp_path / "local")
    stack.environment |= {
        "ANTHROPIC_API_KEY": "sk-test",
        "ANTHROPIC_BASE_URL": model.address,
        "INSTRUMENTS": json.dumps(INSTRUMENTS),
        "SANDBOX_BAR_SECONDS": "1",
        "MAX_OPUS_TIMEOUT_SECONDS": "10",
        "SWEEP_SECONDS": "2",
    }
    yield stack
    if stack.process and stack.process.poll() is None:
        stack.process.kill()
        stack.process.wait()


def open_cycles(stack: Stack) -> set[int]:
    told = stack.command("shell", "--no-imports", "-c", OPEN_CYCLES).stdout
    (line,) = [line for line in told.splitlines() if line.startswith("OPEN")]
    return {int(number) for number in line.split()[1:]}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_cycle_that_was_interrupted_ends_after_the_next_start_and_the_books_balance(
    stack: Stack, model: HesitantModel, how: signal.Signals
):
    process = stack.start("--no-web")
    assert model.asked.wait(180), stack.said()
    process.send_signal(how)
    if how == signal.SIGINT:
        until(lambda: "Stopping" in stack.said(), 30, stack.said)
        model.go_on.set()
    assert process.wait(180) in (0, -signal.SIGKILL), stack.said()
    until(lambda: stack.processes() == {}, 30, stack.processes)
    model.go_on.set()
    interrupted = open_cycles(stack)
    if how == signal.SIGKILL:
        assert interrupted, "nothing was going on when the stack was killed"

    process = stack.start("--no-web")
    until(lambda: interrupted.isdisjoint(open_cycles(stack)), 180, stack.said)
    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 0, stack.said()
    status = json.loads(stack.command("status", "--json").stdout)
    assert status["books"]["difference"] == "0.0000"
    assert status["dead_letters"] == 0
    assert status["orders"]["unknown"] == 0
    assert interrupted.isdisjoint(open_cycles(stack))
