import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decisions.bars import BarError, BarSeries, aggregate, time_of
from decisions.indicators import TIMEFRAMES, IndicatorEngine
from decisions.messages import MarketSnapshot
from decisions.okx.feed import InterestReadings, NothingNew, Update
from decisions.okx.history import GAP_TRIES, Gap
from decisions.okx.pace import Endpoint
from decisions.okx.rows import NoAnswer, NotTraded, OkxError
from decisions.okx.watch import InstrumentWatch
from decisions.sandbox.opening import open_market
from tests.unit.decisions.okx_exchange import BTC, FUNDING_MS, START_MS, STEP_MS, Exchange, Row, exchange, walk

D = Decimal


class Asked:
    """An exchange that notes what it was asked, and fails where told."""

    def __init__(self, market: Exchange) -> None:
        self.market = market
        self.questions: list[tuple[Endpoint, Mapping[str, str]]] = []
        self.away: set[Endpoint] = set()

    def __call__(self, endpoint: Endpoint, query: Mapping[str, str]) -> list[Any]:
        self.questions.append((endpoint, query))
        if endpoint in self.away:
            raise NoAnswer("no answer: it is away")
        return self.market.rows(endpoint, query)

    def look(self, watch: InstrumentWatch, *, at: int | None = None) -> Update:
        self.market.now_ms = at or self.market.now_ms
        self.questions.clear()
        return watch.look(lambda: time_of(self.market.now_ms))


def opened(market: Exchange) -> tuple[Asked, InstrumentWatch]:
    asked = Asked(market)
    return asked, InstrumentWatch(BTC, asked)


def written(folder: Path, rows: list[Row]) -> Path:
    """The candles as a file of the sandbox's market."""
    path = folder / f"okx_{BTC}_5m_test.csv"
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *lines]))
    return path


def sandbox_snapshots(path: Path, start: datetime, count: int) -> list[MarketSnapshot]:
    market = open_market(candles=[(BTC, path)], start=start)
    return [step.updates[0].snapshot for _ in range(count) if (step := market.step())]


def assert_the_same(told: MarketSnapshot, expected: MarketSnapshot) -> None:
    """All figures alike: decimals exactly, indicators but for the seeds that averages of unequal age began with."""
    ours, theirs = dict(told), dict(expected)
    for figures in (ours, theirs):  # of the moment, and not of the bars
        for name in ("indicators", "funding_rate", "next_funding_at", "open_interest", "oi_change_4h"):
            figures.pop(name)
    assert ours == theirs
    for name in ("m15", "h1", "h4"):
        one, other = (getattr(each.indicators, name).model_dump() for each in (told, expected))
        assert one.pop("ema_alignment") == other.pop("ema_alignment")
        close = float(expected.price)
        for key, value in other.items():
            if value is None:
                assert one[key] is None, (name, key)
            else:
                scale = {"rsi_14": 100, "adx_14": 100, "bb_position": 1}.get(key, close)
                assert one[key] == pytest.approx(value, abs=1e-5 * scale), (name, key)


def compared(rows: list[Row], path: Path, first: int, count: int = 30) -> None:
    """The snapshots at the close of bars `first` and on, from OKX and from the sandbox's market."""
    market = Exchange({BTC: rows}, rows[first][0] + STEP_MS)
    asked, watch = opened(market)
    expected = sandbox_snapshots(path, time_of(rows[first][0]), count)
    assert len(expected) == count
    for number, theirs in enumerate(expected):
        update = asked.look(watch, at=rows[first + number][0] + STEP_MS)
        assert_the_same(update.snapshot, theirs)


def test_the_snapshots_are_those_of_the_sandbox_market_on_recorded_candles(recorded: Path) -> None:
    path = recorded / f"okx_{BTC}_5m_20220501_20221231.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split()[1:60_101]
    rows: list[Row] = [(int(at), *(D(cell) for cell in cells)) for at, *cells in (line.split(",") for line in lines)]  # type: ignore[misc]
    compared(rows, path, 60_000 - 17, 60)


def test_the_snapshots_are_those_of_the_sandbox_market_on_a_short_history(tmp_path: Path) -> None:
    rows = walk(3000)
    compared(rows, written(tmp_path, rows), 2900, 60)


