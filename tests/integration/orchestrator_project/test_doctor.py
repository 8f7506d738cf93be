"""`manage.py doctor` on real servers: well, never started, and with something wrong."""

import json
import time
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import call_command

from decisions.models import AlertDelivery, ModelStatus
from orchestrator_project.doctor import probes
from orchestrator_project.monitoring import heartbeats, servers
from tests.integration.admin_rows import row
from tests.integration.decisions.misbehaving import http, misbehaving

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_client(redis_client: "redis.Redis") -> Any:
    servers.client.cache_clear()
    yield
    servers.client.cache_clear()


def doctor(*words: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("doctor", *words, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def grades(*words: str) -> tuple[int, dict[str, str]]:
    code, told = doctor("--json", *words)
    return code, {each["subject"]: each["grade"] for each in json.loads(told)["findings"]}


def test_what_was_never_started_is_warned_of_and_nothing_has_failed() -> None:
    code, found = grades()
    assert (code, "FAIL" in found.values()) == (0, False)
    assert (found["beat"], found["Postgres"], found["Redis eviction"], found["limits drill"]) == (
        "WARN", "OK", "OK", "OK",
    )  # fmt: skip


def test_a_beat_that_has_fallen_silent_has_failed_and_the_cure_stands_below(redis_client: "redis.Redis") -> None:
    redis_client.hset(heartbeats.KEY, "beat", str(time.time() - 300))
    code, told = doctor()
    assert code == 1
    assert "FAIL  beat" in told
    assert "      -> start beat, or look at its log" in told
    assert told.splitlines()[-1].endswith("FAIL")


def test_a_redis_that_is_away_is_a_line_and_the_others_are_there(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    servers.client.cache_clear()
    code, found = grades()
    assert (code, found["Redis"], found["Postgres"], found["limits drill"]) == (1, "FAIL", "OK", "OK")


def test_a_model_that_is_gone_has_failed(settings: Any) -> None:
    ModelStatus.objects.create(model=settings.OPUS_MODEL, lifecycle="retired", checked_at=datetime.now(UTC))
    code, told = doctor()
    assert code == 1
    assert f"OPUS_MODEL={settings.OPUS_MODEL}: retired" in told


def test_a_channel_that_refuses_alerts_is_told(settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/x"
    row(AlertDelivery, channel="webhook", state="pending", error="HTTP 401")
    _, found = grades()
    assert found["alerts by webhook"] == "WARN"


def test_the_clock_of_okx_is_asked_only_online(settings: Any) -> None:
    with misbehaving() as server:
        settings.OKX_BASE_URL = server.url
        late = {"code": "0", "msg": "", "data": [{"ts": str(int((time.time() - 90) * 1000))}]}
        server.will("GET /api/v5/public/time", ((http(late),),))  # type: ignore[arg-type]
        assert "clock of OKX" not in grades()[1]
        assert server.asked == []
        code, found = grades("--online")
    assert (code, found["clock of OKX"], found["models online"]) == (1, "FAIL", "OK")


def test_a_full_look_changes_nothing() -> None:
    before = AlertDelivery.objects.count()
    assert [each.subject for each in probes.look()]
    assert AlertDelivery.objects.count() == before
