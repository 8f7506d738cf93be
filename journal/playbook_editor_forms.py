"""The playbook as a form that is made from its schema, and back.

A row of the form is an entry of a section. What is typed becomes the JSON document that it spells, right or wrong:
pydantic alone says what is wrong with it, and where. So a form is only ever filled from a document, and any document of
the right shape can be shown, the faulty one of a moment ago too.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django import forms
from django.http import QueryDict

from journal.admin_base import ChoiceWidget, DocumentWidget, LineWidget
from journal.playbook import Fault, Playbook
from journal.presentation import label

LISTS = ("market_regime_rules", "strategy_definitions", "lessons_learned", "confidence_calibration")
TIME_FILTERS = "time_filters"
SHORT_TEXT = 100
"""Texts that may be longer get an area to write in."""
OPEN_ROWS = 6
"""Sections with more rows begin folded."""

Schema = Mapping[str, Any]


# --- one field of the schema ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the values of a field are typed: its widget, the JSON value that a text means, and the text of a value."""

    widget: Callable[[], forms.Widget]
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: "" if value is None else value
    hint: str = ""


def _area(**attributes: str) -> Callable[[], forms.Widget]:
    return lambda: DocumentWidget(attrs={"rows": 2, "class": "field-sizing-content", **attributes})


def _line(**attributes: str) -> Callable[[], forms.Widget]:
    return lambda: LineWidget(attrs=dict(attributes))


def _text(typed: str | None) -> str:
    return (typed or "").replace("\r\n", "\n")


def _word(typed: str | None) -> str:
    return (typed or "").strip()


def _whole(typed: str | None) -> int | str:
    word = _word(typed)
    return int(word) if re.fullmatch(r"-?\d{1,12}", word) else word


def _listed(separator: str) -> Callable[[Any], Any]:
    return lambda value: separator.join(map(str, value)) if isinstance(value, list) else value


def _hours(typed: Sequence[str] | None) -> list[int | str]:
    return [_whole(hour) for hour in typed or []]


HOURS = Kind(
    widget=lambda: forms.CheckboxSelectMultiple(choices=[(hour, f"{hour:02}") for hour in range(24)]),
    read=_hours,
    write=lambda value: value,
    hint="UTC; an hour stands for the 60 minutes that begin with it.",
)


def _kind(schema: Schema) -> Kind:
    if "enum" in schema:
        choices = [(word, word.replace("_", " ")) for word in schema["enum"]]
        return Kind(widget=lambda: ChoiceWidget(choices=choices), read=_word)
    if schema.get("type") == "array":
        return _list_kind(schema)
    if schema.get("type") == "integer":
        return Kind(widget=_line(inputmode="numeric"), read=_whole)
    if schema.get("type") != "string":
        return _number_kind(schema)
    if (longest := schema.get("maxLength", 0)) > SHORT_TEXT:
        return Kind(widget=_area(maxlength=str(longest)), read=_text)
    attributes = {"maxlength": str(longest)} if longest else {"placeholder": "YYYY-MM-DD"}
    return Kind(widget=_line(**attributes), read=_word)


def _list_kind(schema: Schema) -> Kind:
    items = schema["items"]
    if items["type"] == "integer":
        return HOURS
    if items["maxLength"] > SHORT_TEXT:
        return Kind(
            widget=_area(),
            read=lambda typed: [line for line in _text(typed).split("\n") if line.strip()],
            write=_listed("\n"),
            hint=f"One a line, at most {schema['maxItems']}.",
        )
    return Kind(
        widget=_line(),
        read=lambda typed: [word for word in re.split(r"[,\s]+", typed or "") if word],
        write=_listed(", "),
        hint="Names of strategies, separated by commas.",
    )


def _number_kind(schema: Schema) -> Kind:
    optional = {"type": "null"} in schema.get("anyOf", ())
    return Kind(
        widget=_line(inputmode="decimal"),
        read=(lambda typed: _word(typed) or None) if optional else _word,
        hint="Empty while unknown." if optional else "",
    )


@cache
def _parts() -> dict[str, tuple[str, dict[str, Schema]]]:
    """What each section means, and the schemas of an entry's fields."""
    schema = Playbook.model_json_schema()
    parts = {}
    for name in (*LISTS, TIME_FILTERS):
        section = schema["properties"][name]
        entry = schema["$defs"][section.get("items", section)["$ref"].rpartition("/")[2]]
        parts[name] = (entry["description"], entry["properties"])
    return parts


@cache
def _kinds(section: str) -> dict[str, Kind]:
    return {name: _kind(schema) for name, schema in _parts()[section][1].items()}


@cache
def _form(section: str) -> type[forms.Form]:
    """A form of the fields of one entry, which takes whatever is typed."""
    fields = {}
    for name, schema in _parts()[section][1].items():
        kind = _kinds(section)[name]
        hint = " ".join(text for text in (schema.get("description", ""), kind.hint) if text)
        title = label(name).replace(" %", ", as a fraction")
        fields[name] = forms.Field(required=False, widget=kind.widget(), label=title, label_suffix="", help_text=hint)
    return type(f"{section}_form", (forms.Form,), fields)


