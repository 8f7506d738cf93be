"""A person with a browser: logs in, reads the trades and a cycle; no script fails and nothing is fetched elsewhere."""

import shutil
from typing import Any

import pytest

from decisions.models import DecisionCycle, ModelCall
from journal.models import Trade
from journal.presentation import page_of
from tests.integration.admin_rows import row

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


@pytest.mark.parametrize("width", [1400, 400])
def test_a_person_logs_in_and_reads_trades_and_a_cycle(width: int, live_server: Any, django_user_model: Any):
    from playwright.sync_api import expect, sync_playwright

    django_user_model.objects.create_superuser("reader", password=PASSWORD)
    cycle = row(DecisionCycle, reason="<script>document.title = 'owned'</script>")
    row(ModelCall, cycle=cycle, raw_reply="<img src=x onerror=\"document.title = 'owned'\">")
    trade = row(Trade, symbol="BTC-USDT-SWAP")
    addresses = page_of(trade), page_of(cycle)
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((live_server.url, "data:")) else faults.append(request.url),
        )
        page.goto(f"{live_server.url}/")
        page.fill("[name=username]", "reader")
        page.fill("[name=password]", PASSWORD)
        page.click("[type=submit]")
        page.goto(f"{live_server.url}/admin/journal/trade/")
        page.click(f"a[href^='{addresses[0]}']")
        expect(page.locator(".record h2").first).to_contain_text("LONG BTC-USDT-SWAP")
        page.goto(f"{live_server.url}{addresses[1]}")
        expect(page.locator(".record h2").first).to_contain_text("The order was sent and filled")
        page.click("summary:has-text('raw reply')")
        expect(page.locator("pre:has-text('onerror')")).to_be_visible()
        assert "owned" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert faults == []
