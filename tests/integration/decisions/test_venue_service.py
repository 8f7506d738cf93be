"""The venue's process on a real Redis: what goes in on the streams comes out on them, once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from decisions.messages import (
    MARKET_SNAPSHOTS,
    TRADE_FILLS,
    TRADE_ORDERS,
    TRADE_POSITIONS,
    FundingPayment,
    Indicators,
    MarketSnapshot,
    PositionUpdate,
    Timeframes,
    TradeCancel,
    TradeFill,
    TradeOrder,
    decode,
    encode,
    parse,
    wrap,
)
from decisions.sandbox.ledger import Ledger
from decisions.sandbox.ledger_report import read_ledger
from decisions.sandbox.venue import VenueTerms
from decisions.sandbox.venue_reader import BATCH
from decisions.sandbox.venue_service import VenueService
from orchestrator_project import streams
from orchestrator_project.streams import connect_reader
from tests.unit.decisions.venue_scene import BAR, BTC, ETH, INSTRUMENT, START, WALL, D, order

PROJECT = Path(__file__).resolve().parents[3]
NO_INDICATORS = Indicators(**dict.fromkeys(Indicators.model_fields))


def _snapshot(price: object, at: datetime = START, symbol: str = BTC, **bar: Any) -> Any:
    """The stream and envelope of a snapshot, with a bar where its members are given."""
    message = MarketSnapshot(
        symbol=symbol,
        timestamp=at,
        price=D(price),
        mark_price=D(price),
        bid=D(price) - D("0.1"),
        ask=D(price) + D("0.1"),
        indicators=Timeframes(m15=NO_INDICATORS, h1=NO_INDICATORS, h4=NO_INDICATORS),
        instrument=INSTRUMENT,
        **dict.fromkeys(
            ("change_24h", "price_change_1h", "volume_24h", "volume_vs_avg", "funding_rate", "next_funding_at",
             "open_interest", "oi_change_4h", "regime")
        ),
    )  # fmt: skip
    envelope = wrap(message, msg_id=f"{symbol}-{at.isoformat()}", source="test", now=WALL)
    if bar:
        envelope.payload["bar"] = {"open_at": (at - BAR).isoformat(), "seconds": 300, "volume": "1000"} | bar
    return MARKET_SNAPSHOTS, envelope


def _sent(message: TradeOrder | TradeCancel, msg_id: str | None = None) -> Any:
    return TRADE_ORDERS, wrap(message, msg_id=msg_id or message.client_order_id, source="test", now=WALL)


@pytest.fixture
def client(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client as the venue has it, of the emptied Redis."""
    with connect_reader(0.5) as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = _opened(tmp_path)
    yield ledger
    ledger.close()


def _opened(folder: Path, start_equity: object = 10000) -> Ledger:
    terms = VenueTerms(slippage=D(0))
    return Ledger.open(folder / "ledger.sqlite3", start_equity=D(start_equity), terms=terms)


def _service(client: redis.Redis, ledger: Ledger) -> VenueService:
    return VenueService(client, ledger, wall_now=lambda: WALL)


def publish_many(client: redis.Redis, messages: Any) -> None:
    """Publish at once, and be back in the next millisecond of the server: of entries of one the venue takes
    prices first, whatever was published before what."""
    newest = max(streams.entry_order(entry_id) for entry_id in streams.publish_many(client, messages))
    while _milliseconds(client) <= newest[0]:
        pass


def _milliseconds(client: redis.Redis) -> int:
    seconds, microseconds = client.time()  # type: ignore[misc]
    return int(seconds) * 1000 + int(microseconds) // 1000


def _drain(service: VenueService) -> None:
    while service.work(block_seconds=0.01):
        pass


def _read(client: redis.Redis, stream: str) -> list[Any]:
    entries: Any = client.xrange(stream)
    return [parse(stream, decode(fields)) for _, fields in entries]


def _fills(client: redis.Redis) -> list[TradeFill]:
    return [message for message in _read(client, TRADE_FILLS) if isinstance(message, TradeFill)]


def _updates(client: redis.Redis) -> list[PositionUpdate]:
    return _read(client, TRADE_POSITIONS)


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.01)


def test_nothing_is_said_before_the_first_price_and_then_the_start_equity(client: redis.Redis, ledger: Ledger) -> None:
    service = _service(client, ledger)
    service.work(block_seconds=0.01)
    assert client.exists(TRADE_POSITIONS) == 0
    publish_many(client, [_snapshot(20000)])
    _drain(service)
    (update,) = _updates(client)
    assert (update.account.equity, update.as_of, update.positions) == (D(10000), START, ())


