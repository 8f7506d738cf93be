"""The sandbox's market: one step is one closed bar of every instrument, published together.

It stands in for a market data service: it writes `market:snapshots` and `market:alerts` and nothing else. The bars own
the market clock: every message carries the close of its bar as its time, and a bar is never published before it
closed. The payload of a snapshot has one key more than the schema, `bar`: the candle itself and the funding settled at
its close, which the sandbox's venue needs to see what happened inside the bar. Other readers leave it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4, uuid5

import redis

from decisions.bars import Bar, milliseconds_of, time_of
from decisions.indicators import IndicatorEngine
from decisions.messages import (
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    Envelope,
    InstrumentSpecification,
    MarketAlert,
    MarketSnapshot,
    Message,
    wrap,
)
from decisions.sandbox.candles import Candle
from decisions.sandbox.feeds import Feed, Funding
from decisions.sandbox.instruments import specification
from decisions.sandbox.position import MarketError, MarketPosition, PositionFile
from decisions.sandbox.venue.market import Bar as VenueBar
from decisions.sandbox.venue.market import Funding as SettledFunding
from decisions.snapshot import Observation, RecentBars, build_snapshot
from orchestrator_project import streams

SOURCE = "sandbox-market"
MESSAGE_NAMESPACE = UUID("5b3f6c1e-7a0d-4f55-9a55-3d0f4c1c2b77")
"""Under which the ids of the market's messages are made: the same bar of the same run is the same message."""

PRICE_SPIKE = Decimal("0.03")
FUNDING_SPIKE_HIGH = Decimal("0.0005")
FUNDING_SPIKE_LOW = Decimal("-0.0003")
OI_SPIKE = Decimal("0.10")
RECENT_HOURS = 25


class BarDetail(VenueBar):
    """The extra key `bar` of a published snapshot: the candle as the venue reads it, and its length in seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class InstrumentUpdate:
    """What one instrument has to say at the close of a bar."""

    symbol: str
    snapshot: MarketSnapshot
    bar: BarDetail
    alerts: tuple[MarketAlert, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One closed bar of every instrument. `run` is the run of the market that it belongs to."""

    run: str
    closed_at: datetime
    updates: tuple[InstrumentUpdate, ...]

    def envelopes(self) -> list[tuple[str, Envelope]]:
        """Stream and envelope of every message of the step, alerts after the snapshots."""
        snapshots = [(MARKET_SNAPSHOTS, self._snapshot(update)) for update in self.updates]
        alerts = [(MARKET_ALERTS, self._alert(alert)) for update in self.updates for alert in update.alerts]
        return snapshots + alerts

    def _snapshot(self, update: InstrumentUpdate) -> Envelope:
        envelope = self._wrapped(update.snapshot, update.symbol, "snapshot")
        envelope.payload["bar"] = update.bar.model_dump(mode="json")
        return envelope

    def _alert(self, alert: MarketAlert) -> Envelope:
        return self._wrapped(alert, alert.symbol, alert.kind)

    def _wrapped(self, message: Message, symbol: str, kind: str) -> Envelope:
        name = f"{self.run}|{symbol}|{kind}|{self.closed_at.isoformat()}"
        return wrap(message, msg_id=str(uuid5(MESSAGE_NAMESPACE, name)), source=SOURCE, now=self.closed_at)


def publish_step(client: redis.Redis, step: Step) -> list[str]:
    """Publish all messages of a step at once; again is harmless. Returns the entry ids."""
    return streams.publish_many(client, step.envelopes())


class SpikeWatch:
    """Tells each spike once: when its threshold is crossed, not while it stays crossed."""

    def __init__(self) -> None:
        self._beyond: set[str] = set()

    def update(self, symbol: str, recent: RecentBars, funding_rate: Decimal | None) -> tuple[MarketAlert, ...]:
        price, oi = recent.price_change_1h, recent.oi_change_4h
        funding_spiked = funding_rate is not None and not FUNDING_SPIKE_LOW <= funding_rate <= FUNDING_SPIKE_HIGH
        readings = (
            ("price_spike", price, price is not None and abs(price) > PRICE_SPIKE, "price over the last hour"),
            ("funding_spike", funding_rate, funding_spiked, "funding rate"),
            ("oi_spike", oi, oi is not None and abs(oi) > OI_SPIKE, "open interest over the last 4 hours"),
        )
        alerts = tuple(
            MarketAlert(symbol=symbol, kind=kind, severity="WARN", detail=f"{words}: {value:+.4%}", value=value)
            for kind, value, beyond, words in readings
            if beyond and kind not in self._beyond
        )
        self._beyond = {kind for kind, _, beyond, _ in readings if beyond}
        return alerts


