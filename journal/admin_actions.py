"""What people may do from a row's page: a form that asks why, a page that says what will come of it, then the deed.

Reading changes nothing. A form that is filled in is rehearsed: the deed itself is done and rolled back, so that what is
said before is what is done after. Only the page that says so carries the button that does it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from journal.presentation import Notice, Section, Tone, page_of, shown

CONFIRMED = "confirmed"
"""The name of the button that does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that people with the permission may do to a row.

    `carry_out` is called with the row, the person's name as `by` and the form's values. It says what was done, or
    raises `ValidationError` and then has done nothing. All that it does is in the database or waits for the commit.
    """

    name: str
    title: str
    meaning: str
    tone: Tone
    permission: str
    form: type[forms.Form]
    sections: Callable[[Any], Iterable[Section]]
    carry_out: Callable[..., str]

    def allowed_to(self, user: User | AnonymousUser) -> bool:
        return user.has_perm(self.permission)

    def address(self, row: Model) -> str:
        """Where it is done."""
        return reverse(f"admin:{self.address_name(type(row))}", args=(row.pk,))

    def address_name(self, model: type[Model]) -> str:
        return f"{model._meta.app_label}_{model._meta.model_name}_{self.name}"


def act(pages: ModelAdmin, action: Action, request: HttpRequest, object_id: str) -> HttpResponse:
    """Ask, say what would be done, do it: whichever it is time for. What is refused is told beside the form."""
    row = pages.get_object(request, object_id)
    if not (action.allowed_to(request.user) and pages.has_view_permission(request, row)):
        raise PermissionDenied
    if row is None:
        raise Http404(f"There is no {pages.opts.verbose_name} {object_id}.")
    form = action.form(request.POST if request.method == "POST" else None)
    told = ""
    if form.is_valid():
        deed = partial(action.carry_out, row, by=request.user.get_username(), **form.cleaned_data)
        try:
            told = deed() if CONFIRMED in request.POST else _rehearsed(deed)
        except ValidationError as refusal:
            form.add_error(None, refusal)
    if told and CONFIRMED in request.POST:
        messages.success(request, told)
        return HttpResponseRedirect(page_of(row))
    return _page(pages, action, request, row, form, told)


def _rehearsed(deed: Callable[[], str]) -> str:
    """What it says when it is done; it is taken back at once."""
    with transaction.atomic():
        told = deed()
        transaction.set_rollback(True)
    return told


def _page(
    pages: ModelAdmin, action: Action, request: HttpRequest, row: Model, form: forms.Form, told: str
) -> HttpResponse:
    """The form, or, once it is known what it would do, that and the button to do it."""
    first = Notice(title=action.title, text=action.meaning, tone=action.tone)
    if told:
        first = Notice(title=f"{action.title}? This is what will be done", text=told, tone=action.tone)
    context = {
        **pages.admin_site.each_context(request),
        "title": action.title,
        "opts": pages.opts,
        "original": row,
        "media": pages.media,
        "action": action,
        "form": form,
        "said": [(each.label, shown(each.name, form.cleaned_data[each.name])) for each in form.visible_fields()]
        if told
        else [],
        "confirmed": CONFIRMED,
        "back": page_of(row),
        "sections": [first, *action.sections(row)],
    }
    return TemplateResponse(request, "journal/action.html", context)
