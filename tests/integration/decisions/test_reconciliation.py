"""The record against the venue on real Postgres: what is booked, adopted, closed or told, and what is left alone."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from pytest_django import Settings

from decisions import context, exposure, positions, reconciliation, repairs, report, tasks
from decisions.messages import Position, PositionUpdate
from decisions.models import (
    DecisionCycle,
    Discrepancy,
    Fill,
    InstrumentBlock,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    PositionReport,
    State,
)
from decisions.reconciliation import PATIENCE, Finding, NoReport, reconcile
from journal.models import Trade
from risk import services as risk
from risk.models import RiskState
from tests.integration.decisions.build import (
    BTC,
    NOON,
    NOTHING_FILLED,
    alerts,
    book,
    end_of,
    fill_payload,
    funding_payload,
    position_payload,
    position_update_payload,
    sent_order,
)
from tests.integration.decisions.scene import ETH, at_once, bar, command, tick

pytestmark = pytest.mark.django_db
D = Decimal
TOLD = datetime.now(UTC) - timedelta(minutes=2)
OVER = {"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON}
LATER = NOON + timedelta(minutes=30)
"""Long after the fills of these tests, which are of noon."""


@pytest.fixture(autouse=True)
def just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_reconciled_here", False)


@transaction.atomic
def told(
    seconds: float, *held: dict[str, Any], at: datetime = LATER, received: float | None = None, **changes: Any
) -> None:
    """A position update, sent and received so many seconds after the first one."""
    payload = position_update_payload(at, positions=list(held), **changes)
    positions.take_in(PositionUpdate.model_validate(payload), TOLD + timedelta(seconds=seconds))
    came = TOLD + timedelta(seconds=seconds if received is None else received)
    PositionReport.objects.update(received_at=came)


def reconciled(seconds: float, *held: dict[str, Any], at: datetime = LATER, **changes: Any) -> list[Finding]:
    """An update comes in and is reconciled."""
    told(seconds, *held, at=at, **changes)
    return reconcile(at)


def stood(*held: dict[str, Any], **changes: Any) -> list[Finding]:
    """The same update twice, far enough apart, each reconciled. Returns what the second brought."""
    reconciled(0, *held, **changes)
    return reconciled(PATIENCE.seconds, *held, **changes)


def exit_payload(**changes: Any) -> dict[str, Any]:
    """A take profit of the venue's own that closes two contracts from 20000 at 20500."""
    return fill_payload(
        side="sell", intent="close", fill_price="20500", pnl_usd="10", fee_usd="0.2", algo_id="tp",
        exit_reason="take_profit", **changes,
    )  # fmt: skip


def the(model: Any) -> Any:
    return model.objects.get()


# --- when they agree --------------------------------------------------------------------------------------------------


def test_a_record_and_a_venue_that_agree_leave_nothing_but_the_time() -> None:
    book(sent_order())
    assert stood(position_payload()) == []
    assert not Discrepancy.objects.exists()
    assert the(PositionReport).reconciled_at is not None
    assert not OutboxMessage.objects.filter(category__startswith="reconciliation").exists()


def test_without_a_report_there_is_nothing_to_compare() -> None:
    with pytest.raises(NoReport, match="has not reported its positions yet"):
        reconcile(NOON)
    reconciliation.reconcile_if_due(NOON)


def test_a_fill_that_was_booked_after_the_report_is_no_difference() -> None:
    told(0, at=NOON)
    book(sent_order())
    assert reconcile(NOON) == []
    told(60, at=NOON)  # as of the same bar, made up before the execution
    assert reconcile(NOON) == []
    assert the(Trade).status == "open"
    assert not Discrepancy.objects.exists()


def test_a_report_that_lags_by_hours_says_nothing_of_what_was_filled_since() -> None:
    told(0, at=NOON - timedelta(hours=1))
    book(sent_order())
    assert reconcile(NOON - timedelta(hours=1)) == []


def test_a_fill_that_the_report_knows_makes_it_comparable_at_once() -> None:
    payload = fill_payload(order := sent_order())
    book(order, **payload)
    (found,) = reconciled(0, at=NOON, recent_fills=[payload])
    assert found.difference == "trade_without_position"


def test_a_difference_that_is_gone_in_the_next_report_is_resolved_and_nothing_was_done() -> None:
    book(sent_order())
    (found,) = reconciled(0)
    assert (found.done, found.needs_a_person) == ("watched: it must stand for 10 s", False)
    assert reconciled(PATIENCE.seconds, position_payload()) == []
    assert (the(Discrepancy).resolution, the(Trade).status) == ("no longer seen", "open")


def test_one_report_however_often_it_is_looked_at_is_not_enough() -> None:
    book(sent_order())
    told(0)
    assert [reconcile(LATER)[0].done for _ in range(3)] == ["watched: it must stand for 10 s"] * 3


def test_two_reports_too_close_to_one_another_are_not_enough() -> None:
    book(sent_order())
    reconciled(0)
    (found,) = reconciled(PATIENCE.seconds - 1)
    assert (found.done, the(Trade).status) == ("watched: it must stand for 10 s", "open")


