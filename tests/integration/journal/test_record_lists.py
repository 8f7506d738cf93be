"""Lists of trades and cycles: filtered, summed and taken along, with as many queries for many rows as for few."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import CharField, TextField
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from decisions.models import DecisionCycle, ModelCall
from journal.export_rows import CHUNK
from journal.models import PlaybookVersion, Trade
from journal.notes import annotate
from tests.integration.admin_rows import START, logged_in, row

pytestmark = pytest.mark.django_db

TRADES, CYCLES = "/admin/journal/trade/", "/admin/decisions/decisioncycle/"
EVIL = "<script>alert('owned')</script>"


@pytest.fixture
def reader() -> Client:
    return logged_in("reader", is_superuser=True)[0]


@pytest.fixture
def trades() -> list[Trade]:
    """Won, lost, even, unknown and open, of two symbols, strategies, regimes, reasons, versions and origins."""
    for version in (1, 2):
        row(PlaybookVersion, version, version=version)
    results: tuple[dict[str, Any], ...] = (
        {"pnl_usd": Decimal("3.5"), "gross_pnl_usd": 4, "fees_usd": Decimal("0.4"), "funding_usd": Decimal("-0.1")},
        {"pnl_usd": Decimal("-1.25"), "gross_pnl_usd": -1, "fees_usd": Decimal("0.25"), "direction": "SHORT"},
        {"pnl_usd": Decimal(0), "symbol": "ETH-USDT-SWAP", "exit_reason": "take_profit", "playbook_version": 2},
        {"pnl_usd": None, "exit_reason": "reconciled", "origin": "reconciled", "fees_usd": 9},
        {"pnl_usd": None, "status": "open", "open_size": 1, "closed_at": None, "strategy_used": "mean_reversion"},
    )
    common = {
        "symbol": "BTC-USDT-SWAP", "strategy_used": "breakout", "market_regime": "ranging", "exit_reason": "stop_loss",
        "playbook_version": 1, "fees_usd": 0,
    }  # fmt: skip
    return [
        row(Trade, number, **{**common, "opened_at": START + timedelta(days=number), **values})
        for number, values in enumerate(results)
    ]


def sums(client: Client, address: str, **asked: str) -> dict[str, str]:
    response = client.get(address, asked)
    assert response.status_code == 200
    return {str(name): str(value) for name, value in response.context["sums"]}


def exported(client: Client, address: str, **asked: str) -> list[dict[str, Any]]:
    response = client.get(f"{address}export/json/", asked)
    assert response.status_code == 200
    return json.loads(b"".join(response.streaming_content))


# --- filters and sums -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"result": "win"}, [0]),
        ({"result": "loss"}, [1]),
        ({"result": "even"}, [2]),
        ({"result": "unknown"}, [3]),
        ({"result": "nonsense"}, [4, 3, 2, 1, 0]),
        ({"symbol": "ETH-USDT-SWAP"}, [2]),
        ({"direction__exact": "SHORT"}, [1]),
        ({"status__exact": "open"}, [4]),
        ({"strategy_used": "mean_reversion"}, [4]),
        ({"market_regime": "trending_up"}, []),
        ({"exit_reason": "take_profit"}, [2]),
        ({"origin__exact": "reconciled"}, [3]),
        ({"playbook_version": "2"}, [2]),
        ({"playbook_version": "two"}, [4, 3, 2, 1, 0]),
        ({"opened_at__year": "2022", "opened_at__month": "11", "opened_at__day": "2"}, [1]),
        ({"result": "loss", "symbol": "ETH-USDT-SWAP"}, []),
    ],
)
def test_trades_are_filtered_and_exported_alike(
    reader: Client, trades: list[Trade], asked: dict[str, str], places: list[int]
):
    wanted = [trades[place].pk for place in places]
    assert [trade.pk for trade in reader.get(TRADES, asked).context["cl"].result_list] == wanted
    assert [trade["id"] for trade in exported(reader, TRADES, **asked)] == wanted


def test_what_is_filtered_is_summed_by_the_results_that_are_known(reader: Client, trades: list[Trade]):
    found = sums(reader, TRADES)
    assert found["Trades"] == "5 (1 open, 1 not known)"
    assert "+2.25" in found["Net P&L USD"]
    assert "+3" in found["Gross P&L USD"]
    assert "0.65" in found["Fees USD"]  # those of the unknown result are in no sum
    assert "−0.1" in found["Funding USD"]
    assert found["Win rate of the known results"] == "33.3 % of 3 (90 %: 7.8 to 74.6 %)"
    assert sums(reader, TRADES, result="loss")["Trades"] == "1"
    assert sums(reader, TRADES, symbol="NONE-USDT-SWAP")["Win rate of the known results"] == "– of 0"


def test_cycles_are_summed_by_outcome_with_what_their_models_cost(reader: Client):
    cycles = [
        row(
            DecisionCycle, number, outcome=outcome, instrument=instrument, slot_at=START + timedelta(minutes=5 * number)
        )
        for number, (outcome, instrument) in enumerate(
            [("screened_out", "BTC-USDT-SWAP"), ("screened_out", "ETH-USDT-SWAP"), ("traded", "BTC-USDT-SWAP")]
        )
    ]
    for cycle in cycles:
        row(ModelCall, cycle=cycle, cost_usd=Decimal("0.25"))
    row(ModelCall, cycle=cycles[2], cost_usd=Decimal("0.125"))
    found = sums(reader, CYCLES)
    assert found["Cycles"] == "3"
    assert found["Model calls"] == "4"
    assert "0.875" in found["Model cost USD"]
    assert [number for name, number in found.items() if "screened out" in name] == ["2"]
    assert "0.625" in sums(reader, CYCLES, instrument="BTC-USDT-SWAP")["Model cost USD"]
    assert [(each["outcome"], each["model_cost_usd"]) for each in exported(reader, CYCLES)] == [
        ("traded", "0.375000"), ("screened_out", "0.250000"), ("screened_out", "0.250000"),
    ]  # fmt: skip


def test_sums_of_a_table_that_grew_are_those_of_its_newest_rows_and_say_so(
    reader: Client, trades: list[Trade], monkeypatch: pytest.MonkeyPatch
):
    from django.contrib import admin

    monkeypatch.setattr(type(admin.site.get_model_admin(Trade)), "most_summed", 2)
    response = reader.get(TRADES)
    assert dict(response.context["sums"])["Trades"] == "2 (1 open, 1 not known)"
    assert "the newest 2 that the filters let through" in response.content.decode()
    assert len(exported(reader, TRADES)) == 5


@pytest.mark.parametrize(("model", "address"), [(Trade, TRADES), (DecisionCycle, CYCLES)])
def test_a_list_and_its_export_take_as_many_queries_for_60_rows_as_for_3(reader: Client, model: Any, address: str):
    def queries(asked: str, first: int, after: int) -> int:
        for number in range(first, after):
            made = row(model, number)
            if model is Trade:
                annotate(made, by="ada", text="so", add=["news"])
            else:
                row(ModelCall, cycle=made)
        with CaptureQueriesContext(connection) as captured:
            response = reader.get(asked)
            b"".join(response.streaming_content) if response.streaming else None
        return len(captured)

    reader.get(address)
    assert queries(address, 0, 3) == queries(address, 3, 60)
    export = f"{address}export/json/"
    assert queries(export, 60, 61) == queries(export, 61, 90)


# --- export -----------------------------------------------------------------------------------------------------------


def test_a_csv_file_is_named_and_holds_what_a_spreadsheet_can_show(reader: Client, trades: list[Trade]):
    annotate(trades[0], by="ada", text="in JSON only", add=["late", "news"])
    response = reader.get(f"{TRADES}export/csv/", {"result": "win"})
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith('attachment; filename="trades-')
    (line,) = csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode()))
    assert line["pnl_usd"] == "3.5000"
    assert line["opened_at"] == "2022-11-01T00:00:00Z"
    assert line["tag_words"] == "late news"
    assert "indicators_entry" not in line


def test_a_json_file_has_every_column_and_what_people_said(reader: Client, trades: list[Trade]):
    annotate(trades[0], by="ada", text="Too early.", add=["news"])
    (found,) = exported(reader, TRADES, result="win")
    assert {field.attname for field in Trade._meta.concrete_fields} <= set(found)
    assert found["tag_words"] == ["news"]
    assert [(note["author"], note["text"]) for note in found["person_notes"]] == [("ada", "Too early.")]
    assert found["person_notes"][0]["created_at"].endswith("Z")


def test_more_rows_than_the_cursor_fetches_at_once_are_all_there(reader: Client):
    one = row(Trade)
    copies = [
        Trade(**{field.attname: getattr(one, field.attname) for field in Trade._meta.concrete_fields})
        for _ in range(CHUNK)
    ]
    for copy in copies:
        copy.pk, copy.trade_id = None, Trade._meta.get_field("trade_id").get_default()
    Trade.objects.bulk_create(copies)
    lines = b"".join(reader.get(f"{TRADES}export/csv/").streaming_content).decode().splitlines()
    assert len(lines) == 1 + 1 + CHUNK


def test_what_a_model_wrote_is_no_formula_in_a_spreadsheet(reader: Client):
    row(Trade, opus_reasoning='=HYPERLINK("http://evil.example","profit")', strategy_used="@SUM(A1)")
    (line,) = csv.DictReader(io.StringIO(b"".join(reader.get(f"{TRADES}export/csv/").streaming_content).decode()))
    assert line["opus_reasoning"].startswith("'=")
    assert line["strategy_used"].startswith("'@")


def test_the_list_offers_the_export_of_what_is_filtered_whatever_page_is_looked_at(reader: Client, trades: list[Trade]):
    page = reader.get(TRADES, {"result": "loss", "o": "1"}).content.decode()
    assert f'href="{TRADES}export/csv/?result=loss"' in page
    assert f'href="{TRADES}export/json/?result=loss"' in page


def test_a_filter_that_makes_no_sense_leads_back_to_the_list(reader: Client, trades: list[Trade]):
    answer = reader.get(f"{TRADES}export/csv/", {"opened_at__year": "no year"})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{TRADES}?e=1")


def test_only_who_may_read_the_table_takes_it_along():
    client, user = logged_in("staff")
    assert client.get(f"{TRADES}export/csv/").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_trade"))
    assert client.get(f"{TRADES}export/csv/").status_code == 200
    assert client.get(f"{CYCLES}export/csv/").status_code == 403
    assert "/login/" in Client().get(f"{TRADES}export/csv/").headers["Location"]


# --- hostile text -----------------------------------------------------------------------------------------------------

HOSTILE = (
    EVIL,
    '<img src=x onerror="alert(1)">',
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "{{ 7|add:7 }}{% debug %}",
    "sell\u202egnol\u2066\u200b",
)


@pytest.mark.parametrize("model", [Trade, DecisionCycle, ModelCall])
@pytest.mark.parametrize(
    "text", HOSTILE, ids=["script", "onerror", "javascript", "svg", "attribute", "template", "rtl"]
)
def test_hostile_text_in_every_column_is_only_text(reader: Client, model: Any, text: str):
    """In every column that takes free text, and in every document."""
    closed = {"status", "state", "outcome", "direction", "origin", "source", "purpose", "model"}
    values: dict[str, Any] = {
        field.name: text[: field.max_length or 1000]
        for field in model._meta.concrete_fields
        if isinstance(field, CharField | TextField) and field.name not in closed
    }
    documents = {
        field.name: {text: [text, {"text": text, "decision": {"action": text, "reason": text}}]}
        for field in model._meta.concrete_fields
        if field.get_internal_type() == "JSONField"
    }
    written = row(model, **values, **documents)
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    for address in (reverse(f"admin:{name}_changelist"), reverse(f"admin:{name}_change", args=(written.pk,))):
        page = reader.get(address).content.decode()
        main = page[page.index('id="content-main"') :]
        for raw in (
            "<script>alert",
            "<img src=x",
            "<svg/onload",
            '" onmouseover=',
            'href="javascript:',
            "\u202e",
            "\u200b",
        ):
            assert raw not in main
