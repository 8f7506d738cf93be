"""The consumer on real Redis and Postgres: good messages take effect once, bad ones are kept, nothing is stopped."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
import redis
from django.db import InterfaceError, InternalError, OperationalError, connection, connections
from django.db import models as django_models

from decisions import consumer as consumer_module
from decisions.consumer import GROUP, MOST_DELIVERIES, PASSING, STREAMS, Consumer
from decisions.messages import (
    LONGEST_ENTRY,
    MARKET_ALERTS,
    MARKET_SNAPSHOTS,
    SYSTEM_ALERTS,
    TRADE_FILLS,
    TRADE_POSITIONS,
    MarketAlert,
)
from decisions.models import (
    Command,
    DeadLetter,
    Fill,
    FundingPayment,
    InboxMessage,
    MarketAlertRecord,
    MarketRecord,
    OutboxMessage,
)
from journal.models import AccountUpdate, Trade
from orchestrator_project.streams import backlog
from risk.models import RiskState
from tests.integration.decisions.build import (
    NOON,
    add,
    add_raw,
    command_payload,
    entry_fields,
    fill_payload,
    funding_payload,
    group_reader,
    market_alert_payload,
    position_update_payload,
    sent_order,
    snapshot_payload,
)

pytestmark = pytest.mark.django_db

Spoiler = Callable[[str, dict[str, Any]], dict[Any, Any]]
"""Makes the fields of a bad entry from a type and a good payload."""

GOOD: dict[str, tuple[str, Callable[..., dict[str, Any]], type[django_models.Model]]] = {
    MARKET_SNAPSHOTS: ("market_snapshot", snapshot_payload, MarketRecord),
    MARKET_ALERTS: ("market_alert", market_alert_payload, MarketAlertRecord),
    TRADE_FILLS: ("trade_fill", fill_payload, Fill),
    TRADE_POSITIONS: ("position_update", position_update_payload, AccountUpdate),
    SYSTEM_ALERTS: ("system_command", lambda: command_payload("halt", reason="drill"), Command),
}
"""Of each stream: a message that is taken in, and the table that shows it."""


@pytest.fixture
def at_work(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """A consumer in this process. Where the test's own transaction is to be rolled back, the connection must stay."""
    if connection.in_atomic_block:
        monkeypatch.setattr(consumer_module, "close_old_connections", lambda: None)
    return Consumer(group_reader(STREAMS))


@pytest.fixture
def contract_terms() -> None:
    """An adopted position needs the contract's terms, which a snapshot brings."""
    MarketRecord.objects.create(symbol="BTC-USDT-SWAP", at=NOON - timedelta(hours=1), price=20000,
                                payload=snapshot_payload())  # fmt: skip


def handle_all(consumer: Consumer, client: redis.Redis) -> None:
    """Work until every entry is acknowledged."""
    for _ in range(200):
        if all(backlog(consumer.reader.client, stream, GROUP) == 0 for stream in STREAMS):
            return
        consumer.step()
    pytest.fail("entries are left that nobody acknowledges")


def _as_text(text: str) -> Spoiler:
    return lambda message_type, good: entry_fields(message_type, good, payload=text)


def _first_key_missing(message_type: str, good: dict[str, Any]) -> dict[str, Any]:
    return entry_fields(message_type, dict(list(good.items())[1:]))


def _in_every_value(value: Any) -> Spoiler:
    return lambda message_type, good: entry_fields(message_type, dict.fromkeys(good, value))


