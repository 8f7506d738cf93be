"""What the tests of this folder put into the system: wire payloads, stream entries, and the rows of a sent order."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import redis
from django.db import transaction

from decisions import fills
from decisions.messages import TradeFill
from decisions.models import LIVE, DecisionCycle, Order, OrderStatus, OutboxMessage, State
from orchestrator_project.group_reader import GroupReader
from orchestrator_project.streams import connect_reader

BTC = "BTC-USDT-SWAP"
NOON = datetime(2022, 11, 20, 12, tzinfo=UTC)

_numbers = count(1)


def zulu(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def indicators(**changes: Any) -> dict[str, Any]:
    """One timeframe's indicators, with all of them known."""
    return {
        "rsi_14": 62.5, "macd": 12.0, "macd_signal": 8.0, "macd_hist": 4.0, "adx_14": 28.0, "atr_14": 110.0,
        "bb_upper": 20400.0, "bb_middle": 20000.0, "bb_lower": 19600.0, "bb_position": 0.75,
        "ema_20": 19950.0, "ema_50": 19800.0, "ema_200": 19500.0, "ema_alignment": "bullish",
    } | changes  # fmt: skip


def snapshot_payload(symbol: str = BTC, at: datetime = NOON, price: str = "20000", **changes: Any) -> dict[str, Any]:
    """A calm market: nothing about it is an anomaly."""
    mark = Decimal(price)
    return {
        "symbol": symbol, "timestamp": zulu(at), "price": price, "mark_price": price,
        "bid": str(mark - Decimal("0.1")), "ask": str(mark + Decimal("0.1")),
        "change_24h": "0.01", "price_change_1h": "0.002", "volume_24h": "48000", "volume_vs_avg": "1.2",
        "funding_rate": "0.0001", "next_funding_at": zulu(at + timedelta(hours=4)),
        "open_interest": "2400000000", "oi_change_4h": "0.01", "regime": "trending_up",
        "indicators": {timeframe: indicators() for timeframe in ("15m", "1H", "4H")},
        "instrument": {"ct_val": "0.01", "lot_size": "0.01", "min_size": "0.01", "tick_size": "0.1"},
    } | changes  # fmt: skip


def market_alert_payload(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": BTC, "kind": "price_spike", "severity": "WARN", "detail": "2 % in five minutes", "value": "0.02",
    } | changes  # fmt: skip


def fill_payload(order: Order | None = None, **changes: Any) -> dict[str, Any]:
    """A complete fill of 2 contracts at 20000 that opens a long; of `order` where one is given."""
    payload = {
        "fill_id": f"fill-{next(_numbers)}", "decision_id": None, "client_order_id": None, "order_id": "venue-1",
        "algo_id": None, "symbol": BTC, "pos_side": "long", "side": "buy", "intent": "open", "status": "filled",
        "fill_price": "20000", "fill_size": "2", "fee_usd": "0.2", "pnl_usd": None, "cumulative_size": "2",
        "exit_reason": None, "stop_confirmed": None, "reject_reason": None, "filled_at": zulu(NOON),
    }  # fmt: skip
    if order is not None:
        payload |= {
            "decision_id": str(order.decision_id), "client_order_id": order.client_order_id, "symbol": order.symbol,
            "pos_side": order.pos_side, "side": order.side, "intent": order.action.partition("_")[0].lower(),
            "fill_size": str(order.size), "cumulative_size": str(order.size),
        }  # fmt: skip
    return payload | changes


NOTHING_FILLED: dict[str, Any] = {"fill_price": None, "fill_size": None, "fee_usd": None, "cumulative_size": "0"}
"""What an order that ends, or begins, without a fill has in place of its figures."""


def funding_payload(**changes: Any) -> dict[str, Any]:
    return {
        "funding_id": f"funding-{next(_numbers)}", "symbol": BTC, "pos_side": "long", "amount_usd": "-0.04",
        "rate": "0.0001", "paid_at": zulu(NOON),
    } | changes  # fmt: skip


def position_payload(symbol: str = BTC, **changes: Any) -> dict[str, Any]:
    """A long of 2 contracts from 20000, with its stop in place."""
    return {
        "symbol": symbol, "pos_side": "long", "size": "2", "entry_price": "20000", "mark_price": "20000",
        "notional_usd": "400", "unrealized_pnl": "0", "leverage": "2", "margin_usd": "200",
        "liquidation_price": "10100", "stop_loss": "19800", "take_profit": "20500", "opened_at": zulu(NOON),
    } | changes  # fmt: skip


def position_update_payload(
    at: datetime = NOON, equity: str = "10000", transfers: str = "0", unrealized: str = "0", **changes: Any
) -> dict[str, Any]:
    """An account without positions or orders."""
    return {
        "positions": [],
        "account": {
            "equity": equity, "available": equity, "margin_used": "0", "unrealized_pnl": unrealized,
            "net_transfers_usd": transfers,
        },
        "open_orders": [], "recent_fills": [], "as_of": zulu(at),
    } | changes  # fmt: skip


