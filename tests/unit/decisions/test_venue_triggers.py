"""Stops, targets and liquidation inside a bar. The position is 10 contracts, 0.1 coin, entered at 20,000."""

import pytest

from decisions.messages import TradeFill
from tests.unit.decisions.venue_scene import BAR, D, Scene, quote

Prices = tuple[float, float, float, float]


def _opened(action: str = "OPEN_LONG", *, slippage: object = 0, **changes: object) -> Scene:
    scene = Scene(slippage=0)
    scene.send(action, 10, **changes)
    scene.account.terms = type(scene.account.terms)(slippage=D(slippage))
    return scene


def _exit(scene: Scene, bar: Prices) -> TradeFill:
    (fill,) = scene.bar(*bar)
    assert isinstance(fill, TradeFill)
    assert (fill.decision_id, fill.client_order_id, fill.intent, fill.status) == (None, None, "close", "filled")
    assert fill.algo_id is not None
    assert scene.account.state.positions == {}
    return fill


@pytest.mark.parametrize(
    ("action", "bar", "reason", "price", "pnl"),
    [
        pytest.param("OPEN_LONG", (20000, 20100, 19400, 19600), "stop_loss", 19500, -50, id="long stop"),
        pytest.param("OPEN_LONG", (20000, 20100, 19500, 19600), "stop_loss", 19500, -50, id="long stop just touched"),
        pytest.param("OPEN_LONG", (20000, 21100, 19900, 21000), "take_profit", 21000, 100, id="long target"),
        pytest.param("OPEN_LONG", (20000, 21100, 19400, 20000), "stop_loss", 19500, -50, id="long both: the stop"),
        pytest.param("OPEN_LONG", (19000, 19200, 18900, 19100), "stop_loss", 19000, -100, id="long gap down"),
        pytest.param("OPEN_LONG", (21500, 21600, 21400, 21500), "take_profit", 21500, 150, id="long gap up"),
        pytest.param("OPEN_LONG", (21500, 21600, 19000, 19000), "take_profit", 21500, 150, id="long gap up first"),
        pytest.param("OPEN_SHORT", (20000, 20600, 19900, 20400), "stop_loss", 20500, -50, id="short stop"),
        pytest.param("OPEN_SHORT", (20000, 20100, 18900, 19000), "take_profit", 19000, 100, id="short target"),
        pytest.param("OPEN_SHORT", (20000, 20600, 18900, 20000), "stop_loss", 20500, -50, id="short both: the stop"),
        pytest.param("OPEN_SHORT", (21000, 21100, 20900, 21000), "stop_loss", 21000, -100, id="short gap up"),
        pytest.param("OPEN_SHORT", (18500, 18600, 18400, 18500), "take_profit", 18500, 150, id="short gap down"),
    ],
)
def test_a_bar_meets_stop_and_target(action: str, bar: Prices, reason: str, price: int, pnl: int) -> None:
    levels = (19500, 21000) if action == "OPEN_LONG" else (20500, 19000)
    scene = _opened(action, stop_loss=levels[0], take_profit=levels[1])
    fill = _exit(scene, bar)
    assert (fill.exit_reason, fill.fill_price, fill.pnl_usd) == (reason, D(price), D(pnl))
    assert fill.fee_usd == D(price) * D("0.1") * D("0.0005")
    assert fill.filled_at == scene.now


def test_a_bar_between_stop_and_target_exits_nothing() -> None:
    scene = _opened(stop_loss=19500, take_profit=21000)
    assert scene.bar(20000, "20999.9", "19500.1", 20000) == []


@pytest.mark.parametrize(
    ("action", "stop", "bar", "price"),
    [
        # 19,500 x 0.9998 = 19,496.1; a gap: 19,000 x 0.9998 = 18,996.2
        ("OPEN_LONG", 19500, (20000, 20000, 19400, 19600), "19496.1"),
        ("OPEN_LONG", 19500, (19000, 19200, 18900, 19100), "18996.2"),
        # 20,500 x 1.0002 = 20,504.1; a gap: 21,000 x 1.0002 = 21,004.2
        ("OPEN_SHORT", 20500, (20000, 20600, 20000, 20400), "20504.1"),
        ("OPEN_SHORT", 20500, (21000, 21100, 20900, 21000), "21004.2"),
    ],
)
def test_a_stop_is_a_market_order_and_slips(action: str, stop: int, bar: Prices, price: str) -> None:
    assert _exit(_opened(action, stop_loss=stop, slippage="0.0002"), bar).fill_price == D(price)


def test_a_target_does_not_slip() -> None:
    fill = _exit(_opened(take_profit=21000, slippage="0.0002"), (20000, 21100, 20000, 21000))
    assert fill.fill_price == D(21000)


def test_a_position_opened_at_a_bars_close_is_not_exposed_to_that_bar() -> None:
    scene = Scene()
    scene.bar(20000, 23000, 17000, 20000)
    scene.send("OPEN_LONG", 10, stop_loss=19500, take_profit=21000)
    assert scene.account.state.positions != {}
    assert scene.bar(20000, 20100, 19900, 20000) == []


