"""The playbook in the admin: its history, a page for each version, and what people decide there."""

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from journal import playbook_versions
from journal.admin_actions import Action
from journal.admin_base import Link, ReadOnlyAdmin, ReasonForm, offered_on, register, sections, shown_on
from journal.models import ChallengerDecision, PlaybookVersion, Promotion, Trade
from journal.playbook import InvalidPlaybook
from journal.playbook_editor import EDIT, PROMOTE, changes_table, compare, edit
from journal.playbook_versions import NoVersion, Refused, changes, standing
from journal.presentation import Notice, Section, Table, Tone, facts_of, pill, shown, table_of

EDITOR, COMPARE = "journal_playbookversion_edit", "journal_playbookversion_compare"
MEANING: dict[str, tuple[str, Tone]] = {
    "active": ("is the one that trades", "good"),
    "former": ("has traded and does not any more", "plain"),
    "challenger": ("challenges the one that trades", "info"),
    "waiting": ("waits to be approved", "info"),
    "rejected": ("was rejected", "bad"),
    "superseded": ("was superseded by another version", "plain"),
}
FITTING = {
    "approve": ("challenger", "waiting"),
    "reject": ("challenger", "waiting"),
    "roll-back": ("former", "rejected", "superseded"),
}
"""What each action is for."""
CHANGES = "Changes from version {}"


# --- the history ------------------------------------------------------------------------------------------------------


def standing_of(version: Any) -> str:
    return pill(standing(version, version.active_version))


def pnl_then(version: PlaybookVersion) -> str:
    """With its length: a person's version keeps the last day, reflection's the period that it rests on."""
    figures = figures_then(version)
    pnl = shown("total_pnl", figures.get("total_pnl"), short=True)
    return format_html("{} in {}", pnl, playbook_versions.period_of(figures)) if "period_end" in figures else pnl


def figures_then(version: PlaybookVersion) -> dict[str, Any]:
    """The figures that were kept with a version, numbers as numbers."""
    kept = version.performance_at_update
    plain = (
        {} if not isinstance(kept, dict) else {name: each for name, each in kept.items() if not isinstance(each, dict)}
    )
    return {name: _number(value) if isinstance(value, str) else value for name, value in plain.items()}


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


standing_of.short_description = "Standing"  # type: ignore[attr-defined]
pnl_then.short_description = "P&L then"  # type: ignore[attr-defined]


