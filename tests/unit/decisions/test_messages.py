"""The wire: what is read and what is refused, whatever the bytes are."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.messages import (
    EXPECTED,
    LONGEST_ENTRY,
    MARKET_SNAPSHOTS,
    SYSTEM_ALERTS,
    TRADE_FILLS,
    TRADE_ORDERS,
    TRADE_POSITIONS,
    TYPES,
    BadMessage,
    FundingPayment,
    MarketSnapshot,
    PositionUpdate,
    SystemAlert,
    TradeFill,
    TradeOrder,
    decode,
    encode,
    parse,
    wrap,
)

NOW = datetime(2022, 11, 20, 12, tzinfo=UTC)
SNAPSHOT: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "snapshot.json").read_text())
FILL: dict[str, Any] = {
    "fill_id": "f1", "decision_id": None, "client_order_id": "c1", "order_id": "o1", "algo_id": None,
    "symbol": "BTC-USDT-SWAP", "pos_side": "long", "side": "sell", "intent": "close", "status": "filled",
    "fill_price": "20000.5", "fill_size": "2", "fee_usd": "0.2", "pnl_usd": "1.5", "cumulative_size": "2",
    "exit_reason": "signal", "stop_confirmed": None, "reject_reason": None, "filled_at": "2022-11-20T12:00:00Z",
}  # fmt: skip
ORDER = TradeOrder(
    action="OPEN_LONG", symbol="BTC-USDT-SWAP", side="buy", pos_side="long", order_type="market", size=Decimal("2.10"),
    limit_price=None, stop_loss=Decimal("19800"), take_profit=Decimal("1E+5"), leverage=Decimal(2), strategy_used=None,
    confidence=0.7, reasoning="“breakout” ↑", decision_id="d1", reduce_only=False, client_order_id="c1", expires_at=NOW,
)  # fmt: skip


def _fields(message_type: str, payload: Any, /, **members: Any) -> dict[bytes, bytes]:
    text = {
        "msg_id": "m1", "timestamp": "2022-11-20T12:00:00Z", "source": "test", "type": message_type,
        "payload": payload if isinstance(payload, str) else json.dumps(payload), "metadata": "{}",
    } | members  # fmt: skip
    return {key.encode(): value.encode() for key, value in text.items() if value is not None}


def _read(stream: str, message_type: str, payload: Any, **members: Any) -> Any:
    return parse(stream, decode(_fields(message_type, payload, **members)))


def test_every_type_belongs_on_some_stream_and_every_stream_knows_its_types() -> None:
    assert {name for names in EXPECTED.values() for name in names} == set(TYPES)


def test_a_message_survives_the_wire() -> None:
    envelope = wrap(ORDER, msg_id="m1", source="orchestrator", now=NOW, metadata={"cycle_number": 7})
    read = decode({key.encode(): value.encode() for key, value in encode(envelope).items()})
    members = ("msg_id", "timestamp", "source", "type", "metadata")
    assert [getattr(read, name) for name in members] == [getattr(envelope, name) for name in members]
    assert parse(TRADE_ORDERS, read) == ORDER


def test_decimals_are_plain_text_and_times_end_in_z_on_the_wire() -> None:
    fields = encode(wrap(ORDER, msg_id="m1", source="orchestrator", now=NOW))
    payload = json.loads(fields["payload"])
    assert fields["timestamp"] == "2022-11-20T12:00:00Z"
    assert (payload["size"], payload["take_profit"], payload["expires_at"]) == (
        "2.10",
        "100000",
        "2022-11-20T12:00:00Z",
    )


def test_the_whole_envelope_may_stand_in_one_field() -> None:
    whole = {"msg_id": "m1", "timestamp": "2022-11-20T12:00:00Z", "source": "x", "type": "trade_fill", "payload": FILL}
    fill = parse(TRADE_FILLS, decode({b"data": json.dumps(whole).encode()}))
    assert fill == _read(TRADE_FILLS, "trade_fill", FILL)


def test_money_is_read_exactly_from_text_and_from_json_numbers() -> None:
    text = json.dumps(FILL).replace('"20000.5"', "20000.100000000000000001")
    fill = _read(TRADE_FILLS, "trade_fill", text)
    assert fill.fill_price == Decimal("20000.100000000000000001")


def test_times_are_utc_whatever_their_offset() -> None:
    fill = _read(TRADE_FILLS, "trade_fill", FILL | {"filled_at": "2022-11-20T19:00:00+07:00"})
    assert (fill.filled_at, fill.filled_at.tzinfo) == (NOW, UTC)


def test_unknown_keys_are_ignored() -> None:
    assert _read(TRADE_FILLS, "trade_fill", FILL | {"venue_mood": "good"}).fill_id == "f1"


def test_null_stands_for_not_known_yet_in_a_snapshot() -> None:
    cold = dict.fromkeys(SNAPSHOT["indicators"]["15m"])
    nothing = dict.fromkeys(
        ("change_24h", "price_change_1h", "volume_24h", "volume_vs_avg", "funding_rate", "open_interest", "regime")
    )
    snapshot = _read(
        MARKET_SNAPSHOTS,
        "market_snapshot",
        SNAPSHOT | nothing | {"indicators": dict.fromkeys(("15m", "1H", "4H"), cold)},
    )
    assert isinstance(snapshot, MarketSnapshot)
    assert snapshot.indicators.h4.rsi_14 is None


def test_funding_and_fills_are_told_apart_in_a_position_update() -> None:
    funding = {
        "funding_id": "p1", "symbol": "BTC-USDT-SWAP", "pos_side": "long", "amount_usd": "-0.04", "rate": "0.0001",
        "paid_at": "2022-11-20T08:00:00Z",
    }  # fmt: skip
    account = dict.fromkeys(("equity", "available", "margin_used", "unrealized_pnl", "net_transfers_usd"), "0")
    update = _read(
        TRADE_POSITIONS,
        "position_update",
        {"positions": [], "account": account, "open_orders": [], "recent_fills": [FILL, funding],
         "as_of": "2022-11-20T12:00:00Z"},
    )  # fmt: skip
    assert isinstance(update, PositionUpdate)
    assert [type(each) for each in update.recent_fills] == [TradeFill, FundingPayment]


def test_of_recent_fills_the_one_that_cannot_be_read_does_not_cost_the_update() -> None:
    account = dict.fromkeys(("equity", "available", "margin_used", "unrealized_pnl", "net_transfers_usd"), "0")
    told = [FILL | {"fill_size": None, "fill_id": "half"}, {"funding_id": "p1"}, 7, FILL]
    update = _read(
        TRADE_POSITIONS,
        "position_update",
        {"positions": [], "account": account, "open_orders": [], "recent_fills": told,
         "recent_faults": ["of the sender"], "as_of": "2022-11-20T12:00:00Z"},
    )  # fmt: skip
    assert [each.fill_id for each in update.recent_fills] == ["f1"]
    half, payment, number = update.recent_faults
    assert half == "number 1, 'half': value: Value error, filled without fill_size"
    assert payment.startswith("number 2, 'p1': symbol: Field required")
    assert number.startswith("number 3, None: ")
    assert "recent_faults" not in update.model_dump()


def test_a_tick_may_be_finer_than_any_price_that_is_kept() -> None:
    terms = SNAPSHOT["instrument"] | {"tick_size": "0.0000000001"}
    snapshot = _read(MARKET_SNAPSHOTS, "market_snapshot", SNAPSHOT | {"instrument": terms})
    assert snapshot.instrument.tick_size == Decimal("1E-10")


# --- what is refused -------------------------------------------------------------------------------------------------

BAD_ENTRIES: dict[str, tuple[dict[bytes, bytes], str]] = {
    "not JSON": (_fields("trade_fill", "{fill"), "payload is not JSON"),
    "metadata not JSON": (_fields("trade_fill", FILL, metadata="{"), "metadata is not JSON"),
    "payload a list": (_fields("trade_fill", []), "payload: Input should be a valid dictionary"),
    "no payload": (_fields("trade_fill", FILL, payload=None), "payload: Field required"),
    "no msg_id": (_fields("trade_fill", FILL, msg_id=None), "msg_id: Field required"),
    "empty msg_id": (_fields("trade_fill", FILL, msg_id=""), "msg_id: String should have at least 1 character"),
    "msg_id too long": (_fields("trade_fill", FILL, msg_id="x" * 65), "msg_id: String should have at most 64"),
    "time without zone": (_fields("trade_fill", FILL, timestamp="2022-11-20T12:00:00"), "timestamp: "),
    "time in Unix seconds": (_fields("trade_fill", FILL, timestamp="1668945600"), "a time as ISO 8601 text"),
    "time beyond the calendar": (
        _fields("trade_fill", FILL, timestamp="9999-12-31T23:59:59-12:00"), "the time is out of range"),
    "not UTF-8": ({b"msg_id": b"\xff\xfe"}, "not UTF-8"),
    "key not UTF-8": ({b"\xff": b"x"}, "not UTF-8"),
    "data a number": ({b"data": b"7"}, "envelope: value: Input should be a valid dictionary"),
    "data not JSON": ({b"data": b"\x00"}, "data is not JSON"),
    "nested deeply": (_fields("trade_fill", "[" * 100_000), "payload is not JSON"),
    "nested deeply and closed": (_fields("trade_fill", "[" * 100_000 + "]" * 100_000), ""),
    "too large": (_fields("trade_fill", "x" * 1_000_000), f"at most {LONGEST_ENTRY} are read"),
    "whole number too long to read": (_fields("trade_fill", '{"fee_usd": ' + "9" * 5000 + "}"), "payload is not JSON"),
    "exponent beyond reason": (_fields("trade_fill", '{"fee_usd": 1e99999999999999999999}'), "payload is not JSON"),
    "bare NaN": (_fields("trade_fill", '{"fee_usd": NaN}'), "NaN is not a number"),
    "bare Infinity": (_fields("trade_fill", '{"fee_usd": -Infinity}'), "-Infinity is not a number"),
    "no fields that we know": ({b"hello": b"world"}, "msg_id: Field required"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "reason"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_an_entry_that_is_no_envelope_is_refused_with_the_reason(fields: dict[bytes, bytes], reason: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode(fields)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 1000


def _snapshot(**changes: Any) -> tuple[str, str, dict[str, Any]]:
    return MARKET_SNAPSHOTS, "market_snapshot", SNAPSHOT | changes


def _fill(**changes: Any) -> tuple[str, str, dict[str, Any]]:
    return TRADE_FILLS, "trade_fill", FILL | changes


def _reading(name: str, value: Any) -> tuple[str, str, dict[str, Any]]:
    hour = SNAPSHOT["indicators"]["1H"] | {name: value}
    return _snapshot(indicators=SNAPSHOT["indicators"] | {"1H": hour})


BAD_PAYLOADS: dict[str, tuple[tuple[str, str, Any], str]] = {
    "foreign type": ((TRADE_FILLS, "market_snapshot", SNAPSHOT), "does not belong on trade:fills: expected trade_fill"),
    "unknown type": ((TRADE_FILLS, "trade_gossip", FILL), "type 'trade_gossip' does not belong"),
    "price missing": ((MARKET_SNAPSHOTS, "market_snapshot", {**SNAPSHOT, "price": None}), "price: "),
    "price NaN as text": (_snapshot(price="NaN"), "price: Input should be a finite number"),
    "price sNaN as text": (_snapshot(price="sNaN"), "price: Input should be a finite number"),
    "price Infinity as text": (_snapshot(price="Infinity"), "price: Input should be a finite number"),
    "price a word": (_snapshot(price="cheap"), "price: Input should be a valid decimal"),
    "price true": (_snapshot(price=True), "price: Value error, a number was expected, not a boolean"),
    "price a list": (_snapshot(price=["1"]), "price: "),
    "price zero": (_snapshot(price="0"), "price: Input should be greater than 0"),
    "price negative": (_snapshot(price="-1"), "price: Input should be greater than 0"),
    "price 1e400": (_snapshot(price="1e400"), "price: "),
    "price 1e-400": (_snapshot(price="1e-400"), "price: "),
    "price with 40 digits": (_snapshot(price="1." + "3" * 39), "price: Decimal input should have no more than 38"),
    "price of a trillion": (_snapshot(price="1000000000000"), "price: Input should be less than 1000000000000"),
    "bid above ask": (_snapshot(bid="97251"), "bid 97251 is above ask 97250.6"),
    "symbol in lower case": (_snapshot(symbol="btc-usdt-swap"), "symbol: String should match pattern"),
    "symbol with a newline": (_snapshot(symbol="BTC-USDT-SWAP\n"), "symbol: String should match pattern"),
    "symbol a number": (_snapshot(symbol=7), "symbol: Input should be a valid string"),
    "time a number": (_snapshot(timestamp=1668945600), "timestamp: Value error, a time as ISO 8601 text was expected"),
    "time a date": (_snapshot(timestamp="2022-11-20"), "timestamp: "),
    "regime unheard of": (_snapshot(regime="sideways"), "regime: "),
    "RSI 101": (_reading("rsi_14", 101), "indicators.1H.rsi_14: Input should be less than or equal to 100"),
    "RSI true": (_reading("rsi_14", True), "indicators.1H.rsi_14: Value error, a number was expected"),
    "MACD NaN as text": (_reading("macd", "NaN"), "indicators.1H.macd: Input should be a finite number"),
    "timeframe missing": (_snapshot(indicators={"15m": SNAPSHOT["indicators"]["15m"]}), "1H: Field required"),
    "fill without its figures": (_fill(fill_price=None, pnl_usd=None), "filled without fill_price, pnl_usd"),
    "fill of nothing": (_fill(fill_size="0"), "fill_size: Input should be greater than 0"),
    "fill of next to nothing": (_fill(fill_size="0.000000009"), "fill_size: Value error, less than 0.00000001 cannot"),
    "price of next to nothing": (_fill(fill_price="1E-9"), "fill_price: Value error, less than 0.00000001 cannot"),
    "status unheard of": (_fill(status="done"), "status: "),
    "stop_confirmed a word": (_fill(stop_confirmed="yes"), "stop_confirmed: Input should be a valid boolean"),
    "stop_confirmed 1": (_fill(stop_confirmed=1), "stop_confirmed: Input should be a valid boolean"),
    "command unheard of": (
        (SYSTEM_ALERTS, "system_command",
         {"command": "sell", "args": {}, "issued_by": "a", "issued_at": "2022-11-20T12:00:00Z"}), "command: "),
}  # fmt: skip


@pytest.mark.parametrize(("message", "reason"), BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_a_payload_that_does_not_fit_is_refused_with_the_reason(message: tuple[str, str, Any], reason: str) -> None:
    with pytest.raises(BadMessage) as refused:
        _read(*message)
    assert reason in str(refused.value)


@pytest.mark.parametrize("key", FILL)
def test_every_key_of_a_fill_is_required(key: str) -> None:
    payload = {name: value for name, value in FILL.items() if name != key}
    with pytest.raises(BadMessage, match=f"{key}: Field required"):
        _read(TRADE_FILLS, "trade_fill", payload)


def test_the_reason_does_not_grow_with_the_number_of_faults() -> None:
    with pytest.raises(BadMessage, match=r"and \d+ more$") as refused:
        _read(MARKET_SNAPSHOTS, "market_snapshot", {})
    assert len(str(refused.value)) < 500


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals().map(str),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)
PAYLOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "market_snapshot": (MARKET_SNAPSHOTS, SNAPSHOT),
    "trade_fill": (TRADE_FILLS, FILL),
    "system_alert": (
        SYSTEM_ALERTS,
        SystemAlert(severity="WARN", category="c", title="t", detail="d", action_taken="a").model_dump(),
    ),
}


@given(st.dictionaries(st.binary(), st.binary(), max_size=6))
def test_any_bytes_are_an_envelope_or_a_bad_message(fields: dict[bytes, bytes]) -> None:
    try:
        decode(fields)
    except BadMessage:
        pass


@given(st.sampled_from(sorted(PAYLOADS)), st.data())
def test_any_change_of_a_payload_is_a_message_or_a_bad_message(message_type: str, data: st.DataObject) -> None:
    stream, payload = PAYLOADS[message_type]
    changed = payload | {data.draw(st.sampled_from(sorted(payload))): data.draw(json_values)}
    try:
        _read(stream, message_type, changed)
    except BadMessage:
        pass
