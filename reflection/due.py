"""Whether a deep reflection is due, and its beginning: one that waits, with the trades that are new to it.

A trade is new as long as no deep reflection that came to an end has looked at it; the next one that begins takes all
that are. What fires it does not matter: there is one open deep reflection and no second.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q, QuerySet

from journal.models import AccountUpdate, Trade
from reflection.closings import LOOK_BACK
from reflection.models import Reflection
from reflection.schedule import Cause, Schedule

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('a deep reflection begins', 0))"


class NothingToLookAt(ValueError):
    """A deep reflection cannot begin now; the text says why."""


def schedule() -> Schedule:
    """The settings, as a rule."""
    interval = timedelta(hours=settings.REFLECTION_INTERVAL_HOURS)
    return Schedule(trades=settings.REFLECTION_INTERVAL_TRADES, interval=interval)


def deep() -> QuerySet[Reflection]:
    """The deep reflections."""
    return Reflection.objects.filter(kind=Reflection.Kind.PERIODIC)


def open_one() -> Reflection | None:
    """The one that is waiting or being worked on."""
    return deep().filter(status=Reflection.Status.WAITING).first()


def new_trades(now: datetime) -> QuerySet[Reflection]:
    """The closings of the last `LOOK_BACK` with a known result that no deep reflection has looked at to its end."""
    never = Q(considered_in__isnull=True) | Q(considered_in__status=Reflection.Status.GIVEN_UP)
    closed = Reflection.objects.filter(kind=Reflection.Kind.POST_TRADE, trade__status=Trade.Status.CLOSED)
    return closed.filter(never, gross_pnl_usd__isnull=False, as_of__gte=now - LOOK_BACK)


def untried(now: datetime) -> QuerySet[Reflection]:
    """Those of them that none has begun with: what is counted, so that a failed one is not repeated at once."""
    return new_trades(now).filter(considered_in__isnull=True)


def since(now: datetime) -> datetime | None:
    """When the interval began: with the last deep reflection, whatever became of it, or before the first one when the
    first trade closed."""
    newest = deep().order_by("-as_of", "-id").values_list("as_of", flat=True).first()
    return newest or untried(now).aggregate(first=Min("as_of"))["first"]


def cause(now: datetime) -> Cause | None:
    """What makes a deep reflection due at market time `now`, or None. One that is open is not due again."""
    if open_one() is not None:
        return None
    return schedule().due(new_trades=untried(now).count(), since=since(now), now=now)


def begin_if_due(now: datetime) -> Reflection | None:
    """Begin the deep reflection that is due, unless somebody else does."""
    if cause(now) is None:
        return None
    with transaction.atomic():
        _one_after_the_other()
        found = cause(now)
        return None if found is None else _begin(now, found)


@transaction.atomic
def begin(now: datetime, by: str) -> Reflection:
    """Begin one because a person wants it. Raises `NothingToLookAt`."""
    _one_after_the_other()
    if (other := open_one()) is not None:
        why = f": {other.reason}" if other.reason else ""
        raise NothingToLookAt(f"A deep reflection is under way since {other.as_of:%Y-%m-%d %H:%M} UTC{why}.")
    if not new_trades(now).exists():
        raise NothingToLookAt("No trade with a known result has closed since the last deep reflection.")
    return _begin(now, "person", by)


def _one_after_the_other() -> None:
    """Wait for whoever else is beginning one, and see what they did."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)


def _begin(now: datetime, found: Cause | str, by: str = "") -> Reflection:
    piece = Reflection.objects.create(
        kind=Reflection.Kind.PERIODIC, as_of=now, cause=found, asked_by=by, period_start=_period_start(now)
    )
    taken = list(new_trades(now).values_list("pk", flat=True))
    Reflection.objects.filter(pk__in=taken).update(considered_in=piece)
    return piece


def last_done() -> Reflection | None:
    """The newest deep reflection that came to an end."""
    return deep().filter(status=Reflection.Status.DONE).order_by("-as_of", "-id").first()


def _period_start(now: datetime) -> datetime:
    """The figures cover the last `LOOK_BACK`, or longer where the last reflection is older, and nothing from before the
    account was first reported."""
    before = last_done()
    start = now - LOOK_BACK if before is None else min(now - LOOK_BACK, before.as_of)
    first = AccountUpdate.objects.order_by("as_of").values_list("as_of", flat=True).first()
    return start if first is None or first >= now else max(start, first)
