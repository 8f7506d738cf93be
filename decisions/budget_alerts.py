"""Telling people that the money for models runs out: once for each market day and level."""

from datetime import datetime

from decisions import alerts
from decisions.budget import Budget, Level, market_day

TEXTS = {
    Level.TIGHT: ("Most of the day's money for models is spent", "No screening is audited until the market day ends"),
    Level.SPENT: ("The day's money for models is spent", "Nothing is opened until the market day ends; exits go on"),
}


def tell(budget: Budget, now: datetime) -> None:
    """Alert about the level of the budget at market time `now`, if it is one to be told and was not told today."""
    if budget.level is Level.NORMAL:
        return
    title, action = TEXTS[budget.level]
    about = {"market_day": market_day(now).isoformat()}
    alerts.record_once("WARN", f"budget_{budget.level}", about, title=title, detail=str(budget), action_taken=action)