def test_when_our_clock_was_set_back_a_difference_is_waited_for_from_then_on() -> None:
    book(sent_order())
    reconciled(0, at=LATER)
    later = LATER + timedelta(minutes=5)
    reconciled(-3600, at=later)
    assert the(Trade).status == "open"
    reconciled(-3600 + PATIENCE.seconds, at=later)
    assert the(Trade).status == "closed"


def test_how_long_a_difference_stands_is_not_for_the_venue_s_clock_to_say() -> None:
    book(sent_order())
    reconciled(0)
    (found,) = reconciled(60, received=1)
    assert (found.done, the(Trade).status) == ("watched: it must stand for 10 s", "open")


@pytest.mark.parametrize("action", ["OPEN_LONG", "CLOSE"])
def test_a_difference_that_an_order_of_ours_may_explain_is_waited_for_longer(action: str) -> None:
    bar(LATER)
    held = [position_payload()] if action == "OPEN_LONG" else []
    if action == "CLOSE":
        book(sent_order())
    sent_order(action)
    reconciled(0, *held)
    (found,) = reconciled(89, *held)
    assert (found.done, found.needs_a_person) == ("watched: it must stand for 90 s", False)
    assert Trade.objects.filter(status="open").count() == (action == "CLOSE")
    assert context.instrument_trouble(BTC) is not None
    (found,) = reconciled(90, *held)
    assert found.needs_a_person
    assert Trade.objects.filter(status="open").count() == (action == "OPEN_LONG")


def test_a_late_fill_of_an_order_of_ours_is_booked_as_ours() -> None:
    bar(LATER)
    order = sent_order()
    stood(position_payload())
    book(order)
    assert (the(Trade).origin, the(Trade).open_size, end_of(order)[0]) == ("decision", 2, OrderStatus.FILLED)
    assert reconciled(20, position_payload()) == []
    assert not InstrumentBlock.objects.exists()


def test_nothing_is_done_on_the_word_of_a_report_that_is_too_old(settings: Settings) -> None:
    book(sent_order())
    told(0)
    reconcile(LATER)
    told(60)
    (found,) = reconcile(LATER + timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS + 1))
    assert (found.done, the(Trade).status) == ("nothing: the report is too old", "open")


# --- a position without a trade ---------------------------------------------------------------------------------------


def test_a_position_that_we_did_not_open_is_adopted_told_and_blocks_its_instrument() -> None:
    bar(LATER)
    (found,) = stood(position_payload())
    trade = the(Trade)
    assert (trade.origin, trade.status, trade.direction) == ("reconciled", "open", "LONG")
    assert (trade.size, trade.open_size, trade.entry_price, trade.entry_value) == (2, 2, 20000, 400)
    assert (trade.stop_loss, trade.take_profit, trade.leverage, trade.opened_at) == (19800, 20500, 2, NOON)
    assert (trade.fees_usd, trade.ct_val) == (0, D("0.01"))
    assert trade.stop_confirmed_at is not None
    assert found.done == "adopted, openings blocked, left to a person"
    assert (found.needs_a_person, found.since) == (True, TOLD)
    assert alerts("position_not_ours") == ["LONG 2, entered at 20000"]
    assert OutboxMessage.objects.get(category="position_not_ours").severity == "CRITICAL"
    assert "that we did not open was adopted" in (context.instrument_trouble(BTC) or "")
    assert the(Discrepancy).resolution == found.done


def test_an_adopted_position_is_adopted_once_and_agrees_from_then_on() -> None:
    bar(LATER)
    stood(position_payload())
    assert [reconciled(20 + 10 * more, position_payload()) for more in range(3)] == [[], [], []]
    assert (Trade.objects.count(), InstrumentBlock.objects.count(), len(alerts("position_not_ours"))) == (1, 1, 1)


def test_an_adopted_position_without_a_stop_is_kept_and_left_to_a_person() -> None:
    bar(LATER)
    stood(position_payload(stop_loss=None, take_profit=None))
    trade = the(Trade)
    assert (trade.stop_loss, trade.stop_confirmed_at, trade.status) == (None, None, "open")


def test_a_position_of_unknown_contract_terms_is_told_once_and_adopted_when_they_are_known() -> None:
    (found,) = stood(position_payload())
    assert found.needs_a_person
    reconciled(20, position_payload())
    assert len(alerts("reconciliation_position_without_trade")) == 1
    assert not Trade.objects.exists()
    assert context.instrument_trouble(BTC) == "the record has no position, the venue LONG 2"
    bar(LATER)
    reconciled(30, position_payload())
    assert the(Trade).origin == "reconciled"


def test_the_exit_of_an_adopted_position_closes_it_with_its_result() -> None:
    bar(LATER)
    stood(position_payload())
    told(20, recent_fills=[exit_payload(filled_at="2022-11-20T12:29:00Z")])
    trade = the(Trade)
    assert (trade.status, trade.exit_reason, trade.pnl_usd) == ("closed", "take_profit", D("9.8"))
    assert not alerts("pnl_difference")


