"""Messages of ours: written with the fact, published after its commit, once, whatever comes between."""

from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.db import transaction
from pytest_django import Settings

from decisions import outbox
from decisions.messages import SYSTEM_ALERTS, TRADE_ORDERS, TradeCancel, decode
from decisions.models import OutboxMessage
from orchestrator_project import streams
from tests.integration.decisions.build import NOON

pytestmark = pytest.mark.django_db(transaction=True)


def tell(title: str = "t") -> None:
    outbox.record_alert("WARN", "test", title, "detail", "none")


def titles(client: redis.Redis) -> list[str]:
    """What is on the stream, oldest first."""
    found = []
    for _, fields in client.xrange(SYSTEM_ALERTS):
        envelope = decode({key.encode(): value.encode() for key, value in fields.items()})
        assert (envelope.source, envelope.type) == ("orchestrator", "system_alert")
        found.append(str(envelope.payload["title"]))
    return found


def test_a_message_goes_out_after_the_commit_and_not_before(redis_client: redis.Redis) -> None:
    with transaction.atomic():
        tell()
        assert titles(redis_client) == []
    assert titles(redis_client) == ["t"]
    kept = OutboxMessage.objects.get()
    assert kept.sent_at is not None
    assert kept.stream == SYSTEM_ALERTS


def test_a_fact_that_was_rolled_back_is_not_told(redis_client: redis.Redis) -> None:
    with transaction.atomic():
        tell()
        transaction.set_rollback(True)
    assert titles(redis_client) == []
    assert not OutboxMessage.objects.exists()


def test_what_redis_did_not_take_goes_out_later_in_order_and_once(
    redis_client: redis.Redis, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(settings, "REDIS_URL", f"unix://{tmp_path}/nobody.sock")
        nobody = streams.connect()
        away.setattr(outbox, "redis_client", lambda: nobody)
        for title in ("one", "two"):
            with transaction.atomic():
                tell(title)
        with pytest.raises(redis.RedisError):
            outbox.relay()
    assert titles(redis_client) == []
    assert list(OutboxMessage.objects.values_list("sent_at", flat=True)) == [None, None]
    assert outbox.relay() == 2
    assert titles(redis_client) == ["one", "two"]


def test_the_relay_publishes_what_is_unpublished_once(redis_client: redis.Redis) -> None:
    with pytest.MonkeyPatch.context() as lost:
        lost.setattr(outbox, "_publish_now", lambda _: None)  # the process died between commit and publication
        for title in ("one", "two"):
            tell(title)
    assert titles(redis_client) == []
    assert outbox.relay() == 2
    assert outbox.relay() == 0
    assert titles(redis_client) == ["one", "two"]


def test_a_message_whose_note_was_lost_is_not_published_again(redis_client: redis.Redis) -> None:
    tell()
    OutboxMessage.objects.update(sent_at=None)
    assert outbox.relay() == 1
    assert titles(redis_client) == ["t"]


def test_the_relay_takes_a_part_at_a_time_oldest_first(redis_client: redis.Redis) -> None:
    for number in range(3):
        tell(str(number))
    OutboxMessage.objects.update(sent_at=None)
    redis_client.flushall()
    assert outbox.relay(limit=2) == 2
    assert titles(redis_client) == ["0", "1"]


def test_an_alert_may_be_held_back_for_a_while(redis_client: redis.Redis) -> None:
    def remind() -> None:
        outbox.record_alert_at_most(
            timedelta(minutes=1), "WARN", "reminder", title="t", detail="d", action_taken="none"
        )

    remind()
    remind()
    assert titles(redis_client) == ["t"]
    tell("of another category")
    OutboxMessage.objects.update(created_at=NOON)
    remind()
    assert titles(redis_client) == ["t", "of another category", "t"]


def test_a_long_title_is_cut_and_the_detail_is_whole(redis_client: redis.Redis) -> None:
    outbox.record_alert("CRITICAL", "test", "t" * 500, "d" * 5000, "none")
    payload = OutboxMessage.objects.get().payload
    assert (len(payload["title"]), len(payload["detail"])) == (200, 5000)


def test_a_cancel_goes_to_the_orders_stream(redis_client: redis.Redis) -> None:
    outbox.record_cancel(TradeCancel(client_order_id="c1", symbol="BTC-USDT-SWAP", reason="halt"))
    ((_, fields),) = redis_client.xrange(TRADE_ORDERS)
    assert fields["type"] == "trade_cancel"
