"""Fixtures of the decisions' integration tests; the plain functions are in `build.py` and `scene.py`."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import redis

from decisions.clients import claude, perplexity
from journal.services import playbook, seed_first_playbook
from tests.integration.decisions.build import BTC, NOON
from tests.integration.decisions.model_server import KEY, ScriptedModels, serving
from tests.integration.decisions.scene import ETH


@pytest.fixture
def models(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModels]:
    """Scripted models behind the real clients, on a real server."""
    scripted = ScriptedModels()
    with serving(scripted) as url:
        settings.ANTHROPIC_API_KEY = settings.PERPLEXITY_API_KEY = KEY
        settings.ANTHROPIC_BASE_URL = settings.PERPLEXITY_BASE_URL = url
        claude._client.cache_clear()
        perplexity._client.cache_clear()
        yield scripted
    claude._client.cache_clear()
    perplexity._client.cache_clear()


@pytest.fixture
def ready(db: None, redis_client: "redis.Redis", settings: Any) -> Any:
    """A seeded playbook, an empty Redis, two instruments, no audits: what the cycles' tests begin with."""
    settings.INSTRUMENTS = (BTC, ETH)
    settings.SCREENER_AUDIT_RATE = Decimal(0)
    playbook.cache_clear()  # version 1 is another one in every test
    seed_first_playbook(NOON)
    return settings
