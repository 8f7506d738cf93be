"""What nobody should send: entries that a stream must survive."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import redis

STREAMS = ("market:snapshots", "market:alerts", "trade:orders", "trade:fills", "trade:positions", "system:alerts")
TYPES = {
    "market:snapshots": "market_snapshot", "market:alerts": "market_alert", "trade:orders": "trade_order",
    "trade:fills": "trade_fill", "trade:positions": "position_update", "system:alerts": "system_command",
}  # fmt: skip
REPEATABLE = ("market:snapshots", "market:alerts", "trade:fills", "trade:positions")
"""Where an entry that comes again is the sender's fault; an order that does so would be ours."""
HUGE = 1024 * 1024

Fields = dict[bytes | str, bytes | str]


@dataclass(frozen=True, slots=True)
class Put:
    """An entry of garbage, and whether it must become a dead letter of ours."""

    stream: str
    entry_id: str
    to_be_buried: bool


def put(client: redis.Redis, kind: str, random: Random) -> list[Put]:
    """One entry of the kind on every stream it suits. What repeats an earlier entry finds none on an empty stream."""
    streams = REPEATABLE if kind in ("stale", "repeated") else STREAMS
    found = []
    for stream in streams:
        fields = _of_the_past(client, stream, kind) if streams is REPEATABLE else _made(stream, kind, random)
        if fields is not None:
            entry_id: Any = client.xadd(stream, fields)  # type: ignore[arg-type]
            buried = streams is not REPEATABLE and stream != "trade:orders"
            found.append(Put(stream, entry_id.decode(), buried))
    return found


def _of_the_past(client: redis.Redis, stream: str, kind: str) -> Fields | None:
    """The oldest entry of the stream once more: as it was, or a stale one under a new id."""
    entries: Any = client.xrange(stream, count=1)
    if not entries or b"msg_id" not in entries[0][1]:
        return None
    fields: Fields = dict(entries[0][1])
    if kind == "stale":
        if stream == "trade:fills":
            return None
        fields[b"msg_id"] = str(uuid4())
    return fields


def _made(stream: str, kind: str, random: Random) -> Fields:
    envelope: Fields = {
        "msg_id": str(uuid4()), "timestamp": "2026-01-01T00:00:00Z", "source": "chaos", "type": TYPES[stream],
        "payload": "{}", "metadata": "{}",
    }  # fmt: skip
    noise = random.randbytes(64)
    changed: dict[str, Fields] = {
        "no_fields": {"nothing": "of use"},
        "not_json": envelope | {"payload": "{'single': quotes"},
        "bytes": {noise: noise, "payload": noise},
        "unknown_type": envelope | {"type": "trade_whisper"},
        "unknown_version": envelope | {"type": f"{TYPES[stream]}_v9"},
        "missing_key": envelope,
        "nan": envelope | {"payload": '{"symbol": "BTC-USDT-SWAP", "price": NaN, "size": Infinity}'},
        "huge": envelope | {"payload": json.dumps({"symbol": "x" * HUGE})},
        "nested": envelope | {"payload": "[" * 5000 + "]" * 5000},
    }
    return changed[kind]
