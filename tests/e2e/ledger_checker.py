"""Checks the sandbox venue's ledger against limits, from the SQLite file alone: nothing here knows the bot or its gate.

Every order that opened or increased a position, or rested to do so, is judged by what the venue wrote down when the
order arrived: the instrument's price (the close of the bar that was decided on), the account's equity, and what was
open and resting then, which the earlier reports add up to. What the market did afterwards is no breach. A limit order
counts at the higher of its limit and the price.

The ledger keeps no price of the other instruments at that moment. But equity - balance is the unrealised P&L of
everything, and what it holds beyond the order's own instrument is the others': their cost and that P&L are their value,
exactly, as long as all the others are on the same side. Where they are not, the checker raises instead of guessing.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

ROUNDING_USD = Decimal("0.001")
"""The venue books money to 0.0001 USD; so much the derived value of other positions may be off."""

ENTRIES = ("OPEN_LONG", "OPEN_SHORT", "ADD")
TAKEN = ("accepted", "partially_filled", "filled")
ENDED = ("filled", "cancelled", "expired")
ZERO = Decimal(0)


class Undecidable(Exception):
    """The ledger does not hold what a question needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What must hold. Fractions of equity, the stop's distance of the entry price."""

    position: Decimal
    exposure: Decimal
    positions: int
    leverage: Decimal
    stop_distance: Decimal
    reward: Decimal


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that did not hold: the order, the rule, and what was found."""

    order: str
    rule: str
    found: str


@dataclass(slots=True)
class Findings:
    """What the checker looked at, and what it found wrong. The maxima are what the limits were nearest to."""

    openings: int = 0
    adds: int = 0
    fills: int = 0
    largest_position: Decimal = ZERO
    largest_exposure: Decimal = ZERO
    most_positions: int = 0
    entered_at: list[datetime] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)


@dataclass(slots=True)
class Held:
    """A position as the executions add up to. `cost` in USD."""

    sign: int
    size: Decimal = ZERO
    cost: Decimal = ZERO
    stop: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An opening or increasing order as it arrived. `at` is the market's time, `equity` in USD."""

    name: str
    at: datetime
    price: Decimal
    equity: Decimal
    order: Mapping[str, Any]

    @property
    def symbol(self) -> str:
        return str(self.order["symbol"])

    @property
    def sign(self) -> int:
        return 1 if self.order["pos_side"] == "long" else -1

    @property
    def size(self) -> Decimal:
        return Decimal(self.order["size"])

    @property
    def valued_at(self) -> Decimal:
        return max(self.price, self.entry)

    @property
    def entry(self) -> Decimal:
        return Decimal(self.order["limit_price"]) if self.order["order_type"] == "limit" else self.price


def check(path: Path, bounds: Bounds) -> Findings:
    """Judge every entry in the ledger. Raises `Undecidable`."""
    return _Replay(path, bounds).run()