GARBAGE: dict[str, Spoiler] = {
    "not JSON": _as_text("{price: cheap"),
    "empty": _as_text(""),
    "a list": _as_text("[]"),
    "NaN": _as_text('{"price": NaN, "symbol": "BTC-USDT-SWAP"}'),
    "Infinity": _as_text('{"value": Infinity}'),
    "nested deeply": _as_text("[" * 50_000 + "]" * 50_000),
    "digits without end": _as_text('{"price": ' + "9" * 10_000 + "}"),
    "wrong types": _in_every_value({"un": ["expected"]}),
    "booleans": _in_every_value(True),
    "numbers of 400 digits": _in_every_value("1e400"),
    "numbers of 40 digits": _in_every_value("1234567890" * 4),
    "NUL characters": _in_every_value("a\x00b"),
    "lone surrogates": _in_every_value("\ud800"),
    "surrogate keys": lambda message_type, _: entry_fields(message_type, {"\ud800": 1}),
    "first key missing": _first_key_missing,
    "every key missing": _as_text("{}"),
    "one megabyte": _as_text(json.dumps({"detail": "x" * 1_000_000})),
    "not UTF-8": lambda message_type, good: {**entry_fields(message_type, good), b"payload": b"\xff\xfe\x00"},
    "not UTF-8 in a key": lambda *_: {b"\xff": b"1"},
    "NUL in msg_id": lambda message_type, good: entry_fields(message_type, good, msg_id="a\x00b"),
    "no msg_id": lambda message_type, good: {
        key: value for key, value in entry_fields(message_type, good).items() if key != "msg_id"
    },
    "unknown type": lambda _, good: entry_fields("weather_report", good),
    "type of another stream": lambda _, good: entry_fields("trade_order", good),
    "data not an object": lambda *_: {"data": '"hello"'},
    "data not JSON": lambda *_: {"data": "hello"},
    "unrelated fields": lambda *_: {"hello": "world"},
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("stream", STREAMS)
def test_garbage_is_kept_whole_with_its_reason_and_the_next_message_is_handled(
    stream: str,
    garbage: Spoiler,
    at_work: Consumer,
    redis_client: redis.Redis,
    contract_terms: None,
) -> None:
    message_type, payload, table = GOOD[stream]
    fields = garbage(message_type, payload())
    entry_id = add_raw(redis_client, stream, fields)
    before = table._default_manager.count()
    add(redis_client, stream, message_type, payload())
    handle_all(at_work, redis_client)

    letter = DeadLetter.objects.get()
    assert (letter.stream, letter.entry_id, letter.deliveries) == (stream, entry_id, 1)
    assert letter.reason
    assert letter.raw == json.dumps(_escaped(fields))
    assert table._default_manager.count() == before + 1
    alert = OutboxMessage.objects.get(category=f"dead_letter:{stream}")
    assert (alert.severity, alert.stream) == ("WARN", SYSTEM_ALERTS)
    assert entry_id in alert.payload["detail"]


def _escaped(fields: dict[Any, Any]) -> dict[str, str]:
    def text(value: str | bytes) -> str:
        return (value.encode() if isinstance(value, str) else value).decode(errors="backslashreplace")

    return {text(key): text(value) for key, value in fields.items()}


WRONG_SYMBOLS: dict[str, tuple[str, dict[str, Any], str]] = {
    MARKET_SNAPSHOTS: ("market_snapshot", snapshot_payload("DOGE-USDT-SWAP"), "DOGE-USDT-SWAP is not traded here"),
    MARKET_ALERTS: ("market_alert", market_alert_payload(symbol="DOGE-USDT-SWAP"), "is not traded here"),
    TRADE_FILLS: ("trade_fill", fill_payload(symbol="DOGE-USDT-SWAP"), "contract terms of DOGE-USDT-SWAP"),
    TRADE_POSITIONS: (
        "position_update", position_update_payload(positions=[{"symbol": "doge"}]), "positions.0.symbol"),
}  # fmt: skip


@pytest.mark.parametrize("stream", WRONG_SYMBOLS)
def test_a_symbol_that_is_not_ours_is_kept_with_the_reason(
    stream: str, at_work: Consumer, redis_client: redis.Redis
) -> None:
    message_type, payload, reason = WRONG_SYMBOLS[stream]
    add(redis_client, stream, message_type, payload)
    handle_all(at_work, redis_client)
    assert reason in DeadLetter.objects.get().reason


@pytest.mark.parametrize("stream", STREAMS)
def test_a_message_that_comes_again_under_another_entry_takes_effect_once(
    stream: str, at_work: Consumer, redis_client: redis.Redis, contract_terms: None
) -> None:
    message_type, payload, table = GOOD[stream]
    before = table._default_manager.count()
    fields = entry_fields(message_type, payload())
    first, again = add_raw(redis_client, stream, fields), add_raw(redis_client, stream, fields)
    handle_all(at_work, redis_client)
    assert table._default_manager.count() == before + 1
    letter = DeadLetter.objects.get()
    assert letter.entry_id == again
    assert letter.reason == f"message {fields['msg_id']} came before, as entry {first} of {stream}"


def test_a_message_id_used_on_another_stream_is_a_duplicate_even_under_the_same_entry_id(
    at_work: Consumer, redis_client: redis.Redis
) -> None:
    snapshot = entry_fields("market_snapshot", snapshot_payload(), msg_id="same")
    alert = entry_fields("market_alert", market_alert_payload(), msg_id="same")
    redis_client.xadd(MARKET_SNAPSHOTS, snapshot, id="1-1")
    redis_client.xadd(MARKET_ALERTS, alert, id="1-1")
    handle_all(at_work, redis_client)
    assert MarketRecord.objects.count() + MarketAlertRecord.objects.count() == 1
    assert "came before, as entry 1-1 of market:" in DeadLetter.objects.get().reason


def test_an_entry_whose_acknowledgement_was_lost_takes_effect_once_and_is_no_dead_letter(
    at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    with monkeypatch.context() as lost:
        lost.setattr(at_work.reader, "acknowledge", lambda _: None)
        assert at_work.step() == 1
    assert backlog(at_work.reader.client, MARKET_ALERTS, GROUP) == 1

    restarted = Consumer(group_reader(STREAMS))
    handle_all(restarted, redis_client)
    assert MarketAlertRecord.objects.count() == 1
    assert not DeadLetter.objects.exists()


def test_a_bad_entry_whose_acknowledgement_was_lost_is_buried_and_told_once(
    at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_raw(redis_client, TRADE_FILLS, {"hello": "world"})
    with monkeypatch.context() as lost:
        lost.setattr(at_work.reader, "acknowledge", lambda _: None)
        at_work.step()
    handle_all(Consumer(group_reader(STREAMS)), redis_client)
    assert DeadLetter.objects.count() == 1
    assert OutboxMessage.objects.count() == 1


def test_both_forms_of_an_entry_are_read(at_work: Consumer, redis_client: redis.Redis) -> None:
    fields = entry_fields("market_alert", market_alert_payload())
    whole = {**fields, "payload": json.loads(fields["payload"]), "metadata": {}, "msg_id": "another"}
    add_raw(redis_client, MARKET_ALERTS, fields)
    add_raw(redis_client, MARKET_ALERTS, {"data": json.dumps(whole)})
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 2
    assert not DeadLetter.objects.exists()


def test_alerts_on_the_system_stream_are_ignored(at_work: Consumer, redis_client: redis.Redis) -> None:
    alert = {"severity": "INFO", "category": "x", "title": "t", "detail": "d", "action_taken": "none"}
    add(redis_client, SYSTEM_ALERTS, "system_alert", alert)
    handle_all(at_work, redis_client)
    assert not InboxMessage.objects.exists()
    assert not DeadLetter.objects.exists()


def test_dead_letters_alert_once_a_minute_for_each_stream(at_work: Consumer, redis_client: redis.Redis) -> None:
    for stream in (TRADE_FILLS, TRADE_POSITIONS):
        for _ in range(20):
            add_raw(redis_client, stream, {"hello": "world"})
    handle_all(at_work, redis_client)
    assert DeadLetter.objects.count() == 40
    assert sorted(OutboxMessage.objects.values_list("category", flat=True)) == [
        f"dead_letter:{TRADE_FILLS}", f"dead_letter:{TRADE_POSITIONS}",
    ]  # fmt: skip

    OutboxMessage.objects.update(created_at=NOON)  # long ago
    add_raw(redis_client, TRADE_FILLS, {"hello": "world"})
    handle_all(at_work, redis_client)
    assert OutboxMessage.objects.filter(category=f"dead_letter:{TRADE_FILLS}").count() == 2


def test_an_entry_just_short_of_the_limit_is_read(at_work: Consumer, redis_client: redis.Redis) -> None:
    padding = "x" * (LONGEST_ENTRY - 2000)
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(remark=padding))
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1


@pytest.mark.parametrize(
    ("words", "kept"), [("out of the blue", "out of the blue"), ("a\x00b \ud800", "a\\x00b \\ud800")]
)
def test_a_message_that_no_handler_survives_is_buried_and_the_next_is_handled(
    words: str, kept: str, at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = consumer_module.HANDLERS[MarketAlert]

    def handler(message: MarketAlert) -> None:
        taken(message)
        if message.kind == "poison":
            raise ZeroDivisionError(words)

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind="poison"))
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind="price_spike"))
    handle_all(at_work, redis_client)
    assert DeadLetter.objects.get().reason == f"ZeroDivisionError: {kept}"
    assert MarketAlertRecord.objects.get().kind == "price_spike"  # nothing is left of the half that was done
    assert InboxMessage.objects.count() == 1


