"""The page of the risk state, and what people with the permission do from it: asked, foretold, done."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from decisions.models import Order, OrderKind, OrderStatus
from journal.presentation import page_of
from risk import services as risk
from risk.models import Halt, RiskAction, RiskRejection, RiskState, Verdict
from tests.integration.admin_rows import OURS, logged_in, row
from tests.integration.decisions.build import NOON, book, position_payload, sent_order
from tests.integration.decisions.scene import ETH, account, bar, sent_orders, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
Commits = Callable[..., AbstractContextManager[Any]]
ACTIONS = ("halt", "close-all", "resume")
actions = pytest.mark.parametrize("name", ACTIONS)


@pytest.fixture
def commits(django_capture_on_commit_callbacks: Any) -> Commits:
    """What waits for a commit is done at the end of the block."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture(autouse=True)
def instruments(settings: Settings) -> None:
    settings.INSTRUMENTS = ("BTC-USDT-SWAP", ETH)


def person(*permissions: str, name: str = "ada") -> Client:
    """A member of staff who may see the risk state, and has these permissions."""
    client, user = logged_in(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_riskstate", *permissions)))
    return client


@pytest.fixture
def ada() -> Client:
    return person("halt_trading", "resume_trading", "view_halt", "view_riskaction", "view_riskrejection", "view_order")


def on_day(number: int, equity: str, *held: dict[str, Any]) -> None:
    """The market and the account, so many days after the first noon."""
    at = NOON + timedelta(days=number)
    bar(at)
    account(at, *held, equity=equity)


def in_drawdown() -> None:
    """Days of losses, each inside its day's limit, to 10 % below the peak."""
    for day, equity in enumerate(["10000", "9800", "9600", "9400", "9200", "9000"]):
        on_day(day, equity)


def address(name: str) -> str:
    return reverse(f"admin:risk_riskstate_{name}", args=(RiskState.objects.get().pk,))


def page(client: Client) -> str:
    """The page of the risk state."""
    return text(client.get(page_of(RiskState.objects.get())))


def text(response: HttpResponse) -> str:
    assert response.status_code == 200
    return response.content.decode().replace("&#x27;", "'")


def ask(client: Client, name: str, reason: str = "the exchange is in maintenance", **values: str) -> str:
    """Fill in the form: what it would do, or why not."""
    return text(client.post(address(name), {"reason": reason, **values}))


def confirm(client: Client, name: str, reason: str = "the exchange is in maintenance", **values: str) -> list[str]:
    """Confirm, and be led back to the state. Returns the messages."""
    response = client.post(address(name), {"reason": reason, "confirmed": "yes", **values})
    assert (response.status_code, response.headers["Location"]) == (302, page_of(RiskState.objects.get()))
    return [str(message) for message in get_messages(response.wsgi_request)]


def standing() -> list[str]:
    return [halt.kind for halt in risk.standing_halts()]


def everything() -> dict[str, Any]:
    """All rows of ours, and what is on the order stream."""
    rows = {model.__name__: list(model._default_manager.order_by("pk").values()) for model in OURS}
    return {**rows, "stream": sent_orders()}


# --- the page ---------------------------------------------------------------------------------------------------------


def bars(shown: str) -> list[tuple[str, str]]:
    """Tone and filled part of every bar."""
    return re.findall(r'<svg class="meter-(\w+)".*?<rect width="([\d.]+)"', shown)


def test_a_running_account_says_so_and_shows_its_loss_and_drawdown_against_their_limits(ada: Client):
    on_day(0, "10000")
    on_day(1, "9850")
    account(NOON + timedelta(days=1, hours=1), equity="9702.25")
    shown = page(ada)
    assert re.search(r'notice-good".*?Running: the gate judges every opening', shown, re.DOTALL)
    assert bars(shown)[0] == ("good", "0.5000")  # -1.5 % of -3 %
    assert bars(shown)[2] == ("good", "0.0000")
    assert "Equity changed by -1.5 % since the day's start at 9850 USD; openings halt at -3 %." in shown
    assert "50 % of the limit is used up" in shown
    assert "since the peak of 10000 USD; openings halt at -10 %" in shown
    assert "0 in a row; 3 start a cooldown." in shown


@pytest.mark.parametrize(
    ("equity", "tone", "filled"),
    [("9761", "good", "0.7967"), ("9760", "warn", "0.8000"), ("9700", "bad", "1.0000"), ("9500", "bad", "1.0000")],
)
def test_the_bar_of_the_days_loss_turns_at_the_warning_and_at_the_limit(
    equity: str, tone: str, filled: str, ada: Client
):
    on_day(0, "10000")
    account(NOON + timedelta(hours=1), equity=equity)
    assert bars(page(ada))[0] == (tone, filled)


def test_a_gain_fills_no_bar(ada: Client):
    on_day(0, "10000")
    account(NOON + timedelta(hours=1), equity="10100")
    assert bars(page(ada))[:2] == [("good", "0.0000"), ("good", "0.0000")]


def test_every_halt_says_why_since_when_by_whom_and_until_when(ada: Client):
    on_day(0, "10000")
    account(NOON + timedelta(hours=1), equity="9700")
    confirm(ada, "halt", "leaving early")
    shown = page(ada)
    assert re.search(r'notice-bad".*?Halted \(daily loss, manual\): nothing is opened, exits go on', shown, re.DOTALL)
    assert "Daily loss since 2022-11-20 13:00 UTC by risk gate, until 2022-11-21 00:00 UTC: Equity changed by" in shown
    assert "Manual since 2022-11-20 12:00 UTC by ada, until a person resumes: leaving early" in shown


def test_a_cooldown_says_until_when(ada: Client):
    on_day(0, "10000")
    RiskState.objects.update(cooldown_until=NOON + timedelta(minutes=30))
    shown = page(ada)
    assert re.search(r'notice-warn".*?Cooling down until 2022-11-20 12:30 UTC', shown, re.DOTALL)
    confirm(ada, "halt")
    assert "Cooling down too, until 2022-11-20 12:30 UTC." in page(ada)
    RiskState.objects.update(cooldown_until=NOON)
    assert "Cooling down" not in page(ada)


def test_before_the_first_report_nothing_is_measured_and_nothing_pretended(ada: Client):
    RiskState.objects.create(account=risk.ACCOUNT)
    shown = page(ada)
    assert re.search(r'notice-info".*?No report of the account has come in yet', shown, re.DOTALL)
    assert len(bars(shown)) == 1  # the streak


def test_limits_stand_with_their_source_default_and_bounds(ada: Client, settings: Settings):
    on_day(0, "10000")
    changed = replace(settings.PARAMETERS["MAX_LEVERAGE"], source="environment")
    settings.PARAMETERS = {**settings.PARAMETERS, "MAX_LEVERAGE": changed}
    settings.RISK_LIMITS = replace(settings.RISK_LIMITS, max_leverage=Decimal(2))
    cells = {found[0]: found[1:7] for found in rows_of(page(ada), "Limits in force")}
    assert cells["MAX_LEVERAGE"][:5] == ["2", "environment", "3", "1", "10"]
    assert cells["MAX_DAILY_LOSS_PCT"][:5] == ["3 %", "default", "3 %", "above 0", "10 %"]
    assert cells["COOLDOWN_AFTER_LOSS_STREAK"][:4] == ["30 min 00 s", "default", "30 min 00 s", "5 min 00 s"]
    assert len(cells) == 11
    assert "<input" not in page(ada).split("<h2>Limits in force")[1].split("</section>")[0]


def rows_of(shown: str, title: str) -> list[list[str]]:
    """The cells of a table as plain text."""
    table = shown.split(f"<h2>{title}")[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
    found = (re.findall(r"<td[^>]*>(.*?)</td>", each, re.DOTALL) for each in rows)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in cells] for cells in found]