def test_the_snapshots_of_one_moment_lead_to_one_update(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _snapshot(1500, symbol=ETH)])
    publish_many(client, [_snapshot(20100, START + BAR), _snapshot(1510, START + BAR, ETH)])
    _drain(_service(client, ledger))
    assert [update.as_of for update in _updates(client)] == [START, START + BAR]


def test_an_order_is_filled_and_an_update_follows_in_the_same_moment(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _sent(order("OPEN_LONG", 10, stop_loss=19000))])
    _drain(_service(client, ledger))
    (fill,) = _fills(client)
    assert (fill.status, fill.fill_price, fill.stop_confirmed) == ("filled", D(20000), True)
    before, after = _updates(client)
    assert before.positions == ()
    assert after.positions[0].size == D(10)
    assert after.recent_fills == (fill,)
    assert (after.as_of, after.account.equity) == (START, D(9999))


def test_entries_of_both_streams_are_taken_in_the_order_in_which_they_came(client: redis.Redis, ledger: Ledger) -> None:
    middle = BATCH + 10  # beyond the first batch of the one stream
    for number in range(BATCH + 20):
        _, snapshot = _snapshot(20000 + number, START + number * BAR)
        client.xadd(MARKET_SNAPSHOTS, encode(snapshot), id=f"{2 * number + 1}-0")  # type: ignore[arg-type]
    client.xadd(TRADE_ORDERS, encode(_sent(order())[1]), id=f"{2 * middle + 2}-0")  # type: ignore[arg-type]
    _drain(_service(client, ledger))
    (fill,) = _fills(client)
    assert fill.fill_price == D(20000 + middle)


def test_of_one_millisecond_prices_come_before_orders(client: redis.Redis, ledger: Ledger) -> None:
    client.xadd(TRADE_ORDERS, encode(_sent(order())[1]), id="1-0")  # type: ignore[arg-type]
    for number in range(3):
        _, snapshot = _snapshot(20000 + number, START + number * BAR)
        client.xadd(MARKET_SNAPSHOTS, encode(snapshot), id=f"1-{number}")  # type: ignore[arg-type]
    _drain(_service(client, ledger))
    assert [fill.fill_price for fill in _fills(client)] == [D(20002)]


def test_bar_and_funding_come_with_the_snapshot(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _sent(order("OPEN_LONG", 10, stop_loss=19000))])
    at = START + BAR
    funding = {"rate": "0.0001", "settles_at": at.isoformat()}
    publish_many(
        client, [_snapshot(20000, at, open="20000", high="20000", low="19500", close="20000", funding=funding)]
    )
    publish_many(client, [_snapshot(20000, at + BAR, open="20000", high="20000", low="18900", close="20000")])
    _drain(_service(client, ledger))
    opened, payment, stopped = _read(client, TRADE_FILLS)
    assert isinstance(payment, FundingPayment)
    assert (opened.intent, payment.amount_usd, stopped.exit_reason) == ("open", D("-0.2"), "stop_loss")
    assert _updates(client)[-1].recent_fills == (opened, payment, stopped)


def test_orders_rest_and_are_cancelled(client: redis.Redis, ledger: Ledger) -> None:
    cancel = TradeCancel(client_order_id="order1", symbol=BTC, reason="halt")
    publish_many(client, [_snapshot(20000), _sent(order(limit_price=19000)), _sent(cancel, "cancel")])
    _drain(_service(client, ledger))
    assert [fill.status for fill in _fills(client)] == ["accepted", "cancelled"]
    assert [len(update.open_orders) for update in _updates(client)] == [0, 1, 0]


def test_a_market_order_that_arrives_late_is_not_executed(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _sent(order(expires_at=WALL - timedelta(seconds=1)))])
    _drain(_service(client, ledger))
    assert [fill.status for fill in _fills(client)] == ["expired"]


def test_an_order_that_comes_twice_is_executed_once(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _sent(order(), "first"), _sent(order(), "second")])
    _drain(_service(client, ledger))
    assert len(_fills(client)) == 1
    assert len(read_ledger(ledger.path).orders) == 1


def test_a_restart_goes_on_and_says_nothing_twice(client: redis.Redis, tmp_path: Path) -> None:
    first = _opened(tmp_path)
    publish_many(client, [_snapshot(20000), _sent(order())])
    _drain(_service(client, first))
    first.close()
    said = client.xlen(TRADE_FILLS)

    second = _opened(tmp_path)
    service = _service(client, second)
    publish_many(
        client, [_sent(order(), "again"), _snapshot(20500, START + BAR), _sent(order("CLOSE", client_order_id="x"))]
    )
    _drain(service)
    assert client.xlen(TRADE_FILLS) == said + 1
    assert _fills(client)[-1].pnl_usd == D(50)
    second.close()


