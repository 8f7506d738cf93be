"""How well it went: the figures of a period, from closed trades, the account's history and what the models cost.

Pure: values in, values out. `summarise` is the way in. All money is in USD; a trade's result is net of its fees and
funding. What models cost is paid from elsewhere and belongs to no single trade: it is taken off every total, off the
expectancy and off the returns on equity, and not off single wins and losses. A figure that cannot be computed is no
number but a reason (`Figure`), and every rate comes with its count and a 90 % interval (`Rate`).
"""

from journal.performance.account import AccountFigures, Drawdown
from journal.performance.calibration import Bucket, Calibration
from journal.performance.document import as_document
from journal.performance.outcomes import Streaks, TradeFigures
from journal.performance.summary import BuyAndHold, PerformanceSummary, summarise
from journal.performance.values import ClosedTrade, EquityPoint, Figure, ModelCost, Period, PriceSpan, Rate, Undefined

__all__ = [
    "AccountFigures",
    "Bucket",
    "BuyAndHold",
    "Calibration",
    "ClosedTrade",
    "Drawdown",
    "EquityPoint",
    "Figure",
    "ModelCost",
    "PerformanceSummary",
    "Period",
    "PriceSpan",
    "Rate",
    "Streaks",
    "TradeFigures",
    "Undefined",
    "as_document",
    "summarise",
]