@cache
def _formset(section: str) -> type[forms.BaseFormSet]:
    return forms.formset_factory(_form(section), extra=0, can_order=True, can_delete=True)


# --- from what was typed to the document ------------------------------------------------------------------------------


def typed_document(posted: QueryDict) -> tuple[dict[str, Any], list[Fault]]:
    """The document that a form spells, and what kept a section of it from being read at all."""
    document: dict[str, Any] = {}
    faults: list[Fault] = []
    for section in LISTS:
        rows = _formset(section)(posted, prefix=section)
        if rows.is_valid():
            kept = rows.ordered_forms
        else:
            kept = [row for row in rows.forms if not row.cleaned_data.get("DELETE")]
            told = {*rows.non_form_errors(), *(text for row in rows.forms for text in row.errors.get("ORDER", ()))}
            faults.append(Fault((section,), " ".join(sorted(told))))
        document[section] = [_entry(section, row.cleaned_data) for row in kept]
    filters = _form(TIME_FILTERS)(posted, prefix=TIME_FILTERS)
    filters.full_clean()
    document[TIME_FILTERS] = _entry(TIME_FILTERS, filters.cleaned_data)
    return document, faults


def _entry(section: str, cleaned: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind.read(cleaned.get(name)) for name, kind in _kinds(section).items()}


# --- from the document to the form ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A field to type in, and what is wrong with it."""

    bound: forms.BoundField
    faults: Sequence[str]

    @property
    def is_wide(self) -> bool:
        return isinstance(self.bound.field.widget, forms.Textarea | forms.CheckboxSelectMultiple)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry of a section: its fields, its place and whether it goes."""

    title: str
    cells: Sequence[Cell]
    order: forms.BoundField | None = None
    delete: forms.BoundField | None = None
    faults: Sequence[str] = ()
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorSection:
    """A section of the form; `blank` is what a new row is made of."""

    name: str
    title: str
    meaning: str
    rows: Sequence[Row]
    faults: Sequence[str]
    management: Any = ""
    blank: Row | None = field(default=None)


def editor_sections(document: Mapping[str, Any], faults: Iterable[Fault]) -> list[EditorSection]:
    """The form filled with a document, with what is wrong at its field, its row, or its section."""
    found = list(faults)
    return [
        *(_list_section(section, document.get(section) or [], found) for section in LISTS),
        _filters(document, found),
    ]


def _list_section(section: str, entries: Sequence[Mapping[str, Any]], faults: Sequence[Fault]) -> EditorSection:
    rows = _formset(section)(prefix=section, initial=[_initial(section, entry) for entry in entries])
    few = len(entries) <= OPEN_ROWS
    return EditorSection(
        name=section,
        title=label(section),
        meaning=_parts()[section][0],
        rows=[
            _row(section, form, (section, number), faults, title=_title(entry), few=few)
            for number, (form, entry) in enumerate(zip(rows.forms, entries, strict=True))
        ],
        faults=[fault.text for fault in faults if fault.place == (section,)],
        management=rows.management_form,
        blank=_row(section, rows.empty_form, (section, "__prefix__"), (), title="New", few=True),
    )


def _filters(document: Mapping[str, Any], faults: Sequence[Fault]) -> EditorSection:
    form = _form(TIME_FILTERS)(prefix=TIME_FILTERS, initial=_initial(TIME_FILTERS, document.get(TIME_FILTERS) or {}))
    cells = _row(TIME_FILTERS, form, (TIME_FILTERS,), faults, title="", few=True)
    return EditorSection(
        name=TIME_FILTERS,
        title=label(TIME_FILTERS),
        meaning=_parts()[TIME_FILTERS][0],
        rows=[cells],
        faults=[],
    )


def _row(
    section: str, form: forms.Form, place: tuple[str | int, ...], faults: Sequence[Fault], *, title: str, few: bool
) -> Row:
    at = len(place)
    here = [fault for fault in faults if fault.place[:at] == place]
    cells = [
        Cell(bound=form[name], faults=[fault.text for fault in here if fault.place[at : at + 1] == (name,)])
        for name in _kinds(section)
    ]
    others = [fault.text for fault in here if fault.place[at : at + 1] not in {(name,) for name in _kinds(section)}]
    order, delete = (form[name] if name in form.fields else None for name in ("ORDER", "DELETE"))
    return Row(title=title, cells=cells, order=order, delete=delete, faults=others, is_open=few or bool(here))


def _initial(section: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind.write(entry.get(name)) for name, kind in _kinds(section).items()}


def _title(entry: Mapping[str, Any]) -> str:
    """What a folded row is called: its name, and the beginning of what it says."""
    if "bucket_low" in entry:
        return f"{entry['bucket_low']} to {entry['bucket_high']}"
    name = str(entry.get("regime") or entry.get("name") or entry.get("id") or "").replace("_", " ")
    return f"{name}: {entry['lesson'][:80]}" if isinstance(entry.get("lesson"), str) else name