def test_a_dead_peers_entries_take_effect(at_work: Consumer, redis_client: redis.Redis) -> None:
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    assert len(at_work.reader.read()) == 1  # and then it died
    peer = Consumer(group_reader(STREAMS, consumer="two", claim_after_seconds=0.0))
    handle_all(peer, redis_client)
    assert MarketAlertRecord.objects.count() == 1


def test_what_comes_after_the_loss_of_all_streams_is_handled(at_work: Consumer, redis_client: redis.Redis) -> None:
    at_work.step()
    redis_client.flushall()
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1


def test_a_fill_that_is_booked_already_is_acknowledged_without_a_word(
    at_work: Consumer, redis_client: redis.Redis, contract_terms: None
) -> None:
    fill = fill_payload()
    for _ in range(2):
        add(redis_client, TRADE_FILLS, "trade_fill", fill)
    handle_all(at_work, redis_client)
    assert (Fill.objects.count(), Trade.objects.get().size) == (1, 2)
    assert not DeadLetter.objects.exists()
    assert not OutboxMessage.objects.filter(category__startswith="dead_letter").exists()


def test_a_fill_of_the_same_id_that_says_something_else_is_buried(
    at_work: Consumer, redis_client: redis.Redis, contract_terms: None
) -> None:
    fill = fill_payload()
    add(redis_client, TRADE_FILLS, "trade_fill", fill)
    add(redis_client, TRADE_FILLS, "trade_fill", {**fill, "fill_price": "20001"})
    handle_all(at_work, redis_client)
    assert (Fill.objects.count(), DeadLetter.objects.count()) == (1, 1)


