"""Days of the market with a faulty venue: nothing grows that is not meant to, in no process, in Redis, in the work of a
cycle.

A run is cut into parts, days in the long one. Memory is compared by thirds, the first being warm-up: in the last third
every process must take what it took in the second. What a cycle asks of the database is compared between the second
part and the last.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.soak_watch import Part, Sample, Trend, Watch, most_grown, trends
from tests.e2e.test_stack import until

PROJECT = Path(__file__).resolve().parents[2]
INSTRUMENTS = [f"{coin}-USDT-SWAP" for coin in ("BTC", "ETH", "SOL", "DOGE", "XRP")]
DAY_SLOTS = 288
CALM_SLOTS, LAST_SLOTS = 3, 40
"""At the end the venue is faultless, so that what is owed can be settled; not to miss it, one looks often before it."""
RATIO, SLACK_MB = 1.1, 2.0
QUEUE_KEYS = 12
"""Celery's lists, which come and go with the tasks that wait: a queue each, and what is not acknowledged."""

FAULTS = """{
  "seed": 5,
  "drop_fill": 0.03,
  "delay_fill": {"share": 0.05, "seconds": 0.5},
  "duplicate_fill": {"share": 0.1, "same_message": 0.3},
  "reorder_fills": {"share": 0.05, "seconds": 0.3},
  "lose_reply": 0.02,
  "reject": 0.03,
  "partial_fill": {"share": 0.3, "cancel_rest": 0.2},
  "late_stop": {"share": 0.05, "seconds": 1},
  "lag_positions": {"share": 0.02, "seconds": 0.3}
}
"""
CALM = '{"seed": 5}\n'
ENVIRONMENT = {
    "SANDBOX_MODEL": "reckless",
    "SCREENER_ENABLED": "false",
    "DAILY_MODEL_BUDGET_USD": "100000",
    # Reflection has its say, but what it would ban after some days goes on being traded.
    "PLAYBOOK_PROMOTION": "manual",
    "CHALLENGER_SHARE": "0",
    # So that the account trades to the end, whatever the reckless model loses.
    "MAX_DAILY_LOSS_PCT": "0.10",
    "MAX_DRAWDOWN_PCT": "0.30",
    "COOLDOWN_AFTER_LOSS_STREAK": "300",
    "CONFIRM_TIMEOUT_SECONDS": "5",
    # As short as they may be, so that a run of an hour sees the end of what is kept.
    "STREAM_RETENTION_SECONDS": "60",
    "STREAM_MAX_LENGTH": "500",
}