def test_what_an_adopted_position_went_through_before_is_not_booked_on_it_again() -> None:
    bar(LATER)
    reduced = exit_payload(filled_at="2022-11-20T12:10:00Z") | {
        "intent": "reduce", "fill_size": "1", "cumulative_size": "1", "status": "partially_filled",
    }  # fmt: skip
    first = reconciled(0, position_payload(size="2"), recent_fills=[reduced])
    assert [each.difference for each in first] == ["position_without_trade"]
    reconciled(PATIENCE.seconds, position_payload(size="2"), recent_fills=[reduced])
    Fill.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=5))  # it has waited for long
    for seconds in (20, 40, 60):
        reconciled(seconds, position_payload(size="2"), recent_fills=[reduced])
    trade = the(Trade)
    assert (trade.open_size, trade.size, trade.gross_pnl_usd) == (2, 2, 0)
    assert Fill.objects.get().trade is None


def adopted_with(order: Order) -> Trade:
    """The venue has executed the order and nobody has told us, until the position is adopted."""
    bar(LATER)
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.EXPIRED, ended_at=datetime.now(UTC))
    stood(position_payload())
    return the(Trade)


def test_a_fill_of_our_own_that_comes_after_its_position_was_adopted_is_part_of_that() -> None:
    order = sent_order()
    trade = adopted_with(order)
    book(order)
    trade.refresh_from_db()
    assert (trade.size, trade.open_size, trade.entry_value, trade.fees_usd) == (2, 2, 400, D("0.2"))
    assert (trade.origin, trade.stop_loss) == ("reconciled", 19800)
    order.refresh_from_db()
    assert (order.trade, order.status) == (trade, OrderStatus.FILLED)
    book(side="sell", intent="close", pnl_usd="2", fill_price="20100", filled_at="2022-11-20T12:40:00Z")
    assert (the(Trade).status, the(Trade).pnl_usd) == ("closed", D("1.6"))
    assert not alerts("pnl_difference")


def test_a_fill_of_our_own_that_comes_after_its_adopted_position_has_ended_begins_no_trade() -> None:
    order = sent_order()
    adopted_with(order)
    book(side="sell", intent="close", pnl_usd="2", fill_price="20100", filled_at="2022-11-20T12:40:00Z")
    book(order)
    assert (the(Trade).status, the(Trade).pnl_usd, the(Trade).size) == ("closed", D("1.6"), 2)
    assert reconcile(LATER) == []


def test_a_close_of_ours_ends_a_position_that_was_adopted_after_one_of_ours() -> None:
    book(sent_order(cycle_changes=OVER), filled_at="2022-11-20T11:00:00Z")
    book(side="sell", intent="close", pnl_usd="0", filled_at="2022-11-20T11:30:00Z")
    bar(LATER)
    Order.objects.filter(pk=sent_order(cycle_changes=OVER).pk).update(
        status=OrderStatus.EXPIRED, ended_at=datetime.now(UTC)
    )
    stood(position_payload())
    book(sent_order("CLOSE", cycle_changes=OVER), pnl_usd="2", fill_price="20100", filled_at="2022-11-20T12:40:00Z")
    assert [(trade.origin, trade.gross_pnl_usd) for trade in Trade.objects.filter(status="closed").order_by("id")] == [
        ("decision", 0), ("reconciled", 2)]  # fmt: skip


@pytest.mark.parametrize("later_first", [False, True])
def test_what_the_order_of_an_adopted_position_executes_besides_adds_to_it(later_first: bool) -> None:
    order = sent_order(size="5")
    adopted_with(order)
    known = {"fill_size": "2", "cumulative_size": "2", "status": "partially_filled"}
    besides = {"fill_size": "3", "cumulative_size": "5", "filled_at": "2022-11-20T12:31:00Z"}
    for part in (besides, known) if later_first else (known, besides):
        book(order, **part)
    assert (the(Trade).size, the(Trade).open_size, the(Trade).fees_usd) == (5, 5, D("0.4"))


def test_what_waits_on_the_other_side_of_an_adopted_position_goes_on_waiting() -> None:
    bar(LATER)
    for side, pos_side in (("buy", "long"), ("sell", "short")):
        book(side=side, pos_side=pos_side, client_order_id=pos_side, decision_id=pos_side)
    Fill.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=5))
    report_row = Discrepancy(symbol=BTC, kind="position_without_trade", first_told_at=TOLD, last_told_at=TOLD)
    with transaction.atomic():
        state = risk.lock_state()
        update = PositionUpdate.model_validate(position_update_payload(LATER, positions=[position_payload()]))
        repairs.repair(state, report_row, update)
    waiting = Fill.objects.filter(waiting__isnull=False)
    assert [fill.pos_side for fill in waiting] == ["short"]


