"""What the service on OKX puts on the streams, and what it reads back of it after a restart.

The message of an instrument and a moment has one id: two such services beside each other publish it once.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

import redis

from decisions.messages import (
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    BadMessage,
    Envelope,
    MarketAlert,
    MarketSnapshot,
    Message,
    decode,
    parse,
    wrap,
)
from decisions.okx.feed import InterestReadings, Update
from orchestrator_project import streams

SOURCE = "okx-market"
MESSAGE_NAMESPACE = UUID("b7f6d1c2-40b5-4f0e-8c39-7c1f9a2a4d11")
READ_BACK = timedelta(hours=5)
"""Open interest is compared over four hours."""
BATCH = 500


def snapshot(update: Update) -> tuple[str, Envelope]:
    """Stream and envelope of a snapshot. Its payload has the prices since the one before under `bar`, for the sandbox's
    venue; other readers leave it."""
    told = update.snapshot
    envelope = _wrapped(told, f"{told.symbol}|snapshot", told.timestamp)
    if update.since is not None:
        envelope.payload["bar"] = update.since.model_dump(mode="json")
    return MARKET_SNAPSHOTS, envelope


def alert(told: MarketAlert, at: datetime) -> tuple[str, Envelope]:
    """Stream and envelope of an alert that a snapshot of that moment gives reason for."""
    return MARKET_ALERTS, _wrapped(told, f"{told.symbol}|{told.kind}", at)


def _wrapped(message: Message, name: str, at: datetime) -> Envelope:
    return wrap(message, msg_id=str(uuid5(MESSAGE_NAMESPACE, f"{name}|{at.isoformat()}")), source=SOURCE, now=at)


def interest(client: redis.Redis, now: datetime) -> dict[str, InterestReadings]:
    """Open interest by instrument, from the snapshots of ours that are on the stream. Raises `redis.RedisError`."""
    found: dict[str, list[tuple[datetime, Decimal]]] = {}
    after = f"{round((now - READ_BACK).timestamp() * 1000)}-0"
    while batches := streams.read_after(client, {MARKET_SNAPSHOTS: after}, count=BATCH, block_seconds=0.001):
        for _, entries in batches:
            after = entries[-1][0]
            for told in (_own(fields) for _, fields in entries):
                if told is not None and told.open_interest is not None:
                    found.setdefault(told.symbol, []).append((told.timestamp, told.open_interest))
    return {symbol: InterestReadings(readings) for symbol, readings in found.items()}


def _own(fields: streams.Fields) -> MarketSnapshot | None:
    try:
        envelope = decode(fields)
        message = parse(MARKET_SNAPSHOTS, envelope) if envelope.source == SOURCE else None
    except BadMessage:
        return None
    return message if isinstance(message, MarketSnapshot) else None
