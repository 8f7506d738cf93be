"""A trade's page: the result in one glance, the chart on recorded prices, and every link of the chain in its tab."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from decisions.chain import MOST_CYCLES, chain_of_trade
from decisions.models import (
    DecisionCycle,
    Fill,
    FundingPayment,
    MarketRecord,
    ModelCall,
    Order,
    OrderTransition,
    ScreenerLog,
)
from decisions.trade_chart import brackets, recorded_candles
from decisions.trade_page import first_risk, in_r
from journal.models import PlaybookVersion, Trade
from journal.presentation import page_of
from risk.models import Verdict
from tests.integration.admin_rows import START, logged_in, row

pytestmark = pytest.mark.django_db

SYMBOL = "BTC-USDT-SWAP"
MINUTE = timedelta(minutes=1)
RULE = {"rule": "sl_distance", "measured": "0.025", "limit": "0.03", "verdict": "pass", "reason": "The stop is near."}
RESEARCH = {
    "query": "Why did it rise?",
    "asked_at": "2022-11-01T00:00:00Z",
    "answer": {"summary": "A rally.", "sentiment": "bullish", "key_points": ["Point one"], "confidence": 0.5},
    "citations": [
        {"url": "https://news.example/rally", "title": "Rally <b>now</b>", "date": "2022-11-01"},
        {"url": "javascript:alert(1)", "title": "Trap", "date": ""},
    ],
}
DECISION = {
    "decision": {"action": "OPEN_LONG", "size_pct": "0.02", "cited_facts": [{"path": "price", "value": 100.0}]},
    "analysis": {"bias": "bullish", "key_observations": ["It broke out."], "risk_factors": ["It may fall back."]},
    "reasoning": "It will rise.",
    "confidence": 0.7,
}


@pytest.fixture
def reader() -> Client:
    return logged_in("reader", is_superuser=True)[0]


def three_decisions() -> list[DecisionCycle]:
    """To open, half an hour later to add, after two hours to close."""
    return [
        row(
            DecisionCycle,
            number,
            instrument=SYMBOL,
            slot_at=START + minutes * MINUTE,
            decision={**DECISION, "decision": {**DECISION["decision"], "action": action}},
            snapshot={"symbol": SYMBOL, "price": "100", "indicators": {"1H": {"rsi_14": 55.5}}},
            research=RESEARCH if number == 0 else None,
            research_reasons=[["news", "CPI in 20 minutes"]],
        )
        for number, (minutes, action) in enumerate([(0, "OPEN_LONG"), (30, "ADD"), (120, "CLOSE")])
    ]


def trade_of(cycle: DecisionCycle) -> Trade:
    return row(
        Trade, symbol=SYMBOL, decision_id=cycle.decision_id, playbook_version=7, opus_reasoning="It will rise.",
        opened_at=START, closed_at=START + 120 * MINUTE, duration_seconds=7200, exit_reason="signal",
        ct_val=Decimal("0.1"), size=3, entry_price=Decimal("101.3"), exit_price=110, stop_loss=101, take_profit=112,
        pnl_usd=Decimal("2.52"), pnl_pct=Decimal("0.082921"), gross_pnl_usd=Decimal("2.61"), fees_usd=Decimal("0.06"),
        funding_usd=Decimal("-0.03"),
        indicators_entry={"1H": {"rsi_14": 61.25}}, indicators_exit={"1H": {"rsi_14": 44.75}},
        self_review={"lesson": "Wait for the close.", "what_went_right": ["The stop was moved."]},
    )  # fmt: skip


def filled_orders(trade: Trade, cycles: list[DecisionCycle]) -> tuple[list[Order], list[Fill]]:
    """In at 100 with a stop at 98, more at 104 with a stop at 101, out at 110."""
    orders = [
        row(
            Order, number, symbol=SYMBOL, cycle=cycle, trade=trade, decision_id=cycle.decision_id, stop_loss=stop,
            take_profit=target, reduce_only=stop is None, status="filled", ended_at=START,
        )
        for number, (cycle, stop, target) in enumerate(zip(cycles, (98, 101, None), (110, 112, None), strict=True))
    ]  # fmt: skip
    executed = zip(orders, ("open", "add", "close"), (100, 104, 110), (2, 1, 3), (0, 30, 120), strict=True)
    fills = [
        row(
            Fill, number, symbol=SYMBOL, order=order, trade=trade, intent=intent, status="filled", price=price,
            size=size, fee_usd=Decimal("0.02"), filled_at=START + minutes * MINUTE,
        )
        for number, (order, intent, price, size, minutes) in enumerate(executed)
    ]  # fmt: skip
    return orders, fills


@pytest.fixture
def story() -> SimpleNamespace:
    """A trade of three decisions, and all that was said and done."""
    cycles = three_decisions()
    first, trade = cycles[0], trade_of(cycles[0])
    orders, fills = filled_orders(trade, cycles)
    return SimpleNamespace(
        trade=trade,
        cycles=cycles,
        orders=orders,
        fills=fills,
        playbook=row(PlaybookVersion, 7, version=7),
        step=row(OrderTransition, order=orders[0], from_status="pending", to_status="sent", cause="entry 1-0"),
        verdict=row(Verdict, decision_id=first.decision_id, results={"results": [RULE]}, approved=True),
        screening=row(ScreenerLog, cycle=first, reason="A breakout."),
        call=row(
            ModelCall, cycle=first, purpose="analyze", cost_usd=Decimal("0.02"), system_prompt="You trade.",
            prompt="What now?", raw_reply=json.dumps({"content": [{"text": "Rise."}]}),
        ),
        funding=row(FundingPayment, trade=trade, amount_usd=Decimal("-0.03")),
    )  # fmt: skip


def prices(first: int, last: int, every: int = 5) -> None:
    """A price every few minutes, in minutes from the trade's opening, rising by one with each."""
    for number, minute in enumerate(range(first, last + 1, every)):
        row(MarketRecord, number, symbol=SYMBOL, at=START + minute * MINUTE, price=100 + number)


