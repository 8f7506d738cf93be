import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from decisions.bars import milliseconds_of
from decisions.messages import MARKET_ALERTS, MARKET_SNAPSHOTS, MarketAlert, MarketSnapshot, decode, encode, parse
from decisions.sandbox.market import SOURCE, SandboxMarket, Step
from decisions.sandbox.opening import (
    FILE_MISTAKES,
    GENERATED_START,
    open_market,
    parse_source,
    parse_time,
    read_sources,
)
from decisions.sandbox.position import MarketError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_MS = milliseconds_of(NOON)


def candles(folder: Path, symbol: str, closes: Sequence[float], *, start: datetime = NOON, seconds: int = 300) -> Path:
    path = folder / f"okx_{symbol}_{seconds // 60}m_test.csv"
    rows = [
        f"{milliseconds_of(start) + number * seconds * 1000},{close},{close + 1},{close - 1},{close},10"
        for number, close in enumerate(closes)
    ]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
    return path


def readings(folder: Path, name: str, column: str, values: dict[datetime, str]) -> Path:
    path = folder / name
    path.write_text("\n".join([f"ts,{column}", *(f"{milliseconds_of(at)},{value}" for at, value in values.items())]))
    return path


def opened(*paths: Path, **options: Any) -> SandboxMarket:
    return open_market(candles=[parse_source(str(path)) for path in paths], **options)


def steps(market: SandboxMarket, most: int = 10_000) -> list[Step]:
    taken: list[Step] = []
    while len(taken) < most and (step := market.step()):
        taken.append(step)
    return taken


def alerts(taken: list[Step]) -> list[tuple[str, datetime]]:
    return [(alert.kind, step.closed_at) for step in taken for update in step.updates for alert in update.alerts]


def test_a_snapshot_carries_the_close_of_its_bar_as_its_time(tmp_path: Path) -> None:
    market = opened(candles(tmp_path, "BTC-USDT-SWAP", [100, 101, 102, 103]), start=NOON + timedelta(minutes=5))
    first, *_, last = steps(market)
    (update,) = first.updates
    assert update.snapshot.timestamp == first.closed_at == NOON + timedelta(minutes=10)
    assert update.bar.open_at == NOON + timedelta(minutes=5)
    assert update.snapshot.price == update.bar.close == 101
    assert last.closed_at == NOON + timedelta(minutes=20)
    assert market.step() is None


def test_instruments_go_in_step_within_the_time_all_of_them_have(tmp_path: Path) -> None:
    btc = candles(tmp_path, "BTC-USDT-SWAP", range(100, 110))
    eth = candles(tmp_path, "ETH-USDT-SWAP", range(50, 60), start=NOON + timedelta(minutes=15))
    taken = steps(opened(btc, eth, start=NOON + timedelta(minutes=15)))
    assert len(taken) == 7
    assert [[update.symbol for update in step.updates] for step in taken] == [["BTC-USDT-SWAP", "ETH-USDT-SWAP"]] * 7
    assert [[update.snapshot.price for update in step.updates] for step in taken[:2]] == [[103, 50], [104, 51]]
    assert all(later.closed_at - sooner.closed_at == timedelta(minutes=5) for sooner, later in pairwise(taken))


def test_messages_are_what_the_readers_expect(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100] * 15 + [110])
    *_, last = steps(opened(path, start=NOON))
    (snapshot_stream, snapshot), (alert_stream, alert) = last.envelopes()
    assert (snapshot_stream, alert_stream) == (MARKET_SNAPSHOTS, MARKET_ALERTS)
    assert snapshot.source == alert.source == SOURCE
    read = decode({key.encode(): value.encode() for key, value in encode(snapshot).items()})
    message = parse(MARKET_SNAPSHOTS, read)
    assert isinstance(message, MarketSnapshot)
    assert message == last.updates[0].snapshot
    assert read.payload["bar"] == {
        "open_at": "2026-01-01T13:15:00Z", "open": "110", "high": "111", "low": "109", "close": "110", "volume": "10",
        "seconds": 300, "funding": None,
    }  # fmt: skip
    parsed = parse(MARKET_ALERTS, alert)
    assert isinstance(parsed, MarketAlert)
    assert (parsed.kind, parsed.value, parsed.detail) == (
        "price_spike",
        Decimal("0.1"),
        "price over the last hour: +10.0000%",
    )


def test_a_spike_is_told_once_until_it_has_gone_and_come_back(tmp_path: Path) -> None:
    closes = [100.0] * 13 + [104.0] * 20 + [100.0] * 20
    taken = steps(opened(candles(tmp_path, "BTC-USDT-SWAP", closes), start=NOON))
    assert alerts(taken) == [
        ("price_spike", NOON + timedelta(minutes=5 * 14)),
        ("price_spike", NOON + timedelta(minutes=5 * 34)),
    ]


