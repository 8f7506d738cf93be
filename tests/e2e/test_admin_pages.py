"""A person with a browser: logs in, reads, halts and resumes; no script fails and nothing is fetched elsewhere."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from decisions.models import DecisionCycle, ModelCall
from journal.models import Trade
from journal.presentation import page_of
from risk.models import Halt, RiskAction, RiskState
from tests.integration.admin_rows import row
from tests.integration.decisions.build import NOON
from tests.integration.decisions.scene import world

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync",
]  # fmt: skip
PASSWORD = "a password for the browser"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH: there is no browser to look with"),
    pytest.mark.timeout(180),
]


@contextmanager
def browsing(url: str, width: int, scheme: Literal["light", "dark"] = "light") -> Iterator[Any]:
    """A page, logged in as `reader`; at the end nothing has failed in it and nothing came from elsewhere."""
    from playwright.sync_api import sync_playwright

    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((url, "data:")) else faults.append(request.url),
        )
        page.goto(f"{url}/")
        page.fill("[name=username]", "reader")
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")
        yield page
        browser.close()
    assert faults == []


@pytest.fixture
def reader(django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("reader", password=PASSWORD)


@pytest.mark.parametrize("width", [1400, 400])
def test_a_person_logs_in_and_reads_trades_and_a_cycle(width: int, live_server: Any, reader: None):
    from playwright.sync_api import expect

    cycle = row(DecisionCycle, reason="<script>document.title = 'owned'</script>")
    row(ModelCall, cycle=cycle, raw_reply="<img src=x onerror=\"document.title = 'owned'\">")
    trade = row(Trade, symbol="BTC-USDT-SWAP")
    addresses = page_of(trade), page_of(cycle)
    with browsing(live_server.url, width) as page:
        page.goto(f"{live_server.url}/admin/journal/trade/")
        page.click(f"a[href^='{addresses[0]}']")
        expect(page.locator(".record h2").first).to_contain_text("LONG BTC-USDT-SWAP")
        page.goto(f"{live_server.url}{addresses[1]}")
        expect(page.locator(".record h2").first).to_contain_text("The order was sent and filled")
        page.get_by_role("tab", name="Model", exact=True).click()
        page.click("summary:has-text('raw reply')")
        expect(page.locator("pre:has-text('onerror')")).to_be_visible()
        assert "owned" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_person_halts_and_resumes(
    width: int, scheme: Literal["light", "dark"], live_server: Any, reader: None, redis_client: Any
):
    from playwright.sync_api import expect

    world(NOON)
    address = page_of(RiskState.objects.get())
    with browsing(live_server.url, width, scheme) as page:

        def fits() -> bool:
            return bool(page.evaluate("document.documentElement.scrollWidth") <= width)

        state = page.locator(".record-notice h2")
        page.goto(f"{live_server.url}{address}")
        expect(state).to_contain_text("Running")
        assert fits()
        for button, told in (("Halt trading", "Halted (manual)"), ("Resume trading", "Running")):
            page.click(f".record-actions >> text='{button}'")
            page.click("text='Go on: see what it will do'")
            assert page.locator("textarea:invalid").count() == 1  # the browser asks for a reason first
            page.get_by_label("Reason").fill("the exchange is in maintenance")
            page.click("text='Go on: see what it will do'")
            expect(state).to_contain_text(f"{button}? This is what will be done")
            assert fits()
            page.click(f"text='Yes, {button.lower()}'")
            expect(state).to_contain_text(told)
    assert [(each.action, each.by) for each in RiskAction.objects.order_by("id")] == [
        ("halt", "reader"),
        ("resume", "reader"),
    ]
    assert Halt.objects.get().ended_by == "reader"