def test_one_difference_whose_figures_have_no_place_in_the_record_does_not_cost_the_others(
    settings: Settings,
) -> None:
    settings.INSTRUMENTS = (BTC, ETH)
    bar(LATER)
    bar(LATER, symbol=ETH)
    odd = position_payload(leverage="1000")
    found = stood(odd, position_payload(ETH))
    assert [(each.symbol, each.done) for each in found] == [
        (BTC, "openings blocked, left to a person"),
        (ETH, "adopted, openings blocked, left to a person"),
    ]
    assert the(Trade).symbol == ETH
    (detail,) = alerts("reconciliation_position_without_trade")
    assert detail.startswith("The record has no position, the venue LONG 2: numeric field overflow")
    reconciled(20, odd, position_payload(ETH))
    assert len(alerts("reconciliation_position_without_trade")) == 1


def test_a_block_that_was_lifted_stays_lifted_when_its_alert_has_been_tidied_away() -> None:
    bar(LATER)
    stood(position_payload())
    InstrumentBlock.objects.update(ended_at=datetime.now(UTC), ended_by="ada")
    OutboxMessage.objects.all().delete()
    assert reconciled(20, position_payload()) == []
    assert context.instrument_trouble(BTC) is None
    assert not alerts("position_not_ours")


def test_a_position_that_the_venue_opened_by_a_fill_of_its_own_blocks_too_once() -> None:
    bar(LATER)
    book()
    (found,) = reconciled(0, position_payload())
    assert (found.difference, found.needs_a_person) == ("not_ours", True)
    assert "did not open" in (context.instrument_trouble(BTC) or "")
    InstrumentBlock.objects.update(ended_at=datetime.now(UTC), ended_by="ada")
    assert reconciled(20, position_payload()) == []
    assert context.instrument_trouble(BTC) is None


def test_a_fill_that_waits_for_its_order_explains_its_position_until_it_has_waited_long_enough() -> None:
    bar(LATER)
    lost = fill_payload(decision_id="lost", client_order_id="lost")
    reconciled(0, position_payload(), recent_fills=[lost])
    assert reconciled(30, position_payload(), recent_fills=[lost]) == []
    assert the(Fill).waiting is not None
    assert not Trade.objects.exists()
    Fill.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=5))
    (found,) = reconciled(60, position_payload(), recent_fills=[lost])
    assert (found.difference, the(Trade).origin, the(Trade).fees_usd) == ("not_ours", "reconciled", D("0.2"))
    assert len(alerts("unknown_order")) == 1


# --- a trade without a position ---------------------------------------------------------------------------------------


def test_a_missing_exit_is_booked_from_the_recent_fills_with_the_next_update() -> None:
    book(sent_order())
    told(0, recent_fills=[exit_payload(filled_at="2022-11-20T12:20:00Z"), funding_payload()])
    trade = the(Trade)
    assert (trade.status, trade.exit_reason) == ("closed", "take_profit")
    assert (trade.gross_pnl_usd, trade.fees_usd, trade.funding_usd) == (10, D("0.4"), D("-0.04"))
    assert reconcile(LATER) == []


def test_a_trade_whose_position_is_gone_without_a_word_is_closed_with_an_unknown_result_and_told() -> None:
    book(sent_order())
    (found,) = stood()
    trade = the(Trade)
    assert (trade.status, trade.exit_reason, trade.pnl_usd, trade.open_size) == ("closed", "reconciled", None, 0)
    assert (trade.closed_at, trade.duration_seconds) == (LATER, 1800)
    assert (found.done, found.needs_a_person) == (f"trade {trade.pk} closed, its P&L is not known", True)
    assert OutboxMessage.objects.get(category="reconciliation_trade_without_position").severity == "CRITICAL"
    assert reconciled(30) == []


def test_the_exit_of_such_a_trade_that_turns_up_later_makes_its_result_known() -> None:
    book(sent_order())
    stood()
    told(30, recent_fills=[exit_payload(filled_at="2022-11-20T12:20:00Z")])
    trade = the(Trade)
    assert (trade.status, trade.exit_reason, trade.pnl_usd) == ("closed", "take_profit", D("9.6"))
    assert trade.closed_at == NOON + timedelta(minutes=20)
    assert reconcile(LATER) == []


def test_a_position_that_is_back_opens_its_own_trade_again() -> None:
    bar(LATER)
    book(sent_order())
    stood()
    reconciled(20, position_payload())
    (found,) = reconciled(40, position_payload())
    trade = the(Trade)
    assert (trade.status, trade.open_size, trade.origin, trade.exit_reason) == ("open", 2, "decision", "")
    assert (found.done, found.needs_a_person) == (f"trade {trade.pk} is open again", False)
    assert not InstrumentBlock.objects.exists()
    told(60, recent_fills=[exit_payload(filled_at="2022-11-20T12:29:00Z")])
    assert the(Trade).pnl_usd == D("9.6")


