"""Bounded runs in lockstep: the whole system, slot by slot, whose books balance and which repeats itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DATA = next((folder for folder in (each / "shared" / "data" for each in PROJECT.parents) if folder.is_dir()), None)
NEWS = r"^\d{4}-\d\d-\d\d \d\d:\d\d [A-Z]+-USDT-SWAP "
"""The beginning of the line that tells the end of a cycle."""
CANDLES = "okx_{}-USDT-SWAP_5m_20220501_20221231.csv.gz"

WHAT_HAPPENED = """
import json
from decisions.models import DecisionCycle, Order
from journal.models import Trade
print("HAPPENED", json.dumps({
    "cycles": list(DecisionCycle.objects.order_by("slot_at", "instrument").values_list(
        "slot_at", "instrument", "outcome", "reason")),
    "orders": list(Order.objects.order_by("id").values_list(
        "symbol", "action", "order_type", "size", "limit_price", "stop_loss", "take_profit", "leverage", "status")),
    "trades": list(Trade.objects.order_by("opened_at", "symbol").values_list(
        "symbol", "direction", "opened_at", "closed_at", "entry_price", "exit_price", "size", "pnl_usd", "fees_usd",
        "funding_usd", "exit_reason", "stop_loss", "take_profit")),
}, default=str))
"""


def manage(local_dir: Path, *words: str, seconds: float = 240) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LOCAL_DIR": str(local_dir), "INSTRUMENTS": "BTC-USDT-SWAP,ETH-USDT-SWAP"}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip


def run(local_dir: Path, *options: str, cycles: int, seconds: float = 240) -> dict[str, Any]:
    """The report of a run that ended well."""
    report = local_dir.with_suffix(".json")
    done = manage(
        local_dir,
        "runstack",
        "--lockstep",
        "--cycles",
        str(cycles),
        "--exit-when-done",
        "--report",
        str(report),
        *options,
        seconds=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(report.read_text())
    assert len(re.findall(NEWS, done.stdout, re.MULTILINE)) == result["cycles"]["total"]
    return result


def what_happened(local_dir: Path) -> dict[str, Any]:
    told = manage(local_dir, "shell", "--no-imports", "-c", WHAT_HAPPENED)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("HAPPENED")]
    happened: dict[str, Any] = json.loads(line.removeprefix("HAPPENED"))
    return happened


def assert_all_is_well(report: dict[str, Any], *, cycles: int) -> None:
    assert (report["cycles"]["total"], report["cycles"]["open"]) == (cycles, 0)
    assert sum(report["cycles"]["by_outcome"].values()) == cycles
    assert report["books"]["difference"] == "0.0000"
    assert report["dead_letters"] == 0
    assert report["orders"]["unknown"] == 0
    assert report["model"]["calls"] > 0


@pytest.mark.timeout(600)
def test_the_same_run_twice_is_the_same_and_its_books_balance(tmp_path: Path):
    first, second = (run(tmp_path / name, "--seed", "7", cycles=44) for name in ("one", "two"))
    for report in (first, second):
        assert_all_is_well(report, cycles=88)
    assert first["trades"]["closed"] > 0
    assert first["books"] == second["books"]
    one, two = what_happened(tmp_path / "one"), what_happened(tmp_path / "two")
    assert one["trades"] == two["trades"]
    assert one["orders"] == two["orders"]
    assert one["cycles"] == two["cycles"]

    again = manage(tmp_path / "one", "runstack", "--lockstep", "--cycles", "1", "--exit-when-done")
    assert (again.returncode, "--continue" in again.stderr) == (2, True), again.stderr
    status = json.loads(manage(tmp_path / "one", "status", "--json").stdout)
    totals = {name: status[name] for name in first}
    assert {**totals, "wall_seconds": 0} == {**first, "wall_seconds": 0}


@pytest.mark.timeout(300)
@pytest.mark.skipif(DATA is None, reason="recorded candles (shared/data beside the project) are not here")
def test_recorded_candles_run_and_the_books_balance(tmp_path: Path):
    assert DATA is not None
    candles = [word for coin in ("BTC", "ETH") for word in ("--market", str(DATA / CANDLES.format(coin)))]
    report = run(tmp_path / "recorded", *candles, "--start", "2022-11-08T16:00Z", cycles=15)
    assert_all_is_well(report, cycles=30)


@pytest.mark.prove
@pytest.mark.timeout(5400)
@pytest.mark.skipif(DATA is None, reason="recorded candles (shared/data beside the project) are not here")
def test_two_thousand_slots_of_three_instruments_balance_and_repeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert DATA is not None
    candles = [word for coin in ("BTC", "ETH", "SOL") for word in ("--market", str(DATA / CANDLES.format(coin)))]
    reports = []
    for name in ("one", "two"):
        report = run(tmp_path / name, *candles, "--start", "2022-11-01T00:00Z", cycles=2000, seconds=2400)
        with capsys.disabled():
            print(f"\n{name}: {json.dumps(report)}")
        assert_all_is_well(report, cycles=6000)
        reports.append(report)
    first, second = reports
    assert first["trades"]["closed"] >= 30
    assert {"stop_loss", "take_profit"} <= set(first["trades"]["by_exit_reason"])
    assert first["books"] == second["books"]
    assert what_happened(tmp_path / "one") == what_happened(tmp_path / "two")