def page_of_trade(client: Client, trade: Trade) -> str:
    response = client.get(page_of(trade))
    assert response.status_code == 200
    return response.content.decode()


def tab(page: str, name: str) -> str:
    """What a tab of the page holds."""
    return page.split(f'id="tab-{name}"')[1].split('<section class="record-tab"')[0]


# --- one glance -------------------------------------------------------------------------------------------------------


def test_the_first_sentence_says_what_it_was_what_it_brought_and_why_it_ended(story: SimpleNamespace, reader: Client):
    page = page_of_trade(reader, story.trade)
    # 2.52 USD net of 3 contracts of 0.1 coins that risked 2 each: 2.52 / 0.6
    assert "LONG BTC-USDT-SWAP: +2.52 USD net (+4.2 R, +8.2921 %), closed by signal after 2 h 00 min" in page
    assert page.index("+4.2 R") < page.index("At a glance") < page.index('id="tab-snapshot"')


@pytest.mark.parametrize(
    ("changes", "sentence", "tone"),
    [
        ({"pnl_usd": Decimal("-1.5")}, "−1.5 USD net (−2.5 R, ", "bad"),
        ({"pnl_usd": Decimal(0)}, ": 0 USD net (0 R, ", "plain"),
        ({"pnl_usd": None}, "closed by signal after 2 h 00 min, its result is not known", "warn"),
        ({"status": "open", "open_size": 3, "closed_at": None, "pnl_usd": None}, "LONG BTC-USDT-SWAP: open", "info"),
    ],
)  # fmt: skip
def test_a_result_that_is_bad_or_missing_is_told_as_plainly(
    story: SimpleNamespace, reader: Client, changes: dict[str, Any], sentence: str, tone: str
):
    Trade.objects.filter(pk=story.trade.pk).update(**changes)
    page = page_of_trade(reader, story.trade)
    assert sentence in page
    assert f"notice-{tone}" in page.split("<h2>")[0]


def test_r_is_what_the_first_stop_risked_however_it_was_moved_later(story: SimpleNamespace):
    chain = chain_of_trade(story.trade)
    assert first_risk(story.trade, chain) == 2
    assert in_r(story.trade, Decimal(2)) == Decimal("4.20")
    assert in_r(story.trade, None) is None
    adopted = row(Trade, 9, symbol="ETH-USDT-SWAP", origin="reconciled", stop_loss=None)
    assert first_risk(adopted, chain_of_trade(adopted)) is None


# --- the chart --------------------------------------------------------------------------------------------------------


def test_prices_on_record_become_candles_that_join(story: SimpleNamespace):
    prices(0, 30)
    first, second, third = recorded_candles(SYMBOL, START - 15 * MINUTE, START + 30 * MINUTE, "15m")
    assert (first.start, first.end) == (START - 15 * MINUTE, START)  # a price counts for the candle that it closes
    assert (second.open, second.high, second.low, second.close) == (100, 103, 100, 103)
    assert (third.open, third.high, third.low, third.close) == (103, 106, 103, 106)
    assert recorded_candles("ETH-USDT-SWAP", START, START + 30 * MINUTE, "15m") == []


def test_the_chart_has_every_execution_and_the_stop_as_it_stood(story: SimpleNamespace, reader: Client):
    prices(-60, 240)
    page = page_of_trade(reader, story.trade)
    chart = page.split('<figure class="chart-figure">')[1].split("</figure>")[0]
    for told in (
        "Entry 2022-11-01 00:00:00 UTC: 2 at 100",
        "Add 2022-11-01 00:30:00 UTC: 1 at 104",
        "Exit 2022-11-01 02:00:00",
    ):
        assert told in chart
    assert "candles of 15m" in page
    assert [(each.at, each.stop, each.target) for each in brackets(story.trade, story.orders, story.fills)] == [
        (START, 98, 110),
        (START + 30 * MINUTE, 101, 112),
    ]


def test_where_no_prices_are_kept_the_page_says_so(story: SimpleNamespace, reader: Client):
    page = page_of_trade(reader, story.trade)
    assert "No prices are kept of that time" in page
    assert "<figure" not in page


