"""The offline model looks back by rules, in the shape that it is asked for."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from decisions.prompts import Prompt
from decisions.sandbox import reckless_model
from decisions.sandbox.offline_model import SIGNATURE, UnknownQuestion, answer
from decisions.schemas import decode_answer
from journal.performance import Figure
from journal.playbook import Lesson, Playbook, diff, first_playbook
from reflection.digest import ReviewedTrade
from reflection.prompts import CompletedTrade, post_trade_prompt
from reflection.schemas import DeepReflectionResult, TradeReview, playbook_of, why_invalid
from tests.unit.reflection.scene import (
    BEGIN,
    EXCURSION,
    NO_EXCURSION,
    NOW,
    closed,
    completed,
    history,
    looked_back,
    playbook_with,
    request,
    reviewed,
)

PLAYBOOK = first_playbook(BEGIN)


def review_of(trade: CompletedTrade) -> TradeReview:
    asked = request(post_trade_prompt(trade, PLAYBOOK), TradeReview)
    return decode_answer(TradeReview, json.dumps(answer(asked)))


def excursion(adverse: str, favourable: str) -> Any:
    return replace(EXCURSION, adverse_r=Figure(Decimal(adverse)), favourable_r=Figure(Decimal(favourable)))


@pytest.mark.parametrize("pnl", ["4.25", "0", "-3.1"])
@pytest.mark.parametrize("seen", [EXCURSION, NO_EXCURSION])
def test_every_review_is_about_what_happened_and_says_who_wrote_it(pnl: str, seen: Any) -> None:
    found = review_of(completed(trade=closed(pnl), excursion=seen))
    assert why_invalid(found, Decimal(pnl)) is None
    assert found.lesson.startswith(SIGNATURE)


def test_a_loser_that_was_never_right_is_an_entrys_fault() -> None:
    found = review_of(completed(trade=closed("-4.1"), excursion=excursion("-1.05", "0.1")))
    assert (found.execution_quality, found.entry_timing, found.exit_timing) == ("fair", "early", "good")
    assert found.suggestion == f"{SIGNATURE} look at the record of trend_pullback in a trending_up market."


def test_a_loser_that_was_far_in_profit_is_an_exits_fault() -> None:
    found = review_of(completed(trade=closed("-4.1"), excursion=excursion("-1.05", "1.4")))
    assert (found.entry_timing, found.exit_timing, found.suggestion) == ("good", "late", None)
    assert found.what_went_wrong == (f"{SIGNATURE} at least 1.0 R of profit was given back.",)


def test_a_winner_that_was_nearly_stopped_out_was_early() -> None:
    found = review_of(completed(excursion=excursion("-0.9", "1.2")))
    assert (found.execution_quality, found.entry_timing) == ("good", "early")
    assert review_of(completed(excursion=excursion("-0.2", "1.2"))).execution_quality == "excellent"


# --- deep -----------------------------------------------------------------------------------------------------------


def result_of(prompt: Prompt) -> DeepReflectionResult:
    return decode_answer(DeepReflectionResult, json.dumps(answer(request(prompt, DeepReflectionResult))))


def playbook_after(trades: list[ReviewedTrade], before: Playbook = PLAYBOOK) -> Playbook:
    """What becomes of a playbook, read as a stored one is."""
    return playbook_of(result_of(looked_back(trades, playbook=before)), version=before.version + 1, now=NOW)


def losing(count: int, strategy: str = "momentum_breakout", regime: str = "volatile") -> list[ReviewedTrade]:
    pnls = ("-3.1", "-2.75", "0.2")
    return [reviewed(100 + each, pnls[each % 3], strategy=strategy, regime=regime) for each in range(count)]


def avoided(playbook: Playbook) -> set[tuple[str, str]]:
    return {(rule.regime, name) for rule in playbook.market_regime_rules for name in rule.avoid_strategies}


def test_a_strategy_that_surely_loses_in_a_regime_is_banned_there_with_a_lesson() -> None:
    trades = [*losing(12), *[reviewed(number, "4", strategy="trend_pullback") for number in range(1, 9)]]
    playbook = playbook_after(trades)
    assert avoided(playbook) - avoided(PLAYBOOK) == {("volatile", "momentum_breakout")}
    (lesson,) = playbook.lessons_learned
    assert (lesson.id, lesson.date) == ("ban-1", NOW.date())
    assert "mean return of 12 trades between -0.0" in lesson.evidence
    assert "volatile.preferred_strategies: removed momentum_breakout" in diff(PLAYBOOK, playbook)


@pytest.mark.parametrize(
    "trades",
    [
        losing(9),
        [reviewed(number, ("-3", "2.9")[number % 2], strategy="momentum_breakout") for number in range(1, 31)],
        losing(12, strategy="grid"),
        losing(12, regime=""),
        [],
    ],
    ids=["too few", "not surely", "no such strategy", "regime unknown", "nothing"],
)
def test_what_is_not_proven_is_not_banned(trades: list[ReviewedTrade]) -> None:
    assert avoided(playbook_after(trades)) == avoided(PLAYBOOK)


def test_what_is_banned_already_teaches_no_second_lesson() -> None:
    once = playbook_after(losing(12))
    assert playbook_after(losing(12), once).lessons_learned == once.lessons_learned


def test_something_is_left_to_trade() -> None:
    names = tuple(strategy.name for strategy in PLAYBOOK.strategy_definitions)
    rules = tuple(
        rule.model_copy(update={"preferred_strategies": (), "avoid_strategies": names[: 2 if number == 0 else 3]})
        for number, rule in enumerate(PLAYBOOK.market_regime_rules)
    )
    trades = losing(12, strategy=names[2], regime=rules[0].regime)
    before = playbook_with(market_regime_rules=rules)
    assert avoided(playbook_after(trades, before)) == avoided(before)


def test_a_lesson_finds_a_free_name_and_the_oldest_makes_room() -> None:
    lessons = tuple(
        Lesson(id=f"ban-{number}", date=NOW.date(), lesson="a", evidence="b", impact="c") for number in range(1, 61)
    )
    after = playbook_after(losing(12), playbook_with(lessons_learned=lessons)).lessons_learned
    assert [lesson.id for lesson in after] == [f"ban-{number}" for number in range(2, 62)]


def test_what_was_measured_is_written_into_the_playbook() -> None:
    trades = [reviewed(number, "4" if number % 4 else "-2") for number in range(1, 13)]
    playbook = playbook_after(trades)
    strategy = next(each for each in playbook.strategy_definitions if each.name == "trend_pullback")
    assert (strategy.historical_winrate, strategy.avg_rr) == (Decimal("0.75"), Decimal(2))
    (bucket,) = playbook.confidence_calibration
    assert (bucket.bucket_low, bucket.count) == (Decimal("0.6"), 12)
    assert (bucket.stated_mean, bucket.actual_win_rate) == (Decimal("0.66"), Decimal("0.75"))


def test_a_confidence_that_the_record_does_not_bear_out_is_a_bias() -> None:
    assert "too high: 0.66 against" in result_of(looked_back(losing(12))).bias_findings[0]
    assert result_of(looked_back([reviewed(1), reviewed(2, "-2")])).bias_findings == ()


@pytest.mark.parametrize("count", [0, 1, 20, 500])
def test_the_same_trades_have_the_same_valid_result(count: int) -> None:
    found = result_of(looked_back(history(count)))
    assert found == result_of(looked_back(history(count)))
    assert found.summary.startswith(f"{SIGNATURE} {min(count, 20)} new trades")
    assert playbook_of(found, version=2, now=NOW).version == 2


def test_the_reckless_model_looks_back_as_the_other_does() -> None:
    asked = request(looked_back(losing(12)), DeepReflectionResult)
    assert reckless_model.answer(asked) == answer(asked)


def test_a_question_without_the_figures_is_refused() -> None:
    with pytest.raises(UnknownQuestion, match="result"):
        answer(request(Prompt("", "<plan>\n{}\n</plan>"), TradeReview))
