"""Judges a run from the venue's ledger, the streams and the database; nothing of the product is used.

Each rule yields what it found wrong, in words; nothing where all is well.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from tests.chaos import trades
from tests.chaos.evidence import Event, Evidence, Row
from tests.chaos.limits import ENTRIES, Limits
from tests.chaos.traffic import INCOMING, ORDERS, Entry

FLAGGED, ADOPTED = "order_unknown", "position_not_ours"
OURS = b"orchestrator"
LIVE = ("pending", "sent", "accepted", "partially_filled", "unknown")
OVER = ("rejected", "cancelled", "expired")
MAY_BECOME: Mapping[str, tuple[str, ...]] = {
    "pending": (*LIVE, *OVER, "filled"),
    "sent": ("accepted", "partially_filled", "filled", "unknown", *OVER),
    "accepted": ("partially_filled", "filled", "unknown", *OVER),
    "partially_filled": ("filled", "unknown", *OVER),
    "unknown": ("accepted", "partially_filled", "filled", *OVER),
    **dict.fromkeys(OVER, ("filled",)),
    "filled": (),
}
STATES = (
    "collecting", "screening", "researching", "analyzing", "risk_check", "executing", "confirming", "journaling",
    "done",
)  # fmt: skip
EVENT_COLUMNS = {
    "symbol": "symbol", "pos_side": "pos_side", "side": "side", "intent": "intent", "status": "status",
    "price": "fill_price", "size": "fill_size", "fee_usd": "fee_usd", "pnl_usd": "pnl_usd",
    "cumulative_size": "cumulative_size", "filled_at": "filled_at",
}  # fmt: skip
PAYMENT_COLUMNS = {"symbol": "symbol", "pos_side": "pos_side", "amount_usd": "amount_usd", "rate": "rate",
                   "paid_at": "paid_at"}  # fmt: skip


def check(evidence: Evidence) -> list[str]:
    """Every violation, as `rule: what was found`."""
    return [f"{name}: {told}" for name, rule in RULES.items() for told in rule(evidence)]


# --- orders


def sent_once(evidence: Evidence) -> Iterator[str]:
    """No client order id is twice at the venue, nor twice on the stream."""
    arrived = Counter(event.payload["client_order_id"] for event in evidence.venue.of("order"))
    arrived.update(evidence.venue.repeats)
    yield from (f"order {name} came to the venue {count} times" for name, count in arrived.items() if count > 1)
    orders = (each for each in evidence.traffic.of(ORDERS) if each.type == "trade_order")
    sent = Counter(_client_order_id(each.fields) for each in orders)
    yield from (
        f"order {name} stands {count} times on the stream" for name, count in sent.items() if count > 1 and name
    )


def published_once(evidence: Evidence) -> Iterator[str]:
    """No message of ours stands twice on a stream, unless the streams were emptied in between."""
    ours = (each for each in evidence.traffic.of(ORDERS, "system:alerts") if each.fields.get(b"source") == OURS)
    counted = Counter((each.stream, each.message, each.life, each.type) for each in ours)
    for (stream, message, _, kind), count in counted.items():
        if count > 1:
            yield f"{kind} {message} stands {count} times on {stream}"


def orders_agree(evidence: Evidence) -> Iterator[str]:
    """The venue knows no order that we do not, and what it executed of each is what we say."""
    ours = {row["client_order_id"]: row for row in evidence.record["orders"]}
    filled: Counter[str] = Counter()
    last: dict[str, str] = {}
    for event in evidence.venue.of("fill"):
        name = event.payload["client_order_id"] or ""
        filled[name] += event.amount("fill_size") if event.executed else 0  # type: ignore[assignment]
        last[name] = event.payload["status"]
    for event in evidence.venue.of("order"):
        name = event.payload["client_order_id"]
        if name not in ours:
            yield f"the venue has order {name}, which we have not"
            continue
        row = ours[name]
        for column in ("size", "limit_price", "stop_loss", "take_profit", "leverage"):
            if _figure(event.payload[column]) != row[column]:
                yield f"order {name}: {column} was {row[column]}, the venue was asked for {event.payload[column]}"
        if row["filled_size"] != filled[name]:
            yield f"order {name} ({row['status']}): {row['filled_size']} filled, the ledger says {filled[name]}"
        if (row["status"] == "filled") != (last.get(name) == "filled"):
            yield f"order {name} is {row['status']}, its last report at the venue is {last.get(name)}"


def steps_forward(evidence: Evidence) -> Iterator[str]:
    """No order and no cycle goes back."""
    for step in evidence.record["chaos_audit"]:
        before, after = step["before"], step["after"]
        if before is None:
            continue
        if step["kind"] == "order" and after not in MAY_BECOME[before]:
            yield f"order {step['row_id']} went from {before} to {after}"
        if step["kind"] == "cycle" and _place(after) <= _place(before):
            yield f"cycle {step['row_id']} went from {before} to {after}"


def all_ended(evidence: Evidence) -> Iterator[str]:
    """Every cycle and every order has ended, or is flagged: unknown, and a person was told."""
    for cycle in evidence.record["decision_cycles"]:
        if cycle["state"] != "done":
            yield f"cycle {cycle['id']} of {cycle['instrument']} is {cycle['state']}"
    told = [str(row["payload"]) for row in evidence.record["outbox"] if row["category"] == FLAGGED]
    for order in evidence.record["orders"]:
        flagged = order["status"] == "unknown" and any(order["client_order_id"] in each for each in told)
        if order["status"] in LIVE and not flagged:
            yield f"order {order['id']} ({order['action']} {order['symbol']}) is {order['status']}"
    unsent = [row["id"] for row in evidence.record["outbox"] if row["sent_at"] is None]
    if unsent:
        yield f"{len(unsent)} messages were never sent"


def none_while_halted(evidence: Evidence) -> Iterator[str]:
    """No opening was put on the stream while a halt stood. Halts and sending both happen under the account's lock."""
    begun = {each["row_id"]: each["at"] for each in _audit(evidence, "halt") if each["after"] == "begun"}
    ended = {each["row_id"]: each["at"] for each in _audit(evidence, "halt") if each["after"] == "ended"}
    entries = {row["client_order_id"]: row for row in evidence.record["orders"] if row["action"] in ENTRIES}
    for sent in evidence.traffic.of(ORDERS):
        name = _client_order_id(sent.fields) if sent.type == "trade_order" else None
        for halt, began in begun.items() if name in entries else ():
            until = _milliseconds(ended[halt]) if halt in ended else None
            if sent.milliseconds > _milliseconds(began) and (until is None or sent.milliseconds < until):
                yield f"opening {name} was sent as {sent.entry_id} while halt {halt} stood since {began}"