def test_a_change_of_exactly_the_threshold_is_no_spike(tmp_path: Path) -> None:
    closes = [100.0] * 13 + [103.0] * 2
    assert alerts(steps(opened(candles(tmp_path, "BTC-USDT-SWAP", closes), start=NOON))) == []


def test_a_market_taken_up_in_the_middle_of_a_spike_does_not_tell_it_again(tmp_path: Path) -> None:
    closes = [100.0] * 13 + [104.0] * 10
    path = candles(tmp_path, "BTC-USDT-SWAP", closes)
    assert alerts(steps(opened(path, start=NOON + timedelta(minutes=5 * 16)))) == []


def test_funding_is_published_when_it_settles_and_not_before(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 110)
    four, midnight = NOON + timedelta(hours=4), NOON + timedelta(hours=12)
    rates = readings(tmp_path, "rates.csv", "rate", {four: "0.0001", midnight: "0.0007"})
    taken = steps(opened(path, start=NOON, funding={"BTC-USDT-SWAP": rates}))
    for step in taken:
        (update,) = step.updates
        known = None if step.closed_at < four else Decimal("0.0001")
        assert update.snapshot.funding_rate == known
        assert update.snapshot.next_funding_at == (None if step.closed_at < four else midnight)
        assert (update.bar.funding is not None) == (step.closed_at == four)
    settled = next(step.updates[0].bar for step in taken if step.closed_at == four)
    assert settled.funding is not None
    assert (settled.funding.rate, settled.funding.settles_at) == (Decimal("0.0001"), four)


def test_a_funding_rate_is_no_longer_known_when_the_record_has_ended(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 150)
    rates = readings(tmp_path, "rates.csv", "rate", {NOON: "0.0009"})
    taken = steps(opened(path, start=NOON, funding={"BTC-USDT-SWAP": rates}))
    assert taken[95].closed_at == NOON + timedelta(hours=8)
    assert [step.updates[0].snapshot.funding_rate for step in taken[95:97]] == [Decimal("0.0009"), None]
    assert alerts(taken) == [("funding_spike", NOON + timedelta(minutes=5))]


def test_open_interest_is_the_last_reading_and_its_change_is_told(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 100)
    hourly = {NOON + timedelta(hours=number): "1000" if number < 5 else "1200" for number in range(7)}
    oi = readings(tmp_path, "oi.csv", "oi", hourly)
    taken = steps(opened(path, start=NOON, open_interest={"BTC-USDT-SWAP": oi}))
    at = {step.closed_at: step.updates[0].snapshot for step in taken}
    assert at[NOON + timedelta(hours=4, minutes=55)].oi_change_4h == 0
    assert at[NOON + timedelta(hours=5)].open_interest == 1200
    assert at[NOON + timedelta(hours=5)].oi_change_4h == Decimal("0.2")
    assert at[NOON + timedelta(hours=7, minutes=55)].open_interest == 1200
    assert at[NOON + timedelta(hours=8)].open_interest is None
    assert alerts(taken) == [("oi_spike", NOON + timedelta(hours=5))]


def test_a_market_goes_on_after_the_last_remembered_step(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0 + number % 7 for number in range(100)])
    whole = steps(opened(path, start=NOON))
    first = opened(path, start=NOON, local_dir=tmp_path)
    for step in steps(first, 30):
        first.remember(step)
    second = opened(path, start=NOON, local_dir=tmp_path)
    assert second.next_opens_at == NOON + timedelta(minutes=5 * 30)
    assert [step.updates for step in steps(second)] == [step.updates for step in whole[30:]]


def test_a_bar_that_was_not_remembered_is_the_same_message_after_a_restart(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0 + number % 7 for number in range(50)])
    before, again = (opened(path, start=NOON, local_dir=tmp_path).step() for _ in range(2))
    assert before is not None
    assert again is not None
    assert before.envelopes() == again.envelopes()


def test_another_run_of_the_same_market_is_not_taken_for_a_repetition(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0 + number % 7 for number in range(50)])
    ids = []
    for folder in ("one", "other"):
        step = opened(path, start=NOON, local_dir=tmp_path / folder).step()
        assert step is not None
        ids += [envelope.msg_id for _, envelope in step.envelopes()]
    assert len(set(ids)) == len(ids)


def test_a_step_that_was_not_remembered_is_published_again_as_the_same_messages(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 20)
    (lost,) = steps(opened(path, start=NOON, local_dir=tmp_path), 1)
    (again,) = steps(opened(path, start=NOON, local_dir=tmp_path), 1)
    assert [envelope for _, envelope in again.envelopes()] == [envelope for _, envelope in lost.envelopes()]


