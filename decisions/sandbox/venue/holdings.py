"""What an account holds: positions, resting orders and money, with the arithmetic of each.

A position keeps its total cost, not an average price, so that increasing and reducing it loses nothing: the cost of
the parts always sums to the cost of the whole. Margin, liquidation price and unrealised P&L are derived from it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from decisions.messages import PositionSide, Side, TradeOrder

from .terms import cash, cash_up

_COST = Decimal("1e-12")
_PRICE = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """An isolated-margin position. `size` in contracts, `cost` the USD value at which it was entered, fees apart."""

    symbol: str
    pos_side: PositionSide
    size: Decimal
    ct_val: Decimal
    cost: Decimal
    leverage: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None
    algo_id: str | None
    opened_at: datetime

    @property
    def sign(self) -> int:
        return 1 if self.pos_side == "long" else -1

    @property
    def exit_side(self) -> Side:
        return "sell" if self.pos_side == "long" else "buy"

    @property
    def entry_price(self) -> Decimal:
        """The average entry, for display: to 8 decimals."""
        return (self.cost / (self.size * self.ct_val)).quantize(_PRICE)

    @property
    def margin(self) -> Decimal:
        """Initial margin in USD: cost / leverage."""
        return cash_up(self.cost / self.leverage)

    def notional(self, price: Decimal) -> Decimal:
        return self.size * self.ct_val * price

    def unrealized(self, price: Decimal) -> Decimal:
        """Gross P&L in USD if it were closed at the price."""
        return cash(self.sign * (self.notional(price) - self.cost))

    def liquidation_price(self, maintenance_margin: Decimal) -> Decimal | None:
        """The price at which margin + P&L equals the maintenance margin; None when no price above zero does.

        From margin + sign x (p x q - cost) = rate x p x q, with q the size in base coin.
        """
        quantity = self.size * self.ct_val
        price = (self.cost - self.sign * self.margin) / (quantity * (1 - self.sign * maintenance_margin))
        return price if price > 0 else None

    def increased(self, size: Decimal, price: Decimal) -> "HeldPosition":
        return replace(self, size=self.size + size, cost=self.cost + size * self.ct_val * price)

    def reduced(self, size: Decimal, price: Decimal) -> tuple["HeldPosition | None", Decimal]:
        """What is left after `size` contracts went at the price, and the gross P&L of that part."""
        part = self.cost if size == self.size else (self.cost * size / self.size).quantize(_COST)
        pnl = cash(self.sign * (size * self.ct_val * price - part))
        if size == self.size:
            return None, pnl
        return replace(self, size=self.size - size, cost=self.cost - part), pnl


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order the venue has taken and `filled` so far, in contracts.

    `stop_after` is the wall time in seconds from its first execution until its stop stands: 0 at once, None never.
    """

    order: TradeOrder
    order_id: str
    filled: Decimal = Decimal(0)
    stop_after: float | None = 0.0

    @property
    def remaining(self) -> Decimal:
        return self.order.size - self.filled

    @property
    def reducing(self) -> bool:
        return self.order.action in ("REDUCE", "CLOSE")

    @property
    def limit_price(self) -> Decimal:
        """Where it rests. Raises `ValueError` for a market order, which never does."""
        if self.order.limit_price is None:
            raise ValueError(f"{self.order.client_order_id} has no limit price and cannot rest")
        return self.order.limit_price

    @property
    def needs_position(self) -> bool:
        """Whether it makes sense only while there is a position: all but an opening order nothing of which filled."""
        return self.order.action in ("ADD", "REDUCE", "CLOSE") or self.filled > 0


@dataclass(frozen=True, slots=True)
class LateStop:
    """A stop that the position should have and has not: it comes `seconds` of wall time after `since`, which is None
    until somebody has looked at the clock; never when `seconds` is None."""

    stop_loss: Decimal
    seconds: float | None
    since: datetime | None = None

    def is_due(self, wall_now: datetime) -> bool:
        """Whether its time has come, or the clock was set back behind its beginning."""
        if self.seconds is None or self.since is None:
            return False
        return not self.since <= wall_now < self.since + timedelta(seconds=self.seconds)


@dataclass(slots=True)
class Books:
    """The account's money in USD: what it began with and the sums of all cash flows since.

    `fees` is a cost when positive, `funding` a receipt when positive, `transfers` deposits less withdrawals.
    """

    start_equity: Decimal
    realized_pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    transfers: Decimal = Decimal(0)

    @property
    def balance(self) -> Decimal:
        return self.start_equity + self.realized_pnl - self.fees + self.funding + self.transfers