def test_an_engine_of_timeframes_is_the_engine_of_all_base_bars(walk: BarSeries) -> None:
    for end in (59_990, 59_999, 59_952):
        history = walk.part(0, end)
        longer = {name: aggregate(history, base_seconds=300, seconds=each) for name, each in TIMEFRAMES.items()}
        ours = IndicatorEngine.of_timeframes(300, longer, walk.part(end - 100, end))
        theirs = IndicatorEngine(300, history)
        assert ours.values == theirs.values
        for bar in walk.part(end, 60_000):
            assert ours.update(bar) == theirs.update(bar)


def test_a_timeframe_that_does_not_end_with_the_base_bars_is_refused(walk: BarSeries) -> None:
    history = walk.part(0, 1000)
    longer = {name: aggregate(history, base_seconds=300, seconds=each) for name, each in TIMEFRAMES.items()}
    for wrong in (longer["1H"].part(0, 82), aggregate(walk.part(0, 1020), base_seconds=300, seconds=3600)):
        with pytest.raises(BarError, match="the 1H bars do not end at 2026-01-04 11:00"):
            IndicatorEngine.of_timeframes(300, {**longer, "1H": wrong}, history)


def test_nothing_of_the_forming_bar_or_later_is_ever_used() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    for seconds in range(2, 900, 30):
        now = START_MS + 700 * STEP_MS + seconds * 1000
        told = asked.look(watch, at=now).snapshot
        ended = (now - START_MS) // STEP_MS
        before, after = market.candles[BTC][:ended], market.candles[BTC][ended:]
        other = Exchange({BTC: before + [(at, *(9 * cell for cell in cells)) for at, *cells in after]}, now)  # type: ignore[misc]
        other_asked, other_watch = opened(other)
        assert other_asked.look(other_watch).snapshot == told


def test_a_snapshot_is_of_the_tickers_moment_with_figures_of_closed_bars() -> None:
    market = exchange(700, after_ms=137_000)
    asked, watch = opened(market)
    snapshot = asked.look(watch).snapshot
    assert snapshot.timestamp == time_of(market.now_ms)
    assert snapshot.price == snapshot.mark_price == market.price(BTC)
    assert snapshot.bid < snapshot.price < snapshot.ask
    closes = [row[4] for row in market.candles[BTC][:700]]
    assert snapshot.price_change_1h == (closes[-1] / closes[-13] - 1).quantize(D("1e-8"))
    assert snapshot.change_24h == (closes[-1] / closes[-289] - 1).quantize(D("1e-8"))
    assert snapshot.volume_24h == sum(row[5] for row in market.candles[BTC][700 - 288 : 700])
    assert (snapshot.funding_rate, snapshot.open_interest) == (D("0.0001"), D(2_500_000_000))
    assert snapshot.next_funding_at == datetime(2026, 1, 3, 16, tzinfo=UTC)
    assert snapshot.instrument.tick_size == D("0.1")
    assert snapshot.indicators.h4.ema_200 is None


def test_between_closes_no_candle_is_asked_for_and_after_one_only_the_newest() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    began = market.now_ms
    asked.look(watch, at=began + 30_000)
    assert [endpoint.name for endpoint, _ in asked.questions] == [
        "TICKER",
        "MARK_PRICE",
        "FUNDING_RATE",
        "OPEN_INTEREST",
    ]
    asked.look(watch, at=began + STEP_MS)
    endpoint, query = asked.questions[0]
    assert (endpoint, query["limit"], query["bar"]) == (Endpoint.CANDLES, "2", "5m")


def test_the_terms_are_read_again_and_a_suspension_is_told() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    market.states[BTC] = "suspend"
    began = market.now_ms
    for later in range(60_000, 3_600_000, 299_000):
        asked.look(watch, at=began + later)
    with pytest.raises(NotTraded, match="its state is 'suspend'"):
        asked.look(watch, at=began + 3_600_000)
    market.states.clear()
    assert asked.look(watch, at=began + 3_630_000).snapshot.symbol == BTC


def test_terms_that_cannot_be_read_again_stay_as_they_were_known() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    asked.away = {Endpoint.INSTRUMENTS}
    assert asked.look(watch, at=market.now_ms + 3_600_000).snapshot.instrument.ct_val == D("0.01")
    assert watch.faults == ["contract terms: no answer: it is away"]


