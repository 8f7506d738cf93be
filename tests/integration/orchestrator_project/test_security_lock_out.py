"""Who guesses is locked out for a while, by name and address; and what happened is on record."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from orchestrator_project.accounts.models import AccountEvent
from tests.integration.orchestrator_project.sign_in import ENTER, INDEX, PASSWORD, code_of, person, sign_in, with_device

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("quick_passwords")]
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def ada() -> User:
    return person("ada", "viewer")


def wrong(client: Client, times: int, name: str = "ada", address: str = HERE, **extra: str) -> list[int]:
    return [sign_in(client, name, "a guess", REMOTE_ADDR=address, **extra).status_code for _ in range(times)]


def is_let_in(address: str = HERE, name: str = "ada", **extra: str) -> bool:
    client = Client()
    sign_in(client, name, REMOTE_ADDR=address, **extra)
    return client.get(INDEX).status_code == 200


def test_after_five_wrong_attempts_even_the_right_password_has_to_wait(client: Client, ada: User) -> None:
    assert wrong(client, 5) == [200, 200, 200, 200, 429]
    response = sign_in(client, "ada", REMOTE_ADDR=HERE)
    assert response.status_code == 429
    assert "Wait 15 minutes" in response.content.decode()
    assert not is_let_in()
    assert is_let_in(ELSEWHERE)
    person("eve", "viewer")
    assert is_let_in(name="eve")


def test_the_wait_ends_and_is_not_made_longer_by_trying(client: Client, ada: User) -> None:
    wrong(client, 5)
    for minutes, let_in in ((14, False), (2, True)):
        wrong(client, 3)
        AccessAttempt.objects.update(attempt_time=AccessAttempt.objects.get().attempt_time - timedelta(minutes=minutes))
        assert is_let_in() == let_in


def test_four_wrong_attempts_are_forgotten_by_a_right_one(client: Client, ada: User) -> None:
    for _ in range(3):
        wrong(client, 4)
        assert is_let_in()


def test_wrong_codes_count_like_wrong_passwords_and_the_password_does_not_reset_them(client: Client, ada: User) -> None:
    with_device(ada)
    for _ in range(4):
        sign_in(client, "ada")
        assert client.post(ENTER, {"code": "000000"}).status_code == 200
        client.post("/admin/logout/")
    sign_in(client, "ada")
    response = client.post(ENTER, {"code": "000000"})
    assert (response.status_code, "Too many attempts" in response.content.decode()) == (429, True)
    assert client.get(ENTER).headers["Location"].startswith("/admin/login/")  # the password has to be given again
    assert sign_in(client, "ada").status_code == 429


def test_the_second_factor_forgets_what_went_before(client: Client, ada: User) -> None:
    key = with_device(ada)
    wrong(client, 4, address="127.0.0.1")
    sign_in(client, "ada")
    client.post(ENTER, {"code": code_of(key)})
    assert not AccessAttempt.objects.exists()


def test_nobody_escapes_by_a_header_of_their_own(client: Client, ada: User) -> None:
    for number in range(5):
        wrong(client, 1, headers={"X-Forwarded-For": f"198.51.100.{number}"})
    assert not is_let_in(headers={"X-Forwarded-For": "198.51.100.99"})


def test_behind_a_proxy_the_address_is_the_one_that_it_saw(client: Client, ada: User, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1
    for number in range(5):  # what stands before the proxy's own entry anybody can have written
        wrong(client, 1, headers={"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.1"})
    assert not is_let_in(headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1"})
    assert is_let_in(headers={"X-Forwarded-For": "198.51.100.1, 198.51.100.2"})
    assert set(AccountEvent.objects.filter(event="refused").values_list("address", flat=True)) == {"198.51.100.1"}


def test_what_happened_is_on_record(client: Client, ada: User) -> None:
    wrong(client, 6, headers={"User-Agent": "a browser"})
    is_let_in(ELSEWHERE)
    client.force_login(ada)
    client.post("/admin/logout/")
    found = AccountEvent.objects.exclude(event="password_set").order_by("id")
    assert [each.event for each in found] == [
        *["refused"] * 4,
        *["locked_out"] * 2,
        "signed_in",
        "signed_in",
        "signed_out",
    ]
    first = found[0]
    assert (first.username, first.address, first.user_agent, first.detail) == (
        "ada",
        HERE,
        "a browser",
        "wrong name or password",
    )


def test_no_password_and_no_code_is_kept_of_a_failure(client: Client, ada: User) -> None:
    with_device(ada)
    sign_in(client, "ada")
    client.post(ENTER, {"code": "987654"})
    sign_in(client, "ada", "a guess near the truth", REMOTE_ADDR=HERE)
    kept = str([*AccessAttempt.objects.values(), *AccountEvent.objects.values()])
    assert "wrong code" in kept
    assert not any(secret in kept for secret in ("987654", "a guess near the truth", PASSWORD))


def test_a_session_ends_after_twelve_hours(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    ends = client.session.get_expiry_date() - timezone.now()
    assert timedelta(hours=11, minutes=59) < ends <= timedelta(hours=12)


def test_the_sessions_cookie_is_for_the_server_alone(client: Client, ada: User) -> None:
    cookie = sign_in(client, "ada").cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("password", ["short", "password1234", "135792468013579", "ada-lovelace-1815"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, User(username="ada-lovelace-1815"))


def test_a_password_that_was_set_is_on_record() -> None:
    user = person("ada")
    user.set_password("another password of hers")
    user.save()
    assert AccountEvent.objects.filter(event="password_set", username="ada").exists()
