"""Lists cost as much at many rows as at few, and say so where they leave something out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from decisions.models import DecisionCycle, ModelCall, Order, OrderTransition, OutboxMessage
from journal import admin_lists, admin_search, known_values
from journal.models import Trade, TradeNote
from tests.bench.pages import Look, looks
from tests.bench.rows import SYMBOLS, Record, fill
from tests.integration.admin_rows import START, logged_in, row

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def reader(db: None) -> Client:
    return logged_in("reader", is_superuser=True)[0]


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def listed(client: Client, model: type[Model], **asked: Any) -> Any:
    response = client.get(list_of(model), asked)
    assert response.status_code == 200, response.headers
    return response.context["cl"]


def keys(client: Client, model: type[Model], **asked: Any) -> list[int]:
    return [row.pk for row in listed(client, model, **asked).result_list]


def analyze(model: type[Model]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {model._meta.db_table}")


# --- as many queries --------------------------------------------------------------------------------------------------


@transaction.atomic
def queries_at(rows: int, client: Client) -> dict[str, int]:
    """The queries of the lists' pages with so many cycles and trades, which are taken away again."""
    fill(Record(rows, rows, market_time=NOW, wall_time=NOW, rarities=rows))
    counts = {}
    for look in filter(_is_of_a_list, looks()):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(look.address).status_code == 200
        counts[look.name] = len(queries)
    transaction.set_rollback(True)
    return counts


def _is_of_a_list(look: Look) -> bool:
    return look.name.endswith((": list", ": a year", ": search for a word")) or "symbol=" in look.name


def test_a_list_takes_as_many_queries_at_500_rows_as_at_50(reader: Client) -> None:
    queries_at(1, reader)
    few, many = queries_at(50, reader), queries_at(500, reader)
    known = {name: count for name, count in many.items() if name in few}
    assert len(known) > 50
    assert {name: (few[name], count) for name, count in known.items() if few[name] != count} == {}


# --- counts and pages -------------------------------------------------------------------------------------------------


