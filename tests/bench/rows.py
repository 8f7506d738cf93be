"""A record of any length, written by Postgres itself: cycles with all they leave, trades, fills, what was told.

Everything follows from the number of a row, so that two fillings are the same and rows find their relations without a
look. It ends at a given moment and reaches back a slot of `SYMBOLS` at a time, as months of trading do.
"""

import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Field, Model

SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", *(f"SIM{number}-USDT-SWAP" for number in range(21)))
"""As many as a prime: every instrument has its share of the trades."""
CALLS_A_CYCLE = 3
FILLS_A_TRADE = 2
STEPS_AN_ORDER = 3
SLOT = "interval '5 minutes'"

Columns = dict[str, str]
"""Column -> SQL, of the row's number `n`, from 1 on."""

SNAPSHOT = """jsonb_build_object(
    'symbol', {symbol}, 'price', (20000 + n % 997)::text, 'mark_price', (20000 + n % 997)::text, 'bid', '19999.9',
    'ask', '20000.1', 'change_24h', '0.01', 'price_change_1h', '0.002', 'volume_24h', '123456', 'volume_vs_avg', '1.1',
    'funding_rate', '0.0001', 'regime', 'ranging', 'indicators', jsonb_build_object('1H', jsonb_build_object(
        'rsi_14', 40 + n % 30, 'macd', 1.5, 'adx_14', 20, 'atr_14', 80, 'ema_20', 20010, 'ema_50', 20020)),
    'instrument', jsonb_build_object('ct_val', '0.01', 'lot_size', '0.01', 'min_size', '0.01', 'tick_size', '0.1')
)"""
REASONING = "repeat('The trend holds while funding stays low, and the stop stands below the last swing. ', 3)"