def test_liquidation_comes_at_its_price_without_a_stop() -> None:
    # 10x long: liquidated at 18,072.3 (see the liquidation price); P&L (18,072.3 - 20,000) x 0.1
    fill = _exit(_opened(leverage=10), (20000, 20000, 18000, 18500))
    assert (fill.exit_reason, fill.fill_price, fill.pnl_usd) == ("liquidation", D("18072.3"), D("-192.77"))
    assert fill.fee_usd == D("0.9036")  # 0.1 x 18,072.3 x 0.0005 = 0.903615
    short = _exit(_opened("OPEN_SHORT", leverage=10), (20000, 22000, 20000, 21000))
    assert (short.exit_reason, short.fill_price) == ("liquidation", D("21912.3"))


def test_a_gap_through_the_liquidation_price_is_filled_at_the_open_and_may_cost_more_than_the_margin() -> None:
    scene = _opened(leverage=10)
    fill = _exit(scene, (17000, 17500, 16900, 17400))
    assert (fill.exit_reason, fill.fill_price, fill.pnl_usd) == ("liquidation", D(17000), D(-300))


@pytest.mark.parametrize(
    ("stop", "reason", "price"), [(19000, "stop_loss", 19000), (17000, "liquidation", D("18072.3"))]
)
def test_of_stop_and_liquidation_the_nearer_one_comes_first(stop: int, reason: str, price: object) -> None:
    fill = _exit(_opened(leverage=10, stop_loss=stop), (20000, 20000, 16000, 16500))
    assert (fill.exit_reason, fill.fill_price) == (reason, price)


def test_an_add_replaces_stop_and_target_and_keeps_what_it_does_not_bring() -> None:
    scene = _opened(stop_loss=19000, take_profit=22000)
    first = scene.account.state.positions["BTC-USDT-SWAP"].algo_id
    fill = scene.fill("ADD", 5, stop_loss=19500)
    (position,) = scene.account.position_update(scene.now).positions
    assert (position.stop_loss, position.take_profit) == (D(19500), D(22000))
    assert fill.stop_confirmed is True
    assert fill.algo_id not in (None, first)
    scene.fill("ADD", 1)
    (position,) = scene.account.position_update(scene.now).positions
    assert (position.stop_loss, position.take_profit) == (D(19500), D(22000))


def test_a_reduce_keeps_stop_and_target() -> None:
    scene = _opened(stop_loss=19000, take_profit=22000)
    scene.send("REDUCE", 5, stop_loss=19900, take_profit=20100)
    (position,) = scene.account.position_update(scene.now).positions
    assert (position.size, position.stop_loss, position.take_profit) == (D(5), D(19000), D(22000))


def test_a_fill_without_a_stop_says_so() -> None:
    assert Scene().fill("OPEN_LONG").stop_confirmed is False


def test_an_entry_inside_the_bar_can_be_stopped_in_it_but_does_not_reach_its_target() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900, stop_loss=19500, take_profit=20500)
    entered, stopped = scene.bar(20000, 20600, 19400, 20000)
    assert isinstance(entered, TradeFill)
    assert isinstance(stopped, TradeFill)
    assert (entered.fill_price, stopped.fill_price, stopped.pnl_usd) == (D(19900), D(19500), D(-40))

    scene = Scene()
    scene.send("OPEN_LONG", 10, limit_price=19900, stop_loss=19500, take_profit=20500)
    (entered,) = scene.bar(20000, 20600, 19600, 20550)
    (target,) = scene.bar(20550, 20600, 20500, 20550)
    assert isinstance(target, TradeFill)
    assert (target.exit_reason, target.fill_price) == ("take_profit", D(20550))


def test_an_add_that_rests_before_the_stop_is_filled_and_stopped_with_the_position() -> None:
    scene = _opened(stop_loss=19000)
    scene.send("ADD", 5, limit_price=19500)
    added, stopped = scene.bar(20000, 20000, 18900, 19100)
    assert isinstance(added, TradeFill)
    assert isinstance(stopped, TradeFill)
    assert (added.intent, added.fill_price) == ("add", D(19500))
    # Cost 2,000 + 975; 0.15 coin sold at 19,000 bring 2,850.
    assert (stopped.fill_size, stopped.pnl_usd) == (D(15), D(-125))


def test_a_resting_exit_nearer_than_the_target_is_filled_first() -> None:
    scene = _opened(take_profit=21000)
    scene.send("REDUCE", 4, limit_price=20500)
    reduced, target = scene.bar(20000, 21100, 20000, 21000)
    assert isinstance(reduced, TradeFill)
    assert isinstance(target, TradeFill)
    assert (reduced.fill_price, reduced.fill_size) == (D(20500), D(4))
    assert (target.exit_reason, target.fill_size, target.pnl_usd) == ("take_profit", D(6), D(60))


def test_a_bar_that_is_not_newer_is_ignored() -> None:
    scene = _opened(stop_loss=19500)
    scene.bar(20000, 20000, 20000, 20000)
    before = scene.account.to_state()
    scene.now -= 2 * (scene.now - scene.account.state.positions["BTC-USDT-SWAP"].opened_at)
    assert scene.bar(19000, 19000, 19000, 19000) == []
    assert scene.account.to_state() == before


def test_without_bars_the_snapshots_price_meets_the_triggers() -> None:
    scene = _opened(stop_loss=19500)
    assert scene.account.on_bar(quote(scene.now + BAR, 19600)) == []
    (fill,) = scene.account.on_bar(quote(scene.now + 2 * BAR, 19400))
    assert isinstance(fill, TradeFill)
    assert (fill.exit_reason, fill.fill_price) == ("stop_loss", D(19400))
