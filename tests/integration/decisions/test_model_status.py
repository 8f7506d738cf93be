"""The lifecycle of the models in use: asked of a real server on loopback, kept, told, and held against openings."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from decisions import model_status, outbox, tasks
from decisions.clients import claude
from decisions.models import ModelStatus, OutboxMessage, Outcome, State
from tests.integration.decisions.build import NOON, alerts, position_payload
from tests.integration.decisions.model_server import KEY, Reply, ScriptedModels, left
from tests.integration.decisions.scene import at_once, drive, tick, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

OPUS, HAIKU = "claude-opus-4-6", "claude-haiku-4-5-20251001"
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
RETIREMENT = "2027-02-05T00:00:00Z"
MINUTES_10 = timedelta(minutes=10)


class Catalogue:
    """The API's list of models: what it says of each, 404 for those it does not have; and what it was asked."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {OPUS: {"lifecycle": "active"}, HAIKU: {"lifecycle": "active"}}
        self.status = 200
        self.asked: list[str] = []

    def answer(self, model: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(model)
        if self.status != 200:
            return self.status, {"type": "error", "error": {"type": "authentication_error", "message": "invalid key"}}
        if model not in self.models:
            return 404, {"type": "error", "error": {"type": "not_found_error", "message": f"model: {model}"}}
        known = {"id": model, "type": "model", "display_name": model, "created_at": "2025-10-01T00:00:00Z"}
        return 200, known | self.models[model]


@pytest.fixture
def catalogue(settings: Any) -> Iterator[Catalogue]:
    """A scripted list of models behind the real client."""
    scripted = Catalogue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = scripted.answer(self.path.rpartition("/")[2].partition("?")[0])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    settings.ANTHROPIC_API_KEY, settings.ANTHROPIC_BASE_URL = KEY, f"http://127.0.0.1:{http.server_port}"
    yield scripted
    http.shutdown()
    http.server_close()


def look(now: datetime = NOW) -> None:
    """The task comes round, ten minutes or more after it last did."""
    outbox.redis_client().flushall()
    model_status.look_up_if_due(now)


def known() -> dict[str, str]:
    return dict(ModelStatus.objects.values_list("model", "lifecycle"))


def retired() -> dict[str, Any]:
    return {"lifecycle": "retired", "deprecated_at": "2026-08-01T00:00:00Z", "retires_at": "2026-11-01T00:00:00Z"}


def deprecated() -> dict[str, Any]:
    return {"lifecycle": "deprecated", "deprecated_at": "2026-11-01T00:00:00Z", "retires_at": RETIREMENT}


# --- looking up ---------------------------------------------------------------------------------------------------


def test_both_models_are_looked_up_once_a_day(catalogue: Catalogue) -> None:
    for now in (NOW, NOW + MINUTES_10, NOW + timedelta(hours=23, minutes=59)):
        look(now)
    assert catalogue.asked == [OPUS, HAIKU]
    look(NOW + timedelta(days=1))
    assert catalogue.asked == [OPUS, HAIKU] * 2
    assert known() == {OPUS: "active", HAIKU: "active"}
    assert set(ModelStatus.objects.values_list("checked_at", flat=True)) == {NOW + timedelta(days=1)}
    assert not OutboxMessage.objects.exists()


def test_one_model_for_both_tasks_is_looked_up_once(catalogue: Catalogue, settings: Any) -> None:
    settings.HAIKU_MODEL = OPUS
    look()
    assert catalogue.asked == [OPUS]
    assert [each.setting for each in model_status.standings()] == ["OPUS_MODEL and HAIKU_MODEL"]


def test_a_task_that_comes_every_minute_asks_a_silent_api_every_ten(catalogue: Catalogue) -> None:
    catalogue.status = 401
    for minutes in range(3):
        model_status.look_up_if_due(NOW + timedelta(minutes=minutes))
    assert catalogue.asked == [OPUS, HAIKU]
    remaining: Any = outbox.redis_client().ttl(f"model-look-up:{OPUS}")
    assert 0 < remaining <= 600


def test_a_failed_look_up_leaves_what_was_known_and_is_told_once_a_day(catalogue: Catalogue) -> None:
    catalogue.models[OPUS] = deprecated()
    look()
    catalogue.status = 401
    for hours in (24, 25, 26):
        look(NOW + timedelta(hours=hours))
    assert known() == {OPUS: "deprecated", HAIKU: "active"}
    assert ModelStatus.objects.get(model=OPUS).checked_at == NOW
    told = alerts("model_lookup")
    assert len(told) == 2
    assert "401" in told[0]
    assert "Last known: OPUS_MODEL=claude-opus-4-6: deprecated (retirement date 2027-02-05)" in told[0]
    assert KEY not in json.dumps(told)


def test_the_offline_model_and_a_replay_look_nothing_up(catalogue: Catalogue, settings: Any, tmp_path: Any) -> None:
    settings.MODEL_REPLAY = tmp_path
    look()
    settings.MODEL_REPLAY, settings.ANTHROPIC_API_KEY = None, ""
    look()
    assert (catalogue.asked, known()) == ([], {})


def test_the_task_looks_up(catalogue: Catalogue) -> None:
    tasks.check_models()
    assert known() == {OPUS: "active", HAIKU: "active"}


# --- telling ------------------------------------------------------------------------------------------------------


def test_a_retired_model_is_told_with_the_setting_and_the_successor(catalogue: Catalogue) -> None:
    catalogue.models[OPUS] = retired()
    look()
    alert = OutboxMessage.objects.get(category="model_gone")
    assert (alert.severity, alert.metadata["model"]) == ("CRITICAL", OPUS)
    for word in ("OPUS_MODEL=claude-opus-4-6: retired", "2026-11-01", "Set OPUS_MODEL to claude-opus-5-5 and restart"):
        assert word in alert.payload["detail"]


def test_an_unknown_model_is_told_too(catalogue: Catalogue, settings: Any) -> None:
    settings.HAIKU_MODEL = "claude-haiku-4-typo"
    look()
    (told,) = alerts("model_gone")
    assert "HAIKU_MODEL=claude-haiku-4-typo: the API does not know this model" in told


def test_a_model_that_stays_gone_is_told_once_a_day_and_looked_up_every_ten_minutes(catalogue: Catalogue) -> None:
    del catalogue.models[OPUS]
    for moment in range(4):
        look(NOW + moment * MINUTES_10)
    assert (catalogue.asked.count(OPUS), catalogue.asked.count(HAIKU)) == (4, 1)
    assert len(alerts("model_gone")) == 1
    look(NOW + timedelta(days=1))
    assert len(alerts("model_gone")) == 2


def test_a_deprecated_model_is_told_once_a_week_with_date_and_successor(catalogue: Catalogue) -> None:
    catalogue.models[OPUS] = deprecated()
    for days in range(3):  # a Sunday, and the two days after it
        look(NOW + timedelta(days=days))
    told = OutboxMessage.objects.filter(category="model_deprecated").order_by("id")
    assert [alert.severity for alert in told] == ["WARN", "WARN"]
    assert "deprecated (retirement date 2027-02-05). Set OPUS_MODEL to claude-opus-5-5" in told[0].payload["detail"]
    assert model_status.blocked_by_models() is None


def test_past_its_date_a_model_is_watched_closely_and_blocks_nothing_before_the_api_says_so(
    catalogue: Catalogue,
) -> None:
    catalogue.models[OPUS] = deprecated() | {"retires_at": "2026-11-21T00:00:00Z"}
    look()
    look(NOW + MINUTES_10)
    assert catalogue.asked.count(OPUS) == 2
    assert model_status.blocked_by_models() is None
    catalogue.models[OPUS] = retired()
    look(NOW + 2 * MINUTES_10)
    assert "claude-opus-4-6: retired" in (model_status.blocked_by_models() or "")


@pytest.mark.django_db(transaction=True)
def test_two_that_find_a_model_gone_at_once_tell_it_once(catalogue: Catalogue) -> None:
    assert at_once(*[lambda: model_status.note_gone(OPUS, "HTTP 404")] * 4) == []
    assert (len(alerts("model_gone")), known()) == (1, {OPUS: "unknown"})


# --- what it stands in the way of ---------------------------------------------------------------------------------


def gone(model: str = OPUS) -> None:
    ModelStatus.objects.create(model=model, lifecycle="retired", checked_at=NOW)


@pytest.mark.parametrize("model", [OPUS, HAIKU])
def test_nothing_is_opened_while_a_model_is_gone(models: ScriptedModels, model: str) -> None:
    gone(model)
    world()
    cycle = drive(tick())
    assert (cycle.outcome, models.asked) == (Outcome.MODEL_ERROR, [])
    assert f"{model}: retired" in cycle.reason


def test_a_position_is_managed_while_a_model_is_gone(models: ScriptedModels) -> None:
    gone()
    models.will_say("analyze", left("CLOSE"))
    world(NOON, position_payload())
    cycle = drive(tick())
    assert (cycle.state, cycle.openings_blocked) == (State.CONFIRMING, Outcome.MODEL_ERROR)
    assert "retired" in models.shown()["allowed_actions"]["reason"]


def test_a_model_of_yesterday_that_is_not_set_any_more_blocks_nothing(models: ScriptedModels, settings: Any) -> None:
    gone("claude-opus-4-1")
    world()
    assert drive(tick()).state == State.CONFIRMING


def test_what_was_found_of_the_real_api_does_not_touch_the_offline_model(settings: Any) -> None:
    gone()
    settings.ANTHROPIC_API_KEY = KEY
    assert model_status.blocked_by_models() is not None
    settings.ANTHROPIC_API_KEY = ""
    assert model_status.blocked_by_models() is None


def test_openings_go_on_by_themselves_once_the_model_is_found_again(catalogue: Catalogue) -> None:
    del catalogue.models[OPUS]
    look()
    assert model_status.blocked_by_models() is not None
    catalogue.models[OPUS] = {"lifecycle": "active"}
    look(NOW + MINUTES_10)
    assert model_status.blocked_by_models() is None


def test_a_screening_that_meets_no_such_model_is_told_at_once(models: ScriptedModels) -> None:
    missing = {"type": "error", "error": {"type": "not_found_error", "message": f"model: {HAIKU}"}}
    models.will_say("screen", Reply(missing, 404))
    world()
    cycle = drive(tick())
    assert (cycle.outcome, known()) == (Outcome.MODEL_ERROR, {HAIKU: "unknown"})
    assert f"HAIKU_MODEL={HAIKU}: the API does not know this model" in alerts("model_gone")[0]


# --- manage.py models ---------------------------------------------------------------------------------------------


def shown(*arguments: str) -> str:
    out = StringIO()
    call_command("models", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_shows_the_models_in_use_with_their_price_and_its_source(settings: Any) -> None:
    text = shown()
    assert "OPUS_MODEL=claude-opus-4-6" in text
    assert "never looked up" in text
    assert "claude-opus-5-5" in text
    assert "5 in, 25 out, 0.50 from the cache, USD per million tokens" in text
    assert "2026-11-22, platform.claude.com" in text
    assert "PERPLEXITY_MODEL=perplexity/sonar" in text


def test_the_command_says_when_a_price_is_not_known(settings: Any) -> None:
    settings.OPUS_MODEL = "claude-new-9"
    assert "10 in, 50 out" in shown()
    assert "not in the price table: counted as the dearest" in shown()


def test_the_command_looks_up_now_when_told(catalogue: Catalogue) -> None:
    catalogue.models[OPUS] = deprecated()
    rows = {row["model"]: row for row in json.loads(shown("--check", "--json"))}
    assert (rows[OPUS]["lifecycle"], rows[OPUS]["retires_at"][:10]) == ("deprecated", "2027-02-05")
    assert (rows[OPUS]["successor"], rows[HAIKU]["lifecycle"]) == ("claude-opus-5-5", "active")
    assert catalogue.asked == [OPUS, HAIKU]


def test_the_check_fails_when_a_model_is_gone(catalogue: Catalogue) -> None:
    del catalogue.models[HAIKU]
    with pytest.raises(CommandError, match=r"HAIKU_MODEL=.*does not know.*Set HAIKU_MODEL to") as raised:
        shown("--check")
    assert raised.value.returncode == 1


def test_the_check_says_when_the_api_cannot_be_asked(catalogue: Catalogue) -> None:
    catalogue.status = 401
    with pytest.raises(CommandError, match=r"claude-opus-4-6 could not be looked up: .*401") as raised:
        shown("--check")
    assert raised.value.returncode == 1


def test_the_check_needs_a_key() -> None:
    assert claude.source() == "offline"
    with pytest.raises(CommandError, match="ANTHROPIC_API_KEY") as raised:
        shown("--check")
    assert raised.value.returncode == 2
