"""Opening a sandbox market: from files where there are any, else generated."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from decisions.bars import milliseconds_of, time_of
from decisions.indicators import TIMEFRAMES, WARM_UP_BARS
from decisions.sandbox.candles import CandleFile, DataFileError, read_funding, read_open_interest, symbol_of
from decisions.sandbox.feeds import Feed, GeneratedFeed, RecordedFeed
from decisions.sandbox.generator import BAR_SECONDS, BLOCK_BARS, CommonFactor, InstrumentGenerator
from decisions.sandbox.instruments import UnknownInstrumentError, specification
from decisions.sandbox.market import SandboxMarket
from decisions.sandbox.position import MarketError, PositionFile

GENERATED_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the generated market begins unless told otherwise. Fixed: its clock is the bars', whatever the day is here."""

GENESIS_BLOCKS = 24
"""Weeks of history made before the start: 1,008 bars of 4 hours, more than the slowest indicator needs."""

FILE_MISTAKES = (DataFileError, MarketError, UnknownInstrumentError)
"""What is raised here for a person's mistake: each says in one line what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a market is to be made of, as a command line says it: files by instrument; no candles: it is generated."""

    candles: Mapping[str, Path]
    funding: Mapping[str, Path]
    open_interest: Mapping[str, Path]
    start: datetime | None

    def arguments(self) -> list[str]:
        """The same for another process's command line; `read_sources` makes equal sources of it."""
        options = (("--market", self.candles), ("--funding", self.funding), ("--oi", self.open_interest))
        words = [word for name, files in options for each in files.items() for word in (name, "{}={}".format(*each))]
        return [*words, "--start", self.start.isoformat()] if self.start else words


def read_sources(*, market: Sequence[str], funding: Sequence[str], oi: Sequence[str], start: str | None) -> Sources:
    """The options `--market`, `--funding`, `--oi` and `--start`, checked as far as that goes without reading files.

    Raises `DataFileError`, `MarketError` or `UnknownInstrumentError`.
    """
    sources = Sources(
        candles=_by_symbol("--market", market),
        funding=_by_symbol("--funding", funding),
        open_interest=_by_symbol("--oi", oi),
        start=parse_time(start) if start else None,
    )
    _refuse_stray(sources.candles, sources.funding, sources.open_interest)
    for symbol in sources.candles:
        specification(symbol)
    return sources


def _by_symbol(option: str, texts: Sequence[str]) -> dict[str, Path]:
    pairs = [parse_source(text) for text in texts]
    symbols = [symbol for symbol, _ in pairs]
    twice = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
    if twice:
        raise MarketError(f"{option}: more than one file for {', '.join(twice)}")
    return dict(pairs)


def parse_source(text: str) -> tuple[str, Path]:
    """`[SYMBOL=]PATH`: the instrument, from the file's name where it is not given, and the file's absolute path.

    Raises `DataFileError`.
    """
    symbol, equals, named = text.partition("=")
    path = Path(named if equals else text).expanduser().absolute()
    if not path.is_file():
        raise DataFileError(f"No such file: {path}")
    return symbol if equals else symbol_of(path), path


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, UTC where it names no zone. Raises `MarketError`."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise MarketError(f"--start {text}: not a time; write 2022-11-01 or 2022-11-01T08:00Z") from None


def open_market(
    *,
    candles: Sequence[tuple[str, Path]] = (),
    funding: Mapping[str, Path] | None = None,
    open_interest: Mapping[str, Path] | None = None,
    instruments: Sequence[str] = (),
    start: datetime | None = None,
    seed: int = 1,
    local_dir: Path | None = None,
    warmed: Callable[[int, int], None] | None = None,
) -> SandboxMarket:
    """A warmed-up market of the files in `candles`, or, without any, a generated one of `instruments`.

    `start` is the opening of the first bar to be published; what lies before it is the indicators' history. Without it
    a recorded market starts once 1,000 bars of 4 hours lie behind it (or half the record, where it is shorter), a
    generated one at `GENERATED_START`. With a `local_dir` the market goes on where it was left. `warmed` is told how
    many instruments of how many are ready.
    Raises `DataFileError`, `MarketError` or `UnknownInstrumentError`.
    """
    _refuse_stray({symbol for symbol, _ in candles}, funding or {}, open_interest or {})
    position = PositionFile(local_dir / "market" / "position.json") if local_dir else None
    if candles:
        feeds = _recorded(candles, funding or {}, open_interest or {})
        origin = "recorded: " + ", ".join(sorted(path.name for _, path in candles))
        return SandboxMarket(feeds, start=start or _usual_start(feeds), origin=origin, position=position, warmed=warmed)
    begin = _on_bar(start or GENERATED_START)
    origin = f"generated: seed {seed}, from {begin:%Y-%m-%d %H:%M}"
    return SandboxMarket(
        _generated(instruments, seed, begin), start=begin, origin=origin, position=position, warmed=warmed
    )


def _refuse_stray(candles: Collection[str], funding: Collection[str], open_interest: Collection[str]) -> None:
    """Raises `MarketError` for funding and open interest without candles that they could belong to."""
    stray = sorted({*funding, *open_interest} - {*candles})
    if stray:
        raise MarketError(f"funding or open interest for {', '.join(stray)}, but no candles: add --market")


def _recorded(
    candles: Sequence[tuple[str, Path]], funding: Mapping[str, Path], open_interest: Mapping[str, Path]
) -> list[Feed]:
    for symbol, _ in candles:
        specification(symbol)
    return [
        RecordedFeed(
            symbol,
            CandleFile(path),
            read_funding(funding[symbol]) if symbol in funding else None,
            read_open_interest(open_interest[symbol]) if symbol in open_interest else None,
        )
        for symbol, path in candles
    ]


def _usual_start(feeds: Sequence[Feed]) -> datetime:
    first_ms = max(feed.first_open_ms for feed in feeds)
    last_ms = min(feed.last_open_ms or first_ms for feed in feeds)
    warm_ms = first_ms + (WARM_UP_BARS + 1) * TIMEFRAMES["4H"] * 1000
    return time_of(warm_ms if warm_ms < last_ms else (first_ms + last_ms) // 2)


def _generated(instruments: Sequence[str], seed: int, start: datetime) -> list[Feed]:
    genesis_ms = milliseconds_of(start) - GENESIS_BLOCKS * BLOCK_BARS * BAR_SECONDS * 1000
    factor = CommonFactor(seed)
    return [
        GeneratedFeed(
            symbol,
            InstrumentGenerator(symbol, specification(symbol), seed=seed, genesis_ms=genesis_ms, factor=factor),
            genesis_ms=genesis_ms,
        )
        for symbol in instruments
    ]


def _on_bar(moment: datetime) -> datetime:
    """The moment, or the next opening of a bar."""
    late = moment - datetime.min.replace(tzinfo=UTC)
    return moment + (-late % timedelta(seconds=BAR_SECONDS))
