"""Alerts on their way out, to real servers that take them, refuse them, break off and never answer."""

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import transaction

from decisions import outbox
from decisions.alerts_out import channels, delivery, plan, sender
from decisions.models import AlertDelivery, OutboxMessage
from tests.integration.decisions.misbehaving import (
    Answer,
    Drip,
    End,
    everything_stored,
    http,
    misbehaving,
)

pytestmark = pytest.mark.django_db

TOKEN = "123456:canary-of-a-bot"
PATH = "/hooks/canary-in-the-path"
HOOK = f"POST {PATH}"
State = AlertDelivery.State
Seen = list[tuple[str, dict[str, str], bytes]]


@contextmanager
def listening() -> Iterator[tuple[str, Seen]]:
    """A server that takes everything: its address, and what it was posted."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def webhook(settings: Any, redis_client: Any) -> Iterator[Seen]:
    with listening() as (url, seen):
        settings.ALERT_WEBHOOK_URL = url + PATH
        yield seen


def tell(number: int = 1, severity: str = "WARN", category: str = "order_unknown", **about: str) -> None:
    outbox.record_alert(severity, category, f"Title {number}", f"Detail {number}", "None", metadata=about or None)  # type: ignore[arg-type]


def states() -> list[str]:
    return list(AlertDelivery.objects.order_by("id").values_list("state", flat=True))


def wait_is_over() -> None:
    AlertDelivery.objects.filter(ended_at__isnull=True).update(next_try_at=datetime.now(UTC) - timedelta(seconds=1))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_without_a_channel_nothing_is_written_and_nothing_sent(redis_client: Any) -> None:
    tell()
    assert (delivery.deliver(), AlertDelivery.objects.exists()) == (0, False)


def test_an_alert_that_was_rolled_back_goes_nowhere(webhook: Seen) -> None:
    with transaction.atomic():
        tell()
        transaction.set_rollback(True)
    assert (delivery.deliver(), webhook) == (0, [])


def test_an_alert_is_posted_once_with_everything_that_it_says(webhook: Seen) -> None:
    tell(severity="CRITICAL", instrument="BTC-USDT-SWAP")
    assert (delivery.deliver(), delivery.deliver()) == (1, 0)
    ((path, headers, body),) = webhook
    alert = OutboxMessage.objects.get()
    told = json.loads(body)
    assert path == PATH
    assert "x-orchestrator-signature" not in headers
    assert (told["id"], told["severity"], told["title"], told["mode"], told["count"]) == (
        str(alert.msg_id), "CRITICAL", "Title 1", "sandbox", 1,
    )  # fmt: skip
    assert told["alerts"][0]["category"] == "order_unknown"
    assert told["alerts"][0]["told_at"].endswith("Z")
    assert states() == [State.SENT]


def test_what_is_posted_is_signed_where_there_is_a_key(webhook: Seen, settings: Any) -> None:
    settings.ALERT_WEBHOOK_KEY = "k" * 32
    tell()
    delivery.deliver()
    ((_, headers, body),) = webhook
    wanted = hmac.new(b"k" * 32, headers["x-orchestrator-timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["x-orchestrator-signature"] == f"sha256={wanted.hexdigest()}"


def test_telegram_is_told_as_plain_text(settings: Any, redis_client: Any) -> None:
    with listening() as (url, seen):
        settings.TELEGRAM_BASE_URL, settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_CHAT_ID = url, TOKEN, "-100"
        outbox.record_alert("CRITICAL", "protection", "<b>*No stop*</b>", "d" * 9000, "Closing")
        assert delivery.deliver() == 1
    ((path, _, body),) = seen
    told = json.loads(body)
    assert path == f"/bot{TOKEN}/sendMessage"
    assert (told["chat_id"], "parse_mode" in told, len(told["text"])) == ("-100", False, channels.LONGEST_TELEGRAM)
    assert told["text"].startswith("[CRITICAL] SANDBOX: <b>*No stop*</b>\nddd")


@pytest.mark.parametrize(
    ("least", "told"),
    [("INFO", ["CRITICAL", "WARN", "INFO"]), ("WARN", ["CRITICAL", "WARN"]), ("CRITICAL", ["CRITICAL"])],
)
def test_only_what_is_grave_enough_goes_out_and_the_gravest_first(
    webhook: Seen, settings: Any, least: str, told: list[str]
) -> None:
    settings.ALERT_MIN_SEVERITY = least
    for number, severity in enumerate(("INFO", "WARN", "CRITICAL")):
        tell(number, severity)
    delivery.deliver()
    assert [json.loads(body)["severity"] for _, _, body in webhook] == told


def test_the_same_again_within_minutes_is_counted_and_told_again_later(webhook: Seen) -> None:
    tell(symbol="BTC")
    delivery.deliver()
    tell(2, symbol="BTC")
    tell(3, symbol="ETH")
    delivery.deliver()
    assert [json.loads(body)["title"] for _, _, body in webhook] == ["Title 1", "Title 3"]
    assert states() == [State.SENT, State.COUNTED, State.SENT]
    AlertDelivery.objects.update(ended_at=datetime.now(UTC) - plan.AGAIN_AFTER)
    tell(4, symbol="BTC")
    delivery.deliver()
    assert json.loads(webhook[-1][2])["title"] == "Title 4"


def test_a_storm_is_one_summary(webhook: Seen) -> None:
    for number in range(300):
        tell(number)
    assert delivery.deliver() == 1
    told = json.loads(webhook[0][2])
    assert (told["summary"], told["count"], len(told["alerts"])) == (True, 300, 100)
    assert set(states()) == {State.SENT}


def test_no_more_than_so_many_messages_a_minute(webhook: Seen) -> None:
    for number in range(plan.MOST_A_MINUTE + 2):
        tell(number)
        delivery.deliver()
    assert len(webhook) == plan.MOST_A_MINUTE
    AlertDelivery.objects.filter(state=State.SENT).update(ended_at=datetime.now(UTC) - timedelta(seconds=61))
    delivery.deliver()
    assert set(states()) == {State.SENT}


# --- what goes wrong --------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[tuple[Answer, ...], str]] = {
    "refused": (((http({"ok": False, "description": "Unauthorized"}, 401),),), "HTTP 401: {\"ok\": false"),
    "an error": (((http("down", 503),),), "HTTP 503: down"),
    "moved": (((http(b"", 302, location="http://example.org/elsewhere"),),), "HTTP 302"),
    "cut off": (((End.RESET,),), "no answer"),
    "no HTTP": (((b"SSH-2.0-OpenSSH_9.2\r\n",),), "no answer"),
    "silence": (((End.HANG,),), "no answer within 1 s"),
    "dripping": (((Drip(http("ok" * 200)),),), "no answer within 1 s"),
    "endless": (((http(b"x" * 200_000, 500),),), "the answer is longer than"),
    "our address given back": (((http(f"no such bot{TOKEN} at {PATH}", 404),),), "HTTP 404: no such bot[hidden]"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=list(FAULTS))
def test_a_server_that_misbehaves_is_asked_again_later_and_no_secret_is_told(
    fault: str, settings: Any, redis_client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script, told = FAULTS[fault]
    monkeypatch.setattr(sender, "SECONDS", 1.0)
    with misbehaving() as server, caplog.at_level(logging.WARNING):
        settings.TELEGRAM_BASE_URL, settings.TELEGRAM_BOT_TOKEN, settings.TELEGRAM_CHAT_ID = server.url, TOKEN, "1"
        settings.ALERT_WEBHOOK_URL = server.url + PATH
        asked = f"POST /bot{TOKEN}/sendMessage"
        server.will(HOOK, script)  # type: ignore[arg-type]  # a question of ours
        server.will(asked, script)  # type: ignore[arg-type]
        tell()
        tell(2)
        assert delivery.deliver() == 0
        assert sorted(server.asked) == sorted([HOOK, asked])  # the second alert does not try its luck
        assert delivery.deliver() == 0  # both channels rest
        assert len(server.asked) == 2
    rows = list(AlertDelivery.objects.all())
    assert [row.state for row in rows] == [State.PENDING] * 4
    assert all(told in row.error for row in rows), rows[0].error
    kept = everything_stored() + caplog.text
    assert TOKEN not in kept
    assert "canary" not in kept


def test_nobody_there_is_no_more_than_a_refusal(settings: Any, redis_client: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/x"
    tell()
    assert delivery.deliver() == 0
    assert "no answer" in AlertDelivery.objects.get().error


@pytest.mark.parametrize(
    "answer",
    [
        http({"ok": False, "parameters": {"retry_after": 70}}, 429),
        http("slow down", 429, retry_after="70"),
    ],
    ids=["in the body", "in the head"],
)
def test_a_channel_rests_for_as_long_as_it_asks(answer: bytes, settings: Any, redis_client: Any) -> None:
    with misbehaving() as server:
        settings.ALERT_WEBHOOK_URL = server.url + PATH
        server.will(HOOK, ((answer,), (http("ok"),)))  # type: ignore[arg-type]
        tell()
        before = datetime.now(UTC)
        delivery.deliver()
        rests = (AlertDelivery.objects.get().next_try_at or before) - before
        assert timedelta(seconds=70) <= rests <= timedelta(seconds=75)
        tell(2)
        assert delivery.deliver() == 0
        wait_is_over()
        assert delivery.deliver() == 2
    assert states() == [State.SENT, State.SENT]
    assert set(AlertDelivery.objects.values_list("error", flat=True)) == {""}


def test_each_refusal_doubles_the_pause_up_to_a_bound(settings: Any, redis_client: Any) -> None:
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/x"
    tell()
    pauses = []
    for _ in range(12):
        before = datetime.now(UTC)
        delivery.deliver()
        pauses.append(round(((AlertDelivery.objects.get().next_try_at or before) - before).total_seconds()))
        wait_is_over()
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == delivery.LONGEST_PAUSE.total_seconds()


def test_what_could_not_be_told_for_hours_is_given_up_and_counted(webhook: Seen) -> None:
    tell()
    OutboxMessage.objects.update(created_at=datetime.now(UTC) - plan.OLDEST - timedelta(seconds=1))
    assert (delivery.deliver(), webhook, states()) == (0, [], [State.GIVEN_UP])


def test_a_claim_that_nobody_finished_is_taken_up_when_it_is_over(webhook: Seen) -> None:
    tell()
    assert len(delivery._claim("webhook", datetime.now(UTC))) == 1
    assert delivery.deliver() == 0  # somebody is at it
    wait_is_over()
    assert delivery.deliver() == 1


def test_a_claim_from_before_the_clock_was_set_back_holds_nothing_up(webhook: Seen) -> None:
    tell()
    AlertDelivery.objects.update(next_try_at=datetime.now(UTC) + timedelta(hours=5))
    assert delivery.deliver() == 1


# --- what is not told -------------------------------------------------------------------------------------------------


def test_an_alert_told_at_most_so_often_counts_what_it_keeps_back_and_says_so(redis_client: Any) -> None:
    def again() -> None:
        outbox.record_alert_at_most(
            timedelta(hours=1), "WARN", "stop_lost", title="t", detail="The stop is gone", action_taken="None",
            about={"symbol": "BTC"},
        )  # fmt: skip

    for _ in range(4):
        again()
    (first,) = OutboxMessage.objects.all()
    assert first.repeated == 3
    OutboxMessage.objects.update(created_at=first.created_at - timedelta(hours=2))
    again()
    detail = OutboxMessage.objects.latest("id").payload["detail"]
    assert detail.startswith("The stop is gone (3 more of it since ")
