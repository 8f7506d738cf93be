"""A trade of a shadow book, from its first entry to its last exit, built from what the shadow venue reports. Pure.

The arithmetic is the record's: money in USD, sizes in contracts, averages by cost basis, the result net of fees and
funding.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from decisions.messages import FundingPayment, TradeFill

Direction = Literal["LONG", "SHORT"]

PRICE_STEP = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """Why a position is entered, as the answer said it. `ct_val` is base coin a contract."""

    cycle_number: int
    strategy: str
    regime: str
    confidence: Decimal
    ct_val: Decimal
    stop_loss: Decimal | None
    take_profit: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedTrade:
    """One position in one instrument. `size` is all that was ever entered; values are price x contracts x `ct_val`.

    Stop and target are those that stand, an addition's included. `funding` is what was received.
    """

    plan: EntryPlan
    symbol: str
    direction: Direction
    opened_at: datetime
    stop_loss: Decimal | None
    take_profit: Decimal | None
    size: Decimal = Decimal(0)
    open_size: Decimal = Decimal(0)
    entry_value: Decimal = Decimal(0)
    exit_value: Decimal = Decimal(0)
    gross_pnl: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    closed_at: datetime | None = None
    exit_reason: str = ""

    @property
    def pnl(self) -> Decimal:
        """Net of fees and funding, of what has left it so far."""
        return self.gross_pnl - self.fees + self.funding

    @property
    def entry_price(self) -> Decimal:
        """The average, to 8 decimals."""
        return (self.entry_value / (self.size * self.plan.ct_val)).quantize(PRICE_STEP)

    @property
    def exit_price(self) -> Decimal | None:
        """The average of what has left it; None before anything has."""
        left = (self.size - self.open_size) * self.plan.ct_val
        return (self.exit_value / left).quantize(PRICE_STEP) if left else None

    def with_execution(self, fill: TradeFill, plan: EntryPlan | None = None) -> "BookedTrade":
        """After an execution. An addition's `plan` brings its stop and target; the reasons stay those of the opening.

        Raises `ValueError` for a report without an execution.
        """
        if fill.fill_price is None or fill.fill_size is None or fill.fee_usd is None:
            raise ValueError(f"{fill.fill_id} is no execution")
        value, fees = fill.fill_size * fill.fill_price * self.plan.ct_val, self.fees + fill.fee_usd
        if fill.intent in ("open", "add"):
            entered = replace(
                self,
                size=self.size + fill.fill_size,
                open_size=self.open_size + fill.fill_size,
                entry_value=self.entry_value + value,
                fees=fees,
            )
            return entered if plan is None else entered._protected_by(plan)
        left = self.open_size - fill.fill_size
        return replace(
            self,
            open_size=left,
            exit_value=self.exit_value + value,
            gross_pnl=self.gross_pnl + (fill.pnl_usd or Decimal(0)),
            fees=fees,
            closed_at=None if left else fill.filled_at,
            exit_reason="" if left else fill.exit_reason or "signal",
        )

    def _protected_by(self, plan: EntryPlan) -> "BookedTrade":
        """What an addition does not bring, the position keeps."""
        return replace(
            self,
            stop_loss=self.stop_loss if plan.stop_loss is None else plan.stop_loss,
            take_profit=self.take_profit if plan.take_profit is None else plan.take_profit,
        )

    def with_funding(self, payment: FundingPayment) -> "BookedTrade":
        return replace(self, funding=self.funding + payment.amount_usd)


def begun(fill: TradeFill, plan: EntryPlan) -> BookedTrade:
    """The trade that a first execution opens."""
    direction: Direction = "LONG" if fill.pos_side == "long" else "SHORT"
    empty = BookedTrade(
        plan=plan,
        symbol=fill.symbol,
        direction=direction,
        opened_at=fill.filled_at,
        stop_loss=plan.stop_loss,
        take_profit=plan.take_profit,
    )
    return empty.with_execution(fill)
