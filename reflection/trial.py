"""The trial of a challenger, a round at a time: questions asked or left out, books brought forward, records looked at.

Everything here may run in several workers at once and be repeated.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings

from decisions import cycles
from decisions.clock import older_than, wall_now
from reflection import challenger, looks, shadow_question, shadow_venue

IDLE = timedelta(seconds=5)
"""How long a question may wait before it is taken for one whose message was lost."""


def unasked() -> Iterator[int]:
    """The questions to be asked whose message seems to be lost, those included that are noted only now. Those whose
    time is over are left out."""
    now = wall_now()
    for missed in map(shadow_question.note, shadow_question.unnoted()):
        if missed is None:
            continue
        if older_than(missed.cycle.created_at, 2 * cycles.length(), now):  # one length for the cycle, one to be asked
            shadow_question.leave_out(missed, shadow_question.LATE)
        else:
            yield missed.pk
    for asked in shadow_question.waiting().filter(shadow_question.free(now)):
        if older_than(asked.created_at, cycles.length(), now):
            shadow_question.leave_out(asked, shadow_question.LATE)
        elif asked.claimed_until is not None or older_than(asked.created_at, IDLE, now):
            yield asked.pk


def go_on(now: datetime) -> None:
    """Bring the books forward to market time `now`, and make the look that is due then. What is still open of contests
    that are over is left out."""
    contest = challenger.contest()
    for asked in shadow_question.open_still().exclude(contest=contest).select_related("contest"):
        if not challenger.is_on(asked.contest):
            shadow_question.leave_out(asked, shadow_question.OVER)
    if contest is not None:
        shadow_venue.play(contest.pk, now)
        looks.look(contest.pk, now)


def is_settled(now: datetime) -> bool:
    """Whether nothing is under way that later decisions may depend on."""
    if settings.PLAYBOOK_PROMOTION == "immediate":
        return True
    if shadow_question.unnoted():
        return False
    contest = challenger.contest()
    if contest is None:
        return True
    if shadow_question.waiting().filter(contest=contest).exists():
        return False
    return contest.played_until is not None and contest.played_until >= now and not looks.is_due(contest)
