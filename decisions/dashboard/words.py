"""How the dashboard tells numbers: money, fractions, prices, multiples of R, times; and their colours. Pure."""

from datetime import datetime
from decimal import Decimal

from decisions.dashboard.parts import Tone
from journal.performance import Rate
from journal.wording import minus, plain

NOTHING = "–"


def per_cent(fraction: Decimal | None, places: int = 2, *, signed: bool = False) -> str:
    """A fraction as per cent."""
    if fraction is None or not fraction.is_finite():
        return NOTHING
    return minus(f"{fraction * 100:{'+' if signed else ''}.{places}f} %")


def usd(amount: Decimal | None, *, signed: bool = False) -> str:
    """Money, to the cent."""
    if amount is None or not amount.is_finite():
        return NOTHING
    return minus(f"{amount:{'+' if signed else ''},.2f} USD")


def price(value: Decimal | None) -> str:
    """All digits but the zeros at the end, thousands apart."""
    return NOTHING if value is None or not value.is_finite() else plain(value)


def ratio(value: Decimal | None) -> str:
    """A multiple of what was risked at entry."""
    return NOTHING if value is None or not value.is_finite() else minus(f"{value:+.2f} R")


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def counted(rate: Rate, what: str) -> str:
    """What a rate rests on: its counts, and where the true one lies with 90 % confidence."""
    if rate.value is None:
        return f"no {what} yet"
    return f"{rate.successes} of {rate.count} {what}; 90 %: {per_cent(rate.low, 0)} to {per_cent(rate.high, 0)}"


def tone_of_result(amount: Decimal | None) -> Tone:
    """The colour of a gain or a loss."""
    if amount is None or amount == 0:
        return "plain"
    return "good" if amount > 0 else "bad"


def tone_of_use(used: Decimal | None, *, warns_at: Decimal) -> Tone:
    """The colour of a bar against a limit."""
    if used is None:
        return "info"
    return "bad" if used >= 1 else "warn" if used >= warns_at else "good"


def share(rate: Rate) -> str:
    """A rate as per cent."""
    return per_cent(rate.value, 1)