def command_payload(command: str, issued_at: datetime | None = None, **args: Any) -> dict[str, Any]:
    """A command of a person called ada; issued now where no time is given."""
    return {
        "command": command, "args": args, "issued_by": "ada", "issued_at": zulu(issued_at or datetime.now(UTC)),
    }  # fmt: skip


# --- streams ----------------------------------------------------------------------------------------------------------


def entry_fields(message_type: str, payload: Any, /, **members: str) -> dict[str, str]:
    """The six fields of a stream entry."""
    return {
        "msg_id": f"msg-{next(_numbers)}", "timestamp": zulu(NOON), "source": "test", "type": message_type,
        "payload": json.dumps(payload), "metadata": "{}",
    } | members  # fmt: skip


def add_raw(client: redis.Redis, stream: str, fields: Any) -> str:
    """Append fields as they are. Returns the entry's id."""
    entry_id: Any = client.xadd(stream, fields)
    return str(entry_id)


def add(client: redis.Redis, stream: str, message_type: str, payload: Any, /, **members: str) -> str:
    """Append a message in its envelope. Returns the entry's id."""
    return add_raw(client, stream, entry_fields(message_type, payload, **members))


def group_reader(streams: Any, consumer: str = "one", **options: Any) -> GroupReader:
    """A reader of the group `orchestrator` that does not wait long for what does not come."""
    options = {"block_seconds": 0.02, **options}
    client = connect_reader(options["block_seconds"])
    reader = GroupReader(client, group="orchestrator", consumer=consumer, streams=streams, **options)
    reader.create_groups()
    return reader


# --- rows -------------------------------------------------------------------------------------------------------------


def cycle_row(symbol: str = BTC, **changes: Any) -> DecisionCycle:
    """A cycle that decided on an opening and waits for the venue's word."""
    fields: dict[str, Any] = {
        "instrument": symbol,
        "slot_at": NOON + timedelta(minutes=5 * next(_numbers)),
        "state": State.CONFIRMING,
        "snapshot": snapshot_payload(symbol),
        "decision": {"strategy_used": "breakout", "confidence": 0.7, "reasoning": "volume confirms the breakout"},
        "playbook_version": 1,
        "research": {"summary": "calm"},
    }
    return DecisionCycle.objects.create(**fields | changes)


def sent_order(action: str = "OPEN_LONG", size: str = "2", **changes: Any) -> Order:
    """An order on its way to the venue, with the cycle that decided it."""
    symbol, cycle_changes = changes.pop("symbol", BTC), changes.pop("cycle_changes", {})
    cycle = cycle_row(symbol, decision_id=uuid4(), **cycle_changes)
    reduce_only = action in ("CLOSE", "REDUCE")
    pos_side = changes.pop("pos_side", "short" if action == "OPEN_SHORT" else "long")
    stop, target = ("19800", "20500") if pos_side == "long" else ("20200", "19500")
    fields: dict[str, Any] = {
        "cycle": cycle,
        "decision_id": cycle.decision_id,
        "client_order_id": cycle.decision_id.hex,
        "symbol": symbol,
        "action": action,
        "side": "buy" if (pos_side == "long") != reduce_only else "sell",
        "pos_side": pos_side,
        "order_type": "market",
        "size": Decimal(size),
        "size_pct": None if reduce_only else Decimal("0.04"),
        "stop_loss": None if reduce_only else Decimal(stop),
        "take_profit": None if reduce_only else Decimal(target),
        "leverage": Decimal(2),
        "reduce_only": reduce_only,
        "judged_price": Decimal(20000),
        "notional_usd": Decimal(size) * 200,
        "status": OrderStatus.SENT,
        "entry_id": "1-1",
        "sent_at": datetime.now(UTC),
        "expires_at": datetime.now(UTC) + timedelta(seconds=30),
    }
    fields |= changes
    if fields["status"] not in LIVE:
        fields["ended_at"] = fields["sent_at"]
    return Order.objects.create(**fields)


# --- what became of them ----------------------------------------------------------------------------------------------


def book(order: Order | None = None, **changes: Any) -> TradeFill:
    """Book a fill of an order, or of nobody's, in a transaction of its own."""
    message = TradeFill.model_validate(fill_payload(order, **changes))
    with transaction.atomic():
        fills.book_fill(message)
    return message


def alerts(category: str) -> list[str]:
    """The details of the alerts of a category, oldest first."""
    return [row.payload["detail"] for row in OutboxMessage.objects.filter(category=category).order_by("id")]


def end_of(order: Order) -> tuple[str, str | None, str]:
    """The order's status, its cycle's outcome and the cycle's reason."""
    order.refresh_from_db()
    cycle = DecisionCycle.objects.get(decision_id=order.decision_id)
    return order.status, cycle.outcome, cycle.reason
