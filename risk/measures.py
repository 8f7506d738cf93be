"""Numbers that may be missing or broken, and their text.

What cannot be measured is NaN, and stays NaN through every sum, maximum and minimum. Compute under `QUIET`: there no
operation and no function raises, whatever the number, and an ordered comparison with NaN is false, so that a rule which
asks "is it inside the limit?" refuses what it could not measure.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Context, Decimal

QUIET = Context(prec=100, traps=[])
ZERO = Decimal(0)
ONE = Decimal(1)
NAN = Decimal("NaN")

_READABLE = Context(prec=12, traps=[])
_SPOKEN = Context(prec=6, traps=[])
_SIGNS: Mapping[str | None, Decimal] = {"LONG": ONE, "SHORT": -ONE}


def finite(value: Decimal) -> Decimal:
    """The number, or NaN if it is none or an infinity."""
    return value if value.is_finite() else NAN


def positive(value: Decimal | None) -> Decimal:
    """The number, or NaN if it is missing, not finite, or not above zero."""
    return value if value is not None and value.is_finite() and value > 0 else NAN


def coefficient(value: Decimal | None) -> Decimal:
    """A correlation coefficient, or NaN if it is not known."""
    return NAN if value is None else finite(value)


def sign_of(direction: str | None) -> Decimal:
    """1 for LONG, -1 for SHORT, NaN for anything else."""
    return _SIGNS.get(direction, NAN)


def gain(sign: Decimal, start: Decimal, end: Decimal) -> Decimal:
    """What a position of this sign wins for each unit when the price goes from `start` to `end`; below zero a loss."""
    return (end - start) * sign


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum; NaN if one amount is negative or no finite number."""
    return sum((amount if amount.is_finite() and amount >= 0 else NAN for amount in amounts), ZERO)


def highest(*values: Decimal) -> Decimal:
    """The largest; NaN if any is NaN."""
    return NAN if any(value.is_nan() for value in values) else max(values)


def lowest(*values: Decimal) -> Decimal:
    """The smallest; NaN if any is NaN."""
    return NAN if any(value.is_nan() for value in values) else min(values)


def text(value: Decimal) -> str:
    """At most twelve significant digits, without an exponent where a person would not use one."""
    short = value.normalize(_READABLE)
    return f"{short:f}" if abs(short.adjusted()) < 15 else str(short)


def spoken(value: Decimal) -> str:
    """At most six significant digits, as many as a sentence bears."""
    return text(_SPOKEN.plus(value))


def percent(value: Decimal) -> str:
    """A fraction as a percentage."""
    return f"{spoken(value * 100)} %"


def over(until: datetime | None, now: datetime) -> bool:
    """Whether a moment has come. A time without a zone cannot be compared: it has not."""
    if until is None or until.tzinfo is None or now.tzinfo is None:
        return False
    return now >= until