def test_what_was_committed_but_not_published_is_published_once_at_the_next_start(
    client: redis.Redis, redis_client: redis.Redis, tmp_path: Path
) -> None:
    ledger = _opened(tmp_path)
    publish_many(client, [_snapshot(20000), _sent(order())])
    redis_client.acl_setuser("mute", enabled=True, nopass=True, keys="*", commands=["+@all", "-eval"])
    with (
        redis.Redis.from_url(settings.REDIS_URL, username="mute", password="") as mute,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        _service(mute, ledger).work(block_seconds=0.01)
    redis_client.acl_deluser("mute")
    ledger.close()
    assert client.exists(TRADE_FILLS) == 0

    (tmp_path / "died").mkdir()  # the same ledger, of a process that died between publishing and noting it
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as source:
        source.backup(sqlite3.connect(tmp_path / "died" / "ledger.sqlite3"))
    for folder in (tmp_path, tmp_path / "died"):
        again = _opened(folder)
        _service(client, again).publish()
        again.close()
    assert [fill.status for fill in _fills(client)] == ["filled"]
    assert len(_updates(client)) == 2


GARBAGE: list[tuple[str, dict[str, str]]] = [
    (TRADE_ORDERS, {"no": "envelope"}),
    (TRADE_ORDERS, {"data": "{not json"}),
    (TRADE_ORDERS, {"data": "x" * 1_000_000}),
    (MARKET_SNAPSHOTS, {"data": '{"msg_id": "1", "payload": NaN}'}),
    (TRADE_ORDERS, encode(_snapshot(20000)[1])),  # a snapshot among the orders
    (MARKET_SNAPSHOTS, encode(_snapshot(20000, START + BAR, open="1", high="1", low="2", close="1")[1])),
    (MARKET_SNAPSHOTS, encode(_snapshot(20000, START + BAR, open="NaN", high="1", low="1", close="1")[1])),
]


def test_garbage_is_counted_and_the_next_good_message_is_handled(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000)])
    for stream, fields in GARBAGE:
        client.xadd(stream, fields)  # type: ignore[arg-type]
    publish_many(client, [_sent(order())])
    _drain(_service(client, ledger))
    assert [fill.status for fill in _fills(client)] == ["filled"]
    assert ledger.bad_entries == len(GARBAGE)


def test_a_message_whose_figures_cannot_be_said_is_taken_back(client: redis.Redis, ledger: Ledger) -> None:
    publish_many(client, [_snapshot(20000), _snapshot(1500, symbol=ETH), _sent(order("OPEN_LONG", 10))])
    at = START + BAR
    absurd = {"rate": "-100000000000", "settles_at": at.isoformat()}
    bar = dict.fromkeys(("open", "high", "low", "close"), "20000")
    publish_many(client, [_snapshot(1600, at, ETH), _snapshot(20000, at, **bar, funding=absurd)])
    _drain(_service(client, ledger))
    assert ledger.bad_entries == 1
    account = ledger.account()
    assert (account.equity, account.balance) == (D(9999), D(9999))
    assert account.state.quotes[ETH].price == D(1600)
    assert account.state.quotes[BTC].at == START


def test_an_order_whose_effect_cannot_be_said_was_never_seen(client: redis.Redis, tmp_path: Path) -> None:
    ledger = _opened(tmp_path, "1e11")
    absurd = order(size="4e10", leverage=100)  # worth 8e12 USD, beyond what a message can say
    late = order(client_order_id="late", expires_at=WALL - timedelta(seconds=1))
    publish_many(client, [_snapshot(20000), _sent(late), _sent(absurd, "absurd"), _sent(order(), "sensible")])
    _drain(_service(client, ledger))
    assert ledger.bad_entries == 1
    assert [(fill.client_order_id, fill.status) for fill in _fills(client)] == [
        ("late", "expired"),
        ("order1", "filled"),
    ]
    assert [*ledger.account().state.seen] == ["late", "order1"]
    ledger.close()


class _Measured(Ledger):
    """A ledger that notes how large the states are that it is given."""

    sizes: list[int]

    def commit(self, **told: Any) -> Any:
        self.sizes.append(len(json.dumps(told["state"])))
        return super().commit(**told)


def test_what_is_kept_for_a_step_does_not_grow_with_the_orders_seen(client: redis.Redis, tmp_path: Path) -> None:
    ledger = _Measured.open(tmp_path / "ledger.sqlite3", start_equity=D(10000), terms=VenueTerms())
    ledger.sizes = []
    service = _service(client, ledger)
    publish_many(client, [_snapshot(20000)])
    late = WALL - timedelta(seconds=1)
    for number in range(100):
        publish_many(client, [_sent(order(client_order_id=f"order{number}", expires_at=late))])
        assert service.work(block_seconds=1) >= 1
    assert len(ledger.account().state.seen) == 100
    assert max(ledger.sizes) - min(ledger.sizes) < 10  # digits of the counter
    ledger.close()


