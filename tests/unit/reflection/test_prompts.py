"""What the model is asked when it looks back, word for word, within its budget, whatever the texts in it say.

The golden files hold the whole prompts. A wanted change of words is taken over by UPDATE_GOLDEN=1.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from decisions.prompts import Prompt, estimated_tokens, sections
from journal.performance import Figure
from journal.performance.outcomes import trade_figures
from journal.playbook import Lesson, content, first_playbook
from journal.untrusted import visible
from reflection.digest import ReviewedTrade, breakdown
from reflection.prompts import (
    DEEP_TOKENS,
    ChallengerRecord,
    NothingToReview,
    PromptTooLong,
    post_trade_prompt,
    why_not_reviewed,
)
from tests.unit.decisions.test_prompts import FRAGMENTS, POISON, anything, with_text
from tests.unit.reflection.scene import (
    BEGIN,
    NO_EXCURSION,
    NOW,
    SNAPSHOT,
    closed,
    completed,
    history,
    looked_back,
    performance_of,
    playbook_with,
    review,
    reviewed,
)

GOLDEN = Path(__file__).parent / "golden"
PLAYBOOK = first_playbook(BEGIN)
RECORD = ChallengerRecord(
    version=2,
    cycles=120,
    challenger=trade_figures([closed("4"), closed("-1")], Decimal(0)),
    champion=trade_figures([closed("-2"), closed("1")], Decimal(0)),
    challenger_brier_score=Figure(Decimal("0.2178")),
    champion_brier_score=Figure(Decimal("0.2536")),
)
PERFORMANCE = {count: performance_of(history(count)) for count in (0, 3, 500)}
RESEARCH = {"available": True, "answer": {"summary": "ETF inflows rose.", "sentiment": "bullish"}, "citations": []}
PROMPTS: dict[str, Callable[[], Prompt]] = {
    "post_trade": lambda: post_trade_prompt(completed(research=RESEARCH), PLAYBOOK),
    "post_trade_bare": lambda: post_trade_prompt(
        completed(
            trade=closed("-3.1", strategy="", regime="", confidence=None, playbook_version=None, exit_reason="manual"),
            excursion=NO_EXCURSION,
            stop_loss=None,
            take_profit=None,
            size_pct=None,
            reasoning="",
            market_at_entry=None,
            market_at_exit=None,
        ),
        PLAYBOOK,
    ),
    "deep": lambda: looked_back(history(20), challenger=RECORD),
    "deep_500": lambda: looked_back(history(500)),
    "deep_nothing": lambda: looked_back([], since=None),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_the_prompt_is_the_one_on_record(name: str) -> None:
    prompt = PROMPTS[name]()
    tokens = [estimated_tokens(text) for text in (prompt.system, prompt.reference, prompt.user)]
    heading = "about {} tokens of system, {} of reference, {} of what changes".format(*tokens)
    text = f"{heading}\n\n==== system ====\n\n{prompt.system}\n\n==== user ====\n\n{prompt.text}\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


# --- after a trade --------------------------------------------------------------------------------------------------


def test_a_trade_is_shown_with_its_result_its_plan_and_both_ends_of_the_market() -> None:
    shown = sections(post_trade_prompt(completed(), PLAYBOOK).text)
    assert shown["result"]["outcome"] == "win"
    assert shown["result"]["pnl_usd"] == 4.25
    assert shown["result"]["pnl_pct"] == 0.0085
    assert shown["result"]["pnl_r"] == 1.10154
    assert shown["plan"]["stop_loss"] == 96450.5
    assert shown["excursion"]["favourable_r"] == 1.60695
    assert shown["market_at_entry"]["timestamp"] == "2026-02-07T06:30:00Z"
    assert shown["indicators_at_exit"]["1H"]["rsi_14"] == SNAPSHOT.indicators.h1.rsi_14
    assert shown["completed_trade"]["duration_seconds"] == 4 * 3600


def test_what_is_not_known_of_a_trade_is_told_with_its_reason() -> None:
    prompt = post_trade_prompt(completed(excursion=NO_EXCURSION, market_at_exit=None), PLAYBOOK)
    shown = sections(prompt.text)
    assert shown["excursion"]["adverse_r"] == "no"
    assert shown["result"]["pnl_r"] is None
    assert shown["market_at_exit"] == {"available": False, "reason": "no snapshot is kept of that time"}
    assert shown["research_context"]["available"] is False


def test_a_trade_without_a_known_result_is_not_reviewed_and_the_reason_is_told() -> None:
    assert why_not_reviewed(closed()) is None
    assert why_not_reviewed(closed(None)) == "its result is not known"
    with pytest.raises(NothingToReview, match=r"BTC-USDT-SWAP is not reviewed: its result is not known"):
        post_trade_prompt(completed(trade=closed(None)), PLAYBOOK)


def test_what_changes_seldom_comes_first_and_apart() -> None:
    one = post_trade_prompt(completed(), PLAYBOOK)
    two = post_trade_prompt(completed(trade=closed("-3"), reasoning="other"), PLAYBOOK)
    assert (one.system, one.reference) == (two.system, two.reference)
    assert one.user != two.user
    assert sections(one.reference) == {"playbook": content(PLAYBOOK)}
    deep, later = looked_back(history(20)), looked_back(history(3))
    assert (deep.system, deep.reference) == (later.system, later.reference)
    assert sections(deep.reference) == {"current_playbook": content(PLAYBOOK)}


# --- deep -----------------------------------------------------------------------------------------------------------


def tokens(prompt: Prompt) -> int:
    return estimated_tokens(prompt.system + prompt.text)


def test_twenty_trades_are_all_told_whole() -> None:
    shown = sections(looked_back(history(20)).text)
    assert [trade["number"] for trade in shown["individual_trade_reviews"]] == list(range(1, 21))
    assert shown["trades_not_shown"] == {"trades": 0}
    assert all("lesson" in trade["review"] for trade in shown["individual_trade_reviews"])
    assert shown["period"] == {
        "from": "2026-01-08T10:30:00Z",
        "to": "2026-02-07T10:30:00Z",
        "trades": 20,
        "last_reflection_at": "2026-02-06T14:00:00Z",
        "new_trades": 20,
    }


def test_of_five_hundred_the_newest_are_told_whole_and_the_others_counted() -> None:
    trades = history(500, new=30)
    prompt = looked_back(trades)
    shown = sections(prompt.text)
    whole, counted = shown["individual_trade_reviews"], shown["trades_not_shown"]
    assert [trade["number"] for trade in whole] == list(range(1, len(whole) + 1))
    assert [trade["number"] for trade in whole if trade["is_new"]] == list(range(1, 31))
    assert counted["trades"] == 500 - len(whole)
    assert counted["last_closed_at"] < whole[-1]["closed_at"]
    left = sum(each.trade.pnl or 0 for each in trades[len(whole) :])
    assert counted["net_pnl_usd"] == float(left)
    assert DEEP_TOKENS * 0.9 < tokens(prompt) <= DEEP_TOKENS


@pytest.mark.parametrize("count", [0, 1, 20, 60, 500])
@pytest.mark.parametrize("budget", [7_000, 12_000, DEEP_TOKENS])
def test_the_budget_holds_and_no_trade_is_cut_or_lost(count: int, budget: int) -> None:
    trades = history(count)
    prompt = looked_back(trades, token_budget=budget)
    shown = sections(prompt.text)
    assert tokens(prompt) <= budget
    by_number = {each.number: each.review for each in trades}
    for trade in shown["individual_trade_reviews"]:
        told = by_number[trade["number"]]
        assert told is not None
        assert trade["review"]["what_went_wrong"] == list(told.what_went_wrong)
        assert trade["review"]["lesson"] == told.lesson
    assert len(shown["individual_trade_reviews"]) + shown["trades_not_shown"]["trades"] == count


@pytest.mark.parametrize("count", [0, 3, 500])
def test_the_budget_is_held_to_the_last_token_or_refused(count: int) -> None:
    trades, held, refused = history(count), 0, 0
    for budget in range(1_500, 9_000, 97):
        try:
            prompt = looked_back(trades, token_budget=budget, performance=PERFORMANCE[count])
        except PromptTooLong:
            refused += 1
            assert held == 0
            continue
        held += 1
        assert tokens(prompt) <= budget
    assert held
    assert refused


def test_figures_are_of_all_trades_however_few_are_shown() -> None:
    shown = sections(looked_back(history(500), token_budget=8_000).text)
    assert len(shown["individual_trade_reviews"]) < 20
    assert shown["performance_summary"]["total"]["total_trades"] == 500
    assert sum(group["trades"] for group in shown["breakdown_by_strategy_and_regime"]) == 500
    assert len(shown["breakdown_by_time"]["hour_utc"]) == 24


def test_suggestions_are_told_even_of_trades_that_are_not() -> None:
    shown = sections(looked_back(history(500, new=500), token_budget=9_000).text)
    suggested = [each["trade"] for each in shown["playbook_suggestions"]["newest"]]
    assert suggested[:3] == [5, 10, 15]
    assert suggested[-1] > shown["individual_trade_reviews"][-1]["number"]
    assert len(suggested) + shown["playbook_suggestions"]["not_shown"]["suggestions"] == 100


def test_suggestions_that_were_considered_before_are_not_told_again() -> None:
    shown = sections(looked_back(history(60, new=12)).text)
    assert [each["trade"] for each in shown["playbook_suggestions"]["newest"]] == [5, 10]
    assert shown["playbook_suggestions"]["not_shown"] == {"suggestions": 0}


@pytest.mark.parametrize("budget", range(8_000, 10_000, 250))
def test_no_older_trade_is_told_for_being_short(budget: int) -> None:
    trades = history(60)
    longer = [replace(each, review=review(what_went_right=("x" * 300,) * 3)) for each in trades[::2]]
    uneven = [trade for pair in zip(longer, trades[1::2], strict=True) for trade in pair]
    shown = sections(looked_back(uneven, token_budget=budget).text)["individual_trade_reviews"]
    assert [trade["number"] for trade in shown] == list(range(1, len(shown) + 1))
    assert 0 < len(shown) < 60


def test_one_endless_review_does_not_push_out_the_others() -> None:
    endless = review(what_went_right=("→" * 400,) * 5, what_went_wrong=("→" * 400,) * 5)
    trades = [reviewed(1, told=endless), *history(20)[1:]]
    shown = sections(looked_back(trades, token_budget=14_000).text)
    assert [trade["number"] for trade in shown["individual_trade_reviews"]] == list(range(2, 21))
    assert (shown["trades_not_shown"]["trades"], shown["trades_not_shown"]["too_long_to_show"]) == (1, 1)


def test_a_trade_without_a_review_says_why() -> None:
    unknown = ReviewedTrade(number=7, direction="SHORT", trade=closed(None), not_reviewed="its result is not known")
    (told,) = sections(looked_back([unknown]).text)["individual_trade_reviews"]
    assert told["not_reviewed"] == "its result is not known"
    assert (told["pnl_usd"], told["return"], told["adverse_r"]) == (None, None, None)


def test_the_order_of_the_trades_does_not_matter() -> None:
    assert looked_back(history(40)[::-1]) == looked_back(history(40))


def test_a_playbook_beyond_the_budget_is_told_with_the_cure() -> None:
    lessons = tuple(
        Lesson(id=f"L{number}", date=NOW.date(), lesson="a" * 600, evidence="b" * 600, impact="c" * 600)
        for number in range(60)
    )
    with pytest.raises(PromptTooLong, match=r"needs \d+ tokens .* of 24000: 3\d+ are the playbook's. Shorten"):
        looked_back(history(3), playbook=playbook_with(lessons_learned=lessons))


def test_a_figure_that_is_not_known_is_told_as_its_reason() -> None:
    shown = sections(looked_back([]).text)
    assert shown["performance_summary"]["total"]["expectancy"] == "no trade with a known result"
    assert shown["challenger_record"] is None
    told = sections(looked_back(history(20), challenger=RECORD).text)["challenger_record"]
    assert (told["challenger"]["net_pnl"], told["champion"]["net_pnl"]) == (3, -1)


def test_the_groups_with_the_fewest_trades_are_told_together() -> None:
    figures = {f"s{number:02}": trade_figures([closed("1")] * (number + 1), Decimal(0)) for number in range(15)}
    told = breakdown(figures)
    assert [each["name"] for each in told[:-1]] == [f"s{number:02}" for number in range(3, 15)]
    assert told[-1] == {"other_groups": 3, "trades": 6, "wins": 6, "net_pnl_usd": 6}


# --- texts from outside ---------------------------------------------------------------------------------------------


def hostile_trade(text: str) -> ReviewedTrade:
    words = dict.fromkeys(("strategy", "regime", "exit_reason", "symbol"), text)
    fields = dict.fromkeys(("outcome", "execution_quality", "entry_timing", "exit_timing", "lesson"), text)
    told = review().model_copy(
        update={
            **fields,
            "what_went_right": (text,),
            "what_went_wrong": (text,),
            "should_update_playbook": True,
            "playbook_suggestion": text,
        }
    )
    return replace(reviewed(1, told=told, **words), not_reviewed=text)


def hostile_playbook(text: str) -> Any:
    lesson = Lesson.model_construct(id="L1", date=NOW.date(), lesson=text, evidence=text, impact=text)
    strategy = PLAYBOOK.strategy_definitions[0].model_copy(update={"entry": text, "exit": text, "filters": (text,)})
    return playbook_with(lessons_learned=(lesson,), strategy_definitions=(strategy,))


def post_trade_full_of(text: str) -> Prompt:
    """The review's prompt with one text in every field that holds a text from outside."""
    market = SNAPSHOT.model_copy(update={"symbol": text, "regime": text})
    words = dict.fromkeys(("strategy", "regime", "exit_reason", "symbol"), text)
    asked = completed(
        trade=closed(**words),
        reasoning=text,
        research={"answer": {"summary": text, "key_points": [text]}, "citations": [{"url": text}]},
        excursion=replace(NO_EXCURSION, adverse=Figure(None, text)),
        market_at_entry=market,
        market_at_exit=market,
    )
    return post_trade_prompt(asked, hostile_playbook(text))


