"""The venue's faults as they are seen on the streams of a real Redis, and the ledger that stays true."""

import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
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
    TradeFill,
    decode,
    parse,
    wrap,
)
from decisions.sandbox import venue_service
from decisions.sandbox.ledger import Ledger
from decisions.sandbox.ledger_report import read_ledger
from decisions.sandbox.venue import FaultPlan, VenueTerms
from decisions.sandbox.venue_faults import PlanFile
from decisions.sandbox.venue_service import VenueService
from orchestrator_project.streams import connect_reader, publish_many
from tests.unit.decisions.venue_scene import BAR, BTC, ETH, INSTRUMENT, START, WALL, D, order

NO_INDICATORS = Indicators(**dict.fromkeys(Indicators.model_fields))
UNKNOWN = (
    "change_24h", "price_change_1h", "volume_24h", "volume_vs_avg", "funding_rate", "next_funding_at", "open_interest",
    "oi_change_4h", "regime",
)  # fmt: skip


class Venue:
    """A venue between a real Redis and its ledger, by a plan and a wall clock of its own."""

    def __init__(self, client: redis.Redis, folder: Path, **plan: Any) -> None:
        self.client = client
        self.path = folder / "ledger.sqlite3"
        self.plan = FaultPlan.model_validate(plan)
        self.now = WALL
        self.at = START
        self.sent = 0
        self.restart()

    def restart(self) -> None:
        if self.sent:
            self.ledger.close()
        terms = VenueTerms(slippage=D(0))
        self.ledger = Ledger.open(self.path, start_equity=D(10000), terms=terms, account_id="test")
        self.service = VenueService(self.client, self.ledger, wall_now=lambda: self.now, faults=lambda: self.plan)

    def work(self) -> None:
        while self.service.work(block_seconds=0.01):
            pass

    def price(self, price: object, symbol: str = BTC, *, low: object = None, funding: object = None) -> None:
        message = MarketSnapshot(
            symbol=symbol, timestamp=self.at, price=D(price), mark_price=D(price), bid=D(price) - D("0.1"),
            ask=D(price) + D("0.1"), instrument=INSTRUMENT, **dict.fromkeys(UNKNOWN),
            indicators=Timeframes(m15=NO_INDICATORS, h1=NO_INDICATORS, h4=NO_INDICATORS),
        )  # fmt: skip
        envelope = wrap(message, msg_id=f"{symbol}-{self.at.isoformat()}", source="test", now=self.now)
        if low is not None or funding is not None:
            prices = dict.fromkeys(("open", "high", "close"), str(price)) | {"low": str(low or price)}
            settled = funding and {"rate": str(funding), "settles_at": self.at.isoformat()}
            opened = (self.at - BAR).isoformat()
            envelope.payload["bar"] = prices | {"open_at": opened, "volume": "1000", "funding": settled}
        publish_many(self.client, [(MARKET_SNAPSHOTS, envelope)])
        self.at += BAR
        self.work()

    def order(self, action: str = "OPEN_LONG", size: object = 10, *, entry: str | None = None, **changes: Any) -> None:
        self.sent += 1
        changes = {"client_order_id": f"order{self.sent}", "expires_at": self.now + timedelta(days=1)} | changes
        sent = order(action, size, **changes)
        envelope = wrap(sent, msg_id=entry or sent.client_order_id, source="test", now=self.now)
        publish_many(self.client, [(TRADE_ORDERS, envelope)])
        self.work()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.work()

    def _read(self, stream: str) -> list[tuple[str, Any]]:
        entries: Any = self.client.xrange(stream)
        envelopes = [decode(fields) for _, fields in entries]
        return [(envelope.msg_id, parse(stream, envelope)) for envelope in envelopes]

    @property
    def said(self) -> list[TradeFill | FundingPayment]:
        return [message for _, message in self._read(TRADE_FILLS)]

    @property
    def message_ids(self) -> list[str]:
        return [msg_id for msg_id, _ in self._read(TRADE_FILLS)]

    @property
    def updates(self) -> list[PositionUpdate]:
        return [message for _, message in self._read(TRADE_POSITIONS)]

    @property
    def truth(self) -> list[TradeFill]:
        report = read_ledger(self.path)
        assert report.difference == 0
        return list(report.fills)

    def repeats(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.path) as connection:
            return connection.execute("SELECT client_order_id, entry_id FROM repeats ORDER BY sequence").fetchall()


