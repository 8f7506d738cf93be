"""What machines are told of how the system stands: on real servers, each thing made wrong once."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from decisions.consumer import GROUP, STREAMS
from decisions.messages import MARKET_SNAPSHOTS, TRADE_FILLS
from decisions.models import DecisionCycle, MarketRecord, ModelCall, OutboxMessage, PositionReport
from orchestrator_project.models import FoldedTotals
from orchestrator_project.monitoring import exposition, heartbeats, observation, servers, totals
from orchestrator_project.monitoring.catalogue import PREFIX, exposed_names
from risk.models import Halt
from tests.integration.decisions import scene
from tests.integration.decisions.build import (
    BTC,
    NOON,
    cycle_row,
    entry_fields,
    group_reader,
    position_payload,
    snapshot_payload,
)

TOKEN = "token-0123456789"
HERE, ELSEWHERE = "127.0.0.1", "10.1.2.3"


@pytest.fixture
def alive(db: None, redis_client: "redis.Redis", settings: Any) -> Iterator["redis.Redis"]:
    """A system that does its work: fresh data, a consumer that has read everything, beat and its tasks at work."""
    settings.INSTRUMENTS = (BTC, scene.ETH)
    scene.bar(symbol=scene.ETH)
    scene.world()
    group_reader(STREAMS).read()
    heartbeats._given.clear()
    for name in ("beat", *observation._watched()):
        heartbeats.beat(name)
    OutboxMessage.objects.update(sent_at=datetime.now(UTC))
    servers.client.cache_clear()
    heartbeats._client.cache_clear()
    yield redis_client
    servers.client.cache_clear()


def readyz() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/readyz")
    return answer.status_code, answer.json()["checks"]


def metrics(**headers: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    answer = Client().get("/metrics", **headers)
    assert answer.status_code == 200, answer.content
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float:
    return metrics()[name, tuple(sorted(labels.items()))]


# --- /healthz and /readyz ---------------------------------------------------------------------------------------------


def test_a_living_process_says_so_without_asking_any_server():
    answer = Client().get("/healthz")  # no fixture has allowed the database here
    assert (answer.status_code, answer.content) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_is_done_there(path: str):
    assert Client().post(path).status_code == 405


def test_a_system_that_does_its_work_is_ready(alive: "redis.Redis"):
    status, checks = readyz()
    assert (status, [name for name, check in checks.items() if not check["passes"]]) == (200, [])
    assert set(checks) == {
        "postgres", "redis", "migrations", "beat", "schedule", "consumer", "streams", "stages", "outbox",
        "market_data", "positions",
    }  # fmt: skip


def _entry_of(age: timedelta, client: "redis.Redis", stream: str = TRADE_FILLS) -> None:
    milliseconds = int((time.time() - age.total_seconds()) * 1000)
    client.delete(stream)
    client.xadd(stream, entry_fields("trade_fill", {}), id=f"{milliseconds}-0")
    client.xgroup_create(stream, GROUP, id="0")


def _unread(client: "redis.Redis") -> None:
    _entry_of(timedelta(minutes=2), client)


def _unacknowledged(client: "redis.Redis") -> None:
    _entry_of(timedelta(minutes=2), client)
    client.xreadgroup(GROUP, "one", {TRADE_FILLS: ">"})


def _beat_stuck(client: "redis.Redis") -> None:
    client.hset(heartbeats.KEY, "beat", str(time.time() - 120))


def _sign_from_before_the_clock_was_set_back(client: "redis.Redis") -> None:
    client.hset(heartbeats.KEY, "beat", str(time.time() + 3600))


def _no_sweeper(client: "redis.Redis") -> None:
    client.hset(heartbeats.KEY, "decisions.tasks.sweep", str(time.time() - 120))


def _no_consumer(client: "redis.Redis") -> None:
    client.xgroup_destroy(MARKET_SNAPSHOTS, GROUP)


def _stage_without_a_worker(_: "redis.Redis") -> None:
    cycle = cycle_row()
    DecisionCycle.objects.filter(pk=cycle.pk).update(
        state="analyzing", updated_at=datetime.now(UTC) - timedelta(minutes=2)
    )


def _unpublished(_: "redis.Redis") -> None:
    message = OutboxMessage.objects.create(stream="system:alerts", type="system_alert", payload={})
    OutboxMessage.objects.filter(pk=message.pk).update(created_at=datetime.now(UTC) - timedelta(minutes=2))


def _bars_stopped(_: "redis.Redis") -> None:
    MarketRecord.objects.update(received_at=datetime.now(UTC) - timedelta(minutes=10))


def _bars_of_one_instrument_stopped(_: "redis.Redis") -> None:
    scene.bar(NOON + timedelta(hours=1), symbol=scene.ETH)
    MarketRecord.objects.filter(symbol=scene.ETH).update(received_at=datetime.now(UTC) - timedelta(seconds=10))


def _no_positions(_: "redis.Redis") -> None:
    PositionReport.objects.all().delete()


def _not_migrated(_: "redis.Redis") -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'decisions' AND name LIKE '0003%'")


@pytest.mark.parametrize(
    ("spoil", "check", "words"),
    [
        (_beat_stuck, "beat", r"^seen 1[1-5]\d s ago"),
        (_sign_from_before_the_clock_was_set_back, "beat", "never seen"),
        (_no_sweeper, "schedule", r"^decisions\.tasks\.sweep: seen 1[1-5]\d s ago$"),
        (_no_consumer, "consumer", "0 seen within a minute"),
        (_unread, "streams", r"^trade:fills: 1 unread, 0 unacknowledged, the oldest 1[1-5]\d s old"),
        (_unacknowledged, "streams", r"^trade:fills: 0 unread, 1 unacknowledged, the oldest 1[1-5]\d s old"),
        (_stage_without_a_worker, "stages", r" 1[0-5]\d s$"),
        (_unpublished, "outbox", r" 1[0-5]\d s$"),
        (_bars_stopped, "market_data", r"BTC-USDT-SWAP: came in (5[5-9]|6[0-5])\d s ago"),
        (_bars_of_one_instrument_stopped, "market_data", "BTC-USDT-SWAP: 3600 s old, at most 600 are allowed"),
        (_no_positions, "positions", "never came in"),
        (_not_migrated, "migrations", "missing: decisions.0003_orders_and_fills_under_faults"),
    ],
)
def test_what_does_not_work_is_not_ready_and_says_what(
    alive: "redis.Redis", spoil: Callable[["redis.Redis"], None], check: str, words: str
):
    spoil(alive)
    status, checks = readyz()
    assert (status, checks[check]["passes"]) == (503, False)
    assert re.search(words, checks[check]["detail"])


def test_an_emptied_redis_is_not_ready(alive: "redis.Redis"):
    alive.flushall()
    status, checks = readyz()
    assert status == 503
    assert {name for name, check in checks.items() if not check["passes"]} == {"beat", "schedule", "consumer"}


def test_live_what_is_old_by_the_wall_clock_is_not_ready(alive: "redis.Redis", settings: Any):
    settings.SANDBOX = False
    _, checks = readyz()
    assert not checks["market_data"]["passes"]
    assert not checks["positions"]["passes"]


def test_a_halt_is_ready(alive: "redis.Redis"):
    Halt.objects.create(account="main", kind="manual", reason="r", started_at=NOON, started_by="ada")
    assert readyz()[0] == 200


def test_without_redis_it_is_not_ready_and_the_rest_is_still_told(alive: "redis.Redis", tmp_path: Any, settings: Any):
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    servers.client.cache_clear()
    status, checks = readyz()
    assert (status, checks["redis"]["detail"]) == (503, "does not answer, see the log")
    assert checks["market_data"]["passes"]
    assert (value("up", server="redis"), value("up", server="postgres")) == (0, 1)
    assert value("equity_usd") == 10_000


@pytest.mark.django_db(transaction=True)
def test_without_postgres_it_is_not_ready_and_says_no_secret(redis_client: "redis.Redis", tmp_path: Any):
    servers.client.cache_clear()
    host = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict.update(HOST=str(tmp_path), PASSWORD="canary-0123456789")
    try:
        answer = Client().get("/readyz")
        figures = metrics()
    finally:
        connection.close()
        connection.settings_dict.update(HOST=host, PASSWORD="")
    assert answer.status_code == 503
    assert answer.json()["checks"]["postgres"] == {"passes": False, "detail": "does not answer, see the log"}
    assert str(tmp_path) not in answer.content.decode()
    assert "canary" not in answer.content.decode()
    assert figures["up", (("server", "postgres"),)] == 0
    assert figures["up", (("server", "redis"),)] == 1


# --- who may have the figures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"REMOTE_ADDR": HERE}, 200),
        ({"REMOTE_ADDR": "::1"}, 200),
        ({"REMOTE_ADDR": ELSEWHERE}, 403),
        ({"REMOTE_ADDR": ""}, 403),
        ({"REMOTE_ADDR": ELSEWHERE, "HTTP_X_FORWARDED_FOR": HERE}, 403),
        ({"REMOTE_ADDR": HERE, "HTTP_X_FORWARDED_FOR": ELSEWHERE}, 403),
        ({"REMOTE_ADDR": HERE, "HTTP_X_FORWARDED_FOR": HERE}, 403),
        ({"REMOTE_ADDR": HERE, "HTTP_FORWARDED": "for=127.0.0.1"}, 403),
        ({"REMOTE_ADDR": ELSEWHERE, "HTTP_AUTHORIZATION": "Bearer "}, 403),
    ],
)
def test_without_a_token_the_figures_are_for_this_machine_alone(
    alive: "redis.Redis", headers: dict[str, str], status: int
):
    assert Client().get("/metrics", **headers).status_code == status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ü", 401),
        ("", 401),
    ],
)
@pytest.mark.parametrize("address", [HERE, ELSEWHERE])
def test_with_a_token_they_are_for_whoever_has_it(
    alive: "redis.Redis", settings: Any, given: str, status: int, address: str
):
    settings.METRICS_TOKEN = TOKEN
    answer = Client().get("/metrics", REMOTE_ADDR=address, HTTP_AUTHORIZATION=given)
    assert answer.status_code == status
    assert (answer.headers.get("WWW-Authenticate") == 'Bearer realm="metrics"') == (status == 401)


# --- the figures ------------------------------------------------------------------------------------------------------


def test_every_name_is_of_the_catalogue_and_every_one_of_the_catalogue_is_described(alive: "redis.Redis"):
    page = Client().get("/metrics").content.decode()
    told = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
    assert told <= exposed_names()
    described = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    assert {name for name in exposed_names() if not re.search("_(bucket|sum|count)$", name)} <= described
    assert {PREFIX + name for name in ("equity_usd", "open_cycles", "model_budget_usd", "database_bytes")} <= told


def test_cycles_are_counted_by_outcome_with_the_time_they_took(alive: "redis.Redis"):
    started = datetime.now(UTC) - timedelta(seconds=10)
    for place, outcome in enumerate(("model_hold", "model_hold", "screened_out", "previous_still_running")):
        cycle = cycle_row(slot_at=NOON + timedelta(minutes=5 * place))
        DecisionCycle.objects.filter(pk=cycle.pk).update(
            state="done", outcome=outcome, created_at=started, finished_at=started + timedelta(seconds=1),
            stage_ms={"screening": 250.0, "analyzing": 1500.0},
        )  # fmt: skip
    figures = metrics()
    assert figures["cycles_total", (("outcome", "model_hold"),)] == 2
    assert figures["cycles_total", (("outcome", "previous_still_running"),)] == 1
    assert figures["cycle_seconds_count", ()] == 3
    assert figures["cycle_seconds_sum", ()] == 3
    assert figures["cycle_seconds_bucket", (("le", "0.5"),)] == 0
    assert figures["cycle_seconds_bucket", (("le", "1.0"),)] == 3
    assert figures["stage_seconds_bucket", (("le", "0.25"), ("stage", "screening"))] == 4
    assert figures["stage_seconds_sum", (("stage", "analyzing"),)] == 6
    assert 8 < figures["last_cycle_age_seconds", ()] < 60


def _calls(count: int) -> None:
    for _ in range(count):
        ModelCall.objects.create(
            purpose="screen", model="small", source="live", system_prompt="s", prompt="p", outcome="ok",
            input_tokens=100, output_tokens=7, cache_read_tokens=3, cost_usd=Decimal("0.001500"), latency_ms=400,
            market_time=NOON,
        )  # fmt: skip


def test_model_calls_are_counted_with_cost_tokens_and_time(alive: "redis.Redis"):
    _calls(2)
    figures = metrics()
    who = (("model", "small"), ("outcome", "ok"), ("purpose", "screen"), ("source", "live"))
    assert figures["model_calls_total", who] == 2
    assert figures["model_cost_usd_total", (("model", "small"), ("purpose", "screen"), ("source", "live"))] == 0.003
    assert figures["model_tokens_total", (("kind", "input"), ("purpose", "screen"))] == 200
    assert figures["model_tokens_total", (("kind", "cache_read"), ("purpose", "screen"))] == 6
    assert figures["model_call_seconds_bucket", (("le", "0.5"), ("purpose", "screen"))] == 2
    assert figures["model_spend_today_usd", ()] == 0.003


def test_a_whole_trade_shows_in_orders_fills_exposure_and_money(alive: "redis.Redis"):
    scene.account(NOON, position_payload())
    figures = metrics()
    assert figures["positions", ()] == 1
    assert figures["exposure_ratio", ()] == 0.04
    assert figures["limit_ratio", (("limit", "exposure"),)] == 0.15
    assert figures["risk_state", (("state", "running"),)] == 1
    assert figures["live_orders", (("status", "pending"),)] == 0
    Halt.objects.create(account="main", kind="manual", reason="r", started_at=NOON, started_by="ada")
    figures = metrics()
    assert figures["risk_state", (("state", "halted"),)] == 1
    assert figures["halts", (("kind", "manual"),)] == 1


def test_streams_queues_and_ages_are_told(alive: "redis.Redis"):
    _unacknowledged(alive)
    alive.xadd(TRADE_FILLS, entry_fields("trade_fill", snapshot_payload()))
    alive.rpush("analyze", "a", "b")
    figures = metrics()
    assert figures["stream_length", (("stream", TRADE_FILLS),)] == 2
    assert figures["stream_pending", (("stream", TRADE_FILLS),)] == 1
    assert figures["stream_lag", (("stream", TRADE_FILLS),)] == 1
    assert figures["stream_oldest_seconds", (("stream", TRADE_FILLS),)] >= 120
    assert figures["queue_length", (("queue", "analyze"),)] == 2
    assert figures["consumers", ()] == 1
    assert figures["ready", (("check", "streams"),)] == 0
    assert figures["heartbeat_age_seconds", (("of", "beat"),)] < 60


# --- cheap, whatever the record's length ------------------------------------------------------------------------------


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "SETTLED_SECONDS", -60)


def test_folding_changes_no_figure_and_leaves_nothing_to_be_read(alive: "redis.Redis", settled_at_once: None):
    _calls(5)
    before = totals.totals()
    assert totals.fold() > 0
    assert totals.totals() == before
    row = FoldedTotals.objects.get(source="model_calls")
    assert row.up_to == ModelCall.objects.latest("id").pk
    _calls(1)
    series = ("model_calls", ("screen", "small", "live", "ok"))
    assert totals.totals()[series] == before[series] + 1
    assert totals.fold() == 1
    assert totals.fold() == 0


def test_what_is_younger_than_any_transaction_is_not_folded(alive: "redis.Redis", monkeypatch: pytest.MonkeyPatch):
    _calls(1)
    totals.fold()
    assert FoldedTotals.objects.get(source="model_calls").up_to == 0
    monkeypatch.setattr(totals, "SETTLED_SECONDS", -60)
    totals.fold()
    assert FoldedTotals.objects.get(source="model_calls").up_to == ModelCall.objects.get().pk


def test_a_cycle_that_is_open_is_counted_when_it_has_ended(alive: "redis.Redis", settled_at_once: None):
    first, second = cycle_row(slot_at=NOON), cycle_row(slot_at=NOON, symbol=scene.ETH)
    DecisionCycle.objects.filter(pk=second.pk).update(state="done", outcome="model_hold", finished_at=NOON)
    totals.fold()
    DecisionCycle.objects.filter(pk=first.pk).update(state="done", outcome="abandoned", finished_at=NOON)
    counted = totals.totals()
    assert (counted["cycles", ("abandoned",)], counted["cycles", ("model_hold",)]) == (1, 1)
    totals.fold()
    assert totals.totals() == counted


def test_a_big_record_is_folded_batch_by_batch(
    alive: "redis.Redis", settled_at_once: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(totals, "BATCH", 2)
    _calls(7)
    before = totals.totals()
    totals.fold()
    assert totals.totals() == before


@pytest.mark.django_db(transaction=True)
def test_two_that_fold_at_once_count_once(redis_client: "redis.Redis", settled_at_once: None):
    _calls(20)
    before = totals.totals()
    assert scene.at_once(totals.fold, totals.fold) == []
    assert totals.totals() == before


def test_a_scrape_asks_the_same_number_of_questions_however_much_there_is(alive: "redis.Redis"):
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            exposition.read()
        return len(queries)

    few = asked()
    _calls(30)
    scene.account(NOON, position_payload())
    for place in range(10):
        with transaction.atomic():
            cycle_row(symbol=f"SIM{place}-USDT-SWAP")
    assert asked() == few < 45
