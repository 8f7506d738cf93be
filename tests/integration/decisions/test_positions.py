"""Position updates on real Postgres: the account's history, its halts at once, stops, and orders nobody answered."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from decisions import positions
from decisions.fills import CannotBook
from decisions.market_data import record_snapshot
from decisions.messages import MarketSnapshot, PositionUpdate
from decisions.models import (
    DecisionCycle,
    Fill,
    FundingPayment,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    PositionReport,
)
from journal.models import AccountUpdate, Trade
from risk.models import Halt, RiskState
from tests.integration.decisions.build import (
    BTC,
    NOON,
    NOTHING_FILLED,
    alerts,
    book,
    end_of,
    fill_payload,
    funding_payload,
    position_payload,
    position_update_payload,
    sent_order,
    snapshot_payload,
)

pytestmark = pytest.mark.django_db
D = Decimal


def take_in(
    at: datetime = NOON,
    equity: str = "10000",
    transfers: str = "0",
    *,
    told_at: datetime | None = None,
    **changes: Any,
) -> None:
    message = PositionUpdate.model_validate(position_update_payload(at, equity, transfers, **changes))
    with transaction.atomic():
        positions.take_in(message, told_at or datetime.now(UTC))


def test_the_newest_update_replaces_the_positions_and_the_account_keeps_its_history() -> None:
    take_in(positions=[position_payload()])
    take_in(NOON + timedelta(minutes=5), equity="10010.5")
    report = PositionReport.objects.get()
    assert (report.as_of, report.payload["positions"]) == (NOON + timedelta(minutes=5), [])
    assert list(AccountUpdate.objects.order_by("id").values_list("equity", flat=True)) == [10000, D("10010.5")]


def test_an_older_update_changes_nothing() -> None:
    take_in(NOON, equity="10000")
    take_in(NOON - timedelta(minutes=5), equity="1")
    assert PositionReport.objects.get().as_of == NOON
    assert AccountUpdate.objects.count() == 1
    assert not Halt.objects.exists()


def test_live_an_update_from_the_future_is_refused(settings: Settings) -> None:
    """Taken in, it would make every update after it an older one."""
    settings.SANDBOX = False
    with pytest.raises(CannotBook, match="positions from the future: 2999"):
        take_in(datetime(2999, 1, 1, tzinfo=UTC))
    take_in(datetime.now(UTC))
    assert AccountUpdate.objects.count() == 1


def test_recent_fills_are_not_stored_again_with_the_positions() -> None:
    take_in(recent_fills=[fill_payload(), funding_payload()])
    assert PositionReport.objects.get().payload["recent_fills"] == []


def test_a_stop_that_the_venue_shows_is_confirmed() -> None:
    book(sent_order())
    take_in(positions=[position_payload(stop_loss=None)])
    assert Trade.objects.get().stop_confirmed_at is None
    take_in(positions=[position_payload()])
    assert Trade.objects.get().stop_confirmed_at is not None


@pytest.mark.parametrize("shown", [{"stop_loss": "19700"}, {"pos_side": "short"}, {"symbol": "ETH-USDT-SWAP"}])
def test_a_stop_at_another_price_or_of_another_position_confirms_nothing(shown: dict[str, str]) -> None:
    book(sent_order())
    take_in(positions=[position_payload(**shown)])
    assert Trade.objects.get().stop_confirmed_at is None


def test_of_two_updates_as_of_one_bar_the_later_told_is_the_newer() -> None:
    told = datetime.now(UTC)
    take_in(told_at=told, equity="9990", positions=[position_payload()])
    take_in(told_at=told - timedelta(milliseconds=5), equity="10000")
    report = PositionReport.objects.get()
    assert (report.payload["account"]["equity"], len(report.payload["positions"])) == ("9990", 1)


def test_a_limit_that_was_sent_and_not_yet_accepted_is_withdrawn_by_a_halt_too() -> None:
    for number, status in enumerate((OrderStatus.SENT, OrderStatus.UNKNOWN)):
        symbol = ("BTC-USDT-SWAP", "ETH-USDT-SWAP")[number]
        sent_order(symbol=symbol, order_type="limit", limit_price=D(19990), status=status)
    take_in(equity="10000")
    take_in(NOON + timedelta(minutes=5), equity="9500")
    assert OutboxMessage.objects.filter(type="trade_cancel").count() == 2


def test_a_halt_withdraws_resting_openings_and_is_told() -> None:
    order = sent_order(order_type="limit", limit_price=D(19990))
    book(order, **NOTHING_FILLED | {"status": "accepted"})
    take_in(NOON, equity="10000")
    take_in(NOON + timedelta(minutes=5), equity="9700")
    assert Halt.objects.get().kind == "daily_loss"
    assert len(alerts("risk_daily_loss")) == 1
    cancel = OutboxMessage.objects.get(type="trade_cancel")
    assert cancel.payload["client_order_id"] == order.client_order_id
    take_in(NOON + timedelta(minutes=10), equity="9690")
    assert OutboxMessage.objects.filter(type="trade_cancel").count() == 1
    assert len(alerts("risk_daily_loss")) == 1


# --- when clocks were set back ----------------------------------------------------------------------------------------


@pytest.fixture
def all_set_back(settings: Settings) -> datetime:
    """Live, our clock and the venue's were set back by an hour: what is in the record is of an hour ahead."""
    settings.SANDBOX = False
    now = datetime.now(UTC)
    take_in(now, told_at=now)
    hour = timedelta(hours=1)
    PositionReport.objects.update(as_of=now + hour, told_at=now + hour, received_at=now + hour)
    RiskState.objects.update(equity_at=now + hour, day=(now + hour).date())
    return now


