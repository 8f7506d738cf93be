"""From the tick to the order on the stream, beside six empty chained tasks; and cycles a second.

    python tests/bench/pipeline.py [--rounds 200] [--slots 5]

Real servers, workers and consumer of its own; the market and the venue are this script, the model answers at once.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
START = datetime(2026, 1, 1, tzinfo=UTC)
SLOT = timedelta(minutes=5)
MOST_INSTRUMENTS = 51
SYMBOLS = [f"SIM{number}-USDT-SWAP" for number in range(MOST_INSTRUMENTS)]
WAIT_SECONDS = 40.0
Pools = Sequence[tuple[str, int]]
"""The workers: the queues of each, and its pool."""
GROUPED: Pools = (("cycle,risk,execute,journal", 2), ("screen,research,analyze,reflect", 2))


def wait(condition: Callable[[], Any], poll: float = 0.001, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened for {seconds:.0f} s: {condition}")
        time.sleep(poll)


@contextmanager
def stack(local_dir: Path) -> Iterator[None]:
    """Servers, consumer and two workers."""
    with servers(local_dir), processes(local_dir, GROUPED):
        yield


@contextmanager
def servers(local_dir: Path) -> Iterator[None]:
    """Servers with a database that is ready to trade on."""
    from orchestrator_project.local.ownership import Wanted, servers_for_command

    with servers_for_command(local_dir, Wanted(postgres=True, redis=True)):
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        call_command("seed", stdout=open(os.devnull, "w"))  # noqa: SIM115
        yield


@contextmanager
def processes(local_dir: Path, pools: Pools) -> Iterator[None]:
    """Consumer and workers. They end with this process, however it ends."""
    from django.conf import settings

    from orchestrator_project.local import children

    environment = {**os.environ, "DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL}
    celery = [sys.executable, "-m", "celery", "-A", "tests.bench.worker", "worker"]
    commands = [[sys.executable, "manage.py", "consume"]]
    commands += [
        [*celery, "-Q", queues, "-c", str(pool), "-n", f"bench{place}@%h", "--without-gossip", "--without-mingle"]
        for place, (queues, pool) in enumerate(pools)
    ]
    running = [
        children.spawn(command, log=local_dir / "bench.log", environment=environment, folder=PROJECT)
        for command in commands
    ]
    try:
        yield
    finally:
        for child in running:
            child.terminate()
        for child in running:
            child.wait(60)
            children.end_group(child)


class Bench:
    """Plays the market and the venue, and measures."""

    def __init__(self) -> None:
        from decisions.outbox import redis_client

        self.redis = redis_client()
        self.now = START

    # --- the outside ---

    def publish(self, stream: str, type_: str, payload: dict[str, Any]) -> None:
        fields = {
            "msg_id": str(uuid4()),
            "timestamp": self.now.isoformat(),
            "source": "bench",
            "type": type_,
            "payload": json.dumps(payload),
            "metadata": "{}",
        }
        self.redis.xadd(stream, fields)

    def next_slot(self, symbols: list[str]) -> None:
        """A bar of every instrument and the positions, taken in by the consumer."""
        from decisions.consumer import GROUP, STREAMS
        from orchestrator_project.streams import backlog

        self.now += SLOT
        for symbol in symbols:
            self.publish("market:snapshots", "market_snapshot", snapshot(symbol, self.now))
        self.publish("trade:positions", "position_update", positions(self.now))
        wait(lambda: all(backlog(self.redis, stream, GROUP) == 0 for stream in STREAMS))

    def refuse(self, order: dict[str, Any]) -> None:
        """Answer an order so that its instrument is free again."""
        payload = {
            "fill_id": str(uuid4()), "decision_id": order["decision_id"], "client_order_id": order["client_order_id"],
            "order_id": None, "algo_id": None, "symbol": order["symbol"], "pos_side": order["pos_side"],
            "side": order["side"], "intent": "open", "status": "rejected", "fill_price": None, "fill_size": None,
            "fee_usd": None, "pnl_usd": None, "cumulative_size": "0", "exit_reason": None, "stop_confirmed": None,
            "reject_reason": "bench", "filled_at": self.now.isoformat(),
        }  # fmt: skip
        self.publish("trade:fills", "trade_fill", payload)

    # --- the measurements ---

    def tick_to_order(self) -> float:
        """Milliseconds from sending the tick to the order on the stream."""
        from celery import current_app

        from orchestrator_project.streams import newest_id

        self.next_slot(SYMBOLS[:1])
        newest = newest_id(self.redis, "trade:orders") or "0"
        began = time.perf_counter()
        current_app.send_task("decisions.tasks.cycle", args=(SYMBOLS[:1],))
        entry = self._blocking_read("trade:orders", newest)
        took = (time.perf_counter() - began) * 1000
        self.refuse(json.loads(entry[b"payload"]))
        wait(lambda: open_cycles() == 0)
        return took

    def empty_chain(self) -> float:
        """Milliseconds for six empty tasks, one after the other, on the same queues and workers."""
        from celery import current_app

        from orchestrator_project.streams import newest_id
        from tests.bench.worker import DONE_STREAM, HOPS

        newest = newest_id(self.redis, DONE_STREAM) or "0"
        began = time.perf_counter()
        current_app.send_task("bench.hop", args=(0,), queue=HOPS[0])
        self._blocking_read(DONE_STREAM, newest)
        return (time.perf_counter() - began) * 1000

    def cycles_per_second(self, count: int, slots: int) -> float:
        """Screened and analysed cycles of so many instruments, all at once, to their end."""
        from celery import current_app

        symbols, spent = SYMBOLS[1 : count + 1], 0.0
        for _ in range(slots):
            self.next_slot(symbols)
            began = time.perf_counter()
            current_app.send_task("decisions.tasks.cycle", args=(symbols,))
            wait(lambda: cycles_at(self.now) == len(symbols) and open_cycles() == 0)
            spent += time.perf_counter() - began
        return len(symbols) * slots / spent

    def _blocking_read(self, stream: str, after: str) -> Mapping[bytes, bytes]:
        from orchestrator_project.streams import read_after

        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            for _, entries in read_after(self.redis, {stream: after}, count=1, block_seconds=1):
                return entries[0][1]
        raise SystemExit(f"nothing came on {stream}")


def open_cycles() -> int:
    from decisions.models import DecisionCycle

    return DecisionCycle.objects.exclude(state="done").count()


def cycles_at(moment: datetime) -> int:
    from decisions.models import DecisionCycle

    return DecisionCycle.objects.filter(slot_at=moment).count()


def snapshot(symbol: str, at: datetime) -> dict[str, Any]:
    indicators = {
        "rsi_14": 50, "macd": 0, "macd_signal": 0, "macd_hist": 0, "adx_14": 20, "atr_14": 1, "bb_upper": 102,
        "bb_middle": 100, "bb_lower": 98, "bb_position": 0.5, "ema_20": 100, "ema_50": 100, "ema_200": 100,
        "ema_alignment": "mixed",
    }  # fmt: skip
    return {
        "symbol": symbol, "timestamp": at.isoformat(), "price": "100", "mark_price": "100", "bid": "99.99",
        "ask": "100.01", "change_24h": "0", "price_change_1h": "0", "volume_24h": "1000", "volume_vs_avg": "1",
        "funding_rate": "0.0001", "next_funding_at": None, "open_interest": None, "oi_change_4h": None,
        "regime": "ranging", "indicators": {"15m": indicators, "1H": indicators, "4H": indicators},
        "instrument": {"ct_val": "0.01", "lot_size": "0.01", "min_size": "0.01", "tick_size": "0.01"},
    }  # fmt: skip


def positions(as_of: datetime) -> dict[str, Any]:
    account = {
        "equity": "10000", "available": "10000", "margin_used": "0", "unrealized_pnl": "0", "net_transfers_usd": "0",
    }  # fmt: skip
    return {"positions": [], "account": account, "open_orders": [], "recent_fills": [], "as_of": as_of.isoformat()}


def told(name: str, milliseconds: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    p50, p99 = statistics.median(milliseconds), cuts[98]
    print(f"{name:<34} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   (min {min(milliseconds):.1f})")
    return p50, p99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--slots", type=int, default=5, help="slots for each number of instruments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings",
            LOCAL_DIR=folder,
            SETTINGS_FILE=os.devnull,
            INSTRUMENTS=",".join(SYMBOLS),
            DAILY_MODEL_BUDGET_USD="100000",
        )
        import django

        django.setup()
        with stack(Path(folder)):
            measure(options.rounds, options.slots)


def measure(rounds: int, slots: int) -> None:
    bench = Bench()
    for _ in range(20):
        bench.empty_chain(), bench.tick_to_order()
    empty, full = [], []
    for _ in range(rounds):  # alternating, so that whatever else the machine does falls on both
        empty.append(bench.empty_chain())
        full.append(bench.tick_to_order())
    empty_p50, empty_p99 = told("six empty chained tasks", empty)
    full_p50, full_p99 = told("tick to order on the stream", full)
    print(f"{'ratio':<34} p50 {full_p50 / empty_p50:7.2f}      p99 {full_p99 / empty_p99:7.2f}")
    for count in (1, 10, MOST_INSTRUMENTS - 1):
        print(f"{count:>3} instruments: {bench.cycles_per_second(count, slots):6.1f} analysed cycles a second")


if __name__ == "__main__":
    main()
