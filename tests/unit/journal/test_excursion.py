"""How far the price went against a trade and in its favour, computed by hand beside it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.cost_basis import Execution
from journal.excursion import Excursion, RecordedPrice, excursion

BEGIN = datetime(2026, 2, 7, 10, 0, tzinfo=UTC)
LONG, SHORT = "LONG", "SHORT"


def minutes(count: float) -> datetime:
    return BEGIN + timedelta(minutes=count)


def entry(at: float, price: str, size: str = "1", direction: Any = LONG) -> Execution:
    return Execution(
        symbol="BTC-USDT-SWAP",
        direction=direction,
        price=Decimal(price),
        size=Decimal(size),
        fee_usd=Decimal(0),
        pnl_usd=None,
        at=minutes(at),
    )


def leave(at: float, price: str, size: str = "1", direction: Any = LONG) -> Execution:
    return Execution(
        symbol="BTC-USDT-SWAP",
        direction=direction,
        price=Decimal(price),
        size=Decimal(size),
        fee_usd=Decimal(0),
        pnl_usd=Decimal(0),
        at=minutes(at),
    )


def recorded(*prices: tuple[float, str]) -> list[RecordedPrice]:
    return [RecordedPrice(minutes(at), Decimal(price)) for at, price in prices]


def of(executions: list[Execution], prices: list[RecordedPrice], **changes: Any) -> Excursion:
    values: dict[str, Any] = {"stop_loss": Decimal(98), "longest_gap": timedelta(minutes=10)}
    return excursion(executions, prices, **{**values, **changes})


def test_a_long_trade_by_hand() -> None:
    found = of([entry(0, "100"), leave(15, "102")], recorded((5, "99"), (10, "103")))
    assert (found.adverse.value, found.favourable.value) == (Decimal("-0.01"), Decimal("0.03"))
    assert (found.adverse_r.value, found.favourable_r.value) == (Decimal("-0.5"), Decimal("1.5"))
    assert (found.adverse_at, found.favourable_at) == (minutes(5), minutes(10))
    assert (found.risk.value, found.recorded) == (Decimal("0.02"), 2)


def test_a_short_trade_is_the_mirror_image() -> None:
    executions = [entry(0, "100", direction=SHORT), leave(15, "98", direction=SHORT)]
    found = of(executions, recorded((5, "101"), (10, "97")), stop_loss=Decimal(102))
    assert (found.adverse.value, found.favourable.value) == (Decimal("-0.01"), Decimal("0.03"))
    assert (found.adverse_r.value, found.favourable_r.value) == (Decimal("-0.5"), Decimal("1.5"))


def test_entry_and_exit_are_prices_too() -> None:
    stopped = of([entry(0, "100"), leave(8, "97.5")], recorded((4, "100.5")))
    assert (stopped.adverse.value, stopped.adverse_at) == (Decimal("-0.025"), minutes(8))
    rising = of([entry(0, "100"), leave(8, "101")], recorded((4, "100.5")))
    assert (rising.adverse.value, rising.adverse_at) == (0, minutes(0))


def test_prices_before_the_entry_and_after_the_exit_do_not_count() -> None:
    found = of([entry(0, "100"), leave(8, "101")], recorded((-1, "50"), (4, "100.5"), (8.1, "200")))
    assert (found.adverse.value, found.favourable.value, found.recorded) == (0, Decimal("0.01"), 1)


def test_an_addition_changes_the_average_from_its_own_moment_on() -> None:
    """100 once, 110 once more: an average of 105. No price was ever below the average of its own time but 104."""
    executions = [entry(0, "100"), entry(10, "110"), leave(20, "104", "2")]
    found = of(executions, recorded((5, "102"), (15, "106")))
    assert found.favourable.value == Decimal("0.1")
    assert found.favourable_at == minutes(10)
    assert found.adverse.value == Decimal(-1) / Decimal(105)
    assert found.adverse_r.value == Decimal("-0.5")
    assert found.favourable_r.value == 5


def test_an_addition_at_a_worse_price_is_adverse_against_the_average_before_it() -> None:
    executions = [entry(0, "100"), entry(10, "99"), leave(15, "100", "2")]
    assert of(executions, recorded((5, "100"))).adverse.value == Decimal("-0.01")


def test_a_reduction_leaves_the_average_as_it_is() -> None:
    executions = [entry(0, "100", "2"), leave(5, "104", "1"), leave(10, "99", "1")]
    found = of(executions, [])
    assert (found.adverse.value, found.favourable.value) == (Decimal("-0.01"), Decimal("0.04"))


def test_a_stretch_without_prices_leaves_no_figure_but_the_reason() -> None:
    found = of([entry(0, "100"), leave(30, "101")], recorded((5, "99"), (25, "101")))
    reason = "no price was recorded from 2026-02-07 10:05:00 to 2026-02-07 10:25:00"
    for figure in (found.adverse, found.favourable, found.adverse_r, found.favourable_r, found.risk):
        assert (figure.value, figure.reason) == (None, reason)


def test_a_trade_shorter_than_the_longest_gap_is_known_from_its_executions() -> None:
    found = of([entry(0, "100"), leave(10, "101")], [])
    assert (found.favourable.value, found.recorded) == (Decimal("0.01"), 0)
    assert of([entry(0, "100"), leave(10.1, "101")], []).favourable.value is None


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (None, "it was opened without a stop"),
        (Decimal(100), "its stop at 100 was not behind its entry at 100"),
        (Decimal(101), "its stop at 101 was not behind its entry at 100"),
    ],
)
def test_without_a_stop_behind_the_entry_there_is_no_r(stop: Decimal | None, reason: str) -> None:
    found = of([entry(0, "100"), leave(5, "99")], [], stop_loss=stop)
    assert found.adverse.value == Decimal("-0.01")
    assert (found.adverse_r.value, found.adverse_r.reason) == (None, reason)
    assert (found.risk.value, found.risk.reason) == (None, reason)


@pytest.mark.parametrize(
    ("executions", "reason"),
    [
        ([], "first entry"),
        ([leave(0, "100")], "first entry"),
        ([entry(0, "100")], "last exit"),
        ([entry(0, "100"), leave(5, "101", "2")], "what left it is not what was entered"),
        ([entry(0, "100", "2"), leave(5, "101", "1")], "what left it is not what was entered"),
        ([entry(0, "100"), leave(5, "101"), leave(6, "101")], "more left it"),
    ],
)
def test_a_record_that_is_not_whole_is_told_as_that(executions: list[Execution], reason: str) -> None:
    found = of(executions, [])
    assert found.adverse.value is None
    assert reason in found.adverse.reason


prices = st.lists(st.integers(1, 10_000), max_size=12)


@given(prices, st.integers(1, 10_000), st.sampled_from([LONG, SHORT]), st.randoms())
def test_it_spans_zero_and_the_exit_and_does_not_depend_on_order(
    values: list[int], left_at: int, direction: Literal["LONG", "SHORT"], random: Any
) -> None:
    executions = [entry(0, "100", direction=direction), leave(13, str(left_at), direction=direction)]
    known = recorded(*((place + 1, str(value)) for place, value in enumerate(values)))
    found = of(executions, known, longest_gap=timedelta(hours=1))
    assert found.adverse.value is not None
    assert found.favourable.value is not None
    side = 1 if direction == LONG else -1
    result = side * (Decimal(left_at) - 100) / 100
    assert found.adverse.value <= min(0, result) <= max(0, result) <= found.favourable.value
    random.shuffle(known)
    assert of(executions[::-1], known, longest_gap=timedelta(hours=1)) == found
