"""The offline model answers what it is asked, by the playbook's rules, in the shape that was asked for."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decisions.grounding import faults_of
from decisions.messages import AccountState, MarketSnapshot, Position
from decisions.prompts import (
    AllowedActions,
    Prompt,
    Research,
    allowed_actions,
    analysis_prompt,
    screening_prompt,
    sections,
)
from decisions.sandbox.offline_model import SIGNATURE, UnknownQuestion, answer
from decisions.schemas import (
    AnalysisAnswer,
    Citation,
    ResearchAnswer,
    ScreenAnswer,
    decode_answer,
    output_schema,
)
from journal.playbook import Playbook, first_playbook

SNAPSHOT = json.loads((Path(__file__).parent / "golden" / "snapshot.json").read_text())
NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
ACCOUNT = AccountState(
    equity=Decimal(10000),
    available=Decimal(10000),
    margin_used=Decimal(0),
    unrealized_pnl=Decimal(0),
    net_transfers_usd=Decimal(0),
)


def snapshot(indicators: dict[str, dict[str, Any]] | None = None, **changes: Any) -> MarketSnapshot:
    """The golden snapshot, a break upward on volume, with figures replaced."""
    frames = {name: {**frame, **(indicators or {}).get(name, {})} for name, frame in SNAPSHOT["indicators"].items()}
    return MarketSnapshot.model_validate({**SNAPSHOT, **changes, "indicators": frames})


def position(**changes: Any) -> Position:
    values: dict[str, Any] = {
        "symbol": "BTC-USDT-SWAP",
        "pos_side": "long",
        "size": "0.3",
        "entry_price": "97000",
        "mark_price": "97250.5",
        "notional_usd": "290",
        "unrealized_pnl": "0.75",
        "leverage": "2",
        "margin_usd": "145",
        "liquidation_price": None,
        "stop_loss": "96400",
        "take_profit": "98200",
        "opened_at": "2026-02-07T10:00:00Z",
    }
    return Position.model_validate({**values, **changes})


def request(prompt: Prompt, model: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": text} for text in (prompt.reference, prompt.user) if text]
    return {
        "messages": [{"role": "user", "content": blocks}],
        "output_config": {"format": {"type": "json_schema", "schema": output_schema(model)}},
    }


def screened(seen: MarketSnapshot) -> ScreenAnswer:
    return decode_answer(ScreenAnswer, json.dumps(answer(request(screening_prompt(seen), ScreenAnswer))))


def analysed(
    seen: MarketSnapshot,
    held: Position | None = None,
    *,
    playbook: Playbook | None = None,
    allowed: AllowedActions | None = None,
    research: Research | None = None,
) -> AnalysisAnswer:
    """The answer, which rests on facts as they were shown whatever it is."""
    prompt = analysis_prompt(
        snapshot=seen,
        positions=[held] if held else [],
        account=ACCOUNT,
        research=research,
        playbook=playbook or first_playbook(NOW),
        recent_trades=[],
        allowed=allowed or allowed_actions(has_position=held is not None, blocked=None),
        limits={},
    )
    decoded = decode_answer(AnalysisAnswer, json.dumps(answer(request(prompt, AnalysisAnswer))))
    assert faults_of(decoded.decision, sections(prompt.text)) == ()
    return decoded


def over_time(count: int, **changes: Any) -> list[AnalysisAnswer]:
    """The answers to the same figures at many moments."""
    times = [(NOW + timedelta(minutes=5 * number)).isoformat() for number in range(count)]
    return [analysed(snapshot(timestamp=time, **changes)) for time in times]


QUIET = {"15m": {"bb_position": 0.5, "rsi_14": 55.0}}


def test_every_answer_says_that_it_is_the_offline_model() -> None:
    assert screened(snapshot()).reason.startswith(SIGNATURE)
    assert analysed(snapshot()).reasoning.startswith(SIGNATURE)
    body = {"input": "BTC?", "response_format": {"json_schema": {"schema": output_schema(ResearchAnswer)}}}
    assert decode_answer(ResearchAnswer, json.dumps(answer(body))).summary.startswith(SIGNATURE)


def test_a_question_without_rules_is_refused() -> None:
    with pytest.raises(UnknownQuestion, match="no rules"):
        answer(request(screening_prompt(snapshot()), Citation))
    with pytest.raises(UnknownQuestion, match="output_config"):
        answer({"messages": []})


def test_the_same_question_has_the_same_answer() -> None:
    assert analysed(snapshot()) == analysed(snapshot())


def test_a_question_may_be_one_text_or_text_blocks() -> None:
    blocks = request(screening_prompt(snapshot()), ScreenAnswer)
    text = blocks | {"messages": [{"role": "user", "content": screening_prompt(snapshot()).text}]}
    assert answer(text) == answer(blocks)


@pytest.mark.parametrize(
    ("changes", "strategy", "action"),
    [
        ({}, "momentum_breakout", "OPEN_LONG"),
        (
            {"indicators": {"15m": {"bb_position": -0.1}, "1H": {"macd_hist": -20.0}}},
            "momentum_breakout",
            "OPEN_SHORT",
        ),
        (
            {"indicators": {"15m": {"bb_position": 0.4, "rsi_14": 42.0}}, "price": "96500", "volume_vs_avg": "0.8"},
            "trend_pullback",
            "OPEN_LONG",
        ),
        (
            {
                "indicators": {"15m": {"bb_position": 0.02, "rsi_14": 24.0}, "1H": {"adx_14": 17.0}},
                "regime": "ranging",
                "volume_vs_avg": "0.8",
            },
            "mean_reversion",
            "OPEN_LONG",
        ),
    ],
)
def test_each_strategy_of_the_playbook_is_traded_on_its_setup(
    changes: dict[str, Any], strategy: str, action: str
) -> None:
    found = analysed(snapshot(**changes))
    assert screened(snapshot(**changes)).signal
    assert (found.strategy_used, found.decision.action) == (strategy, action)


def test_a_quiet_market_is_no_signal_and_a_hold() -> None:
    quiet = snapshot(QUIET)
    assert not screened(quiet).signal
    assert analysed(quiet).decision.action == "HOLD"


def test_a_market_that_is_not_warm_yet_is_a_hold() -> None:
    unknown = dict.fromkeys(SNAPSHOT["indicators"]["1H"])
    cold = snapshot({"15m": unknown, "1H": unknown, "4H": unknown}, regime=None, volume_vs_avg=None)
    assert not screened(cold).signal
    found = analysed(cold, position())
    assert (found.decision.action, found.analysis.market_regime) == ("HOLD", "ranging")


def test_proposals_keep_to_the_limits_but_for_about_one_in_twelve() -> None:
    faults: Counter[str] = Counter()
    proposals = [found.decision for found in over_time(600) if found.decision.action == "OPEN_LONG"]
    for decision in proposals:
        assert decision.stop_loss is not None
        assert decision.take_profit is not None
        entry = decision.limit_price or Decimal("97250.5")
        distance = (entry - decision.stop_loss) / entry
        faults["stop"] += distance > Decimal("0.03")
        faults["reward"] += (decision.take_profit - entry) / (entry - decision.stop_loss) < Decimal("1.5")
        faults["size"] += decision.size_pct > Decimal("0.05")
        assert decision.limit_price is None or Decimal("0.997") * entry < decision.limit_price <= Decimal("97250.4")
    assert 0.04 < faults.total() / len(proposals) < 0.13
    assert set(faults) == {"stop", "reward", "size"}
    assert all(faults.values())
    assert 0.10 < sum(decision.order_type == "limit" for decision in proposals) / len(proposals) < 0.24
    assert {decision.leverage for decision in proposals} == {1, 2, 3, 4}


def test_research_is_asked_for_now_and_then_and_never_twice() -> None:
    answers = over_time(600)
    assert 2 <= sum(found.decision.research_request is not None for found in answers) <= 25
    asking = next(number for number, found in enumerate(answers) if found.decision.research_request)
    at = (NOW + timedelta(minutes=5 * asking)).isoformat()
    assert answers[asking].decision.action == "HOLD"
    body = {"input": "BTC?", "response_format": {"json_schema": {"schema": output_schema(ResearchAnswer)}}}
    found = Research(decode_answer(ResearchAnswer, json.dumps(answer(body))))
    assert analysed(snapshot(timestamp=at), research=found).decision.action == "OPEN_LONG"


def test_the_cited_facts_are_those_shown() -> None:
    cited = {fact.path: fact.value for fact in analysed(snapshot()).decision.cited_facts}
    assert cited == {"volume_vs_avg": 1.62, "indicators.15m.bb_position": 1.0735, "indicators.1H.macd_hist": 59.5}


def test_a_strategy_that_the_playbook_avoids_is_not_traded() -> None:
    playbook = first_playbook(NOW)
    rule = playbook.market_regime_rules[0].model_copy(
        update={"preferred_strategies": (), "avoid_strategies": ("momentum_breakout",)}
    )
    wary = playbook.model_copy(update={"market_regime_rules": (rule,)})
    assert analysed(snapshot(), playbook=wary).decision.action == "HOLD"


def test_only_allowed_actions_are_taken() -> None:
    blocked = allowed_actions(has_position=False, blocked="halted")
    assert analysed(snapshot(), allowed=blocked).decision.action == "HOLD"


def test_a_position_is_closed_when_the_trend_turns_against_it() -> None:
    turned = snapshot(
        {
            "15m": {"ema_alignment": "bearish", "bb_position": 0.4},
            "1H": {"ema_20": 95000.0, "ema_50": 96000.0, "macd_hist": -40.0},
        },
        price="96800",
        bid="96799",
        ask="96801",
    )
    assert analysed(turned, position()).decision.action == "CLOSE"
    assert analysed(snapshot(QUIET), position()).decision.action != "CLOSE"


def test_a_position_that_goes_nowhere_is_closed_in_the_end() -> None:
    stale = position(entry_price="97200", opened_at="2026-02-07T05:00:00Z")
    assert analysed(snapshot(QUIET), stale).decision.action == "CLOSE"


def managed(held: Position, count: int = 60) -> list[AnalysisAnswer]:
    times = [(NOW + timedelta(minutes=number)).isoformat() for number in range(count)]
    return [analysed(snapshot(QUIET, timestamp=time), held) for time in times]


def test_part_of_a_profit_is_taken_at_times() -> None:
    found = managed(position(entry_price="96500", stop_loss="96000"))
    reduced = [each.decision for each in found if each.decision.action == "REDUCE"]
    assert 1 <= len(reduced) < 20
    assert {decision.size_pct for decision in reduced} == {Decimal("0.0145")}


@pytest.mark.parametrize(("side", "entry", "stop"), [("long", "97000", "96400"), ("short", "97500", "98100")])
def test_an_add_never_loosens_the_stop(side: str, entry: str, stop: str) -> None:
    falling = {"1H": {"ema_20": 95000.0, "ema_50": 96000.0, "macd_hist": -40.0}}
    frames = {**QUIET, **(falling if side == "short" else {})}
    held = position(pos_side=side, entry_price=entry, stop_loss=stop)
    times = [(NOW + timedelta(minutes=number)).isoformat() for number in range(90)]
    found = [analysed(snapshot(frames, timestamp=time), held).decision for time in times]
    adds = [decision for decision in found if decision.action == "ADD"]
    assert adds
    sign = 1 if side == "long" else -1
    price = Decimal("97250.5")
    for decision in adds:
        assert decision.stop_loss is not None
        assert decision.take_profit is not None
        assert sign * (decision.stop_loss - Decimal(stop)) >= 0
        assert sign * (price - decision.stop_loss) > 0
        assert abs(decision.take_profit - price) / abs(price - decision.stop_loss) > Decimal("1.5")
