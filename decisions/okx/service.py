"""The market data service on OKX: looks at every instrument, publishes what there is, tells what there is not.

One round is one look at each instrument, some at a time; one that fails keeps no other from being published.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import close_old_connections

from decisions.clients.okx import OkxClient
from decisions.messages import Envelope, MarketSnapshot
from decisions.okx import published
from decisions.okx.feed import InterestReadings, Update
from decisions.okx.pace import Endpoint
from decisions.okx.rows import OkxError, server_time
from decisions.okx.watch import InstrumentWatch, Progress
from decisions.outbox import REMINDER, record_alert_at_most
from decisions.sandbox.market import SpikeWatch
from orchestrator_project.logs import get_logger

AT_ONCE = 8
"""Instruments looked at at the same time."""
CLOCK_AGE = timedelta(minutes=10)
"""How often the exchange is asked what time it is."""
CLOCK_TOLERATED = timedelta(seconds=5)
SETTLING = timedelta(seconds=2)
"""How long after a bar's close a look is taken: the exchange has closed the bar by then."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look at one instrument gave: an update, or the reason why there is none. An update may have a fault too:
    what it has to do without."""

    symbol: str
    update: Update | None
    fault: str

    def in_words(self) -> str:
        if self.update is None:
            return f"{self.symbol}: nothing published: {self.fault}"
        snapshot = self.update.snapshot
        told = f"{self.symbol}: {snapshot.price} at {snapshot.timestamp:%Y-%m-%d %H:%M:%S} UTC"
        return f"{told}; without {self.fault}" if self.fault else told


class ExchangeClock:
    """The exchange's time, by this machine's clock and the difference found last."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        """How far this machine's clock is ahead of the exchange's."""
        self._asked_at: datetime | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) - self.ahead

    def check(self, client: OkxClient) -> None:
        """Ask what time it is, when that was long ago. Raises `OkxError`."""
        before = datetime.now(UTC)
        if self._asked_at is not None and timedelta(0) <= before - self._asked_at < CLOCK_AGE:
            return
        told = server_time(client.rows(Endpoint.TIME, {}))
        after = datetime.now(UTC)
        self.ahead, self._asked_at = before + (after - before) / 2 - told, after


class OkxMarket:
    """Several instruments on OKX. `interest` are readings of open interest from before, by instrument."""

    def __init__(
        self,
        symbols: Sequence[str],
        client: OkxClient,
        *,
        clock: ExchangeClock | None = None,
        interest: dict[str, InterestReadings] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.clock = clock or ExchangeClock()
        self._client = client
        known = interest or {}
        self._watches = [
            InstrumentWatch(symbol, client.rows, interest=known.get(symbol), progress=progress) for symbol in symbols
        ]
        self._spikes = {symbol: SpikeWatch() for symbol in symbols}
        self._heard_at = dict.fromkeys(symbols, datetime.now(UTC))
        self._faults: dict[str, str] = {}

    def round(self) -> list[Outcome]:
        """Look at every instrument once, and tell what is wrong. Raises `Stopped`."""
        self._check_clock()
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(self._watches)), thread_name_prefix="okx") as pool:
            outcomes = list(pool.map(self._look, self._watches))
        for outcome in outcomes:
            self._tell(outcome)
        return outcomes

    def envelopes(self, outcomes: Sequence[Outcome]) -> list[tuple[str, Envelope]]:
        """Stream and envelope of everything that a round has to say, alerts after the snapshots. Once for a round: a
        spike is told when it begins."""
        updates = [outcome.update for outcome in outcomes if outcome.update is not None]
        snapshots = [published.snapshot(update) for update in updates]
        return snapshots + [alert for update in updates for alert in self._alerts(update.snapshot)]

    def _look(self, watch: InstrumentWatch) -> Outcome:
        was_warm = watch.feed is not None
        try:
            update = watch.look(self.clock.now)
        except OkxError as error:
            return Outcome(watch.symbol, None, "; ".join([str(error), *watch.faults]))
        if not was_warm and watch.feed is not None:  # a spike that was there before is not told again
            self._spikes[watch.symbol].update(watch.symbol, watch.feed.recent, update.snapshot.funding_rate)
        return Outcome(watch.symbol, update, "; ".join(watch.faults))

    def _alerts(self, snapshot: MarketSnapshot) -> Iterator[tuple[str, Envelope]]:
        feed = next(watch.feed for watch in self._watches if watch.symbol == snapshot.symbol)
        if feed is None:
            return
        for alert in self._spikes[snapshot.symbol].update(snapshot.symbol, feed.recent, snapshot.funding_rate):
            yield published.alert(alert, snapshot.timestamp)

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def _check_clock(self) -> None:
        try:
            self.clock.check(self._client)
        except OkxError as error:
            log.warning("okx_tells_no_time", reason=str(error))
        ahead = self.clock.ahead.total_seconds()
        if abs(ahead) > CLOCK_TOLERATED.total_seconds():
            words = f"This machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} OKX's."
            log.warning("okx_clock_differs", ahead_seconds=round(ahead, 1))
            _on_record(lambda: _alert_clock(words))

    def _tell(self, outcome: Outcome) -> None:
        symbol, now = outcome.symbol, datetime.now(UTC)
        if outcome.fault != self._faults.get(symbol, ""):
            if outcome.fault:
                log.warning("okx_look", symbol=symbol, published=outcome.update is not None, reason=outcome.fault)
            else:
                log.info("okx_look_is_whole_again", symbol=symbol)
            self._faults[symbol] = outcome.fault
        if outcome.update is not None:
            self._heard_at[symbol] = now
            return
        silent = now - self._heard_at[symbol]
        if silent.total_seconds() > settings.MAX_SNAPSHOT_AGE_SECONDS:
            _on_record(lambda: _alert_silence(symbol, silent, outcome.fault))


def _alert_silence(symbol: str, silent: timedelta, fault: str) -> None:
    record_alert_at_most(
        REMINDER,
        "WARN",
        "market_silent",
        title=f"{symbol}: no market data for {silent.total_seconds() / 60:.0f} minutes",
        detail=fault,
        action_taken="Nothing is published that is out of date; it is asked for again in every round.",
        about={"symbol": symbol},
    )


def _alert_clock(words: str) -> None:
    record_alert_at_most(
        REMINDER,
        "WARN",
        "market_clock",
        title=words,
        detail="Live, what is dated more than a minute ahead of us is refused, and what is old opens nothing.",
        action_taken="The market data goes on by OKX's clock.",
    )


def _on_record(tell: Callable[[], None]) -> None:
    """Tell a person through the database. The market data does not depend on it: without it the log has to do."""
    close_old_connections()
    try:
        tell()
    except DatabaseFailure as error:
        log.warning("alert_not_kept", reason=type(error).__name__)


def next_look(now: datetime, seconds: int) -> datetime:
    """When the next round begins: on the clock's multiples of the interval, and a little after them."""
    since = (now - SETTLING).timestamp()
    return datetime.fromtimestamp((since // seconds + 1) * seconds, UTC) + SETTLING