def test_halts_actions_and_refusals_lead_to_their_pages(ada: Client):
    on_day(0, "10000")
    confirm(ada, "halt", "leaving early")
    confirm(ada, "resume", "back again")
    failed = [{"rule": "sl_distance", "verdict": "reject", "reason": "The stop is far."}]
    refused = row(RiskRejection, verdict=row(Verdict, symbol=ETH, action="ADD"), failed_rules=failed)
    shown = page(ada)
    for kept in (Halt.objects.get(), *RiskAction.objects.all(), refused):
        assert page_of(kept) in shown
    assert [cells[1:5] for cells in rows_of(shown, "What people did")] == [
        ["resume", "ada", "back again", "Lifted: manual."],
        ["halt", "ada", "leaving early", "Halted: nothing is opened until a person resumes."],
    ]
    assert [cells[2:] for cells in rows_of(shown, "The last 20 refusals")] == [["SL distance", "The stop is far."]]
    listed = person("view_riskrejection", name="reader").get(reverse("admin:risk_riskrejection_changelist"))
    assert "SL distance" in text(listed)


def test_the_page_of_a_halt_says_whether_it_stands(ada: Client):
    on_day(0, "10000")
    confirm(ada, "halt", "leaving early")
    halt = Halt.objects.get()
    assert "Manual: nothing is opened until a person resumes" in text(ada.get(page_of(halt)))
    confirm(ada, "resume")
    assert "Manual: ended by ada" in text(ada.get(page_of(halt)))


