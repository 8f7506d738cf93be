"""The parts that a page of the admin is put together from, and the order they stand in. Pure but for a slug."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

from django.utils.text import slugify

from journal.charts.chart import Chart

Tone = Literal["good", "bad", "warn", "info", "plain"]
FEW_COLUMNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a reader should know first."""

    kind: ClassVar = "notice"
    title: str
    text: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How much of a limit is used up: `used` is 1 at the limit and more beyond it, None while nothing can be measured.
    `text` says the same in words."""

    name: str
    used: Decimal | None
    text: str
    tone: Tone

    @property
    def filled(self) -> str:
        """The part of the bar that is filled, 0 to 1, as markup takes it."""
        return f"{min(max(self.used or Decimal(0), Decimal(0)), Decimal(1)):.4f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """Bars against their limits."""

    kind: ClassVar = "meters"
    title: str
    meters: Sequence[Meter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values."""

    kind: ClassVar = "facts"
    title: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under headers; a table without rows says so.

    Where there is little room the cells of a row stand one below another, each under its header, but for a table of few
    columns and one that `compares` them.
    """

    kind: ClassVar = "table"
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    compares: bool = False

    @property
    def folds(self) -> bool:
        return len(self.headers) > FEW_COLUMNS and not self.compares

    @property
    def named_rows(self) -> list[list[tuple[str, str]]]:
        """Each cell with its header."""
        return [list(zip(self.headers, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A long text or a JSON document, folded away unless `is_open`."""

    kind: ClassVar = "document"
    title: str
    text: str
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form to fill in, for people with the permission; it is posted to `address`."""

    kind: ClassVar = "form"
    title: str
    form: Any
    button: str
    address: str
    permission: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """Sections under a name of their own, one of several that a page shows one at a time. Tabs of one name that come
    from several places are one; `count` stands beside the name."""

    kind: ClassVar = "tab"
    title: str
    sections: Sequence["Section"]
    count: int | None = None

    @property
    def name(self) -> str:
        """The part of the page's address that leads here."""
        return f"tab-{slugify(self.title)}"


@dataclass(frozen=True, slots=True)
class Tabs:
    """All tabs of a page. Without a script they stand one below another."""

    kind: ClassVar = "tabs"
    tabs: Sequence[Tab]


Section = Notice | Meters | Facts | Chart | Table | Document | Form | Tab | Tabs
ORDER: tuple[type, ...] = (Notice, Meters, Facts, Chart, Table, Document, Form)
"""How the sections of a page follow one another; tabs come last."""
TAB_ORDER = (
    "Snapshot", "Screener", "Research", "Model", "Verdict", "Orders", "Money", "Review", "Notes",
)  # fmt: skip
"""How tabs follow one another, as a decision does; others come behind."""
OWN_COLUMNS, FURTHER = "Every column", "More"
LONG = (Table, Document)


def arranged(facts: Facts, documents: Sequence[Section], added: Iterable[Section]) -> list[Section]:
    """A page of a row's own columns and of what was added to it, in `ORDER`. A page with tabs has the columns in the
    last one, and what is long and stands in none in the one before."""
    sections = list(added)
    tabs = [section for section in sections if isinstance(section, Tab)]
    others = [section for section in sections if not isinstance(section, Tab)]
    if not tabs:
        return _ordered([facts, *others, *documents])
    if further := [section for section in others if isinstance(section, LONG)]:
        tabs.append(Tab(title=FURTHER, sections=further))
    columns = Tab(title=OWN_COLUMNS, sections=[facts, *documents])
    return [*_ordered([each for each in others if not isinstance(each, LONG)]), Tabs([*_merged(tabs), columns])]


def _ordered(sections: Iterable[Section]) -> list[Section]:
    return sorted(sections, key=lambda section: ORDER.index(type(section)))


def _merged(tabs: Iterable[Tab]) -> list[Tab]:
    """One tab for each name."""
    by_title: dict[str, list[Tab]] = {}
    for tab in tabs:
        by_title.setdefault(tab.title, []).append(tab)
    order = {title: place for place, title in enumerate(TAB_ORDER)}
    return [
        Tab(
            title=title,
            sections=[section for tab in by_title[title] for section in tab.sections],
            count=next((tab.count for tab in by_title[title] if tab.count is not None), None),
        )
        for title in sorted(by_title, key=lambda title: order.get(title, len(order)))
    ]
