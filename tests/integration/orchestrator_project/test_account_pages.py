"""The pages about accounts and about what people changed: each opens once there is something on it."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from orchestrator_project.accounts.models import AccountEvent
from tests.integration.admin_rows import logged_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def administrator(db: None) -> Client:
    """Somebody who has changed a group, which is recorded."""
    client, user = logged_in("ada", is_superuser=True)
    group = Group.objects.create(name="night shift")
    changed = client.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "day shift", "reason": "moved"})
    assert changed.status_code == 302
    AccountEvent.objects.create(username=user.username, event="signed_in")
    return client


def test_whoever_comes_in_from_elsewhere_is_led_to_the_dashboard(quick_passwords: None) -> None:
    User.objects.create_superuser("ada", password="a long password")
    given = {"username": "ada", "password": "a long password", "next": "https://evil.example/"}
    assert Client().post("/admin/login/", given).headers["Location"] == "/admin/"


@pytest.mark.parametrize("model", [LogEntry, AccountEvent, User, Group], ids=lambda model: model.__name__)
def test_the_list_and_every_row_open(administrator: Client, model: type[Model]) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    assert administrator.get(reverse(f"{name}_changelist")).status_code == 200
    rows = list(model._default_manager.all())
    assert rows
    for row in rows:
        assert administrator.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200


def test_a_recorded_change_names_what_was_changed_and_by_whom(administrator: Client) -> None:
    page = administrator.get("/admin/admin/logentry/").content.decode()
    assert "day shift" in page
    assert "/admin/auth/user/" in page
