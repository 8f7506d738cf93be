"""The venue's fault plan: what a file may say, and whom a fault befalls."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from decisions.sandbox.venue import NO_FAULTS, FaultPlan
from decisions.sandbox.venue.faults import FAULT_NAMES, Fault
from decisions.sandbox.venue_faults import BadPlan, PlanFile, read_plan

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "venue-faults.json"
IDENTITIES = [f"fill-{number}" for number in range(2000)]


def _written(folder: Path, content: str) -> Path:
    path = folder / "faults.json"
    path.write_text(content)
    return path


def test_the_example_is_valid_and_names_every_fault() -> None:
    plan = read_plan(EXAMPLE)
    assert plan.model_fields_set == {"seed", *FAULT_NAMES}
    assert all(getattr(plan, name).share > 0 for name in FAULT_NAMES)


def test_a_bare_number_is_the_share() -> None:
    assert FaultPlan.model_validate({"drop_fill": 0.25}).drop_fill == Fault(share=0.25)
    assert FaultPlan.model_validate({"duplicate_fill": 1}).duplicate_fill.share == 1


def test_an_empty_plan_is_quiet_and_any_share_is_not() -> None:
    assert FaultPlan.model_validate({}).quiet
    assert FaultPlan.model_validate({"seed": 5, "drop_fill": 0}).quiet
    assert not FaultPlan.model_validate({"no_stop": 0.001}).quiet


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON: line 1"),
        ("[]", "a JSON object of faults was expected"),
        ('{"drop_fils": 0.1}', "drop_fils is unknown: known are seed, drop_fill, delay_fill"),
        ('{"drop_fill": 1.5}', "drop_fill.share: Input should be less than or equal to 1"),
        ('{"drop_fill": -0.1}', "drop_fill.share: Input should be greater than or equal to 0"),
        ('{"drop_fill": NaN}', "drop_fill.share: Input should be"),
        ('{"drop_fill": "0.1"}', "drop_fill: Input should be"),
        ('{"drop_fill": true}', "drop_fill.share: Input should be a valid number"),
        ('{"delay_fill": 0.1}', "delay_fill.seconds is missing: add it"),
        ('{"delay_fill": {"share": 0.1, "seconds": 0}}', "delay_fill.seconds: Input should be greater than 0"),
        ('{"delay_fill": {"share": 0.1, "seconds": 1, "jitter": 1}}', "delay_fill.jitter is unknown: remove it"),
        ('{"disagree_positions": {"share": 0.1, "messages": 0}}', "disagree_positions.messages: Input should be"),
        ('{"seed": "seven"}', "seed: Input should be a valid integer"),
    ],
)
def test_a_bad_plan_is_told_by_file_key_and_cure(tmp_path: Path, content: str, complaint: str) -> None:
    path = _written(tmp_path, content)
    with pytest.raises(BadPlan) as told:
        read_plan(path)
    assert str(path) in str(told.value)
    assert complaint in str(told.value)


def test_a_missing_or_binary_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match=r"absent\.json cannot be read: No such file"):
        read_plan(tmp_path / "absent.json")
    (tmp_path / "faults.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadPlan, match="not UTF-8"):
        read_plan(tmp_path / "faults.json")


def test_a_plan_exchanged_while_the_venue_runs_holds_from_then_on(tmp_path: Path) -> None:
    path = _written(tmp_path, '{"drop_fill": 0.5}')
    file = PlanFile(path)
    first = file.plan()
    assert file.plan() is first
    _written(tmp_path, "{}")
    assert file.plan().quiet


def test_a_plan_replaced_by_another_file_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = _written(tmp_path, '{"reject": 0.5}')
    file, stamp = PlanFile(path), path.stat()
    fresh = tmp_path / "fresh.json"
    fresh.write_text('{"reject": 0.7}')
    os.utime(fresh, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    fresh.replace(path)
    assert file.plan().reject.share == 0.7


@pytest.mark.parametrize("content", ['{"drop', '{"nonsense": 1}', None])
def test_a_bad_new_plan_leaves_the_former_one_on(tmp_path: Path, content: str | None) -> None:
    path = _written(tmp_path, '{"drop_fill": 0.5}')
    file = PlanFile(path)
    if content is None:
        path.unlink()
    else:
        _written(tmp_path, content)
    assert file.plan().drop_fill.share == 0.5
    _written(tmp_path, '{"drop_fill": 0.125}')
    assert file.plan().drop_fill.share == 0.125


# --- whom it befalls ----------------------------------------------------------------------------------------------


def _befallen(**plan: Any) -> set[str]:
    drawn = FaultPlan.model_validate({"drop_fill": 0.2} | plan)
    return {identity for identity in IDENTITIES if drawn.befalls("drop_fill", identity)}


def test_about_the_share_is_befallen() -> None:
    assert 0.16 < len(_befallen()) / len(IDENTITIES) < 0.24
    assert _befallen(drop_fill=0) == set()
    assert _befallen(drop_fill=1) == set(IDENTITIES)


def test_the_same_seed_befalls_the_same_and_another_seed_others() -> None:
    assert _befallen(seed=1) == _befallen(seed=1)
    assert _befallen(seed=1) != _befallen(seed=2)


def test_a_larger_share_befalls_the_same_and_more() -> None:
    assert _befallen(drop_fill=0.1) < _befallen(drop_fill=0.3)


def test_faults_befall_independently_of_each_other() -> None:
    plan = FaultPlan.model_validate({"drop_fill": 0.5, "duplicate_fill": 0.5})
    both = [each for each in IDENTITIES if plan.befalls("drop_fill", each) and plan.befalls("duplicate_fill", each)]
    assert 0.2 < len(both) / len(IDENTITIES) < 0.3


def test_a_draw_is_known_by_heart() -> None:
    """A plan means the same on every machine and with every release."""
    assert [round(FaultPlan(seed=7).draw("drop_fill", f"fill-{number}"), 6) for number in (1, 2)] == [
        0.454188,
        0.436438,
    ]


def test_a_written_plan_reads_back_equal() -> None:
    plan = read_plan(EXAMPLE)
    assert FaultPlan.model_validate(json.loads(plan.model_dump_json())) == plan
    assert FaultPlan.model_validate(json.loads(NO_FAULTS.model_dump_json())).quiet
