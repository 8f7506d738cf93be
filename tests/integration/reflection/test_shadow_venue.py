"""Two shadow books on the same cycles and prices: brought forward once, in order, whatever fails in between."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from decisions.models import DecisionCycle
from journal.models import Trade
from reflection import challenger, shadow_question, shadow_venue, trial
from reflection.models import ShadowContest, ShadowQuestion, ShadowTrade
from reflection.shadow_state import BookState
from risk.models import Verdict
from tests.integration.decisions.build import BTC, NOON, position_payload, snapshot_payload
from tests.integration.decisions.model_server import ScriptedModels, analysed, left, overloaded
from tests.integration.decisions.scene import ETH, at_once, bar, drive, later, tick, world
from tests.integration.reflection.challenger_scene import (
    HOLD,
    analysed_cycle,
    both_answered,
    consequences,
    trades,
    went_on,
)

SHORT = analysed("OPEN_SHORT", stop_loss=20200.0, take_profit=19550.0)


def test_each_answer_is_followed_in_the_book_of_its_own_side(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, analysed(), SHORT)
    went_on(NOON)
    assert consequences(asked) == {"challenger": "traded", "champion": "traded"}
    (own,), (others,) = trades("challenger"), trades("champion")
    assert (own.direction, own.playbook_version, own.entry_price) == ("SHORT", 2, Decimal(19996))
    assert (others.direction, others.playbook_version, others.entry_price) == ("LONG", 1, Decimal(20004))
    assert {own.cycle_number, others.cycle_number} == {asked.cycle_id}
    assert (own.size, own.stop_loss, own.take_profit) == (Decimal("1.5"), Decimal(20200), Decimal(19550))
    assert (own.strategy, own.regime, own.confidence) == ("momentum_breakout", "trending_up", Decimal("0.7"))


def test_the_prices_that_follow_close_both(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), SHORT)
    bar(later(5), "19700")
    went_on(later(5))
    (own,), (others,) = trades("challenger"), trades("champion")
    assert (others.exit_reason, others.closed_at, others.exit_price) == ("stop_loss", later(5), Decimal(19796))
    assert (own.exit_reason, own.pnl_usd) == ("", None)
    bar(later(10), "19500")
    went_on(later(10))
    (own,) = trades("challenger")
    assert (own.exit_reason, own.closed_at, own.exit_price) == ("take_profit", later(10), Decimal(19550))
    assert own.pnl_usd == own.gross_pnl_usd - own.fees_usd
    assert own.gross_pnl_usd == (Decimal(19996) - Decimal(19550)) * Decimal("0.015")


def test_nothing_of_it_touches_the_real_account(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, analysed())
    went_on(NOON)
    assert len(trades("challenger")) == 1
    assert not Trade.objects.exists()
    assert not Verdict.objects.exists()


def test_both_begin_with_the_accounts_equity(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, HOLD)
    contest = went_on(NOON)
    assert contest.start_equity == 10000
    equities = {role: BookState.from_json(contest.books[role]).venue.equity for role in ("challenger", "champion")}
    assert equities == {"challenger": 10000, "champion": 10000}


def test_both_are_under_the_limits_of_the_account(on_trial: ScriptedModels, settings: Any) -> None:
    too_far = analysed(stop_loss=19300.0, take_profit=22000.0)
    asked = both_answered(on_trial, too_far, too_far)
    went_on(NOON)
    assert consequences(asked) == {"challenger": "gate_rejected", "champion": "gate_rejected"}
    assert not ShadowTrade.objects.exists()
    assert "sl_distance" in asked.consequences["champion"]["reason"]


def test_each_is_under_the_bans_of_its_own_playbook(on_trial: ScriptedModels) -> None:
    unknown = analysed(strategy="tea_leaves")
    asked = both_answered(on_trial, analysed(), unknown)
    went_on(NOON)
    assert consequences(asked) == {"challenger": "playbook_blocked", "champion": "traded"}


def test_what_a_book_holds_is_its_own(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, HOLD, analysed())
    again = both_answered(on_trial, analysed(), analysed(), later(5))
    went_on(later(5))
    assert consequences(again) == {"challenger": "gate_rejected", "champion": "traded"}  # it is open there already


def test_an_exit_closes_what_the_question_showed(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), analysed())
    world(later(5), position_payload(), price="20100")
    on_trial.will_say("analyze", left("CLOSE"), left("HOLD"))
    cycle = drive(tick(later(5)), until="risk_check")
    noted = shadow_question.note(cycle.pk)
    assert noted is not None
    shadow_question.ask(noted.pk, later(5))
    went_on(later(5))
    assert consequences(noted) == {"challenger": "model_hold", "champion": "traded"}
    (own,), (others,) = trades("challenger"), trades("champion")
    assert (others.exit_reason, others.exit_price, own.closed_at) == ("signal", Decimal("20095.9"), None)


def test_an_opening_in_a_cycle_that_took_none_opens_in_neither_book(on_trial: ScriptedModels) -> None:
    cycle = analysed_cycle(on_trial, analysed())
    DecisionCycle.objects.filter(pk=cycle.pk).update(openings_blocked="halted", openings_blocked_reason="a person")
    noted = shadow_question.note(cycle.pk)
    assert noted is not None
    shadow_question.ask(noted.pk, NOON)
    went_on(NOON)
    assert consequences(noted) == {"challenger": "openings_blocked", "champion": "openings_blocked"}


def test_a_cycle_that_one_side_could_not_be_asked_about_counts_for_neither(on_trial: ScriptedModels) -> None:
    asked = both_answered(on_trial, analysed(), overloaded())
    went_on(NOON)
    assert (asked.status, ShadowTrade.objects.count()) == ("left_out", 0)


def test_an_answer_of_no_use_trades_nothing_while_the_other_sides_does(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), "no JSON")
    went_on(NOON)
    assert list(ShadowTrade.objects.values_list("role", flat=True)) == ["champion"]


# --- order and repetition ---------------------------------------------------------------------------------------------


def test_the_books_wait_for_an_answer_that_is_outstanding(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), analysed())
    noted = shadow_question.note(analysed_cycle(on_trial, HOLD, later(5), price="19900").pk)
    bar(later(10), "19700")
    assert went_on(later(10)).played_until == later(5)
    assert [trade.closed_at for trade in ShadowTrade.objects.all()] == [None, None]
    assert noted is not None
    shadow_question.leave_out(noted, "nobody asked")
    assert went_on(later(10)).played_until == later(10)
    assert [trade.closed_at for trade in ShadowTrade.objects.all()] == [later(10), later(10)]


def test_the_books_wait_for_an_analysis_that_will_be_asked_about(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), analysed())
    world(later(5))
    cycle = drive(tick(later(5)), until="analyzing")
    bar(later(10), "19700")
    assert went_on(later(10)).played_until == later(5)
    DecisionCycle.objects.filter(pk=cycle.pk).update(state="done", outcome="model_error", finished_at=datetime.now(UTC))
    assert went_on(later(10)).played_until == later(10)


def test_answers_are_followed_in_the_order_of_the_market_and_not_of_their_coming(on_trial: ScriptedModels) -> None:
    first = shadow_question.note(analysed_cycle(on_trial, analysed()).pk)
    second = both_answered(on_trial, SHORT, SHORT, later(5))
    went_on(later(5))
    assert first is not None
    assert (second.status, ShadowTrade.objects.count()) == ("answered", 0)
    on_trial.will_say("analyze", analysed())
    shadow_question.ask(first.pk, later(5))
    went_on(later(5))
    assert consequences(first) == {"challenger": "traded", "champion": "traded"}
    assert consequences(second) == {"challenger": "gate_rejected", "champion": "gate_rejected"}


def test_an_answer_that_the_prices_have_overtaken_is_left_out(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), analysed())
    bar(later(10), "19900")
    went_on(later(10))
    late = both_answered(on_trial, HOLD, HOLD, later(5))
    DecisionCycle.objects.filter(pk=late.cycle_id).update(snapshot=snapshot_payload(at=later(5)))
    ShadowQuestion.objects.filter(pk=late.pk).update(snapshot_at=later(5))
    went_on(later(10))
    late.refresh_from_db()
    assert (late.status, late.reason) == ("left_out", shadow_venue.TOO_LATE)


def test_whatever_is_repeated_happens_once(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), SHORT)
    bar(later(5), "19700")
    once = went_on(later(5)).books
    rows = list(ShadowTrade.objects.order_by("id").values())
    for _ in range(3):
        assert went_on(later(5)).books == once
    assert list(ShadowTrade.objects.order_by("id").values()) == rows


def test_many_small_steps_lead_where_one_long_one_does(on_trial: ScriptedModels) -> None:
    """Whenever the rounds come, and wherever a process died between two of them."""
    prices = ["20100", "19950", "19850", "20250", "20500", "20000", "19600", "19500", "20000", "20600"]
    resting = analysed(order_type="limit", limit_price=19960.0)
    answers = {0: (analysed(), SHORT), 3: (analysed(), resting), 6: (SHORT, analysed()), 9: (resting, SHORT)}
    for number, price in enumerate(prices):
        if number in answers:
            both_answered(on_trial, *answers[number], later(5 * number))
        else:
            bar(later(5 * number), price)
    contest = ShadowContest.objects.get()
    fresh, end = contest.books, later(5 * len(prices))
    went_on(end)
    in_one_step = list(map(_figures, ShadowTrade.objects.order_by("role", "cycle_number")))
    _forget(contest, fresh)
    for number in range(len(prices) + 1):
        went_on(later(5 * number))
    assert list(map(_figures, ShadowTrade.objects.order_by("role", "cycle_number"))) == in_one_step
    assert len([trade for trade in in_one_step if trade["closed_at"] is not None]) >= 4


def _figures(trade: ShadowTrade) -> dict[str, Any]:
    return {field.name: getattr(trade, field.name) for field in trade._meta.concrete_fields if field.name != "id"}


def _forget(contest: ShadowContest, books: dict[str, Any]) -> None:
    """As if the books had never been brought forward."""
    ShadowTrade.objects.all().delete()
    ShadowQuestion.objects.update(status="answered", consequences=None)
    ShadowContest.objects.filter(pk=contest.pk).update(books=books, played_until=None)


@pytest.mark.django_db(transaction=True)
def test_rounds_at_the_same_moment_follow_an_answer_once(on_trial: ScriptedModels) -> None:
    analysed_cycle(on_trial, analysed())
    noted = ShadowQuestion.objects.get()
    on_trial.will_say("analyze", analysed())
    shadow_question.ask(noted.pk, NOON)
    bar(later(5), "19700")
    assert at_once(*[lambda: trial.go_on(later(5))] * 4) == []
    assert (len(trades("challenger")), len(trades("champion"))) == (1, 1)
    assert {trade.closed_at for trade in ShadowTrade.objects.all()} == {later(5)}


def test_prices_of_other_instruments_do_not_move_a_book(on_trial: ScriptedModels) -> None:
    both_answered(on_trial, analysed(), analysed())
    bar(later(5), "10", symbol=ETH)
    went_on(later(5))
    assert {trade.closed_at for trade in ShadowTrade.objects.all()} == {None}
    assert {trade.symbol for trade in ShadowTrade.objects.all()} == {BTC}


# --- the record -------------------------------------------------------------------------------------------------------


def test_the_record_has_both_sides_of_the_same_cycles(on_trial: ScriptedModels) -> None:
    assert challenger.record_of(2) is None
    both_answered(on_trial, analysed(), HOLD)
    bar(later(5), "19700")
    both_answered(on_trial, HOLD, analysed(), later(10))
    bar(later(15), "20500")
    went_on(later(15))
    record = challenger.record_of(2)
    assert record is not None
    assert (record.version, record.cycles) == (2, 2)
    assert (record.challenger.wins, record.challenger.losses) == (1, 0)
    assert (record.champion.wins, record.champion.losses) == (0, 1)
    assert record.champion.net_pnl == trades("champion")[0].pnl_usd
    assert record.challenger_brier_score.value == Decimal("0.09")  # (0.7 - 1) squared
    assert record.champion_brier_score.value == Decimal("0.49")
