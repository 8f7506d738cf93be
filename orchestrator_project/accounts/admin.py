"""Pages of the accounts: people, groups, what happened to accounts, and what people changed in the admin.

No account is ever deleted, since the record names it: it is deactivated. Whoever may change accounts cannot make
themselves or others a superuser, nor touch one.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.forms import ModelForm
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from journal.admin_base import CheckboxesWidget, StyledGroupAdmin, StyledUserAdmin, register
from journal.admin_reasons import Reasoned, with_reason
from orchestrator_project.accounts.models import AccountEvent
from orchestrator_project.accounts.roles import ROLES

SUPERUSERS_ONLY = ("is_superuser",)


class UserPages(Reasoned, StyledUserAdmin):
    """People: whom there is, what they may do, who may come in."""

    form = with_reason(StyledUserAdmin.form)
    add_form = with_reason(StyledUserAdmin.add_form)
    change_password_form = with_reason(StyledUserAdmin.change_password_form)
    fieldsets = (
        (None, {"fields": ("username", "password", "first_name", "last_name", "email")}),
        ("What they may do", {"fields": ("is_active", "is_staff", "groups", *SUPERUSERS_ONLY)}),
        ("When they came", {"fields": ("last_login", "date_joined")}),
        ("Why", {"fields": ("reason",)}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "password1", "password2")}),
        ("What they may do", {"fields": ("is_staff", "groups")}),
        ("Why", {"fields": ("reason",)}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    list_display = ("username", "first_name", "last_name", "is_active", "is_staff", "is_superuser", "last_login")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **{**options, "widget": CheckboxesWidget})

    def has_delete_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else (*own, *SUPERUSERS_ONLY)


class GroupPages(Reasoned, StyledGroupAdmin):
    """Groups of people's own making. The roles are shown and left as they are."""

    form = with_reason(ModelForm)
    filter_horizontal = ()

    def has_delete_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.name not in ROLES)


for model, pages in ((User, UserPages), (Group, GroupPages)):
    admin.site.unregister(model)
    admin.site.register(model, pages)
for secret in (TOTPDevice, StaticDevice):  # their own pages would show the keys
    admin.site.unregister(secret)
register(
    AccountEvent,
    list_display=("created_at", "username", "event", "by", "detail", "address", "user_agent"),
    list_filter=("event",),
    search_fields=("username", "by", "address"),
    date_hierarchy="created_at",
)
register(
    LogEntry,
    list_display=("action_time", "user", "content_type", "object_repr", "change_message"),
    list_filter=("action_flag", "user", "content_type"),
    search_fields=("object_repr", "change_message"),
    date_hierarchy="action_time",
)
