"""The reckless model bets in every cycle; its outrages each meet their rule of the gate, its other bets pass."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions.grounding import faults_of, why_invalid
from decisions.messages import AccountState, Position
from decisions.prompts import AllowedActions, analysis_prompt, screening_prompt, sections
from decisions.sandbox.offline_model import UnknownQuestion
from decisions.sandbox.reckless_model import STRATEGY, answer
from decisions.schemas import AnalysisAnswer, Decision, ResearchAnswer, ScreenAnswer, decode_answer, output_schema
from journal.playbook import blocked_by, first_playbook
from risk import gate
from tests.unit.decisions.test_offline_model import request, snapshot
from tests.unit.risk.cases import BTC, HELD, LIMITS, LONG, judge, refusing, result

NOW = datetime(2022, 11, 8, 16, tzinfo=UTC)
MOMENTS = [NOW + timedelta(minutes=5 * number) for number in range(250)]
ACCOUNT = AccountState(
    equity=Decimal(10000),
    available=Decimal(10000),
    margin_used=Decimal(0),
    unrealized_pnl=Decimal(0),
    net_transfers_usd=Decimal(0),
)
PRICE = Decimal("20000")
QUOTES = {"price": "20000", "mark_price": "20000", "bid": "19999.9", "ask": "20000.1"}

OUTRAGES = {
    "everything on one bet": {"trade_size", "total_exposure"},
    "a little more than is allowed": {"trade_size"},
    "no stop, it will come back": {"stop_loss", "sl_distance", "rr_ratio"},
    "a stop where the profit is": {"stop_loss"},
    "a stop far away": {"sl_distance"},
    "a quick profit": {"rr_ratio"},
    "a limit across the book": {"limit_price"},
    "a limit far from the market": {"limit_price"},
    "a crumb": {"min_size"},
}
UPON_A_POSITION = {
    "the same bet once more": {"well_formed"},
    "the stop was in the way": {"add_stop"},
    "twice what is allowed": {"trade_size"},
    "no target, it will go on": {"rr_ratio"},
}
FAIR = {"as much of everything as is allowed", "half of what is allowed", "a bet that waits at the quote"}
FAIR_UPON_A_POSITION = {"up to the limit", "a little more", "half of it off the table", "on to the next bet"}


def held(side: str) -> Position:
    """1.5 % of the account at the price of the moment, its stop 2 % away."""
    sign = 1 if side == "long" else -1
    values: dict[str, Any] = {
        "symbol": "BTC-USDT-SWAP", "pos_side": side, "size": "0.75", "entry_price": "20000", "mark_price": "20000",
        "notional_usd": "150", "unrealized_pnl": "0", "leverage": "2", "margin_usd": "75", "liquidation_price": None,
        "stop_loss": str(20000 - sign * 400), "take_profit": str(20000 + sign * 800), "opened_at": NOW.isoformat(),
    }  # fmt: skip
    return Position.model_validate(values)


def bets(position: Position | None = None) -> Mapping[str, Decision]:
    """One bet of each kind on its own instrument, by its reason; all of them cite what they were shown."""
    found: dict[str, Decision] = {}
    for moment in MOMENTS:
        prompt = analysis_prompt(
            snapshot=snapshot(timestamp=moment.isoformat(), **QUOTES),
            positions=[position] if position else [],
            account=ACCOUNT,
            research=None,
            playbook=first_playbook(NOW),
            recent_trades=[],
            allowed=AllowedActions(("HOLD",), "nothing is allowed, which is not looked at"),
            limits=LIMITS.as_dict(),
        )
        asked = request(prompt, AnalysisAnswer)
        decoded = decode_answer(AnalysisAnswer, json.dumps(answer(asked)))
        assert faults_of(decoded.decision, sections(prompt.text)) == ()
        assert blocked_by(first_playbook(NOW), decoded.strategy_used, "trending_up", NOW) is None
        if decoded.decision.symbol == "BTC-USDT-SWAP":
            found[decoded.reasoning.partition(": ")[2].rstrip(".")] = decoded.decision
    return found


def judged(decision: Decision, position: Position | None = None) -> gate.Verdict:
    """The gate's word, at the default limits, on an account that holds nothing else."""
    proposal = replace(
        LONG, action=decision.action, size_pct=decision.size_pct, order_type=decision.order_type,
        limit_price=decision.limit_price, stop_loss=decision.stop_loss, take_profit=decision.take_profit,
        leverage=decision.leverage or Decimal(1), snapshot_price=PRICE,
    )  # fmt: skip
    positions: tuple[gate.Position, ...] = ()
    if position is not None:
        direction: gate.Direction = "LONG" if position.pos_side == "long" else "SHORT"
        of_gate = replace(HELD, direction=direction, size=position.size, notional_usd=position.notional_usd)
        positions = (replace(of_gate, stop_loss=position.stop_loss, take_profit=position.take_profit),)
    return judge(proposal, positions=positions, instrument=BTC)


