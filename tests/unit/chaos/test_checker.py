"""The checker of chaos runs finds what it is there to find: a run in which all is well, spoilt in one place."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.checker import check
from tests.chaos.evidence import Event, Evidence, Ledger, Record
from tests.chaos.traffic import Entry, Traffic

BAR = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
WALL = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SYMBOL, ORDER = "BTC-USDT-SWAP", "a" * 32


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class Scene:
    """A long of two contracts at 100, opened by an order and stopped out at 90. Contracts of 0.1 coins."""

    def __init__(self) -> None:
        self.events = [
            Event(1, "order", self._order(), {"market_at": BAR.isoformat(), "price": "100", "equity": "10000"}),
            Event(3, "fill", self._fill("v-fill-3", "open", "buy", "100", "0.01", None, BAR), {}),
            Event(
                5, "fill", self._fill("v-fill-5", "close", "sell", "90", "0.01", "-2", BAR + timedelta(minutes=5)), {}
            ),
        ]
        self.repeats: list[str] = []
        self.state: dict[str, Any] = {
            "quotes": {SYMBOL: {"instrument": {"ct_val": "0.1"}, "mark_price": "90"}},
            "positions": {},
            "books": {
                "start_equity": "10000", "realized_pnl": "-2", "fees": "0.02", "funding": "0", "transfers": "0",
            },
        }  # fmt: skip
        self.entries = [
            self._entry("trade:orders", "trade_order", "m-order", {"client_order_id": ORDER}),
            self._entry("trade:fills", "trade_fill", "m-3", {"fill_id": "v-fill-3"}),
            self._entry("trade:fills", "trade_fill", "m-5", {"fill_id": "v-fill-5"}),
            self._entry("trade:positions", "position_update", "m-6", {}),
        ]
        self.tables: dict[str, list[dict[str, Any]]] = {
            "decision_cycles": [{"id": 1, "instrument": SYMBOL, "slot_at": BAR, "state": "done"}],
            "orders": [{
                "id": 1, "client_order_id": ORDER, "cycle_id": 1, "symbol": SYMBOL, "action": "OPEN_LONG",
                "size": Decimal(2), "limit_price": None, "stop_loss": Decimal(90), "take_profit": Decimal(120),
                "leverage": Decimal(2), "filled_size": Decimal(2), "status": "filled",
            }],
            "fills": [self._row(event) for event in self.events if event.kind == "fill"],
            "funding_payments": [],
            "trades": [{
                "id": 1, "trade_id": "real", "origin": "decision",
                "symbol": SYMBOL, "direction": "LONG", "size": Decimal(2), "open_size": Decimal(0),
                "status": "closed", "opened_at": BAR, "closed_at": BAR + timedelta(minutes=5),
                "entry_price": Decimal(100), "exit_price": Decimal(90), "gross_pnl_usd": Decimal(-2),
                "fees_usd": Decimal("0.02"), "funding_usd": Decimal(0), "pnl_usd": Decimal("-2.02"),
            }],
            "risk_halts": [], "instrument_blocks": [], "dead_letters": [], "system_commands": [], "outbox": [],
            "risk_verdicts": [{"id": 1, "previous_hash": "0", "content_hash": "1"},
                              {"id": 2, "previous_hash": "1", "content_hash": "2"}],
            "inbox": [{"msg_id": name, "type": kind} for name, kind in
                      (("m-3", "trade_fill"), ("m-5", "trade_fill"), ("m-6", "position_update"))],
            "account_history": [{"equity": Decimal("9997.98")}],
            "chaos_audit": [self._step("order", 1, None, "pending"), self._step("order", 1, "pending", "sent"),
                            self._step("order", 1, "sent", "filled"), self._step("cycle", 1, "1 executing", "1 done")],
        }  # fmt: skip

    def evidence(self) -> Evidence:
        traffic = Traffic(redis.Redis())
        traffic.entries = self.entries
        evidence = Evidence(
            ledger=Path("nowhere"), database="", traffic=traffic, prices={(SYMBOL, BAR): Decimal(100)}, garbage=[],
            venue_faults=frozenset(),
        )  # fmt: skip
        evidence.__dict__["venue"] = Ledger(Decimal(10000), self.state, self.events, self.repeats)
        evidence.__dict__["record"] = Record(self.tables)
        return evidence

    def _order(self) -> dict[str, Any]:
        return {
            "client_order_id": ORDER, "symbol": SYMBOL, "action": "OPEN_LONG", "pos_side": "long", "size": "2",
            "limit_price": None, "stop_loss": "90", "take_profit": "120", "leverage": "2",
        }  # fmt: skip

    def _fill(
        self, name: str, intent: str, side: str, price: str, fee: str, pnl: str | None, at: datetime
    ) -> dict[str, Any]:
        return {
            "fill_id": name, "client_order_id": ORDER if intent == "open" else None, "symbol": SYMBOL,
            "pos_side": "long", "side": side, "intent": intent, "status": "filled", "fill_price": price,
            "fill_size": "2", "fee_usd": fee, "pnl_usd": pnl, "cumulative_size": "2", "filled_at": text(at),
        }  # fmt: skip

    def _row(self, event: Event) -> dict[str, Any]:
        told = event.payload
        return {
            **{name: told[name] for name in ("fill_id", "symbol", "pos_side", "side", "intent", "status")},
            "price": Decimal(told["fill_price"]), "size": Decimal(2), "fee_usd": Decimal(told["fee_usd"]),
            "pnl_usd": told["pnl_usd"] and Decimal(told["pnl_usd"]), "cumulative_size": Decimal(2),
            "filled_at": datetime.fromisoformat(told["filled_at"]), "waiting": None, "trade_id": 1,
        }  # fmt: skip

    def _entry(self, stream: str, kind: str, name: str, payload: dict[str, Any]) -> Entry:
        fields = {b"msg_id": name.encode(), b"type": kind.encode(), b"payload": json.dumps(payload).encode()}
        return Entry(stream, f"{int(WALL.timestamp() * 1000)}-{name[-1]}", 0, fields)

    def _step(self, kind: str, row: int, before: str | None, after: str) -> dict[str, Any]:
        return {"kind": kind, "row_id": row, "before": before, "after": after, "at": WALL}


def test_nothing_is_found_where_all_is_well():
    assert check(Scene().evidence()) == []


def spoil(table: str, column: str, value: object, place: int = 0) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        scene.tables[table][place][column] = value

    return change


def halted(scene: Scene) -> None:
    scene.tables["chaos_audit"].append(
        {"kind": "halt", "row_id": 1, "before": None, "after": "begun", "at": WALL - timedelta(seconds=1)}
    )


def sent_twice(scene: Scene) -> None:
    scene.entries.append(scene.entries[0])


def ten_times_the_size(scene: Scene) -> None:
    scene.events[0] = Event(1, "order", scene.events[0].payload | {"size": "200"}, scene.events[0].arrival)


def stepped_back(scene: Scene) -> None:
    scene.tables["chaos_audit"].append(
        {"kind": "order", "row_id": 1, "before": "filled", "after": "accepted", "at": WALL}
    )


def held_at_the_venue(scene: Scene) -> None:
    scene.state["positions"][SYMBOL] = {
        "symbol": SYMBOL, "pos_side": "long", "size": "2", "ct_val": "0.1", "cost": "18",
    }  # fmt: skip


def believed(scene: Scene, *, told: bool = True, **changed: object) -> None:
    """A position that the venue made up was adopted, and is closed with a result that nobody knows."""
    nothing = {"gross_pnl_usd": Decimal(0), "fees_usd": Decimal(0), "funding_usd": Decimal(0)}
    phantom = {"id": 2, "trade_id": "phantom", "origin": "reconciled", "pnl_usd": None, "exit_price": None, **nothing}
    scene.tables["trades"].append(scene.tables["trades"][0] | phantom | changed)
    if told:
        alert = {"severity": "CRITICAL", "category": "position_not_ours", "metadata": {"trade": "phantom"}}
        scene.tables["outbox"].append({"id": 1, "sent_at": WALL, "payload": {}, **alert})


def test_a_position_that_the_venue_made_up_is_no_violation_when_a_person_was_told():
    scene = Scene()
    believed(scene)
    assert check(scene.evidence()) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (sent_twice, "sent_once"),
        (lambda scene: scene.repeats.append(ORDER), "sent_once"),
        (lambda scene: scene.tables["orders"].clear(), "orders_agree"),
        (spoil("orders", "size", Decimal(3)), "orders_agree"),
        (spoil("orders", "filled_size", Decimal(1)), "orders_agree"),
        (spoil("orders", "status", "expired"), "orders_agree"),
        (spoil("orders", "status", "sent"), "all_ended"),
        (spoil("decision_cycles", "state", "executing"), "all_ended"),
        (stepped_back, "steps_forward"),
        (halted, "none_while_halted"),
        (ten_times_the_size, "limits_hold"),
        (lambda scene: scene.tables["fills"].pop(), "fills_once"),
        (
            lambda scene: scene.tables["fills"].append(deepcopy(scene.tables["fills"][0]) | {"fill_id": "x"}),
            "fills_once",
        ),
        (spoil("fills", "fee_usd", Decimal("0.02")), "fills_once"),
        (spoil("fills", "waiting", {}), "fills_once"),
        (spoil("trades", "entry_price", Decimal(101)), "trades_agree"),
        (spoil("trades", "pnl_usd", None), "trades_agree"),
        (spoil("trades", "gross_pnl_usd", Decimal("-2.0001")), "books_balance"),
        (spoil("account_history", "equity", Decimal("9997.9799")), "books_balance"),
        (lambda scene: believed(scene, told=False), "trades_agree"),
        (lambda scene: believed(scene, origin="decision"), "trades_agree"),
        (lambda scene: believed(scene, fees_usd=Decimal("0.01")), "trades_agree"),
        (lambda scene: believed(scene, status="open", open_size=Decimal(2)), "positions_agree"),
        (held_at_the_venue, "positions_agree"),
        (lambda scene: scene.tables["inbox"].pop(), "nothing_lost"),
        (lambda scene: scene.tables["account_history"].insert(0, {"equity": Decimal(0)}), "effects_once"),
        (spoil("risk_verdicts", "previous_hash", "0", place=1), "verdicts_chained"),
    ],
)
def test_what_is_wrong_is_found_by_its_rule(change: Callable[[Scene], None], rule: str):
    scene = Scene()
    change(scene)
    assert rule in {told.partition(":")[0] for told in check(scene.evidence())}
