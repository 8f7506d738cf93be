"""A person with a browser reads a trade's chain, filters a list and takes it along, and keeps a note."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest

from decisions.models import DecisionCycle, Fill, MarketRecord, ModelCall, Order
from journal.models import Trade, TradeNote
from journal.notes import standing_tags
from journal.presentation import page_of
from risk.models import Verdict
from tests.e2e.test_admin_pages import CHROMIUM, PASSWORD, browsing
from tests.integration.admin_rows import START, row

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on the PATH: there is no browser to look with"),
    pytest.mark.timeout(180),
]

Scheme = Literal["light", "dark"]
SYMBOL = "BTC-USDT-SWAP"
RULE = {"rule": "sl_distance", "measured": "0.025", "limit": "0.03", "verdict": "pass", "reason": "The stop is near."}
TABS = (
    "Snapshot", "Screener", "Research", "Model", "Verdict", "Orders 1", "Money", "Review", "Notes", "Every column",
)  # fmt: skip


@pytest.fixture
def reader(django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("reader", password=PASSWORD)


def a_trade() -> Trade:
    """A trade with its decision, prices, order and fills."""
    research = {
        "query": "Why?",
        "answer": {"summary": "A rally."},
        "citations": [{"url": "https://news.example/", "title": "The rally", "date": ""}],
    }
    cycle = row(
        DecisionCycle,
        instrument=SYMBOL,
        slot_at=START,
        snapshot={"symbol": SYMBOL, "price": "100", "indicators": {"1H": {"rsi_14": 61.25}}},
        decision={"decision": {"action": "OPEN_LONG"}, "reasoning": "<script>document.title = 'owned'</script>"},
        research=research,
    )
    reply = "<img src=x onerror=\"document.title = 'owned'\">"
    row(ModelCall, cycle=cycle, purpose="analyze", prompt="What now?", raw_reply=reply)
    row(Verdict, decision_id=cycle.decision_id, results={"results": [RULE]}, approved=True)
    trade = row(
        Trade, symbol=SYMBOL, decision_id=cycle.decision_id, opened_at=START, closed_at=START + timedelta(hours=1),
        duration_seconds=3600, entry_price=100, stop_loss=98, take_profit=110, exit_reason="take_profit",
        pnl_usd=Decimal("2.5"), indicators_entry={"1H": {"rsi_14": 61.25}}, indicators_exit={"1H": {"rsi_14": 44.75}},
    )  # fmt: skip
    order = row(
        Order, cycle=cycle, trade=trade, decision_id=cycle.decision_id, stop_loss=98, take_profit=110,
        reduce_only=False, status="filled", ended_at=START,
    )  # fmt: skip
    for number, (intent, price, minutes) in enumerate((("open", 100, 0), ("close", 110, 60))):
        at = START + timedelta(minutes=minutes)
        row(Fill, number, order=order, trade=trade, intent=intent, status="filled", price=price, filled_at=at)
    for number in range(40):
        at = START + timedelta(minutes=5 * number - 60)
        row(MarketRecord, number, symbol=SYMBOL, at=at, price=100 + number % 12)
    return trade


def faults(page: Any) -> list[str]:
    """What axe-core finds serious or critical on the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:120] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def fits(page: Any, width: int) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= width)


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_person_reads_a_trades_chain_through_all_its_tabs(width: int, scheme: Scheme, live_server: Any, reader: None):
    from playwright.sync_api import expect

    trade = a_trade()
    with browsing(live_server.url, width, scheme) as page:
        page.goto(f"{live_server.url}{page_of(trade)}")
        expect(page.locator(".record h2").first).to_contain_text("LONG BTC-USDT-SWAP: +2.5 USD net")
        expect(page.locator("figure svg[role=img]")).to_be_visible()
        tabs = page.get_by_role("tab")
        assert tabs.all_inner_texts() == [*TABS[:-1], *(["More"] if tabs.count() > len(TABS) else []), TABS[-1]]
        for name, told in (
            ("Research", "The rally"), ("Model", "What it rests on"), ("Verdict", "The stop is near."),
            ("Orders 1", "Fills"), ("Money", "Fees USD"), ("Notes", "Keep a note"), ("Snapshot", "44.75"),
        ):  # fmt: skip
            page.get_by_role("tab", name=name, exact=True).click()
            panel = page.get_by_role("tabpanel")
            expect(panel).to_have_count(1)
            expect(panel).to_contain_text(told)
            assert faults(page) == []
            assert fits(page, width)
        assert page.url.endswith("#tab-snapshot")
        assert "owned" not in page.title()


def test_tabs_are_gone_through_by_keyboard_and_an_address_leads_to_one(live_server: Any, reader: None):
    from playwright.sync_api import expect

    trade = a_trade()
    with browsing(live_server.url, 1400) as page:
        page.goto(f"{live_server.url}{page_of(trade)}#tab-verdict")
        chosen = page.locator("[role=tab][aria-selected=true]")
        expect(chosen).to_have_text("Verdict")
        chosen.focus()
        for key, name in (
            ("ArrowRight", "Orders 1"), ("ArrowLeft", "Verdict"), ("Home", "Snapshot"), ("ArrowLeft", "Every column"),
            ("End", "Every column"), ("ArrowRight", "Snapshot"),
        ):  # fmt: skip
            page.keyboard.press(key)
            expect(chosen).to_have_text(name)
            expect(chosen).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.locator(".record-tab:focus-within")).to_have_id("tab-snapshot")
        page.goto(f"{live_server.url}{page_of(trade)}")
        page.evaluate("location.hash = 'tab-notes'")
        expect(chosen).to_have_text("Notes")


