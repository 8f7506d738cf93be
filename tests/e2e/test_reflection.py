"""Looking back in the running system, with workers killed at random: every closed trade is reviewed once, deep
reflections come at the right trades and hours, and nothing of it is missing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_lockstep import CANDLES, DATA, PROJECT, assert_all_is_well, manage, what_happened
from tests.e2e.test_lockstep import run as lockstep

BETWEEN_KILLS = (2.0, 6.0)
BETWEEN_WHOLE_KILLS_SECONDS = 150.0
LEAST_AGE_SECONDS = 10.0
"""A process that dies three times in a row within half a minute of its start ends the stack."""
ENVIRONMENT = {
    # So that the claims of the killed end soon.
    "MAX_OPUS_TIMEOUT_SECONDS": "2",
    "RESEARCH_TIMEOUT_SECONDS": "2",
    "REFLECTION_TIMEOUT_SECONDS": "2",
    "SWEEP_SECONDS": "1",
    "DAILY_MODEL_BUDGET_USD": "100000",
}
WHAT_IS_THERE = """
import json
from decisions.models import DecisionCycle, ModelCall
from journal.models import PlaybookVersion, Promotion, Trade
from reflection.models import Reflection, ReflectionLog
print("THERE", json.dumps({
    "trades": list(Trade.objects.filter(status="closed").order_by("closed_at", "id").values(
        "id", "closed_at", "pnl_usd", "self_review", "playbook_version")),
    "pieces": list(Reflection.objects.order_by("as_of", "id").values(
        "id", "kind", "status", "reason", "as_of", "trade_id", "considered_in_id", "cause", "log_id", "attempts")),
    "logs": list(ReflectionLog.objects.order_by("id").values(
        "id", "reflection_type", "trade_ids", "input_prompt", "output_json", "playbook_changes", "old_version",
        "new_version")),
    "versions": list(PlaybookVersion.objects.order_by("version").values(
        "version", "triggered_by", "performance_at_update")),
    "promoted": list(Promotion.objects.order_by("id").values_list("playbook__version", flat=True)),
    "slots": sorted(set(DecisionCycle.objects.values_list("slot_at", flat=True))),
    "calls": ModelCall.objects.filter(purpose="reflect").count(),
}, default=str))
"""


@dataclass(slots=True)
class Killer:
    """Kills workers of a stack, known by its process: their pool's children often, a whole worker now and then."""

    stack: int
    chance: random.Random
    killed: dict[str, int] = field(default_factory=lambda: {"child": 0, "worker": 0})
    kill_at: float = 0.0
    whole_at: float = field(default_factory=lambda: time.monotonic() + BETWEEN_WHOLE_KILLS_SECONDS / 2)

    def look(self) -> None:
        """Kill somebody if it is time."""
        now = time.monotonic()
        if now < self.kill_at:
            return
        self.kill_at = now + self.chance.uniform(*BETWEEN_KILLS)
        workers, children = self._workers()
        if now >= self.whole_at and workers:
            self.whole_at = now + BETWEEN_WHOLE_KILLS_SECONDS
            self._kill("worker", self.chance.choice(workers))
        elif children:
            self._kill("child", self.chance.choice(children))

    def _kill(self, what: str, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
            self.killed[what] += 1
        except ProcessLookupError:  # it has ended by itself
            return

    def _workers(self) -> tuple[list[int], list[int]]:
        """The workers, which are children of the stack, and the children of their pools; of both those that have lived
        for a while: a worker whose first children die does not start."""
        with Path("/proc/uptime").open() as uptime:
            born_by = (float(uptime.read().split()[0]) - LEAST_AGE_SECONDS) * os.sysconf("SC_CLK_TCK")
        parents: dict[int, int] = {}
        workers = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                told = (entry / "stat").read_text().rpartition(")")[2].split()
                pid, parent, born = int(entry.name), int(told[1]), int(told[19])
                if born <= born_by:
                    parents[pid] = parent
                    if parent == self.stack and b"--hostname" in (entry / "cmdline").read_bytes():
                        workers.add(pid)
            except OSError:  # it has ended
                continue
        return sorted(workers), sorted(pid for pid, parent in parents.items() if parent in workers)


def run(local_dir: Path, *options: str, slots: int, environment: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The report of a run in which workers were killed; `killed` says how many."""
    report, output = local_dir.with_suffix(".json"), local_dir.with_suffix(".txt")
    words = ["--lockstep", "--cycles", str(slots), "--exit-when-done", "--report", str(report), *options]
    deadline = time.monotonic() + seconds
    with output.open("wb") as file:
        stack = subprocess.Popen(
            [sys.executable, "manage.py", "runstack", *words],
            cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env={**os.environ, **ENVIRONMENT, **environment, "LOCAL_DIR": str(local_dir)},
        )  # fmt: skip
        killer = Killer(stack.pid, random.Random(7))
        try:
            while stack.poll() is None and time.monotonic() < deadline:
                if "beat.log" in output.read_text():
                    killer.look()
                time.sleep(0.1)
            assert stack.wait(60) == 0, output.read_text()[-3000:]
        finally:
            stack.kill()
            stack.wait()
    return {**json.loads(report.read_text()), "killed": killer.killed}


def what_is_there(local_dir: Path) -> dict[str, Any]:
    told = manage(local_dir, "shell", "--no-imports", "-c", WHAT_IS_THERE)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("THERE")]
    found: dict[str, Any] = json.loads(line.removeprefix("THERE"))
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- what has to hold -------------------------------------------------------------------------------------------------


def assert_each_trade_was_reviewed_once(there: dict[str, Any]) -> None:
    pieces = {piece["trade_id"]: piece for piece in there["pieces"] if piece["kind"] == "post_trade"}
    logs = [log for log in there["logs"] if log["reflection_type"] == "post_trade"]
    for trade in there["trades"]:
        piece, own = pieces[trade["id"]], [log for log in logs if log["trade_ids"] == [trade["id"]]]
        assert piece["status"] == ("given_up" if trade["pnl_usd"] is None else "done"), piece
        if piece["status"] == "done":
            (log,) = own
            assert (piece["log_id"], log["output_json"]) == (log["id"], trade["self_review"])
            assert log["input_prompt"]
    assert len(pieces) == len(there["trades"])


def assert_deep_reflections_came_when_they_were_due(there: dict[str, Any], trades: int, hours: int) -> list[str]:
    """Neither later than due nor sooner, each with all trades that were new by then. Returns when they came."""
    moments, told = [at(slot) for slot in there["slots"]], []
    new: list[dict[str, Any]] = [piece for piece in there["pieces"] if piece["kind"] == "post_trade"]
    new = [piece for piece in new if piece["status"] == "done"]
    since: datetime | None = None
    for deep in [piece for piece in there["pieces"] if piece["kind"] == "periodic"]:
        assert deep["status"] == "done", deep
        now, own = at(deep["as_of"]), [piece for piece in new if piece["considered_in_id"] == deep["id"]]
        before = max(moment for moment in moments if moment < now)
        since = since or min(at(piece["as_of"]) for piece in own)
        earlier = [piece for piece in own if at(piece["as_of"]) <= before]
        assert len(earlier) < trades, "it was due by trades before"
        assert not earlier or before - since < timedelta(hours=hours), "it was due by hours before"
        assert len(own) >= trades if deep["cause"] == "trades" else own and now - since >= timedelta(hours=hours)
        new = [piece for piece in new if piece not in own]
        assert all(at(piece["as_of"]) >= now for piece in new), "a trade was left out"
        (log,) = [log for log in there["logs"] if log["id"] == deep["log_id"]]
        assert sorted(log["trade_ids"]) == sorted(piece["trade_id"] for piece in own)
        told.append(f"{now:%m-%d %H:%M} {deep['cause']} ({len(own)})")
        since = now
    last = moments[-1]
    assert len(new) < trades
    assert not new or since is None or last - since < timedelta(hours=hours)
    return told


def assert_versions_and_logs_are_complete(there: dict[str, Any]) -> None:
    numbers = [version["version"] for version in there["versions"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert there["promoted"] == numbers
    deep = [log for log in there["logs"] if log["reflection_type"] == "periodic"]
    assert [log["new_version"] for log in deep if log["new_version"]] == numbers[1:]
    active = 1
    for log in deep:
        assert log["input_prompt"]
        assert log["output_json"]["updated_playbook"]
        assert log["old_version"] == active
        assert bool(log["playbook_changes"]["changes"]) == (log["new_version"] is not None)
        active = log["new_version"] or active
    written = [version for version in there["versions"] if version["triggered_by"] == "reflection"]
    assert all(version["performance_at_update"]["total_trades"] > 0 for version in written)
    assert there["calls"] >= len(there["logs"])
    traded_by = {trade["playbook_version"] for trade in there["trades"]}
    assert traded_by <= set(numbers)


def looked_back(local_dir: Path, report: dict[str, Any], instruments: Sequence[str], slots: int, *, trades: int) -> str:
    """Check everything, and tell of it in a few lines."""
    assert_all_is_well(report, cycles=slots * len(instruments))
    there = what_is_there(local_dir)
    assert_each_trade_was_reviewed_once(there)
    deep = assert_deep_reflections_came_when_they_were_due(there, trades, hours=6)
    assert_versions_and_logs_are_complete(there)
    done = [piece for piece in there["pieces"] if piece["status"] == "done"]
    repeated = sum(piece["attempts"] > 1 for piece in done)
    return "\n".join(
        [
            f"killed: {report['killed']['child']} children, {report['killed']['worker']} whole workers",
            f"closed trades: {len(there['trades'])}, each reviewed once",
            f"deep reflections: {len(deep)}: {'; '.join(deep)}",
            f"versions: 1 to {len(there['versions'])}; logs: {len(there['logs'])}; calls: {there['calls']}",
            f"pieces that took more than one attempt: {repeated}; wall time: {report['wall_seconds']:.0f} s",
        ]
    )


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(1700)
def test_some_hundred_slots_are_looked_back_on_while_workers_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instruments = ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP"]
    environment = {"INSTRUMENTS": json.dumps(instruments), "REFLECTION_INTERVAL_TRADES": "2"}
    local_dir = tmp_path / "local"
    report = run(local_dir, "--seed", "7", slots=130, environment=environment, seconds=1500)
    told = looked_back(local_dir, report, instruments, 130, trades=2)
    with capsys.disabled():
        print(f"\n{told}")
    assert report["killed"]["child"] > 0
    assert "deep reflections: 0" not in told


@pytest.mark.timeout(900)
def test_a_run_that_rewrites_its_playbook_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLECTION_INTERVAL_TRADES", "1")
    runs = [tmp_path / "one", tmp_path / "two"]
    for local_dir in runs:
        assert_all_is_well(lockstep(local_dir, "--seed", "7", cycles=60, seconds=400), cycles=120)
    one, two = (what_is_there(local_dir) for local_dir in runs)
    assert len(one["versions"]) > 1
    assert one == two
    assert what_happened(runs[0]) == what_happened(runs[1])


@pytest.mark.prove
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(DATA is None, reason="recorded candles (shared/data beside the project) are not here")
def test_four_thousand_recorded_slots_are_looked_back_on_while_workers_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DATA is not None
    coins = ["BTC", "ETH", "SOL"]
    candles = [word for coin in coins for word in ("--market", str(DATA / CANDLES.format(coin)))]
    local_dir = tmp_path / "local"
    options = [*candles, "--start", "2022-11-01T00:00Z"]
    report = run(local_dir, *options, slots=4000, environment={}, seconds=3 * 3600)
    told = looked_back(local_dir, report, coins, 4000, trades=20)
    with capsys.disabled():
        print(f"\n{told}")
    assert report["killed"]["child"] > 100
