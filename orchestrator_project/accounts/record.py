"""The record of sign-ins: who came, who was refused, from where."""

import ipaddress
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from orchestrator_project.accounts import second_factor
from orchestrator_project.accounts.models import AccountEvent

Event = AccountEvent.Event
NAME, AGENT = 150, 255


def note(event: str, username: str, request: HttpRequest | None = None, *, by: str = "", detail: str = "") -> None:
    """Keep what happened to an account."""
    AccountEvent.objects.create(
        event=event,
        username=_storable(username, NAME),
        by=by,
        detail=detail,
        address=client_address(request) if request is not None else None,
        user_agent=_storable(request.headers.get("User-Agent", ""), AGENT) if request is not None else "",
    )


def client_address(request: HttpRequest) -> str | None:
    """Whom a request came from. Where proxies are trusted, what the first of them saw: headers come from anybody, so
    only as many entries count as there are proxies, from the right."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES:
        told = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
        address = told[-settings.TRUSTED_PROXIES] if len(told) >= settings.TRUSTED_PROXIES else address
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a Unix socket has no address
        return None


def connect() -> None:
    """Listen to Django's own signals."""
    user_logged_in.connect(_signed_in)
    user_logged_out.connect(_signed_out)
    user_login_failed.connect(_refused)


class PasswordRecord:
    """Among the password validators, since Django tells these whenever a password is set."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        """Any will do."""

    def password_changed(self, _password: str, user: AbstractBaseUser | None = None) -> None:
        if user is not None:
            note(Event.PASSWORD_SET, user.get_username())

    def get_help_text(self) -> str:
        return ""


def forget_failures(username: str, request: HttpRequest) -> None:
    """Somebody has come in all the way: what went wrong before, from the same place, counts no more."""
    AxesProxyHandler.reset_attempts(username=username, ip_address=client_address(request))


def _signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    note(Event.SIGNED_IN, user.get_username(), request)
    if not second_factor.has_device(user):
        forget_failures(user.get_username(), request)


def _signed_out(request: HttpRequest, user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        note(Event.SIGNED_OUT, user.get_username(), request)


def _refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """The lock-out, which was told first, has marked the request."""
    locked = getattr(request, "axes_locked_out", False)
    wrong = credentials.get("wrong", "name or password")
    note(
        Event.LOCKED_OUT if locked else Event.REFUSED,
        credentials.get("username") or "",
        request,
        detail=f"wrong {wrong}; too many attempts" if locked else f"wrong {wrong}",
    )


def _storable(text: str, longest: int) -> str:
    """Text as Postgres takes it."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()[:longest]
