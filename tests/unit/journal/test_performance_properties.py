"""What holds for any trades and any account."""

import random
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from journal.performance import ClosedTrade, EquityPoint, ModelCost, PerformanceSummary, Rate, TradeFigures, summarise
from journal.performance.outcomes import BREAKDOWNS
from journal.performance.values import rate
from tests.unit.journal.test_performance import DAY, MONDAY, WEEK, a_trade

money = st.decimals(min_value=-1000, max_value=1000, places=4)
fees = st.decimals(min_value=0, max_value=20, places=4)
moments = st.integers(min_value=-24 * 60, max_value=9 * 24 * 60).map(lambda minute: MONDAY + timedelta(minutes=minute))


@st.composite
def trades(draw: st.DrawFn) -> ClosedTrade:
    opened = draw(moments)
    return a_trade(
        opened_at=opened,
        closed_at=opened + timedelta(minutes=draw(st.integers(0, 3000))),
        symbol=draw(st.sampled_from(["BTC", "ETH", "SOL"])),
        entry_notional=draw(st.decimals(min_value=1, max_value=5000, places=2)),
        gross_pnl=draw(st.one_of(st.none(), money, st.just(Decimal(0)))),
        fees=draw(fees),
        funding=draw(st.decimals(min_value=-5, max_value=5, places=4)),
        strategy=draw(st.sampled_from(["", "momentum_breakout", "trend_pullback"])),
        regime=draw(st.sampled_from(["", "ranging", "volatile"])),
        exit_reason=draw(st.sampled_from(["take_profit", "stop_loss", ""])),
        playbook_version=draw(st.one_of(st.none(), st.integers(1, 12))),
        confidence=draw(st.one_of(st.none(), st.decimals(min_value=0, max_value=1, places=3))),
    )


@st.composite
def accounts(draw: st.DrawFn) -> list[EquityPoint]:
    days = draw(st.lists(st.integers(-2, 9), unique=True, max_size=9))
    return [
        EquityPoint(
            at=MONDAY + day * DAY,
            equity=draw(st.decimals(min_value=1, max_value=100_000, places=2)),
            net_transfers=draw(st.sampled_from([Decimal(0), Decimal(500), Decimal(-20)])),
        )
        for day in days
    ]


costs = st.lists(
    st.builds(ModelCost, at=moments, usd=st.decimals(min_value=0, max_value=3, places=6)),
    max_size=5,
)
histories = st.lists(trades(), max_size=25)


def summary_of(history: list[ClosedTrade], account: list[EquityPoint], paid: list[ModelCost]) -> PerformanceSummary:
    return summarise(period=WEEK, trades=history, equity=account, model_costs=paid)


@settings(deadline=None)
@given(histories, accounts(), costs, st.randoms(use_true_random=False))
def test_the_order_in_which_things_come_does_not_matter(
    history: list[ClosedTrade], account: list[EquityPoint], paid: list[ModelCost], chance: random.Random
):
    expected = summary_of(history, account, paid)
    for values in (history, account, paid):
        chance.shuffle(values)
    assert summary_of(history, account, paid) == expected


ADDITIVE = (
    "total_trades", "unknown_trades", "wins", "losses", "breakeven", "gross_pnl", "fees", "funding", "net_pnl",
    "model_costs", "total_pnl",
)  # fmt: skip


@settings(deadline=None)
@given(histories, costs)
def test_the_groups_of_every_breakdown_add_up_to_the_total(history: list[ClosedTrade], paid: list[ModelCost]):
    found = summary_of(history, [], paid)
    total = found.total
    for name in BREAKDOWNS:
        groups = list(getattr(found, name).values())
        if not groups:
            assert total.total_trades + total.unknown_trades == 0
            continue
        for field in ADDITIVE:
            assert sum(getattr(group, field) for group in groups) == getattr(total, field), (name, field)


@settings(deadline=None)
@given(histories, costs)
def test_the_total_is_its_parts(history: list[ClosedTrade], paid: list[ModelCost]):
    found = summary_of(history, [], paid)
    total = found.total
    closed = [trade for trade in history if trade.closed_at in WEEK]
    assert total.total_trades + total.unknown_trades == len(closed)
    assert total.wins + total.losses + total.breakeven == total.total_trades
    assert total.net_pnl == total.gross_pnl - total.fees + total.funding
    assert total.total_pnl == total.net_pnl - total.model_costs
    assert total.model_costs == sum(cost.usd for cost in paid if cost.at in WEEK)
    assert 0 <= found.exposure_time <= 1
    assert found.streaks.max_consecutive_wins <= total.wins
    assert found.streaks.max_consecutive_losses <= total.losses


@given(st.integers(0, 3000), st.data())
def test_an_interval_contains_its_rate_and_lies_between_nothing_and_everything(count: int, data: st.DataObject):
    found = rate(data.draw(st.integers(0, count)), count)
    assert _sound(found)
    mirrored = rate(count - found.successes, count)
    assert abs(mirrored.low - (1 - found.high)) < Decimal("1e-20")


@settings(deadline=None)
@given(histories)
def test_every_rate_of_a_summary_is_sound(history: list[ClosedTrade]):
    found = summary_of(history, [], [])
    groups: list[TradeFigures] = [
        found.total, *(group for name in BREAKDOWNS for group in getattr(found, name).values())
    ]  # fmt: skip
    calibration = found.confidence_calibration
    assert all(_sound(group.win_rate) for group in groups)
    assert all(_sound(bucket.actual_win_rate) for bucket in calibration.buckets)
    assert sum(bucket.count for bucket in calibration.buckets) == calibration.count
    if calibration.brier_score.value is not None:
        assert 0 <= calibration.brier_score.value <= 1


@given(accounts(), st.decimals(min_value=-100, max_value=100, places=2), st.integers(1, 7))
def test_a_transfer_changes_no_return_before_it(account: list[EquityPoint], amount: Decimal, day: int):
    """Money that comes or goes with the last report leaves every figure as it was."""
    inside = [point for point in account if MONDAY <= point.at <= WEEK.end]
    if not inside:
        return
    last = max(inside, key=lambda point: point.at)
    moved = EquityPoint(at=last.at, equity=last.equity + amount, net_transfers=last.net_transfers + amount)
    found = summary_of([], inside, []).account
    after = summary_of([], [moved if point is last else point for point in inside], []).account
    assert after.total_return == found.total_return
    assert after.sharpe_ratio == found.sharpe_ratio
    assert after.max_drawdown == found.max_drawdown


@given(accounts())
def test_a_fall_is_never_a_gain_and_lies_in_the_period(account: list[EquityPoint]):
    found = summary_of([], account, []).account.max_drawdown
    if found is None:
        return
    assert found.depth <= 0
    assert (found.depth == 0) == (found.peak_at is None)
    if found.peak_at is not None and found.trough_at is not None:
        assert found.peak_at < found.trough_at <= (found.recovered_at or WEEK.end)


def _sound(found: Rate) -> bool:
    inside = 0 <= found.low <= found.high <= 1
    return inside and (found.count == 0 if found.value is None else found.low <= found.value <= found.high)
