"""The table of an order's life, against what it promises."""

import pytest

from decisions.models import LIVE, OrderStatus
from decisions.order_life import ENDED, TRANSITIONS, may_become

WAY = ("pending", "sent", "accepted", "partially_filled", "filled")


def test_the_table_knows_every_status_and_no_other() -> None:
    assert set(TRANSITIONS) == set(OrderStatus.values)
    assert set().union(*TRANSITIONS.values()) <= set(OrderStatus.values)


def test_an_order_is_either_live_or_has_ended() -> None:
    assert set(LIVE) | ENDED == set(OrderStatus.values)
    assert not set(LIVE) & ENDED


@pytest.mark.parametrize("place", range(len(WAY)))
def test_an_order_may_leave_out_steps_and_goes_none_back(place: int) -> None:
    for other, status in enumerate(WAY):
        assert may_become(WAY[place], status, filled_whole=True) == (other > place)


@pytest.mark.parametrize("status", LIVE)
@pytest.mark.parametrize("end", sorted(ENDED))
def test_whatever_is_live_may_end_in_any_way(status: str, end: str) -> None:
    assert may_become(status, end, filled_whole=False)


@pytest.mark.parametrize("status", WAY[:-1])
def test_what_becomes_of_a_live_order_may_be_unknown(status: str) -> None:
    assert may_become(status, "unknown", filled_whole=False)


def test_what_is_unknown_becomes_what_the_venue_says_and_not_what_we_noted() -> None:
    assert TRANSITIONS["unknown"] == set(OrderStatus.values) - {"pending", "sent", "unknown"}


@pytest.mark.parametrize("end", sorted(ENDED - {"filled"}))
def test_only_the_proof_of_the_whole_execution_overrules_an_end(end: str) -> None:
    assert TRANSITIONS[end] == {"filled"}
    assert may_become(end, "filled", filled_whole=True)
    assert not may_become(end, "filled", filled_whole=False)


def test_nothing_follows_a_fill() -> None:
    assert not TRANSITIONS["filled"]