def test_an_unknown_instrument_is_told_with_its_cure() -> None:
    asked = Asked(exchange())
    with pytest.raises(NotTraded, match="correct its name in INSTRUMENTS"):
        asked.look(InstrumentWatch("BTX-USDT-SWAP", asked))


def test_funding_and_open_interest_may_be_missing_and_are_null_then() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.away = {Endpoint.FUNDING_RATE, Endpoint.OPEN_INTEREST}
    snapshot = asked.look(watch).snapshot
    assert (snapshot.funding_rate, snapshot.next_funding_at, snapshot.open_interest) == (None, None, None)
    assert len(watch.faults) == 2


@pytest.mark.parametrize("endpoint", [Endpoint.TICKER, Endpoint.MARK_PRICE])
def test_without_a_price_there_is_no_snapshot(endpoint: Endpoint) -> None:
    asked, watch = opened(exchange(700))
    asked.away = {endpoint}
    with pytest.raises(NoAnswer):
        asked.look(watch)
    asked.away = set()
    asked.look(watch)
    assert Endpoint.CANDLES not in {asked_for for asked_for, _ in asked.questions}  # what was learnt is kept


def test_a_warm_up_that_is_broken_off_goes_on_where_it_was() -> None:
    market = exchange(3000)
    asked, watch = opened(market)
    answered = iter(range(3))

    def for_a_while(endpoint: Endpoint, query: Mapping[str, str]) -> list[Any]:
        if endpoint is Endpoint.CANDLES and next(answered, None) is None:
            raise NoAnswer("no answer")
        return asked(endpoint, query)

    broken = InstrumentWatch(BTC, for_a_while)
    with pytest.raises(NoAnswer):
        broken.look(lambda: time_of(market.now_ms))
    broken._ask = asked
    asked.look(broken)
    assert sum(endpoint is Endpoint.CANDLES for endpoint, _ in asked.questions) == 4
    assert asked.look(watch).snapshot == asked.look(InstrumentWatch(BTC, asked)).snapshot
    assert broken.feed is not None
    assert watch.feed is not None
    assert broken.feed._engine.values == watch.feed._engine.values


def test_a_bar_that_is_late_is_waited_for_and_then_nothing_old_is_told_as_new() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    boundary = START_MS + 701 * STEP_MS
    market.missing.add(("5m", boundary - STEP_MS))
    assert asked.look(watch, at=boundary + 2_000).snapshot.timestamp == time_of(boundary + 2_000)
    assert asked.look(watch, at=boundary + 60_000).snapshot.timestamp == time_of(boundary + 60_000)
    with pytest.raises(NothingNew, match="the bar that closed at 10:25 has not been told yet"):
        asked.look(watch, at=boundary + 62_000)
    market.missing.clear()
    assert asked.look(watch, at=boundary + 92_000).snapshot.timestamp == time_of(boundary + 92_000)


def test_a_hole_between_bars_is_told_and_filled_when_the_bar_comes() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    market.missing.add(("5m", START_MS + 700 * STEP_MS))
    later = START_MS + 702 * STEP_MS + 2_000
    with pytest.raises(Gap, match="the 5m bar of 2026-01-03 10:20 is missing"):
        asked.look(watch, at=later)
    market.missing.clear()
    update = asked.look(watch, at=later + 30_000)
    fresh = asked.look(InstrumentWatch(BTC, asked))
    assert update.snapshot.model_copy(update={"oi_change_4h": None}) == fresh.snapshot


def test_a_bar_that_never_comes_begins_the_rolling_figures_anew() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    asked.look(watch)
    market.missing.add(("5m", START_MS + 700 * STEP_MS))
    now = START_MS + 702 * STEP_MS + 2_000
    for _ in range(GAP_TRIES + 2):
        with pytest.raises(OkxError):
            asked.look(watch, at=now)
        now += 30_000
    snapshot = asked.look(watch, at=now).snapshot
    assert (snapshot.price_change_1h, snapshot.volume_24h) == (None, None)
    assert snapshot.indicators.m15.bb_upper is not None  # the exchange tells the longer bars


def test_after_a_pause_longer_than_a_page_everything_is_read_anew() -> None:
    market = exchange(400)
    market.candles[BTC] = walk(1000)
    asked, watch = opened(market)
    asked.look(watch)
    update = asked.look(watch, at=START_MS + 900 * STEP_MS + 5_000)
    assert update.snapshot.timestamp == time_of(market.now_ms)
    assert sum(endpoint is Endpoint.CANDLES for endpoint, _ in asked.questions) >= 4