class Soak:
    """One run, watched."""

    def __init__(self, folder: Path, slots: int, parts: int, tell: Callable[[str], None]) -> None:
        self.local_dir, self.plan, self.output = folder / "local", folder / "faults.json", folder / "output"
        self.slots, self.tell = slots, tell
        self.bounds = [round(slots * part / parts) for part in range(parts + 1)]
        self.parts: dict[int, Part] = {}
        self.samples: list[Sample] = []
        self.told_at = 0.0

    def run(self, look_every: float) -> None:
        """From the first slot to the last."""
        self.plan.write_text(FAULTS)
        options = ["--lockstep", "--cycles", str(self.slots), "--exit-when-done", "--no-web", "--seed", "7"]
        options += ["--faults", str(self.plan)]
        environment = {**os.environ, **ENVIRONMENT, "LOCAL_DIR": str(self.local_dir)}
        environment["INSTRUMENTS"] = ",".join(INSTRUMENTS)
        with self.output.open("wb") as output:
            stack = subprocess.Popen(
                [sys.executable, "manage.py", "runstack", *options],
                cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            until(lambda: "beat.log" in self.said() or stack.poll() is not None, 120, self.said)
            with Watch.of(self.local_dir, stack.pid) as watch:
                self._follow(watch, stack, look_every)
            assert stack.wait(120) == 0, self.said()[-3000:]
        finally:
            stack.kill()
            stack.wait()

    def said(self) -> str:
        return self.output.read_text()

    def _follow(self, watch: Watch, stack: "subprocess.Popen[bytes]", look_every: float) -> None:
        """Sample until the last slot; count in the second part and in the last."""
        counted = {1, len(self.bounds) - 2}
        with ExitStack() as counting:
            now = -1
            while stack.poll() is None:
                slot = self._look(watch).cycles / len(INSTRUMENTS)
                if slot >= self.slots - CALM_SLOTS:
                    break
                part = next(place for place, bound in enumerate(self.bounds[1:]) if slot < bound)
                if part != now:
                    counting.close()
                    now = part
                    if part in counted:
                        self.parts[part] = counting.enter_context(watch.part())
                time.sleep(look_every if slot < self.slots - LAST_SLOTS else min(look_every, 0.3))
        self.samples = watch.samples
        draft = self.plan.with_suffix(".new")
        draft.write_text(CALM)
        draft.replace(self.plan)

    def faults_seen(self) -> int:
        """How many executions the venue made in parts, by its ledger."""
        with closing(sqlite3.connect(f"file:{self.local_dir}/venue/ledger.sqlite3?mode=ro", uri=True)) as ledger:
            fills = [json.loads(payload) for (payload,) in ledger.execute("SELECT payload FROM fills")]
        return sum(fill["status"] == "partially_filled" for fill in fills)

    def _look(self, watch: Watch) -> Sample:
        sample = watch.sample()
        if time.monotonic() >= self.told_at:
            self.told_at = time.monotonic() + 60
            cycles, memory = self.slots * len(INSTRUMENTS), sum(sample.memory.values())
            self.tell(f"{sample.cycles} of {cycles} cycles, {memory:.0f} MB in all, Redis {sample.redis_memory:.1f} MB")
        return sample

    @property
    def compared(self) -> tuple[Part, Part]:
        """The second part and the last."""
        return self.parts[1], self.parts[len(self.bounds) - 2]

    def told(self) -> str:
        """The tables."""
        lines = [f"{'median in MB, by thirds':<28}{'first':>10}{'second':>10}{'last':>10}"]
        series = trends(self.samples) | {"Redis, all": Trend.of([each.redis_memory for each in self.samples])}
        lines += [f"{name:<28}{each.first:10.1f}{each.second:10.1f}{each.last:10.1f}" for name, each in series.items()]
        lines.append(f"{'entries on a stream':<28}")
        for stream in self.samples[-1].stream_lengths:
            each = Trend.of([sample.stream_lengths.get(stream, 0) for sample in self.samples])
            lines.append(f"{stream:<28}{each.first:10.0f}{each.second:10.0f}{each.last:10.0f}")
        lines.append(f"{'part of the run':<28}{'cycles':>10}{'statements':>12}{'rows read':>12}  a cycle")
        for number, part in sorted(self.parts.items()):
            lines.append(
                f"{number + 1:<28}{part.cycles:>10}{part.statements_a_cycle:12.1f}{part.rows_a_cycle:12.1f}  "
                f"{dict(part.outcomes)}; Redis {part.redis_memory:.1f} MB, "
                f"{part.remembered[1]:.1f} of it {part.remembered[0]} remembered ids"
            )
        second, last = self.compared
        cycles = second.cycles, last.cycles
        lines += ["statements grown: ", *most_grown(second.statements, last.statements, cycles)]
        lines += ["rows read grown: ", *most_grown(second.rows_read, last.rows_read, cycles)]
        return "\n".join(lines)

    def assert_nothing_grows(self) -> None:
        """In no process, no stream, and not what a cycle asks of the database."""
        assert self.faults_seen() > 0, "the venue had no faults"
        memory = trends(self.samples)
        assert {"consumer", "venue", "beat", "driver", "redis", "postgres"} <= memory.keys(), memory
        growing = [name for name, each in memory.items() if not each.flat(ratio=RATIO, slack=SLACK_MB)]
        assert growing == [], self.told()
        second, last = self.compared
        assert last.statements_a_cycle <= RATIO * second.statements_a_cycle, self.told()
        appeared = last.lasting_keys.keys() - second.lasting_keys.keys()
        assert len(appeared) <= QUEUE_KEYS, f"keys that never expire appeared: {appeared}"


def soak(folder: Path, capsys: pytest.CaptureFixture[str], *, slots: int, parts: int, look_every: float) -> Soak:
    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    run = Soak(folder, slots, parts, tell)
    run.run(look_every)
    tell(run.told() + "\n")
    return run


@pytest.mark.timeout(400)
def test_some_slots_with_a_faulty_venue_grow_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soak(tmp_path, capsys, slots=30, parts=3, look_every=0.5).assert_nothing_grows()


@pytest.mark.prove
@pytest.mark.timeout(4 * 3600)
def test_six_days_with_a_faulty_venue_grow_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = soak(tmp_path, capsys, slots=6 * DAY_SLOTS, parts=6, look_every=5)
    run.assert_nothing_grows()
    # What is remembered of publications lives for a week; all else that Redis holds is bounded.
    held = [part.redis_memory - part.remembered[1] for part in run.compared]
    assert held[1] <= RATIO * held[0] + SLACK_MB, run.told()
    # Over an hour the streams reach what their retention allows, and stay there.
    for stream in run.samples[-1].stream_lengths:
        lengths = Trend.of([sample.stream_lengths.get(stream, 0) for sample in run.samples])
        assert lengths.flat(ratio=RATIO, slack=100), f"{stream} grows: {lengths}"
