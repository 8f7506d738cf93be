"""A run of the whole system recorded, and run again from the recording: the same trades, and nobody is asked."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_lockstep import assert_all_is_well, manage, run, what_happened

SEED = ("--seed", "7")
WHO_ANSWERED = """
import json
from decisions.models import ModelCall
print("ANSWERED", json.dumps(list(ModelCall.objects.order_by("cycle__slot_at", "cycle__instrument", "id").values(
    "source", "purpose", "model", "system_prompt", "prompt", "raw_reply", "outcome", "error", "request_id", "attempts",
    "cost_usd", "cycle__instrument", "cycle__slot_at")), default=str))
"""


def who_answered(local_dir: Path) -> list[dict[str, Any]]:
    """The calls to models of a run, in the order of the market's time."""
    told = manage(local_dir, "shell", "--no-imports", "-c", WHO_ANSWERED)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("ANSWERED")]
    calls: list[dict[str, Any]] = json.loads(line.removeprefix("ANSWERED"))
    return calls


@pytest.fixture(autouse=True, scope="module")
def _research_at_a_small_move() -> Iterator[None]:
    """So that the news search is asked too: the market of the seed is quiet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALY_PRICE_CHANGE_1H", "0.01")
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recorded run of two hundred cycles: its cassette beside its books."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_RECORD", str(folder / "cassette"))
        assert_all_is_well(run(folder / "run", *SEED, cycles=100, seconds=400), cycles=200)
    return folder


@pytest.mark.timeout(900)
def test_a_recorded_run_replayed_is_the_same_and_nothing_is_paid(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_REPLAY", str(recorded / "cassette"))
    report = run(tmp_path / "run", *SEED, cycles=100, seconds=400)
    assert_all_is_well(report, cycles=200)
    assert report["trades"]["closed"] > 0
    assert what_happened(tmp_path / "run") == what_happened(recorded / "run")

    before, after = who_answered(recorded / "run"), who_answered(tmp_path / "run")
    assert {call["source"] for call in before} == {"offline"}
    assert {call["source"] for call in after} == {"replay"}
    assert {call["purpose"] for call in after} == {"screen", "research", "analyze", "reflect"}
    assert [{**call, "source": ""} for call in after] == [{**call, "source": ""} for call in before]
    assert Decimal(report["model"]["cost_usd"]) == sum(Decimal(call["cost_usd"]) for call in before) > 0
    assert Decimal(report["model"]["paid_usd"]) == 0


@pytest.mark.timeout(900)
def test_a_replay_follows_its_files_alone_and_fails_clearly_where_they_end(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = what_happened(recorded / "run")["cycles"]
    place, (slot_at, instrument, *_) = next((at, each) for at, each in enumerate(cycles) if each[2] == "traded")
    changed = datetime.fromisoformat(slot_at)
    cassette = tmp_path / "cassette"
    cassette.mkdir()
    for file in (recorded / "cassette").iterdir():
        exchange = json.loads(file.read_text())
        purpose, symbol, asked_at, *_ = exchange["occasion"].split()
        if datetime.fromisoformat(asked_at) <= changed:
            if (purpose, symbol, datetime.fromisoformat(asked_at)) == ("analyze", instrument, changed):
                _tell_to_hold(exchange)
            (cassette / file.name).write_text(json.dumps(exchange))
    monkeypatch.setenv("MODEL_REPLAY", str(cassette))
    report = run(tmp_path / "run", *SEED, cycles=place // 2 + 3)

    happened = what_happened(tmp_path / "run")
    assert happened["cycles"][:place] == cycles[:place]
    assert happened["cycles"][place] == [slot_at, instrument, "model_hold", "Told by hand."]
    first_missing = place // 2 * 2 + 2
    outcomes, reasons = zip(*[each[2:] for each in happened["cycles"][first_missing:]], strict=True)
    assert outcomes == ("model_error",) * 4
    assert all("nothing is recorded of '" in reason for reason in reasons)
    assert "traded" not in report["cycles"]["by_outcome"]


def _tell_to_hold(exchange: dict[str, Any]) -> None:
    """Change the decision in a recorded answer, as one would by hand."""
    (block,) = exchange["response"]["body"]["content"]
    answer = json.loads(block["text"])
    answer["decision"] |= {"action": "HOLD", "size_pct": 0, "research_request": None}
    answer["reasoning"] = "Told by hand."
    block["text"] = json.dumps(answer)
