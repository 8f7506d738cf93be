"""The second factor: who has to show one sees and does nothing before, and nobody gets round it."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from orchestrator_project.accounts import second_factor
from orchestrator_project.accounts.models import AccountEvent
from orchestrator_project.accounts.pages import PENDING_KEY
from tests.integration.orchestrator_project.sign_in import (
    ENROL,
    ENTER,
    INDEX,
    LOGIN,
    code_of,
    person,
    sign_in,
    with_device,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("quick_passwords")]
TRADES = "/admin/journal/trade/"
CODES = "/admin/second-factor/codes/"
FACTOR = "/admin/second-factor/"


def events(*kinds: str) -> list[tuple[str, str]]:
    found = AccountEvent.objects.filter(event__in=kinds) if kinds else AccountEvent.objects.all()
    return list(found.order_by("id").values_list("event", "username"))


@pytest.fixture
def live(settings: Settings) -> None:
    settings.REQUIRE_SECOND_FACTOR = True


@pytest.fixture
def ada() -> User:
    return person("ada", "viewer")


def test_in_the_sandbox_a_password_is_enough(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    assert client.get(TRADES).status_code == 200


# --- an account with a device -----------------------------------------------------------------------------------------


def test_with_a_device_the_password_alone_opens_nothing(client: Client, ada: User) -> None:
    with_device(ada)
    sign_in(client, "ada")
    for address in (INDEX, TRADES, "/admin/password_change/", FACTOR, ENROL, "/admin/auth/user/"):
        response = client.get(address)
        assert (response.status_code, response.headers["Location"].partition("?")[0]) == (302, ENTER)
    for address in (TRADES, CODES, ENROL, "/admin/password_change/"):
        assert client.post(address, {}).status_code == 403
    assert client.post("/admin/logout/").status_code == 200


def test_the_code_of_the_app_opens_and_leads_on(client: Client, ada: User) -> None:
    key = with_device(ada)
    sign_in(client, "ada")
    asked = client.get(TRADES, {"q": "BTC"})
    before = client.session.session_key
    response = client.post(asked.headers["Location"], {"code": code_of(key)})
    assert (response.status_code, response.headers["Location"]) == (302, f"{TRADES}?q=BTC")
    assert client.session.session_key != before
    assert client.get(TRADES).status_code == 200
    assert events("signed_in", "verified") == [("signed_in", "ada"), ("verified", "ada")]


def test_a_code_is_good_once(client: Client, ada: User) -> None:
    key = with_device(ada)
    sign_in(client, "ada")
    code = code_of(key)
    assert client.post(ENTER, {"code": code}).status_code == 302
    again = Client()
    sign_in(again, "ada")
    assert "wrong or used up" in again.post(ENTER, {"code": code}).content.decode()
    assert again.get(TRADES).status_code == 302


def test_the_device_of_somebody_else_opens_nothing(client: Client, ada: User) -> None:
    with_device(ada)
    others = with_device(person("eve", "viewer"))
    sign_in(client, "ada")
    client.post(ENTER, {"code": code_of(others)})
    assert client.get(TRADES).status_code == 302


def test_a_recovery_code_is_good_once(client: Client, ada: User) -> None:
    with_device(ada)
    code, *rest = second_factor.write_recovery_codes(ada)
    sign_in(client, "ada")
    assert client.post(f"{ENTER}?recovery=1", {"code": f" {code.upper()} "}).status_code == 302
    assert client.get(TRADES).status_code == 200
    again = Client()
    sign_in(again, "ada")
    assert again.post(f"{ENTER}?recovery=1", {"code": code}).status_code == 200
    assert StaticToken.objects.count() == len(rest) == 9


@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_nobody_is_led_elsewhere(client: Client, ada: User, onward: str) -> None:
    key = with_device(ada)
    sign_in(client, "ada")
    response = client.post(ENTER, {"code": code_of(key), "next": onward})
    assert response.headers["Location"] == INDEX


def test_an_unconfirmed_device_is_none(client: Client, ada: User) -> None:
    TOTPDevice.objects.create(user=ada, confirmed=False)
    sign_in(client, "ada")
    assert client.get(TRADES).status_code == 200


# --- live: nobody is without one --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("live")
def test_live_an_account_without_a_device_may_do_nothing_but_get_one(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    for address in (INDEX, TRADES, "/admin/password_change/", FACTOR, ENTER):
        response = client.get(address)
        assert (response.status_code, response.headers["Location"].partition("?")[0]) == (302, ENROL)
    for address in (TRADES, CODES, ENTER):
        assert client.post(address, {}).status_code == 403
    page = client.get(ENROL).content.decode()
    assert 'src="data:image/svg+xml' in page
    assert second_factor.typed_key(client.session[PENDING_KEY]) in page


@pytest.mark.usefixtures("live")
def test_live_even_a_superuser_has_to_have_one(client: Client) -> None:
    User.objects.create_superuser("root", password="a password for the root")
    sign_in(client, "root", "a password for the root")
    assert client.get(TRADES).headers["Location"].startswith(ENROL)


@pytest.mark.usefixtures("live")
def test_enrolment_confirms_the_device_and_shows_recovery_codes_once(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    client.get(ENROL)
    key = client.session[PENDING_KEY]
    assert "not the code" in client.post(ENROL, {"code": "000000"}).content.decode()
    assert not TOTPDevice.objects.exists()
    page = client.post(ENROL, {"code": code_of(key)}).content.decode()
    shown = re.findall(r"<li><code>([a-z2-7]{8})</code></li>", page)
    assert sorted(shown) == sorted(StaticToken.objects.values_list("token", flat=True))
    assert len(shown) == 10
    assert PENDING_KEY not in client.session
    assert client.get(TRADES).status_code == 200
    assert events("factor_enrolled", "codes_written") == [("factor_enrolled", "ada"), ("codes_written", "ada")]
    again = Client()
    sign_in(again, "ada")
    assert again.get(TRADES).headers["Location"].startswith(ENTER)


def test_the_code_of_the_enrolment_is_used_up_by_it(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    client.get(ENROL)
    code = code_of(client.session[PENDING_KEY])
    client.post(ENROL, {"code": code})
    again = Client()
    sign_in(again, "ada")
    assert "wrong or used up" in again.post(ENTER, {"code": code}).content.decode()
    assert again.get(TRADES).status_code == 302


def test_another_app_replaces_the_first_and_new_codes_void_the_old(client: Client, ada: User) -> None:
    first = with_device(ada)
    old = second_factor.write_recovery_codes(ada)
    sign_in(client, "ada")
    client.post(ENTER, {"code": code_of(first)})
    assert "10 recovery codes left" in client.get(FACTOR).content.decode()
    client.post(CODES)
    assert not set(old) & set(StaticToken.objects.values_list("token", flat=True))
    client.get(ENROL)
    second = client.session[PENDING_KEY]
    client.post(ENROL, {"code": code_of(second)})
    assert [device.key for device in TOTPDevice.objects.all()] == [second]


def test_who_is_not_signed_in_gets_no_page_of_it(client: Client) -> None:
    for address in (FACTOR, ENTER, ENROL, CODES):
        assert client.get(address).headers["Location"].startswith(LOGIN)


def test_recovery_codes_are_written_by_post_alone(client: Client, ada: User) -> None:
    key = with_device(ada)
    sign_in(client, "ada")
    client.post(ENTER, {"code": code_of(key)})
    assert client.get(CODES).status_code == 405
    assert not StaticToken.objects.exists()


def test_the_keys_have_no_page_in_the_admin(admin_client: Client) -> None:
    for address in ("/admin/otp_totp/totpdevice/", "/admin/otp_static/staticdevice/"):
        assert admin_client.get(address).status_code == 404


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """What a person types when they are asked; called with what they have seen so far."""
    return lambda answer: monkeypatch.setattr("builtins.input", answer)


def told(*words: str) -> str:
    out = io.StringIO()
    call_command("second_factor", *words, "--by", "eve", "--reason", "her phone is lost", stdout=out)
    return out.getvalue()


def test_a_device_is_enrolled_at_the_command_line(ada: User, typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "ab" * 20
    monkeypatch.setattr(second_factor, "new_key", lambda: key)
    typed(lambda _: code_of(key))
    text = told("enrol", "ada")
    assert second_factor.typed_key(key) in text
    assert "▄" in text  # the picture
    assert second_factor.has_device(ada)
    assert all(code in text for code in StaticToken.objects.values_list("token", flat=True))
    kept = AccountEvent.objects.get(event="factor_enrolled")
    assert (kept.username, kept.by, kept.detail) == ("ada", "eve", "her phone is lost")


def test_at_the_command_line_a_wrong_code_changes_nothing(ada: User, typed: Any) -> None:
    typed(lambda _: "000000")
    with pytest.raises(CommandError, match="nothing has changed") as refused:
        told("enrol", "ada")
    assert refused.value.returncode == 1
    assert not second_factor.has_device(ada)


def test_a_device_is_removed_with_its_codes(ada: User) -> None:
    with_device(ada)
    assert told("codes", "ada").count("\n  ") == 10
    told("remove", "ada")
    assert not second_factor.has_device(ada)
    assert not StaticToken.objects.exists()
    with pytest.raises(CommandError, match="ada has no second factor"):
        told("remove", "ada")
    with pytest.raises(CommandError, match="no second factor to recover"):
        told("codes", "ada")
    with pytest.raises(CommandError, match="There is no account 'bob'") as mistake:
        told("remove", "bob")
    assert mistake.value.returncode == 2
