"""`manage.py trades`: what it lists and exports, and what it says of a mistake."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from journal.models import Trade
from journal.notes import annotate
from tests.integration.admin_rows import START, row

pytestmark = pytest.mark.django_db


def trades(*words: str) -> str:
    out = io.StringIO()
    call_command("trades", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def recorded() -> list[Trade]:
    """Three trades, a day apart, the last in another instrument."""
    symbols = ("BTC-USDT-SWAP", "BTC-USDT-SWAP", "ETH-USDT-SWAP")
    return [
        row(Trade, number, symbol=symbol, opened_at=START + timedelta(days=number), pnl_usd="-2.5000")
        for number, symbol in enumerate(symbols)
    ]


def ids(*words: str) -> list[int]:
    return [each["id"] for each in json.loads(trades("export", "--format", "json", *words))]


def test_trades_are_listed_newest_first_a_line_each(recorded: list[Trade]):
    heading, *lines = trades("list").splitlines()
    assert heading.split()[:4] == ["id", "opened", "closed", "symbol"]
    assert [int(line.split()[0]) for line in lines] == [trade.pk for trade in reversed(recorded)]
    assert "2022-11-03 00:00" in lines[0]
    assert "-2.5000" in lines[0]
    assert len(trades("list", "--last", "1").splitlines()) == 2


def test_a_list_as_json_has_the_same_trades(recorded: list[Trade]):
    assert [each["symbol"] for each in json.loads(trades("list", "--json", "--last", "2"))] == [
        "ETH-USDT-SWAP",
        "BTC-USDT-SWAP",
    ]


def test_nothing_found_is_no_mistake():
    assert trades("list") == "No trade was opened then.\n"
    assert json.loads(trades("export", "--format", "json")) == []
    assert len(trades("export").splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ((), [2, 1, 0]),
        (("--symbol", "BTC-USDT-SWAP"), [1, 0]),
        (("--from", "2022-11-02"), [2, 1]),
        (("--to", "2022-11-02"), [0]),
        (("--from", "2022-11-01T00:00:01Z", "--to", "2022-11-03T00:00Z"), [1]),
        (("--from", "2022-11-02T02:00+02:00"), [2, 1]),
    ],
)
def test_a_stretch_begins_with_its_first_moment_and_ends_before_its_last(
    recorded: list[Trade], words: tuple[str, ...], places: list[int]
):
    assert ids(*words) == [recorded[place].pk for place in places]


def test_an_export_is_the_file_that_the_admin_gives(
    recorded: list[Trade], tmp_path: Path, client: Any, admin_client: Any
):
    annotate(recorded[0], by="ada", text="note", add=["news"])
    file = tmp_path / "trades.csv"
    assert trades("export", "--output", str(file)) == ""
    given = admin_client.get("/admin/journal/trade/export/csv/")
    assert file.read_bytes() == b"".join(given.streaming_content)
    lines = [*csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))]
    assert [line["tag_words"] for line in lines] == ["", "", "news"]


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (("list", "--last", "0"), "from 1 to 10000", 2),
        (("list", "--last", "many"), "from 1 to 10000", 2),
        (("export", "--from", "yesterday"), "is no time", 2),
        (("export", "--from", "2022-13-01"), "month must be in 1..12", 2),
        (("export", "--from", "2022-11-02", "--to", "2022-11-01"), "--from has to be before --to", 2),
        (("export", "--format", "xml"), "invalid choice", 2),
        (("export", "--output", "/no/such/folder/trades.csv"), "No such file or directory", 1),
        ((), "WORD", 2),
    ],
)
def test_a_mistake_is_told_in_a_line_and_never_as_a_traceback(
    words: tuple[str, ...], told: str, code: int, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(CommandError) as refused:
        trades(*words)
    assert told in str(refused.value) + capsys.readouterr().err
    assert refused.value.returncode == code or code == 2  # what argparse refuses ends with 2 in the terminal


def test_a_text_that_would_steer_the_terminal_is_spelt_out(recorded: list[Trade]):
    Trade.objects.filter(pk=recorded[0].pk).update(strategy_used="\x1b[31mred\u202e")
    assert "\x1b" not in trades("list")
    assert "\u202e" not in trades("list")