class _Replay:
    """The account's history told again, order by order and report by report."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            self.entries = _entries(connection)
            self.reports = [json.loads(row[0]) for row in connection.execute(_IN_ORDER.format("fills"))]
            self.funding = [json.loads(row[0]) for row in connection.execute(_IN_ORDER.format("funding"))]
            state, start = connection.execute("SELECT state, start_equity FROM account").fetchone()
        finally:
            connection.close()
        quotes = json.loads(state)["quotes"]
        self.ct_val = {symbol: Decimal(quote["instrument"]["ct_val"]) for symbol, quote in quotes.items()}
        self.bounds = bounds
        self.balance = Decimal(start)
        self.held: dict[str, Held] = {}
        self.resting: dict[str, Decimal] = {}
        self.filled: dict[str, Decimal] = {}
        self.findings = Findings()

    def run(self) -> Findings:
        answered: set[str] = set()
        for report in self.reports:
            name = report["client_order_id"]
            if name in self.entries and name not in answered and report["status"] in TAKEN:
                self._judge(self.entries[name])
            answered.add(name)
            self._book(report)
        return self.findings

    # --- judging

    def _judge(self, entry: Entry) -> None:
        adds = entry.order["action"] == "ADD"
        self.findings.openings += not adds
        self.findings.adds += adds
        self.findings.entered_at.append(entry.at)
        for rule, holds, found in (*self._sizes(entry), *self._prices(entry), *self._fit(entry)):
            if not holds:
                self.findings.breaches.append(Breach(entry.name, rule, str(found)))

    def _sizes(self, entry: Entry) -> Iterator[tuple[str, bool, object]]:
        asked = entry.size * self.ct_val[entry.symbol] * entry.valued_at
        own = self._value(entry.symbol, entry.price) + self._waiting({entry.symbol}) + asked
        everything = own + self._others(entry) + self._waiting(self.ct_val.keys() - {entry.symbol})
        taken = {*self.held, *(self.entries[name].symbol for name in self.resting), entry.symbol}
        found = self.findings
        found.largest_position = max(found.largest_position, own / entry.equity)
        found.largest_exposure = max(found.largest_exposure, everything / entry.equity)
        found.most_positions = max(found.most_positions, len(taken))
        yield "position", own <= self.bounds.position * entry.equity, own / entry.equity
        yield "exposure", everything <= self.bounds.exposure * entry.equity + ROUNDING_USD, everything / entry.equity
        yield "positions", len(taken) <= self.bounds.positions, len(taken)

    def _prices(self, entry: Entry) -> Iterator[tuple[str, bool, object]]:
        stop, target = (_price(entry.order[name]) for name in ("stop_loss", "take_profit"))
        leverage = Decimal(entry.order["leverage"])
        yield "leverage", ZERO < leverage <= self.bounds.leverage, leverage
        yield "stop", stop is not None and (entry.entry - stop) * entry.sign > 0, stop
        if stop is None or stop == entry.entry:
            return
        risk = abs(entry.entry - stop)
        yield "stop_distance", risk <= self.bounds.stop_distance * entry.entry, risk / entry.entry
        reward = ZERO if target is None else (target - entry.entry) * entry.sign
        yield "reward", reward >= self.bounds.reward * risk, reward / risk

    def _fit(self, entry: Entry) -> Iterator[tuple[str, bool, object]]:
        """One position an instrument; an ADD is to one on its side, and never moves its stop away."""
        held = self.held.get(entry.symbol)
        if entry.order["action"] != "ADD":
            yield "one_position", held is None and not self._waiting({entry.symbol}), entry.symbol
            return
        yield "add_to_position", held is not None and held.sign == entry.sign, entry.symbol
        stop = _price(entry.order["stop_loss"])
        if held is not None and held.stop is not None and stop is not None:
            yield "add_stop", (stop - held.stop) * held.sign >= 0, f"{held.stop} -> {stop}"

    def _value(self, symbol: str, price: Decimal) -> Decimal:
        held = self.held.get(symbol)
        return held.size * self.ct_val[symbol] * price if held else ZERO

    def _waiting(self, symbols: set[str]) -> Decimal:
        """What would come of the resting entries in these instruments."""
        orders = ((self.entries[name], left) for name, left in self.resting.items())
        return sum(
            (left * self.ct_val[each.symbol] * each.valued_at for each, left in orders if each.symbol in symbols), ZERO
        )

    def _others(self, entry: Entry) -> Decimal:
        """The value of the positions in other instruments when the order arrived."""
        others = [held for symbol, held in self.held.items() if symbol != entry.symbol]
        signs = {held.sign for held in others}
        if not others:
            return ZERO
        if len(signs) > 1:
            raise Undecidable(f"{entry.name}: other positions on both sides, and no price of theirs in the ledger")
        paid = sum((Decimal(each["amount_usd"]) for each in self.funding if _time(each["paid_at"]) <= entry.at), ZERO)
        unrealized = entry.equity - self.balance - paid
        own = self.held.get(entry.symbol)
        if own is not None:
            unrealized -= own.sign * (self._value(entry.symbol, entry.price) - own.cost)
        return sum((held.cost for held in others), ZERO) + signs.pop() * unrealized

    # --- booking

    def _book(self, report: Mapping[str, Any]) -> None:
        name, executed = report["client_order_id"], report["status"] in ("partially_filled", "filled")
        if name in self.entries:
            done = Decimal(report["cumulative_size"])
            self.resting[name] = self.entries[name].size - done
            if report["status"] in (*ENDED, "rejected"):
                del self.resting[name]
        if not executed:
            return
        self.balance += Decimal(report["pnl_usd"] or 0) - Decimal(report["fee_usd"])
        if report["intent"] in ("open", "add"):
            self._enter(report)
        else:
            self._leave(report)

    def _enter(self, report: Mapping[str, Any]) -> None:
        name, size = report["client_order_id"], Decimal(report["fill_size"])
        self.findings.fills += 1
        entry = self.entries.get(name)
        self.filled[name] = self.filled.get(name, ZERO) + size
        if entry is None or self.filled[name] > entry.size:
            self.findings.breaches.append(Breach(str(name), "executed_as_asked", f"{self.filled[name]} contracts"))
            return
        if not report["stop_confirmed"]:
            self.findings.breaches.append(Breach(name, "stop_in_place", report["fill_id"]))
        held = self.held.setdefault(entry.symbol, Held(entry.sign))
        held.size += size
        held.cost += size * self.ct_val[entry.symbol] * Decimal(report["fill_price"])
        held.stop = _price(entry.order["stop_loss"]) or held.stop

    def _leave(self, report: Mapping[str, Any]) -> None:
        symbol, size = report["symbol"], Decimal(report["fill_size"])
        held = self.held.get(symbol)
        if held is None or size > held.size:
            self.findings.breaches.append(Breach(report["fill_id"], "exit_of_what_is_open", f"{size} of {symbol}"))
            return
        held.cost -= held.cost * size / held.size
        held.size -= size
        if not held.size:
            del self.held[symbol]


_IN_ORDER = "SELECT payload FROM {} ORDER BY sequence"


def _entries(connection: sqlite3.Connection) -> dict[str, Entry]:
    rows = connection.execute("SELECT payload, market_at, price, equity FROM orders ORDER BY sequence")
    orders = [(json.loads(payload), *figures) for payload, *figures in rows]
    return {
        order["client_order_id"]: Entry(
            order["client_order_id"], _time(market_at), Decimal(price), Decimal(equity), order
        )
        for order, market_at, price, equity in orders
        if order["action"] in ENTRIES and price is not None
    }


def _price(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
