"""The gate before every page: who has, or must have, a second factor shows it before they see or do anything else."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from orchestrator_project.accounts import second_factor

ENTER, ENROL, FACTOR, CODES = "second_factor_enter", "second_factor_enrol", "second_factor", "second_factor_codes"
READING = ("GET", "HEAD")


class SecondFactorGate:
    """Leads those who have not shown their second factor to the page that asks for it, and those who have to have one
    and have none to the page where they get it. Signing out is open to all."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        page = missing(request)
        if page is None or request.path in (reverse(page), reverse("admin:logout")):
            return self.get_response(request)
        if request.method not in READING:
            raise PermissionDenied("The second factor is still to be shown.")
        return HttpResponseRedirect(f"{reverse(page)}?{urlencode({'next': request.get_full_path()})}")


def missing(request: HttpRequest) -> str | None:
    """The page that a person has to pass first, or None."""
    user: Any = request.user
    if not user.is_authenticated or user.is_verified():
        return None
    if second_factor.has_device(user):
        return ENTER
    return ENROL if settings.REQUIRE_SECOND_FACTOR else None
