"""Who is at which piece of reflection, and how a piece ends.

A piece is worked on under a claim, and its result is written under the same claim, so that whatever fires it, and
however often, it is done once. There is one claim at a time of all pieces: the database knows no second one. A claim of
a worker that died ends by itself after its lease.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from decisions.clock import AHEAD, wall_now
from reflection.models import Reflection

MOST_ATTEMPTS = 3
"""Of one piece, those that a worker died in included; each may be paid for."""
PAUSES = (timedelta(minutes=1), timedelta(minutes=10))
"""After the first failed attempt and after the second, wall time."""
MARGIN = timedelta(seconds=15)
LONGEST_REASON = 2000


class ClaimLost(Exception):
    """Somebody else has the piece now, or it is not what it was: what was worked out for it is dropped."""


def lease(deadline_seconds: float | None = None) -> timedelta:
    """How long a claim lasts: the model's deadline, by default reflection's, and some margin for the rest."""
    seconds = settings.REFLECTION_TIMEOUT_SECONDS if deadline_seconds is None else deadline_seconds
    return timedelta(seconds=seconds) + MARGIN


def ready(now: datetime) -> Q:
    """The waiting pieces that may be tried at wall time `now`. A pause that ends later than any can is of a clock that
    was set back since, and over."""
    over = Q(not_before__isnull=True) | Q(not_before__lte=now) | Q(not_before__gt=now + PAUSES[-1] + AHEAD)
    return over & Q(status=Reflection.Status.WAITING, attempts__lt=MOST_ATTEMPTS)


def lapsed(now: datetime, longest: timedelta | None = None) -> Q:
    """The claims whose lease is over at wall time `now`. One that ends later than any can is of a clock that was set
    back since, and over."""
    return Q(claimed_until__lte=now) | Q(claimed_until__gt=now + (longest or lease()) + AHEAD)


def claim(piece: Reflection) -> Reflection | None:
    """Take a waiting piece, unless another one is being worked on."""
    now = wall_now()
    Reflection.objects.filter(lapsed(now)).update(claim=None, claimed_until=None)
    free = Reflection.objects.filter(ready(now), pk=piece.pk, claim__isnull=True)
    mine = {"claim": uuid4(), "claimed_until": now + lease()}
    try:
        with transaction.atomic():
            taken = free.update(attempts=F("attempts") + 1, reason="", not_before=None, **mine)
    except IntegrityError:  # somebody is at another piece
        return None
    if not taken:
        return None
    return Reflection.objects.filter(**mine).first()


def settle(piece: Reflection, status: Reflection.Status, reason: str = "", **fields: Any) -> None:
    """End the piece under its claim. Raises `ClaimLost`."""
    _write(piece, status=status, reason=reason[:LONGEST_REASON], finished_at=wall_now(), **fields)


def fail(piece: Reflection, why: str, *, again: bool) -> bool:
    """Note a failed attempt: the piece is tried again after a pause, or given up where that is of no use or it was
    tried often enough. Says whether it was given up. Raises `ClaimLost`."""
    why = f"{why} (attempt {piece.attempts} of {MOST_ATTEMPTS})" if again else why
    if again and piece.attempts < MOST_ATTEMPTS:
        pause = PAUSES[min(piece.attempts, len(PAUSES)) - 1]
        _write(piece, reason=why[:LONGEST_REASON], not_before=wall_now() + pause)
        return False
    settle(piece, Reflection.Status.GIVEN_UP, why)
    return True


def _write(piece: Reflection, **fields: Any) -> None:
    if not Reflection.objects.filter(pk=piece.pk, claim=piece.claim).update(claim=None, claimed_until=None, **fields):
        raise ClaimLost(f"{piece} is not ours any more")
