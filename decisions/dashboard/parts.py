"""What the dashboard is made of: panels of figures, bars, cards, charts and tables. Pure.

Applications above this one add panels of their own with `on_dashboard`. Every number may carry an address: the
rows behind it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from journal.charts.chart import Chart
from journal.charts.plot import Svg

Tone = Literal["good", "bad", "warn", "info", "plain"]
Place = Literal["main", "side", "full", "column"]
"""Where a panel stands on a wide screen: the large one, beside it, across everything, or in the columns below."""
ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number under its name; `note` says what it rests on."""

    name: str
    text: str
    note: str = ""
    address: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A length: `used` is 1 when the bar is full and None while nothing can be measured; `text` says the same."""

    name: str
    used: Decimal | None
    text: str
    address: str = ""
    tone: Tone = "good"

    @property
    def filled(self) -> str:
        """The part of the bar that is filled, 0 to 1, as markup takes it."""
        return f"{min(max(self.used or Decimal(0), Decimal(0)), ONE):.4f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table; a `pill` is one word of a closed set, `at` the moment that the text tells; `note` is below."""

    text: str
    note: str = ""
    address: str = ""
    tone: Tone = "plain"
    pill: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table; `title` is what a screen reader calls it."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One thing with figures of its own, and a drawing of where it stands."""

    title: str
    address: str
    drawing: Svg | None
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of the dashboard; `key` is unique on it. What is empty is left out, and `empty` is said where all is."""

    key: str
    title: str
    place: Place = "column"
    address: str = ""
    figures: Sequence[Figure] = ()
    bars: Sequence[Bar] = ()
    cards: Sequence[Card] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Rows] = ()
    note: str = ""
    empty: str = "Nothing yet."

    @property
    def is_empty(self) -> bool:
        return not (self.figures or self.bars or self.cards or self.charts or self.tables)


class Addresses(Protocol):
    """Where the rows behind a number are. A table is named by application and model: `journal.trade`."""

    def rows(self, table: str, **filters: str) -> str:
        """The list of a table, narrowed by look-ups of its columns: `outcome="traded"`."""
        ...

    def row(self, table: str, key: int) -> str:
        """The page of one row."""
        ...


Provider = Callable[[datetime, Addresses], Iterable[Panel]]
_providers: list[Provider] = []


def on_dashboard(provider: Provider) -> Provider:
    """Let a function give further panels: it is called with the market time and the addresses."""
    _providers.append(provider)
    return provider


def provided(now: datetime, addresses: Addresses) -> list[Panel]:
    """The panels that were added, in the order in which they were."""
    return [panel for provider in _providers for panel in provider(now, addresses)]
