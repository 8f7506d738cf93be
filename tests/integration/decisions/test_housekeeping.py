"""What grows is kept in bounds, and nothing that is still needed goes."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.utils import timezone
from pytest_django import Settings

from decisions import housekeeping, outbox
from decisions.consumer import STREAMS
from decisions.messages import MARKET_ALERTS, SYSTEM_ALERTS, TRADE_FILLS, TRADE_ORDERS, TRADE_POSITIONS
from decisions.models import (
    InboxMessage,
    MarketAlertRecord,
    MarketRecord,
    OrderStatus,
    OutboxMessage,
    ResearchCache,
)
from journal.models import AccountUpdate
from tests.integration.decisions.build import BTC, NOON, group_reader, sent_order, snapshot_payload

pytestmark = pytest.mark.django_db
DAY = 86_400


def _add_at(client: redis.Redis, stream: str, seconds_ago: int) -> str:
    entry_id = f"{int((time.time() - seconds_ago) * 1000)}-0"
    client.xadd(stream, {"n": "1"}, id=entry_id)
    return entry_id


def _left(client: redis.Redis, stream: str) -> list[str]:
    return [entry_id for entry_id, _ in client.xrange(stream)]


@pytest.mark.parametrize("stream", [TRADE_FILLS, SYSTEM_ALERTS])
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


@pytest.mark.parametrize(("retention", "kept_seconds"), [(DAY, 600), (60, 60)])
def test_position_updates_go_after_minutes_once_they_are_acknowledged(
    retention: int, kept_seconds: int, redis_client: redis.Redis, settings: Settings
) -> None:
    settings.STREAM_RETENTION_SECONDS = retention
    _, pending, behind = (_add_at(redis_client, TRADE_POSITIONS, kept_seconds + ago) for ago in (300, 200, 100))
    young = _add_at(redis_client, TRADE_POSITIONS, kept_seconds - 30)
    reader = group_reader(STREAMS)
    entries = reader.read()
    for entry in entries:
        if entry.entry_id != pending:
            reader.acknowledge(entry)
    housekeeping.tidy()
    assert _left(redis_client, TRADE_POSITIONS) == [pending, behind, young]
    reader.acknowledge(entries[1])
    housekeeping.tidy()
    assert _left(redis_client, TRADE_POSITIONS) == [young]


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
    order.status, order.ended_at = OrderStatus.EXPIRED, timezone.now()
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


def test_what_we_told_heard_and_looked_up_goes_after_a_quarter(redis_client: redis.Redis) -> None:
    now = timezone.now()
    for days in (91, 89):
        aged = now - timedelta(days=days)
        outbox.record_alert("WARN", f"told {days}", "title", "detail", "none")
        alert = MarketAlertRecord.objects.create(
            symbol=BTC, kind=f"heard {days}", severity="WARN", detail="", market_time=NOON
        )
        answer = ResearchCache.objects.create(query=f"asked {days}", response_json={}, asked_at=NOON)
        OutboxMessage.objects.filter(category=f"told {days}").update(created_at=aged, sent_at=aged)
        MarketAlertRecord.objects.filter(pk=alert.pk).update(received_at=aged)
        ResearchCache.objects.filter(pk=answer.pk).update(created_at=aged)
    outbox.record_alert("WARN", "never sent", "title", "detail", "none")
    OutboxMessage.objects.filter(category="never sent").update(created_at=now - timedelta(days=200))
    housekeeping.tidy()
    assert set(OutboxMessage.objects.values_list("category", flat=True)) == {"told 89", "never sent"}
    assert [row.kind for row in MarketAlertRecord.objects.all()] == ["heard 89"]
    assert [row.query for row in ResearchCache.objects.all()] == ["asked 89"]


def test_of_the_accounts_history_the_first_report_stays_and_the_last_of_each_old_day(
    redis_client: redis.Redis,
) -> None:
    """Counted by the market clock, as the days of the account are."""
    begun = NOON - timedelta(days=200)
    kept = [
        begun,
        *(NOON - timedelta(days=days, hours=-11) for days in (200, 150, 91)),
        NOON - timedelta(days=89),
        NOON,
    ]
    gone = [NOON - timedelta(days=days, hours=hours) for days in (200, 150, 91) for hours in (-1, -2)]
    for at in sorted([*kept, *gone, NOON - timedelta(days=89, hours=1)]):
        figures = dict.fromkeys(("available", "margin_used", "unrealized_pnl", "net_transfers_usd"), 0)
        AccountUpdate.objects.create(as_of=at, equity=10000, **figures)
    for _ in range(2):
        housekeeping.tidy()
        left = set(AccountUpdate.objects.values_list("as_of", flat=True))
        assert left == {*kept, NOON - timedelta(days=89, hours=1)}


def test_the_accounts_history_is_thinned_out_a_part_at_a_time(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    figures = dict.fromkeys(("equity", "available", "margin_used", "unrealized_pnl", "net_transfers_usd"), 0)
    for minutes in range(6):
        AccountUpdate.objects.create(as_of=NOON - timedelta(days=100, minutes=minutes), **figures)
    AccountUpdate.objects.create(as_of=NOON, **figures)
    for left in (5, 3, 2, 2):
        housekeeping.tidy()
        assert AccountUpdate.objects.count() == left


def test_there_may_be_nothing_to_tidy(redis_client: redis.Redis) -> None:
    housekeeping.tidy()
    assert not redis_client.keys("*")