@pytest.fixture
def client(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    with connect_reader(0.5) as client:
        yield client


@pytest.fixture(autouse=True)
def few_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every update here has another cause."""
    monkeypatch.setattr(venue_service, "HEARTBEAT_SECONDS", 3600.0)


@pytest.fixture
def venue(client: redis.Redis, tmp_path: Path) -> Iterator[Venue]:
    """A venue without faults that has seen one price."""
    venue = Venue(client, tmp_path)
    venue.price(20000)
    yield venue
    venue.ledger.close()


def _plan(venue: Venue, **plan: Any) -> None:
    venue.plan = FaultPlan.model_validate(plan)


def test_a_dropped_fill_is_in_the_ledger_and_among_the_recent_fills_only(venue: Venue) -> None:
    _plan(venue, drop_fill=1)
    venue.order()
    (fill,) = venue.truth
    assert venue.said == []
    assert venue.updates[-1].recent_fills == (fill,)
    assert venue.updates[-1].positions[0].size == D(10)


def test_dropped_funding_is_in_the_ledger_all_the_same(venue: Venue) -> None:
    venue.order()
    _plan(venue, drop_fill=1)
    venue.price(20000, funding="0.0001")
    (payment,) = read_ledger(venue.path).payments
    assert payment not in venue.said
    assert payment in venue.updates[-1].recent_fills


def test_a_delayed_fill_comes_when_its_time_has_come_also_after_a_restart(venue: Venue) -> None:
    _plan(venue, delay_fill={"share": 1, "seconds": 5})
    venue.order()
    venue.wait(4.9)
    _plan(venue)
    venue.restart()
    venue.wait(0)
    assert venue.said == []
    venue.wait(0.1)
    assert venue.said == venue.truth
    venue.restart()
    venue.wait(60)
    assert venue.said == venue.truth


def test_a_message_that_was_said_and_not_noted_as_such_is_not_said_twice(venue: Venue, tmp_path: Path) -> None:
    _plan(venue, delay_fill={"share": 1, "seconds": 5})
    venue.order()
    (tmp_path / "before").mkdir()
    with sqlite3.connect(venue.path) as source:
        source.backup(sqlite3.connect(tmp_path / "before" / "ledger.sqlite3"))
    venue.wait(5)
    again = Venue(venue.client, tmp_path / "before")
    again.now = venue.now
    again.work()
    assert len(venue.said) == 1
    again.ledger.close()


def test_a_clock_set_back_an_hour_does_not_hold_a_fill_back_for_an_hour(venue: Venue) -> None:
    _plan(venue, delay_fill={"share": 1, "seconds": 5})
    venue.order()
    venue.wait(-3600)
    assert len(venue.said) == 1


def test_a_duplicate_has_the_fill_id_of_the_first_under_another_message_id(venue: Venue) -> None:
    _plan(venue, duplicate_fill=1)
    venue.order()
    (fill,) = venue.truth
    assert venue.said == [fill, fill]
    assert len(set(venue.message_ids)) == 2


def test_a_duplicate_may_have_the_message_id_of_the_first_too(venue: Venue) -> None:
    _plan(venue, duplicate_fill={"share": 1, "same_message": 1})
    venue.order()
    (fill,) = venue.truth
    assert venue.said == [fill, fill]
    assert len(set(venue.message_ids)) == 1
    venue.restart()
    venue.wait(60)
    assert len(venue.said) == 2


def test_both_copies_of_a_delayed_duplicate_are_late(venue: Venue) -> None:
    _plan(venue, duplicate_fill=1, delay_fill={"share": 1, "seconds": 5})
    venue.order()
    assert venue.said == []
    venue.wait(5)
    assert venue.said == venue.truth * 2


def test_a_reordered_fill_comes_after_the_next_one(venue: Venue) -> None:
    _plan(venue, reorder_fills={"share": 1, "seconds": 60})
    venue.order()
    assert venue.said == []
    venue.restart()
    _plan(venue)
    venue.order("ADD", 1)
    first, second = venue.truth
    assert venue.said == [second, first]


def test_a_reordered_fill_without_a_next_one_comes_in_the_end(venue: Venue) -> None:
    _plan(venue, reorder_fills={"share": 1, "seconds": 2})
    venue.order()
    venue.order("ADD", 1)
    assert venue.said == []
    venue.wait(2)
    assert venue.said == venue.truth[::-1]


def test_an_order_whose_reply_is_lost_has_taken_effect(venue: Venue) -> None:
    _plan(venue, lose_reply=1)
    venue.order()
    venue.order("REDUCE", 1, limit_price=21000, expires_at=START + timedelta(days=1))
    assert [fill.status for fill in venue.truth] == ["filled", "accepted"]
    assert venue.said == []
    assert len(venue.updates[-1].open_orders) == 1
    venue.price(21500)
    assert [fill.status for fill in venue.said if isinstance(fill, TradeFill)] == ["filled"]


def test_a_refused_order_is_told_and_leaves_nothing(venue: Venue) -> None:
    _plan(venue, reject=1)
    venue.order()
    (fill,) = venue.truth
    assert venue.said == [fill]
    assert (fill.status, fill.reject_reason) == ("rejected", "refused by the fault plan")
    assert venue.updates[-1].positions == ()


def test_an_order_that_had_to_be_taken_back_does_not_end_the_faults_of_its_batch(venue: Venue) -> None:
    venue.client.delete(TRADE_ORDERS)
    _plan(venue, lose_reply=1)
    beyond = order(size="4e10", leverage=100, client_order_id="beyond", expires_at=WALL + timedelta(days=1))
    venue.ledger.close()
    venue.path = venue.path.with_name("rich.sqlite3")
    venue.ledger = Ledger.open(venue.path, start_equity=D("1e11"), terms=VenueTerms(slippage=D(0)), account_id="test")
    venue.service = VenueService(venue.client, venue.ledger, wall_now=lambda: WALL, faults=lambda: venue.plan)
    publish_many(venue.client, [(TRADE_ORDERS, wrap(beyond, msg_id="beyond", source="test", now=WALL))])
    venue.order()
    assert venue.ledger.bad_entries == 1
    assert len(venue.truth) == 1
    assert venue.said == []


def test_parts_are_said_and_the_books_balance(venue: Venue) -> None:
    _plan(venue, partial_fill={"share": 1, "cancel_rest": 0})
    venue.order("OPEN_LONG", "9.99")
    venue.price(20333)
    venue.order("CLOSE", "9.99")
    assert venue.said == venue.truth
    assert len(venue.truth) >= 4
    assert [fill.status for fill in venue.truth].count("filled") == 2
    assert venue.updates[-1].positions == ()


def test_a_late_stop_is_shown_when_its_time_has_come_also_after_a_restart(venue: Venue) -> None:
    _plan(venue, late_stop={"share": 1, "seconds": 5})
    venue.order(stop_loss=19000)
    assert [fill.stop_confirmed for fill in venue.truth] == [False]
    assert venue.updates[-1].positions[0].stop_loss is None
    venue.price(20000, low=18000)
    assert len(venue.truth) == 1
    venue.wait(4)
    venue.restart()
    shown = len(venue.updates)
    venue.wait(1)
    assert venue.updates[shown:][0].positions[0].stop_loss == D(19000)
    venue.price(20000, low=18000)
    assert venue.truth[-1].exit_reason == "stop_loss"


def test_a_stop_that_never_comes_is_never_shown(venue: Venue) -> None:
    _plan(venue, no_stop=1)
    venue.order(stop_loss=19000)
    _plan(venue)
    venue.wait(3600)
    venue.price(20000, low=18000)
    assert venue.updates[-1].positions[0].stop_loss is None


def test_a_late_update_comes_behind_newer_ones_and_tells_when_it_was_made(venue: Venue) -> None:
    _plan(venue, lag_positions={"share": 1, "seconds": 3})
    venue.order()
    assert len(venue.updates) == 1
    _plan(venue)
    venue.price(20100)
    venue.wait(3)
    assert [update.as_of for update in venue.updates] == [START, START + BAR, START]
    entries: Any = venue.client.xrevrange(TRADE_POSITIONS, count=1)
    assert decode(entries[0][1]).timestamp == WALL


def test_the_state_before_an_order_is_told_again(venue: Venue) -> None:
    _plan(venue, lag_positions={"share": 1, "seconds": 3, "repeat": 1})
    venue.order()
    before, repeated = venue.updates
    assert before == repeated
    assert len(venue.truth) == 1


def test_a_heartbeat_tells_what_a_lag_keeps_back(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    _plan(venue, lag_positions={"share": 1, "seconds": 3600})
    monkeypatch.setattr(venue_service, "HEARTBEAT_SECONDS", 0.0)
    venue.price(20100)
    venue.work()
    assert venue.updates[-1].as_of == START + BAR


def test_positions_disagree_and_the_ledger_does_not(venue: Venue) -> None:
    venue.price(1500, ETH)
    venue.order()
    _plan(venue, disagree_positions={"share": 1, "messages": 1})
    seen = set()
    for number in range(40):
        venue.price(20000 + number)
        seen.add(tuple((position.symbol, position.size) for position in venue.updates[-1].positions))
    assert seen == {(), ((BTC, D(20)),), ((BTC, D(10)), (ETH, D("0.01")))}
    _plan(venue)
    venue.price(20000)
    assert [(position.symbol, position.size) for position in venue.updates[-1].positions] == [(BTC, D(10))]
    assert len(venue.truth) == 1


def test_faults_go_on_the_same_after_a_restart(client: redis.Redis, tmp_path: Path) -> None:
    plan = {"seed": 11, "drop_fill": 0.3, "duplicate_fill": 0.3, "partial_fill": 0.5, "reject": 0.2}
    streams = []
    for restarts in (False, True):
        client.flushall()
        (tmp_path / str(restarts)).mkdir()
        venue = Venue(client, tmp_path / str(restarts), **plan)
        for _ in range(15):
            venue.price(20000)
            venue.order("OPEN_LONG", 3)
            if restarts:
                venue.restart()
            venue.order("CLOSE", 3)
        streams.append((venue.said, venue.truth))
        venue.ledger.close()
    assert streams[0] == streams[1]
    assert len(streams[0][0]) != len(streams[0][1])


# --- orders that come again ---------------------------------------------------------------------------------------


def test_an_order_that_comes_again_is_written_down(venue: Venue) -> None:
    venue.order()
    venue.order(client_order_id="order1", entry="another message")
    entries: Any = venue.client.xrange(TRADE_ORDERS)
    assert venue.repeats() == [("order1", entries[1][0].decode())]
    assert len(venue.truth) == 1


def test_an_order_that_comes_twice_in_one_reading_is_written_down(venue: Venue) -> None:
    for entry in ("first", "second"):
        sent = order(client_order_id="order1", expires_at=WALL + timedelta(days=1))
        publish_many(venue.client, [(TRADE_ORDERS, wrap(sent, msg_id=entry, source="test", now=WALL))])
    venue.work()
    assert [client_order_id for client_order_id, _ in venue.repeats()] == ["order1"]


def test_an_entry_that_is_read_again_is_no_repetition(venue: Venue) -> None:
    venue.order()
    venue.order("ADD", 1)
    newest: Any = venue.client.xrevrange(TRADE_ORDERS, count=1)
    venue.client.xdel(TRADE_ORDERS, newest[0][0])  # as a server that lost the last moment before it died
    venue.work()
    venue.work()
    assert venue.repeats() == []


def test_a_ledger_begun_before_entries_were_noted_is_used_on(venue: Venue) -> None:
    venue.order()
    venue.ledger.close()
    with sqlite3.connect(venue.path) as connection:
        connection.execute("ALTER TABLE orders DROP COLUMN entry_id")
        connection.execute("DROP TABLE repeats")
        connection.execute("DROP TABLE held")
    venue.sent = 0
    venue.restart()
    venue.sent = 1
    venue.order("CLOSE", 10)
    assert len(venue.truth) == 2


# --- the command --------------------------------------------------------------------------------------------------


def test_a_bad_plan_is_a_person_s_mistake(tmp_path: Path, settings: Settings) -> None:
    settings.LOCAL_DIR = tmp_path
    (tmp_path / "faults.json").write_text('{"drop_fils": 0.1}')
    with pytest.raises(CommandError, match=r"faults\.json: drop_fils is unknown: known are seed, drop_fill") as told:
        call_command("venue", "--faults", str(tmp_path / "faults.json"))
    assert told.value.returncode == 2
    assert not (tmp_path / "venue").exists()


def test_the_plan_is_read_again_when_its_file_is_exchanged(client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('{"drop_fill": 1}')
    venue = Venue(client, tmp_path)
    venue.service = VenueService(client, venue.ledger, wall_now=lambda: venue.now, faults=PlanFile(path).plan)
    venue.price(20000)
    venue.order()
    assert venue.said == []
    fresh = tmp_path / "fresh.json"
    fresh.write_text(json.dumps({"seed": 1}))
    os.replace(fresh, path)
    venue.order("CLOSE", 10)
    assert [fill.intent for fill in venue.said if isinstance(fill, TradeFill)] == ["close"]
    venue.ledger.close()


def test_the_crash_points_are_passed_in_their_order(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []
    monkeypatch.setattr("orchestrator_project.crash_points._handler", passed.append)
    venue.order()
    assert passed == ["before_ledger_commit", "ledger_committed", "messages_published"]


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("point", ["before_ledger_commit", "ledger_committed", "messages_published"])
def test_a_venue_killed_at_any_point_says_everything_once(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def kill(name: str) -> None:
        if name == point:
            raise Killed

    _plan(venue, delay_fill={"share": 0.5, "seconds": 5})
    monkeypatch.setattr("orchestrator_project.crash_points._handler", kill)
    with pytest.raises(Killed):
        venue.order()
    monkeypatch.setattr("orchestrator_project.crash_points._handler", None)
    venue.ledger._connection.close()
    venue.ledger._lock.close()
    venue.sent = 0
    venue.restart()
    venue.wait(5)
    venue.wait(5)
    (fill,) = venue.truth
    assert venue.said == [fill]
