"""The pages of the second factor: show it, get one, write recovery codes anew. And what a locked-out person reads."""

import time
from http import HTTPStatus
from typing import Any

import django_otp
from axes.handlers.proxy import AxesProxyHandler
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from journal.admin_base import LineWidget
from orchestrator_project.accounts import second_factor
from orchestrator_project.accounts.gate import CODES, ENROL, ENTER, missing
from orchestrator_project.accounts.record import Event, forget_failures, note

PENDING_KEY = "second_factor_key"
"""The session's name for the key of a device that is not confirmed yet."""


class CodeForm(forms.Form):
    """The code an app shows, or a recovery code."""

    code = forms.CharField(
        max_length=20,
        label_suffix="",
        widget=LineWidget(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )


class AppCodeForm(CodeForm):
    """A phone brings up its digits for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs["inputmode"] = "numeric"


def factor(request: HttpRequest) -> HttpResponse:
    """How the reader's second factor stands, and what they may do about it."""
    context = {
        "has_device": second_factor.has_device(_reader(request)),
        "codes_left": second_factor.recovery_codes_left(_reader(request)),
        "enrol": reverse(ENROL),
        "codes": reverse(CODES),
        "back": reverse("admin:index"),
    }
    return _page(request, "accounts/factor.html", "Second factor", **context)


# --- show it ----------------------------------------------------------------------------------------------------------


def enter(request: HttpRequest) -> HttpResponse:
    """Ask for a code; a wrong one counts like a wrong password."""
    if missing(request) != ENTER:
        return HttpResponseRedirect(_onward(request))
    recovery = "recovery" in request.GET
    form = (CodeForm if recovery else AppCodeForm)(request.POST if request.method == "POST" else None)
    form.fields["code"].label = "Recovery code" if recovery else "Code of your app"
    if form.is_valid():
        if not _allowed(request):
            return _too_many(request)
        device = second_factor.verify(_reader(request), form.cleaned_data["code"])
        if device is not None:
            return _come_in(request, device)
        if _counted_wrong(request):
            return _too_many(request)
        form.add_error("code", "This code is wrong or used up. After several wrong ones even a right one has to wait.")
    context = {"form": form, "recovery": recovery, "next": _wanted(request)}
    return _page(request, "accounts/enter.html", "Second factor", **context)


def _allowed(request: HttpRequest) -> bool:
    return bool(AxesProxyHandler.is_allowed(request, {"username": request.user.get_username()}))


def _counted_wrong(request: HttpRequest) -> bool:
    """Count a wrong code. Returns whether that was one too many."""
    credentials = {"username": request.user.get_username(), "wrong": "code"}
    user_login_failed.send(sender=__name__, credentials=credentials, request=request)
    return bool(getattr(request, "axes_locked_out", False))


def _too_many(request: HttpRequest) -> HttpResponse:
    """The password has to be given again too."""
    logout(request)
    return locked_out(request)


def _come_in(request: HttpRequest, device: django_otp.models.Device) -> HttpResponse:
    onward = _onward(request)
    request.session.cycle_key()
    django_otp.login(request, device)
    forget_failures(request.user.get_username(), request)
    left = second_factor.recovery_codes_left(_reader(request))
    note(Event.VERIFIED, request.user.get_username(), request, detail=f"{device.name}; {left} recovery codes left")
    return HttpResponseRedirect(onward)


def _wanted(request: HttpRequest) -> str:
    return request.POST.get("next") or request.GET.get("next", "")


def _onward(request: HttpRequest) -> str:
    """Where the person was going, if that is a page of ours."""
    wanted = _wanted(request)
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if ours else reverse("admin:index")


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """What a person reads who has been wrong too often. It says nothing of whether there is such an account."""
    minutes = round(settings.AXES_COOLOFF_TIME.total_seconds() / 60)
    page = _page(request, "accounts/locked_out.html", "Too many attempts", minutes=minutes)
    page.status_code = HTTPStatus.TOO_MANY_REQUESTS
    return page.render()  # it may take the place of a response that was rendered already


# --- get one ----------------------------------------------------------------------------------------------------------


def enrol(request: HttpRequest) -> HttpResponse:
    """Show the key as a picture and as text, until a code proves that the app has it. Whoever has a device already
    replaces it, and has to have shown it."""
    if missing(request) == ENTER:
        raise PermissionDenied("The second factor is still to be shown.")
    key = request.session.setdefault(PENDING_KEY, second_factor.new_key())
    form = AppCodeForm(request.POST if request.method == "POST" else None)
    form.fields["code"].label = "The code that the app shows now"
    if form.is_valid():
        device = second_factor.confirm(
            _reader(request), key, form.cleaned_data["code"].replace(" ", ""), now=time.time()
        )
        if device is not None:
            return _enrolled(request, device)
        form.add_error("code", "This is not the code of this picture. Is the clock of your phone right?")
    url = second_factor.enrolment_url(request.user.get_username(), key)
    context = {"form": form, "picture": second_factor.picture(url), "key": second_factor.typed_key(key)}
    return _page(request, "accounts/enrol.html", "Set up your second factor", **context)


def _enrolled(request: HttpRequest, device: django_otp.models.Device) -> HttpResponse:
    del request.session[PENDING_KEY]
    request.session.cycle_key()
    django_otp.login(request, device)
    note(Event.FACTOR_ENROLLED, request.user.get_username(), request)
    return _write_codes(request, "Your second factor is set up")


@require_POST
def codes(request: HttpRequest) -> HttpResponse:
    """New recovery codes, shown this once."""
    if not _reader(request).is_verified():
        raise PermissionDenied("There is no second factor to recover.")
    return _write_codes(request, "New recovery codes")


def _write_codes(request: HttpRequest, title: str) -> HttpResponse:
    user = _reader(request)
    written = second_factor.write_recovery_codes(user)
    note(Event.CODES_WRITTEN, user.get_username(), request)
    return _page(request, "accounts/codes.html", title, written=written, back=reverse("admin:index"))


def _reader(request: HttpRequest) -> Any:
    """Who is signed in: the pages are for nobody else. django-otp adds `is_verified` to them."""
    return request.user


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), "title": title, **context})
