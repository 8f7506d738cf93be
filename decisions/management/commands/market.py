"""`manage.py market`: the sandbox's stand-in for the market data service, one bar every few seconds."""

import signal
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from decisions.sandbox.market import SandboxMarket, Step, publish_step
from decisions.sandbox.opening import FILE_MISTAKES, open_market, read_sources
from orchestrator_project import streams
from orchestrator_project.crash_points import reached
from orchestrator_project.logs import get_logger

QUIET_SECONDS = 2.0
"""A warm-up that takes longer tells how far it is."""
RETRY_SECONDS = 1.0

log = get_logger(__name__)


class Command(BaseCommand):
    help = (
        "Run the sandbox market until it is told to stop: recorded candles, or without --market a generated market. "
        "It goes on after the bar it ended with."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
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
        if not settings.SANDBOX:
            raise CommandError("SANDBOX is false: the real market data is in use, not this stand-in", returncode=2)
        bar_seconds = float(settings.SANDBOX_BAR_SECONDS) if options["bar_seconds"] is None else options["bar_seconds"]
        if not 0.01 <= bar_seconds <= 3600:
            raise CommandError(f"--bar-seconds {bar_seconds:g}: from 0.01 to 3600", returncode=2)
        if options["bars"] is not None and options["bars"] < 1:
            raise CommandError(f"--bars {options['bars']}: at least 1", returncode=2)
        if options["seed"] is not None and options["seed"] < 0:
            raise CommandError(f"--seed {options['seed']}: at least 0", returncode=2)
        stop = _stop_on_signal()
        market = self._open(options)
        self._say(
            f"The sandbox market runs: {', '.join(market.symbols)}; bars of {market.bar_seconds // 60} minutes "
            f"from {market.next_opens_at:%Y-%m-%d %H:%M} UTC, one every {bar_seconds:g} s; {market.origin}."
        )
        self._say(_run(market, bar_seconds=bar_seconds, most=options["bars"], stop=stop))

    def _open(self, options: Mapping[str, Any]) -> SandboxMarket:
        began = monotonic()

        def warmed(done: int, total: int) -> None:
            if monotonic() - began > QUIET_SECONDS:
                self._say(f"Reading history: {done} of {total} instruments.")

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

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


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
            if not _publish(client, step, stop):
                return "The sandbox market has stopped before its last bar went out."
            market.remember(step)
            _log(step)
            due, done = _next_due(due, monotonic(), bar_seconds), done + 1
    return f"The sandbox market has stopped after {most} bars."


def _next_due(due: float, now: float, bar_seconds: float) -> float:
    """A bar after the last was due, so that small delays do not add up; a long pause is not caught up with."""
    return max(due + bar_seconds, now)


def _publish(client: redis.Redis, step: Step, stop: Event) -> bool:
    """Publish the step, as often as it takes while Redis is away. False when told to stop before."""
    for attempt in count(1):
        try:
            publish_step(client, step)
            reached("step_published")
            break
        except redis.RedisError as error:
            if attempt == 1:
                log.warning("redis is away, the bar waits", reason=type(error).__name__)
            if stop.wait(RETRY_SECONDS):
                return False
    if attempt > 1:
        log.warning("redis is back", attempts=attempt)
    return True


def _log(step: Step) -> None:
    prices = {update.symbol: str(update.snapshot.price) for update in step.updates}
    alerts = [f"{alert.symbol} {alert.kind}" for update in step.updates for alert in update.alerts]
    log.info("bar", closed_at=step.closed_at.isoformat(), **prices, **({"alerts": alerts} if alerts else {}))
