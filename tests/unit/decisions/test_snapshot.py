from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from decisions.bars import BarSeries, time_of
from decisions.indicators import VOLATILITY_BARS, IndicatorEngine
from decisions.messages import Indicators, InstrumentSpecification, MarketSnapshot
from decisions.snapshot import Observation, RecentBars, build_snapshot, change, quotes, regime

START = datetime(2026, 1, 1, tzinfo=UTC)
UNKNOWN = dict.fromkeys(Indicators.model_fields)
CALM = [0.01] * VOLATILITY_BARS
BTC = InstrumentSpecification(
    ct_val=Decimal("0.01"), lot_size=Decimal("0.01"), min_size=Decimal("0.01"), tick_size=Decimal("0.1")
)


def observation(number: int, close: str = "100", volume: str = "10", oi: str | None = None) -> Observation:
    return Observation(
        closed_at=START + timedelta(minutes=5 * (number + 1)),
        close=Decimal(close),
        volume=Decimal(volume),
        open_interest=Decimal(oi) if oi else None,
    )


def recent(count: int, seconds: int = 300) -> RecentBars:
    bars = RecentBars(seconds)
    for number in range(count):
        bars.add(observation(number))
    return bars


def test_price_change_1h_compares_with_the_bar_that_closed_an_hour_ago() -> None:
    bars = recent(12)
    assert bars.price_change_1h is None
    bars.add(observation(12, close="103.5"))
    assert bars.price_change_1h == Decimal("0.035")
    for number in range(13, 25):
        bars.add(observation(number, close="103.5"))
    assert bars.price_change_1h == 0


def test_change_24h_compares_with_the_bar_that_closed_a_day_ago() -> None:
    bars = recent(288)
    assert bars.change_24h is None
    bars.add(observation(288, close="97"))
    assert bars.change_24h == Decimal("-0.03")


def test_an_hour_is_four_bars_of_fifteen_minutes() -> None:
    bars = recent(4, seconds=900)
    assert bars.price_change_1h is None
    bars.add(observation(4, close="110"))
    assert bars.price_change_1h == Decimal("0.1")


def test_volume_24h_is_the_sum_of_the_last_day() -> None:
    bars = recent(287)
    assert bars.volume_24h is None
    bars.add(observation(287, volume="12.5"))
    assert bars.volume_24h == Decimal("2882.5")
    bars.add(observation(288, volume="0"))
    assert bars.volume_24h == Decimal("2872.5")


def test_volume_vs_avg_is_the_last_hour_against_the_mean_hour_of_the_day_before_it() -> None:
    bars = recent(299)
    assert bars.volume_vs_avg is None
    bars.add(observation(299, volume="190"))
    # 11 x 10 + 190 = 300 in the last hour; 120 an hour before
    assert bars.volume_vs_avg == Decimal("2.5")


def test_volume_vs_avg_of_a_day_without_trade_is_unknown() -> None:
    bars = RecentBars(300)
    for number in range(300):
        bars.add(observation(number, volume="0"))
    assert bars.volume_vs_avg is None
    assert bars.volume_24h == 0


def test_oi_change_4h_compares_with_four_hours_ago() -> None:
    bars = RecentBars(300)
    for number in range(48):
        bars.add(observation(number, oi="2000000"))
    assert bars.oi_change_4h is None
    bars.add(observation(48, oi="2300000"))
    assert bars.oi_change_4h == Decimal("0.15")


def test_oi_change_4h_is_unknown_without_a_reading_at_either_end() -> None:
    bars = recent(30)
    for number in range(30, 100):
        bars.add(observation(number, oi="2000000"))
        assert (bars.oi_change_4h is None) == (number < 78)
    bars.add(observation(100))
    assert bars.oi_change_4h is None


def test_changes_are_rounded_to_eight_places() -> None:
    assert change(Decimal("1"), Decimal("3")) == Decimal("-0.66666667")


@pytest.mark.parametrize(
    ("adx", "alignment", "latest", "expected"),
    [
        (25.0, "bullish", 0.010, "trending_up"),
        (24.9, "bullish", 0.010, "ranging"),
        (30.0, "bearish", 0.010, "trending_down"),
        (30.0, "mixed", 0.010, "ranging"),
        (30.0, "bullish", 0.0181, "volatile"),
        (30.0, "bullish", 0.0179, "trending_up"),
        (10.0, "mixed", 0.030, "volatile"),
        (None, "bullish", 0.030, None),
        (30.0, None, 0.030, None),
    ],
)
def test_regime(adx, alignment, latest, expected) -> None:
    hourly = Indicators(**{**UNKNOWN, "adx_14": adx, "ema_alignment": alignment})
    assert regime(hourly, [*CALM, latest]) == expected


def test_regime_is_unknown_until_volatility_has_a_week_to_be_compared_with() -> None:
    hourly = Indicators(**{**UNKNOWN, "adx_14": 30.0, "ema_alignment": "bullish"})
    assert regime(hourly, CALM) is None


def test_usual_volatility_is_the_median_so_that_one_wild_hour_does_not_raise_it() -> None:
    hourly = Indicators(**{**UNKNOWN, "adx_14": 10.0, "ema_alignment": "mixed"})
    assert regime(hourly, [*CALM[1:], 5.0, 0.0181]) == "volatile"


@pytest.mark.parametrize(
    ("price", "tick", "expected"),
    [
        ("20000", "0.1", ("19999.0", "20001.0")),
        ("20491.9", "0.1", ("20490.8", "20493.0")),
        ("0.07016", "0.00001", ("0.07015", "0.07017")),
        ("10.0005", "0.001", ("9.999", "10.002")),
    ],
)
def test_quotes_stand_half_a_spread_around_the_price(price, tick, expected) -> None:
    assert quotes(Decimal(price), Decimal(tick)) == tuple(map(Decimal, expected))


def test_a_snapshot_without_history_holds_nulls_and_survives_the_wire() -> None:
    bars = RecentBars(300)
    now = observation(0, close="20000.0")
    bars.add(now)
    snapshot = build_snapshot("BTC-USDT-SWAP", now, recent=bars, engine=IndicatorEngine(300), instrument=BTC)
    assert (snapshot.price, snapshot.mark_price) == (Decimal("20000.0"), Decimal("20000.0"))
    assert snapshot.timestamp == START + timedelta(minutes=5)
    nulls = snapshot.model_dump(
        include={
            "change_24h", "price_change_1h", "volume_24h", "volume_vs_avg", "funding_rate", "next_funding_at",
            "open_interest", "oi_change_4h", "regime",
        }
    )  # fmt: skip
    assert set(nulls.values()) == {None}
    assert set(snapshot.indicators.h1.model_dump().values()) == {None}
    assert MarketSnapshot.model_validate(snapshot.model_dump(mode="json", by_alias=True)) == snapshot


def test_a_snapshot_after_the_warm_up_holds_no_nulls_but_those_without_a_feed(walk: BarSeries) -> None:
    engine = IndicatorEngine(300, walk)
    bars = RecentBars(300)
    for bar in walk.part(len(walk) - 300, len(walk)):
        now = Observation(
            closed_at=time_of(bar.open_ms + 300_000),
            close=Decimal(str(round(bar.close, 1))),
            volume=Decimal(str(round(bar.volume, 2))),
        )
        bars.add(now)
    snapshot = build_snapshot("BTC-USDT-SWAP", now, recent=bars, engine=engine, instrument=BTC)
    missing = {name for name, value in snapshot.model_dump().items() if value is None}
    assert missing == {"funding_rate", "next_funding_at", "open_interest", "oi_change_4h"}
