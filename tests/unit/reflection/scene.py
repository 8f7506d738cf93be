"""Trades, reviews and a performance to look back at, in the tests of reflection."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from decisions.messages import MarketSnapshot
from decisions.prompts import Prompt
from decisions.schemas import output_schema
from journal.excursion import Excursion
from journal.performance import ClosedTrade, EquityPoint, Figure, ModelCost, PerformanceSummary, Period, summarise
from journal.playbook import Playbook, first_playbook
from reflection.digest import ReviewedTrade
from reflection.prompts import CompletedTrade, deep_reflection_prompt
from reflection.schemas import TradeReview, outcome_of

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
BEGIN = NOW - timedelta(days=30)
SNAPSHOT = MarketSnapshot.model_validate_json(
    (Path(__file__).parents[1] / "decisions" / "golden" / "snapshot.json").read_text()
)
EXCURSION = Excursion(
    adverse=Figure(Decimal("-0.0031")),
    favourable=Figure(Decimal("0.0124")),
    adverse_r=Figure(Decimal("-0.401737")),
    favourable_r=Figure(Decimal("1.60695")),
    risk=Figure(Decimal("0.00771648")),
    adverse_at=NOW - timedelta(hours=3),
    favourable_at=NOW - timedelta(hours=1),
    recorded=48,
)
NO_EXCURSION = Excursion(
    **dict.fromkeys(("adverse", "favourable", "adverse_r", "favourable_r", "risk"), Figure(None, "no"))
)


def closed(pnl: str | None = "4.25", *, minutes_ago: int = 0, **changes: Any) -> ClosedTrade:
    """A trade of 500 USD with a P&L net of 0.5 USD of fees and -0.1 USD of funding."""
    values: dict[str, Any] = {
        "opened_at": NOW - timedelta(minutes=minutes_ago, hours=4),
        "closed_at": NOW - timedelta(minutes=minutes_ago),
        "symbol": "BTC-USDT-SWAP",
        "entry_notional": Decimal(500),
        "gross_pnl": None if pnl is None else Decimal(pnl) + Decimal("0.6"),
        "fees": Decimal("0.5"),
        "funding": Decimal("-0.1"),
        "strategy": "trend_pullback",
        "regime": "trending_up",
        "exit_reason": "take_profit",
        "playbook_version": 1,
        "confidence": Decimal("0.66"),
    }
    return ClosedTrade(**{**values, **changes})


def review(pnl: str = "4.25", **changes: Any) -> TradeReview:
    values: dict[str, Any] = {
        "outcome": outcome_of(Decimal(pnl)),
        "execution_quality": "good",
        "entry_timing": "good",
        "exit_timing": "late",
        "what_went_right": ("The pullback held at the 1H EMA 20 and ADX stayed at 28.7.",),
        "what_went_wrong": ("0.6 R of the profit was given back before the exit.",),
        "lesson": "Take the target as planned when momentum fades at 1.5 R.",
        "should_update_playbook": False,
        "playbook_suggestion": None,
    }
    return TradeReview.model_validate({**values, **changes})


def reviewed(
    number: int, pnl: str = "4.25", *, told: TradeReview | None = None, is_new: bool = True, **changes: Any
) -> ReviewedTrade:
    """The trade that closed `number` hours before now."""
    return ReviewedTrade(
        number=number,
        direction="LONG",
        trade=closed(pnl, minutes_ago=60 * number, **changes),
        is_new=is_new,
        excursion=EXCURSION,
        review=told or review(pnl),
    )


STRATEGIES = ("trend_pullback", "momentum_breakout", "mean_reversion")
REGIMES = ("trending_up", "ranging", "volatile")


def history(count: int, new: int = 20) -> list[ReviewedTrade]:
    """The newest first: gains and losses in turn, over all strategies and regimes, every fifth with a suggestion."""
    trades = []
    for number in range(1, count + 1):
        pnl = ("4.25", "-2.75", "1.5", "-3.1")[number % 4]
        suggestion = f"After trade {number}: ask for volume above 1.4 times its average." if number % 5 == 0 else None
        told = review(pnl, should_update_playbook=suggestion is not None, playbook_suggestion=suggestion)
        place = {"strategy": STRATEGIES[number % 3], "regime": REGIMES[(number // 3) % 3]}
        trades.append(reviewed(number, pnl, told=told, is_new=number <= new, **place))
    return trades


def performance_of(trades: Iterable[ReviewedTrade]) -> PerformanceSummary:
    return summarise(
        period=Period(start=BEGIN, end=NOW),
        trades=[each.trade for each in trades],
        equity=[
            EquityPoint(at=BEGIN + timedelta(days=day), equity=Decimal(10_000) + (-1) ** day * Decimal(day) * 3)
            for day in range(31)
        ],
        model_costs=[ModelCost(at=NOW, usd=Decimal("3.2171"))],
    )


def looked_back(trades: Sequence[ReviewedTrade], **changes: Any) -> Prompt:
    values: dict[str, Any] = {
        "playbook": first_playbook(BEGIN),
        "performance": performance_of(trades),
        "trades": trades,
        "since": NOW - timedelta(hours=20, minutes=30),
    }
    return deep_reflection_prompt(**{**values, **changes})


def completed(**changes: Any) -> CompletedTrade:
    values: dict[str, Any] = {
        "trade": closed(),
        "direction": "LONG",
        "entry_price": Decimal("97200.5"),
        "exit_price": Decimal("98145.25"),
        "stop_loss": Decimal("96450.5"),
        "take_profit": Decimal("98700"),
        "size_pct": Decimal("0.0488"),
        "leverage": Decimal(2),
        "reasoning": "Trend on 1H, pullback to its EMA 20, RSI cooled to 44.",
        "excursion": EXCURSION,
        "research": None,
        "market_at_entry": SNAPSHOT.model_copy(update={"timestamp": NOW - timedelta(hours=4)}),
        "market_at_exit": SNAPSHOT,
    }
    return CompletedTrade(**{**values, **changes})


def playbook_with(**changes: Any) -> Playbook:
    return first_playbook(BEGIN).model_copy(update=changes)


def request(prompt: Prompt, model: Any) -> dict[str, Any]:
    """A Messages request as the offline model gets it."""
    blocks = [{"type": "text", "text": text} for text in (prompt.reference, prompt.user) if text]
    schema = json.loads(json.dumps(output_schema(model)))
    return {
        "messages": [{"role": "user", "content": blocks}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
