"""The dead-man's switch: no finished cycle for three intervals is told as CRITICAL, once an outage, and its end too.

By the wall clock: a market clock stands still with the data that drives it. What is looked at is work that was done:
a cycle that was abandoned, or that found the one before still running, is a sign of the opposite. Every stream consumer
looks, and so does a task, so that neither beat with its workers nor the consumers can fall silent unnoticed.
"""

from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings

from decisions import alerts
from decisions.clock import wall_now, younger
from decisions.models import DecisionCycle, OutboxMessage, Outcome

MISSED_CYCLES = 3
BAR_SECONDS = 300
"""Market time that a bar of the sandbox lasts."""
SHORTEST_SILENCE = timedelta(minutes=2)
REMEMBERED = timedelta(days=30)
CATEGORY = "no_cycles"
NO_WORK = (Outcome.ABANDONED, Outcome.PREVIOUS_STILL_RUNNING)

_STARTED = monotonic()
"""When this process began. A system that was down has as long as any other to finish its first cycle."""


def longest_silence() -> timedelta:
    """Three cycles by the wall clock; those of the sandbox are as much shorter as its bars are."""
    seconds = float(settings.DECISION_CYCLE_SECONDS)
    if settings.SANDBOX:
        seconds *= float(settings.SANDBOX_BAR_SECONDS) / BAR_SECONDS
    return max(SHORTEST_SILENCE, MISSED_CYCLES * timedelta(seconds=seconds))


def look() -> None:
    """Look once, and tell what there is to tell. In lockstep the market waits for the cycles: nothing can be missed."""
    if settings.SANDBOX_LOCKSTEP:
        return
    now = wall_now()
    worked = DecisionCycle.objects.filter(finished_at__isnull=False).exclude(outcome__in=NO_WORK)
    if worked.filter(younger("finished_at", longest_silence(), now)).exists():
        _tell_the_end(now)
    elif monotonic() - _STARTED > longest_silence().total_seconds():
        last = worked.order_by("-finished_at").values_list("finished_at", flat=True).first()
        _tell(last, now)


def _tell(last: datetime | None, now: datetime) -> None:
    minutes = longest_silence().total_seconds() / 60
    since = "there is none yet" if last is None else f"the last one ended {last:%Y-%m-%d %H:%M:%S} UTC"
    alerts.record_once(
        "CRITICAL",
        CATEGORY,
        {"since": f"ever, {now:%Y-%m-%d}" if last is None else last.isoformat()},
        title="No decision cycle has ended",
        detail=f"None within {minutes:.0f} minutes: {since}. Nothing is decided, exits of ours included; the venue's "
        "stops stand. Look at `manage.py doctor`, then at the logs of beat and the workers.",
        action_taken="None: it is told once, and again when cycles end",
    )


def _tell_the_end(now: datetime) -> None:
    """Of the newest outage, if it has not been told."""
    told = OutboxMessage.objects.filter(category=CATEGORY, created_at__gte=now - REMEMBERED)
    if (newest := told.order_by("-created_at").first()) is not None:
        alerts.record_once(
            "WARN",
            "no_cycles_over",
            newest.metadata,
            title="Decision cycles end again",
            detail=f"No cycle had ended; that was told at {newest.created_at:%Y-%m-%d %H:%M} UTC.",
            action_taken="None",
        )
