"""What a model decided, as the gate reads it. Pure."""

from decimal import Decimal

from decisions.grounding import OPENINGS
from decisions.messages import MarketSnapshot
from decisions.schemas import Decision
from journal.playbook import Playbook, largest_position
from risk import gate


def proposal(decision: Decision, snapshot: MarketSnapshot, shown: Playbook) -> gate.Proposal:
    """The decision at the snapshot's prices. The largest position of the playbook that it was `shown` only ever shrinks
    an opening."""
    opens = decision.action in OPENINGS
    largest = largest_position(shown, snapshot.regime) if opens else None
    return gate.Proposal(
        action=decision.action,
        symbol=decision.symbol,
        size_pct=decision.size_pct if largest is None else min(decision.size_pct, largest),
        order_type=decision.order_type,
        limit_price=decision.limit_price,
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        leverage=Decimal(1) if decision.leverage is None else decision.leverage,
        snapshot_price=snapshot.price,
        bid=snapshot.bid,
        ask=snapshot.ask,
    )


def instrument(snapshot: MarketSnapshot) -> gate.Instrument:
    """The contract terms that the snapshot carries."""
    return gate.Instrument(symbol=snapshot.symbol, **dict(snapshot.instrument))
