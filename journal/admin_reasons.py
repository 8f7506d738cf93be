"""Tables that people keep: whatever they add, change or remove there, they say why, and it is kept with their name.

What is kept is a row of Django's log of changes (`django_admin_log`), which nobody can change afterwards.
"""

import json
from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

from journal.admin_actions import Action, act
from journal.admin_base import AreaWidget, ReasonForm
from journal.presentation import Section, page_sections

WHY = "reason"


class WhyForm(ReasonForm):
    """Why a row is removed."""

    reason = forms.CharField(
        max_length=1000, widget=AreaWidget, help_text="It is kept with your name.", label_suffix=""
    )


def with_reason(form: Any) -> Any:
    """The form of a row, and why it is filled in."""
    reason = forms.CharField(max_length=1000, widget=AreaWidget, help_text="It is kept with your name.")
    return type(form)(f"Reasoned{form.__name__}", (form,), {WHY: reason})


class Reasoned(ModelAdmin):
    """Pages whose forms are `with_reason`. Rows are removed one at a time."""

    actions = None

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        form.changed_data = [name for name in form.changed_data if name != WHY]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return super().log_addition(request, obj, _with_why(request, message))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        return super().log_change(request, obj, _with_why(request, message))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:  # noqa: ARG002
        """Ask why, say what will go, remove it."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        done = act(self, _removal(self, request.user), request, unquote(object_id))
        if not isinstance(done, HttpResponseRedirect):
            return done
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


def _with_why(request: HttpRequest, message: Any) -> str:
    what = LogEntry(change_message=message if isinstance(message, str) else json.dumps(message)).get_change_message()
    return f"{what} Why: {request.POST[WHY]}"


def _removal(pages: Any, user: Any) -> Action:
    def carry_out(row: Model, *, by: str, reason: str) -> str:
        _log_removal(user, row, reason)
        type(row)._default_manager.filter(pk=row.pk).delete()
        return f"{row} is removed, by {by}."

    return Action(
        name="delete",
        title="Remove it",
        meaning="What depends on it goes by what is left.",
        tone="bad",
        permission=f"{pages.opts.app_label}.delete_{pages.opts.model_name}",
        form=WhyForm,
        sections=_facts,
        carry_out=carry_out,
    )


def _facts(row: Model) -> Iterator[Section]:
    yield page_sections(row)[0]


def _log_removal(user: User, row: Model, reason: str) -> None:
    LogEntry.objects.log_actions(user.pk, [row], DELETION, change_message=f"Why: {reason}", single_object=True)
