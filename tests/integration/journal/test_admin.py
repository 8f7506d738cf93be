"""Every table in the admin: to read, in order, escaped, with few queries; and the little that people may write."""

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from decisions.models import Command, DeadLetter, DecisionCycle, ModelCall, ScheduledEvent
from journal.models import PlaybookVersion, Promotion, Trade
from journal.playbook import first_playbook
from journal.presentation import label, page_of
from risk.models import RiskAction, Verdict
from tests.integration.admin_rows import OURS, START, logged_in, row

pytestmark = pytest.mark.django_db

EVIL = "<script>alert('owned')</script>"
HISTORY = [model for model in OURS if model is not ScheduledEvent]
tables = pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
history = pytest.mark.parametrize("model", HISTORY, ids=lambda model: model.__name__)


@pytest.fixture
def reader(db: None) -> Client:
    return logged_in("reader", is_superuser=True)[0]


def list_of(model: type[Model], action: str = "changelist") -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{action}")


def staff(*permissions: str) -> Client:
    client, user = logged_in("staff")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return client


@tables
def test_every_table_is_there_as_a_list_and_a_page(model: type[Model], reader: Client):
    written = row(model)
    listed = reader.get(list_of(model))
    assert page_of(written) in listed.content.decode()
    page = reader.get(page_of(written))
    assert page.status_code == 200
    if model is ScheduledEvent:
        return
    shown = page.content.decode()
    missing = [
        field.name
        for field in model._meta.concrete_fields
        if f"<dt>{label(field.name)}</dt>".replace("&", "&amp;") not in shown
        and f"<summary>{label(field.name)}</summary>" not in shown
    ]
    assert missing == []


TURNED = "ada\u202eEVIL"


@pytest.mark.parametrize(
    ("model", "values"),
    [(Command, {"issued_by": TURNED}), (RiskAction, {"by": TURNED}), (Promotion, {"promoted_by": TURNED})],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_a_character_that_turns_the_writing_is_spelt_out_in_lists_filters_titles_and_histories(
    model: type[Model], values: dict[str, str], reader: Client
):
    written = row(model, **values)
    for page in (list_of(model), page_of(written), page_of(written).replace("/change/", "/history/")):
        answer = reader.get(page)
        assert answer.status_code == 200
        assert "\u202e" not in answer.content.decode(), page


@history
def test_nobody_adds_changes_or_deletes_history(model: type[Model], reader: Client):
    written = row(model)
    assert reader.get(list_of(model, "add")).status_code == 403
    assert reader.post(page_of(written), {}).status_code == 403
    assert reader.post(page_of(written).replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert reader.post(list_of(model), {"action": "delete_selected", "_selected_action": written.pk}).status_code != 302
    assert model._default_manager.filter(pk=written.pk).exists()


@tables
def test_a_list_takes_as_many_queries_at_50_rows_as_at_5(model: type[Model], reader: Client):
    def queries(first: int, after: int) -> int:
        for number in range(first, after):
            row(model, number)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            listed = reader.get(list_of(model))
        assert listed.context["cl"].result_count >= after
        return len(captured)

    reader.get(list_of(model))
    assert queries(0, 5) == queries(5, 50)


@tables
def test_lists_can_be_searched_filtered_and_sorted(model: type[Model], reader: Client):
    row(model)
    pages = admin.site.get_model_admin(model)
    for number in range(len(pages.list_display)):
        assert reader.get(list_of(model), {"o": str(number + 1)}).status_code == 200
    if pages.search_fields:
        assert reader.get(list_of(model), {"q": "none has this"}).context["cl"].result_count == 0
    if pages.date_hierarchy:
        assert reader.get(list_of(model), {f"{pages.date_hierarchy}__year": "1999"}).context["cl"].result_count == 0


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (ModelCall, ("system_prompt", "prompt", "raw_reply", "error", "request_id", "stop_reason")),
        (DecisionCycle, ("reason", "last_error", "bypass_reason", "research_error")),
        (Trade, ("opus_reasoning", "strategy_used", "market_regime", "exit_reason")),
        (DeadLetter, ("raw", "reason", "stream")),
    ],
    ids=["model call", "cycle", "trade", "dead letter"],
)
def test_what_models_and_messages_hold_is_shown_escaped(model: type[Model], fields: tuple[str, ...], reader: Client):
    lengths = {name: model._meta.get_field(name).max_length or 1000 for name in fields}
    written = row(model, **{name: EVIL[: lengths[name]] for name in fields})
    for address in (list_of(model), page_of(written)):
        shown = reader.get(address).content.decode()
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert" in shown


