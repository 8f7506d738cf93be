"""Closing everything at a person's word: judged like any exit, sent once, booked, and tried again until it is done."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from pytest_django import Settings

from decisions import closing, operator_actions, orders, outbox, sweeper
from decisions.messages import TradeOrder, decode, parse
from decisions.models import Order, OrderKind, OrderStatus, OutboxMessage
from journal.models import Trade
from orchestrator_project import crash_points
from risk import services as risk
from risk.models import Halt, RiskAction, RiskRejection, Verdict
from tests.integration.decisions.build import (
    BTC,
    NOON,
    alerts,
    book,
    position_payload,
    sent_order,
)
from tests.integration.decisions.scene import ETH, account, at_once, later, sent_orders, venue_says, world
from tests.integration.rewriting import rewriting_the_record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
D = Decimal
Commits = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def commits(django_capture_on_commit_callbacks: Any) -> Commits:
    """What waits for a commit is done at the end of the block."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def close_all(at: datetime = NOON) -> str:
    return operator_actions.close_all(by="ada", reason="enough", source="command", now=at)


def long_of_two(symbol: str = BTC) -> Trade:
    """A long of 2 contracts that we opened, as the venue reports it too."""
    book(sent_order(symbol=symbol), stop_confirmed=True)
    return Trade.objects.get(symbol=symbol)


def closes() -> list[Order]:
    return list(Order.objects.filter(kind=OrderKind.CLOSE_ALL).order_by("id"))


def told_on_the_stream() -> list[TradeOrder]:
    found = [parse("trade:orders", decode(entry)) for entry in sent_orders()]
    return [message for message in found if isinstance(message, TradeOrder)]


def grows_old(*orders: Order, seconds: float = 31) -> None:
    """As if so much wall time had passed since the orders were written and sent."""
    for order in orders:
        order.refresh_from_db()
        moments = {
            name: getattr(order, name) - timedelta(seconds=seconds)
            for name in ("created_at", "expires_at", "sent_at")
            if getattr(order, name) is not None
        }
        Order.objects.filter(pk=order.pk).update(**moments)
    with rewriting_the_record():
        RiskAction.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=30))


# --- the orders -------------------------------------------------------------------------------------------------------


def test_every_position_is_left_by_a_reduce_only_market_order_with_a_verdict_of_its_own(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload(), position_payload(ETH, pos_side="short", size="3"))
    with commits():
        told = close_all()
    assert told == (
        "Halted: nothing is opened until a person resumes.\nBTC-USDT-SWAP LONG 2: closing at market."
        "\nETH-USDT-SWAP SHORT 3: closing at market."
    )
    ours, theirs = closes()
    assert (ours.symbol, ours.action, ours.side, ours.pos_side, ours.size) == (BTC, "CLOSE", "sell", "long", 2)
    assert (theirs.symbol, theirs.side, theirs.pos_side, theirs.size) == (ETH, "buy", "short", 3)
    for order in (ours, theirs):
        assert (order.order_type, order.reduce_only, order.cycle, order.status) == ("market", True, None, "sent")
        assert order.client_order_id == order.decision_id.hex
        verdict = Verdict.objects.get(decision_id=order.decision_id)
        assert (verdict.approved, verdict.action, verdict.symbol, verdict.cycle_number) == (
            True, "CLOSE", order.symbol, None)  # fmt: skip
    assert [(sent.symbol, sent.reduce_only, sent.size) for sent in told_on_the_stream()] == [
        (BTC, True, 2), (ETH, True, 3)]  # fmt: skip
    assert told_on_the_stream()[0].reasoning == "close all: enough"


def test_it_halts_and_withdraws_and_is_kept_and_told(commits: Commits) -> None:
    resting = sent_order(symbol=ETH, order_type="limit", limit_price=D(19990), status=OrderStatus.ACCEPTED)
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    assert [halt.kind for halt in risk.standing_halts()] == ["manual"]
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert cancel.payload["client_order_id"] == resting.client_order_id
    kept = RiskAction.objects.get(action="close_all")
    assert (kept.by, kept.reason, kept.source, kept.detail) == (
        "ada", "enough", "command", "Found BTC-USDT-SWAP LONG 2.")  # fmt: skip
    assert alerts("risk_close_all") == ["enough"]