def deep_full_of(text: str) -> Prompt:
    """The same of the deep reflection's."""
    trades = [hostile_trade(text), replace(hostile_trade(text), number=2, review=None)]
    challenger = replace(RECORD, champion_brier_score=Figure(None, text))
    return looked_back(trades, playbook=hostile_playbook(text), challenger=challenger, token_budget=200_000)


@pytest.mark.parametrize("full_of", [post_trade_full_of, deep_full_of])
@given(text=anything.filter(bool))
@settings(max_examples=60, deadline=None)
def test_no_text_from_outside_can_leave_its_place_or_hide_in_it(full_of: Callable[[str], Prompt], text: str) -> None:
    prompt, honest = full_of(text), full_of(POISON)
    assert sections(prompt.text) == with_text(sections(honest.text), text)
    assert re.findall("<.*?>", prompt.text) == re.findall("<.*?>", honest.text)
    assert prompt.system == honest.system
    assert visible(prompt.text) == prompt.text


@pytest.mark.parametrize("text", FRAGMENTS)
def test_the_budget_holds_for_hostile_texts(text: str) -> None:
    trades = [replace(hostile_trade((text * 4)[:50]), number=number) for number in range(1, 200)]
    prompt = looked_back(trades, performance=performance_of(trades))
    assert tokens(prompt) <= DEEP_TOKENS
    assert len(sections(prompt.text)["individual_trade_reviews"]) > 5