def test_a_pause_within_a_page_is_made_up_for_bar_by_bar() -> None:
    market = exchange(400)
    asked, watch = opened(market)
    asked.look(watch)
    snapshot = asked.look(watch, at=START_MS + 600 * STEP_MS + 5_000).snapshot
    assert [query["limit"] for endpoint, query in asked.questions if endpoint is Endpoint.CANDLES] == ["201"]
    fresh = asked.look(InstrumentWatch(BTC, asked)).snapshot
    assert (snapshot.volume_24h, snapshot.indicators) == (fresh.volume_24h, fresh.indicators)


def test_a_ticker_that_stands_still_is_not_told_again() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    market.ticker_ms = market.now_ms
    asked.look(watch)
    with pytest.raises(NothingNew, match="the ticker stands at 10:20:02"):
        asked.look(watch, at=market.now_ms + 30_000)
    market.ticker_ms = None
    asked.look(watch, at=market.now_ms + 30_000)


def test_a_ticker_from_before_the_newest_bar_closed_is_not_joined_to_it() -> None:
    market = exchange(700)
    market.ticker_ms = START_MS + 700 * STEP_MS - 1
    asked, watch = opened(market)
    with pytest.raises(NothingNew, match="the ticker stands"):
        asked.look(watch)


def test_the_change_of_open_interest_needs_four_hours_of_readings() -> None:
    market = exchange(400)
    asked, watch = opened(market)
    began = market.now_ms
    told = []
    for number in range(52):
        market.interest[BTC] = str(1000 + number)
        told.append(asked.look(watch, at=began + number * STEP_MS).snapshot.oi_change_4h)
    # At the close of a bar the newest reading is that of the round before.
    assert told[:49] == [None] * 49
    assert told[49:] == [(D(1000 + n) / D(1000 + n - 48) - 1).quantize(D("1e-8")) for n in (48, 49, 50)]


def test_a_restart_knows_the_open_interest_published_before() -> None:
    market = exchange(400)
    began = time_of(market.now_ms)
    readings = InterestReadings((began - timedelta(minutes=5 * n, seconds=1), D(2000 - n)) for n in range(60))
    asked = Asked(market)
    watch = InstrumentWatch(BTC, asked, interest=readings)
    assert asked.look(watch).snapshot.oi_change_4h == (D(1999) / D(1951) - 1).quantize(D("1e-8"))


def test_an_old_reading_of_open_interest_is_no_longer_known() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    readings = InterestReadings([(at, D(5))])
    assert readings.known_at(at - timedelta(seconds=1)) is None
    assert readings.known_at(at + timedelta(minutes=10)) == 5
    assert readings.known_at(at + timedelta(minutes=10, seconds=1)) is None
    readings.add(at, D(6))
    assert readings.known_at(at) == 5


def test_a_snapshot_tells_the_prices_since_the_one_before_it() -> None:
    market = exchange(700)
    asked, watch = opened(market)
    first = asked.look(watch)
    assert first.since is None
    second = asked.look(watch, at=market.now_ms + STEP_MS)
    assert second.since is not None
    prices = (first.snapshot.price, second.snapshot.price)
    assert (second.since.open, second.since.close) == prices
    assert (second.since.low, second.since.high) == (min(prices), max(prices))
    assert (second.since.open_at, second.since.funding) == (first.snapshot.timestamp, None)


@pytest.mark.parametrize(("settled", "paid"), [("0.00007", D("0.00007")), ("", D("0.0001"))])
def test_a_settlement_is_told_once_at_the_rate_that_was_settled(settled: str, paid: Decimal) -> None:
    market = exchange(700)
    due = (market.now_ms // FUNDING_MS + 1) * FUNDING_MS
    market.now_ms = due - 30_000
    asked, watch = opened(market)
    asked.look(watch)
    market.settled_rate, market.funding_rate = settled, "0.0003"
    update = asked.look(watch, at=due + 2_000)
    assert update.since is not None
    assert update.since.funding is not None
    assert (update.since.funding.rate, update.since.funding.settles_at) == (paid, time_of(due))
    assert update.snapshot.funding_rate == D("0.0003")
    after = asked.look(watch, at=due + 32_000)
    assert after.since is not None
    assert after.since.funding is None
