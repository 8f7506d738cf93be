"""People at the admin's door, and the app on their phone."""

import time

from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django_otp.oath import TOTP

from orchestrator_project.accounts import second_factor

PASSWORD = "correct horse battery staple"
LOGIN, INDEX, ENTER, ENROL = "/admin/login/", "/admin/", "/admin/second-factor/enter/", "/admin/second-factor/enrol/"


def person(name: str, *roles: str) -> User:
    """A member of staff in these roles."""
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


def sign_in(client: Client, name: str, password: str = PASSWORD, **extra: str) -> HttpResponse:
    return client.post(LOGIN, {"username": name, "password": password}, **extra)


def code_of(key: str, steps_ahead: int = 0) -> str:
    """What the app shows for the key; codes are used up, so another one is that of a later step."""
    generator = TOTP(bytes.fromhex(key))
    generator.time = time.time() + 30 * steps_ahead
    return f"{generator.token():06d}"


def with_device(user: User) -> str:
    """Give the account a device whose codes are all unused. Returns its key."""
    key = second_factor.new_key()
    device = second_factor.confirm(user, key, code_of(key), now=time.time())
    assert device is not None
    device.last_t = -1
    device.save()
    return key
