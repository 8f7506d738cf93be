"""What goes out now of the alerts that wait for a channel: which first, which together, which no more. Pure.

An alert about the same as one told a moment ago is counted, not repeated; more than a few at once become one summary;
one that is too old to act on is given up rather than told late.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

OLDEST = timedelta(hours=6)
"""An alert that could not go out for so long is given up; the admin has it."""
AGAIN_AFTER = timedelta(minutes=10)
"""About the same nothing is told twice within this."""
STORM = 5
"""More than so many at once become one message."""
NAMED = 12
"""Of these, so many are named in a summary, the gravest first."""
MOST_A_MINUTE = 10
"""Messages of one channel within a minute; what is more waits, and becomes a summary."""

RANK: Mapping[str, int] = {"CRITICAL": 0, "WARN": 1, "INFO": 2}
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A delivery that waits, with its alert. `about` tells alerts of one category apart."""

    delivery: int
    msg_id: str
    severity: str
    category: str
    about: str
    title: str
    detail: str
    action_taken: str
    told_at: datetime

    @property
    def key(self) -> Key:
        return self.category, self.about


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message. `deliveries` are told by it, the first of them in full; `alerts` are theirs, the gravest first."""

    alerts: tuple[Waiting, ...]
    is_summary: bool

    @property
    def deliveries(self) -> tuple[int, ...]:
        return tuple(each.delivery for each in self.alerts)

    @property
    def severity(self) -> str:
        return self.alerts[0].severity

    @property
    def title(self) -> str:
        if not self.is_summary:
            return self.alerts[0].title + (f" ({len(self.alerts)} times)" if len(self.alerts) > 1 else "")
        counts = Counter(each.severity for each in self.alerts)
        told = ", ".join(f"{counts[severity]} {severity}" for severity in RANK if counts[severity])
        return f"{len(self.alerts)} alerts at once: {told}"

    @property
    def text(self) -> str:
        """What stands below the title."""
        first = self.alerts[0]
        if not self.is_summary:
            lines = [first.detail, f"Done: {first.action_taken}" if first.action_taken else ""]
            return "\n".join(line for line in lines if line)
        groups = Counter((each.severity, each.category, each.title) for each in self.alerts)
        lines = [
            f"{severity} {category}: {title}" + (f" ({count} times)" if count > 1 else "")
            for (severity, category, title), count in groups.items()
        ]
        further = [f"and {len(lines) - NAMED} more, see the admin"] if len(lines) > NAMED else []
        return "\n".join([*lines[:NAMED], *further])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The messages in their order; deliveries that are only counted, and those that are too old."""

    messages: tuple[Outgoing, ...]
    counted: tuple[int, ...]
    too_old: tuple[int, ...]


def plan(
    waiting: Iterable[Waiting], *, told_of_late: Iterable[Key], sent_in_the_last_minute: int, now: datetime
) -> Plan:
    """What to do with what waits for one channel at wall time `now`. `told_of_late` are the keys of what it told within
    `AGAIN_AFTER`. What is left out of the plan waits for room."""
    alerts = sorted(waiting, key=lambda each: (RANK.get(each.severity, 0), each.told_at, each.delivery))
    known = set(told_of_late)
    too_old = tuple(each.delivery for each in alerts if now - each.told_at > OLDEST)
    fresh = [each for each in alerts if now - each.told_at <= OLDEST]
    counted = tuple(each.delivery for each in fresh if each.key in known)
    groups = _together([each for each in fresh if each.key not in known])
    room = max(MOST_A_MINUTE - sent_in_the_last_minute, 0)
    return Plan(messages=_messages(groups)[:room], counted=counted, too_old=too_old)


def _together(alerts: Sequence[Waiting]) -> list[tuple[Waiting, ...]]:
    """Those about the same in one group, in the order of the first of each."""
    groups: dict[Key, list[Waiting]] = {}
    for each in alerts:
        groups.setdefault(each.key, []).append(each)
    return [tuple(group) for group in groups.values()]


def _messages(groups: Sequence[tuple[Waiting, ...]]) -> tuple[Outgoing, ...]:
    if len(groups) > STORM:
        return (Outgoing(alerts=tuple(each for group in groups for each in group), is_summary=True),)
    return tuple(Outgoing(alerts=group, is_summary=False) for group in groups)