def test_a_trade_that_is_open_again_no_longer_parts_the_losses_before_it_from_those_after_it() -> None:
    bar(LATER)
    for minute in (0, 2):
        book(filled_at=f"2022-11-20T11:0{minute}:00Z")
        book(
            side="sell",
            intent="close",
            pnl_usd="-5",
            exit_reason="stop_loss",
            filled_at=f"2022-11-20T11:0{minute + 1}:00Z",
        )
    book(sent_order())
    stood()
    assert the(RiskState).loss_streak == 0
    reconciled(20, position_payload())
    reconciled(40, position_payload())
    assert Trade.objects.filter(status="open").count() == 1
    assert the(RiskState).loss_streak == 2


def test_a_position_of_another_size_is_not_the_trade_that_was_given_up() -> None:
    bar(LATER)
    book(sent_order())
    stood()
    reconciled(20, position_payload(size="5"))
    reconciled(40, position_payload(size="5"))
    assert list(Trade.objects.order_by("id").values_list("origin", "status")) == [
        ("decision", "closed"),
        ("reconciled", "open"),
    ]


def test_an_addition_to_a_trade_that_was_given_up_opens_it_again() -> None:
    bar(LATER)
    book(sent_order())
    stood()
    assert the(Trade).status == "closed"
    book(sent_order(action="ADD"), intent="add", fill_size="1", cumulative_size="1", filled_at="2022-11-20T12:31:00Z")
    trade = the(Trade)
    assert (trade.status, trade.size, trade.open_size, trade.exit_reason) == ("open", 3, 3, "")
    book(side="sell", intent="close", fill_size="3", pnl_usd="10", filled_at="2022-11-20T12:40:00Z")
    assert (the(Trade).status, the(Trade).gross_pnl_usd) == ("closed", D("10"))


def test_an_addition_to_a_trade_that_was_given_up_counts_the_losses_anew() -> None:
    bar(LATER)
    for minute in (0, 2):
        book(filled_at=f"2022-11-20T11:0{minute}:00Z")
        loss = {"pnl_usd": "-5", "exit_reason": "stop_loss", "filled_at": f"2022-11-20T11:0{minute + 1}:00Z"}
        book(side="sell", intent="close", **loss)
    book(sent_order())
    stood()
    assert the(RiskState).loss_streak == 0
    book(sent_order(action="ADD"), intent="add", fill_size="1", cumulative_size="1", filled_at="2022-11-20T12:31:00Z")
    assert the(RiskState).loss_streak == 2


def test_an_unknown_result_ends_the_count_of_losses() -> None:
    for hour in range(2):
        order = sent_order()
        at = f"2022-11-20T0{hour}:00:00Z"
        book(order, filled_at=at)
        book(side="sell", intent="close", pnl_usd="-5", exit_reason="stop_loss", filled_at=at)
    book(sent_order())
    told(0)
    reconcile(LATER)
    told(PATIENCE.seconds)
    reconcile(LATER)
    assert Trade.objects.filter(pnl_usd__isnull=True).count() == 1
    assert (the(RiskState).loss_streak, the(RiskState).cooldown_until) == (0, None)


# --- what only a person can put right ---------------------------------------------------------------------------------

LEFT = [
    ("size", [position_payload(size="3")], "the record has LONG 2, the venue LONG 3"),
    ("size", [position_payload(size="1")], "the record has LONG 2, the venue LONG 1"),
    ("direction", [position_payload(pos_side="short")], "the record has LONG 2, the venue SHORT 2"),
    (
        "both_sides",
        [position_payload(), position_payload(pos_side="short", size="1")],
        "the record has LONG 2, the venue LONG 2 and SHORT 1",
    ),
]


@pytest.mark.parametrize(("kind", "held", "trouble"), LEFT)
def test_what_no_fill_explains_is_told_once_and_blocks_while_it_lasts(
    kind: str, held: list[dict[str, Any]], trouble: str
) -> None:
    book(sent_order())
    reconciled(0, *held)
    assert context.instrument_trouble(BTC) is None
    reconciled(1, *held)
    assert context.instrument_trouble(BTC) == trouble
    for seconds in (10, 20, 30):
        (found,) = reconciled(seconds, *held)
        assert (found.difference, found.needs_a_person) == (kind, True)
    assert alerts(f"reconciliation_{kind}") == [f"T{trouble[1:]}"]
    assert (the(Trade).status, the(Trade).open_size) == ("open", 2)
    assert reconciled(40, position_payload()) == []
    assert context.instrument_trouble(BTC) is None
    assert alerts("reconciled") == [f"{kind.replace('_', ' ')} is no longer seen"]


def test_another_size_is_corrected_by_the_fill_that_was_lost() -> None:
    book(sent_order())
    reduced = exit_payload(filled_at="2022-11-20T12:20:00Z") | {
        "intent": "reduce", "fill_size": "1", "cumulative_size": "1", "pnl_usd": "5",
    }  # fmt: skip
    assert reconciled(0, position_payload(size="1"), recent_fills=[reduced]) == []
    assert the(Trade).open_size == 1