def test_an_adopted_position_without_order_and_stop_has_its_page_and_chart(reader: Client):
    prices(0, 60)
    trade = row(
        Trade, symbol=SYMBOL, origin="reconciled", status="open", open_size=1, size=1, opened_at=START + 30 * MINUTE,
        stop_loss=None, take_profit=None, decision_id=None, closed_at=None, pnl_usd=None,
    )  # fmt: skip
    page = page_of_trade(reader, trade)
    assert "<figure" in page
    assert "The big model was not asked." in tab(page, "model")


# --- the chain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("snapshot", ("61.25", "44.75", "1H at entry", "1H at exit", "Snapshot: OPEN LONG, 2022-11-01 00:00")),
        ("screener", ("A breakout.",)),
        ("research", ("Why did it rise?", "A rally.", "Point one", "news: CPI in 20 minutes", "Rally &lt;b&gt;now")),
        (
            "model",
            ("It broke out.", "It may fall back.", "price = 100.0", "You trade.", "What now?", "Rise.", "raw reply"),
        ),
        ("verdict", ("SL distance", "2.5 %", "3 %", "The stop is near.")),
        ("orders", ("entry 1-0", "OPEN LONG", "Fills", "Decisions")),
        ("money", ("+2.61", "0.06", "−0.03", "+2.52", "0.02", "All cycles of BTC-USDT-SWAP while it was open")),
        ("review", ("Wait for the close.", "The stop was moved.", "Playbook it followed")),
        ("notes", ("What people noted", "Keep a note")),
        ("every-column", ("<dt>Trade ID</dt>",)),
    ],
)
def test_every_link_of_the_chain_stands_in_its_tab(
    story: SimpleNamespace, reader: Client, name: str, told: tuple[str, ...]
):
    page = tab(page_of_trade(reader, story.trade), name)
    assert [text for text in told if text not in page] == []


def test_the_rows_behind_it_are_one_click_away(story: SimpleNamespace, reader: Client):
    page = page_of_trade(reader, story.trade)
    lone = (story.verdict, story.screening, story.call, story.funding, story.playbook)
    for found in (*story.cycles, *story.orders, *story.fills, *lone):
        assert page_of(found) in page


def test_only_pages_become_links_and_they_are_not_told_where_the_reader_comes_from(
    story: SimpleNamespace, reader: Client
):
    sources = tab(page_of_trade(reader, story.trade), "research")
    (link,) = re.findall(r'<a href="(?:https?|javascript):[^>]*>', sources)
    assert 'href="https://news.example/rally"' in link
    assert "noreferrer" in link
    assert "javascript:alert(1)" not in re.findall(r'href="([^"]*)"', sources)
    assert "Trap" in sources


def test_a_trade_that_many_decisions_changed_tells_the_first_and_the_newest(story: SimpleNamespace, reader: Client):
    for number in range(10, 10 + MOST_CYCLES):
        cycle = row(DecisionCycle, number, instrument=SYMBOL, slot_at=START + number * MINUTE)
        row(
            Order, number, cycle=cycle, trade=story.trade, decision_id=cycle.decision_id, stop_loss=1, reduce_only=False
        )
    chain = chain_of_trade(story.trade)
    assert len(chain.cycles) == MOST_CYCLES
    assert (chain.cycles[0], chain.cycles[-1], chain.left_out) == (story.cycles[0], story.cycles[-1], 3)
    assert "Decisions, and 3 more between the first two" in page_of_trade(reader, story.trade)


def test_the_queries_of_a_trades_page_do_not_grow_with_its_chain(story: SimpleNamespace, reader: Client):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page_of_trade(reader, story.trade)
        return len(captured)

    queries()
    before = queries()
    for number in range(10, 14):
        cycle = row(DecisionCycle, number, instrument=SYMBOL, slot_at=START + number * MINUTE, decision=DECISION)
        order = row(
            Order, number, cycle=cycle, trade=story.trade, decision_id=cycle.decision_id, stop_loss=1, reduce_only=False
        )
        row(OrderTransition, number, order=order, from_status="pending", to_status="sent")
        row(Fill, number, order=order, trade=story.trade)
        row(ModelCall, cycle=cycle)
        row(Verdict, number, decision_id=cycle.decision_id)
        row(FundingPayment, number, trade=story.trade)
    assert queries() == before


def test_documents_of_any_shape_do_not_break_the_page(reader: Client):
    """What a model or an older version wrote may lack anything."""
    for number, odd in enumerate(
        [{}, {"decision": None, "analysis": None}, {"answer": None, "citations": ["x", None]}]
    ):
        cycle = row(
            DecisionCycle, number, decision=odd, research=odd, snapshot=odd, research_reasons=[None, ["a"], "b"]
        )
        trade = row(
            Trade, number, symbol=f"T{number}-USDT-SWAP", decision_id=cycle.decision_id, self_review={"a": [None]}
        )
        assert reader.get(page_of(cycle)).status_code == 200
        assert reader.get(page_of(trade)).status_code == 200
