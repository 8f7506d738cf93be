import numpy as np
import pytest

from decisions.bars import Aggregator, Bar, BarError, BarSeries, aggregate, check, first_fault, time_of

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
GOOD = Bar(NOON, 10.0, 12.0, 9.0, 11.0, 5.0)


def series(bars: list[Bar]) -> BarSeries:
    times, *columns = zip(*bars, strict=True)
    return BarSeries(np.array(times, dtype=np.int64), *(np.array(column, dtype=np.float64) for column in columns))


def test_three_bars_of_five_minutes_make_one_of_fifteen() -> None:
    bars = [
        Bar(NOON, 10.0, 12.0, 9.5, 11.0, 5.0),
        Bar(NOON + 300_000, 11.0, 11.5, 8.0, 8.5, 7.0),
        Bar(NOON + 600_000, 8.5, 10.0, 8.2, 9.9, 1.5),
    ]
    assert list(aggregate(series(bars), base_seconds=300, seconds=900)) == [Bar(NOON, 10.0, 12.0, 8.0, 9.9, 13.5)]


def test_a_longer_bar_that_began_before_the_data_is_left_out() -> None:
    bars = [Bar(NOON + number * 300_000, 10.0, 10.0, 10.0, 10.0, 1.0) for number in range(1, 8)]
    (only,) = aggregate(series(bars), base_seconds=300, seconds=900)
    assert time_of(only.open_ms) == time_of(NOON + 900_000)


def test_fifteen_minute_bars_are_their_own_timeframe(walk: BarSeries) -> None:
    bars = list(walk.part(0, 50))
    aggregator = Aggregator(base_seconds=900, seconds=900)
    stretched = [bar._replace(open_ms=NOON + number * 900_000) for number, bar in enumerate(bars)]
    assert [aggregator.update(bar) for bar in stretched] == stretched


@pytest.mark.parametrize("offset", [0, 1, 30])
@pytest.mark.parametrize("seconds", [900, 3600, 14_400])
def test_one_by_one_gives_the_same_longer_bars_as_all_at_once(walk: BarSeries, seconds: int, offset: int) -> None:
    part = walk.part(offset, 2000)
    aggregator = Aggregator(base_seconds=300, seconds=seconds)
    one_by_one = [longer for bar in part if (longer := aggregator.update(bar))]
    together = list(aggregate(part, base_seconds=300, seconds=seconds))
    assert [bar[:5] for bar in one_by_one] == [bar[:5] for bar in together]
    assert [bar.volume for bar in one_by_one] == pytest.approx([bar.volume for bar in together])


FAULTS = [
    (GOOD._replace(close=float("nan")), "not a finite number"),
    (GOOD._replace(volume=float("inf")), "not a finite number"),
    (GOOD._replace(low=0.0), "not positive"),
    (GOOD._replace(high=10.5), "high is not the highest"),
    (GOOD._replace(low=10.5), "low is not the lowest"),
    (GOOD._replace(high=8.0, low=12.0), "high is not the highest"),
    (GOOD._replace(volume=-1.0), "volume is negative"),
    (GOOD._replace(open_ms=NOON - 300_000), "does not come after"),
    (GOOD._replace(open_ms=NOON - 600_000), "does not come after"),
    (GOOD._replace(open_ms=NOON + 600_000), "a gap of 2 bars"),
]


@pytest.mark.parametrize(("bar", "reason"), FAULTS)
def test_an_impossible_bar_is_refused_by_name(bar: Bar, reason: str) -> None:
    with pytest.raises(BarError, match=reason) as refused:
        check(bar, previous_ms=NOON - 300_000, seconds=300)
    assert f"{time_of(bar.open_ms):%Y-%m-%d %H:%M}" in str(refused.value)


@pytest.mark.parametrize(("bar", "reason"), FAULTS)
def test_columns_are_judged_as_single_bars_are(bar: Bar, reason: str) -> None:
    before = GOOD._replace(open_ms=NOON - 300_000)
    found = first_fault(series([before, bar]), 300)
    assert found is not None
    assert found[0] == 1
    assert reason in found[1]


def test_possible_bars_pass(walk: BarSeries) -> None:
    assert first_fault(walk, 300) is None
