"""What grows is kept in bounds, and nothing that is still needed goes."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.utils import timezone
from pytest_django import Settings

from decisions import housekeeping
from decisions.consumer import STREAMS
from decisions.messages import MARKET_ALERTS, SYSTEM_ALERTS, TRADE_FILLS, TRADE_ORDERS, TRADE_POSITIONS
from decisions.models import InboxMessage, MarketRecord, OrderStatus
from tests.integration.decisions.build import BTC, NOON, group_reader, sent_order, snapshot_payload

pytestmark = pytest.mark.django_db
DAY = 86_400


def _add_at(client: redis.Redis, stream: str, seconds_ago: int) -> str:
    entry_id = f"{int((time.time() - seconds_ago) * 1000)}-0"
    client.xadd(stream, {"n": "1"}, id=entry_id)
    return entry_id


def _left(client: redis.Redis, stream: str) -> list[str]:
    return [entry_id for entry_id, _ in client.xrange(stream)]


@pytest.mark.parametrize("stream", [TRADE_FILLS, TRADE_POSITIONS, SYSTEM_ALERTS])
def test_only_what_is_acknowledged_and_older_than_the_retention_is_trimmed(
    stream: str, redis_client: redis.Redis, settings: Settings
) -> None:
    settings.STREAM_RETENTION_SECONDS = DAY
    old, older_but_pending, pending_behind = (_add_at(redis_client, stream, DAY + ago) for ago in (300, 200, 100))
    young = _add_at(redis_client, stream, 60)
    reader = group_reader(STREAMS)
    for entry in reader.read():
        if entry.entry_id in (old, young):
            reader.acknowledge(entry)
    housekeeping.tidy()
    assert _left(redis_client, stream) == [older_but_pending, pending_behind, young]
    reader.look_behind()
    for entry in reader.read():
        reader.acknowledge(entry)
    housekeeping.tidy()
    assert _left(redis_client, stream) == [young]


def test_what_no_consumer_has_read_is_kept_however_old(redis_client: redis.Redis) -> None:
    unread = _add_at(redis_client, TRADE_FILLS, 30 * DAY)
    housekeeping.tidy()
    group_reader(STREAMS)
    housekeeping.tidy()
    assert _left(redis_client, TRADE_FILLS) == [unread]


def test_streams_trimmed_by_length_are_left_alone(redis_client: redis.Redis) -> None:
    entry = _add_at(redis_client, MARKET_ALERTS, 30 * DAY)
    reader = group_reader(STREAMS)
    reader.acknowledge(reader.read()[0])
    housekeeping.tidy()
    assert _left(redis_client, MARKET_ALERTS) == [entry]


def test_orders_stay_on_their_stream_until_they_are_answered(redis_client: redis.Redis) -> None:
    answered, waiting, behind = (_add_at(redis_client, TRADE_ORDERS, DAY + ago) for ago in (300, 200, 100))
    sent_order(entry_id=answered, status=OrderStatus.FILLED, symbol="ETH-USDT-SWAP")
    order = sent_order(entry_id=waiting, status=OrderStatus.UNKNOWN)
    young = _add_at(redis_client, TRADE_ORDERS, 60)
    housekeeping.tidy()
    assert _left(redis_client, TRADE_ORDERS) == [waiting, behind, young]
    order.status = OrderStatus.EXPIRED
    order.save()
    housekeeping.tidy()
    assert _left(redis_client, TRADE_ORDERS) == [young]


def test_the_inbox_forgets_what_cannot_come_again(redis_client: redis.Redis, settings: Settings) -> None:
    for days, name in ((3, "old"), (1, "young")):
        row = InboxMessage.objects.create(msg_id=name, stream=TRADE_FILLS, entry_id="1-1", type="trade_fill")
        InboxMessage.objects.filter(pk=row.pk).update(received_at=timezone.now() - timedelta(days=days))
    housekeeping.tidy()
    assert list(InboxMessage.objects.values_list("msg_id", flat=True)) == ["young"]


def test_snapshots_age_by_the_market_clock(redis_client: redis.Redis, settings: Settings) -> None:
    """A sandbox that replays last year keeps its newest month, whatever the calendar on the wall says."""
    for days in (0, settings.SNAPSHOT_RETENTION_DAYS, settings.SNAPSHOT_RETENTION_DAYS + 1):
        at = NOON - timedelta(days=days)
        MarketRecord.objects.create(symbol=BTC, at=at, price=20000, payload=snapshot_payload(at=at))
    assert datetime.now(UTC) - NOON > timedelta(days=365)
    housekeeping.tidy()
    assert MarketRecord.objects.count() == 2


def test_a_great_deal_is_deleted_a_part_at_a_time(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    InboxMessage.objects.bulk_create(
        InboxMessage(msg_id=str(number), stream=TRADE_FILLS, entry_id="1-1", type="trade_fill") for number in range(3)
    )
    InboxMessage.objects.update(received_at=timezone.now() - timedelta(days=9))
    housekeeping.tidy()
    assert InboxMessage.objects.count() == 1
    housekeeping.tidy()
    assert InboxMessage.objects.count() == 0


def test_there_may_be_nothing_to_tidy(redis_client: redis.Redis) -> None:
    housekeeping.tidy()
    assert not redis_client.keys("*")
