"""The documentation tells the truth about alerts: every category is there with its severity, and none that is not."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
FAILURES = (PROJECT / "docs" / "failures.md").read_text()
SEVERITIES = {"INFO", "WARN", "CRITICAL"}
PLACE = {"record_alert": 1, "record_once": 1, "record_alert_at_most": 2, "RiskNotice": 1}
"""What tells a person -> which of its arguments is the category; the severity stands before it."""
PASSED_ON = {"category", "notice.category"}
"""Where a category is handed on that was named elsewhere."""


def told() -> Iterator[tuple[str, set[str]]]:
    """The pattern of each category in the sources, with the severities it is told by."""
    for app in ("journal", "risk", "decisions", "reflection"):
        for path in sorted((PROJECT / app).rglob("*.py")):
            tree = ast.parse(path.read_text())
            constants = {
                target.id: node.value
                for node in tree.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and (place := PLACE.get(_name(call.func))) is not None:
                    category = call.args[place]
                    if ast.unparse(category) not in PASSED_ON:
                        yield _pattern(category, constants), _severities(call.args[place - 1])


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _pattern(category: ast.expr, constants: dict[str, ast.expr]) -> str:
    if isinstance(category, ast.Name):
        category = constants[category.id]
    parts = category.values if isinstance(category, ast.JoinedStr) else [category]
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)


def _severities(argument: ast.expr) -> set[str]:
    """Those that stand in the call; none where the severity is handed on."""
    return {node.value for node in ast.walk(argument) if isinstance(node, ast.Constant)} & SEVERITIES


def documented() -> dict[str, set[str]]:
    """Category -> severities, by the table of alerts."""
    table = FAILURES.split("\n## Alerts\n")[1].split("\n## ")[0]
    return {name: set(told.split(", ")) for name, told in re.findall(r"^\| `([^`]+)` \| ([A-Z, ]+) \|", table, re.M)}


def test_every_alert_that_the_sources_tell_is_documented_with_its_severity() -> None:
    known = documented()
    missing = []
    for pattern, severities in told():
        found = [shown for name, shown in known.items() if re.fullmatch(pattern, name)]
        if not found or not any(severities <= shown for shown in found):
            missing.append((pattern, severities))
    assert missing == []


def test_every_documented_alert_is_told_by_the_sources() -> None:
    patterns = [pattern for pattern, _ in told()]
    assert [name for name in documented() if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []


def test_every_alert_that_any_page_names_is_in_the_table() -> None:
    known = [re.escape(name).replace("<stream>", ".+") for name in documented()]
    for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))):
        for name in re.findall(r"\balerts? `([a-z_:<>]+)`", page.read_text()):
            assert any(re.fullmatch(pattern, name) for pattern in known), f"{page.name}: {name}"