# --- asking -----------------------------------------------------------------------------------------------------------


@actions
def test_reading_a_form_and_asking_what_it_would_do_change_nothing(name: str, ada: Client, commits: Commits):
    book(sent_order(), stop_confirmed=True)
    sent_order(symbol=ETH, order_type="limit", limit_price=Decimal(19990), status=OrderStatus.ACCEPTED)
    world(NOON, position_payload())
    if name == "resume":
        confirm(ada, "halt")
    before = everything()
    with commits() as waiting:
        assert "This is what will be done" not in text(ada.get(address(name)))
        assert text(ada.get(address(name), {"reason": "by GET", "confirmed": "yes"}))
        assert "This is what will be done" in ask(ada, name)
    assert waiting == []
    assert everything() == before


def test_the_form_of_a_close_all_names_what_is_closed_and_withdrawn(ada: Client):
    book(sent_order(), stop_confirmed=True)
    resting = {"order_type": "limit", "limit_price": Decimal(19990), "status": OrderStatus.ACCEPTED}
    sent_order(symbol=ETH, cycle_changes={"state": "done", "outcome": "order_working", "finished_at": NOON}, **resting)
    world(NOON, position_payload(), position_payload(ETH, pos_side="short", size="3"))
    sent_order("CLOSE", symbol=ETH, pos_side="short")
    shown = text(ada.get(address("close-all")))
    assert rows_of(shown, "Positions to close") == [
        ["BTC-USDT-SWAP", "LONG", "2", "400", "no"],
        ["ETH-USDT-SWAP", "SHORT", "3", "400", "yes"],
    ]
    assert rows_of(shown, "Openings under way")[0][:5] == ["ETH-USDT-SWAP", "OPEN LONG", "limit", "2", "19,990"]
    told = ask(ada, "close-all")
    assert "BTC-USDT-SWAP LONG 2: closing at market." in told
    assert "ETH-USDT-SWAP SHORT 3: an exit is on its way already." in told


def test_the_confirmation_repeats_what_was_said_and_carries_it(ada: Client):
    on_day(0, "10000")
    told = ask(ada, "halt", "<script>alert('why')</script>")
    assert "<script>alert" not in told
    assert "<p>&lt;script&gt;alert('why')&lt;/script&gt;</p>" in told
    assert '<input type="hidden" name="reason" value="&lt;script&gt;alert(' in told
    assert re.search(r'<button type="submit" name="confirmed" value="yes"[^>]*>Yes, halt trading</button>', told)


@actions
@pytest.mark.parametrize("reason", ["", "  \n ", "x" * 1001])
def test_without_a_fitting_reason_nothing_is_done(name: str, reason: str, ada: Client):
    on_day(0, "10000")
    before = everything()
    shown = text(ada.post(address(name), {"reason": reason, "confirmed": "yes"}))
    assert "This field is required." in shown or "at most 1000 characters" in shown
    assert 'name="confirmed"' not in shown
    assert everything() == before


