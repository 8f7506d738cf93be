"""A sound long of 2.5 contracts at 20,000 with 10,000 USD that passes every rule; tests change one thing at a time."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from risk import gate
from risk.limits import Limits, parse_limits

NOW = datetime(2022, 11, 9, 12, 0, tzinfo=UTC)
LIMITS: Limits = parse_limits({})

BTC = gate.Instrument(
    symbol="BTC-USDT-SWAP",
    ct_val=Decimal("0.01"),
    lot_size=Decimal("0.01"),
    min_size=Decimal("0.01"),
    tick_size=Decimal("0.1"),
)
LONG = gate.Proposal(
    action="OPEN_LONG",
    symbol="BTC-USDT-SWAP",
    size_pct=Decimal("0.05"),
    order_type="market",
    limit_price=None,
    stop_loss=Decimal("19600"),
    take_profit=Decimal("20800"),
    leverage=Decimal(2),
    snapshot_price=Decimal("20000"),
    bid=Decimal("19999.9"),
    ask=Decimal("20000.1"),
)
SHORT = replace(LONG, action="OPEN_SHORT", stop_loss=Decimal("20400"), take_profit=Decimal("19200"))
CALM = gate.RiskState(
    day_start_equity=Decimal(10000),
    day_net_transfers=Decimal(0),
    peak_equity=Decimal(10000),
    peak_net_transfers=Decimal(0),
    loss_streak=0,
    cooldown_until=None,
    halts=(),
)
HELD = gate.Position(
    symbol="BTC-USDT-SWAP",
    direction="LONG",
    size=Decimal("1.25"),
    notional_usd=Decimal(250),
    stop_loss=Decimal("19500"),
    take_profit=Decimal("21000"),
)


def dec(text: str | int) -> Decimal:
    return Decimal(text)


def held(symbol: str, direction: Any = "LONG", notional: str = "100") -> gate.Position:
    return replace(HELD, symbol=symbol, direction=direction, notional_usd=Decimal(notional))


def pending(
    symbol: str, direction: Any = "LONG", notional: str = "100", *, reduce_only: bool = False
) -> gate.PendingOrder:
    action: gate.Action = "CLOSE" if reduce_only else "OPEN_LONG" if direction == "LONG" else "OPEN_SHORT"
    return gate.PendingOrder(
        symbol=symbol, direction=direction, action=action, notional_usd=Decimal(notional), reduce_only=reduce_only
    )


def inputs(proposal: gate.Proposal = LONG, **changes: Any) -> gate.Inputs:
    """The arguments of `evaluate`; what is held elsewhere is uncorrelated unless said otherwise."""
    positions = changes.get("positions", ())
    orders = changes.get("pending", ())
    unrelated: Mapping[str, Decimal | None] = {other.symbol: Decimal(0) for other in (*positions, *orders)}
    given: gate.Inputs = {
        "proposal": proposal,
        "account": gate.Account(equity=Decimal(changes.get("equity", 10000))),
        "positions": positions,
        "pending": orders,
        "state": changes.get("state", CALM),
        "correlations": changes.get("correlations", unrelated),
        "instrument": changes.get("instrument", BTC),
        "limits": changes.get("limits", LIMITS),
        "now": changes.get("now", NOW),
    }
    return given


def judge(proposal: gate.Proposal = LONG, **changes: Any) -> gate.Verdict:
    return gate.evaluate(**inputs(proposal, **changes))


def result(verdict: gate.Verdict, rule: str) -> gate.RuleResult:
    return next(result for result in verdict.results if result.rule == rule)


def refusing(verdict: gate.Verdict) -> set[str]:
    return {result.rule for result in verdict.refusals}
