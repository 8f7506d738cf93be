"""The editor's pages: a form from the schema, what is wrong at its field, review, conflict; and people's decisions."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from journal.models import ChallengerDecision, PlaybookVersion, Promotion
from journal.playbook import (
    CalibrationEntry,
    Lesson,
    RegimeRule,
    StrategyDefinition,
    TimeFilter,
    content,
    read_playbook,
)
from journal.playbook_editor_forms import LISTS, editor_sections
from journal.playbook_versions import active, find
from journal.presentation import page_of
from journal.services import active_playbook
from tests.integration.admin_rows import logged_in
from tests.integration.journal.playbooks import NOW, by_hand, by_reflection, lesson, lessons, seeded, taught
from tests.integration.rewriting import rewriting_the_record

pytestmark = pytest.mark.usefixtures(seeded.__name__)

EDIT = "/admin/journal/playbookversion/edit/"
COMPARE = "/admin/journal/playbookversion/compare/"
EVERYTHING = ("view_playbookversion", "edit_playbook", "promote_playbook")
Typed = dict[str, Any]


def person(*permissions: str, name: str = "ada") -> Client:
    client, user = logged_in(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return client


@pytest.fixture
def ada() -> Client:
    return person(*EVERYTHING)


def text(response: HttpResponse) -> str:
    assert response.status_code == 200
    return unescape(response.content.decode())


def typed(client: Client, address: str = EDIT) -> Typed:
    """What a browser sends of the page as it is, untouched: by the forms behind it, since they are what is rendered."""
    response = client.get(address)
    assert response.status_code == 200
    return fields(response)


def fields(response: HttpResponse) -> Typed:
    values: Typed = {each.html_name: each.value() for each in response.context["basis"]}
    for section in response.context["editor"]:
        for row in section.rows:
            values |= {cell.bound.html_name: cell.bound.value() for cell in row.cells}
            if row.order is not None:
                values[row.order.html_name] = row.order.value()
        if section.management:
            values |= {each.html_name: each.value() for each in section.management}
    return {name: value for name, value in values.items() if value is not None}


def review(client: Client, values: Typed, **changes: Any) -> HttpResponse:
    return client.post(EDIT, {**values, **changes, "step": "review"})


def reviewed(response: HttpResponse, **changes: Any) -> Typed:
    """What a browser sends of the review, with a reason."""
    values = {each.html_name: each.value() for each in response.context["basis"]}
    return {**values, "document": response.context["document"], "reason": "it pays", "promote": "on"} | changes


def save(client: Client, response: HttpResponse, **changes: Any) -> HttpResponse:
    return client.post(EDIT, {**reviewed(response, **changes), "step": "save"})


def changes(response: HttpResponse) -> list[str]:
    tables = [section for section in response.context["sections"] if section.kind == "table"]
    return [": ".join(row) for row in tables[0].rows]


def placed(response: HttpResponse) -> dict[str, list[str]]:
    """What is wrong by the name of the field, the row or the section where it is shown."""
    found: dict[str, list[str]] = {}
    for section in response.context["editor"]:
        found[section.name] = list(section.faults)
        for number, row in enumerate(section.rows):
            found[f"{section.name}-{number}"] = list(row.faults)
            found |= {cell.bound.html_name: list(cell.faults) for cell in row.cells}
    return {name: told for name, told in found.items() if told}


def versions() -> int:
    return PlaybookVersion.objects.count()


# --- the form ---------------------------------------------------------------------------------------------------------


def test_the_untouched_form_says_what_the_playbook_says(ada: Client) -> None:
    full = active_playbook().model_dump(mode="json")
    full["lessons_learned"] = [
        lesson(f"L{number}", 'a "quoted" <b>text</b>\nwith two lines & more') for number in range(60)
    ]
    full["strategy_definitions"][0] |= {"historical_winrate": "0.55", "avg_rr": "1.8", "filters": []}
    full["confidence_calibration"] = [
        {"bucket_low": "0.5", "bucket_high": "0.6", "count": 4, "stated_mean": "0.55", "actual_win_rate": "0.5"}
    ]
    full["time_filters"] = {"avoid_hours_utc": [0, 23], "preferred_hours_utc": [13]}
    written = by_hand("L60").playbook_json | full
    with rewriting_the_record():
        PlaybookVersion.objects.filter(version=2).update(playbook_json=written)
    response = review(ada, typed(ada))
    assert "Nothing was changed" in text(response)
    assert json.loads(response.context["document"]) == content(read_playbook(written))


def test_a_rule_is_edited_reviewed_and_saved_with_a_reason(ada: Client) -> None:
    response = review(ada, typed(ada), **{"market_regime_rules-0-max_position_pct": "0.02"})
    assert changes(response) == ["trending_up.max_position_pct: 0.05 -> 0.02"]
    assert versions() == 1
    refused = save(ada, response, reason=" ")
    assert "This field is required" in text(refused)
    assert versions() == 1
    saved = save(ada, response)
    version = active()
    assert (saved.status_code, saved.headers["Location"]) == (302, page_of(version))
    assert (version.version, version.triggered_by, version.created_by, version.reason) == (
        2,
        "manual",
        "ada",
        "it pays",
    )
    assert [str(each) for each in get_messages(saved.wsgi_request)] == [
        "Version 2 is written: it trades from the next cycle on."
    ]


def test_rows_are_added_removed_and_reordered(ada: Client) -> None:
    by_hand("L1")
    by_hand("L2")
    values = typed(ada) | {
        "lessons_learned-TOTAL_FORMS": "3",
        "lessons_learned-0-DELETE": "on",
        "lessons_learned-1-ORDER": "2",
        **{f"lessons_learned-2-{name}": value for name, value in lesson("L3").items()},
        "lessons_learned-2-ORDER": "1",
        "strategy_definitions-0-ORDER": "3",
        "strategy_definitions-2-ORDER": "1",
        "time_filters-avoid_hours_utc": ["3", "4"],
        "market_regime_rules-3-preferred_strategies": "momentum_breakout,trend_pullback",
        "strategy_definitions-1-filters": "1H ADX above 25\r\n\r\nstop beyond the pullback\r\n",
    }
    response = review(ada, values)
    save(ada, response)
    assert lessons(active()) == ["L3", "L2"]
    playbook = active_playbook()
    assert [each.name for each in playbook.strategy_definitions] == [
        "mean_reversion", "trend_pullback", "momentum_breakout",
    ]  # fmt: skip
    assert playbook.time_filters.avoid_hours_utc == (3, 4)
    assert playbook.market_regime_rules[3].preferred_strategies == ("momentum_breakout", "trend_pullback")
    assert playbook.strategy_definitions[1].filters == ("1H ADX above 25", "stop beyond the pullback")


def test_what_is_wrong_is_told_at_its_field_and_what_was_typed_stays(ada: Client) -> None:
    by_hand("L1")
    response = review(
        ada,
        typed(ada),
        **{
            "market_regime_rules-1-max_position_pct": "-1",
            "market_regime_rules-2-avoid_strategies": "scalping!",
            "strategy_definitions-0-entry": "",
            "strategy_definitions-1-filters": "fine\n" + "x" * 601,
            "strategy_definitions-2-avg_rr": "a lot",
            "lessons_learned-0-date": "yesterday",
            "time_filters-avoid_hours_utc": ["99"],
        },
    )
    assert placed(response) == {
        "market_regime_rules-1-max_position_pct": ["Input should be greater than 0"],
        "market_regime_rules-2-avoid_strategies": [
            "a name of small letters, digits and _ is needed, with a letter first"
        ],
        "strategy_definitions-0-entry": ["it is empty"],
        "strategy_definitions-1-filters": ["it has more than 600 characters"],
        "strategy_definitions-2-avg_rr": ["a number was expected"],
        "lessons_learned-0-date": ["a date like 2026-02-07 was expected"],
        "time_filters-avoid_hours_utc": ["Input should be less than or equal to 23"],
    }
    again = fields(response)
    assert (again["lessons_learned-0-date"], again["strategy_definitions-2-avg_rr"]) == ("yesterday", "a lot")
    assert "This is no playbook yet: nothing was saved" in text(response)
    assert versions() == 2


@pytest.mark.parametrize(
    ("edits", "place", "told"),
    [
        ({"lessons_learned-1-id": "L1"}, "lessons_learned", "L1 more than once"),
        ({"market_regime_rules-0-regime": "ranging"}, "market_regime_rules", "ranging more than once"),
        (
            {"market_regime_rules-0-avoid_strategies": "scalping"},
            "market_regime_rules",
            "trending_up names undefined strategies scalping",
        ),
        (
            {"market_regime_rules-0-avoid_strategies": "trend_pullback"},
            "market_regime_rules-0-avoid_strategies",
            "trend_pullback both preferred and avoided",
        ),
        (
            {"time_filters-avoid_hours_utc": [str(hour) for hour in range(24)]},
            "time_filters-0",
            "every hour is avoided, nothing could ever be traded",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_where_it_stands(ada: Client, edits: Typed, place: str, told: str) -> None:
    by_hand("L1")
    by_hand("L2")
    assert placed(review(ada, typed(ada), **edits)) == {place: [told]}


def test_a_form_without_its_rows_or_with_an_odd_order_loses_nothing_else(ada: Client) -> None:
    values = typed(ada)
    response = review(ada, values, **{"strategy_definitions-0-ORDER": "first", "strategy_definitions-0-exit": "Leave."})
    assert placed(response) == {"strategy_definitions": ["Enter a whole number."]}
    assert fields(response)["strategy_definitions-0-exit"] == "Leave."
    broken = {name: value for name, value in values.items() if not name.endswith("_FORMS")}
    assert set(placed(review(ada, broken))) == set(LISTS)
    assert ada.post(EDIT, {"step": "save"}).status_code == 400
    assert ada.post(EDIT, {**values, "edited_from": "99", "step": "review"}).status_code == 400
    assert ada.get(EDIT, {"from": "99"}).status_code == 400


def test_every_field_of_the_schema_is_in_the_form() -> None:
    document = content(taught("L1"))
    document["confidence_calibration"] = [{"bucket_low": "0", "bucket_high": "1"}]
    shown = {
        section.name: {cell.bound.name for row in section.rows for cell in row.cells}
        for section in editor_sections(document, ())
    }
    assert shown == {
        "market_regime_rules": set(RegimeRule.model_fields),
        "strategy_definitions": set(StrategyDefinition.model_fields),
        "lessons_learned": set(Lesson.model_fields),
        "confidence_calibration": set(CalibrationEntry.model_fields),
        "time_filters": set(TimeFilter.model_fields),
    }


# --- the JSON beside it -----------------------------------------------------------------------------------------------


def as_json(client: Client, document: Any, step: str = "review") -> HttpResponse:
    values = {name: value for name, value in typed(client).items() if name in ("edited_from", "newest", "promotion")}
    spelt = document if isinstance(document, str) else json.dumps(document)
    return client.post(EDIT, {**values, "document": spelt, "step": step})


def test_one_may_go_to_json_and_back_and_loses_nothing(ada: Client) -> None:
    values = typed(ada) | {"strategy_definitions-0-entry": "On a Monday.", "reason": "half a reason"}
    page = ada.post(EDIT, {**values, "step": "json"})
    document = page.context["area"].value()
    assert json.loads(document)["strategy_definitions"][0]["entry"] == "On a Monday."
    assert page.context["reason"] == "half a reason"
    back = as_json(ada, document, "form")
    assert fields(back)["strategy_definitions-0-entry"] == "On a Monday."
    assert changes(as_json(ada, document))[0].endswith("-> 'On a Monday.'")


def test_a_form_that_is_no_playbook_yet_may_go_to_json_all_the_same(ada: Client) -> None:
    page = ada.post(EDIT, {**typed(ada), "strategy_definitions-0-avg_rr": "a lot", "step": "json"})
    assert json.loads(page.context["area"].value())["strategy_definitions"][0]["avg_rr"] == "a lot"
    assert "strategy_definitions.0.avg_rr: a number was expected" in text(page)


@pytest.mark.parametrize("step", ["review", "form", "save"])
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ('{"a": 1,\n"b" 2}', "this is no JSON: Expecting ':' delimiter in line 2, column 5"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "an object with the sections of a playbook was expected"),
        ("null", "an object with the sections of a playbook was expected"),
        ('{"limits": 1}', "limits: a playbook has nothing of this name"),
        ('{"time_filters": [1]}', "time_filters: Input should be an object"),
        ("x" * 1_000_001, "1,000,000 at most are read"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_json_that_is_no_playbook_is_told_and_stays(ada: Client, document: str, told: str, step: str) -> None:
    response = as_json(ada, document, step)
    assert told in text(response)
    assert response.context["area"].value() == document
    assert versions() == 1


def test_ten_megabytes_of_text_are_refused_and_the_playbook_goes_on(ada: Client) -> None:
    values = typed(ada)
    for name in ("strategy_definitions-0-entry", "document"):
        assert ada.post(EDIT, {**values, name: "x" * 10_000_000, "step": "save"}).status_code in (400, 413)
    assert (active().version, versions()) == (1, 1)


def test_the_number_and_date_of_a_pasted_playbook_do_not_count(ada: Client) -> None:
    pasted = taught("L1").model_dump(mode="json") | {"version": 99, "last_updated": "1999-01-01T00:00:00Z"}
    save(ada, as_json(ada, pasted))
    assert (active().version, lessons(active())) == (2, ["L1"])
    assert active_playbook().last_updated > NOW


# --- conflict ---------------------------------------------------------------------------------------------------------


def test_a_version_written_meanwhile_is_a_conflict_and_the_text_stays(ada: Client) -> None:
    mine = review(ada, typed(ada), **{"strategy_definitions-0-entry": "On a Monday."})
    by_hand("THEIRS", by="eve")
    response = save(ada, mine, reason="mine is better")
    shown = text(response)
    assert "Somebody else was faster: nothing was saved, your text is kept" in shown
    assert re.search(r"Version 2 was written meanwhile by eve, .* UTC: for THEIRS", shown)
    assert "lessons_learned: added THEIRS" in shown
    assert "mine is better" in shown
    assert versions() == 2
    assert "Somebody else was faster" in text(save(ada, response))
    rebased = ada.post(EDIT, {**reviewed(response), "step": "rebase"})
    assert changes(rebased)[0].startswith("momentum_breakout.entry: ")
    assert changes(rebased)[1:] == ["lessons_learned: removed THEIRS"]
    save(ada, rebased)
    assert (active().version, active().created_by) == (3, "ada")
    assert active_playbook().strategy_definitions[0].entry == "On a Monday."


# --- who may ----------------------------------------------------------------------------------------------------------


def test_without_the_permission_nothing_is_edited() -> None:
    reader = person("view_playbookversion", "promote_playbook", name="reader")
    assert (reader.get(EDIT).status_code, reader.post(EDIT, {}).status_code) == (403, 403)
    assert person("edit_playbook", name="blind").get(EDIT).status_code == 403
    assert reader.get(COMPARE).status_code == 200
    assert person(name="nobody").get(COMPARE).status_code == 403
    assert EDIT not in text(reader.get(page_of(active())))
    assert Client().get(EDIT).status_code == 302


def test_who_may_not_promote_writes_versions_that_wait() -> None:
    eve = person("view_playbookversion", "edit_playbook", name="eve")
    response = review(eve, typed(eve), **{"strategy_definitions-0-entry": "On a Monday."})
    assert "Trade by it" not in text(response)
    saved = save(eve, response, promote="on")
    assert [str(each) for each in get_messages(saved.wsgi_request)] == [
        "Version 2 is written: it waits to be approved."
    ]
    assert (active().version, versions()) == (1, 2)
    page = text(eve.get(page_of(find(2))))
    assert "waits to be approved" in page
    assert "Approve and let it trade" not in page


# --- decisions --------------------------------------------------------------------------------------------------------


def address(version: int, name: str) -> str:
    return reverse(f"admin:journal_playbookversion_{name}", args=(find(version).pk,))


def decide(client: Client, version: int, name: str, **values: Any) -> HttpResponse:
    form = client.get(address(version, name)).context["form"]
    given = {"reason": "better over 40 trades", "seen": form["seen"].value(), **values}
    foretold = client.post(address(version, name), given)
    assert foretold.status_code == 200
    return client.post(address(version, name), {**given, "confirmed": "yes"}) if foretold.context["said"] else foretold


def test_a_challenger_is_approved_after_its_changes_and_both_records_were_seen(ada: Client) -> None:
    by_reflection("L1")
    shown = text(ada.get(address(2, "approve")))
    assert "Changes in what trades, from version 1" in shown
    assert "added L1" in shown
    record = shown.split(">Record<")[1]
    assert "version 1" in record
    assert "version 2" in record
    assert active().version == 1
    assert decide(ada, 2, "approve").status_code == 302
    assert (active().version, find(2).decision.decided_by) == (2, "ada")


def test_a_challenger_is_rejected(ada: Client) -> None:
    by_reflection("L1")
    assert decide(ada, 2, "reject").status_code == 302
    assert (active().version, find(2).decision.decision, find(2).decision.reason) == (
        1, "rejected", "better over 40 trades",
    )  # fmt: skip


def test_a_roll_back_makes_a_new_version(ada: Client) -> None:
    by_hand("L1")
    response = ada.post(address(1, "roll-back"), {"reason": "it paid less", "seen": Promotion.objects.latest("id").pk})
    assert "Version 3, with what version 1 says, trades from the next cycle on, instead of version 2." in text(response)
    assert versions() == 2
    assert decide(ada, 1, "roll-back").status_code == 302
    assert (active().version, lessons(active())) == (3, [])


def test_a_decision_on_a_page_that_is_out_of_date_is_refused(ada: Client) -> None:
    by_reflection("L1")
    seen = Promotion.objects.latest("id").pk
    by_hand("L2", by="eve")
    for version, name in ((2, "approve"), (1, "roll-back")):
        response = decide(ada, version, name, seen=seen)
        assert "Version 3 was promoted meanwhile by eve" in text(response)
    assert (active().version, ChallengerDecision.objects.get().decision) == (3, "superseded")


@pytest.mark.parametrize(
    ("version", "offered"),
    [
        (1, {"roll-back"}),
        (2, set()),
        (3, {"roll-back"}),
        (4, {"approve", "reject"}),
    ],
)
def test_a_page_offers_what_fits_its_version(ada: Client, version: int, offered: set[str]) -> None:
    by_hand("L1")
    by_reflection("L2")
    by_reflection("L3")
    page = text(ada.get(page_of(find(version))))
    assert {name for name in ("approve", "reject", "roll-back") if address(version, name) in page} == offered


def test_reading_decides_nothing_and_needs_the_permission(ada: Client) -> None:
    by_reflection("L1")
    eve = person("view_playbookversion", "edit_playbook", name="eve")
    for name in ("approve", "reject", "roll-back"):
        assert ada.get(address(2, name), {"reason": "why", "confirmed": "yes"}).status_code == 200
        assert eve.get(address(2, name)).status_code == 403
        assert eve.post(address(2, name), {"reason": "why", "confirmed": "yes"}).status_code == 403
    assert (active().version, versions(), ChallengerDecision.objects.count()) == (1, 2, 0)


# --- history and comparison -------------------------------------------------------------------------------------------


def test_the_history_says_who_why_and_the_performance_then(ada: Client) -> None:
    by_hand("L2", by="eve")
    by_reflection("L1")
    shown = text(ada.get("/admin/journal/playbookversion/")).replace("<wbr>", "")
    for word in ("challenger", "active", "former", "eve", "for L2", "lessons_learned: added L2", "+12.5"):
        assert word in shown


def test_any_two_versions_are_compared(ada: Client) -> None:
    by_hand("L1")
    by_hand("L2")
    response = ada.get(COMPARE, {"old": "3", "new": "1"})
    assert changes(response) == ["lessons_learned: removed L1", "lessons_learned: removed L2"]
    assert "Select a valid choice" in text(ada.get(COMPARE, {"old": "9", "new": "1"}))
    with rewriting_the_record():
        PlaybookVersion.objects.filter(version=2).update(playbook_json={"market_regime_rules": ["<script>alert(1)"]})
    assert "These two cannot be compared" in text(ada.get(COMPARE, {"old": "2", "new": "1"}))
    assert ada.get(EDIT, {"from": "2"}).status_code == 200
    assert b"<script>alert(1)" not in ada.get(COMPARE, {"old": "2", "new": "1"}).content