class Record:
    """So many cycles and trades, and the rows beside them, up to `market_time`; `wall_time` is when that was.

    `rarities` is the number of rows in each table of what seldom happens, or is not kept for ever.
    """

    def __init__(
        self, cycles: int, trades: int, *, market_time: datetime, wall_time: datetime, rarities: int | None = None
    ) -> None:
        self.cycles, self.trades, self.stride = cycles, trades, cycles // trades
        self.rarities = cycles // 100 if rarities is None else rarities
        self._market_time, self._wall_time = _literal(market_time), _literal(wall_time)

    # --- what rows have in common ---

    def symbol(self, cycle: str) -> str:
        """The instrument of a cycle, given by its number."""
        return f"('{{{','.join(SYMBOLS)}}}'::text[])[1 + ({cycle}) % {len(SYMBOLS)}]"

    def slot(self, cycle: str) -> str:
        """The slot of a cycle, in market time."""
        return f"{self._market_time} - {SLOT} * (({self.cycles} - ({cycle})) / {len(SYMBOLS)})"

    def worked(self, cycle: str) -> str:
        """When a cycle was at work, in wall time."""
        return self.slot(cycle).replace(self._market_time, self._wall_time)

    def decision(self, cycle: str) -> str:
        return f"md5('cycle ' || ({cycle}))::uuid"

    def spread(self, number: int, *, market: bool = False) -> str:
        """A moment of row `n` of so many that are spread over the whole record; in wall time unless `market`."""
        newest = self._market_time if market else self._wall_time
        return f"{newest} - {SLOT} * (({number} - n) * {self.cycles}::bigint / {number} / {len(SYMBOLS)})"

    # --- the tables ---

    def tables(self) -> Iterator[tuple[type[Model], int, Columns]]:
        """Every table with its number of rows, those first that others lead to."""
        yield from self._decisions()
        yield from self._trades()
        yield from self._messages()

    def _decisions(self) -> Iterator[tuple[type[Model], int, Columns]]:
        from decisions.models import DecisionCycle, ModelCall, ScreenerLog

        traded = f"n % {self.stride} = 0"
        yield DecisionCycle, self.cycles, {
            "instrument": self.symbol("n"), "slot_at": self.slot("n"), "decision_id": self.decision("n"),
            "state": "'done'", "snapshot": SNAPSHOT.format(symbol=self.symbol("n")),
            "outcome": f"CASE WHEN {traded} THEN 'traded' WHEN n % 7 = 1 THEN 'model_hold'"
            " WHEN n % 50 = 2 THEN 'gate_rejected' WHEN n % 400 = 3 THEN 'model_error' ELSE 'screened_out' END",
            "reason": "'Nothing stands out: the range holds and volume is thin. Number ' || n",
            "screener_signal": f"{traded} OR n % 7 = 1", "shadow_audit": "n % 61 = 0", "playbook_version": "1 + n % 9",
            "created_at": self.worked("n"), "updated_at": self.worked("n"), "finished_at": self.worked("n"),
        }  # fmt: skip
        calls = self.cycles * CALLS_A_CYCLE
        cycle = f"(n + {CALLS_A_CYCLE - 1}) / {CALLS_A_CYCLE}"
        yield ModelCall, calls, {
            "cycle_id": cycle, "purpose": f"(ARRAY['screen', 'research', 'analyze'])[1 + n % {CALLS_A_CYCLE}]",
            "model": f"(ARRAY['small-model', 'search-model', 'big-model'])[1 + n % {CALLS_A_CYCLE}]",
            "outcome": "CASE WHEN n % 300 = 7 THEN 'error' ELSE 'ok' END", "prompt": REASONING,
            "system_prompt": "'Decide.'", "raw_reply": REASONING, "input_tokens": "1200", "output_tokens": "80",
            "cost_usd": "0.0004", "latency_ms": "800 + n % 500", "request_id": "'request-' || n",
            "shadow": "n % 500 = 0", "market_time": self.slot(cycle), "created_at": self.worked(cycle),
        }  # fmt: skip
        yield ScreenerLog, self.cycles, {
            "cycle_id": "n", "symbol": self.symbol("n"), "signal": f"{traded} OR n % 7 = 1",
            "reason": "'Nothing stands out'", "opus_action": "CASE WHEN n % 7 = 1 THEN 'HOLD' ELSE '' END",
            "opus_agreed": "CASE WHEN n % 7 = 1 THEN n % 70 = 1 END",
            "created_at": self.worked("n"),
        }  # fmt: skip

    def _trades(self) -> Iterator[tuple[type[Model], int, Columns]]:
        from decisions.models import Fill, FundingPayment, Order, OrderTransition
        from journal.models import Trade

        def opened(trade: str) -> Columns:
            cycle = f"({trade}) * {self.stride}"
            return {
                "symbol": self.symbol(cycle),
                "decision": self.decision(cycle),
                "at": self.slot(cycle),
                "worked": self.worked(cycle),
            }

        own = opened("n")
        yield Trade, self.trades, {
            "trade_id": "md5('trade ' || n)::uuid", "opened_at": own["at"], "symbol": own["symbol"],
            "closed_at": f"{own['at']} + interval '1 minute' * (1 + n % 600)", "duration_seconds": "60 * (1 + n % 600)",
            "direction": "CASE WHEN n % 3 = 0 THEN 'SHORT' ELSE 'LONG' END", "entry_price": "20000",
            "exit_price": "20100", "stop_loss": "19800", "take_profit": "20500", "size": "2",
            "pnl_usd": "(n % 41) - 20.5", "pnl_pct": "((n % 41) - 20.5) / 400", "gross_pnl_usd": "(n % 41) - 20.25",
            "fees_usd": "0.25",
            "strategy_used": "(ARRAY['trend_follow', 'mean_revert', 'breakout'])[1 + n % 3]",
            "market_regime": "(ARRAY['ranging', 'trending_up', 'volatile'])[1 + n % 3]", "opus_reasoning": REASONING,
            "indicators_entry": "'{}'", "exit_reason": "(ARRAY['stop_loss', 'take_profit', 'signal'])[1 + n % 3]",
            "status": "'closed'", "okx_order_id": "'venue-' || n", "decision_id": own["decision"],
            "playbook_version": "1", "ct_val": "0.01", "open_size": "0", "entry_value": "400", "exit_value": "402",
        }  # fmt: skip
        yield Order, self.trades, {
            "cycle_id": f"n * {self.stride}", "trade_id": "n", "decision_id": own["decision"],
            "client_order_id": f"replace({own['decision']}::text, '-', '')", "venue_order_id": "'venue-' || n",
            "symbol": own["symbol"], "action": "'OPEN_LONG'", "side": "'buy'", "pos_side": "'long'",
            "order_type": "CASE WHEN n % 4 = 0 THEN 'limit' ELSE 'market' END", "size": "2", "size_pct": "0.04",
            "stop_loss": "19800", "take_profit": "20500", "reduce_only": "n % 3 = 0", "judged_price": "20000",
            "notional_usd": "400", "filled_size": "2", "entry_id": "'1-' || n", "sent_at": own["worked"],
            "ended_at": own["worked"],
            "status": "(ARRAY['filled', 'filled', 'filled', 'rejected', 'expired', 'cancelled'])[1 + n % 6]",
            "expires_at": own["worked"], "created_at": own["worked"],
        }  # fmt: skip
        steps = self.trades * STEPS_AN_ORDER
        yield OrderTransition, steps, {
            "order_id": f"(n + {STEPS_AN_ORDER - 1}) / {STEPS_AN_ORDER}", "at": self.spread(steps),
            "from_status": "(ARRAY['pending', 'sent', 'accepted'])[1 + n % 3]", "cause": "'fill ' || n",
            "to_status": "(ARRAY['sent', 'accepted', 'filled'])[1 + n % 3]",
        }  # fmt: skip
        fills = self.trades * FILLS_A_TRADE
        trade = f"(n + {FILLS_A_TRADE - 1}) / {FILLS_A_TRADE}"
        of_trade, opens = opened(trade), f"n % {FILLS_A_TRADE} = 1"
        yield Fill, fills, {
            "fill_id": "'old-fill-' || n", "order_id": f"CASE WHEN {opens} THEN {trade} END", "trade_id": trade,
            "client_order_id": f"CASE WHEN {opens} THEN replace({of_trade['decision']}::text, '-', '') ELSE '' END",
            "symbol": of_trade["symbol"], "pos_side": "'long'", "side": f"CASE WHEN {opens} THEN 'buy' ELSE 'sell' END",
            "intent": f"CASE WHEN {opens} THEN 'open' ELSE 'close' END", "status": "'filled'", "price": "20000",
            "size": "2",
            "fee_usd": "0.125", "pnl_usd": "0", "cumulative_size": "2", "filled_at": of_trade["at"],
            "exit_reason": f"CASE WHEN {opens} THEN '' ELSE 'stop_loss' END", "created_at": of_trade["worked"],
        }  # fmt: skip
        yield FundingPayment, self.trades // 2, {
            "funding_id": "'old-funding-' || n", "trade_id": "2 * n", "symbol": opened("2 * n")["symbol"],
            "pos_side": "'long'",
            "amount_usd": "0.01", "rate": "0.0001", "paid_at": opened("2 * n")["at"],
            "created_at": opened("2 * n")["worked"],
        }  # fmt: skip

    def _messages(self) -> Iterator[tuple[type[Model], int, Columns]]:
        from decisions.models import (
            DeadLetter,
            Discrepancy,
            InboxMessage,
            MarketAlertRecord,
            MarketRecord,
            OutboxMessage,
            ResearchCache,
        )
        from journal.models import AccountUpdate
        from risk.models import RiskRejection, Verdict

        verdicts = self.trades + self.cycles // 50
        cycle = f"CASE WHEN n <= {self.trades} THEN n * {self.stride} ELSE (n - {self.trades}) * 50 - 48 END"
        yield Verdict, verdicts, {
            "decision_id": f"CASE WHEN n <= {self.trades} THEN {self.decision(f'n * {self.stride}')}"
            " ELSE md5('refused ' || n)::uuid END",
            "cycle_number": cycle, "symbol": self.symbol(cycle), "action": "'OPEN_LONG'",
            "approved": f"n <= {self.trades}",
            "outcome": f"CASE WHEN n <= {self.trades} THEN 'approved' ELSE 'gate_rejected' END", "inputs": "'{}'",
            "results": "'{}'", "previous_hash": "md5('verdict ' || n - 1)", "content_hash": "md5('verdict ' || n)",
            "created_at": self.spread(verdicts),
        }  # fmt: skip
        yield RiskRejection, self.cycles // 50, {
            "verdict_id": f"n + {self.trades}", "decision_json": "'{}'", "created_at": self.spread(self.cycles // 50),
            "failed_rules": """'[{"rule": "rr_ratio", "reason": "The target is too close."}]'""",
        }  # fmt: skip
        told = self.cycles // 4
        alert = "n % 5 = 0"
        yield OutboxMessage, told, {
            "msg_id": "md5('told ' || n)::uuid", "payload": """'{"title": "told", "detail": "told"}'""",
            "stream": f"CASE WHEN {alert} THEN 'system:alerts' ELSE 'opus:decisions' END",
            "type": f"CASE WHEN {alert} THEN 'system_alert' ELSE 'opus_decision' END",
            "severity": f"CASE WHEN {alert} THEN 'WARN' ELSE '' END",
            "category": f"CASE WHEN {alert} THEN 'risk_rejection' ELSE '' END", "created_at": self.spread(told),
            "metadata": f"CASE WHEN {alert} THEN '{{}}'::jsonb ELSE jsonb_build_object('cycle_number', n) END",
            "sent_at": self.spread(told),
        }  # fmt: skip
        yield InboxMessage, self.cycles // 10, {
            "msg_id": "md5('heard ' || n)", "stream": "'market:snapshots'", "entry_id": "'1-' || n",
            "type": "'market_snapshot'", "received_at": self.spread(self.cycles // 10),
        }  # fmt: skip
        yield MarketRecord, self.cycles // 5, {
            "symbol": self.symbol("n"), "payload": SNAPSHOT.format(symbol=self.symbol("n")), "price": "20000 + n % 997",
            "at": f"{self._market_time} - {SLOT} * (({self.cycles // 5} - n) / {len(SYMBOLS)})",
            "received_at": self.spread(self.cycles // 5),
        }  # fmt: skip
        yield MarketAlertRecord, self.rarities, {
            "symbol": self.symbol("n"), "kind": "'price_spike'", "severity": "'high'", "detail": "'It moves.'",
            "value": "0.04", "market_time": self.spread(self.rarities, market=True),
            "received_at": self.spread(self.rarities),
        }  # fmt: skip
        yield ResearchCache, self.rarities, {
            "query": "'What moves the market? ' || n", "response_json": "'{}'",
            "asked_at": self.spread(self.rarities, market=True), "created_at": self.spread(self.rarities),
        }  # fmt: skip
        yield AccountUpdate, self.cycles // 10, {
            "as_of": self.spread(self.cycles // 10, market=True), "equity": "10000 + n % 500", "available": "9000",
            "margin_used": "1000", "unrealized_pnl": "0", "net_transfers_usd": "0",
            "received_at": self.spread(self.cycles // 10),
        }  # fmt: skip
        yield DeadLetter, self.rarities // 10, {
            "stream": "'trade:fills'", "entry_id": "'1-' || n", "reason": "'payload: not an object'",
            "raw": "'{}'", "created_at": self.spread(self.rarities // 10),
        }  # fmt: skip
        yield Discrepancy, self.rarities // 10, {
            "symbol": self.symbol("n"), "kind": "'size'", "first_told_at": self.spread(self.rarities // 10),
            "last_told_at": self.spread(self.rarities // 10), "told": "true",
            "resolved_at": self.spread(self.rarities // 10),
        }  # fmt: skip


def fill(record: Record, say: Callable[[str], None] = lambda _: None) -> int:
    """Write the whole record into empty tables, with fresh statistics. Returns how many rows."""
    total = 0
    for model, number, columns in record.tables():
        if number == 0:
            continue
        began = time.perf_counter()
        _insert(model, number, columns)
        total += number
        say(f"{model._meta.db_table:<24} {number:>9,} rows {time.perf_counter() - began:7.1f} s")
    return total


@transaction.atomic
def _insert(model: type[Model], number: int, columns: Columns) -> None:
    table = model._meta.db_table
    filled = {str(each.column): columns.get(str(each.column)) or _default(each) for each in model._meta.concrete_fields}
    if unknown := columns.keys() - filled.keys():
        raise LookupError(f"{table} has no {', '.join(sorted(unknown))}")
    filled["id"] = "n"
    with connection.cursor() as cursor:
        # The relations hold by construction: looking each of them up takes longer than the writing.
        cursor.execute("SET LOCAL session_replication_role TO replica")
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(filled)}) SELECT {', '.join(filled.values())}"  # noqa: S608
            f" FROM generate_series(1, {number}) AS n"
        )
        cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {number})")
        cursor.execute("SET LOCAL session_replication_role TO DEFAULT")
        cursor.execute(f"ANALYZE {table}")


def _default(field: "Field[Any, Any]") -> str:
    if field.primary_key or field.null:
        return "NULL"
    if getattr(field, "auto_now_add", False) or getattr(field, "auto_now", False):
        return "now()"
    if not field.has_default() and not field.empty_strings_allowed:
        raise LookupError(f"{field} has no default: it has to be given")
    return _literal(field.get_default())


def _literal(value: Any) -> str:
    match value:
        case bool() | int():
            return str(value)
        case datetime() | date():
            return f"'{value.isoformat()}'::timestamptz"
        case dict() | list():
            return "'{}'" if isinstance(value, dict) else "'[]'"
    return "'" + str(value).replace("'", "''") + "'"