def test_an_exit_of_more_than_we_had_closes_our_trade_with_all_of_its_result() -> None:
    """The entry of the third contract is nowhere to be found; the money is booked all the same."""
    book(sent_order())
    closed = exit_payload(filled_at="2022-11-20T12:20:00Z") | {
        "fill_size": "3",
        "cumulative_size": "3",
        "pnl_usd": "15",
    }
    assert stood(recent_fills=[closed]) == []
    trade = the(Trade)
    assert (trade.status, trade.gross_pnl_usd, trade.exit_reason) == ("closed", 15, "take_profit")
    assert len(alerts("overshoot")) == 1


def round_trip_that_came_too_late() -> list[dict[str, Any]]:
    """Of an order that was given up, before the trade that is open now."""
    ended = {"state": "done", "outcome": Outcome.ORDER_EXPIRED, "finished_at": NOON}
    given_up = sent_order(status=OrderStatus.EXPIRED, cycle_changes=ended)
    book(sent_order(), filled_at="2022-11-20T12:10:00Z")
    return [
        fill_payload(given_up, filled_at="2022-11-20T12:00:00Z"),
        exit_payload(filled_at="2022-11-20T12:05:00Z"),
    ]


def test_a_round_trip_that_fits_nowhere_is_kept_and_booked_when_it_fits() -> None:
    lost, held = round_trip_that_came_too_late(), position_payload(opened_at="2022-11-20T12:10:00Z")
    assert reconciled(0, held, recent_fills=lost) == []
    told_of = {row.fill_id for row in Fill.objects.filter(waiting__isnull=False) | Fill.objects.exclude(trade=None)}
    assert {each["fill_id"] for each in lost} <= told_of
    book(**exit_payload(filled_at="2022-11-20T12:31:00Z"))
    reconciled(20, recent_fills=lost, at=LATER + timedelta(minutes=2))
    assert not Fill.objects.filter(waiting__isnull=False).exists()
    assert [(trade.status, trade.gross_pnl_usd) for trade in Trade.objects.all()] == [("closed", 10)] * 2


def test_what_was_executed_only_just_now_is_not_kept_before_its_time() -> None:
    lost, held = round_trip_that_came_too_late(), position_payload(opened_at="2022-11-20T12:10:00Z")
    reconciled(0, held, recent_fills=lost[1:], at=NOON + timedelta(minutes=5, seconds=59))
    assert Fill.objects.count() == 1


def test_an_instrument_that_is_held_both_ways_counts_both_ways_in_the_limits() -> None:
    book(sent_order())
    held = [
        Position.model_validate(position_payload(mark_price="21000")),
        Position.model_validate(position_payload(pos_side="short", size="1", notional_usd="210", mark_price="21000")),
        Position.model_validate(position_payload(ETH, size="1", notional_usd="100")),
    ]
    found = [(each.symbol, each.direction, each.notional_usd) for each in exposure.positions(held)]
    assert found == [(BTC, "LONG", 420), (BTC, "SHORT", 210), (ETH, "LONG", 100)]


# --- orders in flight -------------------------------------------------------------------------------------------------


def resting(order: Order, **changes: Any) -> dict[str, Any]:
    return {
        "client_order_id": order.client_order_id, "order_id": "v", "symbol": BTC, "pos_side": "long", "side": "buy",
        "size": "2", "filled_size": "0", "limit_price": "19990", "expires_at": None,
    } | changes  # fmt: skip


def limit_order(**changes: Any) -> Order:
    return sent_order(order_type="limit", limit_price=D(19990), **{"expires_at": NOON + timedelta(minutes=5)} | changes)


def test_a_sent_order_whose_acceptance_was_lost_is_working_when_the_venue_lists_it() -> None:
    order = limit_order()
    told(0, at=NOON, open_orders=[resting(order)])
    assert end_of(order) == (OrderStatus.ACCEPTED, Outcome.ORDER_WORKING, "the limit order rests at the venue")
    (step,) = order.transitions.all()
    assert (step.from_status, step.to_status) == ("sent", "accepted")
    told(10, at=NOON, open_orders=[resting(order)])
    assert order.transitions.count() == 1


def test_a_working_order_whose_end_was_never_told_has_expired_when_the_venue_lists_it_no_more() -> None:
    order = limit_order()
    book(order, **NOTHING_FILLED | {"status": "accepted"})
    told(0, at=order.expires_at)
    assert end_of(order)[0] == OrderStatus.ACCEPTED
    told(10, at=order.expires_at + timedelta(seconds=1), open_orders=[resting(order)])
    assert end_of(order)[0] == OrderStatus.ACCEPTED
    told(20, at=order.expires_at + timedelta(seconds=1))
    assert end_of(order)[:2] == (OrderStatus.EXPIRED, Outcome.ORDER_WORKING)


def test_a_working_order_that_was_filled_in_part_ends_with_what_it_got() -> None:
    order = limit_order()
    part = fill_payload(order, status="partially_filled", fill_size="0.5", cumulative_size="0.5")
    told(0, at=NOON + timedelta(minutes=10), recent_fills=[part])
    assert end_of(order)[0] == OrderStatus.EXPIRED
    assert (the(Order).filled_size, the(Trade).size) == (D("0.5"), D("0.5"))


