"""The market and the venue of the bench of fills: trades on record, and what is said of them on the streams."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.bench.pipeline import SYMBOLS, positions, snapshot

if TYPE_CHECKING:
    from decisions.models import Order

START = datetime(2026, 1, 1, tzinfo=UTC)
INSTRUMENTS = SYMBOLS[:50]
FILLS_A_TRADE = 3
GROSS_USD, FEES_USD = Decimal("0.2"), Decimal("0.03")
"""Of every trade: 2 contracts of 0.01 from 100 to 110, and 0.01 a fill."""

Message = tuple[str, str, dict[str, Any]]
"""Stream, type, payload."""


class Venue:
    """Plays the market and the venue: every position in turn is opened in two parts, paid funding, and closed."""

    def __init__(self) -> None:
        from decisions.outbox import redis_client

        self.redis = redis_client()
        self.trades = 0
        self._minutes = count(1)

    def publish(self, messages: Iterable[Message]) -> None:
        pipe = self.redis.pipeline(transaction=False)
        for stream, type_, payload in messages:
            entry: Any = fields(type_, payload)
            pipe.xadd(stream, entry)
        pipe.execute()

    def fills(self, number: int) -> list[Message]:
        """So many fills, rounded up to whole rounds of the instruments, in the order of a venue."""
        rounds = -(-number // (FILLS_A_TRADE * len(INSTRUMENTS)))
        return [fill for _ in range(rounds) for part in self.round() for fill in part]

    def everything(self) -> list[Message]:
        """One round with all that a consumer reads: snapshots, fills, funding and positions."""
        entered, rest, closed = self.round()
        at = self._now()
        snapshots = [("market:snapshots", "market_snapshot", snapshot(symbol, at)) for symbol in INSTRUMENTS]
        funding = [("trade:fills", "funding_payment", payment(symbol, at)) for symbol in INSTRUMENTS]
        return [*snapshots, *entered, *rest, *funding, *closed, ("trade:positions", "position_update", positions(at))]

    def _now(self) -> datetime:
        return START + timedelta(minutes=next(self._minutes))

    def round(self) -> tuple[list[Message], list[Message], list[Message]]:
        """One trade of every instrument: the fills that open it, those that complete it, those that close it."""
        at = self._now()
        orders = [written_orders(symbol, at) for symbol in INSTRUMENTS]
        self.trades += len(orders)
        save([order for pair in orders for order in pair])
        entered = [fill(entry, at, status="partially_filled", cumulative_size="1") for entry, _ in orders]
        rest = [fill(entry, at) for entry, _ in orders]
        close = {"fill_price": "110", "fill_size": "2", "pnl_usd": "0.2", "exit_reason": "signal", "intent": "close"}
        return entered, rest, [fill(leave, at, **close) for _, leave in orders]


def written_orders(symbol: str, at: datetime) -> "tuple[Order, Order]":
    """An opening with its cycle and a close, sent and unanswered; not saved yet."""
    from decisions.models import DecisionCycle, Order

    # The cycle is over already: an instrument has one open cycle at a time, and here many trades wait at once.
    cycle = DecisionCycle(
        instrument=symbol, slot_at=at, state="done", outcome="traded", finished_at=at, playbook_version=1,
        decision_id=uuid4(), snapshot=snapshot(symbol, at),
        decision={"strategy_used": "bench", "confidence": 0.5, "reasoning": "It is measured. " * 20},
    )  # fmt: skip
    sent: dict[str, Any] = {
        "symbol": symbol, "pos_side": "long", "order_type": "market", "size": Decimal(2), "judged_price": Decimal(100),
        "notional_usd": Decimal(2), "status": "sent", "entry_id": "1-1", "sent_at": at,
        "expires_at": at + timedelta(seconds=30),
    }  # fmt: skip
    entry_id, leave_id = cycle.decision_id, uuid4()
    entry = Order(
        cycle=cycle, decision_id=entry_id, client_order_id=entry_id.hex, action="OPEN_LONG", side="buy",
        reduce_only=False, size_pct=Decimal("0.02"), stop_loss=Decimal(98), take_profit=Decimal(120), **sent,
    )  # fmt: skip
    leave = Order(
        decision_id=leave_id, client_order_id=leave_id.hex, action="CLOSE", side="sell", reduce_only=True, **sent
    )
    return entry, leave


def save(orders: "Sequence[Order]") -> None:
    from decisions.models import DecisionCycle, Order

    DecisionCycle.objects.bulk_create([order.cycle for order in orders if order.cycle is not None])
    Order.objects.bulk_create(orders)


def fill(order: "Order", at: datetime, **changes: Any) -> Message:
    payload = {
        "fill_id": uuid4().hex, "decision_id": str(order.decision_id), "client_order_id": order.client_order_id,
        "order_id": "1", "algo_id": None, "symbol": order.symbol, "pos_side": order.pos_side, "side": order.side,
        "intent": "open", "status": "filled", "fill_price": "100", "fill_size": "1", "fee_usd": "0.01",
        "pnl_usd": None, "cumulative_size": "2", "exit_reason": None, "stop_confirmed": True, "reject_reason": None,
        "filled_at": at.isoformat(),
    }  # fmt: skip
    return "trade:fills", "trade_fill", payload | changes


def payment(symbol: str, at: datetime) -> dict[str, Any]:
    return {
        "funding_id": uuid4().hex, "symbol": symbol, "pos_side": "long", "amount_usd": "-0.0001", "rate": "0.0001",
        "paid_at": at.isoformat(),
    }  # fmt: skip


def fields(type_: str, payload: dict[str, Any]) -> dict[bytes, bytes]:
    """A message as an entry of a stream holds it."""
    members = {"msg_id": str(uuid4()), "timestamp": START.isoformat(), "source": "bench", "type": type_}
    return {
        name.encode(): value.encode()
        for name, value in (members | {"payload": json.dumps(payload), "metadata": "{}"}).items()
    }
