"""The admin as a whole: the order of its sections, the accounts of people, and what every page says of the system."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.templatetags.static import static

from journal.admin_base import StyledGroupAdmin, StyledUserAdmin

SECTIONS = {
    "journal": "Journal",
    "decisions": "Decisions",
    "risk": "Risk",
    "reflection": "Reflection",
    "auth": "Accounts",
}

for model, pages in ((User, StyledUserAdmin), (Group, StyledGroupAdmin)):
    admin.site.unregister(model)
    admin.site.register(model, pages)


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """What the reader may see, section by section, the tables of each in the order of their definition."""
    visible = {app["app_label"]: app for app in admin.site.get_app_list(request)}
    ordered = []
    for name, title in SECTIONS.items():
        if name in visible:
            order = list(apps.get_app_config(name).get_models())
            tables = sorted(visible[name]["models"], key=lambda table: order.index(table["model"]))
            ordered.append({**visible[name], "name": title, "models": tables})
    return ordered


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar."""
    return [
        {
            "title": section["name"],
            "separator": True,
            "items": [{"title": table["name"], "link": table["admin_url"]} for table in section["models"]],
        }
        for section in sections(request)
    ]


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The first page, in the sidebar's order."""
    return {**context, "title": "All records", "app_list": sections(request)}


def environment(_: HttpRequest) -> tuple[str, str]:
    """Whether real money moves, in letters nobody can miss."""
    return ("SANDBOX", "info") if settings.SANDBOX else ("LIVE", "danger")


def favicon(_: HttpRequest) -> str:
    """The address of the browser tab's picture."""
    return static("journal/favicon.svg")
