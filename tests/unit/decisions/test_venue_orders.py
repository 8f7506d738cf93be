"""Which orders the venue takes, refuses, rests, cancels and lets expire."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from decisions.messages import TradeFill
from decisions.sandbox.venue import VenueAccount
from tests.unit.decisions.venue_scene import BAR, BTC, ETH, START, WALL, D, Scene, order, quote


def _rejected(scene: Scene, *arguments: Any, **changes: Any) -> str:
    before = scene.account.state.books.balance, dict(scene.account.state.positions)
    report = scene.fill(*arguments, **changes)
    assert report.status == "rejected"
    assert (scene.account.state.books.balance, dict(scene.account.state.positions)) == before
    assert report.fill_price is None
    assert report.cumulative_size == 0
    return report.reject_reason or ""


@pytest.mark.parametrize(
    ("action", "changes", "reason"),
    [
        ("OPEN_LONG", {"symbol": ETH}, "no price for ETH-USDT-SWAP"),
        ("OPEN_LONG", {"size": "0.015"}, "not a multiple of lot size 0.01"),
        ("OPEN_LONG", {"size": "0.001"}, "not a multiple of lot size"),
        ("OPEN_LONG", {"size": 60}, "insufficient margin"),
        ("OPEN_LONG", {"leverage": 101}, "leverage 101 is not between 1 and 100"),
        ("OPEN_LONG", {"leverage": "0.5"}, "leverage 0.5"),
        ("OPEN_LONG", {"side": "sell"}, "cannot be a sell"),
        ("OPEN_LONG", {"pos_side": "short"}, "OPEN_LONG with position side short"),
        ("OPEN_LONG", {"reduce_only": True}, "reduce_only true does not fit OPEN_LONG"),
        ("OPEN_LONG", {"stop_loss": 20000}, "stop_loss 20000 is not below 20000"),
        ("OPEN_LONG", {"take_profit": 19000}, "take_profit 19000 is not above 20000"),
        ("OPEN_SHORT", {"stop_loss": 19000}, "stop_loss 19000 is not above 20000"),
        ("OPEN_SHORT", {"take_profit": 21000}, "take_profit 21000 is not below 20000"),
        ("OPEN_LONG", {"stop_loss": "19000.05"}, "not a multiple of tick size 0.1"),
        ("OPEN_LONG", {"limit_price": "19000.05"}, "not a multiple of tick size 0.1"),
        ("OPEN_LONG", {"limit_price": "20000.1"}, "post only: buy limit 20000.1 would take the ask"),
        ("OPEN_SHORT", {"limit_price": "19999.9"}, "post only: sell limit 19999.9 would take the bid"),
        ("OPEN_LONG", {"order_type": "limit", "expires_at": START + BAR}, "limit order without a limit price"),
        ("ADD", {}, "no position to add to"),
        ("CLOSE", {}, "nothing to reduce"),
        ("REDUCE", {"reduce_only": False}, "reduce_only false does not fit REDUCE"),
    ],
)
def test_a_bad_order_is_rejected_with_its_reason_and_changes_nothing(
    action: str, changes: dict[str, Any], reason: str
) -> None:
    changes = dict(changes)
    assert reason in _rejected(Scene(), action, changes.pop("size", 10), **changes)


@pytest.mark.parametrize(
    ("action", "changes", "reason"),
    [
        ("OPEN_LONG", {}, "a long position is open"),
        ("OPEN_SHORT", {}, "a long position is open"),
        ("ADD", {"pos_side": "short"}, "the open position is long, not short"),
        ("CLOSE", {"pos_side": "short"}, "the open position is long, not short"),
        ("REDUCE", {"size": "0.005"}, "not a multiple of lot size"),
    ],
)
def test_an_order_that_does_not_fit_the_open_position_is_rejected(
    action: str, changes: dict[str, Any], reason: str
) -> None:
    scene, changes = Scene(), dict(changes)
    scene.send("OPEN_LONG", 10)
    assert reason in _rejected(scene, action, changes.pop("size", 1), **changes)


def test_a_second_opening_order_beside_a_resting_one_is_rejected() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 1, limit_price=19900)
    assert "an opening order rests already" in _rejected(scene, "OPEN_SHORT", 1)


def test_closing_the_whole_position_is_exempt_from_lot_and_minimum_size() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", "0.01")
    coarse = quote(scene.now + BAR, 20000)
    specification = coarse.instrument.model_copy(update={"lot_size": D(1), "min_size": D(1)})
    scene.account.on_bar(replace(coarse, instrument=specification))
    assert scene.fill("CLOSE", "0.01").status == "filled"


def test_the_margin_kept_for_resting_entries_is_not_available_twice() -> None:
    scene = Scene()
    # 40 contracts at 19,900 keep 7,960 of the 10,000.
    assert scene.fill("OPEN_LONG", 40, limit_price=19900).status == "accepted"
    scene.account.on_bar(quote(scene.now, 20000, ETH))
    assert "insufficient margin" in _rejected(scene, "OPEN_LONG", 11, symbol=ETH)
    scene.cancel("order1")
    assert scene.fill("OPEN_LONG", 11, symbol=ETH).status == "filled"


def test_a_market_order_expires_by_the_wall_clock() -> None:
    report = Scene().fill("OPEN_LONG", expires_at=WALL)
    assert report.status == "expired"
    assert "wall time" in (report.reject_reason or "")
    assert Scene().fill("OPEN_LONG", expires_at=WALL + timedelta(microseconds=1)).status == "filled"


def test_a_limit_order_expires_by_market_time() -> None:
    late = Scene().fill("OPEN_LONG", limit_price=19900, expires_at=START)
    assert late.status == "expired"
    assert "market time" in (late.reject_reason or "")

    scene = Scene()
    scene.send("OPEN_LONG", limit_price=19900, expires_at=START + 2 * BAR)
    assert scene.bar(20000, 20000, 19950, 20000) == []
    (report,) = scene.bar(20000, 20000, 19950, 20000)
    assert isinstance(report, TradeFill)
    assert (report.status, report.cumulative_size, report.filled_at) == ("expired", D(0), START + 2 * BAR)
    assert scene.account.position_update(scene.now).open_orders == ()


def test_a_resting_order_fills_as_maker_at_its_limit_when_the_bar_trades_through() -> None:
    scene = Scene(slippage="0.0002")
    accepted = scene.fill("OPEN_LONG", 10, limit_price=19900, stop_loss=19000)
    (resting,) = scene.account.position_update(scene.now).open_orders
    assert (accepted.status, accepted.order_id) == ("accepted", resting.order_id)
    assert (resting.size, resting.filled_size, resting.limit_price) == (D(10), D(0), D(19900))
    assert scene.bar(20000, 20000, 19900, 20000) == []  # touched, not traded through
    (fill,) = scene.bar(20000, 20000, "19899.9", 19950)
    assert isinstance(fill, TradeFill)
    # 0.1 coin x 19,900 x 0.0002
    assert (fill.status, fill.fill_price, fill.fee_usd) == ("filled", D(19900), D("0.3980"))
    assert (fill.order_id, fill.stop_confirmed) == (accepted.order_id, True)


@pytest.mark.parametrize(
    ("action", "limit", "bar", "price"),
    [
        ("OPEN_LONG", 19900, (19800, 19850, 19700, 19850), 19800),
        ("OPEN_SHORT", 20100, (20200, 20300, 20150, 20150), 20200),
    ],
)
def test_a_gap_through_a_limit_fills_at_the_better_open(
    action: str, limit: int, bar: tuple[int, int, int, int], price: int
) -> None:
    scene = Scene()
    scene.send(action, 10, limit_price=limit)
    (fill,) = scene.bar(*bar)
    assert isinstance(fill, TradeFill)
    assert fill.fill_price == price


def test_a_resting_order_gets_at_most_a_tenth_of_the_bars_volume() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900)
    # 0.4567 coin are 45.67 contracts, a tenth of them 4.56 whole lots.
    (first,) = scene.bar(20000, 20000, 19800, 19900, volume="0.4567")
    (order_left,) = scene.account.position_update(scene.now).open_orders
    (second,) = scene.bar(19900, 20000, 19800, 19900, volume="1000")
    assert isinstance(first, TradeFill)
    assert isinstance(second, TradeFill)
    assert (first.status, first.fill_size, first.cumulative_size) == ("partially_filled", D("4.56"), D("4.56"))
    assert order_left.filled_size == D("4.56")
    assert (second.status, second.fill_size, second.cumulative_size) == ("filled", D("5.44"), D(10))
    assert second.intent == "open"


def test_a_bar_without_volume_fills_nothing_and_one_of_unknown_volume_fills_all() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900)
    assert scene.bar(20000, 20000, 19800, 19900, volume=0) == []
    (fill,) = scene.bar(20000, 20000, 19800, 19900, volume=None)
    assert isinstance(fill, TradeFill)
    assert fill.status == "filled"


def test_a_cancel_ends_a_resting_order_and_reports_what_had_filled() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900)
    scene.bar(20000, 20000, 19800, 19900, volume="0.1")
    assert scene.cancel("order1", symbol=ETH) == []
    (report,) = scene.cancel("order1")
    assert isinstance(report, TradeFill)
    assert (report.status, report.cumulative_size, report.reject_reason) == ("cancelled", D(1), "test")
    assert scene.cancel("order1") == []
    assert scene.cancel("unknown") == []


def test_a_resting_exit_reduces_as_maker() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10)
    scene.send("REDUCE", 4, limit_price=20500)
    (fill,) = scene.bar(20000, 20600, 20000, 20400)
    assert isinstance(fill, TradeFill)
    assert (fill.intent, fill.fill_price, fill.pnl_usd, fill.exit_reason) == ("reduce", D(20500), D(20), "signal")
    assert fill.fee_usd == D("0.1640")


def test_what_presupposes_a_position_is_cancelled_when_it_is_gone() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10)
    scene.send("ADD", 5, limit_price=19500)
    scene.send("REDUCE", 5, limit_price=20500)
    reports = scene.send("CLOSE", 10)
    assert [(report.client_order_id, report.status) for report in reports if isinstance(report, TradeFill)] == [
        ("order4", "filled"),
        ("order2", "cancelled"),
        ("order3", "cancelled"),
    ]


def test_the_rest_of_an_opening_order_goes_with_its_stopped_position() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900, stop_loss=19000)
    scene.bar(20000, 20000, 19800, 19900, volume="0.1")
    stopped, cancelled = scene.bar(18900, 18950, 18800, 18900)
    assert isinstance(stopped, TradeFill)
    assert isinstance(cancelled, TradeFill)
    assert (stopped.exit_reason, stopped.fill_size) == ("stop_loss", D(1))
    assert (cancelled.status, cancelled.cumulative_size) == ("cancelled", D(1))
    assert scene.account.state.resting == {}


def test_a_repeated_client_order_id_has_no_effect_and_no_answer() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, client_order_id="same")
    before = scene.account.to_state()
    assert scene.send("OPEN_LONG", 10, client_order_id="same") == []
    assert scene.send("CLOSE", 3, client_order_id="same") == []
    assert scene.account.to_state() == before


def test_an_order_before_any_price_is_rejected_at_wall_time() -> None:
    account = VenueAccount.opened(account_id="test", start_equity=D(100))
    (report,) = account.on_order(order(), wall_now=WALL)
    assert isinstance(report, TradeFill)
    assert (report.status, report.filled_at) == ("rejected", WALL)


def test_identifiers_are_counted_and_carry_the_account() -> None:
    scene = Scene()
    fill = scene.fill("OPEN_LONG", stop_loss=19000)
    assert (fill.order_id, fill.algo_id, fill.fill_id) == ("test-order-1", "test-algo-2", "test-fill-3")
    assert scene.account.position_update(scene.now).positions[0].symbol == BTC