def test_without_a_script_everything_is_shown_one_below_another(live_server: Any, reader: None):
    from playwright.sync_api import expect, sync_playwright

    trade = a_trade()
    with browsing(live_server.url, 1400) as page:
        cookies = page.context.cookies()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        context = browser.new_context(java_script_enabled=False)
        context.add_cookies(cookies)
        page = context.new_page()
        page.goto(f"{live_server.url}{page_of(trade)}")
        for told in ("The rally", "The stop is near.", "Keep a note", "Trade ID"):
            expect(page.get_by_text(told).first).to_be_visible()
        assert page.get_by_role("tab").count() == 0
        browser.close()


@pytest.mark.parametrize("width", [1400, 400])
def test_a_person_filters_the_trades_and_takes_them_along(width: int, live_server: Any, reader: None, tmp_path: Any):
    from playwright.sync_api import expect

    row(Trade, 1, pnl_usd=Decimal("3.5"), symbol="BTC-USDT-SWAP")
    row(Trade, 2, pnl_usd=Decimal("-1.5"), symbol="ETH-USDT-SWAP")
    with browsing(live_server.url, width) as page:
        page.goto(f"{live_server.url}/admin/journal/trade/")
        expect(page.locator(".record-sums")).to_contain_text("50.0 % of 2")
        assert faults(page) == []
        page.locator("a:has-text('Filters')").click()
        page.get_by_role("link", name="Lost").click()
        expect(page.locator(".record-sums")).to_contain_text("−1.5")
        expect(page.locator("#result_list tbody tr")).to_have_count(1)
        assert fits(page, width)
        for title, read in (("JSON", _trades_of_json), ("CSV", _trades_of_csv)):
            with page.expect_download() as taken:
                page.get_by_role("link", name=f"Export as {title}").click()
            assert re.fullmatch(rf"trades-\d{{8}}T\d{{6}}Z\.{title.lower()}", taken.value.suggested_filename)
            taken.value.save_as(tmp_path / title)
            assert read((tmp_path / title).read_text(encoding="utf-8")) == ["ETH-USDT-SWAP"]


def _trades_of_json(text: str) -> list[str]:
    return [trade["symbol"] for trade in json.loads(text)]


def _trades_of_csv(text: str) -> list[str]:
    names, *lines = (line.split(",") for line in text.splitlines())
    return [line[names.index("symbol")] for line in lines]


def test_a_person_keeps_a_note_with_tags_and_finds_the_trade_by_them(live_server: Any, reader: None):
    from playwright.sync_api import expect

    trade, other = row(Trade, 1, symbol="BTC-USDT-SWAP"), row(Trade, 2, symbol="ETH-USDT-SWAP")
    with browsing(live_server.url, 400) as page:
        page.goto(f"{live_server.url}{page_of(trade)}#tab-notes")
        page.locator("input[name=tags]").fill("no_such word")
        page.locator("textarea[name=text]").fill("Chased <b>the</b> news.")
        page.click("text='Keep it'")
        expect(page.locator(".record-refusal")).to_contain_text("“no_such” is no tag")
        page.locator("input[name=tags]").fill("news chased")
        page.click("text='Keep it'")
        expect(page.locator("[role=tab][aria-selected=true]")).to_have_text("Notes 1")
        expect(page.get_by_role("tabpanel")).to_contain_text("Chased <b>the</b> news.")
        expect(page.get_by_role("tabpanel")).to_contain_text("reader")
        page.goto(f"{live_server.url}/admin/journal/trade/")
        page.locator("a:has-text('Filters')").click()
        page.get_by_role("link", name="chased").click()
        expect(page.locator("#result_list tbody tr")).to_have_count(1)
        expect(page.locator(f"a[href^='{page_of(trade)}']")).to_be_visible()
    assert (TradeNote.objects.get().author, standing_tags(trade)) == ("reader", ["chased", "news"])
    assert standing_tags(other) == []


@pytest.mark.parametrize(("width", "scheme"), [(1400, "dark"), (400, "light")])
def test_a_cycle_that_did_not_trade_says_why_at_its_top(width: int, scheme: Scheme, live_server: Any, reader: None):
    from playwright.sync_api import expect

    cycle = row(DecisionCycle, outcome="cooldown", reason="3 losses in a row: cooling down until 14:30 UTC")
    with browsing(live_server.url, width, scheme) as page:
        page.goto(f"{live_server.url}/admin/decisions/decisioncycle/")
        expect(page.locator(".record-sums")).to_contain_text("cooldown")
        assert faults(page) == []
        page.locator("#result_list tbody a").first.click()
        expect(page.locator(".record-notice").first).to_contain_text("nothing may be opened for a while")
        expect(page.locator(".record-notice").first).to_contain_text("cooling down until 14:30 UTC")
        page.get_by_role("tab", name="Verdict").click()
        expect(page.get_by_role("tabpanel")).to_contain_text("The risk gate was not asked")
        assert faults(page) == []
        assert fits(page, width)
        assert page_of(cycle) in page.url
