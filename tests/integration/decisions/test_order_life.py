"""Every step of an order's life on real Postgres: taken once, by the table, with its time and cause."""

from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.db import transaction

from decisions import orders
from decisions.models import Order, OrderStatus, OrderTransition
from decisions.order_life import ENDED, may_become
from decisions.outbox import redis_client as our_client
from orchestrator_project import streams
from tests.integration.decisions.build import BTC, NOTHING_FILLED, book, end_of, sent_order
from tests.integration.decisions.scene import at_once, sent_orders

pytestmark = pytest.mark.django_db


def steps(order: Order) -> list[tuple[str, str]]:
    return list(order.transitions.order_by("id").values_list("from_status", "to_status"))


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("to", OrderStatus)
@pytest.mark.parametrize("filled", ["0", "2"])
def test_a_step_is_taken_where_the_table_allows_it(status: OrderStatus, to: OrderStatus, filled: str) -> None:
    order = sent_order(size="2", filled_size=filled, status=status)
    order.refresh_from_db()
    before = datetime.now(UTC)
    allowed = may_become(status, to, filled_whole=filled == "2")
    assert orders.move(order, to, cause="it was seen", reason="seen") == allowed
    assert order.status == (to if allowed else status)
    stored = Order.objects.get(pk=order.pk)
    assert (stored.status, stored.reason) == ((to, "seen") if allowed else (status, ""))
    assert (stored.ended_at is not None) == (stored.status in ENDED)
    assert steps(order) == ([(status, to)] if allowed else [])
    for transition in OrderTransition.objects.all():
        assert transition.cause == "it was seen"
        assert before <= transition.at <= datetime.now(UTC)


def test_who_has_an_old_view_of_the_order_moves_it_from_where_it_is() -> None:
    order = sent_order()
    seen_before = Order.objects.get(pk=order.pk)
    assert orders.move(order, OrderStatus.UNKNOWN, cause="silence")
    assert orders.move(seen_before, OrderStatus.ACCEPTED, cause="the venue")
    assert steps(order) == [("sent", "unknown"), ("unknown", "accepted")]


def test_who_has_an_old_view_of_an_ended_order_moves_nothing() -> None:
    order = sent_order()
    seen_before = Order.objects.get(pk=order.pk)
    orders.end(order, OrderStatus.CANCELLED, "a person")
    assert not orders.move(seen_before, OrderStatus.ACCEPTED, cause="the venue")
    assert seen_before.status == OrderStatus.CANCELLED
    assert steps(order) == [("sent", "cancelled")]


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_transition() -> None:
    order = sent_order()
    moved: list[bool] = []

    def end() -> None:
        mine = Order.objects.get(pk=order.pk)
        with transaction.atomic():
            moved.append(orders.end(mine, OrderStatus.EXPIRED, "late"))

    assert at_once(end, end, end, end) == []
    assert sorted(moved) == [False, False, False, True]
    assert steps(order) == [("sent", "expired")]


@pytest.mark.django_db(transaction=True)
def test_different_steps_at_once_leave_a_life_without_a_step_back() -> None:
    order = sent_order()
    wanted = [OrderStatus.UNKNOWN, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELLED]

    def mover(to: OrderStatus) -> Any:
        def move() -> None:
            mine = Order.objects.get(pk=order.pk)
            with transaction.atomic():
                orders.move(mine, to, cause=str(to))

        return move

    assert at_once(*[mover(to) for to in wanted]) == []
    taken = steps(order)
    assert taken[-1][1] == OrderStatus.CANCELLED
    assert [first for first, _ in taken] == [OrderStatus.SENT, *[then for _, then in taken[:-1]]]


# --- by the venue's word ----------------------------------------------------------------------------------------------


def test_the_venues_words_are_the_causes() -> None:
    order = sent_order(size="2")
    book(order, status="accepted", **NOTHING_FILLED)
    part = book(order, status="partially_filled", fill_size="1", cumulative_size="1")
    book(order, fill_size="1", cumulative_size="2")
    assert steps(order) == [("sent", "accepted"), ("accepted", "partially_filled"), ("partially_filled", "filled")]
    assert order.transitions.get(to_status="partially_filled").cause == f"fill {part.fill_id}: partially_filled"


def test_parts_in_any_order_end_filled_with_the_full_size() -> None:
    order = sent_order(size="3")
    book(order, fill_size="1", cumulative_size="3")
    for done in ("1", "2"):
        book(order, status="partially_filled", fill_size="1", cumulative_size=done)
    order.refresh_from_db()
    assert (order.status, order.filled_size, steps(order)) == (OrderStatus.FILLED, 3, [("sent", "filled")])


def test_a_part_that_comes_after_the_cancellation_counts_and_the_status_stays() -> None:
    order = sent_order(size="2")
    book(order, status="cancelled", **NOTHING_FILLED | {"cumulative_size": "1"})
    book(order, status="partially_filled", fill_size="1", cumulative_size="1")
    order.refresh_from_db()
    assert (order.status, order.filled_size) == (OrderStatus.CANCELLED, 1)
    assert order.trade is not None
    assert order.trade.open_size == 1


def test_an_order_that_we_gave_up_and_that_was_executed_after_all_is_filled() -> None:
    order = sent_order(size="2")
    orders.end(order, OrderStatus.EXPIRED, "the venue knows nothing of it")
    book(order)
    assert end_of(order)[0] == OrderStatus.FILLED
    assert steps(order) == [("sent", "expired"), ("expired", "filled")]


# --- another life of the streams --------------------------------------------------------------------------------------


def test_a_life_of_the_streams_lasts_until_redis_is_emptied(redis_client: "redis.Redis") -> None:
    first = streams.life(our_client())
    assert streams.life(our_client()) == first
    redis_client.flushall()
    assert streams.life(our_client()) not in ("", first)


def pending_order() -> Order:
    life = streams.life(our_client())
    return sent_order(status=OrderStatus.PENDING, sent_at=None, entry_id="", streams_life=life)


def test_track_of_an_order_is_lost_with_the_life_it_was_written_in(redis_client: "redis.Redis") -> None:
    order = pending_order()
    assert not orders.lost_track_of(order)
    redis_client.flushall()
    assert orders.lost_track_of(order)


def test_track_of_an_order_that_is_on_the_stream_is_not_lost(redis_client: "redis.Redis") -> None:
    order = pending_order()
    orders.send(order)
    order.streams_life = "another"
    assert not orders.lost_track_of(order)


def test_an_order_goes_out_in_no_other_life_even_if_redis_is_emptied_at_the_last_moment(
    redis_client: "redis.Redis",
) -> None:
    order = pending_order()
    orders.send(order)
    redis_client.flushall()
    with pytest.raises(streams.AnotherLife):
        orders.send(order)
    streams.life(our_client())
    with pytest.raises(streams.AnotherLife):
        orders.send(order)
    assert sent_orders() == []


def test_the_note_of_the_sending_does_not_undo_what_the_venue_said() -> None:
    order = sent_order(status=OrderStatus.PENDING, sent_at=None, entry_id="", symbol=BTC)
    book(Order.objects.get(pk=order.pk))
    orders.mark_sent(order, "7-7")
    assert (end_of(order)[0], steps(order)) == (OrderStatus.FILLED, [("pending", "filled")])
