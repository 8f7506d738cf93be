"""Shadow books: the same gate and bans as a real account's, a venue's terms, prices told once."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from reflection.shadow_book import ShadowBook
from reflection.shadow_state import BookState
from tests.unit.reflection.shadow_scene import (
    BTC,
    ETH,
    NOON,
    answered,
    ask,
    banning,
    later,
    limits,
    opened,
    snapshot,
)

# 4 % of 10,000 USD at 20,000: 2 contracts of 0.01 coin. Bought at 20,004, 0.02 % above.
ENTRY = Decimal("20004")
SIZE = Decimal(2)
ENTRY_FEE = Decimal("0.2000")  # 0.02 x 20,004 x 0.0005 = 0.20004, to 0.0001


def test_an_opening_is_filled_at_the_price_that_was_shown_less_the_slippage() -> None:
    book = opened()
    followed = ask(book, answered())
    (trade,) = followed.trades
    assert (followed.outcome, trade.direction, trade.size, trade.entry_price) == ("traded", "LONG", SIZE, ENTRY)
    assert (trade.fees, trade.stop_loss, trade.take_profit) == (ENTRY_FEE, Decimal("19800"), Decimal("20400"))
    assert (trade.plan.confidence, trade.plan.strategy, trade.plan.regime) == (
        Decimal("0.700"), "momentum_breakout", "trending_up",
    )  # fmt: skip
    assert book.state.venue.equity == Decimal(10000) - Decimal("0.2000") - Decimal("0.0800")


def test_a_stop_on_the_way_is_executed_at_its_level_less_the_slippage() -> None:
    book = opened()
    ask(book, answered())
    (trade,) = book.on_snapshot(snapshot("19700", minutes=5))
    exit_price = Decimal("19796.0")  # 19,800 x 0.9998 = 19,796.04, down to the tick
    fees = ENTRY_FEE + Decimal("0.1980")  # 0.02 x 19,796 x 0.0005 = 0.19796
    gross = (exit_price - ENTRY) * Decimal("0.02")
    assert (trade.exit_reason, trade.exit_price, trade.closed_at) == ("stop_loss", exit_price, later(5))
    assert (trade.gross_pnl, trade.fees, trade.pnl) == (gross, fees, gross - fees)
    assert book.symbols == set()


def test_a_target_on_the_way_is_executed_at_its_own_price_and_no_better() -> None:
    book = opened()
    ask(book, answered())
    (trade,) = book.on_snapshot(snapshot("20700", minutes=5))
    assert (trade.exit_reason, trade.exit_price) == ("take_profit", Decimal("20400"))
    assert trade.gross_pnl == (Decimal("20400") - ENTRY) * Decimal("0.02")


@pytest.mark.parametrize(("price", "reason"), [("20300", "stop_loss"), ("19500", "take_profit")])
def test_a_short_leaves_the_other_way(price: str, reason: str) -> None:
    book = opened()
    ask(book, answered("OPEN_SHORT", stop_loss="20200", take_profit="19600"))
    (trade,) = book.on_snapshot(snapshot(price, minutes=5))
    assert (trade.direction, trade.exit_reason) == ("SHORT", reason)
    assert (trade.pnl > 0) == (reason == "take_profit")


def test_an_addition_takes_no_position_beyond_the_largest_of_the_playbook() -> None:
    book = opened()
    ask(book, answered(size_pct="0.02"), regime="volatile")
    adding = answered("ADD", size_pct="0.03")
    added = ask(book, adding, regime="volatile", minutes=5, shown="LONG", cycle_number=2)
    (position,) = book.state.positions()
    assert added.outcome == "traded"
    assert Decimal(298) <= position.notional_usd <= Decimal(300)  # 3 % of 10,000 in a volatile market
    again = ask(book, adding, "20200", regime="volatile", minutes=10, shown="LONG", cycle_number=3)
    assert again.outcome == "playbook_blocked"
    assert again.reason.endswith("the playbook allows 3 % in a volatile market")


def test_a_shadow_trade_has_its_strategy_as_the_playbook_spells_it() -> None:
    (trade,) = ask(opened(), answered(strategy_used="Momentum Breakout")).trades
    assert trade.plan.strategy == "momentum_breakout"


def test_a_price_is_told_once() -> None:
    book = opened()
    ask(book, answered())
    book.on_snapshot(snapshot("19850", minutes=5))
    before = book.state.to_json()
    assert book.on_snapshot(snapshot("19000", minutes=5)) == ()
    assert book.on_snapshot(snapshot("19000", minutes=3)) == ()
    assert book.state.to_json() == before


def test_an_own_close_takes_the_whole_position_at_the_price_that_was_shown() -> None:
    book = opened()
    ask(book, answered())
    followed = ask(book, answered("CLOSE"), "20100", minutes=5, shown="LONG", cycle_number=2)
    (trade,) = followed.trades
    assert (followed.outcome, trade.exit_reason, trade.exit_price) == ("traded", "signal", Decimal("20095.9"))
    assert trade.closed_at == later(5)
    assert trade.plan.cycle_number == 1


def test_a_reduction_leaves_the_rest_with_its_stop_and_target() -> None:
    book = opened()
    ask(book, answered())
    (trade,) = ask(book, answered("REDUCE", size_pct="0.02"), minutes=5, shown="LONG", cycle_number=2).trades
    assert (trade.size, trade.open_size, trade.closed_at) == (SIZE, Decimal("1.01"), None)  # 2 % were 0.99 contracts
    (trade,) = book.on_snapshot(snapshot("20500", minutes=10))
    assert (trade.exit_reason, trade.open_size) == ("take_profit", 0)
    assert trade.exit_value == Decimal("0.0099") * Decimal("19996") + Decimal("0.0101") * Decimal("20400")


def test_an_addition_brings_its_own_stop_and_target() -> None:
    book = opened()
    ask(book, answered(size_pct="0.02"))
    adding = answered("ADD", size_pct="0.01", stop_loss="19900", take_profit="20500")
    (trade,) = ask(book, adding, "20100", minutes=5, shown="LONG", cycle_number=2).trades
    assert (trade.stop_loss, trade.take_profit, trade.plan.cycle_number) == (Decimal(19900), Decimal(20500), 1)
    (trade,) = book.on_snapshot(snapshot("19890", minutes=10))
    assert trade.exit_reason == "stop_loss"


def test_funding_is_settled_when_the_announced_moment_has_passed() -> None:
    book = opened()
    ask(book, answered())
    book.on_snapshot(snapshot("20000", minutes=235))
    after = snapshot("20000", minutes=245, next_funding_at=NOON + timedelta(hours=12))
    (trade,) = book.on_snapshot(after)
    assert trade.funding == Decimal("-0.0400")  # a long pays 0.02 x 20,000 x 0.0001
    assert book.on_snapshot(snapshot("20000", minutes=250, next_funding_at=NOON + timedelta(hours=12))) == ()
    assert book.state.trades[BTC].pnl == -ENTRY_FEE - Decimal("0.0400")


# --- what is not followed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["CLOSE", "REDUCE", "ADD"])
def test_an_answer_about_a_position_that_the_book_does_not_have_is_not_followed(action: str) -> None:
    followed = ask(opened(), answered(action, size_pct="0.01"), shown="LONG")
    assert (followed.outcome, followed.trades) == ("not_held", ())


def test_an_exit_of_a_position_on_the_other_side_is_not_followed() -> None:
    book = opened()
    ask(book, answered("OPEN_SHORT", stop_loss="20200", take_profit="19600"))
    assert ask(book, answered("CLOSE"), minutes=5, shown="LONG", cycle_number=2).outcome == "not_held"
    assert book.symbols == {BTC}


def test_what_the_playbook_bans_is_not_opened() -> None:
    followed = ask(opened(), answered(), playbook=banning("trending_up", "momentum_breakout"))
    assert followed.outcome == "playbook_blocked"
    assert "momentum_breakout in a trending_up market" in followed.reason


def test_the_largest_position_of_the_playbook_shrinks_an_opening() -> None:
    (trade,) = ask(opened(), answered(size_pct="0.05"), regime="volatile").trades
    assert trade.size == Decimal("1.5")  # 3 % of 10,000 USD


def test_nothing_is_opened_in_a_cycle_that_took_no_openings() -> None:
    followed = ask(opened(), answered(), openings_blocked="halted: a person said so")
    assert (followed.outcome, followed.reason) == ("openings_blocked", "halted: a person said so")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"size_pct": "0.041"}, "trade_size"),
        ({"stop_loss": "19300", "take_profit": "22000"}, "sl_distance"),
        ({"take_profit": "20200"}, "rr_ratio"),
        ({"stop_loss": None}, "stop_loss"),
    ],
)
def test_the_limits_are_those_of_the_account(changes: dict[str, Any], rule: str) -> None:
    followed = ask(opened(MAX_SINGLE_TRADE_PCT="0.04"), answered(**changes))
    assert (followed.outcome, followed.trades) == ("gate_rejected", ())
    assert rule in followed.reason


def test_a_second_opening_in_the_instrument_is_refused() -> None:
    book = opened()
    ask(book, answered())
    assert "well_formed" in ask(book, answered(), minutes=5, cycle_number=2).reason


def test_exposure_of_other_instruments_counts() -> None:
    book = opened(MAX_TOTAL_EXPOSURE_PCT="0.06")
    ask(book, answered())
    followed = ask(
        book,
        answered(symbol=ETH, size_pct="0.03"),
        symbol=ETH,
        minutes=1,
        cycle_number=2,
        correlations={BTC: Decimal("0.1")},
    )
    assert "total_exposure" in followed.reason


def test_a_correlated_position_halves_the_size() -> None:
    book = opened()
    ask(book, answered())
    alike = {BTC: Decimal("0.95")}
    (trade,) = ask(book, answered(symbol=ETH), symbol=ETH, minutes=1, cycle_number=2, correlations=alike).trades
    assert trade.size == Decimal("0.99")  # 2 % of an equity a little below 10,000 USD


def test_losses_in_a_row_begin_a_cooldown() -> None:
    book = opened()
    for number in range(3):
        assert ask(book, answered(), minutes=10 * number, cycle_number=number + 1).outcome == "traded"
        book.on_snapshot(snapshot("19700", minutes=10 * number + 5))
    assert ask(book, answered(), minutes=40, cycle_number=4).outcome == "cooldown"
    assert ask(book, answered(), minutes=56, cycle_number=5).outcome == "traded"  # 30 minutes after the third


def test_a_days_loss_halts_the_book_until_midnight() -> None:
    book = opened(MAX_DAILY_LOSS_PCT="0.0003")
    ask(book, answered())
    book.on_snapshot(snapshot("19700", minutes=5))
    assert ask(book, answered(), minutes=10, cycle_number=2).outcome == "halted"
    assert ask(book, answered(), minutes=719, cycle_number=3).outcome == "halted"
    assert ask(book, answered(), minutes=720, cycle_number=4).outcome == "traded"


def test_a_drawdown_halts_the_book_for_good() -> None:
    book = opened(MAX_DRAWDOWN_PCT="0.0003")
    ask(book, answered())
    book.on_snapshot(snapshot("19700", minutes=5))
    assert ask(book, answered(), minutes=24 * 60, cycle_number=2).outcome == "halted"


# --- limit orders -----------------------------------------------------------------------------------------------------


def test_a_limit_order_rests_is_filled_when_the_price_goes_through_and_counts_meanwhile() -> None:
    book = opened()
    resting = answered(order_type="limit", limit_price="19950", stop_loss="19800", take_profit="20300")
    assert ask(book, resting).outcome == "order_working"
    assert book.symbols == {BTC}
    assert "well_formed" in ask(book, answered(), minutes=1, cycle_number=2).reason
    (trade,) = book.on_snapshot(snapshot("19940", minutes=4))
    assert (trade.entry_price, trade.fees) == (Decimal(19950), Decimal("0.0798"))  # 2 % of a coin, 0.02 %
    assert trade.plan.cycle_number == 1


def test_a_limit_order_that_is_not_reached_in_time_is_gone() -> None:
    book = opened()
    ask(book, answered(order_type="limit", limit_price="19950", stop_loss="19800", take_profit="20300"))
    assert book.on_snapshot(snapshot("20010", minutes=6)) == ()
    assert book.symbols == set()
    assert book.state.plans == {}


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_book_that_was_written_down_goes_on_where_it_was() -> None:
    steps = [("20100", 5), ("19900", 10), ("19790", 15), ("20050", 20), ("20500", 25)]
    through, restarted = opened(), opened()
    for number, (price, minutes) in enumerate(steps):
        told = []
        for book in (through, restarted):
            changed = book.on_snapshot(snapshot(price, minutes=minutes))
            followed = ask(book, answered(), price, minutes=minutes, cycle_number=number)
            told.append((changed, followed))
        assert told[0] == told[1]
        written = json.loads(json.dumps(restarted.state.to_json()))
        restarted = ShadowBook(BookState.from_json(written), limits=limits(), limit_order_life=timedelta(minutes=5))
    assert through.state.to_json() == restarted.state.to_json()


def test_equity_is_what_trades_brought() -> None:
    book = opened()
    closed = []
    for number, price in enumerate(["20500", "19700", "20500", "19700"]):
        ask(book, answered(), minutes=60 * number, cycle_number=number)
        closed += book.on_snapshot(snapshot(price, minutes=60 * number + 5))
    assert len(closed) == 4
    assert book.state.venue.equity == Decimal(10000) + sum((trade.pnl for trade in closed), Decimal(0))
