"""The pages on which people write a new version of the playbook, and compare two.

What is typed travels with the page, as a form or as JSON, together with what its author saw when they began. It is
reviewed against what trades before it can be saved; a version that was written meanwhile is shown and never written
over, and the text stays on the page whatever happens.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from journal import playbook_versions
from journal.admin_base import AreaWidget, CheckboxWidget, ChoiceWidget, DocumentWidget
from journal.models import PlaybookVersion
from journal.playbook import Fault, InvalidPlaybook, Playbook, content, diff, read_playbook
from journal.playbook_editor_forms import LISTS, TIME_FILTERS, editor_sections, typed_document
from journal.playbook_versions import Basis, Conflict, NoVersion, Refused
from journal.presentation import Document, Notice, Section, Table, page_of, pretty

EDIT, PROMOTE, VIEW = "journal.edit_playbook", "journal.promote_playbook", "journal.view_playbookversion"
LONGEST_DOCUMENT = 1_000_000
SHOWN_FAULTS = 10


class BasisForm(forms.Form):
    """What the author saw when they began."""

    edited_from = forms.IntegerField(widget=forms.HiddenInput)
    newest = forms.IntegerField(widget=forms.HiddenInput)
    promotion = forms.IntegerField(widget=forms.HiddenInput)


class SaveForm(forms.Form):
    """Why there is a new version, and whether it trades."""

    reason = forms.CharField(
        max_length=playbook_versions.LONGEST_REASON,
        widget=AreaWidget,
        help_text="It is kept with your name in the history.",
        label_suffix="",
    )
    promote = forms.BooleanField(
        required=False,
        initial=True,
        widget=CheckboxWidget,
        label="Trade by it from the next cycle on",
        label_suffix="",
        help_text="Otherwise it waits until somebody approves it.",
    )

    def __init__(self, *args: Any, may_promote: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_promote:
            del self.fields["promote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What an author has typed so far: the document, the text where it came as JSON, and what is wrong with it."""

    basis: Basis
    document: Any
    text: str | None
    reason: str
    faults: Sequence[Fault] = ()
    playbook: Playbook | None = None


# --- the steps --------------------------------------------------------------------------------------------------------


