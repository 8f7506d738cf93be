"""What leaves the record as a file: exact, in UTC, and nothing that a spreadsheet would compute."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from journal.export import as_csv, as_json, defused, document

NOON = datetime(2022, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Decimal("0E-8"), "0.00000000"),
        (Decimal("-2.6565"), "-2.6565"),
        (Decimal("1E+3"), "1000"),
        (datetime(2022, 11, 1, 14, tzinfo=timezone(timedelta(hours=2))), "2022-11-01T12:00:00Z"),
        (NOON.replace(microsecond=5), "2022-11-01T12:00:00.000005Z"),
        (date(2022, 11, 1), "2022-11-01"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": [Decimal("1.50"), NOON]}, {"a": ["1.50", "2022-11-01T12:00:00Z"]}),
        (None, None),
        (True, True),
        (7, 7),
    ],
)
def test_a_value_is_exact_and_in_utc(value: Any, plain: Any):
    assert document({"value": value}) == {"value": plain}


ROWS = [
    {"symbol": "BTC-USDT-SWAP", "pnl_usd": Decimal("-2.6565"), "closed": None, "won": False, "review": {"a": "wait"}},
    {"symbol": "naïve, \"quoted\"\nline", "pnl_usd": Decimal("0.0000"), "closed": NOON, "won": True, "review": []},
]  # fmt: skip


def test_json_is_one_array_however_many_rows_there_are():
    assert json.loads("".join(as_json([]))) == []
    assert json.loads("".join(as_json(ROWS))) == [document(row) for row in ROWS]


def test_csv_reads_back_as_it_was_written():
    text = "".join(as_csv([*ROWS[0]], ROWS))
    assert text.splitlines()[0] == "symbol,pnl_usd,closed,won,review"
    assert text.endswith("\r\n")
    assert [*csv.reader(io.StringIO(text))][1:] == [
        ["BTC-USDT-SWAP", "-2.6565", "", "false", '{"a": "wait"}'],
        ['naïve, "quoted"\nline', "0.0000", "2022-11-01T12:00:00Z", "true", "[]"],
    ]


def test_a_row_is_not_read_before_the_one_before_it_is_written():
    read = []

    def rows():
        for number in range(3):
            read.append(number)
            yield {"number": number}

    for write in (as_json, lambda rows: as_csv(["number"], rows)):
        read.clear()
        pieces = write(rows())
        next(pieces)
        assert len(read) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "=HYPERLINK(\"http://evil.example\")", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1",
        "＝1", "＋1", "－1", "＠A1",
    ],
)  # fmt: skip
def test_a_text_that_a_spreadsheet_would_compute_is_defused(text: str):
    assert defused(text) == f"'{text}"
    cells = [*csv.reader(io.StringIO("".join(as_csv(["text"], [{"text": text}])), newline=""))]
    assert cells[1] == [f"'{text}"]


@given(some.text())
def test_no_cell_of_text_begins_as_a_formula_does(text: str):
    assert not defused(text).lstrip(" \u3000").startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))


def test_numbers_below_zero_stay_numbers():
    text = "".join(as_csv(["pnl_usd", "count"], [{"pnl_usd": Decimal("-1.5"), "count": -3}]))
    assert text.splitlines()[1] == "-1.5,-3"
