"""A frame to draw on: axes, lines, areas, steps, boxes, bars, levels and markers, each a piece of SVG.

Lines and areas stretch with the page; places are per cent of the plot and letters keep their size, so that a chart can
be read on a phone as on a wide screen. What the pieces look like is in `journal/charts.css`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count, groupby, pairwise
from typing import Generic, Literal, TypeVar

from journal.charts.scale import Number, Scale, Tick

X = TypeVar("X")

Tone = Literal["main", "other", "quiet", "gain", "loss", "caution", "notable"]
Shape = Literal["dot", "up", "down", "cross"]

FINE = 1000
"""Units of a stretched path either way."""
TOP, BOTTOM = 10, 24
"""Pixels of the height that the names about the plot take: its margins."""
GUTTERS = (40, 56, 72, 88)
"""Widths of the room for the names on the upright axis, in pixels; each has its class."""
LETTER = 7
LEVEL_ROOM = 0.12
TICK_ROOM, LINE_ROOM = 84, 44
"""Pixels of a name on the lying and between the names on the upright axis."""
SHAPES: dict[Shape, str] = {
    "dot": '<circle r="4.5"/>',
    "up": '<path d="M0 -6L6 5H-6Z"/>',
    "down": '<path d="M0 6L6 -5H-6Z"/>',
    "cross": '<path class="chart-cross" d="M-4.5 -4.5L4.5 4.5M-4.5 4.5L4.5 -4.5"/>',
}


class Svg(str):
    """Markup that is escaped already: templates take it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


