"""Twelve trades of one week, worked out by hand, and what lies at the edges."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from journal.performance import (
    ClosedTrade,
    EquityPoint,
    Figure,
    ModelCost,
    PerformanceSummary,
    Period,
    PriceSpan,
    as_document,
    summarise,
)
from journal.performance.values import rate

MONDAY = datetime(2022, 11, 7, tzinfo=UTC)
WEEK = Period(start=MONDAY, end=MONDAY + timedelta(days=7))
DAY = timedelta(days=1)
NEAR = Decimal("0.000001")


def D(text: str) -> Decimal:  # noqa: N802 - so that the columns below can be read
    return Decimal(text)


def at(day: int, hour: int) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour)


def a_trade(**values: Any) -> ClosedTrade:
    usual: dict[str, Any] = {
        "opened_at": at(0, 8), "closed_at": at(0, 9), "symbol": "BTC-USDT-SWAP", "entry_notional": D("500"),
        "gross_pnl": D("10"), "fees": D("1"), "funding": D("0"),
    }  # fmt: skip
    return ClosedTrade(**{**usual, **values})


# day, from, to, symbol, gross, fees, funding, confidence, strategy, playbook            net
_WEEK_OF_TRADES = [
    (0, 8, 10, "BTC", "52", "1.5", "-0.5", "0.8", "momentum_breakout", 1),  #           +50
    (0, 9, 11, "ETH", "-19", "1", "0", "0.8", "mean_reversion", 1),  #                  -20
    (1, 8, 9, "BTC", "31", "1", "0", "0.8", "momentum_breakout", 1),  #                 +30
    (1, 14, 16, "ETH", "-24", "1.2", "0.2", "0.6", "mean_reversion", 1),  #             -25
    (2, 8, 9, "BTC", "-14", "1", "0", "0.6", "momentum_breakout", 1),  #                -15
    (2, 14, 15, "ETH", "-9", "1", "0", "0.6", "mean_reversion", 1),  #                  -10
    (3, 8, 12, "BTC", "41.5", "1.5", "0", "0.8", "momentum_breakout", 2),  #            +40
    (3, 14, 15, "ETH", "1", "1", "0", "0.8", "mean_reversion", 2),  #                     0
    (4, 8, 9, "BTC", "26", "1", "0", "0.6", "momentum_breakout", 2),  #                 +25
    (4, 14, 15, "ETH", "36", "1.2", "0.2", "0.6", "mean_reversion", 2),  #              +35
    (5, 8, 9, "BTC", "-28.5", "1.3", "-0.2", "0.6", "momentum_breakout", 2),  #         -30
    (6, 8, 10, "ETH", "31", "1", "0", "0.6", "mean_reversion", 2),  #                   +30
]
TWELVE = [
    a_trade(
        opened_at=at(day, opened), closed_at=at(day, closed), symbol=symbol, gross_pnl=D(gross), fees=D(fees),
        funding=D(funding), confidence=D(confidence), strategy=strategy, playbook_version=version,
        regime="ranging" if strategy == "mean_reversion" else "trending_up",
        exit_reason="take_profit" if not gross.startswith("-") else "stop_loss",
    )
    for day, opened, closed, symbol, gross, fees, funding, confidence, strategy, version in _WEEK_OF_TRADES
]  # fmt: skip
NOT_KNOWN = a_trade(opened_at=at(6, 14), closed_at=at(6, 17), gross_pnl=None, fees=D("9"), funding=D("9"))
# A deposit of 1000 on Thursday; each day's change is otherwise what its trades brought.
EQUITY = [
    EquityPoint(at=at(day, 0), equity=D(equity), net_transfers=D(transfers))
    for day, equity, transfers in [
        (0, "10000", "0"), (1, "10030", "0"), (2, "10035", "0"), (3, "10010", "0"),
        (4, "11050", "1000"), (5, "11110", "1000"), (6, "11080", "1000"), (7, "11110", "1000"),
    ]
]  # fmt: skip
COSTS = [ModelCost(at=at(day, 12), usd=D("2")) for day in range(7)]
PRICES = [
    PriceSpan(symbol="BTC", first=D("20000"), last=D("19000")),
    PriceSpan(symbol="ETH", first=D("1500"), last=D("1650")),
]


@pytest.fixture(scope="module")
def week() -> PerformanceSummary:
    return summarise(period=WEEK, trades=[*TWELVE, NOT_KNOWN], equity=EQUITY, model_costs=COSTS, prices=PRICES)


def nothing(**values: Any) -> PerformanceSummary:
    return summarise(**{"period": WEEK, "trades": [], "equity": [], "model_costs": [], **values})


def test_twelve_trades_are_counted_and_the_unknown_one_stands_apart(week: PerformanceSummary):
    total = week.total
    assert (total.total_trades, total.unknown_trades) == (12, 1)
    assert (total.wins, total.losses, total.breakeven) == (6, 5, 1)
    assert (week.streaks.max_consecutive_wins, week.streaks.max_consecutive_losses) == (2, 3)


def test_the_money_of_twelve_trades(week: PerformanceSummary):
    total = week.total
    # Wins 50 + 30 + 40 + 25 + 35 + 30 = 210; losses 20 + 25 + 15 + 10 + 30 = 100.
    assert total.avg_win == Figure(D("35"))  # 210 / 6
    assert total.avg_loss == Figure(D("-20"))  # -100 / 5
    assert total.payoff_ratio == Figure(D("1.75"))  # 35 / 20
    assert total.profit_factor == Figure(D("2.1"))  # 210 / 100
    # Gross 52 - 19 + 31 - 24 - 14 - 9 + 41.5 + 1 + 26 + 36 - 28.5 + 31 = 124.
    assert (total.gross_pnl, total.fees, total.funding) == (D("124"), D("13.7"), D("-0.3"))
    assert total.net_pnl == D("110")  # 124 - 13.7 - 0.3 = 210 - 100
    assert total.model_costs == D("14")  # 7 days of 2
    assert total.total_pnl == D("96")
    assert total.expectancy == Figure(D("8"))  # 96 / 12
    assert total.mean_return.value == pytest.approx(D("110") / 12 / 500)


def test_a_rate_comes_with_its_count_and_its_interval(week: PerformanceSummary):
    found = week.total.win_rate
    assert (found.successes, found.count, found.value) == (6, 12, D("0.5"))
    # z^2 = 2.705543: centre 0.5, half 1.644854 / 1.225462 * sqrt(0.020833 + 0.004697) = 0.214465
    assert (found.low, found.high) == (pytest.approx(D("0.285535"), abs=NEAR), pytest.approx(D("0.714465"), abs=NEAR))


def test_three_of_four_wins_is_not_sold_as_75_per_cent():
    found = rate(3, 4)
    assert (round(found.low, 4), round(found.high, 4)) == (D("0.3562"), D("0.9421"))


def test_returns_are_net_of_the_deposit_and_of_what_models_cost(week: PerformanceSummary):
    account = week.account
    assert (account.opening_equity, account.closing_equity, account.net_transfers) == (
        D("10000"),
        D("11110"),
        D("1000"),
    )
    # What a day ends with, less 2 for the models (and Thursday less the deposit), by what it began with:
    # 10028/10000 = 1.0028, 10033/10030 = 1.000299103, 10008/10035 = 0.997309417, 10048/10010 = 1.003796204,
    # 11108/11050 = 1.005248869, 11078/11110 = 0.997119712, 11108/11080 = 1.002527076; multiplied 1.009106.
    assert account.total_return.value == pytest.approx(D("0.009106"), abs=NEAR)
    assert (account.returns, account.returns_missing) == (7, 0)


def test_sharpe_and_sortino_of_the_week(week: PerformanceSummary):
    # Returns 0.0028, 0.000299103, -0.002690583, 0.003796204, 0.005248869, -0.002880288, 0.002527076:
    # sum 0.009100380, mean 0.001300054.
    # Squared distances from the mean, in 1e-6: 2.249837, 1.001904, 15.925186, 6.230762, 15.593136, 17.475262, 1.505582;
    # sum 59.981669, / 6 = 9.996945, root 0.003161795. 0.001300054 / 0.003161795 = 0.411176, * sqrt(365) = 7.855508.
    assert week.account.sharpe_ratio.value == pytest.approx(D("7.8555"), abs=D("0.0001"))
    # Below zero: 7.239237 + 8.296059 = 15.535296, / 7 = 2.219328, root 0.001489741; 0.872671 * 19.104973 = 16.672364.
    assert week.account.sortino_ratio.value == pytest.approx(D("16.6724"), abs=D("0.0001"))


def test_the_deepest_fall_began_on_friday_night_and_goes_on(week: PerformanceSummary):
    found = week.account.max_drawdown
    assert found is not None
    assert found.depth == pytest.approx(D("-32") / 11110)  # Saturday; Wednesday's was -27 / 10035
    assert (found.peak_at, found.trough_at, found.recovered_at) == (at(5, 0), at(6, 0), None)
    assert found.length_seconds == 2 * 86400


def test_exposure_is_the_time_with_any_position(week: PerformanceSummary):
    # 3 (two at once, 8 to 10 and 9 to 11) + 1 + 2 + 1 + 1 + 4 + 1 + 1 + 1 + 1 + 2 + 3 = 21 of 168 hours.
    assert week.exposure_time == D("0.125")


def test_buying_and_holding_stands_beside_it(week: PerformanceSummary):
    assert week.buy_and_hold.by_symbol == {"BTC": D("-0.05"), "ETH": D("0.1")}
    assert week.buy_and_hold.equal_weights == Figure(D("0.025"))


def test_confidence_against_what_came_of_it(week: PerformanceSummary):
    found = week.confidence_calibration
    assert (found.count, found.without) == (12, 1)
    assert found.stated_mean.value == pytest.approx(D("8.2") / 12)  # 5 of 0.8, 7 of 0.6
    # 3 * 0.2^2 + 2 * 0.8^2 + 3 * 0.4^2 + 4 * 0.6^2 = 0.12 + 1.28 + 0.48 + 1.44 = 3.32
    assert found.brier_score.value == pytest.approx(D("3.32") / 12)
    assert found.reference_score == Figure(D("0.25"))  # 0.5 * 0.5
    buckets = [
        (bucket.low, bucket.high, bucket.count, bucket.stated_mean, bucket.actual_win_rate.successes)
        for bucket in found.buckets
    ]
    assert buckets == [(D("0.6"), D("0.7"), 7, D("0.6"), 3), (D("0.8"), D("0.9"), 5, D("0.8"), 3)]
    assert found.buckets[1].actual_win_rate == rate(3, 5)


def test_breakdowns_of_the_week(week: PerformanceSummary):
    strategies = {name: (group.net_pnl, group.profit_factor.value) for name, group in week.by_strategy.items()}
    # momentum: 50 + 30 - 15 + 40 + 25 - 30; mean reversion: -20 - 25 - 10 + 0 + 35 + 30
    assert strategies == {
        "mean_reversion": (D("10"), D("65") / 55),
        "momentum_breakout": (D("100"), D("145") / 45),
        "unknown": (D("0"), None),
    }
    assert list(week.by_regime) == ["ranging", "trending_up", "unknown"]
    assert {name: group.net_pnl for name, group in week.by_playbook_version.items()} == {
        "1": D("10"), "2": D("100"), "unknown": D("0"),
    }  # fmt: skip
    assert {name: group.total_trades for name, group in week.by_hour.items()} == {"08": 7, "09": 1, "14": 4}
    assert {name: group.net_pnl for name, group in week.by_weekday.items()} == {
        "Monday": D("30"), "Tuesday": D("5"), "Wednesday": D("-25"), "Thursday": D("40"),
        "Friday": D("60"), "Saturday": D("-30"), "Sunday": D("30"),
    }  # fmt: skip
    assert {name: group.total_trades for name, group in week.by_symbol.items()} == {
        "BTC": 6, "BTC-USDT-SWAP": 0, "ETH": 6,
    }  # fmt: skip
    assert {name: group.wins for name, group in week.by_exit_reason.items()} == {
        "stop_loss": 0, "take_profit": 6, "unknown": 0,
    }  # fmt: skip


def test_groups_bear_what_models_cost_by_their_number_of_trades(week: PerformanceSummary):
    borne = {name: group.model_costs for name, group in week.by_strategy.items()}
    # 14 * 6 / 13 = 6.4615, 14 * 12 / 13 = 12.9231
    assert borne == {"mean_reversion": D("6.4615"), "momentum_breakout": D("6.4616"), "unknown": D("1.0769")}


def test_versions_are_in_the_order_of_their_numbers():
    found = nothing(trades=[a_trade(playbook_version=version) for version in (10, 2, None, 9)])
    assert list(found.by_playbook_version) == ["2", "9", "10", "unknown"]


# --- at the edges -----------------------------------------------------------------------------------------------------


def test_no_trades_give_reasons_and_not_zeros():
    found = nothing(model_costs=[ModelCost(at=at(1, 0), usd=D("3"))])
    total = found.total
    assert (total.total_trades, total.unknown_trades, total.net_pnl, total.total_pnl) == (0, 0, D("0"), D("-3"))
    assert (total.win_rate.value, total.win_rate.low, total.win_rate.high) == (None, 0, 1)
    for missing in (
        total.avg_win, total.avg_loss, total.payoff_ratio, total.profit_factor, total.expectancy, total.mean_return,
        found.account.total_return, found.account.sharpe_ratio, found.account.sortino_ratio,
        found.buy_and_hold.equal_weights, found.confidence_calibration.brier_score,
    ):  # fmt: skip
        assert missing.value is None
        assert missing.reason
    assert found.account.max_drawdown is None
    assert found.exposure_time == 0
    assert found.by_strategy == {}


def test_one_trade():
    total = nothing(trades=[a_trade()]).total
    assert (total.wins, total.avg_win, total.expectancy) == (1, Figure(D("9")), Figure(D("9")))
    assert total.avg_loss == Figure(None, "no losing trade")
    assert total.profit_factor == Figure(None, "no losing trade: infinite")
    assert (total.win_rate.value, total.win_rate.high) == (1, 1)
    assert round(total.win_rate.low, 4) == D("0.2699")  # 1 / (1 + z^2)


def test_only_losses_have_a_profit_factor_of_zero():
    assert nothing(trades=[a_trade(gross_pnl=D("-5"))]).total.profit_factor == Figure(D("0"))


def test_fees_make_a_loss_of_a_small_gain():
    total = nothing(trades=[a_trade(gross_pnl=D("0.9"))]).total
    assert (total.wins, total.losses, total.gross_pnl, total.net_pnl) == (0, 1, D("0.9"), D("-0.1"))


def test_an_unknown_result_is_neither_a_zero_nor_part_of_any_sum():
    alone = nothing(trades=[a_trade()])
    beside = nothing(trades=[a_trade(), NOT_KNOWN])
    assert beside.total == replace(alone.total, unknown_trades=1)
    assert beside.confidence_calibration.without == 2


@pytest.mark.parametrize("between", [a_trade(gross_pnl=D("1")), NOT_KNOWN], ids=["breakeven", "unknown"])
def test_a_breakeven_or_unknown_result_ends_a_run(between: ClosedTrade):
    hours = [replace(a_trade(), opened_at=at(1, hour), closed_at=at(1, hour + 1)) for hour in (1, 2, 4, 5, 6)]
    middle = replace(between, opened_at=at(1, 3), closed_at=at(1, 4) - timedelta(minutes=1))
    assert nothing(trades=[*hours, middle]).streaks.max_consecutive_wins == 3
    assert nothing(trades=hours).streaks.max_consecutive_wins == 5


def test_a_trade_belongs_to_the_period_it_closes_in_its_end_included():
    first, last = a_trade(closed_at=WEEK.start), a_trade(closed_at=WEEK.end)
    assert nothing(trades=[first]).total.total_trades == 0
    assert nothing(trades=[last]).total.total_trades == 1
    assert nothing(trades=[replace(last, closed_at=WEEK.end + timedelta(microseconds=1))]).total.total_trades == 0


def test_exposure_counts_positions_still_open_and_those_that_closed_later():
    later = a_trade(opened_at=at(6, 0), closed_at=at(9, 0))
    assert nothing(trades=[later]).exposure_time * 7 == 1
    assert nothing(still_open=[at(6, 12), at(5, 0)]).exposure_time * 7 == 2
    assert nothing(trades=[a_trade(opened_at=at(-3, 0), closed_at=at(8, 0))]).exposure_time == 1


def growing(*days_and_equities: tuple[float, str], transfers: str = "0") -> list[EquityPoint]:
    return [
        EquityPoint(at=MONDAY + DAY * day, equity=D(equity), net_transfers=D(transfers))
        for day, equity in days_and_equities
    ]


def test_returns_without_variance_have_no_sharpe_and_no_sortino():
    found = nothing(equity=growing((0, "100"), (1, "110"), (2, "121"), (3, "133.1"))).account
    assert found.sharpe_ratio == Figure(None, "the returns do not vary")
    assert found.sortino_ratio == Figure(None, "no return is below zero")
    assert found.total_return.value == D("0.331")
    assert found.max_drawdown is not None
    assert (found.max_drawdown.depth, found.max_drawdown.length_seconds) == (0, 0)


def test_what_division_leaves_over_is_no_variance():
    third = [D("100") * (D(4) / 3) ** day for day in range(7)]
    found = nothing(equity=growing(*((day, str(equity)) for day, equity in enumerate(third)))).account
    assert found.sharpe_ratio.reason == "the returns do not vary"


def test_one_return_is_too_few():
    found = nothing(equity=growing((0, "100"), (1, "110"))).account
    assert found.sharpe_ratio.reason == found.sortino_ratio.reason == "fewer than two returns"
    assert (found.returns, found.returns_missing) == (1, 6)


def test_a_gap_is_missing_from_the_ratios_and_is_no_row_of_zeros():
    points = growing((0, "100"), (1, "101"), (2, "99"), (5, "120"), (6, "121"), (7, "119"))
    found = nothing(equity=points).account
    assert (found.returns, found.returns_missing) == (4, 3)
    returns = [D("101") / 100 - 1, D("99") / 101 - 1, D("121") / 120 - 1, D("119") / 121 - 1]
    mean = sum(returns) / 4
    deviation = (sum((change - mean) ** 2 for change in returns) / 3).sqrt()
    assert found.sharpe_ratio.value == pytest.approx(mean / deviation * D(365).sqrt())
    assert found.total_return.value == pytest.approx(D("0.19"))  # what the gap brought is earned all the same
    assert found.max_drawdown is not None
    assert (found.max_drawdown.peak_at, found.max_drawdown.recovered_at) == (at(1, 0), at(5, 0))
    assert found.max_drawdown.length_seconds == 4 * 86400


def test_a_fall_begins_when_the_peak_is_left_and_the_first_of_equal_falls_counts():
    points = growing((0, "100"), (1, "100"), (2, "90"), (3, "100"), (4, "90"), (5, "95"))
    found = nothing(equity=points).account.max_drawdown
    assert found is not None
    assert (found.peak_at, found.trough_at, found.recovered_at) == (at(1, 0), at(2, 0), at(3, 0))
    assert (found.depth, found.length_seconds) == (D("-0.1"), 2 * 86400)


def test_a_report_within_the_step_before_a_mark_stands_for_it():
    found = nothing(equity=growing((-0.5, "100"), (0.5, "110"), (1.25, "99"))).account
    assert (found.opening_equity, found.returns) == (D("100"), 2)


def test_deposits_and_withdrawals_are_no_return():
    points = [
        EquityPoint(at=at(0, 0), equity=D("100"), net_transfers=D("40")),
        EquityPoint(at=at(1, 0), equity=D("1100"), net_transfers=D("1040")),
        EquityPoint(at=at(2, 0), equity=D("50"), net_transfers=D("-10")),
    ]
    found = nothing(equity=points).account
    assert found.total_return == Figure(D("0"))
    assert found.net_transfers == D("-50")


def test_an_account_that_lost_everything_has_no_return_but_a_reason():
    found = nothing(equity=growing((0, "100"), (1, "0"), (2, "100"))).account
    assert found.total_return == Figure(None, "the equity was 0 USD at 2022-11-08 00:00")
    assert found.max_drawdown is None
    lost = nothing(equity=growing((0, "100"), (1, "0"))).account
    assert lost.total_return == Figure(D("-1"))


def test_a_period_without_reports_has_no_closing_equity():
    found = nothing(equity=growing((-2, "100"), (-1, "110"), (8, "120"))).account
    assert (found.opening_equity, found.closing_equity) == (D("110"), None)
    assert found.total_return.reason == "the account was not reported twice"


def test_what_models_cost_after_the_last_report_is_borne_by_the_last_stretch():
    costs = [ModelCost(at=WEEK.end, usd=D("1")), ModelCost(at=WEEK.end + DAY, usd=D("50"))]
    found = nothing(equity=growing((0, "100"), (1, "100"), (2, "100")), model_costs=costs)
    assert found.account.total_return == Figure(D("-0.01"))
    assert found.total.model_costs == D("1")


def test_a_confidence_of_one_is_in_the_last_bucket():
    found = nothing(trades=[a_trade(confidence=D("1")), a_trade(confidence=D("0"))]).confidence_calibration
    assert [(bucket.low, bucket.high) for bucket in found.buckets] == [(D("0"), D("0.1")), (D("0.9"), D("1"))]
    assert found.brier_score == Figure(D("0.5"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: a_trade(opened_at=datetime(2022, 11, 7)), "no time zone"),  # noqa: DTZ001
        (lambda: a_trade(entry_notional=D("0")), "an entry of 0 USD"),
        (lambda: Period(start=MONDAY, end=MONDAY), "has no length"),
        (lambda: PriceSpan(symbol="BTC", first=D("0"), last=D("1")), "prices are above zero"),
        (lambda: nothing(trades=[a_trade(confidence=D("1.2"))]), "confidence of 1.2"),
        (lambda: nothing(equity=growing((1, "100"), (1, "110"))), "two different equities"),
        (lambda: nothing(step=timedelta(0)), "whole number of seconds"),
        (lambda: rate(5, 4), "5 of 4"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: Any, told: str):
    with pytest.raises(ValueError, match=told):
        wrong()


def test_the_same_point_twice_is_one_point():
    points = growing((0, "100"), (1, "110"))
    assert nothing(equity=points * 2) == nothing(equity=points)


# --- as a document ----------------------------------------------------------------------------------------------------


def test_a_summary_is_a_document_of_plain_texts(week: PerformanceSummary):
    found = as_document(week)
    assert found["period"] == {"start": "2022-11-07T00:00:00Z", "end": "2022-11-14T00:00:00Z"}
    assert found["total"]["profit_factor"] == {"value": "2.1", "reason": ""}
    assert found["total"]["win_rate"]["low"] == "0.28553485"
    assert found["by_strategy"]["unknown"]["profit_factor"] == {
        "value": None, "reason": "no winning and no losing trade",
    }  # fmt: skip
    assert found["account"]["max_drawdown"]["recovered_at"] is None
    assert found["confidence_calibration"]["buckets"][0]["count"] == 7
    assert found["total"]["net_pnl"] == "110"


def test_a_document_knows_no_exponents_no_minus_zero_and_no_foreign_things():
    assert as_document([D("1E+5"), D("-1E-12"), D("1234567890123456789012.123456785"), True]) == [
        "100000", "0", "1234567890123456789012.12345678", True,
    ]  # fmt: skip
    with pytest.raises(TypeError, match="float has no place"):
        as_document({"ratio": 0.5})
