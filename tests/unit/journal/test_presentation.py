"""How values look in the admin."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from journal.presentation import (
    NOTHING,
    Document,
    Facts,
    Notice,
    Tab,
    Table,
    arranged,
    indicators_table,
    label,
    moment,
    shown,
    tone_of,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pnl_usd", "P&L USD"),
        ("pnl_pct", "P&L %"),
        ("closed_at", "Closed"),
        ("duration_seconds", "Duration"),
        ("playbook_json", "Playbook"),
        ("okx_order_id", "OKX order ID"),
        ("rsi_14", "RSI 14"),
        ("equity_at", "Equity as of"),
    ],
)
def test_names_become_words(name: str, text: str):
    assert label(name) == text


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("pnl_pct", Decimal("0.004710"), ("gain", ">+0.471 %<")),
        ("pnl_usd", Decimal("-2.6565"), ("loss", ">−2.6565<")),
        ("pnl_usd", Decimal("0.0000"), (">0<",)),
        ("rate", Decimal("0.0005"), (">0.05 %<",)),
        ("confidence_at_entry", Decimal("0.819"), (">81.9 %<",)),
        ("rsi_14", 42.162141234567, (">42.16214<",)),
        ("equity", Decimal("NaN"), ("NaN",)),
        ("duration_seconds", 3900, (">1 h 05 min<",)),
        ("outcome", "gate_rejected", ("pill-warn", ">gate rejected<")),
        ("reason", "<script>alert(1)</script>", ("&lt;script&gt;",)),
        ("payload", {"text": "<b>"}, ("&lt;b&gt;",)),
    ],
)
def test_a_value_is_shown_by_type_and_name(name: str, value: Any, parts: tuple[str, ...]):
    text = str(shown(name, value, short=True))
    assert all(part in text for part in parts), text
    assert "<script>" not in text


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_what_is_absent_is_a_dash_and_never_the_word_none(value: object):
    assert shown("reason", value) == NOTHING


def test_a_name_may_be_broken_between_its_words_and_its_markup_is_escaped():
    assert shown("strategy_used", "mean_reversion", short=True) == '<span class="one-line">mean_<wbr>reversion</span>'
    assert "<b>" not in shown("strategy_used", "<b>_</b>", short=True)


def test_a_fraction_is_told_to_a_ten_thousandth_of_a_per_cent():
    assert ">−8.4334 %<" in shown("change_24h", Decimal("-0.08433414"))


def test_zero_and_false_are_values():
    assert (shown("round", 0), shown("approved", False)) == ("0", "no")


def test_a_text_longer_than_a_cell_is_cut_there_and_whole_on_the_page():
    text = "word " * 100
    assert len(str(shown("reason", text, short=True)).split("</span>")[0].split(">")[1]) <= 140
    assert shown("reason", text) == text


def test_times_are_utc_to_the_second():
    at = datetime(2022, 11, 1, 16, 5, 7, tzinfo=timezone(timedelta(hours=2)))
    assert 'datetime="2022-11-01T14:05:07Z"' in moment(at)
    assert ">2022-11-01 14:05:07<" in moment(at, short=True)
    assert ">2022-11-01 14:05<" in moment(datetime(2022, 11, 1, 14, 5, tzinfo=UTC), short=True)


def test_severities_have_their_tone_whatever_their_case():
    assert (tone_of("CRITICAL"), tone_of("WARN"), tone_of("never heard of")) == ("bad", "warn", "plain")


def test_indicators_stand_side_by_side_by_timeframe():
    table = indicators_table(
        {"at entry": {"4H": {"rsi_14": 1.5}, "15m": {"rsi_14": 2.5, "adx_14": None}}, "at exit": None}
    )
    assert table.headers == ["Indicator", "15m at entry", "4H at entry"]
    assert [row[0] for row in table.rows] == ["ADX 14", "RSI 14"]
    assert table.rows[0][1:] == [NOTHING, NOTHING]
    assert not table.folds


def test_a_table_of_many_columns_folds_where_there_is_little_room_each_cell_under_its_header():
    few = Table(title="Few", headers=("A", "B", "C"), rows=[("1", "2", "3")])
    many = Table(title="Many", headers=("A", "B", "C", "D"), rows=[("1", "2", "3", "4")])
    assert (few.folds, many.folds) == (False, True)
    assert many.named_rows == [[("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]]


# --- how a page is put together ---------------------------------------------------------------------------------------

OWN = Facts(title="Trade", facts=[])
PAPERS = [Document(title="Reasoning", text="because")]


def test_a_page_without_tabs_has_its_own_columns_among_the_sections():
    table, notice = Table(title="Fills", headers=(), rows=()), Notice(title="Closed", text="", tone="good")
    assert arranged(OWN, PAPERS, [table, notice]) == [notice, OWN, table, *PAPERS]


def test_a_page_with_tabs_has_its_columns_in_the_last_one_and_what_is_long_in_the_one_before():
    table, notice = Table(title="Fills", headers=(), rows=()), Notice(title="Closed", text="", tone="good")
    *top, tabs = arranged(OWN, PAPERS, [table, Tab(title="Notes", sections=[notice]), notice])
    assert top == [notice]
    assert [(tab.title, list(tab.sections)) for tab in tabs.tabs] == [
        ("Notes", [notice]),
        ("More", [table]),
        ("Every column", [OWN, *PAPERS]),
    ]


def test_tabs_of_one_name_are_one_and_follow_a_decisions_course():
    first, second = Notice(title="one", text="", tone="info"), Notice(title="two", text="", tone="info")
    given = [
        Tab(title=title, sections=[each]) for title, each in (("Review", first), ("Other", first), ("Snapshot", first))
    ]
    (tabs,) = arranged(OWN, [], [*given, Tab(title="Review", sections=[second], count=2)])
    assert [(tab.title, tab.name, tab.count) for tab in tabs.tabs[:-1]] == [
        ("Snapshot", "tab-snapshot", None),
        ("Review", "tab-review", 2),
        ("Other", "tab-other", None),
    ]
    assert list(tabs.tabs[1].sections) == [first, second]
