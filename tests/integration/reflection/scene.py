"""Closed trades to look back at, and the work of reflection driven by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from decisions.models import MarketRecord, ModelCall
from journal.models import Trade
from reflection import desk
from reflection.models import Reflection, ReflectionLog
from tests.integration.decisions.build import BTC, NOON, cycle_row, snapshot_payload
from tests.integration.decisions.scene import account, bar, later

_numbers = count(1)


def world(at: datetime = NOON) -> None:
    """The market clock stands at `at`: a bar, and the account as of it."""
    bar(at)
    account(at)


def closed(net: str | None = "4", *, minutes: float = 0, **changes: Any) -> Trade:
    """A long of two contracts that closed `minutes` after noon and made `net` after a fee of 1; None: nobody knows."""
    at = later(minutes)
    values: dict[str, Any] = {
        "opened_at": at - timedelta(minutes=30), "closed_at": at, "duration_seconds": 1800, "symbol": BTC,
        "direction": "LONG", "entry_price": 20000, "exit_price": 20200, "stop_loss": 19800, "take_profit": 20450,
        "size": 2, "size_pct": Decimal("0.04"), "open_size": 0, "ct_val": Decimal("0.01"), "entry_value": 400,
        "exit_value": 404, "fees_usd": 1, "gross_pnl_usd": 0 if net is None else Decimal(net) + 1,
        "pnl_usd": None if net is None else Decimal(net), "pnl_pct": None, "status": "closed",
        "strategy_used": "momentum_breakout", "confidence_at_entry": Decimal("0.7"), "market_regime": "trending_up",
        "opus_reasoning": "a break on volume", "exit_reason": "take_profit", "playbook_version": 1,
    }  # fmt: skip
    return Trade.objects.create(**{**values, **changes})


def decided(trade: Trade, **snapshot: Any) -> None:
    """The cycle that opened the trade, with the snapshot that it saw."""
    cycle = cycle_row(trade.symbol, snapshot=snapshot_payload(trade.symbol, trade.opened_at, **snapshot))
    Trade.objects.filter(pk=trade.pk).update(decision_id=cycle.decision_id)


def price(at: datetime, value: str) -> None:
    """A snapshot that was recorded then."""
    MarketRecord.objects.create(symbol=BTC, at=at, price=Decimal(value), payload=snapshot_payload(BTC, at, value))


def spend(usd: str, at: datetime = NOON) -> None:
    """A call to a model that cost so much."""
    ModelCall.objects.create(
        purpose="analyze", model="big", outcome="ok", latency_ms=1, cost_usd=Decimal(usd), market_time=at,
        system_prompt="", prompt="",
    )  # fmt: skip


def look_after(at: datetime = NOON) -> None:
    """The sweep, and all the work that there is to do, at market time `at`."""
    desk.see_to_it(at)
    while desk.work(at):
        pass


def piece_of(trade: Trade) -> Reflection:
    return Reflection.objects.get(trade=trade)


def deep_ones() -> list[Reflection]:
    return list(Reflection.objects.filter(kind="periodic").order_by("as_of", "id"))


def logs(kind: str = "post_trade") -> list[ReflectionLog]:
    return list(ReflectionLog.objects.filter(reflection_type=kind).order_by("id"))


def pause_is_over() -> None:
    """As if the pause after a failed attempt were over."""
    Reflection.objects.filter(not_before__isnull=False).update(not_before=datetime.now(UTC) - timedelta(seconds=1))


def lease_is_over() -> None:
    """As if the claim of whoever is at a piece had lapsed."""
    moment = datetime.now(UTC) - timedelta(seconds=1)
    Reflection.objects.filter(claim__isnull=False).update(claimed_until=moment)
