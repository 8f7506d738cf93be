"""What every page of the admin is made of. Nothing else knows the theme (django-unfold).

History is read-only: a list and a page for each row, nobody adds, changes or deletes. `site.register` takes the list's
options by name, so that most tables need no class of their own. An application adds to the pages of the ones below it
with `shown_on` what they tell, and with `offered_on` what people may do there.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from journal.admin_actions import Action, act
from journal.admin_filters import KnownValuesFilter, takes_any_value
from journal.admin_lists import RecordList
from journal.admin_search import SearchFields, found, search_fields
from journal.presentation import Section, Tone, arranged, label, page_sections, shown
from journal.untrusted import visible

LineWidget = UnfoldAdminTextInputWidget
AreaWidget = UnfoldAdminExpandableTextareaWidget
DocumentWidget = UnfoldAdminTextareaWidget
ChoiceWidget = UnfoldAdminSelectWidget
CheckboxWidget = UnfoldBooleanWidget
CheckboxesWidget = UnfoldAdminCheckboxSelectMultipleWidget

Provider = Callable[[Any], Iterable[Section]]
_providers: defaultdict[type[Model], list[Provider]] = defaultdict(list)
_actions: defaultdict[type[Model], list[Action]] = defaultdict(list)


def shown_on(model: type[Model]) -> Callable[[Provider], Provider]:
    """Let a function give sections to the page of a model's rows: it is called with the row."""

    def add(provider: Provider) -> Provider:
        _providers[model].append(provider)
        return provider

    return add


def offered_on(model: type[Model], *actions: Action) -> None:
    """Let people with the permission do this from the pages of a model's rows."""
    _actions[model].extend(actions)


def sections(row: Model) -> list[Section]:
    """All of a row's page: its own columns and what was added with `shown_on`."""
    added = (section for provider in _providers[type(row)] for section in provider(row))
    return arranged(*page_sections(row), added)


@dataclass(frozen=True, slots=True)
class Link:
    """A page to go to, named on its button."""

    title: str
    tone: Tone = "plain"


class Column:
    """A field in a list, shown as everywhere else."""

    def __init__(self, field: "Field[Any, Any]") -> None:
        self.name = self.__name__ = field.name
        self.short_description = label(field.name)
        self.admin_order_field = field.name

    def __call__(self, row: Model) -> SafeString | str:
        return shown(self.name, getattr(row, self.name), short=True)


def _spelt_out(choices: Callable[[ChangeList], Iterable[dict[str, Any]]], changes: ChangeList) -> list[dict[str, Any]]:
    return [{**choice, "display": visible(str(choice["display"]))} for choice in choices(changes)]


class _Named:
    """A row whose name, for the theme's line of where one is, is spelt out."""

    def __init__(self, row: Model) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)

    def __str__(self) -> str:
        return visible(str(self._row))


class ReadOnlyAdmin(ModelAdmin):
    """A table to read. `list_display` names fields, or is functions of a row; relations among the fields are fetched
    with the rows."""

    change_form_template = "journal/record.html"
    change_list_template = "journal/list.html"
    actions = None
    list_fullwidth = True
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering: tuple[str, ...] = ("-id",)

    class Media:
        css: ClassVar = {"all": ("journal/record.css", "journal/charts.css")}
        js: ClassVar = ("journal/record.js",)

    def _refuse(self, *_: object) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _refuse

    @cached_property
    def _fields(self) -> dict[Any, "Field[Any, Any]"]:
        return {name: self.model._meta.get_field(name) for name in self.list_display if isinstance(name, str)}

    @cached_property
    def _columns(self) -> list[Callable[[Any], str]]:
        return [Column(self._fields[name]) if name in self._fields else name for name in self.list_display]

    @cached_property
    def _searched(self) -> SearchFields:
        return search_fields(self.model, self.search_fields, self.list_filter)

    @property
    def search_explained(self) -> str:
        """What a search in the list finds, for a person."""
        return self._searched.help_text

    def get_changelist(self, *_: object, **__: object) -> type[RecordList]:
        return RecordList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list; filters offer values that models and messages hold, so that they are spelt out as everywhere."""
        changes = super().get_changelist_instance(request)
        for spec in changes.filter_specs:
            spec.choices = partial(_spelt_out, spec.choices)
        return changes

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [self._filter(each) for each in super().get_list_filter(request)]

    def _filter(self, listed: Any) -> Any:
        if isinstance(listed, str) and takes_any_value(self.model._meta.get_field(listed)):
            return listed, KnownValuesFilter
        return listed

    def get_search_results(
        self, _: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return found(queryset, self._searched, search_term), False

    def get_list_display(self, _: HttpRequest) -> list[Callable[[Any], str]]:
        return self._columns

    def get_list_select_related(self, _: HttpRequest) -> list[str] | bool:
        return [name for name, field in self._fields.items() if field.is_relation] or False

    def get_urls(self) -> list[URLPattern]:
        return [*map(self._address, _actions[self.model]), *super().get_urls()]

    def _address(self, action: Action) -> URLPattern:
        view = self.admin_site.admin_view(partial(act, self, action))
        return path(f"<path:object_id>/{action.name}/", view, name=action.address_name(self.model))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *, obj: Model | None = None, **options: Any
    ) -> HttpResponse:
        if obj is not None:
            named = {"subtitle": visible(str(obj)), "original": _Named(obj)}
            context = {**context, **named, "sections": sections(obj), "offers": self.offers(request, obj)}
        return super().render_change_form(request, context, obj=obj, **options)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None)
        if context and "object" in context:
            context |= {"title": visible(str(context["title"])), "object": _Named(context["object"])}
        return response

    def offers(self, request: HttpRequest, row: Model) -> list[tuple[Action | Link, str]]:
        """What the reader may do from a row's page, and where."""
        allowed = [action for action in _actions[self.model] if action.allowed_to(request.user)]
        return [(action, action.address(row)) for action in allowed]


class EditableAdmin(ModelAdmin):
    """A table that staff with the permission may change."""

    choice_widget = ChoiceWidget

    class Media:
        css: ClassVar = {"all": ("journal/record.css",)}


class ReasonForm(forms.Form):
    """Why a person does what they do; it is kept."""

    checkbox_widget = CheckboxWidget

    reason = forms.CharField(
        max_length=1000,
        widget=AreaWidget,
        help_text="It is kept with your name, and told to whoever follows the alerts.",
        label_suffix="",
    )


class StyledUserAdmin(UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


class StyledGroupAdmin(GroupAdmin, ModelAdmin):
    pass


def register(model: type[Model], **options: Any) -> None:
    """Show a table read-only, its list as the options of `ModelAdmin` say."""
    admin.site.register(model, ReadOnlyAdmin, **options)