def edit(pages: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Type, review, save: whichever it is time for. Reading changes nothing."""
    if not (request.user.has_perm(EDIT) and pages.has_view_permission(request)):
        raise PermissionDenied
    try:
        if request.method != "POST":
            begun = _begun(request.GET.get("from", ""))
            return (_form_page if begun.playbook else _json_page)(pages, request, begun)
        return _next(pages, request, _draft(request))
    except NoVersion as error:
        raise BadRequest(str(error)) from error


def _begun(chosen: str) -> Draft:
    """From the version that trades, or the chosen one."""
    basis = playbook_versions.basis(int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 9 else None)
    stored = playbook_versions.find(basis.edited_from).playbook_json
    document = {name: stored.get(name) for name in (*LISTS, TIME_FILTERS)} if isinstance(stored, dict) else {}
    return _checked(Draft(basis=basis, document=document, text=None, reason=""))


def _next(pages: ModelAdmin, request: HttpRequest, draft: Draft) -> HttpResponse:
    match request.POST.get("step"):
        case "json":
            return _json_page(pages, request, replace(draft, faults=draft.faults if draft.text is None else ()))
        case "form":
            return _form_page(pages, request, draft) if draft.playbook else _again(pages, request, draft)
        case "save":
            return _save(pages, request, draft)
        case "rebase":
            return _review(pages, request, replace(draft, basis=_newest_basis()))
        case _:
            return _review(pages, request, draft)


def _newest_basis() -> Basis:
    """As if they had begun now, from the newest version."""
    now = playbook_versions.basis()
    return replace(now, edited_from=now.newest)


def _draft(request: HttpRequest) -> Draft:
    seen = BasisForm(request.POST)
    if not seen.is_valid():
        raise BadRequest("The form does not say which version it was made from.")
    basis, reason = Basis(**seen.cleaned_data), request.POST.get("reason", "")
    text = request.POST.get("document")
    if text is None:
        document, faults = typed_document(request.POST)
        return _checked(Draft(basis=basis, document=document, text=None, reason=reason, faults=faults))
    try:
        document = _parsed(text)
    except ValueError as error:
        return Draft(basis=basis, document=None, text=text, reason=reason, faults=[Fault((), str(error))])
    return _checked(Draft(basis=basis, document=document, text=text, reason=reason))


def _parsed(text: str) -> Any:
    """Raises `ValueError` saying where it is no JSON."""
    if len(text) > LONGEST_DOCUMENT:
        raise ValueError(f"it has {len(text):,} characters, and {LONGEST_DOCUMENT:,} at most are read")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _checked(draft: Draft) -> Draft:
    """With the playbook that it is, or what is wrong with it. Number and date are given when it is saved."""
    if draft.faults:
        return draft
    if not isinstance(draft.document, dict):
        return replace(draft, faults=[Fault((), "an object with the sections of a playbook was expected")])
    now = timezone.now().isoformat()
    try:
        return replace(draft, playbook=read_playbook({**draft.document, "version": 1, "last_updated": now}))
    except InvalidPlaybook as error:
        return replace(draft, faults=error.faults)


def _save(pages: ModelAdmin, request: HttpRequest, draft: Draft) -> HttpResponse:
    form = SaveForm(request.POST, may_promote=request.user.has_perm(PROMOTE))
    if draft.playbook is None or not form.is_valid():
        return _review(pages, request, draft, form=form)
    try:
        version = playbook_versions.save_manual(
            draft.playbook,
            basis=draft.basis,
            by=request.user.get_username(),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
            promote=form.cleaned_data.get("promote", False),
        )
    except Conflict as conflict:
        return _review(pages, request, draft, form=form, conflict=str(conflict))
    except Refused as refusal:
        form.add_error(None, str(refusal))
        return _review(pages, request, draft, form=form)
    trades = form.cleaned_data.get("promote", False)
    ending = "it trades from the next cycle on" if trades else "it waits to be approved"
    messages.success(request, f"Version {version.version} is written: {ending}.")
    return HttpResponseRedirect(page_of(version))


# --- the pages --------------------------------------------------------------------------------------------------------


def _again(pages: ModelAdmin, request: HttpRequest, draft: Draft) -> HttpResponse:
    """The page it was typed on, with what is wrong."""
    return _form_page(pages, request, draft) if draft.text is None else _json_page(pages, request, draft)


def _form_page(pages: ModelAdmin, request: HttpRequest, draft: Draft) -> HttpResponse:
    document = content(draft.playbook) if draft.playbook else draft.document
    context = {"editor": editor_sections(document, draft.faults), "sections": [_what_is_edited(draft)]}
    return _page(pages, request, draft, "journal/playbook_form.html", context)


def _json_page(pages: ModelAdmin, request: HttpRequest, draft: Draft) -> HttpResponse:
    text = pretty(draft.document) if draft.text is None else draft.text
    widget = DocumentWidget(attrs={"rows": 32, "spellcheck": "false", "class": "playbook-json"})
    area = forms.CharField(widget=widget, label="The playbook as JSON", label_suffix="")
    form = type("JsonForm", (forms.Form,), {"document": area})(initial={"document": text})
    context = {"area": form["document"], "sections": [_what_is_edited(draft)]}
    return _page(pages, request, draft, "journal/playbook_json.html", context)


def _what_is_edited(draft: Draft) -> Notice:
    """Which version the text began as, or all that keeps it from being a playbook."""
    if draft.faults:
        told = [str(fault) for fault in draft.faults[:SHOWN_FAULTS]]
        if len(draft.faults) > SHOWN_FAULTS:
            told.append(f"and {len(draft.faults) - SHOWN_FAULTS} more")
        return Notice(title="This is no playbook yet: nothing was saved", text="\n".join(told), tone="bad")
    text = "Nothing is saved before you have seen what your text changes and have given a reason."
    return Notice(title=f"A new version, made from version {draft.basis.edited_from}", text=text, tone="info")


def _review(
    pages: ModelAdmin, request: HttpRequest, draft: Draft, *, form: SaveForm | None = None, conflict: str = ""
) -> HttpResponse:
    """What it would change, and the reason to give for it; or what is wrong first."""
    if draft.playbook is None:
        return _again(pages, request, draft)
    edited, active = playbook_versions.find(draft.basis.edited_from), playbook_versions.active()
    tables = [_changes(edited, draft.playbook)]
    if edited != active:
        tables.append(_changes(active, draft.playbook, trades=True))
    if form is None:
        form = SaveForm(initial={"reason": draft.reason}, may_promote=request.user.has_perm(PROMOTE))
    context = {
        "sections": [_headline(edited, active, conflict), *tables],
        "conflict": conflict,
        "newest": draft.basis.newest,
        "form": form,
        "document": pretty(content(draft.playbook)),
        "unchanged": not tables[0].rows,
    }
    return _page(pages, request, draft, "journal/playbook_review.html", context)


def _headline(edited: PlaybookVersion, active: PlaybookVersion, conflict: str) -> Notice:
    if conflict:
        return Notice(title="Somebody else was faster: nothing was saved, your text is kept", text=conflict, tone="bad")
    text = "This is what your text changes. Nothing is saved yet."
    if edited != active:
        text += f" Version {active.version} is the one that trades."
    return Notice(title=f"Review: a new version made from version {edited.version}", text=text, tone="info")


def _changes(old: PlaybookVersion, playbook: Playbook, *, trades: bool = False) -> Table:
    name = f"version {old.version}{', which trades' if trades else ''}"
    try:
        return changes_table(f"What it changes in {name}", diff(read_playbook(old.playbook_json), playbook))
    except InvalidPlaybook as error:
        return changes_table(f"It cannot be compared with {name}", [str(error)])


def changes_table(title: str, lines: Iterable[str]) -> Table:
    """Differences in words, each with its place."""
    rows = [list(line.partition(": ")[::2]) for line in lines]
    return Table(title=title, headers=["Where", "What"], rows=rows)


def _page(
    pages: ModelAdmin, request: HttpRequest, draft: Draft, template: str, context: Mapping[str, Any]
) -> HttpResponse:
    return TemplateResponse(
        request,
        template,
        {
            **pages.admin_site.each_context(request),
            "title": f"Edit playbook version {draft.basis.edited_from}",
            "opts": pages.opts,
            "media": pages.media,
            "basis": BasisForm(initial=asdict(draft.basis)),
            "reason": draft.reason,
            **context,
        },
    )


# --- two versions -----------------------------------------------------------------------------------------------------


class CompareForm(forms.Form):
    """Two versions by their numbers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = PlaybookVersion.objects.order_by("-version").values_list("version", "triggered_by", "created_by")
        choices = [(number, f"version {number}, {by or cause}") for number, cause, by in versions]
        for name, title in (("old", "From"), ("new", "To")):
            self.fields[name] = forms.TypedChoiceField(
                coerce=int, choices=choices, widget=ChoiceWidget, label=title, label_suffix=""
            )


def compare(pages: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """What differs between any two versions."""
    if not pages.has_view_permission(request):
        raise PermissionDenied
    form = CompareForm(request.GET or None)
    context = {
        **pages.admin_site.each_context(request),
        "title": "Compare two versions of the playbook",
        "opts": pages.opts,
        "media": pages.media,
        "form": form,
        "sections": _comparison(**form.cleaned_data) if form.is_valid() else [],
    }
    return TemplateResponse(request, "journal/playbook_compare.html", context)


def _comparison(old: int, new: int) -> list[Section]:
    versions = [playbook_versions.find(old), playbook_versions.find(new)]
    documents = [Document(title=f"Version {each.version}", text=pretty(each.playbook_json)) for each in versions]
    try:
        lines = playbook_versions.changes(*versions)
    except InvalidPlaybook as error:
        return [Notice(title="These two cannot be compared", text=str(error), tone="warn"), *documents]
    return [changes_table(f"From version {old} to version {new}", lines), *documents]
