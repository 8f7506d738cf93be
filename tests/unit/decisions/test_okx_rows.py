import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from decisions.okx.rows import (
    FundingRate,
    Instrument,
    MarkPrice,
    NotTraded,
    OkxRow,
    OpenInterest,
    Refused,
    Ticker,
    Unreadable,
    closed_candles,
    data_in,
    only_row,
    server_time,
)
from tests.unit.decisions.okx_exchange import BTC, exchange

OPENED = 1_767_225_600_000
GOOD = [str(OPENED), "100", "110", "90", "105", "12000", "120", "12600", "1"]


def told(path: str) -> dict[str, Any]:
    return exchange().answer(path, {"instId": BTC})["data"][0]


def body(**answer: Any) -> bytes:
    return json.dumps({"code": "0", "msg": "", "data": [], **answer}).encode()


def test_the_recorded_shapes_are_read() -> None:
    ticker = only_row(Ticker, [told("market/ticker")], BTC)
    assert (ticker.at, ticker.bid < ticker.last < ticker.ask) == (datetime(2026, 1, 3, 10, 20, 2, tzinfo=UTC), True)
    assert only_row(MarkPrice, [told("public/mark-price")], BTC).price == ticker.last
    assert only_row(OpenInterest, [told("public/open-interest")], BTC).usd == 2_500_000_000
    funding = only_row(FundingRate, [told("public/funding-rate")], BTC)
    assert (funding.rate, funding.settled_rate) == (Decimal("0.0001"), Decimal("0.00007"))
    assert funding.next_at == datetime(2026, 1, 3, 16, tzinfo=UTC)
    terms = only_row(Instrument, [told("public/instruments")], BTC).terms()
    assert (terms.ct_val, terms.lot_size, terms.min_size, terms.tick_size) == (
        Decimal("0.01"), Decimal("0.01"), Decimal("0.01"), Decimal("0.1"),
    )  # fmt: skip


def test_a_contract_value_is_multiplied_as_told() -> None:
    row = told("public/instruments") | {"ctMult": "10"}
    assert only_row(Instrument, [row], BTC).terms().ct_val == Decimal("0.1")


def test_an_empty_text_is_nothing_where_there_may_be_nothing() -> None:
    row = told("public/funding-rate") | {"settFundingRate": ""}
    assert only_row(FundingRate, [row], BTC).settled_rate is None


@pytest.mark.parametrize(
    ("changes", "cure"),
    [({"state": "suspend"}, "wait until it is, or take it out"), ({"ctType": "inverse"}, "only linear ones")],
)
def test_an_instrument_that_cannot_be_traded_says_what_to_do(changes: dict[str, str], cure: str) -> None:
    row = told("public/instruments") | changes
    with pytest.raises(NotTraded, match=cure):
        only_row(Instrument, [row], BTC).terms()


@pytest.mark.parametrize(
    ("model", "path", "changes"),
    [
        (Ticker, "market/ticker", {"last": ""}),
        (Ticker, "market/ticker", {"last": "-1"}),
        (Ticker, "market/ticker", {"last": "NaN"}),
        (Ticker, "market/ticker", {"bidPx": "99999999"}),
        (Ticker, "market/ticker", {"ts": "yesterday"}),
        (Ticker, "market/ticker", {"ts": 1}),
        (Ticker, "market/ticker", {"ts": "9" * 30}),
        (Ticker, "market/ticker", {"instId": "ETH-USDT-SWAP"}),
        (MarkPrice, "public/mark-price", {"markPx": None}),
        (OpenInterest, "public/open-interest", {"oiUsd": "-5"}),
        (FundingRate, "public/funding-rate", {"fundingRate": ""}),
        (Instrument, "public/instruments", {"tickSz": "0"}),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(model: type[OkxRow], path: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=model.__name__):
        only_row(model, [told(path) | changes], BTC)


@pytest.mark.parametrize("rows", [[], [{}, {}], ["text"], [None], [[]]])
def test_one_row_is_expected(rows: list[Any]) -> None:
    with pytest.raises(Unreadable):
        only_row(Ticker, rows, BTC)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"<html>busy</html>", b"[]", b"null", b'{"data": []}', b'{"code": 0, "data": []}', b'{"code": "0"}',
        b'{"code": "0", "data": {}}', b'{"code": "0", "data": [NaN]}', b"\xff\xfe", b"[" * 100_000,
        b'{"code": "0", "da',
    ],
    ids=lambda answer: answer[:20].decode(errors="replace"),
)  # fmt: skip
def test_an_answer_that_is_none_is_told(answer: bytes) -> None:
    with pytest.raises(Unreadable):
        data_in(answer)


@pytest.mark.parametrize(
    ("code", "status"), [("50011", 429), ("50001", 503), ("50026", 503), ("51000", 400), ("whatever", 400)]
)
def test_a_mistake_under_http_200_is_told_with_what_it_means(code: str, status: int) -> None:
    with pytest.raises(Refused, match=f"code {code}: Too many") as caught:
        data_in(body(code=code, msg="Too many"))
    assert caught.value.status == status


def test_an_unknown_instrument_names_the_cure() -> None:
    with pytest.raises(NotTraded, match="no swap BTX-USDT-SWAP: correct its name in INSTRUMENTS"):
        data_in(body(code="51001", msg="Instrument ID doesn't exist."), "BTX-USDT-SWAP")


def test_the_time_is_read() -> None:
    assert server_time([{"ts": str(OPENED)}]) == datetime(2026, 1, 1, tzinfo=UTC)
    wrong: list[list[Any]] = [[], [{}], [{"ts": 5}], ["x"]]
    for rows in wrong:
        with pytest.raises(Unreadable):
            server_time(rows)


def test_candles_are_read_without_the_forming_one() -> None:
    forming = [str(OPENED + 300_000), "1", "2", "1", "2", "1", "1", "1", "0"]
    (candle,) = closed_candles([forming, GOOD], 300)
    assert tuple(candle) == (OPENED, 100, 110, 90, 105, 120)


def changed(place: int, cell: Any) -> list[Any]:
    return [*GOOD[:place], cell, *GOOD[place + 1 :]]


@pytest.mark.parametrize(
    "row",
    [
        GOOD[:8], [*GOOD, "1"], "text", None, {}, changed(0, "x"), changed(0, str(OPENED + 1)), changed(1, ""),
        changed(2, "101"), changed(3, "106"), changed(4, "NaN"), changed(4, "Infinity"), changed(4, "0"),
        changed(4, 105), changed(6, "-1"), changed(8, "2"), changed(8, ""),
    ],
    ids=str,
)  # fmt: skip
def test_one_bad_candle_spoils_the_answer(row: Any) -> None:
    before = [str(OPENED - 300_000), *GOOD[1:]]
    with pytest.raises(Unreadable, match="candles"):
        closed_candles([row, before], 300)


def test_candles_out_of_order_are_refused() -> None:
    later = [str(OPENED + 300_000), *GOOD[1:]]
    open_one = changed(8, "0")
    for rows in ([GOOD, later], [GOOD, GOOD], [later, open_one]):
        with pytest.raises(Unreadable):
            closed_candles(rows, 300)
