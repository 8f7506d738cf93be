"""Fills and funding on real Postgres: every figure of these trades was worked out by hand.

A contract is 0.01 coin, so 2 contracts at 20000 are worth 400 USD.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import F, Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from decisions import exposure, fills, funding, report
from decisions.fills import AlreadyBooked, CannotBook, OutOfTurn
from decisions.messages import FundingPayment as FundingMessage
from decisions.messages import TradeFill
from decisions.models import (
    DecisionCycle,
    Fill,
    FundingPayment,
    MarketRecord,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    State,
)
from journal import services as journal
from journal.models import Trade
from journal.signals import trade_closed
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
    indicators,
    sent_order,
    snapshot_payload,
    zulu,
)

pytestmark = pytest.mark.django_db
D = Decimal


def book_exit(order: Order | None = None, **changes: Any) -> TradeFill:
    side = "buy" if changes.get("pos_side") == "short" else "sell"
    return book(order, **{"intent": "close", "side": side} | changes)


def book_funding(**changes: Any) -> None:
    with transaction.atomic():
        funding.book(FundingMessage.model_validate(funding_payload(**changes)))


def an_hour_later() -> None:
    """Past the time in which an alert is not told again."""
    OutboxMessage.objects.update(created_at=F("created_at") - timedelta(seconds=3601))


def at(minutes: int) -> str:
    return zulu(NOON + timedelta(minutes=minutes))


def book_at_last(order: Order | None = None, **changes: Any) -> None:
    with transaction.atomic():
        fills.book_fill(TradeFill.model_validate(fill_payload(order, **changes)), last_try=True)


EXIT = {"intent": "close", "side": "sell"}
OVER = {"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON}


# --- entries ----------------------------------------------------------------------------------------------------------


def test_an_opening_becomes_a_trade_with_what_the_decision_knew() -> None:
    order = sent_order()
    book(order, stop_confirmed=True, order_id="venue-7")
    trade = Trade.objects.get()
    assert (trade.direction, trade.size, trade.open_size, trade.entry_price) == ("LONG", 2, 2, 20000)
    assert (trade.entry_value, trade.fees_usd, trade.leverage, trade.size_pct) == (400, D("0.2"), 2, D("0.04"))
    assert (trade.stop_loss, trade.take_profit, trade.status, trade.origin) == (19800, 20500, "open", "decision")
    assert (trade.strategy_used, trade.confidence_at_entry, trade.market_regime) == (
        "breakout", D("0.7"), "trending_up")  # fmt: skip
    assert (trade.opened_at, trade.decision_id, trade.playbook_version) == (NOON, order.decision_id, 1)
    assert (trade.research_context, trade.okx_order_id) == ({"summary": "calm"}, "venue-7")
    assert trade.indicators_entry is not None
    assert trade.indicators_entry["1H"]["rsi_14"] == 62.5
    assert trade.stop_confirmed_at is not None
    assert trade.closed_at is trade.pnl_usd is trade.exit_price is None
    assert end_of(order) == (OrderStatus.FILLED, Outcome.TRADED, "OPEN_LONG filled: 2 of 2 contracts")
    order.refresh_from_db()
    assert (order.trade, order.filled_size, order.venue_order_id) == (trade, 2, "venue-7")
    assert order.ended_at is not None


def test_partial_fills_of_an_opening_form_one_trade_at_their_average() -> None:
    order = sent_order(size="3")
    part = {"status": "partially_filled", "fill_size": "1", "fee_usd": "0.1"}
    book(order, **part, cumulative_size="1", fill_price="20000")
    assert end_of(order) == (OrderStatus.PARTIALLY_FILLED, None, "")
    book(order, **part, cumulative_size="2", fill_price="20010")
    book(order, fill_size="1", cumulative_size="3", fill_price="20035", fee_usd="0.1")
    trade = Trade.objects.get()
    assert (trade.size, trade.entry_price, trade.entry_value, trade.fees_usd) == (3, 20015, D("600.45"), D("0.3"))
    assert end_of(order)[:2] == (OrderStatus.FILLED, Outcome.TRADED)


def test_an_average_that_does_not_end_is_rounded_and_the_value_is_exact() -> None:
    order = sent_order(size="3")
    book(order, status="partially_filled", fill_size="1", cumulative_size="1", fill_price="20000")
    book(order, fill_size="2", cumulative_size="3", fill_price="20001")
    trade = Trade.objects.get()
    assert (trade.entry_price, trade.entry_value) == (D("20000.66666667"), D("600.02"))


def test_a_later_part_may_confirm_the_stop() -> None:
    order = sent_order()
    book(order, status="partially_filled", fill_size="1", cumulative_size="1")
    assert Trade.objects.get().stop_confirmed_at is None
    book(order, fill_size="1", stop_confirmed=True)
    assert Trade.objects.get().stop_confirmed_at is not None


def test_an_addition_averages_the_entry_and_its_stop_replaces_the_old_one() -> None:
    book(sent_order(), stop_confirmed=True)
    addition = sent_order("ADD", size="2", stop_loss=D(20100), take_profit=D(20900))
    part = {"status": "partially_filled", "fill_size": "1", "fill_price": "20400", "fee_usd": "0.1"}
    book(addition, **part, cumulative_size="1")
    trade = Trade.objects.get()
    assert (trade.stop_loss, trade.take_profit, trade.stop_confirmed_at) == (20100, 20900, None)
    book(addition, **part, cumulative_size="2", stop_confirmed=True)
    confirmed_at = Trade.objects.get().stop_confirmed_at
    assert confirmed_at is not None
    trade.refresh_from_db()
    assert (trade.size, trade.open_size, trade.entry_price) == (4, 4, 20200)
    assert (trade.entry_value, trade.fees_usd) == (808, D("0.4"))


def test_a_further_part_of_an_addition_leaves_its_confirmed_stop_confirmed() -> None:
    book(sent_order())
    addition = sent_order("ADD", size="2")
    book(addition, status="partially_filled", fill_size="1", cumulative_size="1", stop_confirmed=True)
    book(addition, fill_size="1", cumulative_size="2")
    assert Trade.objects.get().stop_confirmed_at is not None


def test_a_fill_takes_few_statements(django_assert_num_queries: Any) -> None:
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
    opening = sent_order(size="3", cycle_changes=OVER)
    part = {"status": "partially_filled", "fill_size": "1"}
    book(opening, **part, cumulative_size="1")
    for order, statements, told in (
        (lambda: opening, 8, part | {"cumulative_size": "2", "filled_at": at(1)}),
        (lambda: opening, 10, {"fill_size": "1", "filled_at": at(2)}),
        (lambda: sent_order("ADD", size="1", cycle_changes=OVER), 11, {"filled_at": at(3)}),
        (lambda: sent_order("REDUCE", size="1", cycle_changes=OVER), 10, {"filled_at": at(4), "pnl_usd": "0"}),
        (lambda: None, 11, EXIT | {"fill_size": "3", "filled_at": at(5), "pnl_usd": "0"}),
        (lambda: sent_order(cycle_changes=OVER), 12, {"filled_at": at(6)}),
        (lambda: sent_order("CLOSE", cycle_changes=OVER), 14, {"filled_at": at(7), "pnl_usd": "0"}),
    ):
        message = TradeFill.model_validate(fill_payload(order(), **told))
        with transaction.atomic(), django_assert_num_queries(statements):
            fills.book_fill(message)


# --- exits ------------------------------------------------------------------------------------------------------------


def test_a_long_closed_by_a_signal() -> None:
    """2 contracts 20000 -> 20250: 5 USD gross, less 0.2 + 0.2025 fees, less 0.04 funding = 4.5575 net, on 400 USD."""
    MarketRecord.objects.create(
        symbol=BTC, at=NOON, price=20250,
        payload=snapshot_payload(indicators={frame: indicators(rsi_14=71.0) for frame in ("15m", "1H", "4H")}),
    )  # fmt: skip
    book(sent_order())
    book_funding(amount_usd="-0.04", paid_at=at(10))
    order = sent_order("CLOSE")
    book(order, fill_price="20250", fee_usd="0.2025", pnl_usd="5", exit_reason="signal", filled_at=at(90))
    trade = Trade.objects.get()
    assert (trade.status, trade.open_size, trade.exit_price, trade.exit_reason) == ("closed", 0, 20250, "signal")
    assert (trade.gross_pnl_usd, trade.fees_usd, trade.funding_usd) == (5, D("0.4025"), D("-0.04"))
    assert (trade.pnl_usd, trade.pnl_pct) == (D("4.5575"), D("0.011394"))
    assert (trade.closed_at, trade.duration_seconds) == (NOON + timedelta(minutes=90), 5400)
    assert trade.indicators_exit is not None
    assert trade.indicators_exit["4H"]["rsi_14"] == 71.0
    assert end_of(order) == (OrderStatus.FILLED, Outcome.TRADED, "CLOSE filled: 2 of 2 contracts")
    assert not alerts("pnl_difference")


@pytest.mark.parametrize("reason", ["stop_loss", "take_profit", "liquidation", "trailing_stop", "manual"])
def test_an_exit_that_the_venue_makes_closes_the_trade_like_any_other(reason: str) -> None:
    book(sent_order())
    book_exit(algo_id="algo-1", fill_price="19800", pnl_usd="-4", fee_usd="0.198", exit_reason=reason, filled_at=at(5))
    trade = Trade.objects.get()
    assert (trade.status, trade.exit_reason, trade.exit_price, trade.pnl_usd) == ("closed", reason, 19800, D("-4.398"))
    assert (Fill.objects.get(algo_id="algo-1").trade, trade.duration_seconds) == (trade, 300)
    assert not OutboxMessage.objects.exists()  # nothing about it is out of the ordinary


def test_a_short_gains_when_the_price_falls() -> None:
    """3 contracts 20000 -> 19700: (600 - 591) = 9 USD gross, less 0.6 fees, plus 0.06 funding received."""
    book(sent_order("OPEN_SHORT", size="3"), fee_usd="0.3")
    book_funding(pos_side="short", amount_usd="0.06")
    book_exit(
        pos_side="short", fill_size="3", fill_price="19700", pnl_usd="9", fee_usd="0.3", exit_reason="take_profit"
    )
    trade = Trade.objects.get()
    assert (trade.direction, trade.gross_pnl_usd, trade.pnl_usd) == ("SHORT", 9, D("8.46"))
    assert trade.pnl_pct == D("0.0141")
    assert not alerts("pnl_difference")


def test_a_reduction_books_its_share_and_keeps_the_rest_open() -> None:
    """Of 4 contracts at 20000, 1 goes at 20100 (+1 USD) and 3 at 19900 (-3 USD)."""
    book(sent_order(size="4"), fee_usd="0.4")
    order = sent_order("REDUCE", size="1")
    book(order, fill_price="20100", pnl_usd="1", fee_usd="0.1", exit_reason="signal")
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.open_size, trade.exit_price) == ("open", 4, 3, 20100)
    assert (trade.entry_price, trade.gross_pnl_usd, trade.pnl_usd) == (20000, 1, None)
    assert (trade.stop_loss, trade.take_profit) == (19800, 20500)
    assert end_of(order)[1] == Outcome.TRADED
    book_exit(fill_size="3", fill_price="19900", pnl_usd="-3", fee_usd="0.3", exit_reason="stop_loss")
    trade.refresh_from_db()
    assert (trade.status, trade.exit_price, trade.gross_pnl_usd, trade.fees_usd) == ("closed", 19950, -2, D("0.8"))
    assert (trade.pnl_usd, trade.exit_reason) == (D("-2.8"), "stop_loss")
    assert not alerts("pnl_difference")


@pytest.mark.parametrize(("pos_side", "action", "sign"), [("long", "OPEN_LONG", 1), ("short", "OPEN_SHORT", -1)])
def test_an_addition_after_a_reduction_is_checked_by_the_cost_of_what_was_open(
    pos_side: str, action: str, sign: int
) -> None:
    """10 at 20000, 5 go at 20100, 5 come at 20200: the open ones cost 20100 on average, whatever left before."""
    book(sent_order(action, size="10"))
    book_exit(pos_side=pos_side, fill_size="5", fill_price="20100", pnl_usd=str(5 * sign))
    book(sent_order("ADD", size="5", pos_side=pos_side), fill_price="20200")
    book_exit(pos_side=pos_side, fill_size="10", fill_price="20300", pnl_usd=str(20 * sign), exit_reason="signal")
    trade = Trade.objects.get()
    assert (trade.gross_pnl_usd, trade.status) == (25 * sign, "closed")
    assert trade.gross_pnl_usd == sign * (trade.exit_value - trade.entry_value)
    assert not alerts("pnl_difference")


def test_a_wrong_figure_of_the_venue_does_not_hide_in_those_after_it() -> None:
    """Of 4 at 20000 the first leaves at 20100 with 2 USD instead of 1; the right figures after it are right to us."""
    book(sent_order(size="4"))
    for pnl in ("2", "1", "1"):
        book_exit(fill_size="1", fill_price="20100", pnl_usd=pnl)
    assert len(alerts("pnl_difference")) == 1
    an_hour_later()
    book_exit(fill_size="1", fill_price="20100", pnl_usd="0")
    assert len(alerts("pnl_difference")) == 2


def test_an_exit_told_late_leaves_the_end_of_the_trade_as_it_was() -> None:
    book(sent_order())
    book_exit(fill_size="1", fill_price="19800", pnl_usd="-2", exit_reason="stop_loss", filled_at=at(9))
    book(sent_order("REDUCE", size="1"), fill_price="20100", pnl_usd="1", exit_reason="signal", filled_at=at(5))
    trade = Trade.objects.get()
    assert (trade.status, trade.exit_reason, trade.closed_at) == ("closed", "stop_loss", NOON + timedelta(minutes=9))
    assert (trade.exit_price, trade.gross_pnl_usd) == (19950, -1)


def test_the_venues_figure_is_booked_and_a_difference_of_more_than_a_cent_is_told() -> None:
    book(sent_order(size="4"))
    book_exit(fill_size="1", fill_price="20100", pnl_usd="1.01")
    assert not alerts("pnl_difference")
    book_exit(fill_size="1", fill_price="20100", pnl_usd="1.03")
    (detail,) = alerts("pnl_difference")
    assert "1.03" in detail
    assert Trade.objects.get().gross_pnl_usd == D("2.04")


def test_cash_flows_are_quantised_once_where_they_are_booked() -> None:
    """Half of the smallest unit, four times: each is rounded (half to even) before anything is added up."""
    order = sent_order(size="3")
    for number in (1, 2, 3):
        book(order, status="partially_filled", fill_size="1", cumulative_size=str(number), fee_usd="0.10005")
    book_exit(fill_size="3", fill_price="20000", pnl_usd="0.00005", fee_usd="0.00015")
    book_funding(amount_usd="-0.00005")
    trade = Trade.objects.get()
    assert (trade.fees_usd, trade.gross_pnl_usd, trade.funding_usd) == (D("0.3002"), 0, 0)
    assert trade.fees_usd == Fill.objects.aggregate(total=Sum("fee_usd"))["total"]
    assert trade.pnl_usd == D("-0.3002")


def test_closing_a_trade_tells_the_apps_above_after_the_commit(
    django_capture_on_commit_callbacks: Any,
) -> None:
    told: list[int] = []

    def listen(sender: type[Trade], trade_id: int, **_: Any) -> None:
        told.append(trade_id)

    trade_closed.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            book(sent_order())
            book_exit(pnl_usd="0", fill_price="20000")
            assert told == []
    finally:
        trade_closed.disconnect(listen)
    assert told == [Trade.objects.get().pk]


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_fill_that_comes_again_by_its_id_books_nothing() -> None:
    message = book(sent_order())
    with pytest.raises(AlreadyBooked, match=message.fill_id), transaction.atomic():
        fills.book_fill(message)
    assert (Fill.objects.count(), Trade.objects.get().size) == (1, 2)


@pytest.mark.parametrize("change", [{"fill_price": "20001"}, {"fee_usd": "0.21"}, {"filled_at": at(1)}])
def test_a_fill_id_that_comes_again_with_other_figures_contradicts_the_record(change: dict[str, str]) -> None:
    order = sent_order()
    book(order, fill_id="one")
    with pytest.raises(CannotBook, match="fill one came before with"), transaction.atomic():
        book(order, fill_id="one", **change)
    assert Trade.objects.get().fees_usd == D("0.2")


def test_what_the_venue_calls_a_fill_besides_does_not_make_it_another() -> None:
    order = sent_order()
    book(order, fill_id="one", algo_id="algo-1")
    with pytest.raises(AlreadyBooked):
        book(order, fill_id="one", algo_id=None, fee_usd="0.20000001")


def test_funding_that_comes_again_books_nothing() -> None:
    book(sent_order())
    book_funding(funding_id="once")
    with pytest.raises(AlreadyBooked, match="once"):
        book_funding(funding_id="once")
    assert Trade.objects.get().funding_usd == D("-0.04")


# --- funding ----------------------------------------------------------------------------------------------------------


def test_funding_after_the_close_restates_the_net_result() -> None:
    book(sent_order())
    book_exit(pnl_usd="0", fee_usd="0.2", fill_price="20000", filled_at=at(60))
    assert Trade.objects.get().pnl_usd == D("-0.4")
    book_funding(amount_usd="-0.1", paid_at=at(60))
    trade = Trade.objects.get()
    assert (trade.funding_usd, trade.pnl_usd, trade.pnl_pct) == (D("-0.1"), D("-0.5"), D("-0.00125"))


def test_late_funding_belongs_to_the_trade_that_was_open_when_it_was_paid() -> None:
    """A long that closes and a short that opens in the same moment as the payment for the long."""
    book(sent_order())
    book_exit(pnl_usd="0", fill_price="20000", filled_at=at(60))
    book(sent_order("OPEN_SHORT"), filled_at=at(60))
    book_funding(amount_usd="-0.1", paid_at=at(60))
    assert {trade.direction: trade.funding_usd for trade in Trade.objects.all()} == {"LONG": D("-0.1"), "SHORT": 0}


def test_funding_that_comes_before_its_entry_is_booked_with_that() -> None:
    book_funding(amount_usd="-0.1", paid_at=at(10))
    book_funding(amount_usd="-0.3", paid_at=at(-10))
    book(sent_order())
    trade = Trade.objects.get()
    assert trade.funding_usd == D("-0.1")
    assert set(FundingPayment.objects.values_list("amount_usd", "trade")) == {(D("-0.1"), trade.pk), (D("-0.3"), None)}


def test_funding_that_no_trade_explains_is_kept_in_the_books_and_told() -> None:
    book_funding(amount_usd="-0.1")
    assert FundingPayment.objects.get().trade is None
    assert alerts("funding_without_trade")
    assert report.books().funding == D("-0.1")


# --- orders and their cycles ------------------------------------------------------------------------------------------

ENDS = [
    ({"status": "rejected", "reject_reason": "margin"}, OrderStatus.REJECTED, Outcome.ORDER_REJECTED,
     "the venue refused: margin"),
    ({"status": "expired"}, OrderStatus.EXPIRED, Outcome.ORDER_EXPIRED, "the order expired unfilled"),
    ({"status": "cancelled", "reject_reason": "halt"}, OrderStatus.CANCELLED, Outcome.ORDER_CANCELLED, "halt"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "status", "outcome", "reason"), ENDS)
@pytest.mark.parametrize("order_type", ["market", "limit"])
def test_an_order_that_ends_unfilled_ends_its_cycle_with_the_reason(
    order_type: str, changes: dict[str, Any], status: str, outcome: str, reason: str
) -> None:
    order = sent_order(order_type=order_type)
    book(order, **NOTHING_FILLED | changes)
    assert end_of(order) == (status, outcome, reason)
    assert not Trade.objects.exists()


@pytest.mark.parametrize(("changes", "status"), [(each[0], each[1]) for each in ENDS[1:]])
def test_an_order_that_ends_partly_filled_has_traded(changes: dict[str, Any], status: str) -> None:
    order = sent_order()
    book(order, status="partially_filled", fill_size="0.5", cumulative_size="0.5")
    book(order, **NOTHING_FILLED | {"cumulative_size": "0.5"} | changes)
    assert end_of(order) == (status, Outcome.TRADED, "OPEN_LONG filled: 0.5 of 2 contracts")
    assert Trade.objects.get().open_size == D("0.5")


def test_an_accepted_market_order_waits_for_its_fill() -> None:
    order = sent_order()
    book(order, status="accepted", **NOTHING_FILLED)
    assert end_of(order) == (OrderStatus.ACCEPTED, None, "")


def test_an_accepted_limit_order_ends_its_cycle_and_may_fill_later() -> None:
    order = sent_order(order_type="limit", limit_price=D(19990))
    book(order, status="accepted", **NOTHING_FILLED)
    working = (OrderStatus.ACCEPTED, Outcome.ORDER_WORKING, "the limit order rests at the venue")
    assert end_of(order) == working
    book(order, fill_price="19990", filled_at=at(3))
    assert end_of(order) == (OrderStatus.FILLED, *working[1:])
    assert Trade.objects.get().entry_price == 19990


def test_acceptance_that_comes_after_the_fill_changes_nothing() -> None:
    order = sent_order()
    book(order)
    before = end_of(order)
    book(order, status="accepted", **NOTHING_FILLED)
    assert end_of(order) == before
    order.refresh_from_db()
    assert order.filled_size == 2


@pytest.mark.parametrize("state", [State.EXECUTING, State.CONFIRMING, State.JOURNALING])
def test_a_fill_may_be_quicker_than_the_stage_that_sent_the_order(state: State) -> None:
    order = sent_order(
        status=OrderStatus.PENDING, entry_id="", sent_at=None, cycle_changes={"state": state, "attempts": 1}
    )
    book(order)
    assert end_of(order)[:2] == (OrderStatus.FILLED, Outcome.TRADED)
    cycle = DecisionCycle.objects.get()
    assert (cycle.state, cycle.claim) == (State.DONE, None)
    assert cycle.finished_at is not None


# --- what waits -------------------------------------------------------------------------------------------------------


def settle(seconds: float = 0) -> None:
    """A round over what waits, so many seconds from now."""
    fills.settle_waiting(datetime.now(UTC) + timedelta(seconds=seconds))


def test_an_unknown_orders_fill_is_kept_and_waits() -> None:
    book(decision_id="somebody", client_order_id="else", stop_confirmed=True)
    fill = Fill.objects.get()
    assert (fill.order, fill.trade, fill.size) == (None, None, 2)
    assert fill.waiting is not None
    settle(seconds=59)
    fill.refresh_from_db()
    assert fill.waiting is not None
    assert not Trade.objects.exists()
    assert not OutboxMessage.objects.exists()


def test_the_fill_is_booked_on_its_order_once_that_appears() -> None:
    order = sent_order()
    message = fill_payload(order)
    Order.objects.filter(pk=order.pk).update(client_order_id="another")
    with transaction.atomic():
        fills.book_fill(TradeFill.model_validate(message))
    assert not Trade.objects.exists()
    Order.objects.filter(pk=order.pk).update(client_order_id=order.client_order_id)
    settle()
    fill, trade = Fill.objects.get(), Trade.objects.get()
    assert (fill.order, fill.trade, fill.waiting) == (order, trade, None)
    assert (trade.origin, trade.stop_loss, trade.size) == ("decision", 19800, 2)
    assert end_of(order)[:2] == (OrderStatus.FILLED, Outcome.TRADED)
    settle(seconds=61)
    assert Trade.objects.get().size == 2
    assert not alerts("unknown_order")


def test_a_fill_whose_order_never_appears_is_what_the_venue_did_by_itself() -> None:
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
    book(decision_id="somebody", client_order_id="else", stop_confirmed=True)
    settle(seconds=61)
    trade = Trade.objects.get()
    assert (trade.origin, trade.stop_loss, trade.size, trade.ct_val) == ("reconciled", None, 2, D("0.01"))
    fill = Fill.objects.get()
    assert (fill.order, fill.trade, fill.waiting) == (None, trade, None)
    assert "else" in alerts("unknown_order")[0]
    assert OutboxMessage.objects.get(category="unknown_order").severity == "CRITICAL"


def test_an_unknown_orders_fill_on_an_open_trade_moves_no_stop() -> None:
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
    book(sent_order())
    book(decision_id="somebody", client_order_id="else", intent="add")
    settle(seconds=61)
    trade = Trade.objects.get()
    assert (trade.size, trade.stop_loss, trade.origin) == (4, 19800, "decision")


def test_what_an_unknown_order_ends_in_is_kept_and_told() -> None:
    book(decision_id="somebody", client_order_id="else", **NOTHING_FILLED | {"status": "rejected"})
    assert (Fill.objects.get().waiting, len(alerts("unknown_order"))) == (None, 1)


def test_an_execution_that_cannot_be_booked_costs_the_others_nothing_and_is_told_once() -> None:
    """Its value is more than a trade can have."""
    terms = {"ct_val": "100", "lot_size": "0.01", "min_size": "0.01", "tick_size": "0.1"}
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload(instrument=terms))
    MarketRecord.objects.create(symbol="ETH-USDT-SWAP", at=NOON, price=20000, payload=snapshot_payload("ETH-USDT-SWAP"))
    book(decision_id="a", client_order_id="a", fill_price="900000000000", fill_size="900000000000")
    book(decision_id="b", client_order_id="b", symbol="ETH-USDT-SWAP")
    for _ in range(2):
        settle(seconds=61)
    assert Trade.objects.get().symbol == "ETH-USDT-SWAP"
    assert Fill.objects.get(waiting__isnull=False).symbol == BTC
    assert len(alerts("out_of_turn")) == 1


def test_what_was_kept_and_cannot_be_read_any_more_is_told_and_waits() -> None:
    book(decision_id="a", client_order_id="a")
    Fill.objects.update(waiting={"fill_id": "cut"})
    settle(seconds=61)
    assert Fill.objects.get().waiting is not None
    assert len(alerts("out_of_turn")) == 1


def test_an_execution_that_never_fits_is_given_up_after_a_day() -> None:
    book_at_last(**EXIT, pnl_usd="1", exit_reason="liquidation")
    settle(seconds=86_300)
    settle(seconds=-3600)  # a clock that was set back has not waited for long
    assert Fill.objects.get().waiting is not None
    assert not alerts("fill_given_up")
    for _ in range(2):
        settle(seconds=86_500)
    fill = Fill.objects.get()
    assert (fill.waiting, fill.trade) == (None, None)
    assert "is not open in the record" in alerts("fill_given_up")[0]
    assert len(alerts("fill_given_up")) == 1
    assert report.books().realized_gross_pnl == 1


# --- alerts -----------------------------------------------------------------------------------------------------------


def test_word_of_many_unknown_orders_is_told_once_an_hour_and_an_execution_besides() -> None:
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
    for number in range(20):
        unknown = {"decision_id": f"d{number}", "client_order_id": f"c{number}"}
        book(**unknown, **NOTHING_FILLED | {"status": "accepted"})
        book(**unknown)
    assert len(alerts("unknown_order")) == 1
    settle(seconds=61)
    assert Trade.objects.get().size == 40
    assert list(OutboxMessage.objects.order_by("id").values_list("severity", flat=True)) == ["WARN", "CRITICAL"]
    an_hour_later()
    book(decision_id="later", client_order_id="later", **NOTHING_FILLED | {"status": "accepted"})
    assert len(alerts("unknown_order")) == 3


def test_what_each_of_many_messages_gives_reason_to_tell_is_told_once_an_hour() -> None:
    for _ in range(5):
        book(sent_order(cycle_changes=OVER))
        book_at_last(**EXIT, fill_size="3", fill_price="20100", pnl_usd="3", filled_at=at(5))
        book(sent_order(cycle_changes=OVER), filled_at=at(6))
        book_exit(fill_size="2", fill_price="20100", pnl_usd="3", filled_at=at(7))
        book_funding(pos_side="short")
        book_at_last(**EXIT, fill_size="1", pnl_usd="1", filled_at=at(-9))
    told = OutboxMessage.objects.order_by("category").values_list("category", flat=True)
    assert list(told) == ["funding_without_trade", "out_of_turn", "overshoot", "pnl_difference"]


def test_one_instrument_does_not_silence_another() -> None:
    book_funding()
    book_funding(symbol="ETH-USDT-SWAP")
    assert len(alerts("funding_without_trade")) == 2


# --- a missed round trip ----------------------------------------------------------------------------------------------


def missed(order: Order, *parts: dict[str, Any]) -> None:
    """Executions heard of when another trade is open already: kept on their last try."""
    for part in parts:
        book_at_last(None if part["intent"] != "open" else order, **part)


ROUND_TRIP: Sequence[dict[str, Any]] = (
    {"intent": "open", "fill_size": "1", "status": "partially_filled", "cumulative_size": "1", "filled_at": at(0)},
    {"intent": "open", "fill_size": "1", "cumulative_size": "2", "filled_at": at(1)},
    {"intent": "reduce", "side": "sell", "fill_size": "0.5", "fill_price": "20100", "pnl_usd": "0.5",
     "exit_reason": "manual", "filled_at": at(3)},
    {"intent": "close", "side": "sell", "fill_size": "1.5", "fill_price": "20100", "pnl_usd": "1.5",
     "exit_reason": "take_profit", "filled_at": at(5)},
)  # fmt: skip


@pytest.mark.parametrize("heard", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
@pytest.mark.parametrize("later", ["OPEN_LONG", "OPEN_SHORT"])
def test_a_missed_round_trip_becomes_a_closed_trade_of_its_own(later: str, heard: tuple[int, ...]) -> None:
    first = sent_order(cycle_changes=OVER)
    book(sent_order(later), filled_at=at(20))
    book_funding(amount_usd="-0.1", paid_at=at(4))
    missed(first, *(ROUND_TRIP[place] for place in heard))
    settle()
    settle()
    trip, still_open = Trade.objects.order_by("opened_at")
    assert (trip.status, trip.size, trip.open_size, trip.exit_reason) == ("closed", 2, 0, "take_profit")
    assert (trip.opened_at, trip.closed_at) == (NOON, NOON + timedelta(minutes=5))
    assert (trip.gross_pnl_usd, trip.fees_usd, trip.funding_usd, trip.pnl_usd) == (2, D("0.8"), D("-0.1"), D("1.1"))
    assert (trip.decision_id, trip.origin, trip.exit_price) == (first.decision_id, "decision", 20100)
    assert (still_open.status, still_open.size, still_open.funding_usd) == ("open", 2, 0)
    first.refresh_from_db()
    assert (first.status, first.trade, first.filled_size) == (OrderStatus.FILLED, trip, 2)
    assert not Fill.objects.filter(waiting__isnull=False).exists()
    assert not alerts("pnl_difference")


@pytest.mark.parametrize("heard", [(0, 1), (0, 1, 2), (0, 3), (2, 3)], ids=str)
def test_half_of_a_round_trip_waits_for_the_other(heard: tuple[int, ...]) -> None:
    first = sent_order(cycle_changes=OVER)
    book(sent_order(), filled_at=at(20))
    missed(first, *(ROUND_TRIP[place] for place in heard))
    settle(seconds=61)
    assert Trade.objects.get().opened_at == NOON + timedelta(minutes=20)
    assert Fill.objects.filter(waiting__isnull=False).count() == len(heard)


def test_a_round_trip_that_no_order_of_ours_began_waits() -> None:
    MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
    book(sent_order(), filled_at=at(20))
    for part in ROUND_TRIP:
        book_at_last(**part)
    settle(seconds=61)
    assert Trade.objects.count() == 1


def test_an_exit_of_a_trade_that_was_given_up_is_booked_while_another_is_open() -> None:
    book(sent_order(cycle_changes=OVER))
    journal.close_unknown(Trade.objects.get(), NOON + timedelta(minutes=10))
    book(sent_order(), filled_at=at(20))
    with pytest.raises(OutOfTurn):
        book_exit(pnl_usd="2", fill_price="20100", filled_at=at(15))  # that one was gone by then
    book_exit(pnl_usd="2", fill_price="20100", exit_reason="stop_loss", filled_at=at(5))
    given_up, still_open = Trade.objects.order_by("opened_at")
    assert (given_up.pnl_usd, given_up.exit_reason) == (D("1.6"), "stop_loss")
    assert (still_open.open_size, still_open.gross_pnl_usd) == (2, 0)


# --- the last try -----------------------------------------------------------------------------------------------------


def test_an_exit_of_more_than_is_open_closes_the_trade_with_all_of_its_money() -> None:
    book(sent_order())
    book_at_last(**EXIT, fill_size="3", fill_price="20100", pnl_usd="3", fee_usd="0.3", filled_at=at(5))
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.open_size, trade.exit_price) == ("closed", 2, 0, 20100)
    assert (trade.gross_pnl_usd, trade.fees_usd, trade.pnl_usd) == (3, D("0.5"), D("2.5"))
    assert "3 contracts were closed, 2 were open" in alerts("overshoot")[0]
    assert not alerts("pnl_difference")


def test_the_entry_that_an_overshoot_lacked_completes_the_closed_trade() -> None:
    order = sent_order(size="3")
    book(order, fill_size="2", status="partially_filled", cumulative_size="2")
    book_at_last(**EXIT, fill_size="3", fill_price="20100", pnl_usd="3", fee_usd="0.3", filled_at=at(5))
    book(order, fill_size="1", fee_usd="0.1", cumulative_size="3", filled_at=at(1))
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.open_size, trade.exit_price) == ("closed", 3, 0, 20100)
    assert (trade.entry_value, trade.exit_value, trade.pnl_usd) == (600, 603, D("2.4"))
    order.refresh_from_db()
    assert (order.status, order.filled_size) == (OrderStatus.FILLED, 3)


def test_a_reduction_that_seemed_to_take_all_opens_the_trade_again_when_the_missing_part_is_found() -> None:
    order = sent_order(size="2")
    book(order, fill_size="1", status="partially_filled", cumulative_size="1")
    over = {"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON}
    reduction = sent_order("REDUCE", size="1", cycle_changes=over)
    with pytest.raises(OutOfTurn, match="after which something is left"):
        book(reduction, fill_price="20100", pnl_usd="1", filled_at=at(5))
    book_at_last(reduction, fill_price="20100", pnl_usd="1", filled_at=at(5))
    assert Trade.objects.get().status == "closed"
    book(order, fill_size="1", cumulative_size="2", filled_at=at(1))
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.open_size, trade.exit_price) == ("open", 2, 1, 20100)
    assert (trade.closed_at, trade.pnl_usd, trade.exit_reason, trade.gross_pnl_usd) == (None, None, "", 1)


def test_an_addition_that_had_to_begin_the_trade_gives_way_to_the_opening_when_that_is_found_after_the_close() -> None:
    opening, addition = sent_order(size="2", cycle_changes=OVER), sent_order("ADD", size="1", stop_loss=D(19900))
    book_at_last(addition, fee_usd="0.1", filled_at=at(5))
    book_at_last(**EXIT, fill_size="3", fill_price="20100", pnl_usd="3", fee_usd="0.3", filled_at=at(9))
    book(opening, filled_at=at(0))
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.opened_at, trade.decision_id) == ("closed", 3, NOON, opening.decision_id)
    assert (trade.stop_loss, trade.gross_pnl_usd, trade.fees_usd, trade.pnl_usd) == (19900, 3, D("0.6"), D("2.4"))
    assert trade.duration_seconds == 540


def test_funding_told_while_a_trade_seemed_closed_is_booked_when_that_turns_out_to_go_on() -> None:
    order = sent_order(size="2")
    book(order, fill_size="1", status="partially_filled", cumulative_size="1")
    book_at_last(intent="reduce", side="sell", fill_size="1", pnl_usd="0", exit_reason="manual", filled_at=at(5))
    book_funding(amount_usd="-0.1", paid_at=at(7))
    assert Trade.objects.get().funding_usd == 0
    book(order, fill_size="1", cumulative_size="2", filled_at=at(1))
    assert (Trade.objects.get().status, Trade.objects.get().funding_usd) == ("open", D("-0.1"))


def test_the_opening_of_an_earlier_position_is_no_part_of_the_trade_that_is_open() -> None:
    first = sent_order(cycle_changes=OVER)
    book(sent_order(), filled_at=at(20))
    with pytest.raises(OutOfTurn, match="of which it is no part"):
        book(first, filled_at=at(0))
    book_at_last(first, filled_at=at(0))
    assert (Trade.objects.get().size, Trade.objects.get().opened_at) == (2, NOON + timedelta(minutes=20))


def test_the_addition_to_an_earlier_position_is_found_while_another_trade_is_open() -> None:
    book(sent_order(size="2"))
    addition = sent_order("ADD", size="1", cycle_changes=OVER)
    book_at_last(**EXIT, fill_size="3", fill_price="20100", pnl_usd="3", fee_usd="0.3", filled_at=at(9))
    book(sent_order(), filled_at=at(20))
    book(addition, fee_usd="0.1", filled_at=at(5))
    assert [(each.status, each.size) for each in Trade.objects.order_by("opened_at")] == [("closed", 3), ("open", 2)]


def test_an_entry_found_after_the_next_position_has_begun_leaves_a_result_to_be_known_by_the_missing_exit() -> None:
    order = sent_order(size="2", cycle_changes=OVER)
    book(order, fill_size="1", status="partially_filled", cumulative_size="1")
    reduced = EXIT | {"intent": "reduce", "fill_price": "20100", "exit_reason": "manual"}
    book_at_last(**reduced, fill_size="1", pnl_usd="1", filled_at=at(5))
    book(sent_order(), filled_at=at(20))
    book(order, fill_size="1", cumulative_size="2", filled_at=at(1))
    first, second = Trade.objects.order_by("opened_at")
    assert (first.status, first.size, first.pnl_usd, second.size) == ("closed", 2, None, 2)
    assert "another position has been opened since" in alerts("reconciliation_trade_without_position")[0]
    book_exit(fill_size="1", fill_price="20100", pnl_usd="1", exit_reason="stop_loss", filled_at=at(9))
    first.refresh_from_db()
    assert (first.gross_pnl_usd, first.pnl_usd, first.exit_reason) == (2, D("1.2"), "stop_loss")
    assert first.closed_at == NOON + timedelta(minutes=9)


def test_an_order_that_is_filled_beyond_its_size_reserves_nothing() -> None:
    order = sent_order(size="2")
    book(order, status="partially_filled", fill_size="3", cumulative_size="3")
    (pending,) = exposure.live_orders()
    assert (pending.symbol, pending.notional_usd) == (order.symbol, 0)


def test_an_entry_on_the_other_side_is_kept_told_and_booked_when_the_trade_has_ended() -> None:
    book(sent_order())
    short = sent_order("OPEN_SHORT")
    book_at_last(short, filled_at=at(10))
    assert Fill.objects.get(order=short).waiting is not None
    assert "an entry SHORT while LONG" in alerts("out_of_turn")[0]
    assert Trade.objects.get().direction == "LONG"
    settle(seconds=61)
    assert len(alerts("out_of_turn")) == 1
    book_exit(pnl_usd="0", fill_price="20000", filled_at=at(5))
    settle(seconds=61)
    assert [(each.direction, each.status) for each in Trade.objects.order_by("id")] == [
        ("LONG", "closed"), ("SHORT", "open")]  # fmt: skip
    assert not Fill.objects.filter(waiting__isnull=False).exists()


def test_an_exit_of_what_was_never_open_is_kept_and_told() -> None:
    book_at_last(**EXIT, pnl_usd="1", exit_reason="liquidation")
    assert Fill.objects.get().waiting is not None
    assert alerts("out_of_turn")
    assert report.books().realized_gross_pnl == 1


def test_an_order_that_is_filled_beyond_its_size_is_booked_and_told_once() -> None:
    order = sent_order(size="2")
    book(order)
    book(order, fill_size="1", cumulative_size="3")
    book(order, fill_size="1", cumulative_size="4")
    assert Trade.objects.get().size == 4
    order.refresh_from_db()
    assert (order.filled_size, order.status) == (4, OrderStatus.FILLED)
    (detail,) = alerts("overfilled")
    assert "3 of 2 contracts" in detail


def test_a_part_told_twice_under_two_names_is_an_order_filled_beyond_its_size() -> None:
    order = sent_order(size="2")
    for _ in range(3):
        book(order, status="partially_filled", fill_size="1", cumulative_size="1")
    assert len(alerts("overfilled")) == 1


# --- contradictions ---------------------------------------------------------------------------------------------------


def test_more_than_is_open_cannot_be_closed() -> None:
    book(sent_order())
    with pytest.raises(OutOfTurn, match=r"3 contracts closed of BTC-USDT-SWAP, 2\.0+ are open"):
        book_exit(fill_size="3", pnl_usd="0")
    assert (Trade.objects.get().open_size, Fill.objects.count()) == (2, 1)


def test_an_entry_the_other_way_does_not_flip_the_position() -> None:
    book(sent_order())
    with pytest.raises(OutOfTurn, match="an entry SHORT while LONG BTC-USDT-SWAP"):
        book(sent_order("OPEN_SHORT"))
    assert Trade.objects.get().direction == "LONG"


def test_an_exit_of_the_other_side_is_no_exit_of_ours() -> None:
    book(sent_order())
    with pytest.raises(OutOfTurn, match="short, which is not open"):
        book_exit(pos_side="short", pnl_usd="0")


def test_a_fill_of_another_instrument_than_its_orders_is_refused() -> None:
    order = sent_order()
    with pytest.raises(
        CannotBook, match=f"a fill of ETH-USDT-SWAP long to open for order {order.client_order_id}, OPEN_LONG BTC"
    ):
        book(order, symbol="ETH-USDT-SWAP")
    assert end_of(order)[0] == OrderStatus.SENT


# --- the losing streak ------------------------------------------------------------------------------------------------


def _trade_with_result(pnl: str, closed_at: datetime) -> None:
    book(sent_order(), fee_usd="0", filled_at=zulu(closed_at - timedelta(minutes=1)))
    price = D(20000) + D(pnl) * 50
    book_exit(fill_price=str(price), pnl_usd=pnl, fee_usd="0", exit_reason="signal", filled_at=zulu(closed_at))


def test_three_losses_in_a_row_begin_the_cooldown_and_the_count_starts_again() -> None:
    for number in range(2):
        _trade_with_result("-1", NOON + timedelta(hours=number))
    state = RiskState.objects.get()
    assert (state.loss_streak, state.cooldown_until) == (2, None)
    _trade_with_result("-1", NOON + timedelta(hours=2))
    state.refresh_from_db()
    assert (state.loss_streak, state.cooldown_until) == (0, NOON + timedelta(hours=2, minutes=30))
    assert len(alerts("risk_cooldown")) == 1


@pytest.mark.parametrize("result", ["1", "0"])
def test_anything_but_a_loss_ends_the_streak(result: str) -> None:
    for number, pnl in enumerate(["-1", "-1", result, "-1", "-1"]):
        _trade_with_result(pnl, NOON + timedelta(hours=number))
    state = RiskState.objects.get()
    assert (state.loss_streak, state.cooldown_until) == (2, None)


def test_a_gain_before_fees_that_is_a_loss_after_them_counts_as_a_loss() -> None:
    book(sent_order(), fee_usd="0.2")
    book_exit(fill_price="20010", pnl_usd="0.2", fee_usd="0.2")
    assert RiskState.objects.get().loss_streak == 1


def test_a_gain_that_late_funding_turns_into_a_loss_counts_as_a_loss() -> None:
    _trade_with_result("0.02", NOON + timedelta(hours=8))
    assert RiskState.objects.get().loss_streak == 0
    book_funding(amount_usd="-0.04", paid_at=at(480))
    assert Trade.objects.get().pnl_usd == D("-0.02")
    assert RiskState.objects.get().loss_streak == 1


def test_a_reduction_is_no_closed_trade() -> None:
    book(sent_order())
    book_exit(fill_size="1", fill_price="19900", pnl_usd="-1")
    assert RiskState.objects.get().loss_streak == 0


# --- any order, any number of times -----------------------------------------------------------------------------------


@st.composite
def executions(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """A course of partial entries and exits of one position (intent, size, price), that ends flat."""
    steps, open_size = [], D(0)
    for _ in range(draw(st.integers(1, 8))):
        price = str(draw(st.integers(19000, 21000)))
        if open_size == 0 or draw(st.booleans()):
            size = D(draw(st.integers(1, 500))) / 100
            steps.append(("add", str(size), price))
            open_size += size
        else:
            size = min(open_size, D(draw(st.integers(1, 500))) / 100)
            steps.append(("close", str(size), price))
            open_size -= size
    if open_size:
        steps.append(("close", str(open_size), "20000"))
    return steps


def _messages(steps: list[tuple[str, str, str]], fees: list[str], pos_side: str) -> list[TradeFill]:
    """The fills of a course of executions, with the P&L that a venue works out by average cost."""
    messages, cost, held, sign = [], D(0), D(0), 1 if pos_side == "long" else -1
    for (intent, size_text, price), fee in zip(steps, fees, strict=True):
        size, pnl = D(size_text), None
        value = size * D(price) / 100
        if intent == "add":
            cost, held = cost + value, held + size
        else:
            share = cost * size / held
            pnl = str((sign * (value - share)).quantize(D("0.0001")))
            cost, held = cost - share, held - size
        messages.append(
            TradeFill.model_validate(
                fill_payload(pos_side=pos_side, intent=intent, fill_size=size_text, fill_price=price, fee_usd=fee,
                             pnl_usd=pnl, cumulative_size=size_text)
            )
        )  # fmt: skip
    return messages


@given(st.data())
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_order_and_however_often_fills_come_the_books_have_their_sums(
    db: None, data: st.DataObject
) -> None:
    """Deliveries are shuffled and repeated; one out of turn comes again, as the stream would have it."""
    with transaction.atomic():
        MarketRecord.objects.create(symbol=BTC, at=NOON, price=20000, payload=snapshot_payload())
        steps = data.draw(executions())
        fees = data.draw(
            st.lists(st.sampled_from(["0.1", "-0.03", "0.00005"]), min_size=len(steps), max_size=len(steps))
        )
        messages = _messages(steps, fees, data.draw(st.sampled_from(["long", "short"])))
        waiting = data.draw(st.permutations(messages)) + data.draw(st.lists(st.sampled_from(messages), max_size=5))
        while waiting:
            waiting = _deliver(waiting)

        pnl = sum((message.pnl_usd for message in messages if message.pnl_usd is not None), D(0))
        paid = sum((message.fee_usd.quantize(D("0.0001")) for message in messages if message.fee_usd is not None), D(0))
        books = report.books()
        assert (books.realized_gross_pnl, books.fees) == (pnl, paid)
        totals = Trade.objects.aggregate(gross=Sum("gross_pnl_usd"), fees=Sum("fees_usd"), open=Sum("open_size"))
        assert totals == {"gross": pnl, "fees": paid, "open": 0}
        transaction.set_rollback(True)


def _deliver(messages: list[TradeFill]) -> list[TradeFill]:
    """Book each; return those that have to come again. A round without progress would never end: it fails."""
    again = []
    for message in messages:
        try:
            with transaction.atomic():
                fills.book_fill(message)
        except OutOfTurn:
            again.append(message)
        except AlreadyBooked:
            continue
    assert len(again) < len(messages)
    return again


# --- at the same moment -----------------------------------------------------------------------------------------------


def at_once(effect: Callable[[Any], None], messages: Sequence[Any]) -> list[str]:
    """Give each message its effect in a thread and a connection of its own. Returns how each ended."""
    start, ends = threading.Barrier(len(messages)), []

    def work(message: Any) -> None:
        try:
            start.wait()
            with transaction.atomic():
                effect(message)
            ends.append("booked")
        except AlreadyBooked:
            ends.append("repeated")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


@pytest.mark.django_db(transaction=True)
def test_fills_of_one_order_booked_at_the_same_moment_all_count_once() -> None:
    order = sent_order(size="8")
    messages = [
        TradeFill.model_validate(
            fill_payload(order, fill_id=f"part-{number % 8}", status="partially_filled", fill_size="1",
                         cumulative_size=str(number % 8 + 1), fee_usd="0.1")
        )
        for number in range(16)
    ]  # fmt: skip
    ends = at_once(fills.book_fill, messages)
    assert sorted(ends) == ["booked"] * 8 + ["repeated"] * 8
    trade = Trade.objects.get()
    assert (trade.size, trade.open_size, trade.fees_usd) == (8, 8, D("0.8"))
    order.refresh_from_db()
    assert (order.filled_size, order.status) == (8, OrderStatus.PARTIALLY_FILLED)


@pytest.mark.django_db(transaction=True)
def test_funding_booked_at_the_same_moment_all_counts() -> None:
    book(sent_order())
    payments = [FundingMessage.model_validate(funding_payload(amount_usd="-0.01")) for _ in range(8)]
    assert at_once(funding.book, payments) == ["booked"] * 8
    assert Trade.objects.get().funding_usd == D("-0.08")


@pytest.mark.parametrize(
    ("change", "word"),
    [({"pos_side": "short", "side": "sell"}, "short"), ({"intent": "close", "side": "sell", "pnl_usd": "1"}, "close")],
)
def test_a_fill_that_contradicts_its_order_is_not_booked(change: dict[str, str], word: str) -> None:
    order = sent_order()
    with pytest.raises(CannotBook, match=word):
        fills.book_fill(TradeFill.model_validate(fill_payload(order, **change)))
    assert not Trade.objects.exists()


def test_an_answer_that_is_quicker_than_the_note_of_the_sending_counts_as_sent() -> None:
    order = sent_order(sent_at=None, status=OrderStatus.PENDING)
    book(order)
    order.refresh_from_db()
    assert order.sent_at is not None
