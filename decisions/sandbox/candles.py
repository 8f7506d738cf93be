"""Historical candles, funding rates and open interest from CSV files, plain or gzip.

Candles have the columns `ts,open,high,low,close,volume`, funding `ts,rate`, open interest `ts,oi` (USD). `ts` is
milliseconds since the Unix epoch, UTC: a candle's opening, a settlement's or a reading's own time. Columns may stand in
any order and others beside them. Everything is checked when a file is read, and an error names file and line.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decisions.bars import BarSeries, first_fault, time_of

BAR_LENGTHS = (300, 900)
"""Seconds. Longer bars cannot show the 15 minute timeframe."""

_CANDLE_COLUMNS = ("ts", "open", "high", "low", "close", "volume")
_SYMBOL_PATTERNS = (
    (re.compile(r"^okx_([A-Z0-9]+-[A-Z0-9]+-SWAP)_"), "{}"),
    (re.compile(r"^binance_([A-Z0-9]+)USDT_"), "{}-USDT-SWAP"),
    (re.compile(r"^hyperliquid_([A-Z0-9]+)_"), "{}-USDT-SWAP"),
)


class DataFileError(ValueError):
    """A file that cannot be used. The text names the file, the line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed bar with the exact text of its figures as Decimals. Volume in base coin."""

    open_at: datetime
    seconds: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class _Table:
    """A parsed file: the columns asked for as floats, and the cells' text for those who need it exactly."""

    path: Path
    positions: tuple[int, ...]
    lines: Sequence[str]
    values: NDArray[np.float64]

    @property
    def times(self) -> NDArray[np.int64]:
        return self.values[:, 0].astype(np.int64)

    def exact(self, index: int) -> list[Decimal]:
        """The row's figures but its time, as Decimals."""
        cells = self.lines[index].split(",")
        return [Decimal(cells[position].strip()) for position in self.positions[1:]]

    def error(self, index: int, reason: str) -> DataFileError:
        return DataFileError(f"{self.path}, line {index + 2}: {reason}")


class CandleFile:
    """The candles of one file: contiguous, possible, oldest first."""

    def __init__(self, path: Path) -> None:
        table = _read(path, _CANDLE_COLUMNS)
        self._table = table
        self.path = path
        self.bar_seconds = _bar_length(table)
        self.bars = BarSeries(table.times, *(np.ascontiguousarray(column) for column in table.values[:, 1:].T))
        fault = first_fault(self.bars, self.bar_seconds)
        if fault:
            raise table.error(*fault)
        if self.first_open_ms % (self.bar_seconds * 1000):
            raise table.error(0, f"ts is not on a {self.bar_seconds // 60} minute boundary")

    @property
    def first_open_ms(self) -> int:
        return int(self.bars.open_ms[0])

    @property
    def last_open_ms(self) -> int:
        return int(self.bars.open_ms[-1])

    def index_of(self, open_ms: int) -> int:
        return (open_ms - self.first_open_ms) // (self.bar_seconds * 1000)

    def candle(self, open_ms: int) -> Candle:
        """The candle that opened at `open_ms`, which must lie within the file."""
        figures = self._table.exact(self.index_of(open_ms))
        return Candle(time_of(open_ms), self.bar_seconds, *figures)


class ReadingsFile:
    """Dated readings of one figure: funding rates by settlement, or open interest."""

    def __init__(self, path: Path, column: str, possible: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> None:
        self._table = _read(path, ("ts", column))
        self.times_ms = self._table.times
        figures = self._table.values[:, 1]
        self._refuse_first(~np.isfinite(figures) | ~possible(figures), f"{column} is not possible")
        self._refuse_first(np.diff(self.times_ms, prepend=-1) <= 0, "ts does not come after the line before")

    def last_before(self, moment_ms: int) -> tuple[int, Decimal] | None:
        """Time and value of the newest reading at or before `moment_ms`."""
        index = int(self.times_ms.searchsorted(moment_ms, side="right")) - 1
        return (int(self.times_ms[index]), self._table.exact(index)[0]) if index >= 0 else None

    def next_after(self, moment_ms: int) -> int | None:
        """Time of the first reading after `moment_ms`."""
        index = int(self.times_ms.searchsorted(moment_ms, side="right"))
        return int(self.times_ms[index]) if index < len(self.times_ms) else None

    def _refuse_first(self, bad: NDArray[np.bool_], reason: str) -> None:
        if bad.any():
            raise self._table.error(int(bad.argmax()), reason)


def read_funding(path: Path) -> ReadingsFile:
    """Funding rates as fractions an interval. Raises `DataFileError`."""
    return ReadingsFile(path, "rate", lambda rates: np.abs(rates) < 1)


def read_open_interest(path: Path) -> ReadingsFile:
    """Open interest in USD. Raises `DataFileError`."""
    return ReadingsFile(path, "oi", lambda figures: figures >= 0)


def symbol_of(path: Path) -> str:
    """The instrument a file is about, by its name: `okx_BTC-USDT-SWAP_...`, `binance_BTCUSDT_...`.

    Raises `DataFileError`.
    """
    for pattern, form in _SYMBOL_PATTERNS:
        match = pattern.match(path.name)
        if match:
            return form.format(match[1])
    raise DataFileError(f"{path}: the name does not tell the instrument, say it: BTC-USDT-SWAP={path.name}")


def _read(path: Path, columns: tuple[str, ...]) -> _Table:
    lines = _lines(path)
    header = [name.strip() for name in lines[0].split(",")] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataFileError(f"{path}, line 1: no column {', '.join(missing)}; expected {','.join(columns)}")
    positions = tuple(header.index(name) for name in columns)
    if len(lines) == 1:
        raise DataFileError(f"{path}: there is nothing below the header")
    try:
        values: Any = np.loadtxt(lines[1:], delimiter=",", usecols=positions, comments=None, ndmin=2)
    except ValueError as error:
        raise _first_unreadable(path, lines, columns, positions) from error
    table = _Table(path, positions, lines[1:], values)
    if len(values) != len(lines) - 1:
        empty = next(number for number, line in enumerate(lines, start=1) if not line.strip())
        raise DataFileError(f"{path}, line {empty}: the line is empty")
    off = ~np.isfinite(values[:, 0]) | (values[:, 0] != np.floor(values[:, 0])) | (values[:, 0] <= 0)
    if off.any():
        raise table.error(int(off.argmax()), "ts is not a time in whole milliseconds")
    return table


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().rstrip().splitlines()
    except FileNotFoundError:
        raise DataFileError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataFileError(f"{path}: cannot be read: {error}") from error


def _first_unreadable(
    path: Path, lines: Sequence[str], columns: Sequence[str], positions: Sequence[int]
) -> DataFileError:
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        for name, position in zip(columns, positions, strict=True):
            if position >= len(cells):
                return DataFileError(f"{path}, line {number}: no value for {name}")
            try:
                float(cells[position])
            except ValueError:
                return DataFileError(f"{path}, line {number}: {name} is not a number: {cells[position][:40]!r}")
    return DataFileError(f"{path}: cannot be read as numbers")


def _bar_length(table: _Table) -> int:
    if len(table.lines) < 2:
        raise table.error(0, "one bar is no history")
    seconds = int(table.times[1] - table.times[0]) // 1000
    if seconds not in BAR_LENGTHS:
        raise table.error(1, f"bars of {seconds} s; 5 and 15 minutes can be used")
    return seconds
