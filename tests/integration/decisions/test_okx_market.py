"""Market data of OKX from a real server that answers as the exchange does, well and badly, onto a real Redis."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from decisions.bars import time_of
from decisions.clients import okx as client
from decisions.clients.okx import OkxClient, Stopped
from decisions.messages import MARKET_ALERTS, MARKET_SNAPSHOTS, Envelope, MarketSnapshot, decode, parse
from decisions.models import OutboxMessage
from decisions.okx import published, service
from decisions.okx.pace import Endpoint
from decisions.okx.service import ExchangeClock, OkxMarket, Outcome, next_look
from decisions.sandbox.ledger import Ledger
from decisions.sandbox.venue import VenueTerms
from decisions.sandbox.venue_service import VenueService
from orchestrator_project import streams
from tests.integration.decisions.build import alerts
from tests.integration.decisions.okx_server import Fault, OkxServer, refused, serving
from tests.unit.decisions.okx_exchange import BTC, ETH, FUNDING_MS, STEP_MS, exchange

pytestmark = pytest.mark.django_db

PROJECT = Path(__file__).resolve().parents[3]
ROUND = 30_000


class ServerClock(ExchangeClock):
    """The server's time, asked for in every round: the exchange of these tests jumps."""

    def check(self, client: OkxClient) -> None:
        self._asked_at = None
        super().check(client)