def test_a_missing_row_is_told_as_missing(ada: Client):
    on_day(0, "10000")
    pk = RiskState.objects.get().pk
    assert ada.get(address("halt").replace(f"/{pk}/", f"/{pk + 1}/")).status_code == 404


# --- doing ------------------------------------------------------------------------------------------------------------


def test_a_confirmed_halt_stands_and_is_kept_with_name_and_reason(ada: Client, commits: Commits):
    on_day(0, "10000")
    with commits():
        told = confirm(ada, "halt", " leaving early ")
    assert told == ["Halted: nothing is opened until a person resumes."]
    halt, kept = Halt.objects.get(), RiskAction.objects.get()
    assert (halt.kind, halt.started_by, halt.reason, halt.started_at) == ("manual", "ada", "leaving early", NOON)
    assert (kept.action, kept.source, kept.by, kept.reason) == ("halt", "admin", "ada", "leaving early")
    assert kept.market_time == NOON


def test_a_second_halt_says_that_one_stands(ada: Client):
    on_day(0, "10000")
    confirm(ada, "halt")
    told = confirm(person("halt_trading", name="bob"), "halt")
    assert told == ["Halted already, by ada since 2022-11-20 12:00 UTC: that halt stands on."]
    assert Halt.objects.count() == 1


def test_a_close_all_sends_what_it_said(ada: Client, commits: Commits):
    book(sent_order(), stop_confirmed=True)
    world(NOON, position_payload())
    with commits():
        told = confirm(ada, "close-all", "leaving early")
    assert told == ["Halted: nothing is opened until a person resumes.\nBTC-USDT-SWAP LONG 2: closing at market."]
    order = Order.objects.get(kind=OrderKind.CLOSE_ALL)
    assert (order.status, order.reduce_only, order.size) == (OrderStatus.SENT, True, 2)
    assert len(sent_orders()) == 1
    assert set(RiskAction.objects.values_list("action", "source", "by")) == {
        ("halt", "admin", "ada"),
        ("close_all", "admin", "ada"),
    }


def test_a_resume_lifts_a_persons_halt_and_says_what_stays(ada: Client):
    on_day(0, "10000")
    account(NOON + timedelta(hours=1), equity="9700")
    confirm(ada, "halt")
    expected = "Lifted: manual. The daily-loss halt stands until 2022-11-21 00:00 UTC, never to be lifted before."
    assert expected in ask(ada, "resume")
    assert confirm(ada, "resume", "back again") == [expected]
    assert standing() == ["daily_loss"]
    ended = Halt.objects.get(kind="manual")
    assert (ended.ended_by, ended.end_reason) == ("ada", "back again")


@pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}], ids=["asked", "confirmed"])
def test_what_the_facts_stand_against_is_told_beside_the_form(confirmed: dict[str, str], ada: Client):
    on_day(0, "10000")
    before = everything()
    shown = ask(ada, "resume", **confirmed)
    assert '<p class="record-refusal" role="alert">There is nothing to lift. No halt stands.</p>' in shown
    assert "the exchange is in maintenance</textarea>" in shown
    assert 'name="confirmed"' not in shown
    assert everything() == before


def test_a_drawdown_halt_is_lifted_only_with_the_peak_re_based_explicitly(ada: Client):
    in_drawdown()
    confirm(ada, "halt")
    form = text(ada.get(address("resume")))
    assert 'type="checkbox" name="rebase_peak"' in form
    assert not re.search(r'name="rebase_peak"[^>]* checked[ >]', form)
    assert "re-base the peak too" in ask(ada, "resume")
    assert "re-base the peak too" in ask(ada, "resume", confirmed="yes")
    assert standing() == ["drawdown", "manual"]
    told = ask(ada, "resume", rebase_peak="on")
    assert "Peak re-based from 10000.0000 to 9000.0000 USD" in told
    assert 'type="hidden" name="rebase_peak" value="True"' in told
    assert RiskState.objects.get().peak_equity == 10000
    confirm(ada, "resume", "the loss is understood", rebase_peak="True")
    assert standing() == []
    assert RiskState.objects.get().peak_equity == 9000
    kept = RiskAction.objects.get(action="rebase_peak")
    assert (kept.source, kept.by, kept.reason) == ("admin", "ada", "the loss is understood")


