"""Watching one instrument: its terms, its backlog, its bars as they close, and the moment. Pure, but for what asks.

One look after the other gives a snapshot each, or says why there is none. What a look has learnt the next one does not
ask for again, so that a failure costs the page that failed and no more.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from decisions.bars import BarError, milliseconds_of
from decisions.messages import InstrumentSpecification
from decisions.okx.feed import InstrumentFeed, InterestReadings, Moment, NothingNew, Update
from decisions.okx.history import (
    BACKLOG,
    BASE,
    GAP_TRIES,
    PAGE,
    Backlog,
    CandleQuestion,
    Gap,
    following,
    newer,
)
from decisions.okx.pace import Endpoint
from decisions.okx.rows import (
    Candle,
    FundingRate,
    Instrument,
    MarkPrice,
    NoAnswer,
    OkxError,
    OpenInterest,
    Ticker,
    closed_candles,
    no_such_instrument,
    only_row,
)

SWAP = "SWAP"
TERMS_AGE = timedelta(hours=1)
"""How long the contract's terms count before they are asked for again."""

Ask = Callable[[Endpoint, Mapping[str, str]], list[Any]]
"""Asks an endpoint with these parameters for its rows. Raises `OkxError`."""
Clock = Callable[[], datetime]
"""What time it is by the exchange's clock."""
Progress = Callable[[str, int, int], None]
"""Told (symbol, candles there, candles wanted) while a backlog is read."""


class InstrumentWatch:
    """One instrument, looked at again and again. `faults` are what the last look could do without."""

    def __init__(
        self, symbol: str, ask: Ask, *, interest: InterestReadings | None = None, progress: Progress | None = None
    ) -> None:
        self.symbol = symbol
        self.faults: list[str] = []
        self.feed: InstrumentFeed | None = None
        self._ask = ask
        self._interest = interest or InterestReadings()
        self._progress = progress
        self._backlogs: dict[str, Backlog] = {}
        self._terms: tuple[datetime, InstrumentSpecification] | None = None
        self._gaps = 0

    def look(self, clock: Clock) -> Update:
        """What there is to publish now. Raises `OkxError`: the next look goes on from here."""
        self.faults = []
        terms = self._terms_at(clock())
        if self.feed is None:
            self._warm_up(clock())
        feed = self._followed(clock)
        return feed.update(self._moment(), terms, clock())

    def _terms_at(self, now: datetime) -> InstrumentSpecification:
        """The contract's terms: suspended or delisted shows here. No answer leaves them as they were known."""
        if self._terms is not None and now < self._terms[0] + TERMS_AGE:
            return self._terms[1]
        try:
            rows = self._ask(Endpoint.INSTRUMENTS, {"instType": SWAP, "instId": self.symbol})
        except NoAnswer as error:
            if self._terms is None:
                raise
            self.faults.append(f"contract terms: {error}")
            return self._terms[1]
        if not rows:
            raise no_such_instrument(self.symbol)
        terms = only_row(Instrument, rows, self.symbol).terms()
        self._terms = now, terms
        return terms

    def _warm_up(self, now: datetime) -> None:
        """Read the backlog, or the rest of it, and open the feed."""
        if not self._backlogs:
            until = milliseconds_of(now)
            self._backlogs = {bar: Backlog(bar, count, until) for bar, count in BACKLOG.items()}
        for backlog in self._backlogs.values():
            while not backlog.complete:
                question = backlog.question()
                backlog.take(question, self._candles(question))
                self._tell_progress()
        candles = {bar: backlog.candles for bar, backlog in self._backlogs.items()}
        self._backlogs = {}
        if not candles[BASE]:
            raise NothingNew("no bar of it has closed yet")
        try:
            self.feed = InstrumentFeed(self.symbol, candles, self._interest)
        except BarError as error:
            raise Gap(f"the candles do not fit together, they are read again: {error}") from None

    def _followed(self, clock: Clock) -> InstrumentFeed:
        """The feed with the bars that have closed since the last look; after a pause longer than a page a new one."""
        feed = self._opened()
        question = newer(feed.last_open_ms, milliseconds_of(clock()))
        if question is not None and (question.limit > PAGE or self._gaps >= GAP_TRIES):
            self.feed, self._gaps = None, 0
            self._warm_up(clock())
            feed = self._opened()
            question = newer(feed.last_open_ms, milliseconds_of(clock()))
        if question is not None:
            try:
                feed.take(following(feed.last_open_ms, self._candles(question)))
            except Gap:
                self._gaps += 1
                raise
            self._gaps = 0
        return feed

    def _opened(self) -> InstrumentFeed:
        if self.feed is None:
            raise NothingNew("its candles have not been read yet")
        return self.feed

    def _moment(self) -> Moment:
        query = {"instId": self.symbol}
        of_kind = {"instType": SWAP, **query}
        return Moment(
            ticker=only_row(Ticker, self._ask(Endpoint.TICKER, query), self.symbol),
            mark=only_row(MarkPrice, self._ask(Endpoint.MARK_PRICE, of_kind), self.symbol),
            funding=self._if_told(FundingRate, Endpoint.FUNDING_RATE, query),
            interest=self._if_told(OpenInterest, Endpoint.OPEN_INTEREST, of_kind),
        )

    def _if_told(self, model: Any, endpoint: Endpoint, query: Mapping[str, str]) -> Any:
        """A row that a snapshot can do without: it then says that the figure is not known."""
        try:
            return only_row(model, self._ask(endpoint, query), self.symbol)
        except OkxError as error:
            self.faults.append(f"{endpoint.path}: {error}")
            return None

    def _candles(self, question: CandleQuestion) -> list[Candle]:
        rows = self._ask(question.endpoint, {"instId": self.symbol, **question.query()})
        return closed_candles(rows, question.seconds)

    def _tell_progress(self) -> None:
        if self._progress is not None:
            there = sum(len(backlog.candles) for backlog in self._backlogs.values())
            self._progress(self.symbol, there, there + sum(backlog.missing for backlog in self._backlogs.values()))
