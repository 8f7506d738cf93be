"""One instrument's snapshots, from its closed candles and what the exchange says of the moment. Pure.

Indicators and rolling figures come from closed bars alone, and are computed as the sandbox's market computes them.
Price, quotes, mark price, funding and open interest are those of the moment. A snapshot carries the ticker's own time:
data that stands still looks as old as it is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from decisions.bars import milliseconds_of, time_of
from decisions.indicators import TIMEFRAMES, IndicatorEngine
from decisions.messages import InstrumentSpecification, MarketSnapshot
from decisions.okx.history import BASE, BASE_SECONDS, closes_at, series
from decisions.okx.rows import Candle, FundingRate, MarkPrice, OkxError, OpenInterest, Ticker
from decisions.sandbox.venue.market import Bar as PriceRange
from decisions.sandbox.venue.market import Funding as SettledFunding
from decisions.snapshot import Observation, RecentBars, build_snapshot

LATE = timedelta(seconds=60)
"""How long after its close a bar may be missing before its instrument's figures count as out of date."""
STALE_INTEREST = timedelta(minutes=10)
"""Open interest that was read longer ago than that is not what it is now."""
KEPT_INTEREST = timedelta(hours=26)


class NothingNew(OkxError):
    """There is nothing to publish that is not out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the exchange says of an instrument now. Funding and open interest are None where it does not say."""

    ticker: Ticker
    mark: MarkPrice
    funding: FundingRate | None
    interest: OpenInterest | None


@dataclass(frozen=True, slots=True)
class Update:
    """A snapshot to publish, and the prices since the one before it: None for the first."""

    snapshot: MarketSnapshot
    since: PriceRange | None


class InterestReadings:
    """Open interest in USD as it was read, for the change over hours."""

    def __init__(self, readings: Iterable[tuple[datetime, Decimal]] = ()) -> None:
        known = dict(sorted(readings))
        self._times, self._figures = [*known], [*known.values()]

    def add(self, at: datetime, usd: Decimal) -> None:
        """Take a reading; one that is not newer than the last tells nothing."""
        if self._times and at <= self._times[-1]:
            return
        self._times.append(at)
        self._figures.append(usd)
        outdated = bisect_right(self._times, at - KEPT_INTEREST)
        del self._times[:outdated], self._figures[:outdated]

    def known_at(self, moment: datetime) -> Decimal | None:
        """The newest reading at the moment, None where it was old by then."""
        index = bisect_right(self._times, moment) - 1
        if index < 0 or moment - self._times[index] > STALE_INTEREST:
            return None
        return self._figures[index]


class InstrumentFeed:
    """Opened on the backlog of an instrument; takes each base bar as it closes, and makes snapshots.

    `backlog` has the candles of each length, oldest first, as they had closed by one moment; the base's not empty.
    Raises `BarError` where they do not fit together.
    """

    def __init__(
        self,
        symbol: str,
        backlog: Mapping[str, Sequence[Candle]],
        interest: InterestReadings | None = None,
    ) -> None:
        self.symbol = symbol
        self._interest = interest or InterestReadings()
        self.recent = RecentBars(BASE_SECONDS)
        longer = {name: series(backlog[name]) for name in TIMEFRAMES}
        self._engine = IndicatorEngine.of_timeframes(BASE_SECONDS, longer, series(backlog[BASE]))
        for candle in backlog[BASE]:
            self._observe(candle)
        self._last: MarketSnapshot | None = None
        self._funding: FundingRate | None = None

    @property
    def last_open_ms(self) -> int:
        """Opening of the newest closed bar."""
        return milliseconds_of(self.closed_at) - BASE_SECONDS * 1000

    @property
    def closed_at(self) -> datetime:
        """Until when the bars reach."""
        return self._newest.closed_at

    def take(self, candles: Sequence[Candle]) -> None:
        """Take the bars that closed next. Raises `BarError`."""
        for candle in candles:
            self._engine.update(candle.as_bar())
            self._observe(candle)

    def update(self, moment: Moment, instrument: InstrumentSpecification, now: datetime) -> Update:
        """The snapshot of a moment, `now` by the exchange's clock. Raises `NothingNew`."""
        ticker = moment.ticker
        if moment.interest is not None:
            self._interest.add(moment.interest.at, moment.interest.usd)
        self._refuse_what_is_old(ticker, now)
        closed = build_snapshot(
            self.symbol, self._newest, recent=self.recent, engine=self._engine, instrument=instrument
        )
        snapshot = MarketSnapshot.model_validate(
            {
                **dict(closed),
                "timestamp": ticker.at,
                "price": ticker.last,
                "mark_price": moment.mark.price,
                "bid": ticker.bid,
                "ask": ticker.ask,
                "funding_rate": moment.funding.rate if moment.funding else None,
                "next_funding_at": moment.funding.next_at if moment.funding else None,
                "open_interest": moment.interest.usd if moment.interest else None,
            }
        )
        update = Update(snapshot, self._prices_since(snapshot, moment.funding))
        self._last, self._funding = snapshot, moment.funding or self._funding
        return update

    def _observe(self, candle: Candle) -> None:
        closed_at = time_of(closes_at(candle))
        self._newest = Observation(
            closed_at=closed_at,
            close=candle.close,
            volume=candle.volume,
            open_interest=self._interest.known_at(closed_at),
        )
        self.recent.add(self._newest)

    def _refuse_what_is_old(self, ticker: Ticker, now: datetime) -> None:
        due = self.closed_at + timedelta(seconds=BASE_SECONDS)
        if now > due + LATE:
            raise NothingNew(f"the bar that closed at {due:%H:%M} has not been told yet")
        known = max(self.closed_at, self._last.timestamp) if self._last else self.closed_at
        if ticker.at < self.closed_at or (self._last is not None and ticker.at <= self._last.timestamp):
            raise NothingNew(f"the ticker stands at {ticker.at:%H:%M:%S}, and {known:%H:%M:%S} is known already")

    def _prices_since(self, snapshot: MarketSnapshot, funding: FundingRate | None) -> PriceRange | None:
        """From the snapshot before to this one. What went on between the two looks is not known."""
        if self._last is None:
            return None
        prices = (self._last.price, snapshot.price)
        return PriceRange(
            open_at=self._last.timestamp,
            open=self._last.price,
            high=max(prices),
            low=min(prices),
            close=snapshot.price,
            volume=None,
            funding=self._settled(snapshot.timestamp, funding),
        )

    def _settled(self, now: datetime, funding: FundingRate | None) -> SettledFunding | None:
        """The funding that was settled since the last snapshot, at the rate that the exchange says it was, or else at
        the one announced before."""
        announced = self._funding
        if announced is None or not (self._last and self._last.timestamp < announced.next_at <= now):
            return None
        told = funding.settled_rate if funding is not None and funding.next_at > announced.next_at else None
        return SettledFunding(rate=announced.rate if told is None else told, settles_at=announced.next_at)
