"""A drawing with the figures behind it, for a page to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from journal.charts.plot import Svg, Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart under its title: `summary` says in words what it shows, `rows` are its figures as cells, folded away.

    `key` tells what the colours stand for; a cell that is markup already (it has `__html__`) is taken as it is.
    The template `journal/chart.html` shows it as `chart`.
    """

    kind: ClassVar = "chart"
    title: str
    summary: str
    drawing: Svg
    key: Sequence[tuple[Tone, str]] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
