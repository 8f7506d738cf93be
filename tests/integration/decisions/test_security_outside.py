"""Whatever a page, a model or a service says: nothing that it names is fetched, and nobody is followed elsewhere."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from decisions.clients import calendars
from decisions.models import ModelCall
from tests.integration.decisions.model_server import Reply, ScriptedModels, analysed, found
from tests.integration.decisions.scene import drive, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
PROJECT = Path(__file__).resolve().parents[3]


class Trap:
    """A private address that nobody of ours has a reason to ask."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url = url
        self.asked = asked


@pytest.fixture
def trap() -> Iterator[Trap]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_HEAD = _note  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Trap(f"http://127.0.0.1:{server.server_port}/latest/meta-data/", asked)
    server.shutdown()
    thread.join()
    server.server_close()


def researched() -> Any:
    """A cycle whose model asks for research and gets it."""
    world()
    return drive(tick())


def test_links_that_research_brings_are_shown_and_never_fetched(models: ScriptedModels, trap: Trap) -> None:
    models.will_say("analyze", analysed("HOLD", research_request=f"read {trap.url}"), analysed("HOLD"))
    models.will_say("research", {**found(f"See {trap.url}"), "sources": [trap.url], "key_points": [trap.url]})
    cycle = researched()
    assert models.times_asked("research") == 1
    assert trap.url in str(cycle.research)
    assert trap.asked == []


@pytest.mark.parametrize("question", ["screen", "analyze", "research"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_service_that_sends_us_elsewhere_is_not_followed(
    models: ScriptedModels, trap: Trap, question: Any, status: int
) -> None:
    moved = Reply({}, status, {"Location": trap.url})
    models.will_say("analyze", *([moved] if question == "analyze" else [analysed("HOLD", research_request="the news")]))
    if question != "analyze":
        models.will_say(question, *[moved] * 4)
    researched()
    assert models.times_asked(question) > 0
    assert trap.asked == []
    assert ModelCall.objects.filter(purpose=question).exclude(outcome="ok").exists()


def test_the_calendars_have_addresses_of_their_own_and_follow_nobody() -> None:
    addresses = [value for name, value in vars(calendars).items() if name.endswith("_URL")]
    assert len(addresses) == 4
    assert all(address.startswith("https://") for address in addresses)
    assert calendars._client(0).follow_redirects is False


def test_no_other_module_speaks_http() -> None:
    """Whoever adds one has to say here where it may go."""
    known = {
        "decisions/clients/bounded.py", "decisions/clients/calendars.py", "decisions/clients/cassette.py",
        "decisions/clients/claude.py", "decisions/clients/claude_exchange.py", "decisions/clients/perplexity.py",
        "decisions/sandbox/offline_transport.py",
        "decisions/alerts_out/sender.py",  # where the operator has alerts sent
        "decisions/clients/okx.py",  # OKX_BASE_URL
        "orchestrator_project/local/stack.py",
    }  # fmt: skip
    words = ("import httpx", "from httpx", "urllib.request", "import requests", "http.client", "import aiohttp")
    speaking = {
        str(path.relative_to(PROJECT))
        for package in ("orchestrator_project", "journal", "risk", "decisions", "reflection")
        for path in (PROJECT / package).rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert speaking <= known
    assert configured.PERPLEXITY_BASE_URL.startswith("https://")