class PlaybookAdmin(ReadOnlyAdmin):
    """The versions, with the pages on which people write another one and compare two."""

    list_before_template = "journal/playbook_list.html"
    list_display = (
        "version", standing_of, "created_at", "triggered_by", "created_by", "change_summary", "reason", pnl_then,
    )  # fmt: skip
    list_filter = ("triggered_by", "created_by")
    search_fields = ("change_summary", "reason", "created_by", "content_hash")
    date_hierarchy = "created_at"
    ordering = ("-version",)

    class Media:
        css = {"all": ("journal/record.css", "journal/playbook.css")}  # noqa: RUF012 - as Django reads it
        js = ("journal/playbook.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlaybookVersion]:
        active = Promotion.objects.order_by("-id").values("playbook__version")[:1]
        versions = super().get_queryset(request).annotate(active_version=Subquery(active))
        return versions.select_related("decision").prefetch_related("promotions")

    def get_urls(self) -> list[URLPattern]:
        return [self._page("edit", EDITOR, edit), self._page("compare", COMPARE, compare), *super().get_urls()]

    def _page(self, address: str, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        return path(f"{address}/", self.admin_site.admin_view(partial(view, self)), name=name)

    def offers(self, request: HttpRequest, row: Any) -> list[tuple[Action | Link, str]]:
        stands = standing(row, row.active_version)
        fitting: list[tuple[Action | Link, str]] = [
            (offer, address)
            for offer, address in super().offers(request, row)
            if isinstance(offer, Action) and stands in FITTING[offer.name]
        ]
        if request.user.has_perm(EDIT):
            title = "Edit" if stands == "active" else "Edit a copy"
            fitting.append((Link(title), f"{reverse(f'admin:{EDITOR}')}?from={row.version}"))
        other = row.active_version if stands != "active" else max(row.version - 1, 1)
        comparison = f"{reverse(f'admin:{COMPARE}')}?old={other}&new={row.version}"
        return [*fitting, (Link("Compare"), comparison)]


admin.site.register(PlaybookVersion, PlaybookAdmin)
register(
    Promotion,
    list_display=("created_at", "playbook", "promoted_by", "reason"),
    list_filter=("promoted_by",),
    date_hierarchy="created_at",
)
register(
    ChallengerDecision,
    list_display=("created_at", "playbook", "decision", "decided_by", "reason"),
    list_filter=("decision", "decided_by"),
    date_hierarchy="created_at",
)


# --- the page of a version --------------------------------------------------------------------------------------------


@shown_on(PlaybookVersion)
def playbook_history(version: PlaybookVersion) -> Iterator[Section]:
    """How it stands, what it changed, what was decided about it and what came of it."""
    active = _active()
    told, tone = MEANING[standing(version, active.version if active else None)]
    who = f"Written by {playbook_versions.author(version)}"
    yield Notice(
        title=f"Playbook version {version.version} {told}",
        text=f"{who}: {version.reason}" if version.reason else f"{who}.",
        tone=tone,
    )
    before = PlaybookVersion.objects.filter(version__lt=version.version).order_by("-version").first()
    if before is not None:
        yield from _difference(before, version)
    yield _records([version] if active in (None, version) else [active, version])
    if figures := figures_then(version):
        yield facts_of("Performance when it was written", figures)
    yield table_of("Promotions", version.promotions.order_by("-id"), "created_at", "promoted_by", "reason")
    decisions = ChallengerDecision.objects.filter(playbook=version)
    yield table_of("Decision about it", decisions, "created_at", "decision", "decided_by", "reason")
    yield table_of(
        "Its last 20 trades",
        Trade.objects.filter(playbook_version=version.version).order_by("-opened_at")[:20],
        *("opened_at", "symbol", "direction", "strategy_used", "exit_reason", "pnl_usd", "status"),
    )


def _active() -> PlaybookVersion | None:
    try:
        return playbook_versions.active()
    except NoVersion:
        return None


def _difference(old: PlaybookVersion, new: PlaybookVersion, title: str = CHANGES) -> Iterator[Section]:
    try:
        yield changes_table(title.format(old.version), changes(old, new))
    except InvalidPlaybook as error:
        yield Notice(title=f"It cannot be compared with version {old.version}", text=str(error), tone="warn")


def _records(versions: list[PlaybookVersion]) -> Table:
    """What versions have earned with real money, side by side; only closed trades whose result is known."""
    rows = []
    for version in versions:
        known = Trade.objects.filter(playbook_version=version.version, pnl_usd__isnull=False)
        record = known.aggregate(trades=Count("pk"), won=Count("pk", filter=Q(pnl_usd__gt=0)), net=Sum("pnl_usd"))
        net = shown("pnl_usd", record["net"])
        rows.append([f"version {version.version}", str(record["trades"]), str(record["won"]), net])
    return Table(title="Record", headers=["Playbook", "Trades", "Won", "Net USD"], rows=rows)


# --- decisions --------------------------------------------------------------------------------------------------------


class DecisionForm(ReasonForm):
    """Why, and what was promoted last when the person began: nobody decides on a page that is out of date."""

    seen = forms.IntegerField(required=False, widget=forms.HiddenInput, label="")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].help_text = "It is kept with your name in the history."
        self.fields["seen"].initial = lambda: Promotion.objects.order_by("-id").values_list("pk", flat=True).first()


def _decided(deed: Callable[..., str]) -> Callable[..., str]:
    """What the facts stand against is told beside the form."""

    def carry_out(version: PlaybookVersion, **given: Any) -> str:
        try:
            return deed(version, **given)
        except (Refused, InvalidPlaybook) as refusal:
            raise ValidationError(str(refusal)) from refusal

    return carry_out


def _approve(version: PlaybookVersion, *, by: str, reason: str, seen: int | None) -> str:
    before = playbook_versions.active().version
    playbook_versions.promote(version.version, by=by, reason=reason, seen_promotion=seen)
    return f"Version {version.version} trades from the next cycle on, instead of version {before}."


def _reject(version: PlaybookVersion, *, by: str, reason: str, **_: Any) -> str:
    playbook_versions.reject(version.version, by=by, reason=reason)
    return f"Version {version.version} is rejected. Version {playbook_versions.active().version} goes on trading."


def _roll_back(version: PlaybookVersion, *, by: str, reason: str, seen: int | None) -> str:
    before = playbook_versions.active().version
    written = playbook_versions.roll_back(
        version.version, by=by, reason=reason, now=timezone.now(), seen_promotion=seen
    )
    return (
        f"Version {written.version}, with what version {version.version} says, trades from the next cycle on, instead"
        f" of version {before}."
    )


def _from_the_active(version: PlaybookVersion) -> Iterator[Section]:
    """What would change in what trades, and all that its page has on record."""
    active = _active()
    if active is not None and active != version:
        yield from _difference(active, version, title="Changes in what trades, from version {}")
    own = [section for section in sections(version) if isinstance(section, Table)]
    yield from (section for section in own if section.rows and not section.title.startswith(CHANGES.format("")))


offered_on(
    PlaybookVersion,
    Action(
        name="approve",
        title="Approve and let it trade",
        meaning="It trades from the next cycle on. What is open stays open and keeps its stops.",
        tone="good",
        permission=PROMOTE,
        form=DecisionForm,
        sections=_from_the_active,
        carry_out=_decided(_approve),
    ),
    Action(
        name="reject",
        title="Reject",
        meaning="It will not trade, and reflection's next version takes its place as the challenger.",
        tone="bad",
        permission=PROMOTE,
        form=DecisionForm,
        sections=_from_the_active,
        carry_out=_decided(_reject),
    ),
    Action(
        name="roll-back",
        title="Roll back to it",
        meaning="A new version with what this one says is written, and trades from the next cycle on.",
        tone="warn",
        permission=PROMOTE,
        form=DecisionForm,
        sections=_from_the_active,
        carry_out=_decided(_roll_back),
    ),
)
