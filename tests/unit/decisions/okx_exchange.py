"""OKX as its public interface shows it: the shapes as recorded, over candles and a clock of our own."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from decisions.okx.pace import Endpoint
from decisions.okx.rows import data_in
from decisions.snapshot import quotes

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
START_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""
STEP_MS = 300_000
FUNDING_MS = 8 * 3_600_000
TERMS = {ETH: ("0.1", "0.01")}
LENGTHS = {"5m": 300, "15m": 900, "1H": 3600, "4H": 14_400}
RECENT = 1440
"""How many candles `market/candles` knows."""

Row = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]
"""Opening in milliseconds, open, high, low, close, volume in base coin."""


def walk(count: int, *, seed: int = 7, price: float = 20_000.0, start_ms: int = START_MS) -> list[Row]:
    """So many five-minute candles of a seeded random walk."""
    rng = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.002, count))), 1)
    opened = np.concatenate(([price], close[:-1]))
    high = np.round(np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.001, count))), 1) + 0.1
    low = np.round(np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.001, count))), 1) - 0.1
    volume = np.round(rng.uniform(1, 100, count), 2)
    columns = (opened, high, low, close, volume)
    return [
        (start_ms + number * STEP_MS, *(Decimal(str(round(float(figure), 2))) for figure in figures))  # type: ignore[misc]
        for number, figures in enumerate(zip(*columns, strict=True))
    ]


def folded(rows: Iterable[Row], seconds: int) -> list[Row]:
    """Candles of another length. The first and the last may be parts."""
    found: list[Row] = []
    for at, first, high, low, last, volume in rows:
        opened = at // (seconds * 1000) * seconds * 1000
        if found and found[-1][0] == opened:
            _, before, highest, lowest, _, sold = found[-1]
            found[-1] = (opened, before, max(highest, high), min(lowest, low), last, sold + volume)
        else:
            found.append((opened, first, high, low, last, volume))
    return found


@dataclass
class Exchange:
    """Answers each path as OKX does. `now_ms` is its time: the candle in which that lies is forming, and wrong on
    purpose; later ones it does not know. `missing` are bars it does not tell, as (name of the length, opening)."""

    candles: dict[str, list[Row]]
    now_ms: int
    missing: set[tuple[str, int]] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)
    funding_rate: str = "0.0001"
    settled_rate: str = "0.00007"
    interest: dict[str, str] = field(default_factory=dict)
    ticker_ms: int | None = None
    """When the ticker last moved; None: now."""
    _folded: dict[tuple[str, str], list[Row]] = field(default_factory=dict)

    def answer(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON of an answer. `path` as in `market/ticker`."""
        symbol = query.get("instId", "")
        if path != Endpoint.TIME.path and symbol not in self.candles:
            code = "51001"
            return {"code": code, "msg": "Instrument ID, Instrument ID code, or Spread ID doesn't exist.", "data": []}
        rows = {
            Endpoint.CANDLES.path: self._candles,
            Endpoint.HISTORY_CANDLES.path: self._candles,
            Endpoint.TICKER.path: self._ticker,
            Endpoint.MARK_PRICE.path: self._mark,
            Endpoint.FUNDING_RATE.path: self._funding,
            Endpoint.OPEN_INTEREST.path: self._interest,
            Endpoint.INSTRUMENTS.path: self._instrument,
            Endpoint.TIME.path: self._time,
        }[path](path, symbol, query)
        return {"code": "0", "msg": "", "data": rows}

    def rows(self, endpoint: Endpoint, query: Mapping[str, str]) -> list[Any]:
        """Asked without a server between."""
        return data_in(json.dumps(self.answer(endpoint.path, query)).encode(), query.get("instId", ""))

    def price(self, symbol: str) -> Decimal:
        """The close of the newest closed candle: nobody has traded since."""
        closed = self.now_ms // STEP_MS * STEP_MS
        return next(row[4] for row in reversed(self.candles[symbol]) if row[0] + STEP_MS <= closed)

    def _candles(self, path: str, symbol: str, query: Mapping[str, str]) -> list[Any]:
        bar = query["bar"]
        step = LENGTHS[bar] * 1000
        after, before = int(query.get("after", self.now_ms + 1)), int(query.get("before", 0))
        most = 300 if path == Endpoint.CANDLES.path else 100
        forming = self.now_ms // step * step
        oldest = forming - RECENT * step if path == Endpoint.CANDLES.path else 0
        if (symbol, bar) not in self._folded:
            self._folded[symbol, bar] = folded(self.candles[symbol], LENGTHS[bar])
        known = [row for row in self._folded[symbol, bar] if oldest <= row[0] <= forming]
        found = [row for row in reversed(known) if before < row[0] < after and (bar, row[0]) not in self.missing]
        return [_cells(row, is_closed=row[0] < forming) for row in found[: min(int(query.get("limit", 100)), most)]]

    def _ticker(self, _path: str, symbol: str, _query: Mapping[str, str]) -> list[Any]:
        price = self.price(symbol)
        bid, ask = quotes(price, Decimal(TERMS.get(symbol, ("", "0.1"))[1]))
        return [{
            "instType": "SWAP", "instId": symbol, "last": str(price), "lastSz": "1",
            "bidPx": str(bid), "askPx": str(ask), "bidSz": "10", "askSz": "10",
            "open24h": "1", "high24h": "1", "low24h": "1", "vol24h": "5", "volCcy24h": "5",
            "ts": str(self.now_ms if self.ticker_ms is None else self.ticker_ms),
        }]  # fmt: skip

    def _mark(self, _path: str, symbol: str, _query: Mapping[str, str]) -> list[Any]:
        return [{"instType": "SWAP", "instId": symbol, "markPx": str(self.price(symbol)), "ts": str(self.now_ms)}]

    def _funding(self, _path: str, symbol: str, _query: Mapping[str, str]) -> list[Any]:
        following = (self.now_ms // FUNDING_MS + 1) * FUNDING_MS
        return [{
            "instId": symbol, "instType": "SWAP", "fundingRate": self.funding_rate, "fundingTime": str(following),
            "nextFundingRate": "", "nextFundingTime": str(following + FUNDING_MS), "method": "current_period",
            "maxFundingRate": "0.00375", "minFundingRate": "-0.00375", "premium": "0.0002",
            "settFundingRate": self.settled_rate, "settState": "settled", "ts": str(self.now_ms),
        }]  # fmt: skip

    def _interest(self, _path: str, symbol: str, _query: Mapping[str, str]) -> list[Any]:
        usd = self.interest.get(symbol, "2500000000")
        return [{
            "instId": symbol, "instType": "SWAP", "oi": "12500000", "oiCcy": "125000", "oiUsd": usd,
            "ts": str(self.now_ms),
        }]  # fmt: skip

    def _instrument(self, _path: str, symbol: str, _query: Mapping[str, str]) -> list[Any]:
        ct_val, tick = TERMS.get(symbol, ("0.01", "0.1"))
        return [{
            "instId": symbol, "instType": "SWAP", "ctVal": ct_val, "ctMult": "1", "ctType": "linear",
            "settleCcy": "USDT", "lotSz": "0.01", "minSz": "0.01", "tickSz": tick, "maxMktSz": "35000", "lever": "100",
            "instIdCode": "10459", "state": self.states.get(symbol, "live"),
        }]  # fmt: skip

    def _time(self, _path: str, _symbol: str, _query: Mapping[str, str]) -> list[Any]:
        return [{"ts": str(self.now_ms)}]


def _cells(row: Row, *, is_closed: bool) -> list[str]:
    at, first, high, low, last, volume = row
    if not is_closed:  # far beyond what can come of it: whoever uses it is found out
        first, high, low, last, volume = (figure * 10 for figure in (first, high, low, last, volume))
    contracts = volume * 100
    told = (first, high, low, last, contracts, volume, volume * last)
    return [str(at), *(format(figure, "f") for figure in told), "1" if is_closed else "0"]


def exchange(
    count: int = 700, *, symbols: Iterable[str] = (BTC,), start_ms: int = START_MS, after_ms: int = 2_000
) -> Exchange:
    """An exchange with so many closed candles of each instrument, a moment after the last of them closed, and a day
    more to come."""
    rows = {symbol: walk(count + 288, seed=7 + number, start_ms=start_ms) for number, symbol in enumerate(symbols)}
    return Exchange(rows, start_ms + count * STEP_MS + after_ms)
