"""Positions without a stop on real Postgres: what confirms one, what undoes it, and the close when the time is up."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import transaction
from pytest_django import Settings

from decisions import closing, exposure, operator_actions, orders, outbox, protection, sweeper
from decisions.models import Fill, Order, OrderKind, OrderStatus, OutboxMessage, Outcome, State
from journal.models import Trade
from orchestrator_project import streams
from risk import gate
from risk import services as risk
from risk.models import RiskRejection, Verdict
from tests.integration.decisions.build import BTC, NOON, alerts, book, end_of, position_payload, sent_order
from tests.integration.decisions.scene import ETH, account, at_once, bar, later, sent_orders, venue_says

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
D = Decimal
Commits = Callable[..., AbstractContextManager[Any]]
HELD = position_payload()
BARE = position_payload(stop_loss=None)


@pytest.fixture
def commits(django_capture_on_commit_callbacks: Any) -> Commits:
    """What waits for a commit is done at the end of the block."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def opened(**changes: Any) -> Trade:
    """A long of 2 contracts with a stop at 19800 that nobody has confirmed."""
    bar()
    book(sent_order(**changes))
    return Trade.objects.get()


def seconds_pass(seconds: float) -> None:
    """As if all that is recorded by the wall clock were so much older."""
    ago = timedelta(seconds=seconds)
    for model, names in (
        (Fill, ("created_at",)),
        (Trade, ("created_at", "stop_lost_at")),
        (Order, ("created_at", "sent_at", "cancel_asked_at", "expires_at")),
    ):
        for row in model.objects.all():
            moments = {name: getattr(row, name) - ago for name in names if getattr(row, name) is not None}
            model.objects.filter(pk=row.pk).update(**moments)


def closes() -> list[Order]:
    return list(Order.objects.filter(kind=OrderKind.PROTECTION).order_by("id"))


def confirmed() -> bool:
    return Trade.objects.get().stop_confirmed_at is not None


def cancels() -> list[str]:
    rows = OutboxMessage.objects.filter(type="trade_cancel").order_by("id")
    return [row.payload["client_order_id"] for row in rows]


# --- the deadline -----------------------------------------------------------------------------------------------------


def test_a_position_without_a_confirmed_stop_is_closed_when_its_time_is_up(commits: Commits) -> None:
    opened()
    seconds_pass(14)
    with commits():
        protection.protect()
    assert closes() == []
    seconds_pass(1)
    with commits():
        protection.protect()
    (order,) = closes()
    assert (order.action, order.side, order.size, order.order_type, order.reduce_only) == (
        "CLOSE", "sell", 2, "market", True)  # fmt: skip
    assert (order.status, order.cycle, len(sent_orders())) == (OrderStatus.SENT, None, 1)
    assert order.reason == "no confirmed stop within 15 seconds"
    assert Verdict.objects.get(decision_id=order.decision_id).approved
    alert = OutboxMessage.objects.get(category="protection")
    assert (alert.severity, alert.payload["action_taken"]) == (
        "CRITICAL", "A reduce-only market order closes 2 contracts")  # fmt: skip


def test_the_deadline_is_a_setting(settings: Settings) -> None:
    settings.PROTECTION_DEADLINE_SECONDS = 60
    opened()
    seconds_pass(59)
    protection.protect()
    assert closes() == []
    seconds_pass(1)
    protection.protect()
    assert len(closes()) == 1


@pytest.mark.parametrize("by", ["fill", "update"])
def test_a_stop_confirmed_by_the_fill_or_by_an_update_protects(by: str) -> None:
    bar()
    book(sent_order(), stop_confirmed=True if by == "fill" else None)
    if by == "update":
        account(NOON, HELD)
    seconds_pass(60)
    protection.protect()
    account(later(5), HELD)
    assert closes() == []


def test_every_position_update_looks_too(commits: Commits) -> None:
    opened()
    seconds_pass(15)
    with commits():
        account(NOON, BARE)
    assert (len(closes()), len(sent_orders())) == (1, 1)


