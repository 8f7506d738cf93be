"""A person with a browser before the dashboard: it opens, keeps up by itself, and says when it cannot."""

from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from decisions import operator_actions
from decisions.models import DecisionCycle, OutboxMessage
from journal.models import Trade
from risk.models import RiskAction
from tests.e2e.test_admin_pages import CHROMIUM, FLAGS, browsing, reader
from tests.integration.admin_rows import row
from tests.integration.decisions.build import NOON
from tests.integration.decisions.scene import account, at_once, later, world

__all__ = ["reader"]

TEN_SECONDS = 10_500

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH: there is no browser to look with"),
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("reader", "redis_client"),
]


def busy() -> None:
    """A few rows of everything that the dashboard shows."""
    for minutes in range(-90, 0, 5):
        account(later(minutes), equity=str(10_000 + minutes))
    world(NOON)
    for number, outcome in enumerate(("traded", "model_hold", "screened_out")):
        ended = {"outcome": outcome, "finished_at": datetime.now(UTC)}
        row(DecisionCycle, number, instrument="BTC-USDT-SWAP", slot_at=later(-5 * number), **ended)
        row(Trade, number, symbol=f"S{number}", closed_at=NOON, confidence_at_entry="0.7", pnl_usd=1 - number)
    row(OutboxMessage, stream="system:alerts", severity="WARN", payload={"title": "Close to the limit"})


def news() -> None:
    """A report of the account, and a halt by somebody elsewhere."""
    account(later(1), equity="10123")
    operator_actions.halt(by="ann", reason="maintenance", source=RiskAction.Source.COMMAND, now=NOON)


def open_dashboard(page: Any, url: str) -> None:
    """With a clock that the test turns."""
    page.clock.install()
    page.goto(f"{url}/admin/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_it_opens_fits_and_can_be_read_by_everybody(width: int, scheme: Literal["light", "dark"], live_server: Any):
    from playwright.sync_api import expect

    busy()
    with browsing(live_server.url, width, scheme) as page:
        expect(page.locator(".headline-mode")).to_contain_text("SANDBOX")
        expect(page.locator(".headline-sentence")).to_be_visible()
        assert page.locator("#panel-equity svg.plot").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_a_person_halts_from_it_and_it_says_so_at_once(live_server: Any):
    from playwright.sync_api import expect

    busy()
    with browsing(live_server.url, 400) as page:
        expect(page.locator(".headline-sentence")).to_contain_text("Running")
        page.click("#headline >> text='Halt trading'")
        page.get_by_label("Reason").fill("the exchange is in maintenance")
        page.click("text='Go on: see what it will do'")
        page.click("text='Yes, halt trading'")
        page.goto(f"{live_server.url}/admin/")
        state = page.locator(".headline-sentence")
        expect(state).to_contain_text(f"Halted (by hand) since {NOON:%Y-%m-%d %H:%M} UTC")
        expect(state).to_contain_text("by reader, until a person resumes: the exchange is in maintenance")
        expect(page.locator("#headline")).to_contain_text("Resume trading")


def test_it_keeps_up_by_itself_and_leaves_alone_what_a_person_did(live_server: Any):
    from playwright.sync_api import expect

    busy()
    with browsing(live_server.url, 1400) as page:
        open_dashboard(page, live_server.url)
        page.click("#panel-equity summary")
        page.focus("#panel-equity .ranges a:nth-child(2)")
        page.evaluate("window.scrollTo(0, 200); window.untouched = document.querySelector('#panel-calibration')")
        assert at_once(news) == []
        page.clock.run_for(TEN_SECONDS)
        expect(page.locator("#panel-equity .figures")).to_contain_text("10,123.00 USD")
        expect(page.locator(".headline-sentence")).to_contain_text("by ann, until a person resumes: maintenance")
        assert page.locator("#panel-equity details").get_attribute("open") is not None
        assert page.evaluate("document.activeElement.textContent") == "7d"
        assert page.evaluate("window.scrollY") == 200
        assert page.evaluate("window.untouched.isConnected")


def test_it_says_when_the_server_is_away_and_how_old_it_is(live_server: Any):
    from playwright.sync_api import expect

    busy()
    with browsing(live_server.url, 400) as page:
        open_dashboard(page, live_server.url)
        page.evaluate(
            "() => { window.real = window.fetch; window.fetch = () => Promise.reject(new TypeError('away')); }"
        )
        page.clock.run_for(65_000)
        expect(page.locator("#dashboard-news")).to_contain_text("cannot be reached: what is shown is out of date")
        expect(page.locator("#dashboard-age")).to_contain_text("1 min 0")
        assert page.evaluate("document.querySelector('#dashboard').classList.contains('dashboard-old')")
        page.evaluate("() => { window.fetch = window.real; }")
        page.clock.run_for(TEN_SECONDS)
        expect(page.locator("#dashboard-news")).to_be_empty()
        assert not page.evaluate("document.querySelector('#dashboard').classList.contains('dashboard-old')")


def test_it_says_when_its_reader_is_no_longer_logged_in(live_server: Any):
    from playwright.sync_api import expect

    busy()
    with browsing(live_server.url, 400) as page:
        open_dashboard(page, live_server.url)
        page.context.clear_cookies()
        page.clock.run_for(TEN_SECONDS)
        expect(page.locator("#dashboard-news")).to_contain_text("no longer logged in")
        expect(page.locator("#dashboard-news a")).to_have_attribute("href", f"{live_server.url}/admin/")


def test_it_rests_while_nobody_looks(live_server: Any):
    busy()
    with browsing(live_server.url, 400) as page:
        open_dashboard(page, live_server.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.resource_type))
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.clock.run_for(120_000)
        assert "fetch" not in asked
        page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
        with page.expect_response(lambda response: response.url.endswith("/admin/dashboard/")):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_it_can_be_read_without_a_script(live_server: Any):
    from playwright.sync_api import expect, sync_playwright

    busy()
    client = Client()
    client.force_login(User.objects.get(username="reader"))
    name = django_settings.SESSION_COOKIE_NAME
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(java_script_enabled=False, viewport={"width": 400, "height": 900})
        context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
        page = context.new_page()
        page.goto(f"{live_server.url}/admin/?range=all")
        expect(page.locator(".headline-sentence")).to_be_visible()
        expect(page.locator("#panel-equity svg.plot").first).to_be_visible()
        browser.close()