def test_a_close_expires_as_a_market_order_does(commits: Commits, settings: Settings) -> None:
    long_of_two()
    world(NOON, position_payload())
    close_all()
    left = closes()[0].expires_at - datetime.now(UTC)
    assert timedelta() < left <= timedelta(seconds=settings.ORDER_TTL_MARKET_SECONDS)


def test_without_a_position_there_is_nothing_to_close(commits: Commits) -> None:
    world(NOON)
    assert close_all().endswith("There is no position to close.")
    assert closes() == []
    assert Halt.objects.exists()


def test_a_position_that_the_venue_has_not_reported_yet_is_closed_too() -> None:
    long_of_two()
    close_all()
    assert [(order.symbol, order.size) for order in closes()] == [(BTC, 2)]


def test_the_larger_of_the_venues_size_and_ours_is_closed() -> None:
    long_of_two()
    world(NOON, position_payload(size="2.5"))
    close_all()
    assert closes()[0].size == D("2.5")


def test_a_position_in_an_instrument_without_a_snapshot_is_closed_at_the_venues_word(commits: Commits) -> None:
    account(NOON, position_payload("SOL-USDT-SWAP", mark_price="14.5", notional_usd="29"))
    with commits():
        close_all()
    (order,) = closes()
    assert (order.status, order.judged_price, order.notional_usd) == ("sent", D("14.5"), 29)


def test_an_exit_on_its_way_is_not_doubled(commits: Commits) -> None:
    long_of_two()
    exit_order = sent_order("CLOSE")
    world(NOON, position_payload())
    assert "BTC-USDT-SWAP LONG 2: an exit is on its way already." in close_all()
    assert close_all().count("on its way") == 1
    assert (closes(), exit_order.status) == ([], OrderStatus.SENT)
    assert not RiskRejection.objects.exists()


