import json
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings

from orchestrator_project.management.commands.show_config import as_example, as_json, as_table, as_text
from risk.limits import LIMIT_FIELDS

PROJECT = Path(__file__).resolve().parents[3]

DESIGN = {
    "OPUS_MODEL": "claude-opus-4-6",
    "HAIKU_MODEL": "claude-haiku-4-5-20251001",
    "OPUS_MAX_TOKENS": 4096,
    "HAIKU_MAX_TOKENS": 100,
    "MAX_OPUS_TIMEOUT_SECONDS": 30,
    "PERPLEXITY_MODEL": "perplexity/sonar",
    "DECISION_CYCLE_SECONDS": 300,
    "INSTRUMENTS": ["BTC-USDT-SWAP"],
    "REFLECTION_INTERVAL_TRADES": 20,
    "REFLECTION_INTERVAL_HOURS": 6,
    "RESEARCH_BEFORE_NEWS": True,
    "SCREENER_ENABLED": True,
    "SCREENER_BYPASS_ON_POSITION": True,
    "SCREENER_BYPASS_ON_NEWS": True,
    "SCREENER_MIN_PASS_RATE": Decimal("0.10"),
    "SCREENER_LOG_ALL": True,
    "MAX_POSITIONS_AGE_SECONDS": 120,
    "REFLECTION_MAX_TOKENS": 16_000,
    "REFLECTION_TIMEOUT_SECONDS": 180,
}


@pytest.mark.parametrize(("name", "value"), DESIGN.items())
def test_the_defaults_are_the_designs(name: str, value: object):
    assert getattr(settings, name) == value


def test_in_the_sandbox_data_may_be_two_bars_old():
    assert settings.SANDBOX
    assert settings.MAX_SNAPSHOT_AGE_SECONDS == 2 * settings.DECISION_CYCLE_SECONDS


def test_the_example_file_is_what_the_settings_say():
    assert (PROJECT / ".env.example").read_text() == as_example(settings.PARAMETERS.values())


def test_limits_are_shown_with_the_rest():
    shown = json.loads(as_json(settings.PARAMETERS.values()))
    assert {field.name for field in LIMIT_FIELDS} <= shown.keys()
    assert shown["MAX_DAILY_LOSS_PCT"] == {"value": "0.03", "source": "default", "group": "Risk limits"}


def test_every_form_tells_every_parameter_once_per_group():
    names = list(settings.PARAMETERS)
    for text in (as_text(settings.PARAMETERS.values()), as_table(settings.PARAMETERS.values())):
        assert all(text.count(f"{name} ") + text.count(f"{name}`") >= 1 for name in names)


def test_the_database_connection_is_kept_and_checked():
    database = settings.DATABASES["default"]
    assert database["CONN_MAX_AGE"] is None
    assert database["CONN_HEALTH_CHECKS"] is True
    assert database["ENGINE"] == "django.db.backends.postgresql"
