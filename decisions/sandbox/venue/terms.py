"""What the simulated venue charges and allows, and how it rounds."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

from decisions.messages import Side

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Wide enough that no product or sum of prices, sizes and rates is ever rounded by the way."""

_CASH = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class VenueTerms:
    """The venue's conditions. Every number but the leverage is a fraction.

    Fees are OKX's for regular users on swaps (0.05 % taker, 0.02 % maker); `maintenance_margin` is the first tier of
    OKX's BTC and ETH swaps (0.4 %), their largest leverage 100. `slippage` is what a market order loses against the
    snapshot's price. A resting order gets at most `volume_share` of a bar's volume.
    """

    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    slippage: Decimal = Decimal("0.0002")
    maintenance_margin: Decimal = Decimal("0.004")
    volume_share: Decimal = Decimal("0.1")
    largest_leverage: Decimal = Decimal(100)


def cash(amount: Decimal) -> Decimal:
    """The amount as it is booked: to 0.0001 USD, half to even."""
    return amount.quantize(_CASH, context=EXACT)


def cash_up(amount: Decimal) -> Decimal:
    """The smallest amount in 0.0001 USD that covers the one given."""
    return amount.quantize(_CASH, rounding=ROUND_CEILING, context=EXACT)


def floored(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above the value."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceiled(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below the value."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def slipped(price: Decimal, side: Side, slippage: Decimal, tick: Decimal) -> Decimal:
    """What a market order pays or gets: the price moved against it and rounded to tick against it, at least a tick."""
    if side == "buy":
        return ceiled(price * (1 + slippage), tick)
    return max(floored(price * (1 - slippage), tick), tick)
