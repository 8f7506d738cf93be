"""The record beside the venue's report: every way in which the two can differ about an instrument."""

from decimal import Decimal
from typing import get_args

import pytest

from decisions.differences import Difference, Direction, Holding, Kind, compare
from decisions.models import Discrepancy

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"


def held(direction: Direction, size: str, symbol: str = BTC) -> Holding:
    return Holding(symbol=symbol, direction=direction, size=Decimal(size))


NOTHING: list[Holding] = []
LONG_2, LONG_3, SHORT_2 = [held("LONG", "2")], [held("LONG", "3")], [held("SHORT", "2")]

CASES = [
    (NOTHING, NOTHING, None),
    (LONG_2, LONG_2, None),
    ([held("LONG", "2.00")], LONG_2, None),
    (SHORT_2, SHORT_2, None),
    (NOTHING, LONG_2, ("position_without_trade", "", "LONG 2")),
    (NOTHING, SHORT_2, ("position_without_trade", "", "SHORT 2")),
    (LONG_2, NOTHING, ("trade_without_position", "LONG 2", "")),
    (LONG_2, LONG_3, ("size", "LONG 2", "LONG 3")),
    (LONG_3, LONG_2, ("size", "LONG 3", "LONG 2")),
    (LONG_2, SHORT_2, ("direction", "LONG 2", "SHORT 2")),
    (LONG_3, SHORT_2, ("direction", "LONG 3", "SHORT 2")),
    (LONG_2, LONG_2 + SHORT_2, ("both_sides", "LONG 2", "LONG 2 and SHORT 2")),
    (NOTHING, SHORT_2 + LONG_3, ("both_sides", "", "SHORT 2 and LONG 3")),
]


@pytest.mark.parametrize(("ours", "theirs", "expected"), CASES)
def test_what_differs_about_an_instrument(
    ours: list[Holding], theirs: list[Holding], expected: tuple[Kind, str, str] | None
) -> None:
    found = [(each.kind, each.ours, each.theirs) for each in compare(ours, theirs)]
    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize(("ours", "theirs", "expected"), CASES)
def test_of_an_instrument_that_cannot_be_compared_nothing_is_said(
    ours: list[Holding], theirs: list[Holding], expected: object
) -> None:
    assert compare(ours, theirs, not_comparable={BTC}) == []


def test_each_instrument_is_compared_by_itself_in_the_order_of_the_symbols() -> None:
    found = compare([held("LONG", "2", ETH)], [held("LONG", "1", ETH), held("SHORT", "4")])
    assert found == [
        Difference(symbol=BTC, kind="position_without_trade", ours="", theirs="SHORT 4"),
        Difference(symbol=ETH, kind="size", ours="LONG 2", theirs="LONG 1"),
    ]
    only_eth = compare([held("LONG", "2", ETH)], [held("LONG", "1", ETH), held("SHORT", "4")], not_comparable={BTC})
    assert only_eth == found[1:]


def test_the_record_keeps_every_kind_of_difference() -> None:
    assert set(get_args(Kind)) == set(Discrepancy.Kind.values)