def test_closing_everything_twice_closes_once(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
        close_all()
    assert len(closes()) == len(sent_orders()) == 1


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_close_every_position_once() -> None:
    long_of_two()
    world(NOON, position_payload())
    assert at_once(close_all, close_all, close_all) == []
    assert len(closes()) == len(sent_orders()) == 1
    assert RiskAction.objects.filter(action="close_all").count() == 3


def test_a_person_must_say_who_and_why() -> None:
    long_of_two()
    with pytest.raises(risk.Refused):
        operator_actions.close_all(by="ada", reason=" ", source="command", now=NOON)
    assert (closes(), Halt.objects.exists(), OutboxMessage.objects.filter(category="risk_manual").exists()) == (
        [], False, False)  # fmt: skip


# --- what becomes of them ---------------------------------------------------------------------------------------------


def test_the_fill_closes_the_trade_by_a_persons_hand(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    (order,) = closes()
    venue_says(order, "filled", exit_reason="signal", pnl_usd="1", fill_price="20050", fee_usd="0.2")
    trade, order = Trade.objects.get(), closes()[0]
    assert (trade.status, trade.exit_reason, trade.gross_pnl_usd) == ("closed", "manual", 1)
    assert (order.status, order.trade) == (OrderStatus.FILLED, trade)


def test_a_stop_that_was_quicker_is_booked_as_a_stop(commits: Commits) -> None:
    long_of_two()
    with commits():
        close_all()
    (order,) = closes()
    venue_says(order, "filled", exit_reason="liquidation", pnl_usd="-190", fee_usd="0.2")
    assert Trade.objects.get().exit_reason == "liquidation"


def test_a_refused_close_is_told_by_the_venue_and_tried_again_under_a_new_id(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    (first,) = closes()
    venue_says(first, "rejected", reject_reason="busy")
    sweep(commits)
    assert len(closes()) == 1  # not at once
    grows_old(first)
    sweep(commits)
    sweep(commits)
    first, second = closes()
    assert (first.status, second.status, len(sent_orders())) == (OrderStatus.REJECTED, OrderStatus.SENT, 2)
    assert second.client_order_id != first.client_order_id
    assert "The close-all by ada has not closed 2 contracts" in alerts("close_all_again")


def test_each_position_that_a_close_all_has_not_closed_is_told(commits: Commits) -> None:
    long_of_two()
    long_of_two(ETH)
    world(NOON, position_payload(), position_payload(ETH))
    with commits():
        close_all()
    for order in closes():
        venue_says(order, "rejected", reject_reason="busy")
    grows_old(*closes())
    sweep(commits)
    told = OutboxMessage.objects.filter(category="close_all_again")
    assert sorted(row.metadata["symbol"] for row in told) == [BTC, ETH]


def test_what_fills_after_the_close_is_closed_too(commits: Commits) -> None:
    limit = sent_order(order_type="limit", limit_price=D(19990), status=OrderStatus.ACCEPTED)
    world(NOON)
    with commits():
        close_all()
    book(limit)
    sweep(commits)
    assert [(order.symbol, order.size, order.status) for order in closes()] == [(BTC, 2, "sent")]


def test_once_closed_nothing_more_is_sent(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload(), position_payload(ETH))
    with commits():
        close_all()
    for order in closes():
        changes = {"exit_reason": "signal", "pnl_usd": "0", "fee_usd": "0.2"}
        if order.symbol == BTC:
            venue_says(order, "filled", **changes)
        else:  # a position that our record never had: its exit has no trade to be booked on
            Order.objects.filter(pk=order.pk).update(status=OrderStatus.FILLED, ended_at=NOON)
    grows_old(*closes())
    sweep(commits)  # the venue's report still shows both
    assert len(closes()) == 2


def test_a_position_of_somebody_else_that_appears_afterwards_is_left_alone(commits: Commits) -> None:
    world(NOON)
    with commits():
        close_all()
    account(later(5), position_payload(ETH))
    sweep(commits)
    assert closes() == []


def test_a_resume_ends_the_trying(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    venue_says(closes()[0], "rejected", reject_reason="busy")
    grows_old(*closes())
    operator_actions.resume(by="bob", reason="keep it", source="command", now=NOON)
    sweep(commits)
    assert len(closes()) == 1


def test_while_a_close_is_on_its_way_no_other_is_tried(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    grows_old(*closes(), seconds=29)
    sweep(commits)
    assert (len(closes()), Verdict.objects.count(), alerts("close_refused")) == (1, 1, [])


def test_what_an_earlier_close_all_could_not_close_is_not_todays(commits: Commits) -> None:
    world(NOON, position_payload(ETH))
    with commits():
        close_all()
    venue_says(closes()[0], "rejected", reject_reason="busy")
    operator_actions.resume(by="bob", reason="keep it", source="command", now=NOON)
    grows_old(*closes(), seconds=7200)
    account(later(5))
    with commits():
        close_all(later(5))
    account(later(10), position_payload(ETH))
    sweep(commits)
    assert len(closes()) == 1


def sweep(commits: Commits) -> None:
    with commits():
        sweeper.sweep()


# --- a process that dies ----------------------------------------------------------------------------------------------


def test_what_a_dead_process_left_unsent_goes_out_with_the_sweeper(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    close_all()  # and dies before what follows the commit
    assert sent_orders() == []
    sweep(commits)
    sweep(commits)
    assert (closes()[0].status, len(sent_orders())) == (OrderStatus.SENT, 1)


def test_one_that_went_out_unnoted_is_noted_and_not_sent_again(commits: Commits) -> None:
    long_of_two()
    close_all()
    entry_id = orders.send(closes()[0])
    grows_old(*closes())
    sweep(commits)
    assert (closes()[0].status, closes()[0].entry_id, len(sent_orders())) == (OrderStatus.SENT, entry_id, 1)


def test_one_that_expired_unsent_ends_and_is_tried_anew(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    close_all()
    grows_old(*closes())
    sweep(commits)
    first, second = closes()
    assert (first.status, second.status) == (OrderStatus.EXPIRED, OrderStatus.SENT)
    assert "before it was sent" in first.reason
    assert [sent.client_order_id for sent in told_on_the_stream()] == [second.client_order_id]


def test_one_that_ended_before_it_was_sent_is_not_sent_any_more(commits: Commits) -> None:
    long_of_two()
    close_all()
    (order,) = closes()
    orders.end(order, OrderStatus.CANCELLED, "taken back")
    closing.send(order.pk)
    assert (closes()[0].status, sent_orders()) == (OrderStatus.CANCELLED, [])


def test_while_redis_is_away_the_close_waits_for_the_sweeper(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    long_of_two()
    away = redis.Redis(unix_socket_path="/nonexistent/redis.sock", retry=None)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "redis_client", lambda: away)
        with commits():
            close_all()
    assert closes()[0].status == OrderStatus.PENDING
    sweep(commits)
    assert closes()[0].status == OrderStatus.SENT


@pytest.mark.django_db(transaction=True)
def test_senders_at_once_send_once() -> None:
    long_of_two()
    close_all()
    Order.objects.filter(kind=OrderKind.CLOSE_ALL).update(status=OrderStatus.PENDING, sent_at=None, streams_life="")
    outbox.redis_client().flushall()
    assert at_once(*[closing.send_what_is_left] * 4) == []
    assert (len(sent_orders()), closes()[0].status) == (1, OrderStatus.SENT)


def test_a_close_that_nobody_answers_becomes_unknown_and_is_followed_by_another(commits: Commits) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    grows_old(*closes(), seconds=61)
    sweep(commits)
    first, second = closes()
    assert (first.status, second.status) == (OrderStatus.UNKNOWN, OrderStatus.SENT)
    assert first.client_order_id in alerts("order_unknown")[0]


# --- after Redis was emptied, or the wall clock was set --------------------------------------------------------------


def test_a_close_that_may_have_gone_out_before_redis_was_emptied_is_unknown_and_not_sent_again(
    commits: Commits, redis_client: redis.Redis
) -> None:
    long_of_two()
    close_all()
    orders.send(closes()[0])
    redis_client.flushall()
    sweep(commits)
    sweep(commits)
    assert ([order.status for order in closes()], sent_orders()) == ([OrderStatus.UNKNOWN], [])
    assert len(alerts("order_unknown")) == 1


def test_after_its_expiry_another_close_follows_the_one_that_was_lost_with_redis(
    commits: Commits, redis_client: redis.Redis
) -> None:
    long_of_two()
    world(NOON, position_payload())
    close_all()
    redis_client.flushall()
    sweep(commits)
    grows_old(*closes())
    sweep(commits)
    assert [order.status for order in closes()] == [OrderStatus.UNKNOWN, OrderStatus.SENT]


class Killed(BaseException):
    """What ends a process at once."""


def test_a_close_that_was_written_while_redis_was_away_goes_out_in_one_life_of_it_only(
    commits: Commits, monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis
) -> None:
    def die(point: str) -> None:
        if point == "close_on_stream":
            raise Killed

    long_of_two()
    away = redis.Redis(unix_socket_path="/nonexistent/redis.sock", retry=None)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "redis_client", lambda: away)
        with commits():
            close_all()
    with monkeypatch.context() as patched:
        patched.setattr(crash_points, "_handler", die)
        with pytest.raises(Killed):
            sweep(commits)
    assert (closes()[0].status, len(sent_orders())) == (OrderStatus.PENDING, 1)
    redis_client.flushall()
    sweep(commits)
    assert ([order.status for order in closes()], sent_orders()) == ([OrderStatus.UNKNOWN], [])


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_an_unsent_close_of_before_a_step_of_the_clock_is_followed_by_one_of_today(
    commits: Commits, step: float
) -> None:
    long_of_two()
    world(NOON, position_payload())
    close_all()
    grows_old(*closes(), seconds=step)
    sweep(commits)
    sweep(commits)
    assert [order.status for order in closes()] == [OrderStatus.EXPIRED, OrderStatus.SENT]
    assert len(told_on_the_stream()) == 1


@pytest.mark.parametrize("step", [3600, -3600], ids=["forth", "back"])
def test_a_close_all_goes_on_after_a_step_of_the_clock(commits: Commits, step: float) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    venue_says(closes()[0], "rejected", reject_reason="busy")
    stamp = datetime.now(UTC) - timedelta(seconds=step)
    Order.objects.update(created_at=stamp)
    with rewriting_the_record():
        RiskAction.objects.update(created_at=stamp)
    for _ in range(3):
        sweep(commits)
    assert [order.status for order in closes()] == [OrderStatus.REJECTED, OrderStatus.SENT]
    assert len(sent_orders()) == 2


def test_of_a_close_all_of_before_the_clock_was_set_back_a_close_of_after_it_is_not_repeated_at_once(
    commits: Commits,
) -> None:
    long_of_two()
    world(NOON, position_payload())
    with commits():
        close_all()
    with rewriting_the_record():
        RiskAction.objects.update(created_at=datetime.now(UTC) + timedelta(hours=1))
    venue_says(closes()[0], "rejected", reject_reason="busy")
    sweep(commits)
    assert len(closes()) == 1
