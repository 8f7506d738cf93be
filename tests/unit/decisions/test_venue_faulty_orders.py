"""Orders that go wrong by the fault plan: refused, filled in parts, without the stop they should have."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from decisions.messages import FundingPayment, TradeFill
from decisions.sandbox.venue import FaultPlan, VenueAccount
from tests.unit.decisions.venue_scene import BTC, WALL, D, Scene

LATE = {"late_stop": {"share": 1, "seconds": 5}}


def _scene(**plan: Any) -> Scene:
    scene = Scene()
    scene.account.faults = FaultPlan.model_validate(plan)
    return scene


def _executions(reports: list[TradeFill | FundingPayment]) -> list[TradeFill]:
    return [report for report in reports if isinstance(report, TradeFill) and report.executed]


def _in_parts(count: int, cancel_rest: float = 0) -> Scene:
    """A scene whose first order is filled in so many parts."""
    for seed in range(100):
        plan = FaultPlan.model_validate({"seed": seed, "partial_fill": {"share": 1, "cancel_rest": cancel_rest}})
        if plan.parts_of("order-1") == count:
            return _scene(**plan.model_dump(include={"seed", "partial_fill"}))
    raise AssertionError("no seed splits the first order so")


def _shown_stop(scene: Scene) -> Decimal | None:
    return scene.account.position_update(scene.now).positions[0].stop_loss


def test_a_refused_order_has_a_notice_and_no_effect() -> None:
    scene = _scene(reject=1)
    fill = scene.fill("OPEN_LONG", 10, stop_loss=19000)
    assert (fill.status, fill.reject_reason) == ("rejected", "refused by the fault plan")
    assert scene.account.state.positions == {}
    assert scene.account.equity == D(10000)
    assert scene.send("OPEN_LONG", 10, client_order_id="order1") == []


@pytest.mark.parametrize("count", [2, 3])
def test_a_market_order_fills_in_parts_that_make_the_whole(count: int) -> None:
    scene = _in_parts(count)
    fills = _executions(scene.send("OPEN_LONG", "10.01", stop_loss=19000))
    assert len(fills) == count == len({fill.fill_id for fill in fills})
    assert [fill.status for fill in fills] == ["partially_filled"] * (count - 1) + ["filled"]
    assert [fill.cumulative_size for fill in fills] == [
        sum((fill.fill_size or D(0) for fill in fills[: number + 1]), D(0)) for number in range(count)
    ]
    assert fills[-1].cumulative_size == scene.account.state.positions[BTC].size == D("10.01")
    assert all(fill.fill_size is not None and fill.fill_size % D("0.01") == 0 for fill in fills)
    assert [fill.fill_price for fill in fills] == [D(20000) + number * D("0.1") for number in range(count)]
    assert all(fill.stop_confirmed for fill in fills)
    assert scene.account.state.resting == {}


def test_parts_cost_what_they_say_and_the_position_their_sum() -> None:
    scene = _in_parts(2)
    first, second = _executions(scene.send("OPEN_LONG", 10))
    # 5 contracts of 0.01 coin: 0.05 coin at 20,000 and at 20,000.1; fee 0.05 %.
    assert (first.fee_usd, second.fee_usd) == (D("0.5"), D("0.5"))
    position = scene.account.state.positions[BTC]
    assert (position.cost, position.entry_price) == (D("2000.005"), D("20000.05"))


def test_the_rest_that_nobody_took_is_cancelled() -> None:
    scene = _in_parts(3, cancel_rest=1)
    reports = scene.send("OPEN_LONG", 9)
    *fills, cancelled = reports
    assert [fill.status for fill in fills if isinstance(fill, TradeFill)] == ["partially_filled"] * 2
    assert isinstance(cancelled, TradeFill)
    assert (cancelled.status, cancelled.cumulative_size) == ("cancelled", D(6))
    assert scene.account.state.positions[BTC].size == D(6)
    assert scene.account.state.resting == {}


def test_a_close_in_parts_reduces_and_then_closes_and_takes_the_orphans_along() -> None:
    scene = Scene()
    scene.fill("OPEN_LONG", 9)
    scene.send("ADD", 1, limit_price=19000)
    scene.account.faults = FaultPlan.model_validate({"partial_fill": 1})
    *fills, orphan = scene.send("CLOSE", 9)
    intents = [fill.intent for fill in fills if isinstance(fill, TradeFill)]
    assert intents == ["reduce"] * (len(fills) - 1) + ["close"]
    assert isinstance(orphan, TradeFill)
    assert (orphan.client_order_id, orphan.status) == ("order2", "cancelled")


def test_what_cannot_be_divided_is_filled_whole() -> None:
    fill = _in_parts(3).fill("OPEN_LONG", "0.02")
    assert (fill.status, fill.fill_size) == ("filled", D("0.02"))


def test_limit_orders_rest_whole() -> None:
    assert _in_parts(2).fill(limit_price=19000).status == "accepted"


# --- stops --------------------------------------------------------------------------------------------------------


def test_a_late_stop_is_not_confirmed_not_shown_and_does_not_trigger() -> None:
    scene = _scene(**LATE)
    fill = scene.fill("OPEN_LONG", 10, stop_loss=19000, take_profit=21000)
    assert fill.stop_confirmed is False
    assert _shown_stop(scene) is None
    assert scene.account.state.positions[BTC].take_profit == D(21000)
    assert scene.bar(20000, 20000, 18000, 18500) == []
    scene.account.place_late_stops(WALL)  # its time begins when the clock is first looked at
    assert not scene.account.place_late_stops(WALL + timedelta(seconds=4.9))
    assert scene.account.place_late_stops(WALL + timedelta(seconds=5))
    assert _shown_stop(scene) == D(19000)
    (stopped,) = scene.bar(18500, 18500, 18400, 18400)
    assert isinstance(stopped, TradeFill)
    assert (stopped.exit_reason, stopped.fill_price) == ("stop_loss", D(18500))


def test_a_clock_set_back_does_not_keep_a_stop_away() -> None:
    scene = _scene(**LATE)
    scene.fill("OPEN_LONG", 10, stop_loss=19000)
    scene.account.place_late_stops(WALL)
    assert scene.account.place_late_stops(WALL - timedelta(hours=1))


def test_a_stop_that_never_comes_stays_away_until_the_position_is_gone() -> None:
    scene = _scene(no_stop=1)
    scene.fill("OPEN_LONG", 10, stop_loss=19000)
    for hours in range(3):
        assert not scene.account.place_late_stops(WALL + timedelta(hours=hours))
    assert _shown_stop(scene) is None
    scene.fill("CLOSE", 10)
    assert scene.account.state.late_stops == {}


def test_the_stop_of_a_limit_order_is_late_from_its_first_fill() -> None:
    scene = _scene(**LATE)
    scene.fill("OPEN_LONG", 10, limit_price=19500, stop_loss=19000)
    scene.account.place_late_stops(WALL)
    (fill,) = scene.bar(20000, 20000, 18900, 19600)  # the same bar would have met the stop
    assert isinstance(fill, TradeFill)
    assert (fill.intent, fill.stop_confirmed) == ("open", False)
    assert not scene.account.place_late_stops(WALL + timedelta(hours=1))
    assert scene.account.place_late_stops(WALL + timedelta(hours=1, seconds=5))


def test_the_former_stop_holds_until_the_addition_brings_its_own() -> None:
    scene = Scene()
    scene.fill("OPEN_LONG", 10, stop_loss=19000)
    scene.account.faults = FaultPlan.model_validate(LATE)
    assert scene.fill("ADD", 1, stop_loss=19500).stop_confirmed is False
    assert _shown_stop(scene) == D(19000)
    scene.account.faults = FaultPlan()
    assert scene.fill("ADD", 1, stop_loss=19600).stop_confirmed is True
    assert (_shown_stop(scene), scene.account.state.late_stops) == (D(19600), {})


def test_a_late_stop_outlives_a_restart() -> None:
    scene = _scene(**LATE)
    scene.fill("OPEN_LONG", 10, stop_loss=19000)
    scene.account.place_late_stops(WALL)
    again = VenueAccount.from_state(json.loads(json.dumps(scene.account.to_state())))
    assert again.place_late_stops(WALL + timedelta(seconds=5))
    assert again.state.positions[BTC].stop_loss == D(19000)


def test_a_state_written_before_there_were_faults_is_read() -> None:
    scene = Scene()
    scene.fill("OPEN_LONG", 10, limit_price=19500)
    written = scene.account.to_state()
    del written["late_stops"], written["resting"]["order1"]["stop_after"]
    assert VenueAccount.from_state(written).to_state() == scene.account.to_state()