def limits_hold(evidence: Evidence) -> Iterator[str]:
    slots = {row["id"]: row["slot_at"] for row in evidence.record["decision_cycles"]}
    judged = {row["client_order_id"]: slots[row["cycle_id"]] for row in evidence.record["orders"] if row["cycle_id"]}
    yield from Limits(evidence.venue, evidence.prices, judged).breaches()


# --- fills, trades, money


def fills_once(evidence: Evidence) -> Iterator[str]:
    """Every execution of the ledger is in the record once, as it was; nothing is there that the venue never said."""
    yield from _same(evidence.venue.of("fill"), evidence.record["fills"], "fill_id", EVENT_COLUMNS)
    yield from _same(evidence.venue.of("funding"), evidence.record["funding_payments"], "funding_id", PAYMENT_COLUMNS)
    for row in evidence.record["fills"]:
        if row["waiting"] is not None:
            yield f"fill {row['fill_id']} still waits for its order"
        elif row["status"] in ("partially_filled", "filled") and row["trade_id"] is None:
            yield f"fill {row['fill_id']} is on no trade"


def _same(events: Sequence[Event], rows: Sequence[Row], key: str, columns: Mapping[str, str]) -> Iterator[str]:
    kept = {row[key]: row for row in rows}
    told = {event.payload[key]: event for event in events}
    yield from (f"{name} is in the record, the venue never said it" for name in kept.keys() - told.keys())
    for name, event in told.items():
        if name not in kept:
            if event.kind == "funding" or event.executed:  # a notice that got lost changes nobody's money
                yield f"{name} ({event.kind}) is not in the record"
            continue
        for column, member in columns.items():
            if kept[name][column] != _figure(event.payload[member]):
                yield f"{name}: {column} is {kept[name][column]}, the venue said {event.payload[member]}"


def trades_agree(evidence: Evidence) -> Iterator[str]:
    """Each trade is a position of the ledger, figure by figure; but for what the venue made us believe.

    A position that it reported for so long that it was adopted has no fill in the ledger, and its end no result; a
    person must have been told of it.
    """
    believed = {row["id"] for row in evidence.record["trades"] if _is_flagged_as_adopted(evidence, row)}
    ours = [row for row in evidence.record["trades"] if row["id"] not in believed]
    yield from trades.compare(evidence.venue, ours)
    for row in ours:
        if row["status"] == "closed" and row["pnl_usd"] is None:
            yield f"trade {row['id']} is closed with an unknown result"


def _is_flagged_as_adopted(evidence: Evidence, trade: Row) -> bool:
    """Whether a trade is of a position that nobody opened, without fills or money, and a person was told of it."""
    alerts = evidence.record["outbox"]
    critical = [row for row in alerts if row["severity"] == "CRITICAL" and row["category"] == ADOPTED]
    return (
        trade["origin"] == "reconciled"
        and not any(fill["trade_id"] == trade["id"] for fill in evidence.record["fills"])
        and not (trade["gross_pnl_usd"] or trade["fees_usd"] or trade["funding_usd"])
        and any(row["metadata"].get("trade") == str(trade["trade_id"]) for row in critical)
    )


