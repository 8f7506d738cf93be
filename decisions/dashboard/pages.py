"""The dashboard's page, and the part of it that is fetched again while somebody looks."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from decisions.dashboard import account_panels, queries, work_panels
from decisions.dashboard.addresses import ADDRESSES
from decisions.dashboard.curve import RANGES
from decisions.dashboard.facts import Facts
from decisions.dashboard.headline import headline
from decisions.dashboard.parts import Panel, Place, provided
from journal.admin_actions import Action
from journal.admin_base import ReadOnlyAdmin
from risk.models import RiskState
from risk.state import ACCOUNT

DEFAULT_RANGE = "24h"
SHOWN = (
    "risk.view_riskstate", "risk.view_halt", "journal.view_accountupdate", "journal.view_trade",
    "journal.view_playbookversion", "decisions.view_decisioncycle", "decisions.view_modelcall",
    "decisions.view_screenerlog", "decisions.view_order", "decisions.view_fill", "decisions.view_positionreport",
    "decisions.view_marketrecord", "decisions.view_outboxmessage", "decisions.view_discrepancy",
    "decisions.view_instrumentblock", "decisions.view_deadletter",
)  # fmt: skip
"""What the dashboard tells of: whoever may view all of it may see it."""


def may_see(user: User | AnonymousUser) -> bool:
    return user.has_perms(SHOWN)


def contents(request: HttpRequest) -> dict[str, Any]:
    """What the templates show."""
    chosen = request.GET.get("range", DEFAULT_RANGE)
    facts = queries.facts(chosen if chosen in RANGES else DEFAULT_RANGE)
    return {
        "headline": headline(facts, ADDRESSES),
        "places": placed([*panels(facts), *provided(facts.now, ADDRESSES)]),
        "ranges": [(name, name == facts.curve.chosen) for name in RANGES],
        "market_time": facts.now,
        "shown_at": facts.wall,
        "offers": _offers(request, is_halted=bool(facts.account.halts)),
    }


def panels(facts: Facts) -> list[Panel]:
    """Every panel of our own, in the order of the page."""
    return [*account_panels.panels(facts, ADDRESSES), *work_panels.panels(facts, ADDRESSES)]


def fragment(request: HttpRequest) -> HttpResponse:
    """What changes of the page."""
    if not may_see(request.user):
        raise PermissionDenied
    return TemplateResponse(request, "decisions/dashboard_contents.html", contents(request))


def placed(shown: Iterable[Panel]) -> dict[Place, list[Panel]]:
    """The panels by place, in their order."""
    places: dict[Place, list[Panel]] = {place: [] for place in ("side", "main", "full", "column")}
    for panel in shown:
        places[panel.place].append(panel)
    return places


def _offers(request: HttpRequest, *, is_halted: bool) -> list[tuple[Any, str]]:
    """What the reader may do to the account's risk state; there is nothing to resume where nothing is halted."""
    state = RiskState.objects.filter(account=ACCOUNT).first()
    if state is None:
        return []
    offers = cast("ReadOnlyAdmin", admin.site.get_model_admin(RiskState)).offers(request, state)
    return [each for each in offers if is_halted or not (isinstance(each[0], Action) and each[0].name == "resume")]