def test_a_confirmation_without_re_basing_does_not_re_base(ada: Client):
    in_drawdown()
    account(NOON + timedelta(days=5, hours=1), equity="9100")
    told = ask(ada, "resume")
    assert 'type="hidden" name="rebase_peak" value="False"' in told
    confirm(ada, "resume", rebase_peak="False")
    assert standing() == []
    assert RiskState.objects.get().peak_equity == 10000


def test_without_a_drawdown_halt_there_is_no_peak_to_re_base(ada: Client):
    on_day(0, "10000")
    account(NOON + timedelta(hours=1), equity="9900")
    confirm(ada, "halt")
    assert "rebase_peak" not in text(ada.get(address("resume")))
    confirm(ada, "resume", rebase_peak="on")
    assert RiskState.objects.get().peak_equity == 10000
    assert not RiskAction.objects.filter(action="rebase_peak").exists()


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ((), set()),
        (("halt_trading",), {"halt", "close-all"}),
        (("resume_trading",), {"resume"}),
        (("change_riskstate", "add_riskstate", "delete_riskstate"), set()),
    ],
    ids=["none", "halt", "resume", "the ordinary ones"],
)
def test_without_the_permission_there_is_no_button_and_no_way(permissions: tuple[str, ...], allowed: set[str]):
    on_day(0, "10000")
    client = person(*permissions)
    before = everything()
    shown = page(client)
    for name in ACTIONS:
        assert (f'href="{address(name)}"' in shown) == (name in allowed)
        if name not in allowed:
            assert client.get(address(name)).status_code == 403
            assert client.post(address(name), {"reason": "why not"}).status_code == 403
            assert client.post(address(name), {"reason": "why not", "confirmed": "yes"}).status_code == 403
    assert everything() == before


@actions
def test_who_may_not_see_the_state_may_not_act_on_it(name: str):
    on_day(0, "10000")
    client, user = logged_in("ada")
    user.user_permissions.set(Permission.objects.filter(codename__in=("halt_trading", "resume_trading")))
    assert client.post(address(name), {"reason": "why not", "confirmed": "yes"}).status_code == 403
    assert not RiskAction.objects.exists()


@actions
def test_strangers_are_led_to_the_login(name: str, client: Client):
    on_day(0, "10000")
    response = client.post(address(name), {"reason": "why not", "confirmed": "yes"})
    assert "/login/" in response.headers["Location"]
    assert not RiskAction.objects.exists()


@actions
def test_a_form_of_another_site_is_refused(name: str):
    on_day(0, "10000")
    _, user = logged_in("ada", is_superuser=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post(address(name), {"reason": "why not", "confirmed": "yes"}).status_code == 403
    assert not RiskAction.objects.exists()


# --- nothing is editable ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [RiskState, Halt, RiskAction, Verdict, RiskRejection], ids=lambda each: each.__name__)
def test_no_form_reaches_the_rows_or_the_limits(model: type[Model], settings: Settings):
    written, limits = row(model), settings.RISK_LIMITS
    client, _ = logged_in("root", is_superuser=True)
    before = everything()
    values = {field.name: "99" for field in model._meta.concrete_fields}
    values |= {"MAX_DAILY_LOSS_PCT": "0.99", "max_daily_loss_pct": "0.99", "_save": "Save"}
    name = f"admin:risk_{model._meta.model_name}"
    assert client.post(page_of(written), values).status_code == 403
    assert client.post(reverse(f"{name}_add"), values).status_code == 403
    assert client.post(reverse(f"{name}_delete", args=(written.pk,)), {"post": "yes"}).status_code == 403
    client.post(reverse(f"{name}_changelist"), {"action": "delete_selected", "_selected_action": written.pk})
    assert everything() == before
    assert settings.RISK_LIMITS is limits


def test_values_that_a_form_does_not_have_are_not_taken(ada: Client, redis_client: "redis.Redis"):
    on_day(0, "10000")
    confirm(ada, "halt", by="bob", source="stream", now="2030-01-01", rebase_peak="on", equity="1")
    assert RiskAction.objects.get().by == "ada"
    assert RiskState.objects.get().equity == 10000
