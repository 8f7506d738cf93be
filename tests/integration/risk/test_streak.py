"""Losing trades in a row, counted by closing time on real rows, whatever order the news of them came in."""

from datetime import timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from django.db import transaction

from journal.models import Trade
from risk import services
from risk.models import RiskState
from risk.services import RiskNotice
from tests.integration.risk.scene import DAY, categories, close_trade, state

pytestmark = pytest.mark.django_db


def count() -> int:
    return state().loss_streak


def minute(number: float) -> object:
    return DAY + timedelta(minutes=number)


def test_the_third_loss_in_a_row_begins_a_cooldown_and_the_count_is_zeroed() -> None:
    assert close_trade("-1", 1) == close_trade("-0.0001", 2) == []
    assert categories(close_trade("-5", 60)) == [("WARN", "risk_cooldown")]
    assert (count(), state().cooldown_until, state().streak_from) == (0, minute(90), minute(60))
    close_trade("-1", 61)
    assert count() == 1


@pytest.mark.parametrize("net", ["0", "0.0001", None])
def test_a_trade_that_is_no_known_loss_ends_the_streak(net: str | None) -> None:
    close_trade("-1", 1)
    close_trade("-1", 2)
    assert count() == 2
    close_trade(net, 3)
    assert count() == 0


def test_a_loss_told_of_after_a_later_win_does_not_count() -> None:
    close_trade("-1", 1)
    close_trade("-1", 2)
    close_trade("5", 4)
    assert close_trade("-1", 3) == []
    assert (count(), state().cooldown_until) == (0, None)


def test_a_win_told_of_late_parts_the_losses_before_it_from_those_after_it() -> None:
    close_trade("-1", 1)
    close_trade("-1", 3)
    assert count() == 2
    close_trade("5", 2)
    assert count() == 1
    close_trade("-1", 4)
    assert (count(), state().cooldown_until) == (2, None)


def test_a_loss_told_of_late_between_two_others_completes_the_streak_from_the_newest_closing() -> None:
    close_trade("-1", 1)
    close_trade("-1", 30)
    assert categories(close_trade("-1", 10)) == [("WARN", "risk_cooldown")]
    assert state().cooldown_until == minute(60)


def test_what_closed_up_to_the_cooldown_counts_no_more_even_when_told_of_later() -> None:
    for number in (1, 2, 3):
        close_trade("-1", number)
    assert close_trade("-1", 2.5) == close_trade("-1", 3) == []
    assert count() == 0
    close_trade("-1", 3.1)
    assert count() == 1


def test_a_win_told_of_after_the_cooldown_began_does_not_take_it_back() -> None:
    for number in (1, 2, 3):
        close_trade("-1", number)
    close_trade("5", 2.5)
    assert state().cooldown_until == minute(33)


def test_of_trades_closed_at_one_moment_the_one_opened_later_is_the_later() -> None:
    close_trade("-1", 1)
    close_trade("-1", 5, opened_minute=2)
    close_trade("5", 5, opened_minute=0)
    assert count() == 1
    close_trade("5", 5, opened_minute=3)
    assert count() == 0


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_count_is_the_same_in_whatever_order_the_closings_are_told(order: tuple[int, ...]) -> None:
    """Win, loss, loss at minutes 0, 1 and 2, and another loss at minute 2 of a trade opened later: three in a row."""
    trades = [("5", 0, -60), ("-1", 1, -60), ("-1", 2, -60), ("-1", 2, -30)]
    for place in order:
        net, closed, opened = trades[place]
        close_trade(net, closed, opened_minute=opened)
    assert (state().loss_streak, state().cooldown_until) == (0, minute(32))


def test_a_cooldown_is_never_shortened() -> None:
    far = DAY + timedelta(days=1)
    close_trade("5")
    RiskState.objects.update(cooldown_until=far)
    for number in (1, 2, 3):
        close_trade("-1", number)
    assert state().cooldown_until == far


def test_a_result_restated_below_zero_is_a_loss_from_then_on() -> None:
    close_trade("-1", 1)
    close_trade("-1", 2)
    close_trade("0.01", 3)
    Trade.objects.filter(pnl_usd__gt=0).update(pnl_usd=Decimal("-0.03"))
    assert categories(_look_again()) == [("WARN", "risk_cooldown")]


@transaction.atomic
def _look_again() -> list[RiskNotice]:
    return services.on_trade_closed(services.lock_state())
