"""The crash points: each stands in the sources, and nothing but a test's own handler makes anything of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator_project import crash_points

PROJECT = Path(__file__).resolve().parents[3]
PACKAGES = ("orchestrator_project", "journal", "risk", "decisions", "reflection")
SOURCES = {path: path.read_text() for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))}


def test_every_point_stands_in_the_sources_and_every_one_there_is_known() -> None:
    placed = {name for text in SOURCES.values() for name in re.findall(r'\breached\("(\w+)"\)', text)}
    assert placed == set(crash_points.POINTS)


def test_every_call_names_its_point_in_plain_text() -> None:
    """So that the test above sees them all."""
    calls = [line for text in SOURCES.values() for line in re.findall(r"^ *reached\(.*", text, re.MULTILINE)]
    assert calls
    assert [line for line in calls if not re.fullmatch(r' *reached\("\w+"\)', line)] == []


def test_a_handler_is_told_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(crash_points, "_handler", told.append)
    crash_points.reached("before_send")
    assert told == ["before_send"]


def test_nothing_in_the_product_installs_a_handler() -> None:
    here = PROJECT / "orchestrator_project" / "crash_points.py"
    assert [path for path, text in SOURCES.items() if "crash_points._handler" in text] == []
    assert [line for line in SOURCES[here].splitlines() if re.search(r"_handler\b.*[^=]=[^=]", line)] == [
        "_handler: Callable[[str], None] | None = None"
    ]
    assert [path for path, text in SOURCES.items() if "CRASH_AT" in text] == []


def test_no_environment_makes_a_process_of_the_product_crash() -> None:
    reach_all = (
        "from orchestrator_project.crash_points import POINTS, reached\nfor each in POINTS: reached(each)\nprint(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", reach_all],
        cwd=PROJECT, env={**os.environ, "CRASH_AT": ",".join(crash_points.POINTS)}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
