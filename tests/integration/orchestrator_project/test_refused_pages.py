"""What is none of the admin's pages says what happened and leads back, on a phone too, and holds nothing inline."""

import re
from typing import Any

import pytest
from django.test import Client

from decisions.dashboard import pages as dashboard
from tests.integration.admin_rows import logged_in

pytestmark = pytest.mark.django_db


def told(response: Any, status: int) -> str:
    """What the page says; whatever it says, it can be read on a phone, leads back and keeps the policy."""
    assert response.status_code == status
    page = response.content.decode()
    assert '<meta name="viewport"' in page
    assert '<a href="/admin/">To the dashboard</a>' in page
    assert not re.search(r"<script|<style| style=| on\w+=", page)
    assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
    return page


def test_an_address_that_leads_nowhere() -> None:
    assert "/no&lt;b&gt;where/" not in (page := told(Client().get("/no<b>where/"), 404))
    assert "There is no such page" in page
    assert "<b>" not in page


def test_what_one_may_not_do() -> None:
    client, _ = logged_in("clerk")
    assert "You may not do this" in told(client.get("/admin/dashboard/"), 403)


def test_a_form_from_before_the_last_sign_in() -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ada", "password": "a guess"})
    assert "This form is out of date" in told(response, 403)


def test_a_host_that_is_not_ours() -> None:
    assert "This request makes no sense here" in told(Client().get("/admin/", HTTP_HOST="evil.example"), 400)


def test_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a secret of the traceback")

    monkeypatch.setattr(dashboard, "contents", fails)
    client, _ = logged_in("reader", is_superuser=True)
    client.raise_request_exception = False
    page = told(client.get("/admin/"), 500)
    assert "The server failed at this" in page
    assert "a secret of the traceback" not in page
