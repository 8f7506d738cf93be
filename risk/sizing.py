"""From fractions of equity to contracts, and from prices to ticks. Exact: a result that would need rounding is refused.

Sizes are in contracts of a linear perpetual swap, one contract being `ct_val` of the base coin; money and prices are in
the quote currency. Every function raises `ValueError`, naming the argument, for a number that is not finite or not
positive, and when a result has more digits than any real order.
"""

from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation

_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])


def contracts(size_pct: Decimal, equity: Decimal, price: Decimal, ct_val: Decimal, lot_size: Decimal) -> Decimal:
    """floor(size_pct x equity / (price x ct_val), lot_size): never more notional than asked for, zero included."""
    _require_positive(size_pct=size_pct, equity=equity, price=price, ct_val=ct_val, lot_size=lot_size)
    lot = _times(_times(price, ct_val), lot_size)
    return _times(_whole_times_in(_times(size_pct, equity), lot), lot_size)


def notional(contracts: Decimal, price: Decimal, ct_val: Decimal) -> Decimal:
    """What so many contracts are worth at a price, in quote currency. No contracts are worth nothing."""
    _require_positive(price=price, ct_val=ct_val)
    if not contracts.is_finite() or contracts < 0:
        raise ValueError(f"contracts is {contracts}: a finite number, zero or more, is needed")
    return _times(_times(contracts, price), ct_val)


def round_to_tick(price: Decimal, tick_size: Decimal, towards: Decimal) -> Decimal:
    """The multiple of `tick_size` next to `price` in the direction of `towards`; a price on a tick stays.

    A stop goes towards the entry, so that it never risks more than was judged. A target goes towards the entry too: it
    is reached no later than was asked for. `towards` may be infinite, or zero. The result can reach or pass `towards`
    when both lie between the same two ticks: whoever needs a distance looks at the result.
    """
    _require_positive(price=price, tick_size=tick_size)
    if towards.is_nan():
        raise ValueError(f"towards is {towards}: a number is needed")
    ticks = _whole_times_in(price, tick_size)
    if price < towards and _times(ticks, tick_size) != price:
        ticks = _EXACT.add(ticks, 1)
    return _times(ticks, tick_size)


def _require_positive(**numbers: Decimal) -> None:
    for name, number in numbers.items():
        if not number.is_finite() or number <= 0:
            raise ValueError(f"{name} is {number}: a finite number above zero is needed")


def _times(left: Decimal, right: Decimal) -> Decimal:
    return _exactly(_EXACT.multiply, left, right)


def _whole_times_in(amount: Decimal, step: Decimal) -> Decimal:
    return _exactly(_EXACT.divide_int, amount, step)


def _exactly(operation: Callable[[Decimal, Decimal], Decimal], left: Decimal, right: Decimal) -> Decimal:
    """The operation in a context of its own, so that the caller's precision changes nothing."""
    try:
        return operation(left, right)
    except ArithmeticError as error:
        raise ValueError(f"{left} and {right} are too far apart to be computed with exactly") from error
