"""What is believed of a model's answer, and the schema that asks for it."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from decisions.schemas import (
    LONGEST_ANSWER,
    AnalysisAnswer,
    InvalidAnswer,
    ResearchAnswer,
    ScreenAnswer,
    decode_answer,
    output_schema,
)

MODELS = (ScreenAnswer, AnalysisAnswer, ResearchAnswer)


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


def parts(schema: Any, place: str = "answer") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema with its place, itself first. Raises `RecursionError` for one that holds itself."""
    yield place, schema
    for name, member in schema.get("properties", {}).items():
        yield from parts(member, f"{place}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{place}[]")
    for number, variant in enumerate(schema.get("anyOf", ())):
        yield from parts(variant, f"{place}|{number}")


KEYWORDS = {
    "object": {"type", "description", "properties", "required", "additionalProperties"},
    "array": {"type", "description", "items"},
    "string": {"type", "description", "format"},
}
"""What stands in a schema of each type; the API refuses numeric and length constraints, among others."""


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_keeps_to_what_the_api_accepts(model: type[BaseModel]) -> None:
    found = dict(parts(output_schema(model)))
    for place, each in found.items():
        if "enum" in each:
            assert set(each) <= {"enum", "description"}, place
            assert all(isinstance(member, str) for member in each["enum"]), place
        elif "anyOf" in each:
            assert set(each) <= {"anyOf", "description"}, place
        else:
            assert set(each) <= KEYWORDS.get(each["type"], {"type", "description"}), place
    optional = sum(len(each["properties"]) - len(each["required"]) for each in found.values() if "properties" in each)
    assert optional <= 24
    assert sum("anyOf" in each for each in found.values()) <= 16


@pytest.mark.parametrize("model", MODELS)
def test_no_object_has_free_keys_or_none(model: type[BaseModel]) -> None:
    objects = {place: each for place, each in parts(output_schema(model)) if each.get("type") == "object"}
    assert all(each["additionalProperties"] is False for each in objects.values())
    assert all(each["properties"] for each in objects.values())
    assert all(set(each["required"]) <= set(each["properties"]) for each in objects.values())


def has_number(schema: dict[str, Any]) -> bool:
    return any(each.get("type") in ("number", "integer") for each in (schema, *schema.get("anyOf", ())))


UNITS = re.compile(r"quote currency|fraction of equity|notional / margin|Probability|Points|same unit")


@pytest.mark.parametrize("model", MODELS)
def test_every_number_is_asked_for_with_its_unit(model: type[BaseModel]) -> None:
    numbers = [(place, each) for place, each in parts(output_schema(model)) if "|" not in place and has_number(each)]
    assert [place for place, each in numbers if not UNITS.search(each.get("description", ""))] == []


RESEARCH = {
    "summary": "Inflows rose.",
    "sentiment": "bullish",
    "impact_level": "medium",
    "time_horizon": "short",
    "key_points": ["one"],
    "trading_implication": "none",
    "confidence": 0.5,
    "sources": ["https://example.org/a"],
}


def enlarged(document: Any) -> Iterator[Any]:
    """The document once for each of its texts and lists, with that one made far too long."""
    if isinstance(document, str):
        yield "x" * 10_000
    elif isinstance(document, list):
        yield [*document] * 1000 or ["x"] * 1000
        for place, member in enumerate(document):
            yield from ([*document[:place], longer, *document[place + 1 :]] for longer in enlarged(member))
    elif isinstance(document, dict):
        for name, member in document.items():
            yield from ({**document, name: longer} for longer in enlarged(member))


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (ScreenAnswer, {"signal": True, "reason": "x"}),
        (AnalysisAnswer, analysis(research_request="Why?")),
        (ResearchAnswer, RESEARCH),
    ],
)
def test_every_text_and_list_has_a_bound(model: type[BaseModel], document: dict[str, Any]) -> None:
    decode_answer(model, json.dumps(document))
    for too_long in enlarged(document):
        with pytest.raises(InvalidAnswer):
            decode_answer(model, json.dumps(too_long))


def test_bounds_are_told_in_words_and_decimals_asked_for_as_numbers() -> None:
    decision = output_schema(AnalysisAnswer)["properties"]["decision"]["properties"]
    assert decision["size_pct"]["type"] == "number"
    assert decision["size_pct"]["description"].endswith("At least 0. At most 1.")
    assert decision["stop_loss"]["anyOf"] == [{"type": "number", "description": "At least 0."}, {"type": "null"}]
    assert decision["stop_loss"]["description"].startswith("Stop price in quote currency;")
    assert decision["action"]["enum"] == ["OPEN_LONG", "OPEN_SHORT", "CLOSE", "ADD", "REDUCE", "HOLD"]
    assert output_schema(ScreenAnswer)["properties"]["reason"]["description"] == (
        "Why, in one sentence. At most 160 characters."
    )