def books_balance(evidence: Evidence) -> Iterator[str]:
    """Equity change = realised - fees + funding + unrealised + transfers, to the last digit, and as it was reported."""
    venue, rows = evidence.venue, evidence.record["trades"]
    earned = sum((row["gross_pnl_usd"] - row["fees_usd"] + row["funding_usd"] for row in rows), Decimal(0))
    books = {name: Decimal(value) for name, value in venue.state["books"].items()}
    equity = sum(books.values(), Decimal(0)) - 2 * books["fees"] + venue.unrealized
    explained = venue.start_equity + earned + venue.unrealized + books["transfers"]
    if equity != explained:
        yield f"the venue's equity is {equity}, the journal explains {explained}: {equity - explained} USD"
    reported = evidence.record["account_history"]
    if reported and reported[-1]["equity"] != equity:
        yield f"the last reported equity is {reported[-1]['equity']}, the venue's is {equity}"


def positions_agree(evidence: Evidence) -> Iterator[str]:
    theirs = {
        (held["symbol"], "LONG" if held["pos_side"] == "long" else "SHORT"): Decimal(held["size"])
        for held in evidence.venue.state["positions"].values()
    }
    ours = {
        (row["symbol"], row["direction"]): row["open_size"]
        for row in evidence.record["trades"]
        if row["status"] == "open"
    }
    if theirs != ours:
        yield f"the venue holds {theirs}, the record {ours}"


# --- messages


def nothing_lost(evidence: Evidence) -> Iterator[str]:
    """Every entry of the incoming streams took effect or is a dead letter, unless Redis was emptied before it could.

    What says the same as another entry has its effect from that one.
    """
    known = {row["msg_id"] for row in evidence.record["inbox"]}
    buried = {(row["stream"], row["entry_id"]) for row in evidence.record["dead_letters"]}
    incoming = list(evidence.traffic.of(*INCOMING))
    said = {_saying(entry) for entry in incoming if entry.message in known}
    said |= {("trade_fill", (row["fill_id"],)) for row in evidence.record["fills"]}
    said |= {("funding_payment", (row["funding_id"],)) for row in evidence.record["funding_payments"]}
    for entry in incoming:
        if entry.life < evidence.traffic.lives or entry.type == "system_alert" or entry.message in known:
            continue
        if (entry.stream, entry.entry_id) not in buried and _saying(entry) not in said:
            yield f"{entry.type} {entry.entry_id} on {entry.stream} was acknowledged and had no effect"
    for stream, entry_id, life in evidence.garbage:
        if life == evidence.traffic.lives and (stream, entry_id) not in buried:
            yield f"garbage {entry_id} on {stream} is not among the dead letters"


def effects_once(evidence: Evidence) -> Iterator[str]:
    """No message took effect twice where a second effect leaves another row."""
    came = Counter(row["type"] for row in evidence.record["inbox"])
    for table, kind in (("account_history", "position_update"), ("system_commands", "system_command")):
        if len(evidence.record[table]) > came[kind]:
            yield f"{len(evidence.record[table])} rows in {table} from {came[kind]} messages"


def verdicts_chained(evidence: Evidence) -> Iterator[str]:
    rows = evidence.record["risk_verdicts"]
    for before, row in pairwise(rows):
        if row["previous_hash"] != before["content_hash"]:
            yield f"verdict {row['id']} does not follow verdict {before['id']}"


RULES: Mapping[str, Callable[[Evidence], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        sent_once, published_once, orders_agree, steps_forward, all_ended, none_while_halted, limits_hold, fills_once,
        trades_agree,
        books_balance, positions_agree, nothing_lost, effects_once, verdicts_chained,
    )
}  # fmt: skip


def _audit(evidence: Evidence, kind: str) -> list[Row]:
    return [row for row in evidence.record["chaos_audit"] if row["kind"] == kind]


def _place(state: str) -> tuple[int, int]:
    turn, name = state.split()
    return (9 if name == "done" else int(turn)), STATES.index(name)


def _client_order_id(fields: Mapping[bytes, bytes]) -> str | None:
    payload = _payload(fields)
    return str(payload["client_order_id"]) if "client_order_id" in payload else None


SAYINGS = {
    "market_snapshot": ("symbol", "timestamp"), "trade_fill": ("fill_id",), "funding_payment": ("funding_id",),
}  # fmt: skip


def _saying(entry: Entry) -> object:
    """What an entry says, where that may be said twice; else the entry itself."""
    payload, names = _payload(entry.fields), SAYINGS.get(entry.type)
    if names is None or not payload.keys() >= set(names):
        return entry.entry_id
    return entry.type, tuple(payload[name] for name in names)


def _payload(fields: Mapping[bytes, bytes]) -> Mapping[str, object]:
    """Empty for what is no JSON object."""
    try:
        found = json.loads(fields[b"payload"])
    except (KeyError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _figure(value: object) -> object:
    """A member of a message as the record's column has it."""
    if isinstance(value, str):
        for read in (Decimal, datetime.fromisoformat):
            try:
                return read(value)
            except (ValueError, ArithmeticError):
                continue
    return value
