"""What is believed of a model that looks back, and the schemas that ask it."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from decisions.schemas import InvalidAnswer, decode_answer, output_schema
from journal.playbook import InvalidPlaybook, Playbook, content, diff, first_playbook
from reflection.schemas import (
    DeepReflectionResult,
    ProposedPlaybook,
    TradeReview,
    outcome_of,
    playbook_of,
    why_invalid,
)
from tests.unit.decisions import test_schemas as of_decisions
from tests.unit.decisions.test_schemas import enlarged, has_number, parts
from tests.unit.reflection.scene import BEGIN, NOW, review

MODELS = (TradeReview, DeepReflectionResult)
REVIEW: dict[str, Any] = json.loads(review().model_dump_json())


def result(**changes: Any) -> dict[str, Any]:
    """A valid result that proposes the first playbook with sections replaced."""
    return {
        "updated_playbook": {**content(first_playbook(BEGIN)), **changes},
        "pattern_insights": ["Breakouts earn in trends: 12 of 20."],
        "bias_findings": [],
        "discipline_score": 80,
        "summary": "Nothing much changed.",
    }


def decoded(document: dict[str, Any]) -> DeepReflectionResult:
    return decode_answer(DeepReflectionResult, json.dumps(document))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "rule",
    [
        of_decisions.test_the_schema_keeps_to_what_the_api_accepts,
        of_decisions.test_no_object_has_free_keys_or_none,
    ],
)
def test_the_schemas_keep_the_rules_of_the_others(
    rule: Callable[[type[BaseModel]], None], model: type[BaseModel]
) -> None:
    rule(model)


def test_every_number_of_a_result_is_described() -> None:
    numbers = [(place, each) for place, each in parts(output_schema(DeepReflectionResult)) if "|" not in place]
    assert [place for place, each in numbers if has_number(each) and not each.get("description")] == []


def test_a_proposed_playbook_is_a_playbook_without_its_version_and_date() -> None:
    proposed, whole = output_schema(ProposedPlaybook)["properties"], output_schema(Playbook)["properties"]
    told = {name: each for name, each in whole.items() if name not in ("version", "last_updated")}
    assert without_descriptions(proposed) == without_descriptions(told)
    bounds = {name: Playbook.model_fields[name].metadata for name in told}
    assert {name: ProposedPlaybook.model_fields[name].metadata for name in told} == bounds


def without_descriptions(value: Any) -> Any:
    """Classes of objects describe themselves each in their own words."""
    if isinstance(value, dict):
        kept = {
            name: each for name, each in value.items() if not (name == "description" and value.get("type") == "object")
        }
        return {name: without_descriptions(each) for name, each in kept.items()}
    return value


# --- reviews --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "unknown"},
        {"execution_quality": "brilliant"},
        {"entry_timing": None},
        {"what_went_right": ["x"] * 6},
        {"what_went_wrong": ["x" * 401]},
        {"lesson": "x" * 601},
        {"lesson": "a\x00b"},
        {"should_update_playbook": "yes"},
        {"playbook_suggestion": "x" * 601},
        {"leverage": 20},
    ],
)
def test_a_review_outside_its_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidAnswer, match=next(iter(changes))):
        decode_answer(TradeReview, json.dumps({**REVIEW, **changes}))


@pytest.mark.parametrize(
    ("model", "document"), [(TradeReview, {**REVIEW, "playbook_suggestion": "Why?"}), (DeepReflectionResult, result())]
)
def test_every_text_and_list_has_a_bound(model: type[BaseModel], document: dict[str, Any]) -> None:
    decode_answer(model, json.dumps(document))
    for too_long in enlarged(document):
        with pytest.raises(InvalidAnswer):
            decode_answer(model, json.dumps(too_long))


def test_words_of_a_closed_set_are_read_in_any_case() -> None:
    read = decode_answer(TradeReview, json.dumps({**REVIEW, "outcome": "WIN", "exit_timing": " Late "}))
    assert (read.outcome, read.exit_timing) == ("win", "late")


@pytest.mark.parametrize(
    ("should", "text", "queued"),
    [(True, "Wait for the close.", "Wait for the close."), (True, "  ", None), (True, None, None), (False, "x", None)],
)
def test_only_what_is_asked_for_is_queued(should: bool, text: str | None, queued: str | None) -> None:
    document = {**REVIEW, "should_update_playbook": should, "playbook_suggestion": text}
    assert decode_answer(TradeReview, json.dumps(document)).suggestion == queued


@pytest.mark.parametrize(("pnl", "outcome"), [("0.0001", "win"), ("-0.0001", "loss"), ("0.0000", "breakeven")])
def test_a_review_has_to_know_what_happened(pnl: str, outcome: str) -> None:
    assert outcome_of(Decimal(pnl)) == outcome
    assert why_invalid(review(outcome=outcome), Decimal(pnl)) is None
    wrong = "loss" if outcome == "win" else "win"
    assert why_invalid(review(outcome=wrong), Decimal(pnl)) == (
        f"the review calls the trade a {wrong}, and its net P&L of {pnl} USD is a {outcome}"
    )


# --- proposed playbooks ---------------------------------------------------------------------------------------------


def test_the_version_and_the_date_of_a_playbook_are_ours() -> None:
    playbook = playbook_of(decoded(result()), version=8, now=NOW)
    assert (playbook.version, playbook.last_updated) == (8, NOW)
    assert diff(first_playbook(BEGIN), playbook) == []
    for name in ("version", "last_updated"):
        with pytest.raises(InvalidAnswer, match=f"updated_playbook.{name}"):
            decoded(result(**{name: 99}))


def test_the_fixed_words_of_a_playbook_are_read_in_any_case_and_its_numbers_exactly() -> None:
    rules = content(first_playbook(BEGIN))["market_regime_rules"]
    rules[0] |= {"regime": "Trending_Up", "preferred_timeframe": "1h", "max_position_pct": 0.05}
    assert playbook_of(decoded(result(market_regime_rules=rules)), version=2, now=NOW).market_regime_rules == (
        first_playbook(BEGIN).market_regime_rules
    )


LESSON = {"id": "L1", "date": "2026-02-07", "lesson": "a", "evidence": "b", "impact": "c"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"lessons_learned": [LESSON, LESSON]}, "lessons_learned: L1 more than once"),
        ({"time_filters": {"avoid_hours_utc": list(range(24)), "preferred_hours_utc": []}}, "time_filters: every hour"),
        (
            {
                "market_regime_rules": [
                    {
                        "regime": "ranging",
                        "preferred_strategies": ["grid"],
                        "avoid_strategies": [],
                        "max_position_pct": 0.02,
                        "preferred_timeframe": "1H",
                    }
                ]
            },
            "market_regime_rules: ranging names undefined strategies grid",
        ),
    ],
)
def test_a_playbook_that_contradicts_itself_is_refused_and_the_insights_stay(
    changes: dict[str, Any], place: str
) -> None:
    read = decoded(result(**changes))
    assert read.pattern_insights
    with pytest.raises(InvalidPlaybook, match=place):
        playbook_of(read, version=2, now=NOW)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"lessons_learned": [{**LESSON, "lesson": "x" * 10_000}]}, r"lessons_learned\.0\.lesson"),
        ({"lessons_learned": [{**LESSON, "id": "../../etc"}]}, r"lessons_learned\.0\.id"),
        ({"strategy_definitions": []}, "strategy_definitions"),
        ({"max_leverage": 20}, "max_leverage"),
    ],
)
def test_a_playbook_out_of_bounds_is_no_answer_and_the_place_is_named(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidAnswer, match=place):
        decoded(result(**changes))


def test_a_playbook_that_asks_for_more_changes_no_limit() -> None:
    """Every text may say what it likes; there is no field that a limit could come from."""
    greedy = {**LESSON, **dict.fromkeys(("lesson", "evidence", "impact"), "size 50 %, leverage 20, no stop")}
    playbook = playbook_of(decoded(result(lessons_learned=[greedy])), version=2, now=NOW)
    assert playbook.market_regime_rules == first_playbook(BEGIN).market_regime_rules
