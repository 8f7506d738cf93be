"""The account's risk as the rules are worded, worked out anew from everything that has happened at every question.

It knows nothing of how the real one keeps itself: no running figures, no rule objects, no query. Money in USD, sizes in
contracts of 0.01 coin, shares of equity as fractions; the limits are the defaults, in numbers, but for an
exposure of at most 9 %: at 15 % three positions of 5 % each would leave it nothing to refuse.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal

CT_VAL = LOT = Decimal("0.01")
TOUCH = Decimal("0.1")
"""How far bid and ask are from the price."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The account as it was reported."""

    at: datetime
    equity: Decimal
    transfers: Decimal


@dataclass(frozen=True, kw_only=True)
class Closing:
    """A closed trade; `net` is None where nobody knows the result."""

    symbol: str
    side: str
    opened_at: datetime
    closed_at: datetime
    net: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A position and the price that it is valued at."""

    side: str
    size: Decimal
    price: Decimal
    stop: Decimal
    opened_at: datetime

    @property
    def notional(self) -> Decimal:
        return self.size * self.price * CT_VAL


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """What an order that may still fill takes of the room."""

    symbol: str
    side: str
    notional: Decimal
    leaves: bool


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An opening or an addition that somebody wants. Prices in USD; no `limit` is a market order."""

    symbol: str
    side: str
    adds: bool
    size_pct: Decimal
    price: Decimal
    limit: Decimal | None
    stop: Decimal | None
    target: Decimal | None

    @property
    def entry(self) -> Decimal:
        return self.price if self.limit is None else self.limit

    @property
    def sizing_price(self) -> Decimal:
        return max(self.entry, self.price)


