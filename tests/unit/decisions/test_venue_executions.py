"""Market orders, positions and money, with figures worked out by hand.

10 contracts of 0.01 coin are 0.1 coin, so a price move of 100 is 10 USD.
"""

from decimal import Decimal, localcontext

import pytest

from decisions.messages import FundingPayment
from tests.unit.decisions.venue_scene import BTC, D, Scene


def test_a_market_buy_pays_the_price_plus_slippage_and_the_taker_fee() -> None:
    scene = Scene(slippage="0.0002")
    fill = scene.fill("OPEN_LONG", 10)
    # 20,000 x 1.0002 = 20,004; 0.1 coin cost 2,000.40 USD, of which 0.05 % is 1.0002.
    assert (fill.status, fill.intent, fill.side) == ("filled", "open", "buy")
    assert (fill.fill_price, fill.fill_size, fill.cumulative_size) == (D(20004), D(10), D(10))
    assert (fill.fee_usd, fill.pnl_usd) == (D("1.0002"), None)
    assert (fill.client_order_id, fill.decision_id, fill.filled_at) == ("order1", "decision", scene.now)
    assert scene.account.balance == D("9998.9998")
    assert scene.account.equity == D("9998.5998")  # the slippage of 4 on 0.1 coin is lost at once


def test_slippage_rounds_to_tick_against_the_taker() -> None:
    # 20,000.1 x 1.0002 = 20,004.10002 -> 20,004.2 up; x 0.9998 = 19,996.09998 -> 19,996.0 down
    assert Scene(price="20000.1", slippage="0.0002").fill("OPEN_LONG").fill_price == D("20004.2")
    assert Scene(price="20000.1", slippage="0.0002").fill("OPEN_SHORT").fill_price == D("19996.0")


@pytest.mark.parametrize(("action", "pos_side", "pnl"), [("OPEN_LONG", "long", "50"), ("OPEN_SHORT", "short", "-50")])
def test_a_close_realises_the_gross_pnl_and_pays_its_own_fee(action: str, pos_side: str, pnl: str) -> None:
    scene = Scene()
    scene.send(action, 10)
    scene.bar(20000, 20600, 19900, 20500)
    fill = scene.fill("CLOSE", 10, pos_side=pos_side)
    assert (fill.intent, fill.status, fill.exit_reason) == ("close", "filled", "signal")
    assert (fill.fill_price, fill.pnl_usd, fill.fee_usd) == (D(20500), D(pnl), D("1.025"))
    assert scene.books == (D(pnl), D("2.025"), D(0))
    assert scene.account.equity == scene.account.balance == D(10000) + D(pnl) - D("2.025")
    assert scene.account.position_update(scene.now).positions == ()


def test_an_add_averages_by_cost_and_a_reduce_takes_its_share() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, leverage=2)
    scene.bar(20000, 21000, 20000, 21000)
    added = scene.fill("ADD", 5, leverage=5)
    scene.bar(21000, 22000, 21000, 22000)
    reduced = scene.fill("REDUCE", 6)
    # Cost 2,000 + 1,050 = 3,050 for 15; 6 of 15 cost 1,220 and bring 0.06 x 22,000 = 1,320.
    assert (added.intent, added.pnl_usd) == ("add", None)
    assert (reduced.intent, reduced.pnl_usd, reduced.exit_reason) == ("reduce", D(100), "signal")
    (position,) = scene.account.position_update(scene.now).positions
    assert (position.size, position.notional_usd, position.unrealized_pnl) == (D(9), D(1980), D(150))
    assert position.entry_price == D("20333.33333333")
    assert (position.leverage, position.margin_usd) == (D(2), D(915))


def test_parts_of_an_uneven_cost_sum_to_the_whole() -> None:
    scene = Scene(price="20000.1")
    scene.send("OPEN_LONG", "0.07")
    pnl = sum(scene.fill("REDUCE", "0.01").pnl_usd or 0 for _ in range(6)) + (scene.fill("CLOSE", "0.01").pnl_usd or 0)
    assert pnl == 0
    assert scene.account.balance == D(10000) - scene.books[1]


