"""`manage.py market`: the sandbox's stand-in for the market data service, one bar every few seconds, or OKX's data."""

import signal
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import CommandError

from decisions.clients.okx import OkxClient, Stopped
from decisions.okx import published
from decisions.okx.feed import InterestReadings
from decisions.okx.history import BACKLOG
from decisions.okx.service import OkxMarket, Outcome, next_look
from decisions.okx.watch import Progress
from decisions.sandbox.market import SandboxMarket, Step, publish_step
from decisions.sandbox.opening import FILE_MISTAKES, open_market, read_sources
from orchestrator_project import streams
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import get_logger
from orchestrator_project.monitoring.heartbeats import touch

QUIET_SECONDS = 2.0
"""A warm-up that takes longer tells how far it is."""
RETRY_SECONDS = 1.0
OF_THE_SANDBOX = ("market", "funding", "oi", "start", "seed", "bar_seconds", "bars")
"""Options that mean nothing to a real market."""

log = get_logger(__name__)


EXAMPLES = """
examples:
  manage.py market
  manage.py market --market okx_BTC-USDT-SWAP_5m_2025.csv.gz --bars 100
  manage.py market --source okx --once

exit codes: 0 stopped or ended, 1 with --once not every instrument was published, 2 a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Run the sandbox market until it is told to stop: recorded candles, or without --market a generated market. "
        "It goes on after the bar it ended with. With --source okx: OKX's public market data, without a key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source",
            choices=("sandbox", "okx"),
            default="sandbox",
            help="where prices come from (default: %(default)s)",
        )
        parser.add_argument(
            "--once",
            action="store_true",
            help="with --source okx: publish one snapshot an instrument; exit code 1: not all",
        )
        for name, words in (
            ("--market", "candles, CSV or CSV.gz: ts,open,high,low,close,volume; once for each instrument"),
            ("--funding", "funding rates of an instrument: ts,rate"),
            ("--oi", "open interest of an instrument in USD: ts,oi"),
        ):
            parser.add_argument(name, metavar="[SYMBOL=]PATH", action="append", default=[], help=words)
        parser.add_argument(
            "--start", metavar="TIME", help="opening of the first bar to publish, UTC: 2022-11-01T08:00"
        )
        parser.add_argument("--seed", type=int, help="of the generated market (default: SANDBOX_SEED)")
        parser.add_argument(
            "--bar-seconds", type=float, help="wall time from bar to bar (default: SANDBOX_BAR_SECONDS)"
        )
        parser.add_argument("--bars", type=int, help="stop after so many bars")

    def handle(self, **options: Any) -> None:
        if options["source"] == "okx":
            self._run_okx(options)
        elif options["once"]:
            raise CommandError("--once is for --source okx; here it is --bars 1", returncode=2)
        else:
            self._run_sandbox(options)

    def _run_sandbox(self, options: Mapping[str, Any]) -> None:
        if not settings.SANDBOX:
            raise CommandError(
                "SANDBOX is false: the real market data is in use, not this stand-in; --source okx gives OKX's",
                returncode=2,
            )
        bar_seconds = float(settings.SANDBOX_BAR_SECONDS) if options["bar_seconds"] is None else options["bar_seconds"]
        if not 0.01 <= bar_seconds <= 3600:
            raise CommandError(f"--bar-seconds {bar_seconds:g}: from 0.01 to 3600", returncode=2)
        if options["bars"] is not None and options["bars"] < 1:
            raise CommandError(f"--bars {options['bars']}: at least 1", returncode=2)
        if options["seed"] is not None and options["seed"] < 0:
            raise CommandError(f"--seed {options['seed']}: at least 0", returncode=2)
        stop = _stop_on_signal()
        market = self._open(options)
        self.say(
            f"The sandbox market runs: {', '.join(market.symbols)}; bars of {market.bar_seconds // 60} minutes "
            f"from {market.next_opens_at:%Y-%m-%d %H:%M} UTC, one every {bar_seconds:g} s; {market.origin}."
        )
        self.say(_run(market, bar_seconds=bar_seconds, most=options["bars"], stop=stop))

    def _open(self, options: Mapping[str, Any]) -> SandboxMarket:
        began = monotonic()

        def warmed(done: int, total: int) -> None:
            if monotonic() - began > QUIET_SECONDS:
                self.say(f"Reading history: {done} of {total} instruments.")

        try:
            sources = read_sources(**{name: options[name] for name in ("market", "funding", "oi", "start")})
            return open_market(
                candles=tuple(sources.candles.items()),
                funding=sources.funding,
                open_interest=sources.open_interest,
                instruments=settings.INSTRUMENTS,
                start=sources.start,
                seed=settings.SANDBOX_SEED if options["seed"] is None else options["seed"],
                local_dir=Path(settings.LOCAL_DIR),
                warmed=warmed,
            )
        except FILE_MISTAKES as error:
            raise CommandError(str(error), returncode=2) from error

    def _run_okx(self, options: Mapping[str, Any]) -> None:
        given = [f"--{name.replace('_', '-')}" for name in OF_THE_SANDBOX if options[name] not in (None, [])]
        if given:
            raise CommandError(f"{', '.join(given)}: of the sandbox's market, not of --source okx", returncode=2)
        stop = _stop_on_signal()
        with closing(OkxClient(settings.OKX_BASE_URL, stop)) as client, closing(streams.connect()) as publisher:
            market = OkxMarket(
                settings.INSTRUMENTS, client, interest=_interest_known(publisher), progress=_progress(self.say)
            )
            self.say(
                f"Market data of OKX at {settings.OKX_BASE_URL}: {', '.join(settings.INSTRUMENTS)}, one snapshot every "
                f"{settings.OKX_FEED_SECONDS} s. The candles of the past are read first."
            )
            try:
                if options["once"]:
                    self._look_once(market, publisher, stop)
                else:
                    self._look_again_and_again(market, publisher, stop)
            except Stopped:
                pass
        self.say("The market data has stopped.")

    def _look_once(self, market: OkxMarket, publisher: redis.Redis, stop: Event) -> None:
        outcomes = _round(market, publisher, stop)
        for outcome in outcomes:
            self.say(outcome.in_words())
        if any(outcome.update is None for outcome in outcomes):
            raise SystemExit(1)

    def _look_again_and_again(self, market: OkxMarket, publisher: redis.Redis, stop: Event) -> None:
        told: dict[str, str] = {}
        while not stop.is_set():
            outcomes = _round(market, publisher, stop)
            touch()
            for outcome in outcomes:
                reason = "" if outcome.update else outcome.fault
                if told.get(outcome.symbol) != reason:  # the first round, and whatever begins or ends
                    self.say(outcome.in_words())
                told[outcome.symbol] = reason
            now = market.clock.now()
            stop.wait((next_look(now, settings.OKX_FEED_SECONDS) - now).total_seconds())


def _stop_on_signal() -> Event:
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _run(market: SandboxMarket, *, bar_seconds: float, most: int | None, stop: Event) -> str:
    """Publish bars on a steady schedule. Returns, in words, why it ended."""
    with closing(streams.connect()) as client:
        due, done = monotonic(), 0
        while done != most:
            if stop.wait(max(0.0, due - monotonic())):
                return "The sandbox market has stopped."
            step = market.step()
            if step is None:
                return "The recorded market has ended: its files hold no further bar."
            if not _published(partial(publish_step, client, step), stop):
                return "The sandbox market has stopped before its last bar went out."
            market.remember(step)
            touch()
            _log(step)
            due, done = _next_due(due, monotonic(), bar_seconds), done + 1
    return f"The sandbox market has stopped after {most} bars."


def _next_due(due: float, now: float, bar_seconds: float) -> float:
    """A bar after the last was due, so that small delays do not add up; a long pause is not caught up with."""
    return max(due + bar_seconds, now)


def _published(publish: Callable[[], object], stop: Event) -> bool:
    """Publish, as often as it takes while Redis is away. False when told to stop before."""
    for attempt in count(1):
        try:
            publish()
            reached("step_published")
            break
        except redis.RedisError as error:
            if attempt == 1:
                log.warning("redis is away, the prices wait", reason=type(error).__name__)
            if stop.wait(RETRY_SECONDS):
                return False
    if attempt > 1:
        log.warning("redis is back", attempts=attempt)
    return True


def _log(step: Step) -> None:
    prices = {update.symbol: str(update.snapshot.price) for update in step.updates}
    alerts = [f"{alert.symbol} {alert.kind}" for update in step.updates for alert in update.alerts]
    log.info("bar", closed_at=step.closed_at.isoformat(), **prices, **({"alerts": alerts} if alerts else {}))


# --- OKX --------------------------------------------------------------------------------------------------------------


def _round(market: OkxMarket, publisher: redis.Redis, stop: Event) -> Sequence[Outcome]:
    outcomes = market.round()
    messages = market.envelopes(outcomes)
    if messages and not _published(partial(streams.publish_many, publisher, messages), stop):
        raise Stopped
    log.info("looked", **{each.symbol: str(each.update.snapshot.price) for each in outcomes if each.update})
    return outcomes


def _interest_known(publisher: redis.Redis) -> dict[str, InterestReadings]:
    """What was published of open interest before, so that a restart keeps its change over hours."""
    try:
        return published.interest(publisher, datetime.now(UTC))
    except redis.RedisError as error:
        log.warning("earlier open interest cannot be read", reason=type(error).__name__)
        return {}


def _progress(say: Callable[[str], None]) -> Progress:
    """Tells, every few seconds, how much of the past is there."""
    told_at: dict[str, float] = {}

    def progress(symbol: str, there: int, wanted: int) -> None:
        began = told_at.setdefault(symbol, monotonic())
        if there == wanted < sum(BACKLOG.values()):
            say(f"{symbol}: {there:,} candles, all there are; what needs more to be computed is null until then.")
        elif there == wanted or monotonic() - began > QUIET_SECONDS:
            told_at[symbol] = monotonic()
            say(f"{symbol}: {there:,} of {wanted:,} candles.")

    return progress
