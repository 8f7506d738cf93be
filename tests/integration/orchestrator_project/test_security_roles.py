"""Every action by every role, as the table of docs/security.md says: done, with who and why on record, or refused."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from decisions import operator_actions
from decisions.models import InstrumentBlock, ScheduledEvent
from journal.admin_base import _actions
from journal.models import ChallengerDecision, PlaybookVersion, Promotion, Trade, TradeNote
from journal.playbook import content
from journal.presentation import page_of
from orchestrator_project.accounts.roles import ROLES, write_roles
from risk.models import RiskAction, RiskState
from tests.integration.admin_rows import row
from tests.integration.decisions.build import BTC, NOON
from tests.integration.decisions.scene import world
from tests.integration.journal.playbooks import by_hand, by_reflection, taught
from tests.integration.orchestrator_project.sign_in import person

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client", "quick_passwords", "seeded")]

PROJECT = Path(__file__).resolve().parents[3]
WHY = "the reason of the test"
NAME = "ada"
PASSWORD = "a long enough password"
EVENT = {
    "kind": "CPI", "name": "Consumer Price Index", "scheduled_at_0": "2026-12-10", "scheduled_at_1": "13:30:00",
    "impact": "high", "currency": "USD", "source": "a person", "reason": WHY,
}  # fmt: skip
Evidence = Callable[[], Iterator[tuple[str, str]]]


@dataclass(frozen=True)
class Attempt:
    """Something a person tries: where, with what, and what is on record when it was done (who, and a text with why)."""

    address: str
    values: dict[str, Any]
    evidence: Evidence


def confirmed(row_: Model, action: str, evidence: Evidence, **values: Any) -> Attempt:
    address = reverse(f"admin:{row_._meta.app_label}_{row_._meta.model_name}_{action}", args=(row_.pk,))
    return Attempt(address, {"reason": WHY, "confirmed": "yes", **values}, evidence)


def kept_as(action: str) -> Evidence:
    return lambda: iter(RiskAction.objects.filter(action=action, source="admin").values_list("by", "reason"))


def promoted() -> Iterator[tuple[str, str]]:
    return iter(Promotion.objects.filter(promoted_by=NAME).values_list("promoted_by", "reason"))


def logged(model: type[Model], flag: int) -> Evidence:
    found = LogEntry.objects.filter(content_type__model=model._meta.model_name, action_flag=flag)
    return lambda: iter(found.values_list("user__username", "change_message"))


def newest_promotion() -> int:
    return Promotion.objects.latest("id").pk


# --- what there is to try ---------------------------------------------------------------------------------------------


def note_on_a_trade() -> Attempt:
    trade = row(Trade, symbol=BTC)
    address = reverse("admin:journal_trade_note", args=(trade.pk,))
    written = lambda: iter(TradeNote.objects.values_list("author", "text"))  # noqa: E731
    return Attempt(address, {"text": WHY, "tags": "", "seen": ""}, written)


def write_a_version() -> Attempt:
    found = PlaybookVersion.objects.filter(created_by=NAME)
    values = {
        "step": "save", "reason": WHY, "document": json.dumps(content(taught("L1"))), "edited_from": 1, "newest": 1,
        "promotion": newest_promotion(),
    }  # fmt: skip
    return Attempt(
        "/admin/journal/playbookversion/edit/", values, lambda: iter(found.values_list("created_by", "reason"))
    )


def approve() -> Attempt:
    return confirmed(by_reflection("L1"), "approve", promoted, seen=newest_promotion())


def reject() -> Attempt:
    found = ChallengerDecision.objects.filter(decision="rejected")
    return confirmed(by_reflection("L1"), "reject", lambda: iter(found.values_list("decided_by", "reason")))


def roll_back() -> Attempt:
    by_hand("L1", by="eve")
    return confirmed(PlaybookVersion.objects.get(version=1), "roll-back", promoted, seen=newest_promotion())


def state() -> RiskState:
    world(NOON)
    return RiskState.objects.get()


def halt() -> Attempt:
    return confirmed(state(), "halt", kept_as("halt"))


def close_all() -> Attempt:
    return confirmed(state(), "close-all", kept_as("close_all"))


def resume() -> Attempt:
    found = state()
    operator_actions.halt(by="eve", reason="before", source="command", now=NOON)
    return confirmed(found, "resume", kept_as("resume"))


def lift() -> Attempt:
    block = InstrumentBlock.objects.create(symbol=BTC, reason="a position that is not ours")
    return confirmed(block, "lift", kept_as("lift_block"))


def add_a_date() -> Attempt:
    return Attempt(reverse("admin:decisions_scheduledevent_add"), EVENT, logged(ScheduledEvent, 1))


def change_a_date() -> Attempt:
    return Attempt(page_of(row(ScheduledEvent)), EVENT, logged(ScheduledEvent, 2))


def remove_a_date() -> Attempt:
    return confirmed(row(ScheduledEvent), "delete", logged(ScheduledEvent, 3))


def add_an_account() -> Attempt:
    values = {"username": "bob", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true", "reason": WHY}
    return Attempt(reverse("admin:auth_user_add"), values, logged(User, 1))


def change_an_account() -> Attempt:
    bob = User.objects.create_user("bob")
    values = {
        "username": "bob", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "reason": WHY,
    }  # fmt: skip
    return Attempt(page_of(bob), values, logged(User, 2))


def add_a_group() -> Attempt:
    return Attempt(reverse("admin:auth_group_add"), {"name": "auditors", "reason": WHY}, logged(Group, 1))


def make_a_superuser() -> Attempt:
    attempt = change_an_account()
    found = User.objects.filter(is_superuser=True)
    made = lambda: ((each.username, WHY) for each in found)  # noqa: E731
    return Attempt(attempt.address, {**attempt.values, "is_superuser": "on"}, made)


ATTEMPTS: dict[str, Callable[[], Attempt]] = {
    "note on a trade, its tags": note_on_a_trade,
    "write a version of the playbook": write_a_version,
    "approve a version of the playbook": approve,
    "reject a version of the playbook": reject,
    "roll back to a version of the playbook": roll_back,
    "halt trading": halt,
    "close every position": close_all,
    "resume trading": resume,
    "lift the block of an instrument": lift,
    "add a date to the news calendar": add_a_date,
    "change a date of the news calendar": change_a_date,
    "remove a date from the news calendar": remove_a_date,
    "add an account": add_an_account,
    "change an account, its roles, its password": change_an_account,
    "add a group": add_a_group,
    "make somebody a superuser": make_a_superuser,
}
SEEN = {
    "see the record: trades, cycles, prompts, verdicts, orders, fills, alerts": (
        "journal/trade", "decisions/decisioncycle", "decisions/modelcall", "risk/verdict", "decisions/order",
        "decisions/fill", "decisions/outboxmessage", "journal/playbookversion", "reflection/reflectionlog",
    ),
    "see accounts, sign-ins and changes": ("auth/user", "auth/group", "accounts/accountevent", "admin/logentry"),
}  # fmt: skip


def documented() -> dict[str, dict[str, bool]]:
    """The table: action -> role -> whether it may."""
    text = (PROJECT / "docs" / "security.md").read_text()
    table = re.search(r"<!-- roles -->\n(.*?)<!-- end of roles -->", text, re.DOTALL).group(1)
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]
    return {
        each[0]: {role: {"yes": True, "no": False}[word] for role, word in zip(heading[1:], each[1:], strict=True)}
        for each in rows
    }


TABLE = documented()
CASES = [(what, role) for what in ATTEMPTS for role in ROLES]


def test_the_table_tells_of_every_role_and_of_every_action() -> None:
    assert set(TABLE) == {*ATTEMPTS, *SEEN}
    assert all(set(roles) == set(ROLES) for roles in TABLE.values())
    offered = {action.name for actions in _actions.values() for action in actions}
    assert offered == {"approve", "reject", "roll-back", "halt", "close-all", "resume", "lift"}


@pytest.mark.parametrize(("what", "role"), CASES)
def test_who_may_does_it_on_record_and_who_may_not_is_refused(what: str, role: str) -> None:
    attempt = ATTEMPTS[what]()
    client = Client()
    client.force_login(person(NAME, role))
    response = client.post(attempt.address, attempt.values)
    done = list(attempt.evidence())
    if TABLE[what][role]:
        assert response.status_code == 302, response.content.decode()[:5000]
        assert [(by, WHY in text) for by, text in done] == [(NAME, True)]
    else:
        assert (response.status_code, done) == (
            302 if what == "make somebody a superuser" and role == "admin" else 403,
            [],
        )


@pytest.mark.parametrize("what", [what for what in ATTEMPTS if what != "make somebody a superuser"])
def test_nobody_does_anything_by_reading(what: str) -> None:
    attempt = ATTEMPTS[what]()
    client = Client()
    client.force_login(person(NAME, "admin"))
    client.get(attempt.address, attempt.values)
    assert list(attempt.evidence()) == []


@pytest.mark.parametrize("what", ATTEMPTS)
def test_nobody_does_anything_without_the_token_of_the_page(what: str) -> None:
    attempt = ATTEMPTS[what]()
    client = Client(enforce_csrf_checks=True)
    client.force_login(person(NAME, "admin"))
    assert client.post(attempt.address, attempt.values).status_code == 403
    assert list(attempt.evidence()) == []


@pytest.mark.parametrize("what", [what for what in ATTEMPTS if what != "note on a trade, its tags"])
def test_nobody_does_anything_without_saying_why(what: str) -> None:
    attempt = ATTEMPTS[what]()
    client = Client()
    client.force_login(person(NAME, "admin"))
    response = client.post(attempt.address, {**attempt.values, "reason": "  "})
    assert (response.status_code, list(attempt.evidence())) == (200, [])


@pytest.mark.parametrize(
    "what", ["halt trading", "lift the block of an instrument", "remove a date from the news calendar"]
)
def test_what_cannot_be_taken_back_is_confirmed_first(what: str) -> None:
    attempt = ATTEMPTS[what]()
    client = Client()
    client.force_login(person(NAME, "admin"))
    page = client.post(attempt.address, {"reason": WHY}).content.decode()
    assert "This is what will be done" in page
    assert list(attempt.evidence()) == []


@pytest.mark.parametrize(("what", "role"), [(what, role) for what in SEEN for role in ROLES])
def test_who_may_see(what: str, role: str) -> None:
    client = Client()
    client.force_login(person(NAME, role))
    expected = 200 if TABLE[what][role] else 403
    assert {client.get(f"/admin/{name}/").status_code for name in SEEN[what]} == {expected}


def test_somebody_without_a_role_sees_nothing_and_without_staff_status_does_not_enter() -> None:
    client = Client()
    client.force_login(person(NAME))
    assert client.get("/admin/journal/trade/").status_code == 403
    client.force_login(User.objects.create_user("eve"))
    assert client.get("/admin/journal/trade/").headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("role", ROLES)
def test_the_page_offers_what_the_role_may(role: str) -> None:
    found = state()
    client = Client()
    client.force_login(person(NAME, role))
    shown = client.get(page_of(found)).content.decode()
    assert ("Halt trading" in shown, "Resume trading" in shown) == ((role in ("risk officer", "admin")),) * 2


# --- the roles themselves ---------------------------------------------------------------------------------------------


def permissions_of(role: str) -> set[str]:
    found = Permission.objects.filter(group__name=role).select_related("content_type")
    return {f"{each.content_type.app_label}.{each.codename}" for each in found}


def test_migrating_writes_the_roles_anew() -> None:
    before = {role: permissions_of(role) for role in ROLES}
    assert all(set(added) <= before[role] for role, added in ROLES.items())
    Group.objects.get(name="viewer").permissions.set(Permission.objects.all())
    Group.objects.get(name="admin").delete()
    call_command("migrate", verbosity=0)
    assert {role: permissions_of(role) for role in ROLES} == before


def test_writing_them_takes_few_queries(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(14):
        write_roles()


def test_nobody_changes_a_role_or_deletes_an_account(admin_client: Client, admin_user: User) -> None:
    viewer = Group.objects.get(name="viewer")
    assert admin_client.post(page_of(viewer), {"name": "viewer", "reason": WHY}).status_code == 403
    for each in (viewer, admin_user):
        address = page_of(each).replace("change", "delete")
        assert admin_client.post(address, {"post": "yes", "reason": WHY, "confirmed": "yes"}).status_code == 403
        assert type(each)._default_manager.filter(pk=each.pk).exists()


def test_an_admin_does_not_touch_a_superuser() -> None:
    root = User.objects.create_superuser("root", password="before")
    client = Client()
    client.force_login(person(NAME, "admin"))
    values = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true", "reason": WHY}
    assert client.post(f"/admin/auth/user/{root.pk}/password/", values).status_code == 403
    assert client.post(page_of(root), {"username": "root", "reason": WHY}).status_code == 403
    root.refresh_from_db()
    assert root.check_password("before")
