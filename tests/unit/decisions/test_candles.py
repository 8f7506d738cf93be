import gzip
import re
from decimal import Decimal
from pathlib import Path

import pytest

from decisions.bars import time_of
from decisions.sandbox.candles import (
    Candle,
    CandleFile,
    DataFileError,
    read_funding,
    read_open_interest,
    symbol_of,
)

HEADER = "ts,open,high,low,close,volume"
NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
ROWS = [
    f"{NOON},100,102,99.5,101.25,7",
    f"{NOON + 300_000},101.25,103.10,101,102,0",
    f"{NOON + 600_000},102,102,100,100.5,12.750",
]


@pytest.fixture
def write(tmp_path: Path):
    def written(*lines: str, name: str = "candles.csv") -> Path:
        path = tmp_path / name
        text = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    return written


@pytest.mark.parametrize("name", ["candles.csv", "candles.csv.gz"])
def test_candles_keep_the_exact_text_of_their_figures(write, name: str) -> None:
    candles = CandleFile(write(HEADER, *ROWS, name=name))
    assert (candles.bar_seconds, len(candles.bars)) == (300, 3)
    candle = candles.candle(NOON + 300_000)
    figures = (Decimal("101.25"), Decimal("103.10"), Decimal("101"), Decimal("102"), Decimal("0"))
    assert candle == Candle(time_of(NOON + 300_000), 300, *figures)
    assert str(candle.high) == "103.10"


def test_columns_may_stand_in_any_order_with_others_between(write) -> None:
    shuffled = [HEADER.split(","), *(row.split(",") for row in ROWS)]
    lines = [",".join([cells[5], "note", cells[0], *cells[1:5]]) for cells in shuffled]
    candles = CandleFile(write(*lines))
    assert candles.candle(NOON).close == Decimal("101.25")
    assert candles.bars.volume.tolist() == [7.0, 0.0, 12.75]


def test_crlf_and_a_missing_last_newline_are_read(tmp_path: Path) -> None:
    path = tmp_path / "candles.csv"
    path.write_bytes("\r\n".join([HEADER, *ROWS]).encode())
    assert CandleFile(path).candle(NOON + 600_000).volume == Decimal("12.750")