def test_the_update_that_shows_the_stop_in_the_last_moment_counts() -> None:
    opened()
    seconds_pass(15)
    account(NOON, HELD)
    assert (closes(), confirmed()) == ([], True)


def test_a_short_is_bought_back(commits: Commits) -> None:
    bar()
    book(sent_order("OPEN_SHORT"))
    seconds_pass(15)
    protection.protect()
    assert [(order.side, order.pos_side) for order in closes()] == [("buy", "short")]


def test_a_halt_and_a_cooldown_stop_no_protection(commits: Commits) -> None:
    opened()
    operator_actions.halt(by="ada", reason="enough", source="command", now=NOON)
    seconds_pass(15)
    with commits():
        protection.protect()
    assert closes()[0].status == OrderStatus.SENT


def test_the_fill_closes_the_trade(commits: Commits) -> None:
    opened()
    seconds_pass(15)
    with commits():
        protection.protect()
    venue_says(closes()[0], "filled", exit_reason="signal", pnl_usd="-1", fee_usd="0.2")
    assert (Trade.objects.get().status, Trade.objects.get().exit_reason) == ("closed", "manual")
    seconds_pass(60)
    protection.protect()
    assert len(closes()) == 1


# --- what confirms, and what undoes it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "stop", "good"),
    [
        ("OPEN_LONG", "19800", True), ("OPEN_LONG", "19800.1", True), ("OPEN_LONG", "19799.9", False),
        ("OPEN_SHORT", "20200", True), ("OPEN_SHORT", "20199.9", True), ("OPEN_SHORT", "20200.1", False),
        ("OPEN_LONG", None, False), ("OPEN_SHORT", None, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [True, None], ids=["confirmed before", "not yet confirmed"])
def test_only_a_stop_at_the_trades_price_or_closer_is_one(
    action: str, stop: str | None, good: bool, before: bool | None
) -> None:
    bar()
    book(sent_order(action), stop_confirmed=before)
    shown = position_payload(pos_side="long" if action == "OPEN_LONG" else "short", stop_loss=stop)
    account(NOON, shown)
    assert confirmed() == good
    assert len(alerts("stop_lost")) == (1 if before and not good else 0)


def test_a_stop_that_is_gone_is_told_and_the_deadline_counts_anew(commits: Commits) -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    seconds_pass(3600)
    account(NOON, BARE)
    assert alerts("stop_lost") == ["The venue shows no stop on the long, 19800 was confirmed"]
    seconds_pass(14)
    account(later(5), BARE)
    assert closes() == []
    seconds_pass(1)
    account(later(5), BARE)
    assert len(closes()) == 1
    assert len(alerts("stop_lost")) == 1


def test_a_stop_that_comes_back_in_time_protects_again() -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    account(NOON, BARE)
    seconds_pass(14)
    account(later(5), HELD)
    seconds_pass(60)
    account(later(10), HELD)
    assert (confirmed(), closes()) == (True, [])


def test_a_stop_lost_twice_has_its_time_twice() -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    account(NOON, BARE)
    account(later(1), HELD)
    seconds_pass(3600)
    account(later(2), BARE)
    seconds_pass(14)
    account(later(3), BARE)
    assert (closes(), len(alerts("stop_lost"))) == ([], 2)


def test_a_report_that_lacks_the_position_says_nothing_of_its_stop() -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    account(NOON)
    account(later(1), position_payload(ETH, stop_loss=None), position_payload(pos_side="short", stop_loss=None))
    assert confirmed()


def test_an_update_from_before_the_entry_confirms_nothing() -> None:
    account(later(-2))
    bar()
    book(sent_order())
    account(later(-1), HELD)  # of a position before this one
    assert not confirmed()


def test_an_update_from_before_the_entry_undoes_nothing() -> None:
    account(later(-2))
    bar()
    book(sent_order(), stop_confirmed=True)
    account(later(-1), BARE)
    assert confirmed()


def test_an_addition_brings_a_stop_that_must_be_confirmed_anew() -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    seconds_pass(3600)
    addition = sent_order("ADD", size="2", stop_loss=D(19900))
    part = {"status": "partially_filled", "fill_size": "1", "fee_usd": "0.1"}
    book(addition, **part, cumulative_size="1")
    account(NOON, HELD)  # with the stop of before
    seconds_pass(14)
    book(addition, **{**part, "status": "filled"}, cumulative_size="2")  # puts nothing off
    protection.protect()
    assert closes() == []
    seconds_pass(1)
    protection.protect()
    assert [order.size for order in closes()] == [4]


# --- one at a time, and again -----------------------------------------------------------------------------------------


def test_while_an_exit_is_on_its_way_no_other_is_sent() -> None:
    opened()
    seconds_pass(15)
    sent_order("CLOSE")
    protection.protect()
    assert (closes(), Verdict.objects.exists(), alerts("close_refused")) == ([], False, [])


def test_looking_again_sends_nothing_more(commits: Commits) -> None:
    opened()
    seconds_pass(15)
    for _ in range(3):
        with commits():
            protection.protect()
        account(NOON, BARE)
    seconds_pass(20)
    protection.protect()
    assert (len(closes()), len(sent_orders()), len(alerts("protection"))) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_those_who_look_at_once_close_once() -> None:
    opened()
    seconds_pass(15)
    assert at_once(*[protection.protect] * 4, lambda: account(NOON, BARE)) == []
    assert (len(closes()), len(sent_orders())) == (1, 1)


@pytest.mark.parametrize("end", ["rejected", "expired", "cancelled"])
def test_a_close_that_came_to_nothing_is_tried_again_after_a_while(commits: Commits, end: str) -> None:
    opened()
    seconds_pass(15)
    with commits():
        protection.protect()
    venue_says(closes()[0], end, reject_reason="busy")
    protection.protect()
    assert len(closes()) == 1
    seconds_pass(15)
    with commits():
        protection.protect()
    first, second = closes()
    assert (second.status, len(sent_orders())) == (OrderStatus.SENT, 2)
    assert first.client_order_id != second.client_order_id


def test_a_close_that_was_never_sent_ends_and_is_tried_again(commits: Commits) -> None:
    opened()
    seconds_pass(15)
    protection.protect()  # and the process dies before what follows the commit
    seconds_pass(31)
    with commits():
        sweeper.sweep()
    assert closes()[0].status == OrderStatus.EXPIRED
    with commits():
        protection.protect()
    assert [order.status for order in closes()] == [OrderStatus.EXPIRED, OrderStatus.SENT]


def test_a_close_that_the_gate_refuses_is_recorded_and_told_once_a_minute_for_each_instrument() -> None:
    opened()
    endless = gate.Position(
        symbol=BTC, direction="LONG", size=D("NaN"), notional_usd=D(400), stop_loss=None, take_profit=None
    )
    for symbol in (BTC, BTC, ETH):
        with transaction.atomic():
            position = replace(endless, symbol=symbol)
            assert closing.close(risk.lock_state(), position, OrderKind.PROTECTION, "no stop", NOON) is None
    told = OutboxMessage.objects.filter(category="close_refused")
    assert sorted(row.metadata["symbol"] for row in told) == [BTC, ETH]
    assert sorted(Verdict.objects.values_list("symbol", flat=True)) == [BTC, ETH]
    assert RiskRejection.objects.count() == 2
    told.update(created_at=datetime.now(UTC) - timedelta(seconds=61))
    with transaction.atomic():
        closing.close(risk.lock_state(), endless, OrderKind.PROTECTION, "no stop", NOON)
    assert len(alerts("close_refused")) == RiskRejection.objects.count() == 3


def test_a_close_that_was_refused_a_moment_ago_goes_out_once_the_gate_approves() -> None:
    opened()
    right = gate.Position(
        symbol=BTC, direction="LONG", size=D(2), notional_usd=D(400), stop_loss=None, take_profit=None
    )
    for position in (replace(right, size=D("NaN")), right):
        with transaction.atomic():
            order = closing.close(risk.lock_state(), position, OrderKind.PROTECTION, "no stop", NOON)
    assert order is not None
    assert list(Verdict.objects.order_by("id").values_list("approved", flat=True)) == [False, True]


# --- what may still fill ----------------------------------------------------------------------------------------------


def partly_filled() -> Order:
    """A resting limit of 2 of which 1 has filled, without a word on the stop, 15 seconds ago."""
    bar()
    order = sent_order(order_type="limit", limit_price=D(19990))
    book(order, status="partially_filled", fill_size="1", cumulative_size="1", fill_price="19990", fee_usd="0.1")
    seconds_pass(15)
    return order


def test_the_rest_of_a_partial_opening_is_withdrawn_before_the_close_goes_out(commits: Commits) -> None:
    order = partly_filled()
    protection.protect()
    protection.protect()
    assert (cancels(), closes()) == ([order.client_order_id], [])
    venue_says(order, "cancelled", reject_reason="the position has no confirmed stop", cumulative_size="1")
    protection.protect()
    assert [close.size for close in closes()] == [1]


def test_a_venue_that_does_not_answer_the_withdrawal_holds_the_close_up_for_one_more_deadline(
    commits: Commits,
) -> None:
    partly_filled()
    protection.protect()
    seconds_pass(14)
    protection.protect()
    assert closes() == []
    seconds_pass(1)
    protection.protect()
    assert len(closes()) == 1


def test_what_fills_behind_the_close_is_closed_as_well(commits: Commits) -> None:
    order = partly_filled()
    protection.protect()
    seconds_pass(15)
    protection.protect()
    book(order, fill_size="1", cumulative_size="2", fill_price="19990", fee_usd="0.1")
    (first,) = closes()
    venue_says(first, "filled", exit_reason="signal", pnl_usd="0", fill_size="1", cumulative_size="1")
    assert Trade.objects.get().open_size == 1
    seconds_pass(15)
    protection.protect()
    assert [close.size for close in closes()] == [1, 1]


def test_an_addition_that_was_not_sent_yet_never_will_be(commits: Commits) -> None:
    opened()
    addition = sent_order("ADD", status=OrderStatus.PENDING, sent_at=None)
    seconds_pass(15)
    protection.protect()
    addition.refresh_from_db()
    assert (addition.status, cancels(), len(closes())) == (OrderStatus.EXPIRED, [], 1)


def test_an_addition_that_went_out_unnoted_is_withdrawn_at_the_venue_first() -> None:
    opened()
    addition = written_addition()
    orders.send(addition)
    seconds_pass(15)
    protection.protect()
    protection.protect()
    addition.refresh_from_db()
    assert (addition.status, cancels(), closes()) == (OrderStatus.SENT, [addition.client_order_id], [])


def written_addition(**changes: Any) -> Order:
    """One that is to be sent by the execute stage, which has not come to it."""
    unsent = {"status": OrderStatus.PENDING, "sent_at": None, "entry_id": "", "streams_life": life()}
    return sent_order("ADD", cycle_changes={"state": State.EXECUTING}, **{**unsent, **changes})


def life() -> str:
    return streams.life(outbox.redis_client())


def test_an_addition_that_never_will_be_sent_ends_its_cycle() -> None:
    opened()
    addition = written_addition()
    seconds_pass(15)
    protection.protect()
    why = "the position it adds to has no stop and is being closed"
    assert end_of(addition) == (OrderStatus.EXPIRED, Outcome.ORDER_EXPIRED, why)


@pytest.mark.parametrize("terms", [{}, {"order_type": "limit", "limit_price": D(19990)}], ids=["market", "limit"])
@pytest.mark.parametrize("withdrawn", [False, True], ids=["", "withdrawn before"])
def test_an_addition_that_may_have_gone_out_before_redis_was_emptied_keeps_its_room_and_is_withdrawn(
    redis_client: "redis.Redis", terms: dict[str, Any], withdrawn: bool
) -> None:
    opened()
    addition = written_addition(**terms)
    if withdrawn:
        orders.withdraw_openings("trading was halted")
    orders.send(addition)
    redis_client.flushall()
    seconds_pass(15)
    protection.protect()
    assert end_of(addition) == (OrderStatus.UNKNOWN, Outcome.ORDER_UNKNOWN, orders.LOST_TRACK)
    assert [order.notional_usd for order in exposure.live_orders() if not order.reduce_only] == [400]
    assert cancels() == ([] if withdrawn and not terms else [addition.client_order_id])


# --- the wall clock is set --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_no_protection_waits_for_a_clock_that_was_set(commits: Commits, step: float) -> None:
    opened()
    seconds_pass(step)
    for _ in range(3):
        with commits():
            protection.protect()
    assert (len(closes()), len(sent_orders())) == (1, 1)


def test_a_stop_lost_after_the_clock_was_set_back_has_its_whole_time() -> None:
    bar()
    book(sent_order(), stop_confirmed=True)
    seconds_pass(-3600)
    account(NOON, BARE)
    protection.protect()
    assert closes() == []
    Trade.objects.update(stop_lost_at=datetime.now(UTC) - timedelta(seconds=16))
    protection.protect()
    assert len(closes()) == 1


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_a_close_that_came_to_nothing_is_tried_again_after_a_step(commits: Commits, step: float) -> None:
    opened()
    seconds_pass(16)
    with commits():
        protection.protect()
    venue_says(closes()[0], "rejected", reject_reason="busy")
    seconds_pass(step)
    with commits():
        protection.protect()
    assert [order.status for order in closes()] == [OrderStatus.REJECTED, OrderStatus.SENT]


def test_a_lost_close_of_before_the_clock_was_set_back_stands_in_no_way(commits: Commits) -> None:
    opened()
    seconds_pass(16)
    with commits():
        protection.protect()
    seconds_pass(-3600)
    sweeper.sweep()
    assert closes()[0].status == OrderStatus.UNKNOWN
    with commits():
        protection.protect()
    assert [order.status for order in closes()] == [OrderStatus.UNKNOWN, OrderStatus.SENT]


def test_a_withdrawal_asked_for_before_the_clock_was_set_back_holds_nothing_up(commits: Commits) -> None:
    partly_filled()
    protection.protect()
    assert closes() == []
    seconds_pass(-3600)
    protection.protect()
    assert len(closes()) == 1


# --- not ours ---------------------------------------------------------------------------------------------------------


def test_a_position_that_we_did_not_open_is_left_to_a_person(commits: Commits) -> None:
    bar()
    book(side="buy", symbol=BTC)
    assert Trade.objects.get().origin == "reconciled"
    seconds_pass(15)
    for _ in range(2):
        protection.protect()
        account(NOON, BARE)
    assert closes() == []
    alert = OutboxMessage.objects.get(category="unprotected_not_ours")
    assert alert.severity == "CRITICAL"


def test_any_stop_that_the_venue_shows_protects_a_position_that_we_did_not_open() -> None:
    bar()
    book(side="buy", symbol=BTC)
    account(NOON, HELD)
    seconds_pass(15)
    protection.protect()
    assert not alerts("unprotected_not_ours")
    account(NOON, BARE)
    alert = OutboxMessage.objects.get(category="stop_lost")
    assert (alert.payload["detail"], alert.payload["action_taken"]) == (
        "The venue shows no stop on the long", "None: a person decides what becomes of it")  # fmt: skip


def test_a_trade_without_an_entry_of_its_own_is_measured_from_its_row() -> None:
    opened()
    Fill.objects.update(trade=None)
    seconds_pass(14)
    protection.protect()
    assert closes() == []
    seconds_pass(1)
    protection.protect()
    assert len(closes()) == 1