@pytest.fixture(autouse=True)
def one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own transaction lives in the connection that would be closed."""
    monkeypatch.setattr(service, "close_old_connections", lambda: None)


@pytest.fixture
def server() -> Iterator[OkxServer]:
    with serving(OkxServer(exchange(symbols=(BTC, ETH)))) as served:
        yield served


@pytest.fixture
def market(server: OkxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OkxMarket]:
    monkeypatch.setattr(client, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(client, "LONGEST_REST_SECONDS", 2.0)
    with closing(OkxClient(server.url, threading.Event())) as asking:
        yield OkxMarket((BTC, ETH), asking, clock=ServerClock())


def later(server: OkxServer, milliseconds: int = ROUND) -> None:
    server.exchange.now_ms += milliseconds


def by_symbol(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return {outcome.symbol: outcome for outcome in outcomes}


def publish(market: OkxMarket) -> list[Outcome]:
    outcomes = market.round()
    with closing(streams.connect()) as publisher:
        streams.publish_many(publisher, market.envelopes(outcomes))
    return outcomes


def on(redis_client: Any, stream: str) -> list[Envelope]:
    entries = redis_client.xrange(stream)
    return [decode({name.encode(): value.encode() for name, value in fields.items()}) for _, fields in entries]


# --- what is published ------------------------------------------------------------------------------------------------


def test_a_round_publishes_one_snapshot_of_each_instrument(
    server: OkxServer, market: OkxMarket, redis_client: Any
) -> None:
    publish(market)
    envelopes = on(redis_client, MARKET_SNAPSHOTS)
    assert [envelope.payload["symbol"] for envelope in envelopes] == [BTC, ETH]
    assert {envelope.source for envelope in envelopes} == {published.SOURCE}
    snapshot = parse(MARKET_SNAPSHOTS, envelopes[0])
    assert isinstance(snapshot, MarketSnapshot)
    assert snapshot.timestamp == time_of(server.exchange.now_ms)
    assert snapshot.price == server.exchange.price(BTC)
    assert on(redis_client, MARKET_ALERTS) == []


def test_two_services_beside_each_other_publish_a_moment_once(
    server: OkxServer, market: OkxMarket, redis_client: Any
) -> None:
    publish(market)
    with closing(OkxClient(server.url, threading.Event())) as asking:
        publish(OkxMarket((BTC, ETH), asking))
    assert len(on(redis_client, MARKET_SNAPSHOTS)) == 2
    later(server)
    publish(market)
    assert len(on(redis_client, MARKET_SNAPSHOTS)) == 4


def test_no_key_is_ever_sent(server: OkxServer, market: OkxMarket) -> None:
    market.round()
    names = {name for headers in server.headers for name in headers}
    assert names == {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_a_spike_is_told_once(server: OkxServer, market: OkxMarket, redis_client: Any) -> None:
    publish(market)
    server.exchange.funding_rate = "0.0006"
    for _ in range(3):
        later(server)
        publish(market)
    told = on(redis_client, MARKET_ALERTS)
    assert [(alert.payload["symbol"], alert.payload["kind"]) for alert in told] == [
        (BTC, "funding_spike"), (ETH, "funding_spike"),
    ]  # fmt: skip


def test_a_spike_from_before_the_start_is_not_told(server: OkxServer, market: OkxMarket, redis_client: Any) -> None:
    server.exchange.funding_rate = "0.0006"
    publish(market)
    assert on(redis_client, MARKET_ALERTS) == []


def test_open_interest_published_before_is_known_after_a_restart(
    server: OkxServer, market: OkxMarket, redis_client: Any
) -> None:
    publish(market)
    at = time_of(server.exchange.now_ms)
    redis_client.xadd(MARKET_SNAPSHOTS, {"data": "no message"})
    with closing(streams.connect()) as reader:
        known = published.interest(reader, datetime.now(at.tzinfo))
        assert known[BTC].known_at(at) == Decimal(2_500_000_000)
        assert known.keys() == {BTC, ETH}
        assert published.interest(reader, datetime.now(at.tzinfo) + timedelta(hours=6)) == {}


def test_the_sandbox_venue_trades_paper_on_it(
    server: OkxServer, market: OkxMarket, redis_client: Any, tmp_path: Path
) -> None:
    due = (server.exchange.now_ms // FUNDING_MS + 1) * FUNDING_MS
    later(server, due - 10_000 - server.exchange.now_ms)
    ledger = Ledger.open(tmp_path / "ledger.sqlite3", start_equity=Decimal(10_000), terms=VenueTerms())
    with closing(ledger), closing(streams.connect_reader(0.01)) as reader:
        venue = VenueService(reader, ledger)
        for _ in range(3):
            publish(market)
            venue.work(0.01)
            later(server)
    bars: list[Any] = [envelope.payload.get("bar") for envelope in on(redis_client, MARKET_SNAPSHOTS)]
    assert bars[:2] == [None, None]
    assert [bar["funding"] and bar["funding"]["rate"] for bar in bars[2:]] == ["0.00007", "0.00007", None, None]
    newest = on(redis_client, "trade:positions")[-1]
    assert newest.payload["as_of"] == on(redis_client, MARKET_SNAPSHOTS)[-1].payload["timestamp"]


# --- limits -----------------------------------------------------------------------------------------------------------


def test_the_exchange_is_never_asked_too_often() -> None:
    symbols = tuple(f"SIM{number}-USDT-SWAP" for number in range(1, 15))
    with (
        serving(OkxServer(exchange(60, symbols=symbols))) as server,
        closing(OkxClient(server.url, threading.Event())) as asking,
    ):
        market = OkxMarket(symbols, asking, clock=ServerClock())
        outcomes = market.round()
        later(server)
        outcomes += market.round()
    assert [outcome.symbol for outcome in outcomes if outcome.update is None] == []
    assert server.paths().count(Endpoint.MARK_PRICE.path) == 28  # ten in two seconds are allowed
    assert server.too_often == []


def test_an_endpoint_that_was_asked_too_often_rests_for_every_instrument(server: OkxServer, market: OkxMarket) -> None:
    market.round()
    later(server)
    server.faults["market/ticker"] = [refused("50011", status=429, retry_after="1")]
    outcomes = market.round()
    assert all(outcome.update for outcome in outcomes)
    asked = [at for at, path, _ in server.asked if path == "market/ticker"][-3:]
    assert asked[-1] - asked[0] >= 0.9


# --- what goes wrong --------------------------------------------------------------------------------------------------

HANGING = Fault(manner="hangs")


@pytest.mark.parametrize(
    "fault",
    [
        refused("50011"), refused("50001", "Service temporarily unavailable"), refused("50011", status=429),
        Fault(b"busy", 503), Fault(b"<html>", 502), Fault(b"<html>busy</html>"), Fault(b'{"code": "0", "data": [', 200),
        Fault(b"half", manner="breaks"), HANGING, Fault(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda fault: f"{fault.status} {fault.manner} {fault.body[:20]!r}",
)  # fmt: skip
def test_what_passes_is_asked_again_in_the_same_round(server: OkxServer, market: OkxMarket, fault: Fault) -> None:
    server.faults["market/ticker"] = [fault]
    assert [outcome.symbol for outcome in market.round() if outcome.update] == [BTC, ETH]
    assert server.faults["market/ticker"] == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (refused("51000", "Parameter instId error"), "code 51000: Parameter instId error"),
        (
            Fault(status=301, headers={"Location": "https://eea.okx.com/"}),
            "moved to 'https://eea.okx.com/'; set OKX_BASE_URL",
        ),
        (Fault(b"error code: 1010", 403), "HTTP 403: error code: 1010"),
        (refused("50011", status=429, retry_after="3600"), "HTTP 429"),
    ],
)
def test_what_does_not_pass_is_told_and_asked_once(
    server: OkxServer, market: OkxMarket, fault: Fault, told: str
) -> None:
    server.faults[f"market/ticker {BTC}"] = [fault]
    outcome = by_symbol(market.round())[BTC]
    assert outcome.update is None
    assert told in outcome.fault
    assert len([query for _, path, query in server.asked if path == "market/ticker" and query["instId"] == BTC]) == 1


def test_a_row_about_another_instrument_is_told_and_asked_for_again_in_the_next_round(
    server: OkxServer, market: OkxMarket
) -> None:
    wrong = Fault(json.dumps(server.exchange.answer("market/ticker", {"instId": ETH})).encode())
    server.faults[f"market/ticker {BTC}"] = [wrong]
    outcomes = by_symbol(market.round())
    assert f"asked about {BTC}, the answer is about '{ETH}'" in outcomes[BTC].fault
    assert outcomes[ETH].update is not None
    later(server)
    assert by_symbol(market.round())[BTC].update is not None


def test_one_instrument_that_fails_keeps_no_other(server: OkxServer, market: OkxMarket) -> None:
    server.exchange.states[BTC] = "suspend"
    for _ in range(2):
        outcomes = by_symbol(market.round())
        assert outcomes[BTC].update is None
        assert "its state is 'suspend'" in outcomes[BTC].fault
        assert outcomes[ETH].update is not None
        later(server)
    server.exchange.states.clear()
    assert by_symbol(market.round())[BTC].update is not None


def test_an_outage_is_told_once_and_ends_by_itself(server: OkxServer, market: OkxMarket, settings: Any) -> None:
    publish(market)
    settings.MAX_SNAPSHOT_AGE_SECONDS = 0
    server.away = True
    for _ in range(2):
        later(server, 12 * STEP_MS)
        assert [outcome.update for outcome in market.round()] == [None, None]
    told = OutboxMessage.objects.filter(category="market_silent")
    assert sorted(message.metadata["symbol"] for message in told) == [BTC, ETH]
    assert "HTTP 503" in told[0].payload["detail"]
    server.away = False
    server.asked.clear()
    assert all(outcome.update for outcome in market.round())
    candles = [query for _, path, query in server.asked if path == "market/candles"]
    assert [(query["bar"], query["limit"]) for query in candles] == [("5m", "25")] * 2  # what was missed, and no more


def test_a_clock_that_differs_is_told_and_the_exchanges_is_gone_by(server: OkxServer, market: OkxMarket) -> None:
    market.round()
    (alert,) = alerts("market_clock")
    assert "more than a minute ahead" in alert
    assert abs((market.clock.now() - time_of(server.exchange.now_ms)).total_seconds()) < 5


def test_a_clock_that_agrees_is_not_told() -> None:
    start = int(time.time() * 1000) // STEP_MS * STEP_MS - 60 * STEP_MS
    with (
        serving(OkxServer(exchange(60, start_ms=start), live=True)) as server,
        closing(OkxClient(server.url, threading.Event())) as asking,
    ):
        assert all(outcome.update for outcome in OkxMarket((BTC,), asking).round())
    assert alerts("market_clock") == []


def test_the_data_goes_on_while_the_database_is_away(
    server: OkxServer, market: OkxMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(service, "record_alert_at_most", away)
    assert all(outcome.update for outcome in market.round())


def test_being_told_to_stop_ends_every_wait(server: OkxServer) -> None:
    stop = threading.Event()
    with closing(OkxClient(server.url, stop)) as asking:
        asking.rows(Endpoint.TIME, {})
        stop.set()
        with pytest.raises(Stopped):
            asking.rows(Endpoint.TIME, {})
        with pytest.raises(Stopped):
            OkxMarket((BTC,), asking).round()


@pytest.mark.parametrize(
    ("now", "due"),
    [("10:00:00", "10:00:02"), ("10:00:02", "10:00:32"), ("10:00:31.9", "10:00:32"), ("10:04:59", "10:05:02")],
)
def test_rounds_begin_a_moment_after_the_clocks_intervals(now: str, due: str) -> None:
    assert next_look(datetime.fromisoformat(f"2026-01-01T{now}Z"), 30) == datetime.fromisoformat(f"2026-01-01T{due}Z")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(server: OkxServer, settings: Any, redis_client: Any) -> Any:
    settings.OKX_BASE_URL, settings.INSTRUMENTS = server.url, [BTC, ETH]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*words: str) -> tuple[int, str]:
        said = StringIO()
        try:
            call_command("market", *words, stdout=said)
        except SystemExit as end:
            return int(str(end.code)), said.getvalue()
        return 0, said.getvalue()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("sandbox", [True, False])
def test_once_publishes_one_round_and_says_what_it_was(
    command: Any, redis_client: Any, settings: Any, sandbox: bool
) -> None:
    settings.SANDBOX = sandbox
    code, said = command("--source", "okx", "--once")
    assert code == 0
    assert f"{BTC}: " in said
    assert "at 2026-01-03 10:20:02 UTC" in said
    assert "candles, all there are; what needs more to be computed is null until then" in said
    assert "The market data has stopped." in said
    assert len(on(redis_client, MARKET_SNAPSHOTS)) == 2


def test_once_ends_with_1_where_an_instrument_has_nothing(command: Any, redis_client: Any, settings: Any) -> None:
    settings.INSTRUMENTS = [BTC, "BTX-USDT-SWAP"]
    code, said = command("--source", "okx", "--once")
    assert code == 1
    assert "BTX-USDT-SWAP: nothing published: OKX has no swap BTX-USDT-SWAP: correct its name in INSTRUMENTS" in said
    assert len(on(redis_client, MARKET_SNAPSHOTS)) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--source", "okx", "--seed", "3", "--bars", "5"),
            "--seed, --bars: of the sandbox's market, not of --source okx",
        ),
        (("--once",), "--once is for --source okx; here it is --bars 1"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(command: Any, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandError, match=told) as caught:
        command(*words)
    assert caught.value.returncode == 2


def test_ctrl_c_ends_it_cleanly_between_rounds(settings: Any, redis_client: Any) -> None:
    start = int(time.time() * 1000) // STEP_MS * STEP_MS - 60 * STEP_MS
    with serving(OkxServer(exchange(60, start_ms=start), live=True)) as server:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "market", "--source", "okx"],
            cwd=PROJECT,
            env={**os.environ, "OKX_BASE_URL": server.url, "REDIS_URL": settings.REDIS_URL},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not redis_client.xlen(MARKET_SNAPSHOTS) and time.monotonic() < deadline and process.poll() is None:
                redis_client.xread({MARKET_SNAPSHOTS: "0"}, block=500)
            process.send_signal(signal.SIGINT)
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, complained
    assert "Traceback" not in complained
    assert said.endswith("The market data has stopped.\n")
    assert "BTC-USDT-SWAP: " in said
    assert redis_client.xlen(MARKET_SNAPSHOTS) == 1