def test_live_a_loss_halts_though_all_clocks_were_set_back(all_set_back: datetime) -> None:
    take_in(all_set_back + timedelta(seconds=1), equity="8000", told_at=all_set_back)
    assert PositionReport.objects.get().payload["account"]["equity"] == "8000"
    assert "daily_loss" in Halt.objects.values_list("kind", flat=True)
    state = RiskState.objects.get()
    assert (state.equity, state.day_start_equity) == (8000, 10000)
    assert state.day == (all_set_back + timedelta(hours=1)).date()


def test_from_then_on_an_older_update_is_an_older_one_again(all_set_back: datetime) -> None:
    take_in(all_set_back + timedelta(seconds=1), equity="9990", told_at=all_set_back)
    take_in(all_set_back, equity="8000", told_at=all_set_back)
    assert (RiskState.objects.get().equity, Halt.objects.count()) == (9990, 0)


def test_an_envelope_of_the_future_does_not_resolve_an_order_that_may_still_be_executed() -> None:
    order = _unknown(expires_at=datetime.now(UTC) + timedelta(seconds=30))
    take_in(told_at=datetime.now(UTC) + timedelta(hours=1))
    assert end_of(order)[0] == OrderStatus.UNKNOWN


# --- orders that nobody answered --------------------------------------------------------------------------------------

PAST = datetime.now(UTC) - timedelta(minutes=5)


def _unknown(*action: str, **changes: Any) -> Order:
    return sent_order(*action, status=OrderStatus.UNKNOWN, **{"expires_at": PAST} | changes)


def test_an_unknown_order_that_the_venue_does_not_have_is_expired() -> None:
    order = _unknown()
    take_in()
    assert end_of(order)[0] == OrderStatus.EXPIRED
    order.refresh_from_db()
    assert "the venue knows nothing of it" in order.reason


def test_an_update_told_before_the_order_expired_says_nothing_of_it_however_late_it_comes() -> None:
    order = _unknown()
    take_in(told_at=PAST - timedelta(seconds=30))
    assert end_of(order)[0] == OrderStatus.UNKNOWN


def test_an_unknown_order_that_may_still_be_executed_stays_unknown() -> None:
    market = _unknown(expires_at=datetime.now(UTC) + timedelta(seconds=20))
    limit = _unknown(
        symbol="ETH-USDT-SWAP", order_type="limit", limit_price=D(19990), expires_at=NOON + timedelta(minutes=1)
    )
    take_in(NOON)
    assert end_of(market)[0] == end_of(limit)[0] == OrderStatus.UNKNOWN
    take_in(NOON + timedelta(minutes=1))
    assert end_of(limit)[0] == OrderStatus.EXPIRED


def test_live_the_update_must_be_newer_than_the_expiry_and_not_only_come_later(settings: Settings) -> None:
    settings.SANDBOX = False
    order = _unknown()
    take_in(PAST - timedelta(seconds=1), told_at=PAST - timedelta(seconds=1))
    assert end_of(order)[0] == OrderStatus.UNKNOWN
    take_in(PAST, told_at=PAST)
    assert end_of(order)[0] == OrderStatus.EXPIRED