def test_documents_of_a_model_are_escaped_wherever_they_lie(reader: Client):
    decision = {"decision": {"action": EVIL, "symbol": EVIL}, "reasoning": EVIL, "strategy_used": EVIL}
    snapshot = {"symbol": EVIL, "price": EVIL, "indicators": {"1H": {EVIL: EVIL}}}
    cycle = row(DecisionCycle, decision=decision, snapshot=snapshot)
    row(ModelCall, cycle=cycle, raw_reply=EVIL, prompt=EVIL)
    rule = {"rule": EVIL, "measured": None, "limit": None, "verdict": EVIL, "reason": EVIL}
    row(Verdict, decision_id=cycle.decision_id, results={"results": [rule], "contracts": EVIL}, approved=True)
    shown = reader.get(page_of(cycle)).content.decode()
    assert "<script>alert" not in shown
    assert shown.count("&lt;script&gt;alert") >= 8


def test_the_sections_stand_in_their_order_and_the_page_says_sandbox_or_live(reader: Client, settings):
    shown = reader.get("/admin/").content.decode()
    titles = re.findall(r"<h2[^>]*>\s*(Journal|Decisions|Risk|Reflection|Accounts)\s", shown)
    assert titles == ["Journal", "Decisions", "Risk", "Reflection", "Accounts"]
    assert re.search(r">\s*SANDBOX\s*<", shown)
    assert "<title>" in shown
    assert "Orchestrator" in shown
    settings.SANDBOX = False
    shown = reader.get("/admin/").content.decode()
    assert re.search(r">\s*LIVE\s*<", shown)
    assert not re.search(r">\s*SANDBOX\s*<", shown)


def test_the_front_door_leads_to_the_admin_and_strangers_to_the_login(client: Client):
    assert client.get("/").headers["Location"] == "/admin/"
    assert "/login/" in client.get(list_of(Trade)).headers["Location"]


@tables
def test_no_page_fetches_anything_from_elsewhere(model: type[Model], reader: Client):
    written = row(model)
    for address in (list_of(model), page_of(written)):
        fetched = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"([^\"]*)\"", reader.get(address).content.decode()
        )
        assert fetched
        assert [each for each in fetched if not re.match(r"/(?!/)|data:", each)] == []


def test_staff_sees_only_what_it_may(client: Client):
    allowed = staff("view_trade")
    assert allowed.get(page_of(row(Trade))).status_code == 200
    assert allowed.get(page_of(row(DecisionCycle))).status_code == 403
    assert "Decision cycles" not in allowed.get("/admin/").content.decode()


def test_staff_with_the_permission_keeps_the_news_calendar():
    event = {
        "kind": "CPI", "name": "Consumer Price Index", "scheduled_at_0": "2026-12-10", "scheduled_at_1": "13:30:00",
        "impact": "high", "currency": "USD", "source": "a person", "reason": "no feed has it yet",
    }  # fmt: skip
    keeper = staff("add_scheduledevent", "change_scheduledevent", "view_scheduledevent")
    refused = keeper.post(list_of(ScheduledEvent, "add"), {**event, "kind": "RUMOUR"})
    assert "RUMOUR is not one of the available choices" in refused.content.decode()
    assert keeper.post(list_of(ScheduledEvent, "add"), event).status_code == 302
    written = ScheduledEvent.objects.get()
    assert written.fetched_at > START
    assert keeper.post(page_of(written), {**event, "impact": "low"}).status_code == 302
    written.refresh_from_db()
    assert written.impact == "low"
    assert keeper.post(page_of(written).replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_staff_without_the_permission_does_not():
    assert staff("view_scheduledevent").get(list_of(ScheduledEvent, "add")).status_code == 403


def test_a_playbook_page_says_whether_it_trades_and_what_it_changed(reader: Client):
    document = first_playbook(START).model_dump(mode="json")
    first = row(PlaybookVersion, version=1, playbook_json=document)
    changed = {**document, "time_filters": {**document["time_filters"], "avoid_hours_utc": [3]}}
    second = row(PlaybookVersion, version=2, playbook_json=changed)
    row(Promotion, playbook=first)
    shown = reader.get(page_of(second)).content.decode()
    assert "challenges the one that trades" in shown
    assert "Changes from version 1<" in shown
    assert "avoid_hours_utc" in shown.split("Changes from version 1<")[1][:900]
    assert "Playbook version 1 is the one that trades" in reader.get(page_of(first)).content.decode()