@pytest.fixture
def forty(db: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The keys of forty trades, newest first; 30 rows are counted and 10 stand on a page."""
    monkeypatch.setattr(admin_lists, "MOST_COUNTED", 30)
    monkeypatch.setattr("journal.admin_base.ReadOnlyAdmin.list_per_page", 10)
    made = [row(Trade, number, opened_at=START + timedelta(hours=number), symbol="BTC").pk for number in range(40)]
    return made[::-1]


def test_pages_follow_one_another_in_the_lists_order(reader: Client, forty: list[int]) -> None:
    assert [keys(reader, Trade, p=number) for number in (1, 2, 3)] == [forty[:10], forty[10:20], forty[20:30]]


def test_rows_are_counted_up_to_as_many_as_the_pages_reach(reader: Client, forty: list[int]) -> None:
    found = listed(reader, Trade, symbol="BTC")
    assert (found.result_count, found.paginator.num_pages, found.paginator.in_words) == (30, 3, "more than 30")
    page = reader.get(list_of(Trade), {"symbol": "BTC"}).content.decode()
    assert "more than 30 trades; the pages reach 30 of them" in " ".join(page.split())


def test_how_many_rows_a_long_table_has_is_estimated(reader: Client, forty: list[int]) -> None:
    analyze(Trade)
    assert listed(reader, Trade).paginator.in_words == "about 40"


def test_few_rows_are_counted_exactly(reader: Client, forty: list[int]) -> None:
    trade = Trade.objects.get(pk=forty[0])
    assert listed(reader, Trade, q=trade.trade_id).paginator.in_words == "1"
    Trade.objects.filter(pk__in=forty[5:]).delete()
    analyze(Trade)
    assert listed(reader, Trade).paginator.in_words == "5"


@pytest.mark.parametrize("page", ["4", "0", "-1"])
def test_a_page_that_there_is_not_leads_back_to_the_list(reader: Client, forty: list[int], page: str) -> None:
    assert reader.get(list_of(Trade), {"p": page}).headers["Location"].endswith("?e=1")


def test_all_rows_at_once_are_not_to_be_had(reader: Client, forty: list[int]) -> None:
    assert keys(reader, Trade, all="") == forty[:10]


# --- their order ------------------------------------------------------------------------------------------------------


def test_a_long_table_is_sorted_by_its_times_alone(
    reader: Client, forty: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    Trade.objects.filter(pk=forty[-1]).update(pnl_usd=-1000)
    columns = [column.name for column in listed(reader, Trade).list_display]
    by_pnl, by_time = columns.index("pnl_usd"), columns.index("opened_at")
    assert keys(reader, Trade, o=by_pnl)[0] == forty[-1]
    monkeypatch.setattr(admin_lists, "LONG_TABLE", 0)
    assert keys(reader, Trade, o=by_pnl) == forty[:10]
    assert keys(reader, Trade, o=by_time) == forty[:-11:-1]
    assert {column.name for column in listed(reader, Trade).sortable_by} == {"opened_at", "closed_at"}


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["symbol", "venue_order_id"], ids=["by its index", "by the newest rows"])
def test_the_values_of_a_column_are_known(name: str) -> None:
    fill(Record(100, 100, market_time=NOW, wall_time=NOW))
    known = known_values.known_values(Order, Order._meta.get_field(name))
    assert known == sorted(set(Order.objects.values_list(name, flat=True)))
    assert known_values.is_led_by(Order, name) == (name == "symbol")


def test_without_an_index_the_newest_rows_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_values, "NEWEST", 2)
    for number in range(3):
        row(Order, number, venue_order_id=f"venue {number}", stop_loss=1, reduce_only=False)
    known = known_values.known_values(Order, Order._meta.get_field("venue_order_id"))
    assert known == ["venue 1", "venue 2"]


def test_no_value_and_no_row_offer_nothing() -> None:
    field = Trade._meta.get_field("playbook_version")
    assert known_values.known_values(Trade, field) == []
    row(Trade, playbook_version=None)
    assert known_values.known_values(Trade, field) == []


@pytest.mark.parametrize(
    ("name", "led"),
    [("slot_at", True), ("instrument", True), ("decision_id", True), ("reason", False), ("round", False)],
)
def test_an_index_of_some_rows_only_leads_to_no_list(name: str, led: bool) -> None:
    assert known_values.is_led_by(DecisionCycle, name) == led


def test_cycles_are_found_by_their_state(reader: Client) -> None:
    done = row(DecisionCycle)
    under_way = row(DecisionCycle, 1, state="analyzing", outcome=None, finished_at=None)
    assert keys(reader, DecisionCycle, state__exact="analyzing") == [under_way.pk]
    assert keys(reader, DecisionCycle, state__exact="done") == [done.pk]
    assert keys(reader, DecisionCycle, state__exact="screening") == []


# --- search -----------------------------------------------------------------------------------------------------------


def test_a_row_is_found_by_the_whole_of_what_is_unique(reader: Client) -> None:
    cycles = [row(DecisionCycle, number) for number in range(3)]
    wanted = cycles[1]
    assert keys(reader, DecisionCycle, q=wanted.decision_id) == [wanted.pk]
    assert keys(reader, DecisionCycle, q=wanted.decision_id.hex) == [wanted.pk]
    assert keys(reader, DecisionCycle, q=str(wanted.decision_id)[:8]) == []


def test_a_part_of_a_value_that_can_be_filtered_by_finds_rows_of_any_age(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_search, "NEWEST_SEARCHED", 1)
    old, new = (row(DecisionCycle, number, instrument=SYMBOLS[number]) for number in range(2))
    assert keys(reader, DecisionCycle, q="btc") == [old.pk]
    assert keys(reader, DecisionCycle, q="usdt") == [new.pk, old.pk]


def test_other_texts_are_searched_in_the_newest_rows(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_search, "NEWEST_SEARCHED", 2)
    cycles = [row(DecisionCycle, number, reason="A Quiet market") for number in range(4)]
    assert keys(reader, DecisionCycle, q="quiet") == [cycles[3].pk, cycles[2].pk]


def test_every_word_has_to_be_found_anywhere(reader: Client) -> None:
    wanted = row(DecisionCycle, instrument="BTC-USDT-SWAP", reason="a quiet market")
    row(DecisionCycle, 1, instrument="ETH-USDT-SWAP", reason="a quiet market")
    row(DecisionCycle, 2, instrument="BTC-USDT-SWAP", reason="a loud market")
    assert keys(reader, DecisionCycle, q="quiet btc") == [wanted.pk]


def test_what_people_attached_is_found_on_rows_of_any_age_and_once(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_search, "NEWEST_SEARCHED", 1)
    old, _ = row(Trade), row(Trade, 1)
    for number in range(2):
        row(TradeNote, number, trade=old, text="a textbook breakout")
    assert keys(reader, Trade, q="textbook") == [old.pk]


def test_a_row_is_found_by_what_is_unique_of_another(reader: Client) -> None:
    orders = [row(Order, number, stop_loss=1, reduce_only=False) for number in range(2)]
    steps = [row(OrderTransition, number, order=order) for number, order in enumerate(orders)]
    assert keys(reader, OrderTransition, q=orders[0].client_order_id.replace(" ", "")) == []
    Order.objects.filter(pk=orders[0].pk).update(client_order_id="abc123")
    assert keys(reader, OrderTransition, q="abc123") == [steps[0].pk]


def test_a_list_says_what_its_search_finds(reader: Client) -> None:
    row(DecisionCycle)
    page = reader.get(list_of(DecisionCycle)).content.decode()
    assert (
        "Finds part of Instrument; a whole Decision ID; part of Reason or Last error in the newest 20,000 rows" in page
    )


@pytest.mark.parametrize("words", ["", "   ", "%", "_", "'; --", "\\", "a" * 5000])
def test_nothing_that_is_searched_for_breaks_the_list(reader: Client, words: str) -> None:
    row(ModelCall)
    listed(reader, ModelCall, q=words)


# --- dates ------------------------------------------------------------------------------------------------------------


def titles(found: Any) -> list[str]:
    return [choice["title"] for choice in found.dates["choices"]]


def test_a_list_is_narrowed_by_its_dates_step_by_step(reader: Client) -> None:
    stamps = [datetime(2025, 12, 31, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]
    old, new = (row(DecisionCycle, number, slot_at=stamp) for number, stamp in enumerate(stamps))
    years = listed(reader, DecisionCycle)
    assert titles(years) == ["2025", "2026"]
    address = list_of(DecisionCycle) + years.dates["choices"][1]["link"]
    months = reader.get(address).context["cl"]
    assert ([found.pk for found in months.result_list], titles(months)) == ([new.pk], ["January 2026", "February 2026"])
    days = reader.get(list_of(DecisionCycle) + months.dates["choices"][0]["link"]).context["cl"]
    assert (list(days.result_list), titles(days)[-1], len(titles(days))) == ([], "31 January", 31)
    day = listed(reader, DecisionCycle, slot_at__year=2025, slot_at__month=12, slot_at__day=31)
    assert ([found.pk for found in day.result_list], titles(day)) == ([old.pk], ["31 December"])
    assert day.dates["back"]["title"] == "December 2025"
    page = reader.get(list_of(DecisionCycle), {"slot_at__year": 2026}).content.decode()
    assert page.index("All dates") < page.index("January 2026") < page.index("February 2026")


def test_the_dates_of_rows_without_one_are_left_out(reader: Client) -> None:
    row(OutboxMessage, sent_at=None)
    assert listed(reader, OutboxMessage).dates is None
    row(OutboxMessage, 1, sent_at=START)
    row(OutboxMessage, 2, sent_at=None)
    assert titles(listed(reader, OutboxMessage)) == ["1 November"]


@pytest.mark.parametrize("asked", [{"slot_at__year": "never"}, {"slot_at__year": "2026", "slot_at__month": "13"}])
def test_what_is_no_date_leads_back_to_the_list(reader: Client, asked: dict[str, str]) -> None:
    row(DecisionCycle)
    assert reader.get(list_of(DecisionCycle), asked).headers["Location"].endswith("?e=1")
