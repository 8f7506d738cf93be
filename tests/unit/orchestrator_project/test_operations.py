"""The operations guide tells the truth about figures, checks, commands, settings and files."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import get_commands

from orchestrator_project.monitoring import readiness
from orchestrator_project.monitoring.catalogue import as_table
from orchestrator_project.monitoring.state import Age, RecordState, RedisState
from tests.unit.orchestrator_project.test_deploy import RULES

PROJECT = Path(__file__).resolve().parents[3]
GUIDE = (PROJECT / "docs" / "operations.md").read_text()


def test_the_table_of_the_figures_is_the_catalogue():
    assert GUIDE.split("<!-- figures -->\n")[1].split("<!-- end of figures -->")[0] == as_table()


def test_every_check_of_readyz_is_explained():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    limits = readiness.Limits(
        schedule={}, max_snapshot_age=timedelta(1), max_positions_age=timedelta(1), wall_data_seconds=None
    )
    record = RecordState(
        now=now, open_cycles=0, oldest_open_seconds=0, unclaimed_seconds=0, last_cycle_seconds=0, outbox_waiting=0,
        outbox_seconds=0, waiting_fills=0, discrepancies=0, blocked_instruments=0, positions=Age(None, None),
        database_bytes=0, snapshots={},
    )  # fmt: skip
    checks = [*readiness.of_redis(RedisState(), limits, 0.0), *readiness.of_record(record, limits)]
    explained = GUIDE.split("| check | fails when |")[1].split("\n\n")[0]
    for name in ("postgres", "redis", "migrations", *(check.name for check in checks)):
        assert f"`{name}`" in explained, name


def test_every_command_and_setting_it_names_exists():
    commands = set(re.findall(r"manage\.py (\w+)", GUIDE))
    assert commands
    assert commands <= set(get_commands())
    of_others = {"POSTGRES_PASSWORD", "MEMORY_LIMIT", "STOP_GRACE", "PATH", "FILE", "SETTINGS_FILE"}
    named = set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b", GUIDE))
    assert named - of_others <= set(settings.PARAMETERS)


def test_every_alert_it_names_exists():
    assert set(re.findall(r"`(Orchestrator[A-Z]\w+)`", GUIDE)) <= {rule["alert"] for rule in RULES}
