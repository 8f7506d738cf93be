"""Nothing in the sources goes round what escapes pages, and nothing listens beyond this machine by default."""

import re
from pathlib import Path

import pytest

from orchestrator_project.local.stack import LOOPBACK, StackPlan

PROJECT = Path(__file__).resolve().parents[3]
PACKAGES = ("orchestrator_project", "journal", "risk", "decisions", "reflection")
TEMPLATES = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.html")]
SOURCES = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")]
SCRIPTS = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.js")]


def lines_with(paths: list[Path], pattern: str) -> list[str]:
    return [
        f"{path.relative_to(PROJECT)}: {line.strip()}"
        for path in paths
        for line in path.read_text().splitlines()
        if re.search(pattern, line)
    ]


def test_there_is_something_to_look_at() -> None:
    assert len(TEMPLATES) > 10
    assert len(SOURCES) > 100
    assert SCRIPTS


def test_no_template_leaves_a_value_unescaped() -> None:
    assert lines_with(TEMPLATES, r"\|\s*(safe|safeseq)\b|autoescape\s+off") == []


def test_no_template_has_a_script_a_style_or_a_handler_of_its_own() -> None:
    """The policy of the pages would not run them; what is in a file of ours is read from there."""
    assert lines_with(TEMPLATES, r"<script(?![^>]*\ssrc=)|<style|\son\w+\s*=|\sstyle\s*=|javascript:") == []


def test_no_source_declares_a_text_safe() -> None:
    """`format_html` escapes what it is given; these do not. What draws writes markup, of numbers and escaped texts."""
    drawing = {*(PROJECT / "journal" / "charts").glob("*.py"), PROJECT / "decisions" / "dashboard" / "drawings.py"}
    others = [path for path in SOURCES if path not in drawing]
    assert lines_with(others, r"\bmark_safe\(|\bSafeString\(\w|\bSafeText\(|html_safe|__html__|\bSvg\(") == []


def test_no_script_of_ours_evaluates_text() -> None:
    assert lines_with(SCRIPTS, r"\beval\(|new Function|document\.write|javascript:") == []


@pytest.mark.parametrize("name", ["web", "flower"])
def test_what_serves_pages_listens_on_loopback_alone(name: str) -> None:
    (process,) = (
        each for each in StackPlan(name="x", web_port=8000, flower_port=5555).processes() if each.name == name
    )
    words = " ".join(process.command)
    assert LOOPBACK == "127.0.0.1"
    assert LOOPBACK in words
    assert "0.0.0.0" not in words  # noqa: S104 - that it is not there


def test_flower_only_looks() -> None:
    (flower,) = (each for each in StackPlan(name="x", flower_port=5555).processes() if each.name == "flower")
    assert "--read_only=true" in flower.command