def test_an_emptied_redis_does_not_stop_the_venue(client: redis.Redis, ledger: Ledger) -> None:
    service = _service(client, ledger)
    publish_many(client, [_snapshot(20000), _sent(order())])
    _drain(service)
    client.flushall()
    publish_many(client, [_snapshot(20500, START + BAR), _sent(order("CLOSE", client_order_id="close"))])
    _drain(service)
    (fill,) = _fills(client)
    assert (fill.intent, fill.pnl_usd) == ("close", D(50))


def test_streams_that_begin_again_with_older_ids_are_followed(client: redis.Redis, ledger: Ledger) -> None:
    service = _service(client, ledger)
    publish_many(client, [_snapshot(20000), _sent(order())])
    _drain(service)
    client.flushall()
    client.xadd(TRADE_ORDERS, encode(_sent(order("CLOSE", client_order_id="close"))[1]), id="5-1")  # type: ignore[arg-type]
    assert service.work(block_seconds=0.01) == 0
    assert service.work(block_seconds=0.01) == 1
    assert [fill.intent for fill in _fills(client)] == ["close"]


def test_a_cut_connection_is_made_again(client: redis.Redis, redis_client: redis.Redis, tmp_path: Path) -> None:
    stop = threading.Event()

    def run() -> None:
        ledger = _opened(tmp_path)
        _service(client, ledger).run(stop)
        ledger.close()

    thread = threading.Thread(target=run)
    publish_many(client, [_snapshot(20000)])
    thread.start()
    try:
        _until(lambda: redis_client.exists(TRADE_POSITIONS))
        assert redis_client.client_kill_filter(_type="normal", skipme=True) >= 1
        redis_client.xadd(TRADE_ORDERS, encode(_sent(order())[1]))  # type: ignore[arg-type]
        _until(lambda: redis_client.exists(TRADE_FILLS))
    finally:
        stop.set()
        thread.join()


# --- the command --------------------------------------------------------------------------------------------------


def _command(local_dir: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "LOCAL_DIR": str(local_dir),
        "REDIS_URL": settings.REDIS_URL,
        "DATABASE_URL": "postgres://orchestrator@localhost/none",
        "PYTHONPATH": str(PROJECT),
    }
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "manage.py"), "venue", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_serves_until_it_is_terminated_and_its_ledger_can_be_read(
    client: redis.Redis, tmp_path: Path, settings: Settings
) -> None:
    process = _command(tmp_path, "--equity", "5000", "--slippage", "0")
    publish_many(client, [_snapshot(20000)])
    _until(lambda: client.exists(TRADE_POSITIONS))
    publish_many(client, [_sent(order(expires_at=datetime(2100, 1, 1, tzinfo=WALL.tzinfo)))])
    _until(lambda: client.exists(TRADE_FILLS))

    second = _command(tmp_path, "--equity", "5000")
    _, err = second.communicate(timeout=60)
    assert "in use by another venue" in err
    assert len(err.strip().splitlines()) == 1
    assert second.returncode == 2

    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out.splitlines()[-1]) == (0, "The sandbox venue has stopped.")

    settings.LOCAL_DIR = tmp_path
    shown = StringIO()
    call_command("venue", "--ledger", stdout=shown)
    figures = dict(line.split() for line in shown.getvalue().splitlines())
    assert (figures["balance"], figures["difference"], figures["executions"]) == ("4999.0000", "0.0000", "1")
    shown = StringIO()
    call_command("venue", "--ledger", "--json", stdout=shown)
    assert json.loads(shown.getvalue())["balance"] == "4999.0000"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--equity", "0"), "--equity 0"),
        (("--equity", "much"), "--equity much: not a number"),
        (("--equity", "NaN"), "--equity NaN: not a finite number"),
        (("--taker-fee", "5"), "--taker-fee 5: a fraction"),
        (("--ledger",), "no venue ledger at"),
    ],
)
def test_a_persons_mistake_is_told_with_exit_code_2(
    tmp_path: Path, settings: Settings, arguments: tuple[str, ...], complaint: str
) -> None:
    settings.LOCAL_DIR = tmp_path
    with pytest.raises(CommandError, match=complaint) as told:
        call_command("venue", *arguments)
    assert told.value.returncode == 2


def test_the_stand_in_does_not_run_beside_the_real_trade_server(tmp_path: Path, settings: Settings) -> None:
    settings.LOCAL_DIR, settings.SANDBOX = tmp_path, False
    with pytest.raises(CommandError, match="SANDBOX is false"):
        call_command("venue")