def test_an_order_that_was_only_just_sent_is_left_to_its_answer() -> None:
    order = sent_order(expires_at=datetime.now(UTC) - timedelta(hours=1))
    told(0)
    assert end_of(order)[0] == OrderStatus.SENT


def test_a_market_order_from_before_the_clock_was_set_back_expires_when_it_has_been_unknown_for_long() -> None:
    order = sent_order(status=OrderStatus.UNKNOWN, expires_at=TOLD + timedelta(hours=1))
    order.transitions.create(from_status="sent", to_status="unknown", cause="no answer", at=TOLD)
    told(29)
    assert end_of(order)[0] == OrderStatus.UNKNOWN
    told(30)
    assert end_of(order)[0] == OrderStatus.EXPIRED


def test_an_order_declared_unknown_before_the_clock_was_set_back_expires_with_the_next_update() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    order = sent_order(status=OrderStatus.UNKNOWN, expires_at=ahead)
    order.transitions.create(from_status="sent", to_status="unknown", cause="no answer", at=ahead)
    told(0)
    assert end_of(order)[0] == OrderStatus.EXPIRED


def test_an_update_told_before_the_clock_was_set_back_does_not_hide_those_that_follow() -> None:
    ahead = (datetime.now(UTC) - TOLD).total_seconds() + 3600
    told(0, at=NOON)
    PositionReport.objects.update(told_at=TOLD + timedelta(seconds=ahead))
    told(0, position_payload(), at=NOON)
    assert len(the(PositionReport).payload["positions"]) == 1
    PositionReport.objects.update(told_at=TOLD + timedelta(seconds=ahead))
    told(10, position_payload(), at=NOON - timedelta(minutes=5))
    assert the(PositionReport).as_of == NOON


# --- when it is done --------------------------------------------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The market times at which the record was reconciled."""
    seen: list[datetime] = []
    really = reconciliation.reconcile

    def noted(now: datetime, **options: Any) -> list[Finding]:
        seen.append(now)
        return really(now, **options)

    monkeypatch.setattr(reconciliation, "reconcile", noted)
    return seen


def last_done(seconds_ago: float) -> None:
    PositionReport.objects.update(reconciled_at=datetime.now(UTC) - timedelta(seconds=seconds_ago))


def test_a_process_that_has_just_started_reconciles_however_lately_another_did(looked: list[datetime]) -> None:
    told(0)
    last_done(1)
    reconciliation.reconcile_if_due(LATER)
    reconciliation.reconcile_if_due(LATER)
    assert len(looked) == 1


@pytest.mark.parametrize(("seconds_ago", "due"), [(50, False), (61, True), (-3600, True)])
def test_it_is_due_every_minute_and_when_the_clock_was_set_back(
    looked: list[datetime], seconds_ago: float, due: bool
) -> None:
    told(0)
    reconciliation.reconcile_if_due(LATER)
    last_done(seconds_ago)
    reconciliation.reconcile_if_due(LATER)
    assert len(looked) == 1 + due


def test_a_difference_that_was_seen_is_looked_at_again_after_ten_seconds(looked: list[datetime]) -> None:
    book(sent_order())
    told(0)
    reconciliation.reconcile_if_due(LATER)
    last_done(11)
    tasks.reconcile()
    assert len(looked) == 1  # the market is ahead of the report here, which is too old by then
    reconciliation.reconcile_if_due(LATER)
    assert len(looked) == 2


def test_with_a_report_that_is_too_old_a_new_process_waits_for_the_next(looked: list[datetime]) -> None:
    told(0, at=NOON)
    reconciliation.reconcile_if_due(LATER)
    assert looked == []
    told(10, at=LATER)
    reconciliation.reconcile_if_due(LATER)
    assert looked == [LATER]


def test_the_first_tick_after_a_start_reconciles_before_it_makes_cycles(ready: Any, looked: list[datetime]) -> None:
    bar(LATER)
    told(0, position_payload())
    told(1, position_payload())
    Discrepancy.objects.create(
        symbol=BTC, kind="position_without_trade", first_told_at=TOLD - timedelta(minutes=1), last_told_at=TOLD
    )
    tasks.cycle([BTC])
    assert looked == [LATER]
    adopted, cycle = the(Trade), DecisionCycle.objects.get(instrument=BTC)
    assert adopted.origin == "reconciled"
    assert (cycle.openings_blocked, adopted.created_at < cycle.created_at) == (Outcome.INSTRUMENT_BLOCKED, True)


def test_an_instrument_of_which_the_two_differ_opens_nothing_and_another_does(ready: Any) -> None:
    bar(LATER)
    bar(LATER, symbol=ETH)
    book(sent_order())
    stood(position_payload(size="3"))
    assert context.instrument_trouble(BTC) is not None
    assert context.instrument_trouble(ETH) is None
    cycle = tick(LATER)
    tasks.collect(cycle.pk)
    cycle.refresh_from_db()
    assert (cycle.openings_blocked, cycle.outcome) == (Outcome.INSTRUMENT_BLOCKED, None)  # exits are never blocked


