"""The dates by which a list is narrowed: years, then months, then days. Pure.

Every one between the first and the last row's is offered, whether or not it has rows: which have would take a look at
all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

Period = tuple[int, ...]
"""Nothing, a year, a year and a month, or a day: `()`, `(2026,)`, `(2026, 11)`, `(2026, 11, 22)`."""
DAY = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A period and its name. It leads nowhere when it is what is shown already."""

    title: str
    period: Period
    leads: bool = True


@dataclass(frozen=True, slots=True)
class DateChoices:
    """The way back to the longer period, if there is one, and the shorter ones to choose from."""

    back: Choice | None
    choices: Sequence[Choice]


def date_choices(first: date, last: date, chosen: Period) -> DateChoices:
    """What to offer of the time from `first` to `last`, both included, when `chosen` is shown."""
    back = Choice(_title(chosen[:-1]), chosen[:-1]) if chosen else None
    if len(chosen) == DAY:
        return DateChoices(back, [Choice(_title(chosen), chosen, leads=False)])
    shown = chosen
    if not chosen and first.year == last.year:
        shown = (first.year,) if first.month != last.month else (first.year, first.month)
    return DateChoices(back, [Choice(_title(period), period) for period in _parts(first, last, shown)])


def _parts(first: date, last: date, period: Period) -> Iterator[Period]:
    """The next shorter periods within a period."""
    if not period:
        yield from ((year,) for year in range(first.year, last.year + 1))
    elif len(period) == 1:
        months = ((period[0], month) for month in range(1, 13))
        yield from (month for month in months if (first.year, first.month) <= month <= (last.year, last.month))
    else:
        day = date(period[0], period[1], 1)
        while (day.year, day.month) == period:
            if first <= day <= last:
                yield day.year, day.month, day.day
            day += timedelta(days=1)


def _title(period: Period) -> str:
    if not period:
        return "All dates"
    if len(period) == 1:
        return str(period[0])
    month = f"{date(period[0], period[1], 1):%B}"
    return f"{month} {period[0]}" if len(period) < DAY else f"{period[-1]} {month}"
