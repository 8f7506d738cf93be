"""The admin as a whole: the order of its sections, and what every page says of the system."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from decisions.dashboard import pages as dashboard

SECTIONS = {
    "journal": "Journal",
    "decisions": "Decisions",
    "risk": "Risk",
    "reflection": "Reflection",
    "auth": "Accounts",
    "accounts": "Sign-ins",
    "admin": "Changes made here",
}

admin.site.index_template = "decisions/dashboard.html"


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
    first = {"items": [{"title": "Dashboard", "link": reverse("admin:index")}]}
    return [first] + [
        {
            "title": section["name"],
            "separator": True,
            "items": [{"title": table["name"], "link": table["admin_url"]} for table in section["models"]],
        }
        for section in sections(request)
    ]


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The first page: the dashboard, and for those who may not see it the tables that they may."""
    if dashboard.may_see(request.user):
        return {**context, **dashboard.contents(request), "title": "Dashboard"}
    return {**context, "title": "All records", "app_list": sections(request)}


def environment(_: HttpRequest) -> tuple[str, str]:
    """Whether real money moves, in letters nobody can miss."""
    return ("SANDBOX", "info") if settings.SANDBOX else ("LIVE", "danger")


def account_links(_: HttpRequest) -> list[dict[str, str]]:
    """What stands under a person's name, besides signing out."""
    return [{"title": "Second factor", "link": reverse("second_factor")}]


def theme_script(_: HttpRequest) -> str:
    """The address of what the theme's scripts are told first."""
    return static("accounts/theme.js")


def theme_style(_: HttpRequest) -> str:
    """The address of what mends the theme's looks."""
    return static("accounts/theme.css")


def favicon(_: HttpRequest) -> str:
    """The address of the browser tab's picture."""
    return static("journal/favicon.svg")
