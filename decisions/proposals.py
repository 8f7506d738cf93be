"""What a model decided, as the gate reads it. Pure."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

from decisions.grounding import OPENINGS
from decisions.messages import MarketSnapshot
from decisions.schemas import Decision
from journal.playbook import Playbook, largest_position
from risk import gate
from risk.measures import percent

STEP = Decimal("0.000001")
"""Of a share of equity: a cent of ten thousand USD."""


class PositionFull(ValueError):
    """An addition to a position that is as large as the playbook allows. The text says how large both are."""


def proposal(
    decision: Decision,
    snapshot: MarketSnapshot,
    shown: Playbook,
    *,
    equity: Decimal,
    positions: Sequence[gate.Position],
    pending: Sequence[gate.PendingOrder],
) -> gate.Proposal:
    """The decision at the snapshot's prices, shrunk to the largest position of the playbook that it was `shown`.

    The playbook shrinks first and the gate judges what is left, since that is what would be sent: 50 % asked for under
    a rule of 5 % is a proposal of 5 %, and without a rule one of 50 %, which the gate refuses. Raises `PositionFull`.
    """
    left = _left_by_the_playbook(decision, snapshot, shown, equity, [*positions, *pending])
    return gate.Proposal(
        action=decision.action,
        symbol=decision.symbol,
        size_pct=decision.size_pct if left is None else min(decision.size_pct, left),
        order_type=decision.order_type,
        limit_price=decision.limit_price,
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        leverage=Decimal(1) if decision.leverage is None else decision.leverage,
        snapshot_price=snapshot.price,
        bid=snapshot.bid,
        ask=snapshot.ask,
    )


def _left_by_the_playbook(
    decision: Decision,
    snapshot: MarketSnapshot,
    shown: Playbook,
    equity: Decimal,
    held: Sequence[gate.Position | gate.PendingOrder],
) -> Decimal | None:
    """The most that may be opened or added, as a fraction of equity; None where the playbook says nothing.

    What is held counts at the venue's mark, and what is pending as if it were filled. Of an account that cannot be
    measured nothing is known here: the gate refuses it.
    """
    largest = largest_position(shown, snapshot.regime) if decision.action in OPENINGS else None
    if largest is None or decision.action != "ADD" or not equity.is_finite() or equity <= 0:
        return largest
    entered = [each for each in held if not (isinstance(each, gate.PendingOrder) and each.reduce_only)]
    share = sum((each.notional_usd for each in entered if each.symbol == decision.symbol), Decimal(0)) / equity
    left = (largest - share).quantize(STEP, ROUND_DOWN)
    if left <= 0:
        allowed = f"the playbook allows {percent(largest)} in a {snapshot.regime} market"
        raise PositionFull(f"the position is {percent(share)} of equity, and {allowed}")
    return left


def instrument(snapshot: MarketSnapshot) -> gate.Instrument:
    """The contract terms that the snapshot carries."""
    return gate.Instrument(symbol=snapshot.symbol, **dict(snapshot.instrument))
