"""Look-ups that several panels lead to. Pure."""

from datetime import datetime

from decisions.budget import beginning, market_day
from decisions.dashboard.facts import Account
from decisions.dashboard.parts import Addresses


def state_page(account: Account, to: Addresses) -> str:
    """The page of the risk state, where people halt and resume."""
    return to.rows("risk.riskstate") if account.key is None else to.row("risk.riskstate", account.key)


def midnight(now: datetime) -> datetime:
    """When the market day began."""
    return beginning(market_day(now))


def today(now: datetime) -> dict[str, str]:
    """The model calls of the market day."""
    return {"market_time__gte": stamp(midnight(now))}


def stamp(at: datetime) -> str:
    """A moment as a look-up takes it, to the minute: an address then stays the same while it is looked at."""
    return f"{at:%Y-%m-%dT%H:%MZ}"
