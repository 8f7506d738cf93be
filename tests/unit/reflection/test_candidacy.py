"""What two playbooks have in common however it is written down: what they tell to do."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from journal.playbook import first_playbook
from reflection.candidacy import instructions

NOW = datetime(2026, 2, 7, tzinfo=UTC)
LESSON = {"id": "L1", "date": "2026-02-06", "lesson": "Wait for the close.", "evidence": "3 of 4", "impact": "fewer"}


def document() -> dict[str, Any]:
    found = first_playbook(NOW).model_dump(mode="json")
    return {**found, "lessons_learned": [{**LESSON}, {**LESSON, "id": "L2", "lesson": "Wait for volume."}]}


def measured_again(playbook: dict[str, Any]) -> None:
    playbook["strategy_definitions"][0] |= {"historical_winrate": "0.61", "avg_rr": "1.7"}
    playbook["confidence_calibration"] = [{"bucket_low": "0.5", "bucket_high": "0.6", "count": 7}]
    playbook["lessons_learned"][0] |= {"id": "other", "date": "2026-03-01", "evidence": "9 of 12"}


def written_again(playbook: dict[str, Any]) -> None:
    playbook |= {"version": 7, "last_updated": "2026-03-01T00:00:00Z"}


def in_another_order(playbook: dict[str, Any]) -> None:
    for name in ("lessons_learned", "strategy_definitions", "market_regime_rules"):
        playbook[name].reverse()


def another_ban(playbook: dict[str, Any]) -> None:
    playbook["market_regime_rules"][0]["avoid_strategies"] = ["mean_reversion"]


def another_hour(playbook: dict[str, Any]) -> None:
    playbook["time_filters"]["avoid_hours_utc"] = [3]


def another_size(playbook: dict[str, Any]) -> None:
    playbook["market_regime_rules"][0]["max_position_pct"] = "0.011"


def another_word(playbook: dict[str, Any]) -> None:
    playbook["lessons_learned"][0] |= {"lesson": "Wait for the retest."}


def another_entry(playbook: dict[str, Any]) -> None:
    playbook["strategy_definitions"][0]["entry"] = "When the moon is full."


@pytest.mark.parametrize("change", [measured_again, written_again, in_another_order])
def test_what_tells_nobody_what_to_do_makes_no_difference(change: Callable[[dict[str, Any]], None]) -> None:
    other = document()
    change(other)
    assert instructions(other) == instructions(document())


@pytest.mark.parametrize("change", [another_ban, another_hour, another_size, another_word, another_entry])
def test_what_is_enforced_and_what_is_read_does(change: Callable[[dict[str, Any]], None]) -> None:
    other = document()
    change(other)
    assert instructions(other) != instructions(document())