def test_a_market_that_was_played_to_its_end_stays_ended(tmp_path: Path) -> None:
    path = candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 5)
    market = opened(path, start=NOON, local_dir=tmp_path)
    for step in steps(market):
        market.remember(step)
    assert opened(path, start=NOON, local_dir=tmp_path).step() is None


def test_another_market_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    market = open_market(instruments=["BTC-USDT-SWAP"], seed=1, local_dir=tmp_path)
    market.remember(steps(market, 1)[0])
    with pytest.raises(MarketError, match=r"holds the position of another market .*seed 1.* use another LOCAL_DIR"):
        open_market(instruments=["BTC-USDT-SWAP"], seed=2, local_dir=tmp_path)


def test_a_position_that_cannot_be_understood_is_told(tmp_path: Path) -> None:
    (tmp_path / "market").mkdir()
    (tmp_path / "market" / "position.json").write_text('{"closed_at": ')
    with pytest.raises(MarketError, match=r"position\.json cannot be understood; remove it"):
        open_market(instruments=["BTC-USDT-SWAP"], local_dir=tmp_path)


def test_the_generated_market_is_warm_from_its_first_step_and_goes_on_the_same_after_a_restart(tmp_path: Path) -> None:
    symbols = ["BTC-USDT-SWAP", "DOGE-USDT-SWAP"]
    market = open_market(instruments=symbols, seed=3, local_dir=tmp_path)
    taken = steps(market, 120)
    assert taken[0].closed_at == GENERATED_START + timedelta(minutes=5)
    dumped = [update.snapshot.model_dump() for update in taken[0].updates]
    assert all(None not in snapshot.values() for snapshot in dumped)
    assert all(None not in timeframe.values() for snapshot in dumped for timeframe in snapshot["indicators"].values())
    assert sum(update.bar.funding is not None for step in taken for update in step.updates) == 2
    market.remember(taken[59])
    resumed = open_market(instruments=symbols, seed=3, local_dir=tmp_path)
    assert [step.envelopes() for step in steps(resumed, 60)] == [step.envelopes() for step in taken[60:]]


def test_every_message_has_an_id_of_its_own() -> None:
    taken = steps(open_market(instruments=["BTC-USDT-SWAP", "ETH-USDT-SWAP"]), 1500)
    ids = [envelope.msg_id for step in taken for _, envelope in step.envelopes()]
    assert len(set(ids)) == len(ids) > 3000


def test_what_is_later_in_the_files_changes_nothing_before(tmp_path: Path) -> None:
    closes = [100.0 + number % 11 for number in range(600)]
    (tmp_path / "other").mkdir()
    one = candles(tmp_path, "BTC-USDT-SWAP", closes)
    other = candles(tmp_path / "other", "BTC-USDT-SWAP", closes[:400] + [close * 2 for close in closes[400:]])
    rates = {NOON + timedelta(hours=8 * number): "0.0001" for number in range(7)}
    later = {at: "0.0001" if at <= NOON + timedelta(minutes=5 * 400) else "0.002" for at in rates}
    taken, changed = (
        steps(opened(path, start=NOON, funding={"BTC-USDT-SWAP": readings(path.parent, "rates.csv", "rate", values)}))
        for path, values in ((one, rates), (other, later))
    )
    assert [step.updates for step in taken[:400]] == [step.updates for step in changed[:400]]
    assert taken[400].updates != changed[400].updates


def test_a_recorded_market_starts_by_itself_once_everything_is_warm(recorded: Path) -> None:
    path = recorded / "okx_ETH-USDT-SWAP_5m_20220501_20221231.csv.gz"
    market = opened(path)
    assert market.next_opens_at == datetime(2022, 5, 1, tzinfo=UTC) + timedelta(hours=4 * 1001)
    (step,) = steps(market, 1)
    indicators = json.loads(step.updates[0].snapshot.indicators.model_dump_json(by_alias=True))
    assert all(None not in timeframe.values() for timeframe in indicators.values())


# --- what a command line says ---------------------------------------------------------------------------------------


def told(folder: Path, **changes: Any) -> dict[str, Any]:
    """The options of a market of BTC with funding, both files named without their instrument."""
    paths = [folder / f"okx_BTC-USDT-SWAP_{kind}.csv" for kind in ("5m", "funding")]
    for path in paths:
        path.touch()
    return {"market": [str(paths[0])], "funding": [str(paths[1])], "oi": [], "start": None} | changes