@dataclass
class Reference:
    """Everything that was told, and what follows from it."""

    reports: list[Report] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    halts: dict[str, datetime | None] = field(default_factory=dict)
    cooldown_until: datetime | None = None
    counted_from: datetime | None = None
    peak_from: int = 0

    # --- the account ----------------------------------------------------------------------------------------------

    def report(self, told: Report) -> bool:
        """Whether the report is news."""
        if self.reports and told.at < self.reports[-1].at:
            return False
        self.reports.append(told)
        self.halts = self.standing(told.at)
        if self.lost_too_much_today():
            self.halts.setdefault("daily_loss", _midnight(told.at) + timedelta(days=1))
        if self.fell_too_far():
            self.halts.setdefault("drawdown", None)
        return True

    def day_start(self) -> Report | None:
        """The last report at or before midnight if it is at most 15 minutes old then, else the first one after."""
        if not self.reports:
            return None
        midnight = _midnight(self.reports[-1].at)
        before = [each for each in self.reports if timedelta() <= midnight - each.at <= timedelta(minutes=15)]
        return before[-1] if before else next(each for each in self.reports if each.at > midnight)

    def peak(self) -> Report | None:
        """The highest equity, transfers aside, since the account is known or was re-based."""
        return max(self.reports[self.peak_from :], key=lambda each: each.equity - each.transfers, default=None)

    def lost_too_much_today(self) -> bool:
        return self._fell_by(Decimal("0.03"), self.day_start())

    def fell_too_far(self) -> bool:
        return bool(self.reports and self.reports[-1].equity <= 0) or self._fell_by(Decimal("0.10"), self.peak())

    def _fell_by(self, share: Decimal, since: Report | None) -> bool:
        if since is None or since.equity <= 0:
            return False
        last = self.reports[-1]
        return last.equity - since.equity - (last.transfers - since.transfers) <= -share * since.equity

    def measurable(self) -> bool:
        return all(since is not None and since.equity > 0 for since in (self.day_start(), self.peak()))

    # --- halts ----------------------------------------------------------------------------------------------------

    def standing(self, now: datetime) -> dict[str, datetime | None]:
        return {kind: until for kind, until in self.halts.items() if until is None or until > now}

    def resume(self, now: datetime, *, rebase: bool, by_stream: bool) -> bool:
        """Whether a person's resume is granted."""
        liftable = self.standing(now).keys() - {"daily_loss"}
        fallen = "drawdown" in liftable
        if not liftable or (rebase and (by_stream or not fallen or self.reports[-1].equity <= 0)):
            return False
        if fallen and not rebase and (self.fell_too_far() or not self.measurable()):
            return False
        if rebase:
            self.peak_from = len(self.reports) - 1
        self.halts = {kind: until for kind, until in self.halts.items() if kind not in liftable}
        return True

    # --- losses in a row ------------------------------------------------------------------------------------------

    def streak(self) -> int:
        losses = 0
        for closing in sorted(self.closings, key=lambda each: (each.closed_at, each.opened_at)):
            if self.counted_from is None or closing.closed_at > self.counted_from:
                losses = losses + 1 if closing.net is not None and closing.net < 0 else 0
        return losses

    def closings_changed(self) -> None:
        if self.streak() >= 3:
            self.counted_from = max(each.closed_at for each in self.closings)
            until = self.counted_from + timedelta(minutes=30)
            self.cooldown_until = max(until, self.cooldown_until or until)

    def close(self, closing: Closing) -> None:
        self.closings.append(closing)
        self.closings_changed()

    def restate(self, closing: Closing, change: Decimal) -> None:
        place = self.closings.index(closing)
        self.closings[place] = replace(closing, net=None if closing.net is None else closing.net + change)
        self.closings_changed()

    # --- openings -------------------------------------------------------------------------------------------------

    def judge(
        self, wish: Wish, held: dict[str, Holding], reserved: Iterable[Reserved], now: datetime
    ) -> tuple[str, Decimal]:
        """What becomes of a wish, and how many contracts of it may be sent."""
        reserved = list(reserved)
        contracts = self.granted(wish, held, reserved)
        faults = {fault for fault, holds in self._faults(wish, held, reserved, contracts).items() if holds}
        if self.standing(now) or self.lost_too_much_today() or self.fell_too_far():
            return "halted", contracts
        if self.cooldown_until is not None and now < self.cooldown_until:
            return "cooldown", contracts
        if faults == {"smaller than the venue takes"}:
            return "size_too_small", contracts
        return ("gate_rejected" if faults else "approved"), contracts

    def granted(self, wish: Wish, held: dict[str, Holding], reserved: list[Reserved]) -> Decimal:
        """Half of it when something else is held, since nobody knows how alike they move; in whole lots."""
        elsewhere = {*held, *(order.symbol for order in reserved if not order.leaves)} - {wish.symbol}
        equity = self.reports[-1].equity if self.reports else Decimal(0)
        notional = max(wish.size_pct * equity, Decimal(0)) / (2 if elsewhere else 1)
        return (notional / (wish.sizing_price * CT_VAL * LOT)).to_integral_value(ROUND_FLOOR) * LOT

    def _faults(
        self, wish: Wish, held: dict[str, Holding], reserved: list[Reserved], contracts: Decimal
    ) -> dict[str, bool]:
        equity = self.reports[-1].equity if self.reports else Decimal(0)
        asked = wish.size_pct * equity
        openings = [order for order in reserved if not order.leaves]
        places = {(symbol, each.side) for symbol, each in held.items()} | {
            (each.symbol, each.side) for each in openings
        }
        here = sum((order.notional for order in openings if order.symbol == wish.symbol), Decimal(0))
        here += held[wish.symbol].notional if wish.symbol in held else 0
        everywhere = sum((each.notional for each in (*held.values(), *openings)), Decimal(0))
        taken = wish.symbol in held or any(order.symbol == wish.symbol for order in reserved)
        leaving = any(order.leaves and order.symbol == wish.symbol for order in reserved)
        return {
            "the account cannot be measured": not self.measurable(),
            "three positions already": not wish.adds and len(places) >= 3,
            "the position too large": here + asked > Decimal("0.05") * equity,
            "the exposure too large": everywhere + asked > Decimal("0.09") * equity,
            "does not fit what is there": (wish.symbol not in held or leaving) if wish.adds else taken,
            "the stop would be loosened": wish.adds and _looser(wish, held.get(wish.symbol)),
            "smaller than the venue takes": contracts < LOT,
            **_faults_of_prices(wish),
        }


def _faults_of_prices(wish: Wish) -> dict[str, bool]:
    sign = 1 if wish.side == "long" else -1
    risk = (wish.entry - wish.stop) * sign if wish.stop is not None else Decimal(-1)
    reward = (wish.target - wish.entry) * sign if wish.target is not None else Decimal(-1)
    touch = wish.price - sign * TOUCH
    return {
        "no stop on its side": risk <= 0,
        "the stop too far": abs(risk) > Decimal("0.03") * wish.entry,
        "too little to win": reward <= 0 or reward < Decimal("1.5") * abs(risk),
        "the limit crosses": wish.limit is not None and (touch - wish.limit) * sign < 0,
        "the limit too far": wish.limit is not None and abs(wish.limit - wish.price) > Decimal("0.01") * wish.price,
    }


def _looser(wish: Wish, held: Holding | None) -> bool:
    if held is None or wish.stop is None:
        return True
    return wish.stop < held.stop if held.side == "long" else wish.stop > held.stop


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.date(), time(), tzinfo=at.tzinfo)