BROKEN = {
    "a missing column": (["ts,open,high,low,close", *ROWS], "line 1: no column volume; expected ts,open"),
    "no header": (ROWS, "line 1: no column ts, open"),
    "nothing": ([], "line 1: no column"),
    "only a header": ([HEADER], "nothing below the header"),
    "one bar": ([HEADER, ROWS[0]], "line 2: one bar is no history"),
    "text for a number": ([HEADER, ROWS[0], ROWS[1].replace("103.10", "n/a")], "line 3: high is not a number: 'n/a'"),
    "a cut line": ([HEADER, ROWS[0], f"{NOON + 300_000},101"], "line 3: no value for high"),
    "an empty line": ([HEADER, ROWS[0], "", ROWS[1]], "line 3: "),
    "an empty cell": ([HEADER, ROWS[0], ROWS[1].replace("103.10", "")], "line 3: high is not a number: ''"),
    "not a number": ([HEADER, ROWS[0], ROWS[1].replace("103.10", "nan")], "line 3: a value is not a finite number"),
    "a negative price": ([HEADER, *ROWS[:2], ROWS[2].replace(",100,", ",-100,")], "line 4: a price is not positive"),
    "a high that is not": ([HEADER, ROWS[0], ROWS[1].replace("103.10", "101.5")], "line 3: the high is not"),
    "a time twice": ([HEADER, ROWS[0], ROWS[1], ROWS[1]], "line 4: its time does not come after"),
    "time backwards": ([HEADER, ROWS[0], ROWS[1], ROWS[0]], "line 4: its time does not come after"),
    "a gap": ([HEADER, ROWS[0], ROWS[1], ROWS[2].replace(str(NOON + 600_000), str(NOON + 1_200_000))],
              "line 4: a gap of 2 bars after 2026-01-01 12:05"),
    "hours": ([HEADER, ROWS[0], ROWS[1].replace(str(NOON + 300_000), str(NOON + 3_600_000))],
              "line 3: bars of 3600 s; 5 and 15 minutes can be used"),
    "seconds for milliseconds": ([HEADER, *(row.replace("00000,", "00,", 1) for row in ROWS)], "line 3: bars of"),
    "a fraction of a millisecond": ([HEADER, ROWS[0].replace(",", ".5,", 1), ROWS[1]], "line 2: ts is not a time"),
    "an odd minute": ([HEADER, *(row.replace("00000,", "60000,", 1) for row in ROWS)],
                      "line 2: ts is not on a 5 minute boundary"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_by_file_and_line(write, lines: list[str], reason: str) -> None:
    path = write(*lines)
    with pytest.raises(DataFileError, match=re.escape(reason)) as refused:
        CandleFile(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_not_gzip_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="there is no such file"):
        CandleFile(tmp_path / "nowhere.csv")
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress("\n".join([HEADER, *ROWS]).encode())[:40])
    with pytest.raises(DataFileError, match="cannot be read"):
        CandleFile(torn)
    torn.write_bytes(b"not gzip at all")
    with pytest.raises(DataFileError, match="cannot be read"):
        CandleFile(torn)


def test_readings_are_known_from_their_own_time_on(write) -> None:
    rates = read_funding(write("ts,rate", f"{NOON},0.0001", f"{NOON + 28_800_000},-5.365e-05"))
    assert rates.last_before(NOON - 1) is None
    assert rates.last_before(NOON) == (NOON, Decimal("0.0001"))
    assert rates.last_before(NOON + 28_799_999) == (NOON, Decimal("0.0001"))
    assert rates.last_before(NOON + 99_999_999) == (NOON + 28_800_000, Decimal("-0.00005365"))
    assert rates.next_after(NOON - 1) == NOON
    assert rates.next_after(NOON) == NOON + 28_800_000
    assert rates.next_after(NOON + 28_800_000) is None


@pytest.mark.parametrize(
    ("read", "lines", "reason"),
    [
        (read_funding, ["ts,rate", f"{NOON},1.5"], "line 2: rate is not possible"),
        (read_funding, ["ts,rate", f"{NOON},nan"], "line 2: rate is not possible"),
        (read_funding, ["ts,oi", f"{NOON},5"], "line 1: no column rate"),
        (read_open_interest, ["ts,oi", f"{NOON},5", f"{NOON + 1},-5"], "line 3: oi is not possible"),
        (read_open_interest, ["ts,oi", f"{NOON},5", f"{NOON},5"], "line 3: ts does not come after"),
    ],
)
def test_impossible_readings_are_refused(write, read, lines: list[str], reason: str) -> None:
    with pytest.raises(DataFileError, match=reason):
        read(write(*lines))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("okx_BTC-USDT-SWAP_5m_20220501_20221231.csv.gz", "BTC-USDT-SWAP"),
        ("okx_DOGE-USDT-SWAP_funding_20260220.csv", "DOGE-USDT-SWAP"),
        ("binance_ETHUSDT_15m_20260219_20260517.csv.gz", "ETH-USDT-SWAP"),
        ("hyperliquid_SOL_oi-usd_20260219_20260307.csv.gz", "SOL-USDT-SWAP"),
    ],
)
def test_the_symbol_is_read_from_the_name(name: str, symbol: str) -> None:
    assert symbol_of(Path("somewhere") / name) == symbol


def test_a_name_that_tells_no_symbol_is_refused_with_the_cure() -> None:
    with pytest.raises(DataFileError, match=r"BTC-USDT-SWAP=mine\.csv"):
        symbol_of(Path("mine.csv"))


def test_every_recorded_file_of_five_and_fifteen_minutes_is_read(recorded: Path) -> None:
    paths = sorted([*recorded.glob("*_5m_*.csv.gz"), *recorded.glob("*_15m_*.csv.gz")])
    assert paths
    for path in paths:
        candles = CandleFile(path)
        assert float(candles.candle(candles.last_open_ms).close) == candles.bars.close[-1]


def test_every_recorded_funding_and_open_interest_file_is_read(recorded: Path) -> None:
    funding = [read_funding(path) for path in recorded.glob("*_funding_*.csv.gz")]
    interest = [read_open_interest(path) for path in recorded.glob("*_oi-usd_*.csv.gz")]
    assert funding
    assert interest
    assert min(len(file.times_ms) for file in funding + interest) > 40
