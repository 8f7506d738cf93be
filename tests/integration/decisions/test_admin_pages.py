"""The pages of a decision and of what became of it lead to one another."""

import json
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from decisions.admin_pages import MEANING, reply_words
from decisions.models import (
    DecisionCycle,
    Fill,
    FundingPayment,
    MarketRecord,
    ModelCall,
    Order,
    OutboxMessage,
    Outcome,
    ScreenerLog,
)
from journal.models import Trade
from journal.presentation import page_of
from risk.models import RiskRejection, Verdict
from tests.integration.admin_rows import START, logged_in, row
from tests.integration.rewriting import rewriting_the_record

RULES = [
    {"rule": "daily_loss", "measured": "-0.001", "limit": "-0.03", "verdict": "pass", "reason": "The day is fine."},
    {"rule": "sl_distance", "measured": "0.035", "limit": "0.03", "verdict": "reject", "reason": "The stop is far."},
    {"rule": "halted", "measured": None, "limit": None, "verdict": "pass", "reason": "No halt stands."},
]
SNAPSHOT = {
    "symbol": "BTC-USDT-SWAP", "price": "20423.40", "regime": "ranging", "change_24h": "0.00489",
    "timestamp": "2022-11-01T12:00:00Z",
    "indicators": {"15m": {"rsi_14": 42.162141234}, "1H": {"rsi_14": None}},
}  # fmt: skip


@pytest.fixture
def reader(db: None) -> Client:
    return logged_in("reader", is_superuser=True)[0]


@pytest.fixture
def chain(db: None) -> SimpleNamespace:
    """A cycle that opened a trade, a later one that closed it, and all that lies between."""
    opening = row(
        DecisionCycle,
        snapshot=SNAPSHOT,
        decision={"decision": {"action": "OPEN_LONG", "size_pct": "0.02"}, "reasoning": "It will rise."},
        reason="OPEN_LONG filled",
    )
    closing = row(DecisionCycle, 1, slot_at=START + timedelta(hours=1))
    trade = row(Trade, decision_id=opening.decision_id, pnl_usd=Decimal("-2.6565"), exit_reason="stop_loss")
    orders = [
        row(
            Order, number, cycle=cycle, trade=trade, decision_id=cycle.decision_id, stop_loss=1, reduce_only=number == 1
        )
        for number, cycle in enumerate((opening, closing))
    ]
    return SimpleNamespace(
        opening=opening,
        closing=closing,
        trade=trade,
        orders=orders,
        fills=[row(Fill, number, order=order, trade=trade) for number, order in enumerate(orders)],
        funding=row(FundingPayment, trade=trade),
        verdict=row(Verdict, decision_id=opening.decision_id, results={"results": RULES}, outcome="approved"),
        screening=row(ScreenerLog, cycle=opening),
        call=row(ModelCall, cycle=opening, cost_usd=Decimal("0.020455"), prompt="What now?", raw_reply="Rise."),
    )


def shown(client: Client, row_: object) -> str:
    response = client.get(page_of(row_))
    assert response.status_code == 200
    return response.content.decode()


def test_a_trade_leads_to_its_whole_chain(chain: SimpleNamespace, reader: Client):
    page = shown(reader, chain.trade)
    for found in (chain.opening, chain.closing, chain.verdict, *chain.orders, *chain.fills, chain.funding):
        assert page_of(found) in page
    assert "−2.6565 USD net" in page
    assert "closed by stop loss" in page


def test_a_cycle_leads_to_everything_it_left(chain: SimpleNamespace, reader: Client):
    page = shown(reader, chain.opening)
    for found in (chain.screening, chain.call, chain.verdict, chain.orders[0], chain.fills[0], chain.trade):
        assert page_of(found) in page
    for text in ("What now?", "Rise.", "Model calls, 0.020455 USD", "20,423.4", "0.489 %", "42.16214", "It will rise."):
        assert text in page
    assert page_of(chain.orders[1]) not in page
    assert page_of(chain.trade) in shown(reader, chain.closing)


