"""A seeded playbook, and playbooks that differ from it by a lesson."""

from datetime import UTC, datetime
from typing import Any

import pytest

from journal import playbook_versions
from journal.models import PlaybookVersion
from journal.playbook import Playbook, read_playbook
from journal.services import active_playbook, playbook, seed_first_playbook

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)


def lesson(name: str, text: str = "Wait for the close.") -> dict[str, str]:
    return {"id": name, "date": "2026-02-06", "lesson": text, "evidence": "3 of 4", "impact": "fewer false breaks"}


def taught(name: str, text: str = "Wait for the close.", **changes: Any) -> Playbook:
    """The playbook that trades, with one more lesson."""
    document = active_playbook().model_dump(mode="json")
    document["lessons_learned"] = [*document["lessons_learned"], lesson(name, text)]
    return read_playbook({**document, **changes})


def lessons(version: PlaybookVersion) -> list[str]:
    return [each["id"] for each in version.playbook_json["lessons_learned"]]


@pytest.fixture
def seeded(db: None) -> None:
    """Version 1 trades."""
    playbook.cache_clear()  # version 1 is another one in every test
    seed_first_playbook(NOW)


def by_hand(name: str, *, by: str = "ada", promote: bool = True, **changes: Any) -> PlaybookVersion:
    """A version that a person writes from the one that trades."""
    written = taught(name, **changes)
    basis = playbook_versions.basis()
    return playbook_versions.save_manual(written, basis=basis, by=by, reason=f"for {name}", now=NOW, promote=promote)


def by_reflection(name: str, *, promotion: playbook_versions.PromotionMode = "manual") -> PlaybookVersion:
    """A version that reflection writes from the one that trades."""
    return playbook_versions.save_reflection(
        taught(name),
        basis=playbook_versions.basis(),
        change_summary=f"Learnt {name}.",
        performance={"total_pnl": "12.5"},
        promotion=promotion,
        now=NOW,
    )