@pytest.mark.django_db(transaction=True)
def test_of_two_who_reconcile_at_once_one_adopts() -> None:
    bar(LATER)
    reconciled(0, position_payload())
    told(PATIENCE.seconds, position_payload())
    assert at_once(*[lambda: reconcile(LATER)] * 3) == []
    assert (Trade.objects.count(), InstrumentBlock.objects.count(), len(alerts("position_not_ours"))) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_fill_that_is_booked_while_others_reconcile_is_never_taken_for_a_difference() -> None:
    bar(LATER)
    told(0, at=LATER)
    order = sent_order()
    fill = fill_payload(order, filled_at="2022-11-20T12:30:00Z")
    raised = at_once(lambda: book(order, **fill), lambda: reconcile(LATER), lambda: reconcile(LATER))
    assert raised == []
    assert (the(Trade).status, Discrepancy.objects.count()) == ("open", 0)


# --- the command ------------------------------------------------------------------------------------------------------


def rows() -> list[Any]:
    """Everything that reconciling may write."""
    models = (Trade, Discrepancy, InstrumentBlock, OutboxMessage, Fill, PositionReport, Order)
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing() -> None:
    bar(LATER)
    book(sent_order(symbol=ETH), symbol=ETH)
    reconciled(0, position_payload())
    told(PATIENCE.seconds, position_payload(), recent_fills=[])
    before = rows()
    would = reconcile(LATER, dry_run=True)
    assert rows() == before
    did = reconcile(LATER)
    words = [each.done.rstrip("0123456789") for each in would]
    assert [each.difference for each in would] == ["position_without_trade", "trade_without_position"]
    assert len(words) == len(did) == 2
    assert [replace(each, done="") for each in would] == [replace(each, done="") for each in did]
    assert (Trade.objects.filter(status="open").count(), rows() != before) == (1, True)


@pytest.mark.usefixtures("at_later")
def test_the_command_says_when_all_is_well() -> None:
    book(sent_order())
    told(0, position_payload())
    code, text = command("reconcile")
    assert (code, text.splitlines()[1]) == (0, "The record and the venue agree.")


@pytest.fixture
def at_later() -> None:
    """The market's time is that of the updates."""
    bar(LATER)


@pytest.mark.usefixtures("at_later")
def test_the_command_does_not_say_that_all_is_well_while_executions_wait() -> None:
    lost, held = round_trip_that_came_too_late(), position_payload(opened_at="2022-11-20T12:10:00Z")
    told(0, held, recent_fills=lost)
    code, text = command("reconcile")
    assert (code, text.splitlines()[1]) == (0, "They hold the same, but executions wait to be booked.")


@pytest.mark.usefixtures("at_later")
def test_the_command_shows_differences_orders_and_waiting_fills() -> None:
    book(sent_order())
    sent_order(symbol=ETH)
    held = position_payload(size="3")
    lost = fill_payload(symbol=ETH, decision_id="lost", client_order_id="lost", filled_at="2022-11-20T12:30:00Z")
    reconciled(0, held, recent_fills=[lost])
    told(PATIENCE.seconds, held, recent_fills=[lost])
    code, text = command("reconcile", "--dry-run")
    assert code == 1
    lines = text.splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith("symbol"))
    assert lines[heading].split("  ")[-1].strip() == "would be done"
    assert [word.strip() for word in lines[heading + 1].split("  ") if word.strip()] == [
        BTC, "size", "LONG 2", "LONG 3", f"{TOLD:%Y-%m-%d %H:%M:%S}", "openings blocked, left to a person",
    ]  # fmt: skip
    ages = [line.rpartition("  ") for line in lines if line.startswith(f"  {ETH}")]
    assert [what for what, _, age in ages if age.endswith(" s")] == [
        "  ETH-USDT-SWAP  OPEN_LONG 2 ETH-USDT-SWAP  market  sent", "  ETH-USDT-SWAP  filled open of ETH-USDT-SWAP",
    ]  # fmt: skip
    assert not alerts("reconciliation_size")


@pytest.mark.usefixtures("at_later")
def test_the_command_speaks_json_and_counts_what_stands() -> None:
    told(0, position_payload())
    reconcile(LATER)
    told(PATIENCE.seconds, position_payload())
    code, text = command("reconcile", "--json")
    result = json.loads(text)
    assert (code, result["agree"], result["needs_a_person"]) == (1, False, True)
    (found,) = result["differences"]
    assert (found["symbol"], found["difference"], found["theirs"]) == (BTC, "position_without_trade", "LONG 2")
    assert result["blocks"][0]["symbol"] == BTC
    assert report.report()["reconciliation"] == {"discrepancies": 0, "waiting_fills": 0, "blocked_instruments": 1}
    assert command("reconcile")[0] == 1  # they agree by now, and the block waits for a person


def test_the_command_without_a_report_says_so_in_a_line() -> None:
    with pytest.raises(CommandError, match="has not reported its positions yet") as refused:
        call_command("reconcile")
    assert refused.value.returncode == 1