def test_redis_emptied_under_the_consumer_costs_what_was_on_it_and_nothing_that_comes_after(
    at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With entries read and not acknowledged, and others not read yet."""
    taken = consumer_module.HANDLERS[MarketAlert]

    def handler(message: MarketAlert) -> None:
        taken(message)
        if message.kind == "first":
            redis_client.flushall()
            add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind="afterwards"))

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    for kind in ("first", "second"):
        add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind=kind))
    handle_all(at_work, redis_client)
    kinds = list(MarketAlertRecord.objects.order_by("id").values_list("kind", flat=True))
    assert kinds == ["first", "second", "afterwards"]
    assert [backlog(at_work.reader.client, stream, GROUP) for stream in STREAMS] == [0] * len(STREAMS)
    assert not DeadLetter.objects.exists()


def test_stopping_leaves_the_rest_of_the_batch_to_the_next_start(at_work: Consumer, redis_client: redis.Redis) -> None:
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    at_work.stop()
    at_work.step()
    assert not MarketAlertRecord.objects.exists()
    handle_all(Consumer(group_reader(STREAMS)), redis_client)
    assert MarketAlertRecord.objects.count() == 1


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[psycopg.Connection]:
    """A second session on the test database."""
    parameters = connection.get_connection_params()
    wanted = {key: parameters[key] for key in ("dbname", "user", "host", "port", "password") if parameters.get(key)}
    with psycopg.connect(**wanted, autocommit=True) as other:
        yield other


def _terminate_us(elsewhere: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.django_db(transaction=True)
def test_a_message_that_meets_a_lock_waits_and_takes_effect_later(
    at_work: Consumer, redis_client: redis.Redis, elsewhere: psycopg.Connection
) -> None:
    RiskState.objects.create(account="main")
    add(redis_client, TRADE_POSITIONS, "position_update", position_update_payload())
    add(redis_client, TRADE_POSITIONS, "position_update", position_update_payload(NOON + timedelta(minutes=5)))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with elsewhere.transaction():
        elsewhere.execute("SELECT 1 FROM risk_state FOR UPDATE")
        for _ in range(3):
            with pytest.raises(PASSING):
                at_work.step()
            at_work.reader.look_behind()
    assert not AccountUpdate.objects.exists()
    assert not InboxMessage.objects.exists()

    handle_all(at_work, redis_client)
    assert AccountUpdate.objects.count() == 2
    assert not DeadLetter.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_message_that_never_passes_is_buried_after_five_tries_and_those_behind_it_keep_theirs(
    at_work: Consumer, redis_client: redis.Redis, elsewhere: psycopg.Connection
) -> None:
    RiskState.objects.create(account="main")
    add(redis_client, TRADE_POSITIONS, "position_update", position_update_payload())
    add(redis_client, TRADE_POSITIONS, "position_update", position_update_payload(NOON + timedelta(minutes=5)))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with elsewhere.transaction():
        elsewhere.execute("SELECT 1 FROM risk_state FOR UPDATE")
        for _ in range(MOST_DELIVERIES):
            with pytest.raises(PASSING):
                at_work.step()
            at_work.reader.look_behind()
        assert DeadLetter.objects.count() == 1
    letter = DeadLetter.objects.get()
    assert letter.reason.startswith("failed 5 times: OperationalError: ")
    assert letter.deliveries == MOST_DELIVERIES

    handle_all(at_work, redis_client)
    assert AccountUpdate.objects.get().as_of == NOON + timedelta(minutes=5)


@pytest.mark.django_db(transaction=True)
def test_a_terminated_database_session_costs_no_message(
    at_work: Consumer, redis_client: redis.Redis, elsewhere: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, tries = consumer_module.HANDLERS[MarketAlert], []

    def handler(message: MarketAlert) -> None:
        tries.append(message.kind)
        taken(message)
        if len(tries) == 1:
            _terminate_us(elsewhere)
            MarketAlertRecord.objects.count()

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    for kind in ("one", "two"):
        add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind=kind))
    worker = threading.Thread(target=_run_and_close, args=(at_work,))
    worker.start()
    while backlog(at_work.reader.client, MARKET_ALERTS, GROUP):
        assert worker.is_alive()
    at_work.stop()
    worker.join()
    assert tries == ["one", "one", "two"]
    assert list(MarketAlertRecord.objects.order_by("id").values_list("kind", flat=True)) == ["one", "two"]
    assert not DeadLetter.objects.exists()


def _run_and_close(consumer: Consumer) -> None:
    try:
        consumer.run()
    finally:
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_statement_is_tried_again(
    at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = consumer_module.HANDLERS[MarketAlert]
    patience = iter(["10ms", "0"])

    def handler(message: MarketAlert) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{next(patience)}'")
            cursor.execute("SELECT pg_sleep(0.05)")
        taken(message)

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    with pytest.raises(PASSING):
        at_work.step()
    at_work.reader.look_behind()
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_read_only_for_a_while_costs_no_message(
    at_work: Consumer, redis_client: redis.Redis, elsewhere: psycopg.Connection
) -> None:
    """As while a standby takes over: the consumer waits, and the message's tries are not used up."""
    name = connection.settings_dict["NAME"]
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    elsewhere.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    connection.close()
    try:
        with pytest.raises(PASSING):
            at_work.step()
        with pytest.raises(PASSING):
            consumer_module._write_to_servers(at_work.reader.client)
    finally:
        elsewhere.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        connection.close()
    consumer_module._write_to_servers(at_work.reader.client)
    at_work.reader.look_behind()
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1
    assert not DeadLetter.objects.exists()


class Pauses(threading.Event):
    """Notes how long it should have been waited for, and waits for nothing. Ends the waiting after so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.told = most, []

    def wait(self, timeout: float | None = None) -> bool:
        self.told.append(timeout)
        if len(self.told) >= self.most:
            self.set()
        return self.is_set()


NO_SPACE = """
CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER no_space BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION no_space();
"""


@pytest.mark.django_db(transaction=True)
def test_a_database_without_space_is_waited_for(
    at_work: Consumer, redis_client: redis.Redis, elsewhere: psycopg.Connection
) -> None:
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    at_work.stopping = Pauses(7)
    elsewhere.execute(NO_SPACE)
    try:
        at_work.run()
    finally:
        elsewhere.execute("DROP FUNCTION no_space CASCADE")
    assert at_work.stopping.told == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    at_work.stopping = threading.Event()
    at_work.reader.look_behind()
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1
    assert not DeadLetter.objects.exists()


def test_servers_that_answer_and_still_refuse_what_an_entry_writes_are_waited_for_ever_longer(
    at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, tries = consumer_module.HANDLERS[MarketAlert], count(1)

    def handler(message: MarketAlert) -> None:
        if next(tries) in (1, 2, 3, 5):
            raise OperationalError("could not extend file: No space left on device")
        taken(message)

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    for kind in ("one", "two"):
        add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload(kind=kind))
    at_work.stopping = Pauses(4)
    at_work.run()
    assert at_work.stopping.told == [0.1, 0.2, 0.4, 0.1]
    assert MarketAlertRecord.objects.get().kind == "one"
    assert not InboxMessage.objects.filter(msg_id__startswith="look").exists()


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("the connection is closed"), InterfaceError("connection already closed"),
        InternalError("cannot execute INSERT in a read-only transaction"), redis.BusyLoadingError("LOADING"),
        redis.ReadOnlyError("READONLY"), redis.OutOfMemoryError("OOM"), redis.ResponseError("UNBLOCKED"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_passes_is_tried_again(
    error: Exception, at_work: Consumer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, raised = consumer_module.HANDLERS[MarketAlert], [error]

    def handler(message: MarketAlert) -> None:
        if raised:
            raise raised.pop()
        taken(message)

    monkeypatch.setitem(consumer_module.HANDLERS, MarketAlert, handler)
    add(redis_client, MARKET_ALERTS, "market_alert", market_alert_payload())
    with pytest.raises(PASSING):
        at_work.step()
    at_work.reader.look_behind()
    handle_all(at_work, redis_client)
    assert MarketAlertRecord.objects.count() == 1
    assert not DeadLetter.objects.exists()


# --- out of turn ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "OUT_OF_TURN_PAUSE", 0.01)


def _exit(**changes: Any) -> dict[str, Any]:
    return fill_payload(
        side="sell", intent="close", fill_price="20100", pnl_usd="2", exit_reason="take_profit", **changes
    )


def test_an_exit_before_its_entry_waits_for_it(
    at_work: Consumer, redis_client: redis.Redis, contract_terms: None, short_pause: None
) -> None:
    add(redis_client, TRADE_FILLS, "trade_fill", _exit())
    add(redis_client, TRADE_FILLS, "trade_fill", fill_payload())
    handle_all(at_work, redis_client)
    assert Trade.objects.get().status == Trade.Status.CLOSED
    assert not DeadLetter.objects.exists()


def test_an_exit_whose_entry_does_not_come_holds_nothing_up_and_is_kept_on_its_last_try(
    at_work: Consumer, redis_client: redis.Redis, short_pause: None
) -> None:
    add(redis_client, TRADE_FILLS, "trade_fill", _exit())
    add(redis_client, TRADE_FILLS, "funding_payment", funding_payload())
    at_work.step()
    assert FundingPayment.objects.count() == 1
    assert not Fill.objects.exists()
    handle_all(at_work, redis_client)
    assert Fill.objects.get().waiting is not None
    assert not DeadLetter.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_consumers_book_every_fill_of_one_position_once(
    redis_client: redis.Redis, contract_terms: None, short_pause: None
) -> None:
    """Twenty parts of one order and its exit, each on the stream twice, shared by two consumers."""
    order = sent_order(size="20")
    part = {"status": "partially_filled", "fill_size": "1", "fee_usd": "0.1"}
    parts = [fill_payload(order, cumulative_size=str(number + 1), **part) for number in range(20)]
    for payload in [*parts, _exit(fill_size="20", fee_usd="2")]:
        fields = entry_fields("trade_fill", payload)
        add_raw(redis_client, TRADE_FILLS, fields)
        add_raw(redis_client, TRADE_FILLS, fields)
    consumers = [Consumer(group_reader(STREAMS, consumer=name, batch=3)) for name in ("one", "two")]
    threads = [threading.Thread(target=_run_and_close, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    while backlog(consumers[0].reader.client, TRADE_FILLS, GROUP):
        assert all(thread.is_alive() for thread in threads)
    for consumer, thread in zip(consumers, threads, strict=True):
        consumer.stop()
        thread.join()
    trade = Trade.objects.get()
    assert (trade.status, trade.size, trade.fees_usd) == ("closed", 20, 4)
    assert Fill.objects.count() == 21
    reasons = list(DeadLetter.objects.values_list("reason", flat=True))
    assert len(reasons) == 21
    assert all("came before" in reason for reason in reasons)