def test_every_outrage_meets_its_rule_and_every_other_opening_passes() -> None:
    found = bets()
    assert {because: refusing(judged(found[because])) for because in OUTRAGES} == OUTRAGES
    assert [because for because in FAIR if not judged(found[because]).approved] == []
    twenty_fold = judged(found["a bet of twenty times what is there"])
    assert (twenty_fold.approved, result(twenty_fold, "leverage").verdict) == (True, "shrink")
    assert "well_formed" in refusing(judged(found["more of what is not there"]))


@pytest.mark.parametrize("side", ["long", "short"])
def test_upon_a_position_it_adds_what_may_be_added_and_what_may_not(side: str) -> None:
    position = held(side)
    found = bets(position)
    assert {because: refusing(judged(found[because], position)) for because in UPON_A_POSITION} == UPON_A_POSITION
    assert [because for because in FAIR_UPON_A_POSITION if not judged(found[because], position).approved] == []


def test_the_same_question_gets_the_same_bet() -> None:
    assert bets() == bets()


def test_it_never_holds_and_both_sides_are_bet_on() -> None:
    actions = {decision.action for decision in (*bets().values(), *bets(held("long")).values())}
    assert actions == {"OPEN_LONG", "OPEN_SHORT", "ADD", "REDUCE", "CLOSE"}


def test_now_and_then_it_decides_on_another_instrument() -> None:
    prompt = analysis_prompt(
        snapshot=snapshot(**QUOTES), positions=[], account=ACCOUNT, research=None, playbook=first_playbook(NOW),
        recent_trades=[], allowed=AllowedActions(("HOLD",)), limits=LIMITS.as_dict(),
    )  # fmt: skip
    asked = request(prompt, AnalysisAnswer)
    text = json.dumps(asked)
    original = sections(prompt.text)["market_snapshot"]["timestamp"]
    decisions = [
        decode_answer(AnalysisAnswer, json.dumps(answer(json.loads(text.replace(original, f"{moment:%FT%TZ}")))))
        for moment in MOMENTS
    ]
    elsewhere = [each.decision for each in decisions if why_invalid(each.decision, "BTC-USDT-SWAP", ())]
    assert 0 < len(elsewhere) < 30
    assert {decision.symbol for decision in elsewhere} == {"ETH-USDT-SWAP"}
    assert {each.strategy_used for each in decisions} == {STRATEGY}


def test_a_question_without_the_limits_is_one_it_has_no_rules_for() -> None:
    prompt = analysis_prompt(
        snapshot=snapshot(), positions=[], account=ACCOUNT, research=None, playbook=first_playbook(NOW),
        recent_trades=[], allowed=AllowedActions(("HOLD",)), limits={},
    )  # fmt: skip
    with pytest.raises(UnknownQuestion, match="max_single_trade_pct"):
        answer(request(prompt, AnalysisAnswer))


def test_it_lets_every_snapshot_through_and_researches_like_the_other() -> None:
    seen = snapshot(indicators={"15m": {"bb_position": 0.5, "rsi_14": 55.0}})
    screened = decode_answer(ScreenAnswer, json.dumps(answer(request(screening_prompt(seen), ScreenAnswer))))
    assert screened.signal
    body = {"input": "BTC?", "response_format": {"json_schema": {"schema": output_schema(ResearchAnswer)}}}
    assert decode_answer(ResearchAnswer, json.dumps(answer(body))).sources == ()
