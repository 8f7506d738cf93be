"""How things stand, as values: what `servers` and `record` read and `readiness` judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A stream that we read. `oldest_seconds` is the age of the oldest entry that is not acknowledged, given to a
    consumer or not; 0 without one."""

    length: int
    lag: int
    pending: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisState:
    """Everything asked of Redis. `signs` are Unix times by name."""

    signs: Mapping[str, float] = field(default_factory=dict)
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    unacknowledged: int = 0
    consumers: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Age:
    """When the newest of something is from (market time), and how long ago it came in (seconds); None if none did."""

    at: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordState:
    """What readiness asks of Postgres. Seconds are ages, 0 where there is nothing that could be old; that of the last
    cycle is None before the first."""

    now: datetime
    """Market time, or wall time in a sandbox without a bar."""
    open_cycles: int
    oldest_open_seconds: float
    unclaimed_seconds: float
    last_cycle_seconds: float | None
    outbox_waiting: int
    outbox_seconds: float
    waiting_fills: int
    discrepancies: int
    blocked_instruments: int
    positions: Age
    database_bytes: int
    snapshots: Mapping[str, Age]