@dataclass(frozen=True, slots=True)
class Frame(Generic[X]):
    """A plot: pixels it is made for, across and down, and its two scales.

    A page may make it wider or narrower; the height stays. What lies outside the scales is cut off.
    """

    width: int
    height: int
    x: Scale[X]
    y: Scale[Number]

    # --- what is drawn on it ------------------------------------------------------------------------------------------

    def line(self, points: Iterable[tuple[X, Number | None]], tone: Tone = "main", *, dashed: bool = False) -> Svg:
        """A line from point to point; a value of None leaves a gap."""
        paths = [_path(self._places(run)) for run in _runs(points)]
        return _stretched(f'<path class="chart-line chart-{tone}{" chart-dashed" if dashed else ""}"', "".join(paths))

    def step(self, points: Iterable[tuple[X, Number | None]], tone: Tone = "main") -> Svg:
        """A line that keeps each value until the next point."""
        paths = [_path(_stairs(self._places(run))) for run in _runs(points)]
        return _stretched(f'<path class="chart-line chart-{tone}"', "".join(paths))

    def area(self, points: Iterable[tuple[X, Number | None]], tone: Tone = "main", base: Number = 0) -> Svg:
        """The surface between the points and a base."""
        foot = _fine(1 - self.y.share(base))
        paths = [
            f"M{places[0][0]} {foot}{_path(places).replace('M', 'L', 1)}L{places[-1][0]} {foot}Z"
            for places in map(self._places, _runs(points))
        ]
        return _stretched(f'<path class="chart-area chart-{tone}"', "".join(paths))

    def box(self, start: X, end: X, one: Number, other: Number, tone: Tone = "main", note: str = "") -> Svg:
        """A filled rectangle between two x and two y, at least a pixel high; `note` is told where it is pointed at."""
        left, right = sorted((self.x.share(start), self.x.share(end)))
        low, high = sorted((self.y.share(one), self.y.share(other)))
        place = (
            f'x="{_percent(left)}" y="{_percent(1 - high)}" '
            f'width="{_percent(right - left)}" height="{_percent(high - low)}"'
        )
        return Svg(f'<rect class="chart-box chart-{tone}" {place}>{_told(note)}</rect>')

    def bars(self, bars: Iterable[tuple[X, X, Number]], tone: Tone = "main", base: Number = 0) -> Svg:
        """Upright bars (start, end, value) from a base."""
        return Svg("".join(self.box(start, end, base, value, tone) for start, end, value in bars))

    def segment(self, start: X, one: Number, end: X, other: Number, tone: Tone = "main") -> Svg:
        """A straight line between two points: a wick, an interval."""
        ends = (
            f'x1="{_percent(self.x.share(start))}" y1="{_percent(1 - self.y.share(one))}" '
            f'x2="{_percent(self.x.share(end))}" y2="{_percent(1 - self.y.share(other))}"'
        )
        return Svg(f'<line class="chart-line chart-{tone}" {ends}/>')

    def level(self, value: Number, label: str, tone: Tone = "caution") -> Svg:
        """A dashed line across at a value, its name at the right end, above the line where there is room."""
        y = self.y.share(value)
        shift = 14 if y > 1 - LEVEL_ROOM else -5
        return Svg(
            f'<line class="chart-line chart-dashed chart-{tone}" x1="0" x2="100%" y1="{_percent(1 - y)}"'
            f' y2="{_percent(1 - y)}"/><text class="chart-label chart-{tone}" x="100%" y="{_percent(1 - y)}" dx="-4"'
            f' dy="{shift}" text-anchor="end">{escape(label)}</text>'
        )

    def marker(self, x: X, y: Number, shape: Shape = "dot", tone: Tone = "main", note: str = "") -> Svg:
        """A small sign at a point; `note` is told where it is pointed at."""
        place = f'x="{_percent(self.x.share(x))}" y="{_percent(1 - self.y.share(y))}"'
        sign = f'<g class="chart-marker chart-{tone}">{_told(note)}{SHAPES[shape]}</g>'
        return Svg(f'<svg {place} overflow="visible">{sign}</svg>')

    # --- the whole ----------------------------------------------------------------------------------------------------

    def drawing(self, name: str, title: str, summary: str, parts: Sequence[Svg]) -> Svg:
        """The SVG element: axes, then the parts in their order. `name` is unique on the page; `title` and `summary`
        are what a screen reader says instead."""
        inner = self.height - TOP - BOTTOM
        ticks = self.y.ticks(max(2, inner // LINE_ROOM))
        gutter = _gutter(ticks)
        axes = "".join(
            [
                *map(_upright, ticks),
                *map(_lying, count(), self.x.ticks(max(2, (self.width - gutter) // TICK_ROOM))),
            ]
        )
        label = escape(name)
        return Svg(
            f'<svg class="plot chart-gutter-{gutter}" width="{self.width}" height="{inner}" overflow="visible"'
            f' role="img" aria-labelledby="{label}-title" aria-describedby="{label}-summary">'
            f'<title id="{label}-title">{escape(title)}</title><desc id="{label}-summary">{escape(summary)}</desc>'
            f"{axes}<svg>{''.join(parts)}</svg></svg>"
        )

    def _places(self, points: Iterable[tuple[X, Number]]) -> list[tuple[str, str]]:
        return [(_fine(self.x.share(x)), _fine(1 - self.y.share(y))) for x, y in points]


# --- pieces of markup -------------------------------------------------------------------------------------------------


def _gutter(ticks: Iterable[Tick]) -> int:
    """The least room that holds every name."""
    longest = max((len(tick.label) for tick in ticks), default=0) * LETTER + 8
    return next((width for width in GUTTERS if width >= longest), GUTTERS[-1])


def _upright(tick: Tick) -> str:
    y = _percent(1 - tick.share)
    return (
        f'<line class="chart-grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        f'<text class="chart-tick" x="0" y="{y}" dx="-6" dy="4" text-anchor="end">{escape(tick.label)}</text>'
    )


def _lying(number: int, tick: Tick) -> str:
    """Every other name may be left out where there is little room; one at an end does not reach over it."""
    x = _percent(tick.share)
    anchor = "start" if tick.share < 0.04 else "end" if tick.share > 0.96 else "middle"
    return (
        f'<g class="{"chart-spare" if number % 2 else "chart-kept"}">'
        f'<line class="chart-grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>'
        f'<text class="chart-tick" x="{x}" y="100%" dy="17" text-anchor="{anchor}">{escape(tick.label)}</text></g>'
    )


def _stretched(opening: str, path: str) -> Svg:
    """A path in the plot's own units, as wide and as high as the plot; the stroke keeps its width."""
    return Svg(
        f'<svg viewBox="0 0 {FINE} {FINE}" preserveAspectRatio="none">'
        f'{opening} vector-effect="non-scaling-stroke" d="{path}"/></svg>'
    )


def _runs(points: Iterable[tuple[X, Number | None]]) -> Iterable[list[tuple[X, Number]]]:
    """The stretches of points without a gap."""
    for known, run in groupby(points, key=lambda point: point[1] is not None):
        if known:
            yield [(x, y) for x, y in run if y is not None]


def _stairs(places: list[tuple[str, str]]) -> list[tuple[str, str]]:
    stairs = [place for (_, y), (x, after) in pairwise(places) for place in ((x, y), (x, after))]
    return places[:1] + stairs


def _path(places: Sequence[tuple[str, str]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in places)


def _fine(share: float) -> str:
    return _short(min(max(share, -9), 9) * FINE, 1)


def _percent(share: float) -> str:
    return f"{_short(min(max(share, -9), 9) * 100, 2)}%"


def _short(number: float, decimals: int) -> str:
    text = f"{number:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _told(note: str) -> str:
    return f"<title>{escape(note)}</title>" if note else ""
