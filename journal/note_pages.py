"""A person's notes and tags on a trade's page: what was said, and the form to say more."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from journal.admin_base import AreaWidget, LineWidget, shown_on
from journal.models import Trade, TradeNote
from journal.notes import ANNOTATE, MOST_TAGS, BadTags, annotate, read_tags, standing_tags
from journal.presentation import Form, Section, Tab, Table, page_of, shown

ADDRESS_NAME = "journal_trade_note"
TAB = "Notes"


class NoteForm(forms.Form):
    """What a person wants to keep with a trade: a note, the tags as they should be, or both."""

    text = forms.CharField(
        label="Note",
        required=False,
        max_length=TradeNote._meta.get_field("text").max_length,
        widget=AreaWidget,
        help_text="It is kept with your name and the time, and stays as you write it.",
        label_suffix="",
    )
    tags = forms.CharField(
        required=False,
        max_length=1000,
        widget=LineWidget,
        help_text=f"Lower-case words, separated by spaces, at most {MOST_TAGS}. One that you leave out is taken off.",
        label_suffix="",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    """The tags as they stood when the person began: what others changed meanwhile stays."""

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        try:
            wanted, seen = (read_tags(values.get(name, "")) for name in ("tags", "seen"))
        except BadTags as refusal:
            raise forms.ValidationError({"tags": str(refusal)}) from refusal
        if not values.get("text") and wanted == seen:
            raise forms.ValidationError("There is no note, and the tags are as they were: nothing to keep.")
        return {"text": values.get("text", "").replace("\r\n", "\n"), "add": wanted - seen, "remove": seen - wanted}


def empty_form(trade: Trade) -> NoteForm:
    """The form with the tags as they stand."""
    tags = " ".join(standing_tags(trade))
    return NoteForm(initial={"tags": tags, "seen": tags})


@shown_on(Trade)
def notes_tab(trade: Trade) -> Iterator[Section]:
    """What people said about the trade, newest first, and the form."""
    notes = list(trade.notes.order_by("-id"))
    rows = [[shown("created_at", note.created_at), note.author, _paragraphs(note.text)] for note in notes]
    form = Form(
        title="Keep a note",
        form=empty_form(trade),
        button="Keep it",
        address=reverse(f"admin:{ADDRESS_NAME}", args=(trade.pk,)),
        permission=ANNOTATE,
    )
    table = Table(title="What people noted", headers=("When", "Who", "Note"), rows=rows)
    yield Tab(title=TAB, sections=[table, form], count=len(notes))


def _paragraphs(text: str) -> str:
    """A text with its line breaks."""
    lines = format_html_join("\n", "{}", ((shown("text", line),) for line in text.splitlines()))
    return format_html('<span class="record-prose">{}</span>', lines)


def note(pages: ModelAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Keep what a person posted; what is wrong with it is told beside the form, where their text still stands."""
    trade = pages.get_object(request, object_id)
    if not (request.user.has_perm(ANNOTATE) and pages.has_view_permission(request, trade)):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if trade is None:
        raise Http404(f"There is no trade {object_id}.")
    form = NoteForm(request.POST)
    if form.is_valid():
        try:
            told = annotate(trade, by=request.user.get_username(), **form.cleaned_data)
        except BadTags as refusal:
            form.add_error("tags", str(refusal))
        else:
            messages.success(request, told or "It was so already.")
            return HttpResponseRedirect(f"{page_of(trade)}#tab-notes")
    return _page(pages, request, trade, form)


def _page(pages: ModelAdmin, request: HttpRequest, trade: Any, form: NoteForm) -> HttpResponse:
    again = Form(title=f"A note on {trade}", form=form, button="Keep it", address="", permission=ANNOTATE)
    context = {
        **pages.admin_site.each_context(request),
        "title": "Keep a note",
        "opts": pages.opts,
        "original": trade,
        "media": pages.media,
        "sections": [again],
        "back": page_of(trade),
    }
    return TemplateResponse(request, "journal/note.html", context)
