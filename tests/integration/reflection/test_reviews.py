"""Each closed trade is reviewed once, whoever closed it and whatever is lost, and only for a result that is known."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions import context
from decisions.clients import claude
from decisions.models import Fill, ModelCall, Order
from decisions.sandbox import offline_reflection
from journal.cost_basis import Execution
from journal.models import Trade
from journal.services import RECONCILED_EXIT, Bearing, EntryPlan, close_unknown, enlarge_trade, shrink_trade
from reflection import claims, closings, desk, tasks
from reflection.models import Reflection
from tests.integration.decisions.build import BTC, NOON, alerts, book, sent_order, zulu
from tests.integration.decisions.model_server import ScriptedModels, overloaded, refusal
from tests.integration.decisions.scene import at_once, later, queued, until
from tests.integration.reflection.scene import (
    closed,
    decided,
    lease_is_over,
    logs,
    look_after,
    pause_is_over,
    piece_of,
    price,
    spend,
    world,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready")]


def review(**changes: Any) -> dict[str, Any]:
    return {
        "outcome": "win", "execution_quality": "good", "entry_timing": "good", "exit_timing": "late",
        "what_went_right": ["The break held."], "what_went_wrong": [], "lesson": "Let it run.",
        "should_update_playbook": False, "playbook_suggestion": None, **changes,
    }  # fmt: skip


def test_a_closed_trade_is_reviewed_and_the_review_kept_with_its_log_and_its_call(models: ScriptedModels) -> None:
    world()
    trade = closed()
    models.will_say("review", review(should_update_playbook=True, playbook_suggestion="Trail the stop."))
    look_after()
    trade.refresh_from_db()
    piece, (log,) = piece_of(trade), logs()
    assert trade.self_review == log.output_json
    assert trade.self_review is not None
    assert trade.self_review["lesson"] == "Let it run."
    assert (piece.status, piece.log, piece.suggestion) == ("done", log, "Trail the stop.")
    assert (log.trade_ids, log.old_version, log.new_version) == ([trade.pk], 1, None)
    call = ModelCall.objects.get()
    assert (call.purpose, call.outcome, call.prompt, call.market_time) == ("reflect", "ok", log.input_prompt, NOON)
    assert call.cost_usd > 0


def test_it_is_asked_once_however_often_it_is_told(models: ScriptedModels) -> None:
    world()
    trade = closed()
    for _ in range(3):
        tasks.closed(trade.pk)
        look_after()
    assert models.times_asked("review") == len(logs()) == 1


def test_several_workers_told_at_once_ask_once(models: ScriptedModels) -> None:
    world()
    trades = [closed(minutes=each) for each in range(3)]
    raised = at_once(*[lambda trade=trade: tasks.closed(trade.pk) for trade in trades * 2])
    assert raised == []
    look_after()
    assert models.times_asked("review") == len(logs()) == 3
    assert all(piece_of(trade).attempts == 1 for trade in trades)


def test_a_closing_that_nobody_told_of_is_found(models: ScriptedModels) -> None:
    world(later(10))
    trades = [closed(minutes=each) for each in (2, 1, 3)]
    tasks.sweep()
    assert [models.shown(0, "review")["completed_trade"]["closed_at"]] == ["2022-11-20T12:01:00Z"]
    look_after(later(10))
    assert [log.trade_ids for log in logs()] == [[trades[1].pk], [trades[0].pk], [trades[2].pk]]


def test_a_booked_exit_wakes_the_review(models: ScriptedModels, redis_client: Any) -> None:
    world()
    order = sent_order()
    book(order)
    before = queued(redis_client, "reflect")
    exit_at_target = {"intent": "close", "side": "sell", "fill_price": "20450", "pnl_usd": "9"}
    book(**exit_at_target, exit_reason="take_profit", filled_at=zulu(later(5)))
    assert queued(redis_client, "reflect") == before + 1
    look_after(later(5))
    shown = models.shown(question="review")
    assert shown["completed_trade"]["exit_reason"] == "take_profit"
    assert shown["result"]["pnl_usd"] == 8.6
    assert shown["plan"]["stop_loss"] == 19800


def test_what_is_shown_is_the_market_at_both_ends_and_what_happened_between(models: ScriptedModels) -> None:
    trade = closed(closed_at=later(20), opened_at=later(0))
    decided(trade, price="19990")
    for minutes, value in ((5, "19900"), (10, "20300"), (15, "20250"), (20, "20200")):
        price(later(minutes), value)
    for number, (intent, value, minutes, pnl) in enumerate((("open", 20000, 0, None), ("close", 20200, 20, 4))):
        Fill.objects.create(
            fill_id=f"f{number}", trade=trade, symbol=BTC, pos_side="long", side="buy", intent=intent, status="filled",
            price=value, size=2, fee_usd=Decimal("0.5"), pnl_usd=pnl, filled_at=later(minutes),
        )  # fmt: skip
    look_after(later(20))
    shown = models.shown(question="review")
    assert shown["market_at_entry"]["price"] == 19990
    assert shown["market_at_exit"]["price"] == 20200
    assert shown["indicators_at_entry"]["1H"]["rsi_14"] == 62.5
    assert (shown["excursion"]["adverse_r"], shown["excursion"]["favourable_r"]) == (-0.5, 1.5)
    kept = piece_of(trade).excursion
    assert kept is not None
    assert kept["favourable"]["value"] == "0.015"


def test_the_plan_is_the_openings_although_an_addition_brought_another_stop(models: ScriptedModels) -> None:
    world()
    trade = closed(stop_loss=Decimal(19950), take_profit=Decimal(21000))
    order = sent_order()
    Trade.objects.filter(pk=trade.pk).update(decision_id=order.decision_id)
    look_after()
    plan = models.shown(question="review")["plan"]
    assert (plan["stop_loss"], plan["take_profit"]) == (19800, 20500)
    assert Order.objects.count() == 1


def test_a_market_of_which_nothing_is_kept_is_said_to_be_missing(models: ScriptedModels) -> None:
    trade = closed()
    look_after()
    shown = models.shown(question="review")
    assert shown["market_at_entry"]["available"] is False
    assert shown["excursion"]["adverse_r"] == "its first entry is not recorded"
    assert piece_of(trade).status == "done"


# --- not reviewed -----------------------------------------------------------------------------------------------------


def test_a_trade_whose_result_nobody_knows_is_not_reviewed_and_says_why(models: ScriptedModels) -> None:
    trade = closed(None, exit_reason=RECONCILED_EXIT)
    look_after()
    piece = piece_of(trade)
    assert (piece.status, piece.reason) == ("given_up", "its result is not known")
    assert models.asked == []


def test_it_is_reviewed_once_the_result_is_known(models: ScriptedModels) -> None:
    trade = closed(None)
    look_after()
    Trade.objects.filter(pk=trade.pk).update(pnl_usd=Decimal(4), gross_pnl_usd=Decimal(5))
    look_after()
    assert piece_of(trade).status == "done"
    assert len(logs()) == 1


def test_a_closing_of_long_ago_is_not_paid_for(models: ScriptedModels) -> None:
    trade = closed()
    look_after(NOON + closings.LOOK_BACK + timedelta(seconds=1))
    assert piece_of(trade).reason == "it had closed more than 30 days ago when it was found"
    assert models.asked == []


def test_a_review_that_does_not_know_what_happened_is_asked_for_again_and_then_given_up(
    models: ScriptedModels, ready: Any
) -> None:
    world()
    trade = closed("-4")
    models.will_say("review", *[review(outcome="win")] * 3)
    for _ in range(3):
        look_after()
        trade.refresh_from_db()
        assert trade.self_review is None
        pause_is_over()
    piece = piece_of(trade)
    assert (piece.status, models.times_asked("review")) == ("given_up", 3)
    assert piece.reason.startswith("the review calls the trade a win, and its net P&L of -4.0000 USD is a loss")
    assert logs() == []
    assert len(alerts("review_failed")) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (overloaded(), "error: HTTP 529"),
        (refusal(), "refusal"),
        ("no JSON", "invalid_output"),
        (review(lesson="x" * 2000), "invalid_output"),
        (review(leverage=20), "invalid_output"),
        (review(what_went_wrong=["a"] * 9), "invalid_output"),
    ],
)
def test_a_failure_is_tried_again_after_a_pause_with_the_reason_kept(
    models: ScriptedModels, said: Any, told: str
) -> None:
    world()
    trade = closed()
    models.will_say("review", said)
    look_after()
    look_after()
    piece = piece_of(trade)
    assert (piece.status, piece.attempts, models.times_asked("review")) == ("waiting", 1, 1)
    assert piece.reason.startswith(told)
    assert piece.reason.endswith("(attempt 1 of 3)")
    pause_is_over()
    look_after()
    assert (piece_of(trade).status, piece_of(trade).reason, piece_of(trade).attempts) == ("done", "", 2)
    assert ModelCall.objects.count() == 2


def test_the_offline_model_is_not_asked_twice_for_what_it_cannot_answer(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(shown: Any) -> dict[str, Any]:
        raise KeyError("excursion")

    claude._client.cache_clear()
    monkeypatch.setattr(offline_reflection, "reviewed", cannot)
    trade = closed()
    look_after()
    assert (piece_of(trade).status, piece_of(trade).attempts) == ("given_up", 1)


def test_a_spent_budget_postpones_reviews_until_the_day_ends(models: ScriptedModels) -> None:
    world()
    spend("15")
    trade = closed()
    look_after()
    piece = piece_of(trade)
    assert (piece.status, piece.attempts) == ("waiting", 0)
    assert piece.reason == "postponed until the market day ends: models have cost 15.000000 USD today, of 15"
    assert desk.is_settled(NOON)
    look_after(NOON + timedelta(hours=12))
    assert (piece_of(trade).status, piece_of(trade).reason) == ("done", "")


# --- opened again -----------------------------------------------------------------------------------------------------


def reopened(trade: Trade) -> None:
    Trade.objects.filter(pk=trade.pk).update(status="open", closed_at=None, open_size=1, pnl_usd=None)


def closed_again(trade: Trade, gross: str) -> None:
    Trade.objects.filter(pk=trade.pk).update(
        status="closed", closed_at=NOON, open_size=0, gross_pnl_usd=Decimal(gross), pnl_usd=Decimal(gross) - 1
    )


def test_a_trade_that_closed_otherwise_after_all_is_reviewed_again(models: ScriptedModels) -> None:
    world()
    trade = closed()
    look_after()
    reopened(trade)
    look_after()
    assert models.times_asked("review") == 1
    closed_again(trade, "-9")
    look_after()
    assert models.times_asked("review") == len(logs()) == 2
    trade.refresh_from_db()
    assert trade.self_review is not None
    assert trade.self_review["outcome"] == "loss"
    assert Reflection.objects.count() == 1


def executed(minutes: float, size: str = "1", pnl: str | None = None) -> Execution:
    """An exit where it has a P&L, else an entry."""
    return Execution(
        at=later(minutes), symbol=BTC, direction="LONG", price=Decimal(20000), size=Decimal(size), fee_usd=Decimal(0),
        pnl_usd=None if pnl is None else Decimal(pnl), exit_reason="" if pnl is None else "stop_loss",
    )  # fmt: skip


BOOKED = [executed(-30, "2"), executed(0, "2", "5")]
LATE = executed(-20)


def heard_of_late(trade: Trade) -> None:
    """Another contract had been entered: all that was closed was not all."""
    trade.refresh_from_db()
    plan = EntryPlan(ct_val=trade.ct_val, stop_loss=None, take_profit=None)
    enlarge_trade(trade, LATE, plan, Bearing(opens=False, protects=False, first=False), BOOKED, lambda _: None)


def left_late(trade: Trade, pnl: str, minutes: float) -> None:
    """So the trade was open after all; and the contract has left as well."""
    heard_of_late(trade)
    assert (trade.status, trade.self_review) == ("open", None)
    shrink_trade(trade, executed(minutes, "1", pnl), [*BOOKED, LATE], lambda _: None)
    assert trade.status == "closed"


def test_the_lesson_of_a_closing_that_was_none_is_told_nowhere(models: ScriptedModels) -> None:
    world()
    trade = closed()
    models.will_say("review", review(lesson="It wins: do it again."), *[overloaded()] * 12)
    look_after()
    assert context.recent_trades()[0].lesson == "It wins: do it again."
    left_late(trade, "-20", 1)
    for _ in range(4):
        look_after(later(1))
        pause_is_over()
    told = context.recent_trades()[0]
    assert (piece_of(trade).status, told.pnl_usd, told.lesson) == ("given_up", Decimal("-16"), "")
    assert (logs()[0].output_json or {})["lesson"] == "It wins: do it again."


def test_a_trade_whose_result_nobody_knows_after_all_tells_no_lesson(models: ScriptedModels) -> None:
    world()
    trade = closed()
    look_after()
    closed(minutes=40, status="open", closed_at=None, duration_seconds=None, open_size=2, pnl_usd=None)
    heard_of_late(trade)
    assert (trade.status, trade.pnl_usd) == ("closed", None)
    (told,) = context.recent_trades()
    assert (told.pnl_usd, told.lesson) == (None, "")


def test_a_trade_that_was_opened_again_and_closed_as_before_is_reviewed_again(models: ScriptedModels) -> None:
    """Its review is gone with the closing that it judged."""
    world()
    trade = closed()
    look_after()
    left_late(trade, "0", 0)
    for _ in range(2):
        look_after()
    assert models.times_asked("review") == len(logs()) == 2
    trade.refresh_from_db()
    assert trade.self_review is not None


def test_late_fees_and_funding_change_no_review(models: ScriptedModels) -> None:
    world()
    trade = closed()
    look_after()
    Trade.objects.filter(pk=trade.pk).update(funding_usd=Decimal("-0.5"), pnl_usd=Decimal("3.5"))
    look_after()
    assert models.times_asked("review") == 1


def test_a_trade_opened_again_while_it_is_reviewed_keeps_nothing_of_it(models: ScriptedModels) -> None:
    world()
    trade = closed()
    held = models.hold_next("review")

    def reopen_meanwhile() -> None:
        until(lambda: models.times_asked("review") == 1)
        reopened(trade)
        held.set()

    assert at_once(look_after, reopen_meanwhile) == []
    trade.refresh_from_db()
    assert (trade.self_review, logs()) == (None, [])
    lease_is_over()
    look_after()
    assert not Reflection.objects.exists()
    closed_again(trade, "-9")
    look_after()
    assert piece_of(trade).status == "done"


def test_a_trade_given_up_by_the_reconciliation_is_noted_too(models: ScriptedModels) -> None:
    trade = closed()
    Trade.objects.filter(pk=trade.pk).update(status="open", closed_at=None, open_size=2, pnl_usd=None, gross_pnl_usd=0)
    trade.refresh_from_db()
    close_unknown(trade, NOON)
    look_after()
    assert piece_of(trade).reason == "its result is not known"


# --- workers that die -------------------------------------------------------------------------------------------------


def test_a_piece_that_every_worker_died_at_is_given_up(models: ScriptedModels) -> None:
    world()
    trade = closed()
    desk.see_to_it(NOON)
    for _ in range(3):
        piece = desk.next_piece()
        assert piece is not None
        assert claims.claim(piece) is not None
        assert claims.claim(piece) is None
        lease_is_over()
    look_after()
    piece = piece_of(trade)
    assert (piece.status, piece.reason) == ("given_up", "the worker died in each of its attempts")
    assert models.asked == []


def test_one_who_comes_back_after_his_lease_writes_nothing(models: ScriptedModels) -> None:
    world()
    trade = closed()
    held = models.hold_next("review")

    def overtake() -> None:
        until(lambda: models.times_asked("review") == 1)
        lease_is_over()
        look_after()
        held.set()

    assert at_once(look_after, overtake) == []
    assert (models.times_asked("review"), len(logs()), piece_of(trade).attempts) == (2, 1, 2)