def test_an_exit_is_clipped_to_what_there_is() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10)
    fill = scene.fill("REDUCE", 25)
    assert (fill.intent, fill.status, fill.fill_size, fill.cumulative_size) == ("close", "filled", D(10), D(10))


@pytest.mark.parametrize(("price", "fee"), [("21000", "0.0010"), ("23000", "0.0012")])
def test_each_cash_flow_is_booked_to_four_decimals_half_to_even(price: str, fee: str) -> None:
    # 0.0001 coin x 21,000 x 0.0005 = 0.00105; x 23,000: 0.00115. Both lie half way.
    booked = Scene(price=price).fill("OPEN_LONG", "0.01").fee_usd
    assert booked is not None
    assert (booked, booked.as_tuple().exponent) == (D(fee), -4)


@pytest.mark.parametrize(("action", "amount"), [("OPEN_LONG", "-0.21"), ("OPEN_SHORT", "0.21")])
def test_a_positive_rate_moves_funding_from_long_to_short_at_the_mark(action: str, amount: str) -> None:
    scene = Scene()
    scene.send(action, 10)
    reports = scene.bar(20000, 20600, 20000, 20500, funding="0.0001", mark=21000)
    # 0.1 coin x 21,000 x 0.0001
    (payment,) = reports
    assert isinstance(payment, FundingPayment)
    assert (payment.amount_usd, payment.rate, payment.paid_at) == (D(amount), D("0.0001"), scene.now)
    assert scene.books[2] == D(amount)
    assert scene.account.position_update(scene.now).recent_fills[-1] == payment


def test_no_position_no_funding() -> None:
    assert Scene().bar(20000, 20000, 20000, 20000, funding="0.0001") == []


def test_the_account_shows_margin_and_what_is_available() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, leverage=4, stop_loss=19000, take_profit=23000)
    scene.bar(20000, 20000, 19500, 19500)
    update = scene.account.position_update(scene.now)
    (position,) = update.positions
    assert (position.symbol, position.pos_side) == (BTC, "long")
    assert (position.entry_price, position.mark_price) == (D(20000), D(19500))
    assert (position.stop_loss, position.take_profit) == (D(19000), D(23000))
    assert (position.margin_usd, position.unrealized_pnl) == (D(500), D(-50))
    assert update.account.margin_used == D(500)
    assert update.account.available == D(9999) - D(500)
    assert update.account.equity == D(9949)
    assert update.as_of == scene.now


def test_recent_fills_are_those_of_the_last_day() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10)
    for _ in range(287):
        scene.bar(20000, 20000, 20000, 20000)
    assert len(scene.account.position_update(scene.now).recent_fills) == 1
    scene.bar(20000, 20000, 20000, 20000)
    assert scene.account.position_update(scene.now).recent_fills == ()


def test_a_position_without_leverage_cannot_be_liquidated_when_long() -> None:
    scene = Scene()
    scene.send("OPEN_LONG", 10, leverage=1)
    (position,) = scene.account.position_update(scene.now).positions
    assert position.liquidation_price is None


def test_the_liquidation_price_leaves_the_maintenance_margin() -> None:
    # Long at 20,000, 10x: (2,000 - 200) / (0.1 x 0.996) = 18,072.289... -> 18,072.3, towards the entry.
    # Short: (2,000 + 200) / (0.1 x 1.004) = 21,912.350... -> 21,912.3.
    for action, level in (("OPEN_LONG", "18072.3"), ("OPEN_SHORT", "21912.3")):
        scene = Scene()
        scene.send(action, 10, leverage=10)
        (position,) = scene.account.position_update(scene.now).positions
        assert position.liquidation_price == D(level)


def test_the_result_does_not_depend_on_the_callers_decimal_context() -> None:
    with localcontext() as narrow:
        narrow.prec = 6
        scene = Scene()
        scene.send("OPEN_LONG", "10.01")
        scene.bar(20000, 20000, "19999.9", "19999.9")
        narrowly = scene.account.equity
    scene = Scene()
    scene.send("OPEN_LONG", "10.01")
    scene.bar(20000, 20000, "19999.9", "19999.9")
    assert narrowly == scene.account.equity == D(10000) - D("1.0010") - Decimal("0.0100")