def test_a_cycle_begins_with_its_outcome_and_the_reason_in_plain_words(reader: Client):
    cycle = row(DecisionCycle, outcome="cooldown", reason="3 losses in a row: cooling down until 14:30 UTC")
    page = shown(reader, cycle)
    assert page.index("nothing may be opened for a while") < page.index("3 losses in a row") < page.index("<dl")


def test_a_cycle_under_way_says_where_it_is(reader: Client):
    page = shown(reader, row(DecisionCycle, state="analyzing", outcome=None, finished_at=None))
    assert "Not ended: analyzing" in page


def test_every_outcome_has_its_sentence():
    assert set(MEANING) == set(Outcome.values)
    assert len(set(MEANING.values())) == len(MEANING)


def test_a_verdict_shows_every_rule_and_what_refused_first(chain: SimpleNamespace, reader: Client):
    with rewriting_the_record():
        Verdict.objects.update(approved=False, outcome="gate_rejected")
    row(RiskRejection, verdict=chain.verdict)
    for page in (shown(reader, chain.verdict), shown(reader, RiskRejection.objects.get())):
        assert all(rule["reason"] in page for rule in RULES)
        assert page.index("SL distance") < page.index("Daily loss")
        assert "<p>The stop is far.</p>" in page
    verdict = shown(reader, chain.verdict)
    assert page_of(chain.opening) in verdict
    assert page_of(chain.orders[0]) in verdict


def test_an_order_leads_to_its_decision_verdict_fills_and_trade(chain: SimpleNamespace, reader: Client):
    page = shown(reader, chain.orders[0])
    for found in (chain.opening, chain.verdict, chain.fills[0], chain.trade):
        assert page_of(found) in page


def test_a_recorded_snapshot_is_laid_out(reader: Client):
    page = shown(reader, row(MarketRecord, payload=SNAPSHOT))
    assert '<th scope="col">15m</th>' in page
    assert "RSI 14" in page
    assert ">2022-11-01 12:00:00</time>" in page


def test_an_alert_is_told_in_words(reader: Client):
    payload = {"title": "Cooldown after 3 losses", "detail": "Until 20:35 UTC", "action_taken": "No openings"}
    alert = row(OutboxMessage, stream="system:alerts", severity="WARN", payload=payload)
    told = reader.get(page_of(alert)).content.decode()
    assert "<h2>Cooldown after 3 losses</h2>" in told
    assert "<p>Until 20:35 UTC\nNo openings</p>" in told


def test_the_stages_of_a_cycle_are_told_in_their_order_to_the_millisecond(reader: Client):
    cycle = row(DecisionCycle, stage_ms={"risk_check": 104.4, "collecting": 1250.6})
    assert "collecting 1,251 ms, risk check 104 ms" in reader.get(page_of(cycle)).content.decode()


def test_the_queries_of_a_cycles_page_do_not_grow_with_what_it_left(chain: SimpleNamespace, reader: Client):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown(reader, chain.opening)
        return len(captured)

    queries()
    before = queries()
    for number in range(5):
        row(ModelCall, cycle=chain.opening)
        row(Fill, 10 + number, order=chain.orders[0], trade=chain.trade)
    assert queries() == before


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (json.dumps({"content": [{"type": "text", "text": '{"a": 1}'}], "stop": "end"}), '{\n  "a": 1\n}'),
        (json.dumps({"output": [{"content": [{"text": "one"}, {"text": "two"}]}]}), "one\n\ntwo"),
        ("no JSON", ""),
        ("", ""),
        ("[" * 100_000, ""),
        (json.dumps({"text": None}), ""),
    ],
    ids=["message", "response", "plain", "empty", "deep", "no text"],
)
def test_a_replys_own_words_are_taken_out_of_their_envelope(raw: str, words: str):
    assert reply_words(raw) == words
