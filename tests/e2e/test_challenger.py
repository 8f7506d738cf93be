"""A challenger on trial in the whole system, and the experiment that shows what the trial is worth."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator_project.terminal import columns
from tests.bench import promotion
from tests.e2e.test_lockstep import manage, run

SHADOWS = """
import json
from reflection.models import ShadowContest, ShadowQuestion, ShadowTrade
print("SHADOWS", json.dumps({
    "contests": list(ShadowContest.objects.order_by("id").values_list(
        "challenger_version", "champion_version", "start_equity", "started_at")),
    "questions": list(ShadowQuestion.objects.order_by("snapshot_at", "cycle__instrument").values_list(
        "cycle__instrument", "snapshot_at", "status", "reason", "consequences")),
    "trades": list(ShadowTrade.objects.order_by("role", "opened_at", "symbol").values_list(
        "role", "symbol", "direction", "opened_at", "closed_at", "entry_price", "exit_price", "size", "pnl_usd",
        "fees_usd", "funding_usd", "exit_reason")),
}, default=str))
"""
A_CHALLENGER = """
from decisions.sandbox.opening import GENERATED_START
from journal import playbook_versions
from journal.playbook import read_playbook
document = dict(playbook_versions.active().playbook_json, time_filters={
    "avoid_hours_utc": [23], "preferred_hours_utc": []})
playbook_versions.save_reflection(
    read_playbook(document), basis=playbook_versions.basis(), change_summary="No trades in hour 23.", performance=None,
    promotion="auto", now=GENERATED_START)
"""


def shadows(local_dir: Path) -> dict[str, Any]:
    told = manage(local_dir, "shell", "--no-imports", "-c", SHADOWS)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("SHADOWS")]
    found: dict[str, Any] = json.loads(line.removeprefix("SHADOWS"))
    return found


@pytest.mark.timeout(1900)
def test_the_same_run_twice_has_the_same_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With workers, messages and all: a challenger of reflection's is asked in every analysed cycle, and goes on being
    asked however often reflection has its say meanwhile."""
    monkeypatch.setenv("PLAYBOOK_PROMOTION", "auto")
    monkeypatch.setenv("CHALLENGER_SHARE", "1")
    monkeypatch.setenv("REFLECTION_INTERVAL_TRADES", "1")
    for name in ("one", "two"):
        for words in (("migrate",), ("seed",), ("shell", "--no-imports", "-c", A_CHALLENGER)):
            done = manage(tmp_path / name, *words)
            assert done.returncode == 0, done.stderr
        run(tmp_path / name, "--seed", "7", cycles=30, seconds=900)
    one, two = shadows(tmp_path / "one"), shadows(tmp_path / "two")
    assert one == two
    statuses = [status for _, _, status, *_ in one["questions"]]
    assert statuses.count("followed") >= 5
    assert set(statuses) == {"followed"}


@pytest.mark.prove
@pytest.mark.timeout(4 * 3600)
def test_promotion_pays_in_the_seeded_experiment(capsys: pytest.CaptureFixture[str]):
    runs = promotion.all_runs(range(1, promotion.SEEDS + 1), promotion.DAYS, jobs=2)
    with capsys.disabled():
        print("", *columns([promotion.HEADINGS, *(promotion.told(*each) for each in runs)]), sep="\n")
    for _, with_promotion, _ in runs:
        assert with_promotion["ban_proposed"]
        assert with_promotion["promoted"]
        assert with_promotion["looks"][-1]["verdict"] == "better"
    gains = [Decimal(auto["net"]) - Decimal(manual["net"]) for _, auto, manual in runs]
    assert all(gain > 0 for gain in gains)
