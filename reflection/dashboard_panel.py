"""The challenger against the champion on the dashboard: both records in shadow, and what the last look found."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings

from decisions.dashboard.parts import Addresses, Cell, Figure, Panel, Rows, on_dashboard
from decisions.dashboard.words import moment
from journal import playbook_versions
from journal.presentation import label
from reflection import challenger, side_by_side
from reflection.models import Role, ShadowContest

TITLE = "Challenger against champion"


@on_dashboard
def challenger_panel(_: datetime, to: Addresses) -> Iterator[Panel]:
    """The contest that is on, or why there is none."""
    contest = challenger.contest()
    contests = to.rows("reflection.shadowcontest")
    if contest is None:
        yield Panel(key="challenger", title=TITLE, address=contests, empty=_why_none())
        return
    yield Panel(
        key="challenger",
        title=TITLE,
        address=to.row("reflection.shadowcontest", contest.pk),
        figures=[_last_look(contest, to)],
        tables=[_records(contest, to)],
        note=f"In shadow, since {moment(contest.started_at)}. {side_by_side.asked(contest)}",
    )


def _why_none() -> str:
    if settings.PLAYBOOK_PROMOTION == "immediate":
        return "A version that reflection writes trades at once: PLAYBOOK_PROMOTION is immediate."
    waiting = playbook_versions.challenger()
    if waiting is None:
        return "No version is on trial: reflection has written none since the last decision."
    return f"Version {waiting.version} has not been asked yet."


def _last_look(contest: ShadowContest, to: Addresses) -> Figure:
    """What the newest look at the records found, and when the next one is made."""
    last = contest.looks.order_by("number").last()
    address = to.rows("reflection.shadowlook", contest__id__exact=str(contest.pk))
    if last is None:
        return Figure(name="Verdict", text="none yet", note=side_by_side.next_look(contest), address=address)
    return Figure(
        name=f"Verdict of look {last.number}, {moment(last.as_of)}",
        text=last.verdict if last.verdict == "undecided" else f"{last.verdict} beyond chance",
        note=(
            f"earns more: p = {last.net_better:.4f}, beyond chance up to {last.level:.4f}."
            f" {side_by_side.next_look(contest)}"
        ),
        tone="good" if last.verdict == "better" else "bad" if last.verdict == "worse" else "plain",
        address=address,
    )


def _records(contest: ShadowContest, to: Addresses) -> Rows:
    """Figure by figure, each leading to the shadow trades behind it."""
    own, others = (
        to.rows("reflection.shadowtrade", contest__id__exact=str(contest.pk), role__exact=role) for role in Role.values
    )
    return Rows(
        title="Shadow records, on the same cycles and prices",
        headers=("Figure", *map(label, side_by_side.sides(contest))),
        rows=[
            (Cell(text=line.name), Cell(text=line.challenger, address=own), Cell(text=line.champion, address=others))
            for line in side_by_side.lines(contest)
        ],
    )