def test_an_unknown_order_that_rests_at_the_venue_is_working() -> None:
    order = _unknown(order_type="limit", limit_price=D(19990), expires_at=NOON - timedelta(minutes=1))
    resting = {
        "client_order_id": order.client_order_id, "order_id": "v", "symbol": BTC, "pos_side": "long", "side": "buy",
        "size": "2", "filled_size": "0", "limit_price": "19990", "expires_at": None,
    }  # fmt: skip
    take_in(open_orders=[resting])
    assert end_of(order)[0] == OrderStatus.ACCEPTED


def test_an_unknown_order_is_booked_from_all_its_recent_fills() -> None:
    order = _unknown()
    part = fill_payload(order, status="partially_filled", fill_size="0.5", cumulative_size="0.5", fee_usd="0.05")
    rest = fill_payload(order, fill_size="1.5", cumulative_size="2", fee_usd="0.15")
    take_in(recent_fills=[part, funding_payload(), rest])
    assert end_of(order)[0] == OrderStatus.FILLED
    trade = Trade.objects.get()
    assert (trade.size, trade.fees_usd) == (2, D("0.2"))
    take_in(NOON + timedelta(minutes=1), recent_fills=[part, rest])
    assert Fill.objects.count() == 2


def test_a_fill_found_among_the_recent_ones_and_on_its_stream_is_booked_once() -> None:
    order = _unknown()
    payload = fill_payload(order)
    take_in(recent_fills=[payload])
    with pytest.raises(Exception, match="is booked already"):
        book(order, **payload)
    assert Trade.objects.get().size == 2


def test_a_recent_fill_that_contradicts_the_record_does_not_cost_the_update() -> None:
    order = _unknown("CLOSE", pos_side="long")
    payload = fill_payload(order, pnl_usd="1", exit_reason="signal")  # of a position we know nothing of
    take_in(recent_fills=[payload])
    take_in(NOON + timedelta(minutes=1), recent_fills=[payload])
    assert PositionReport.objects.get().as_of == NOON + timedelta(minutes=1)
    assert end_of(order)[0] == OrderStatus.UNKNOWN
    assert len(alerts(f"recent_fill_refused:{BTC}")) == 1


UNFIT = [
    {"fill_size": "0.00000001", "fill_price": "0.00000001", "fee_usd": "99999999999999999999"},
    {"fill_size": "999999999999.999999999"},
]


@pytest.mark.parametrize("figures", UNFIT)
def test_a_recent_fill_whose_figures_have_no_place_in_the_record_costs_nothing_but_itself(
    figures: dict[str, str],
) -> None:
    record_snapshot(MarketSnapshot.model_validate(snapshot_payload()))
    good = funding_payload()
    take_in(equity="9000", recent_fills=[fill_payload(**figures), good])
    assert PositionReport.objects.get().payload["account"]["equity"] == "9000"
    assert FundingPayment.objects.get().funding_id == good["funding_id"]


def test_a_recent_fill_that_cannot_be_read_is_told_and_costs_nothing_but_itself() -> None:
    order = sent_order()
    take_in(recent_fills=[fill_payload(fill_size=None, fill_id="half"), "?", fill_payload(order)])
    assert end_of(order)[0] == OrderStatus.FILLED
    (detail,) = alerts("recent_fill_unreadable")
    assert detail.startswith("number 1, 'half': value: Value error, filled without fill_size")
    assert "number 2, None: " in detail
    take_in(NOON + timedelta(minutes=1), recent_fills=["?"])
    assert len(alerts("recent_fill_unreadable")) == 1


def test_what_is_refused_of_one_instrument_does_not_hush_another() -> None:
    exits = [
        fill_payload(symbol=symbol, side="sell", intent="close", pnl_usd="1", exit_reason="manual")
        for symbol in (BTC, "ETH-USDT-SWAP")
    ]
    take_in(recent_fills=exits)
    assert len(alerts(f"recent_fill_refused:{BTC}")) == len(alerts("recent_fill_refused:ETH-USDT-SWAP")) == 1


def test_an_order_that_was_declared_expired_and_filled_all_the_same_is_booked() -> None:
    order = _unknown()
    take_in()
    book(order)
    assert end_of(order)[0] == OrderStatus.FILLED
    assert Trade.objects.get().size == 2


def test_an_order_found_expired_leaves_its_ended_cycle_as_it_was() -> None:
    order = _unknown()
    DecisionCycle.objects.update(
        state="done", outcome=Outcome.ORDER_UNKNOWN, reason="no answer", finished_at=datetime.now(UTC)
    )
    take_in()
    assert end_of(order) == (OrderStatus.EXPIRED, Outcome.ORDER_UNKNOWN, "no answer")