def test_an_instrument_may_be_said_or_is_told_by_the_files_name(tmp_path: Path) -> None:
    sources = read_sources(**told(tmp_path))
    assert sources.candles == {"BTC-USDT-SWAP": tmp_path / "okx_BTC-USDT-SWAP_5m.csv"}
    assert sources.funding == {"BTC-USDT-SWAP": tmp_path / "okx_BTC-USDT-SWAP_funding.csv"}
    said = f"BTC-USDT-SWAP={tmp_path / 'okx_BTC-USDT-SWAP_funding.csv'}"
    assert read_sources(**told(tmp_path, funding=[said])) == sources


def test_what_is_told_to_another_process_means_the_same_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = told(tmp_path, oi=["BTC-USDT-SWAP=okx_BTC-USDT-SWAP_5m.csv"], start="2022-11-01T08:00")
    sources = read_sources(**given)
    monkeypatch.chdir("/")
    words = sources.arguments()
    values = {name: [value for option, value in zip(words[::2], words[1::2], strict=True) if option == name]
              for name in ("--market", "--funding", "--oi", "--start")}  # fmt: skip
    assert values["--start"] == ["2022-11-01T08:00:00+00:00"]
    again = read_sources(market=values["--market"], funding=values["--funding"], oi=values["--oi"], start=words[-1])
    assert again == sources


def test_a_generated_market_is_told_nothing() -> None:
    assert read_sources(market=[], funding=[], oi=[], start=None).arguments() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"funding": ["{0}/okx_BTC-USDT-SWAP_funding.csv"] * 2}, "--funding: more than one file for BTC-USDT-SWAP"),
        ({"market": ["{0}/okx_BTC-USDT-SWAP_5m.csv"] * 2}, "--market: more than one file for BTC-USDT-SWAP"),
        ({"market": []}, "for BTC-USDT-SWAP, but no candles: add --market"),
        ({"oi": ["ETH-USDT-SWAP={0}/okx_BTC-USDT-SWAP_5m.csv"]}, "for ETH-USDT-SWAP, but no candles"),
        ({"market": ["FOO-USDT-SWAP={0}/okx_BTC-USDT-SWAP_5m.csv"], "funding": []}, "no contract terms .* FOO-USDT"),
        ({"funding": ["{0}/absent.csv"]}, "No such file: .*/absent.csv"),
        ({"start": "soon"}, "--start soon: not a time"),
        ({"start": "0001-01-01T00:00+14:00"}, r"--start 0001-01-01T00:00\+14:00: not a time"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_told_before_any_file_is_read(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    filled = {name: [each.format(tmp_path) for each in value] if isinstance(value, list) else value
              for name, value in changes.items()}  # fmt: skip
    with pytest.raises(FILE_MISTAKES, match=sentence):
        read_sources(**told(tmp_path, **filled))


@pytest.mark.parametrize("text", ["2022-11-01T08:00", "2022-11-01T08:00Z", "2022-11-01T10:00+02:00"])
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    assert parse_time(text) == datetime(2022, 11, 1, 8, tzinfo=UTC)
    assert parse_time(text).tzinfo is UTC


def refuse(match: str, **options: Any) -> None:
    with pytest.raises(MarketError, match=match):
        open_market(**options)


def test_markets_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    btc = ("BTC-USDT-SWAP", candles(tmp_path, "BTC-USDT-SWAP", [100.0] * 50))
    quarter = ("ETH-USDT-SWAP", candles(tmp_path, "ETH-USDT-SWAP", [100.0] * 50, seconds=900))
    later = ("SOL-USDT-SWAP", candles(tmp_path, "SOL-USDT-SWAP", [100.0] * 50, start=NOON + timedelta(days=2)))
    rates = {"ETH-USDT-SWAP": readings(tmp_path, "rates.csv", "rate", {NOON: "0"})}
    refuse("not of one length: BTC-USDT-SWAP 5 min, ETH-USDT-SWAP 15 min", candles=[btc, quarter])
    refuse("do not overlap", candles=[btc, later])
    refuse("BTC-USDT-SWAP: more than one market", candles=[btc, btc])
    refuse("ETH-USDT-SWAP, but no candles: add --market", candles=[btc], funding=rates)
    refuse("ETH-USDT-SWAP, but no candles: add --market", instruments=["ETH-USDT-SWAP"], funding=rates)
    refuse("at least one instrument")
    refuse("no bar at 2026-01-01 11:00: .* from 2026-01-01 12:00 to 2026-01-01 16:05", candles=[btc],
           start=NOON - timedelta(hours=1))  # fmt: skip
    refuse("no bar at 2026-01-01 18:00", candles=[btc], start=NOON + timedelta(hours=6))
