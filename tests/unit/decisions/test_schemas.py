"""What is believed of a model's answer, and the schema that asks for it."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from decisions.schemas import (
    LONGEST_ANSWER,
    AnalysisAnswer,
    DeepReflectionResult,
    InvalidAnswer,
    ResearchAnswer,
    ScreenAnswer,
    TradeReview,
    decode_answer,
    output_schema,
)

MODELS = (ScreenAnswer, AnalysisAnswer, ResearchAnswer, TradeReview, DeepReflectionResult)


def analysis(**changes: Any) -> dict[str, Any]:
    """A valid analysis, with members of the decision replaced."""
    decision = {
        "action": "OPEN_LONG",
        "symbol": "BTC-USDT-SWAP",
        "size_pct": 0.03,
        "entry_price": 97250.5,
        "stop_loss": 96500.1,
        "take_profit": 98900,
        "order_type": "market",
        "limit_price": None,
        "leverage": 2,
        "research_request": None,
        "cited_facts": [{"path": "indicators.1H.rsi_14", "value": 63.1}, {"path": "regime", "value": "trending_up"}],
    }
    return {
        "analysis": {"market_regime": "trending_up", "bias": "bullish", "key_observations": [], "risk_factors": []},
        "decision": {**decision, **changes},
        "confidence": 0.7,
        "strategy_used": "momentum_breakout",
        "reasoning": "A break on volume.",
    }


def test_numbers_become_exact_decimals() -> None:
    decision = decode_answer(AnalysisAnswer, json.dumps(analysis())).decision
    assert (decision.size_pct, decision.stop_loss) == (Decimal("0.03"), Decimal("96500.1"))
    assert [fact.value for fact in decision.cited_facts] == [63.1, "trending_up"]


def test_an_answer_survives_being_stored() -> None:
    decoded = decode_answer(AnalysisAnswer, json.dumps(analysis()))
    assert AnalysisAnswer.model_validate_json(decoded.model_dump_json()) == decoded


@pytest.mark.parametrize("spelling", ["open_long", "Open_Long", " OPEN_LONG "])
def test_enumerations_are_read_in_any_case(spelling: str) -> None:
    assert decode_answer(AnalysisAnswer, json.dumps(analysis(action=spelling))).decision.action == "OPEN_LONG"


def test_a_leverage_of_zero_means_none_so_that_an_exit_never_fails_on_it() -> None:
    assert decode_answer(AnalysisAnswer, json.dumps(analysis(action="CLOSE", leverage=0))).decision.leverage is None


def test_zero_prices_are_left_to_the_gate() -> None:
    assert decode_answer(AnalysisAnswer, json.dumps(analysis(stop_loss=0))).decision.stop_loss == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "BUY"},
        {"size_pct": -0.01},
        {"size_pct": 1.01},
        {"size_pct": True},
        {"size_pct": "a lot"},
        {"stop_loss": -1},
        {"stop_loss": 1e13},
        {"leverage": 126},
        {"symbol": "btc; drop table"},
        {"research_request": "x" * 1201},
        {"research_request": "a\x00b"},
        {"cited_facts": [{"path": "price", "value": 1}] * 21},
        {"cited_facts": [{"path": "price", "value": None}]},
        {"max_leverage": 50},
    ],
)
def test_an_answer_outside_its_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidAnswer, match=next(iter(changes))):
        decode_answer(AnalysisAnswer, json.dumps(analysis(**changes)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HOLD",
        "[]",
        "null",
        '{"signal": true, "reason": "cut',
        '{"signal": true}',
        '{"signal": "true", "reason": "x"}',
        '{"signal": 1, "reason": "x"}',
        '{"signal": NaN, "reason": "x"}',
        '{"signal": true, "reason": "x", "size": Infinity}',
        '{"signal": true, "signal": false, "reason": "x"}',
        '{"signal": true, "reason": "x"} and more',
        '```json\n{"signal": true, "reason": "x"}\n```',
        '{"signal": true, "reason": "\\ud800"}',
        "[" * 100_000,
        '{"signal": true, "reason": "' + "x" * LONGEST_ANSWER + '"}',
    ],
)
def test_what_is_not_one_json_document_of_the_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        decode_answer(ScreenAnswer, text)


def test_a_reason_somewhat_over_its_length_is_no_reason_to_lose_the_answer() -> None:
    text = json.dumps({"signal": True, "reason": "x" * 200})
    assert decode_answer(ScreenAnswer, text).signal


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    if isinstance(schema, dict):
        if "type" in schema or "enum" in schema or "anyOf" in schema:
            yield schema
        for each in schema.values():
            yield from parts(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from parts(each)


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_keeps_to_what_the_api_accepts(model: type[BaseModel]) -> None:
    found = list(parts(output_schema(model)))
    allowed = {"type", "enum", "anyOf", "description", "properties", "required", "additionalProperties", "items"}
    assert all(set(each) <= allowed | {"format"} for each in found)
    objects = [each for each in found if each.get("type") == "object"]
    assert all(each["additionalProperties"] is False for each in objects)
    optional = sum(len(each["properties"]) - len(each["required"]) for each in objects)
    assert optional <= 24
    assert sum("anyOf" in each for each in found) <= 16


def test_bounds_are_told_in_words_and_decimals_asked_for_as_numbers() -> None:
    decision = output_schema(AnalysisAnswer)["properties"]["decision"]["properties"]
    assert decision["size_pct"]["type"] == "number"
    assert decision["size_pct"]["description"].endswith("At least 0. At most 1.")
    assert decision["stop_loss"]["anyOf"] == [{"type": "number", "description": "At least 0."}, {"type": "null"}]
    assert decision["action"]["enum"] == ["OPEN_LONG", "OPEN_SHORT", "CLOSE", "ADD", "REDUCE", "HOLD"]
    assert output_schema(ScreenAnswer)["properties"]["reason"]["description"] == (
        "Why, in one sentence. At most 160 characters."
    )
