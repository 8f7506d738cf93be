"""Figures for a terminal: bars, times and money."""

from datetime import UTC, datetime
from decimal import Decimal

BAR_WIDTH = 24
NOTHING = "-"


def bar(share: Decimal) -> str:
    """A bar filled up to a share of 1; any share above zero shows."""
    filled = min(BAR_WIDTH, int(share * BAR_WIDTH) or (1 if share > 0 else 0))
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"


def percent(value: Decimal) -> str:
    """A fraction as a percentage with two decimals; what rounds to zero has no sign."""
    return f"{value:z.2%}".replace("%", " %")


def money(value: Decimal | None) -> str:
    return NOTHING if value is None else f"{value:,.2f} USD"


def moment(at: datetime | None) -> str:
    return NOTHING if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
