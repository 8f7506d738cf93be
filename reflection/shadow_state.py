"""What a shadow book remembers, as the gate reads it. Pure.

Day start, peak, loss streak, cooldown and halts follow the same rules as a real account's. A daily halt ends at
midnight UTC; one for drawdown stands for good, since nobody resumes a shadow.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from decisions.sandbox.venue import VenueAccount
from decisions.sandbox.venue.holdings import HeldPosition, WorkingOrder
from decisions.sandbox.venue.state import VenueState
from reflection.shadow_trades import BookedTrade, Direction, EntryPlan
from risk import gate
from risk.limits import Limits


@dataclass(slots=True)
class BookState:
    """A book's memory. `plans` are of entries that may still fill, by client order id; `trades` the open ones, and
    `funding_due` the next settlement, by symbol."""

    venue: VenueState
    day: date
    day_start_equity: Decimal
    peak_equity: Decimal
    loss_streak: int = 0
    cooldown_until: datetime | None = None
    halts: tuple[gate.Halt, ...] = ()
    plans: dict[str, EntryPlan] = field(default_factory=dict)
    trades: dict[str, BookedTrade] = field(default_factory=dict)
    funding_due: dict[str, datetime] = field(default_factory=dict)

    @staticmethod
    def begun(name: str, start_equity: Decimal, at: datetime) -> "BookState":
        """A new book's, with so many USD, from market time `at` on."""
        return BookState(
            venue=VenueAccount.opened(account_id=name, start_equity=start_equity).state,
            day=at.astimezone(UTC).date(),
            day_start_equity=start_equity,
            peak_equity=start_equity,
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types that `from_json` turns into an equal state."""
        written: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return written

    @staticmethod
    def from_json(written: dict[str, Any]) -> "BookState":
        """Raises `pydantic.ValidationError` when the dictionary is not a written state."""
        return _ADAPTER.validate_python(written)

    # --- as the gate reads it

    def account(self) -> gate.Account:
        return gate.Account(equity=self.venue.equity)

    def positions(self) -> tuple[gate.Position, ...]:
        return tuple(map(self._position, self.venue.positions.values()))

    def _position(self, held: HeldPosition) -> gate.Position:
        return gate.Position(
            symbol=held.symbol,
            direction=side_of(held),
            size=held.size,
            notional_usd=held.notional(self.venue.quotes[held.symbol].mark_price),
            stop_loss=held.stop_loss,
            take_profit=held.take_profit,
        )

    def pending(self) -> tuple[gate.PendingOrder, ...]:
        """Entries that rest, at the higher of their limit and the last price."""
        return tuple(map(self._pending, self.venue.resting.values()))

    def _pending(self, working: WorkingOrder) -> gate.PendingOrder:
        order, quote = working.order, self.venue.quotes[working.order.symbol]
        price = max(working.limit_price, quote.price)
        return gate.PendingOrder(
            symbol=order.symbol,
            direction="LONG" if order.pos_side == "long" else "SHORT",
            action=order.action,
            notional_usd=working.remaining * quote.instrument.ct_val * price,
            reduce_only=order.reduce_only,
        )

    def risk_state(self) -> gate.RiskState:
        return gate.RiskState(
            day_start_equity=self.day_start_equity,
            day_net_transfers=Decimal(0),
            peak_equity=self.peak_equity,
            peak_net_transfers=Decimal(0),
            loss_streak=self.loss_streak,
            cooldown_until=self.cooldown_until,
            halts=self.halts,
        )

    # --- as time goes by

    def begin_day(self, at: datetime) -> None:
        """At the first news of a day: it starts with what the account was worth before."""
        day = at.astimezone(UTC).date()
        if day > self.day:
            self.day, self.day_start_equity = day, self.venue.equity
            self.halts = tuple(halt for halt in self.halts if halt.until is None or halt.until > at)

    def judge_account(self, limits: Limits, at: datetime) -> bool:
        """Take the peak, and halt where the account's own rules say so. Returns whether a halt began."""
        self.peak_equity = max(self.peak_equity, self.venue.equity)
        standing = {halt.kind for halt in self.halts}
        begun = [
            gate.Halt(kind=found.rule, reason=found.reason, since=at, until=_end_of_halt(found.rule, at))
            for found in gate.account_halts(self.account(), self.risk_state(), limits)
            if found.verdict == "halt" and found.rule not in standing
        ]
        self.halts += tuple(begun)
        return bool(begun)

    def count_loss(self, trade: BookedTrade, closed_at: datetime, limits: Limits) -> None:
        """Losses in a row, and the cooldown that they begin."""
        self.loss_streak = self.loss_streak + 1 if trade.pnl < 0 else 0
        if self.loss_streak >= limits.max_consecutive_losses:
            until = closed_at + timedelta(seconds=limits.cooldown_after_loss_streak)
            self.cooldown_until = max(until, self.cooldown_until or until)
            self.loss_streak = 0


def side_of(held: HeldPosition) -> Direction:
    return "LONG" if held.pos_side == "long" else "SHORT"


def _end_of_halt(kind: str, at: datetime) -> datetime | None:
    if kind != gate.DAILY_LOSS:
        return None
    return datetime.combine(at.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), tzinfo=UTC)


_ADAPTER: TypeAdapter[BookState] = TypeAdapter(BookState)