class _InstrumentMarket:
    """One instrument: its feed, and everything computed from the bars that have closed."""

    def __init__(self, feed: Feed, terms: InstrumentSpecification, start_ms: int) -> None:
        self._feed = feed
        self._terms = terms
        self._recent = RecentBars(feed.bar_seconds)
        self._watch = SpikeWatch()
        self._engine = IndicatorEngine(feed.bar_seconds, feed.history(start_ms))
        bar_ms = feed.bar_seconds * 1000
        for open_ms in range(max(feed.first_open_ms, start_ms - RECENT_HOURS * 3_600_000), start_ms, bar_ms):
            observation = self._observe(feed.candle(open_ms), feed.funding(open_ms + bar_ms))
            self._recent.add(observation)
            self._watch.update(feed.symbol, self._recent, observation.funding_rate)

    def advance(self, open_ms: int) -> InstrumentUpdate:
        candle = self._feed.candle(open_ms)
        funding = self._feed.funding(open_ms + self._feed.bar_seconds * 1000)
        observation = self._observe(candle, funding)
        self._engine.update(_as_floats(open_ms, candle))
        self._recent.add(observation)
        snapshot = build_snapshot(
            self._feed.symbol, observation, recent=self._recent, engine=self._engine, instrument=self._terms
        )
        alerts = self._watch.update(self._feed.symbol, self._recent, observation.funding_rate)
        return InstrumentUpdate(self._feed.symbol, snapshot, _detail(candle, funding), alerts)

    def _observe(self, candle: Candle, funding: Funding | None) -> Observation:
        closed_at = candle.open_at + timedelta(seconds=candle.seconds)
        return Observation(
            closed_at=closed_at,
            close=candle.close,
            volume=candle.volume,
            funding_rate=funding.rate if funding else None,
            next_funding_at=funding.next_at if funding else None,
            open_interest=self._feed.open_interest(milliseconds_of(closed_at)),
        )


def _as_floats(open_ms: int, candle: Candle) -> Bar:
    figures = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return Bar(open_ms, *(float(figure) for figure in figures))


def _detail(candle: Candle, funding: Funding | None) -> BarDetail:
    settled = funding is not None and funding.settled_at > candle.open_at
    return BarDetail(
        open_at=candle.open_at,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        seconds=candle.seconds,
        funding=SettledFunding(rate=funding.rate, settles_at=funding.settled_at) if funding and settled else None,
    )


class SandboxMarket:
    """Several instruments in step. Opening it reads the history before `start`; `step` gives the bars from there on.

    With a position file it goes on after the last remembered step instead. `warmed` is told (done, all) instruments.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        start: datetime,
        origin: str,
        position: PositionFile | None = None,
        warmed: Callable[[int, int], None] | None = None,
    ) -> None:
        self.bar_seconds = _common_bar_seconds(feeds)
        self.symbols = tuple(feed.symbol for feed in feeds)
        self.origin = origin
        self._position = position
        self._reached = position.begin(origin) if position else MarketPosition(origin=origin, run=uuid4().hex)
        reached = self._reached.closed_at
        bar_ms = self.bar_seconds * 1000
        start_ms = -(-milliseconds_of(max(start, reached) if reached else start) // bar_ms) * bar_ms
        self._last_ms = _common_end(feeds, start_ms, resumed=reached is not None)
        self._next_ms = start_ms
        self._instruments: list[_InstrumentMarket] = []
        for feed in feeds:
            self._instruments.append(_InstrumentMarket(feed, specification(feed.symbol), start_ms))
            if warmed:
                warmed(len(self._instruments), len(feeds))

    @property
    def next_opens_at(self) -> datetime:
        """Opening of the bar that the next step closes."""
        return time_of(self._next_ms)

    def step(self) -> Step | None:
        """Close one bar of every instrument; None when the recorded data has ended."""
        if self._last_ms is not None and self._next_ms > self._last_ms:
            return None
        updates = tuple(instrument.advance(self._next_ms) for instrument in self._instruments)
        self._next_ms += self.bar_seconds * 1000
        return Step(self._reached.run, time_of(self._next_ms), updates)

    def remember(self, step: Step) -> None:
        """Note that the step has been published, so that the next start goes on after it."""
        if self._position:
            self._position.write(self._reached.model_copy(update={"closed_at": step.closed_at}))


def _common_bar_seconds(feeds: Sequence[Feed]) -> int:
    if not feeds:
        raise MarketError("a market needs at least one instrument")
    symbols = [feed.symbol for feed in feeds]
    twice = {symbol for symbol in symbols if symbols.count(symbol) > 1}
    if twice:
        raise MarketError(f"{', '.join(sorted(twice))}: more than one market for the same instrument")
    lengths = {feed.symbol: feed.bar_seconds for feed in feeds}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{symbol} {seconds // 60} min" for symbol, seconds in lengths.items())
        raise MarketError(f"the instruments' bars are not of one length: {told}")
    return feeds[0].bar_seconds


def _common_end(feeds: Sequence[Feed], start_ms: int, *, resumed: bool) -> int | None:
    """Opening of the last bar that every feed has; raises `MarketError` where there is none from the start on."""
    first_ms = max(feed.first_open_ms for feed in feeds)
    ends = [feed.last_open_ms for feed in feeds if feed.last_open_ms is not None]
    last_ms = min(ends, default=None)
    if last_ms is not None and last_ms < first_ms:
        raise MarketError("the instruments' records do not overlap in time")
    if start_ms < first_ms or (last_ms is not None and start_ms > last_ms and not resumed):
        until = f" to {time_of(last_ms):%Y-%m-%d %H:%M}" if last_ms is not None else ""
        raise MarketError(
            f"there is no bar at {time_of(start_ms):%Y-%m-%d %H:%M}: the record of all instruments goes "
            f"from {time_of(first_ms):%Y-%m-%d %H:%M}{until} UTC"
        )
    return last_ms
