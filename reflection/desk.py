"""What reflection does next: one piece at a time, the review that has waited longest before the deep reflection.

Everything here may run in several workers at once and be repeated: what is due and who is at it stands in the database.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from decisions import outbox
from decisions.clock import wall_now
from decisions.refusals import DATABASE_AWAY
from reflection import claims, closings, deep, due, post_trade, question
from reflection.claims import MOST_ATTEMPTS, ClaimLost
from reflection.models import Reflection

Work = Callable[[Reflection, datetime], None]

WAITING = Q(status=Reflection.Status.WAITING)
DIED = "the worker died in each of its attempts"

log = logging.getLogger(__name__)


def see_to_it(now: datetime) -> None:
    """Note what was missed, give up what has failed too often, and begin the deep reflection that is due."""
    closings.note_missed(now)
    _give_up_the_hopeless()
    if (why := question.why_postponed(now)) is not None:
        Reflection.objects.filter(WAITING, claim__isnull=True).exclude(reason=why).update(reason=why)
        return
    due.begin_if_due(now)


def work(now: datetime) -> bool:
    """Do the next piece, if there is one and nobody is at another. Says whether there may be more to do."""
    if question.why_postponed(now) is not None:
        return False
    piece = next_piece()
    claimed = None if piece is None else claims.claim(piece)
    if claimed is None:
        return False
    _carry_out(claimed, now)
    due.begin_if_due(now)
    return next_piece() is not None


def next_piece() -> Reflection | None:
    """The piece that can be done now: a deep reflection goes on once the reviews that it waits for are there."""
    ready = Reflection.objects.filter(claims.ready(wall_now()))
    review = ready.filter(kind=Reflection.Kind.POST_TRADE).order_by("as_of", "trade_id").first()
    if review is not None:
        return review
    waiting = ready.filter(kind=Reflection.Kind.PERIODIC).first()
    if waiting is None or (why := deep.why_waiting(waiting)) is None:
        return waiting
    Reflection.objects.filter(WAITING, pk=waiting.pk, claim__isnull=True).update(reason=why)
    return None


def _carry_out(piece: Reflection, now: datetime) -> None:
    do: Work = post_trade.review if piece.kind == Reflection.Kind.POST_TRADE else deep.reflect
    try:
        do(piece, now)
    except ClaimLost as lost:
        log.info("%s", lost)
    except DATABASE_AWAY:  # nothing can be noted without it: the claim ends by itself
        raise
    except Exception as error:
        # The edge of a task: the failure is kept on the piece, which is tried again or given up.
        _note_failure(piece, error)
        raise


@transaction.atomic
def _note_failure(piece: Reflection, error: Exception) -> None:
    try:
        if claims.fail(piece, f"{type(error).__name__}: {error}", again=True):
            _tell_hopeless(piece, str(error))
    except ClaimLost as lost:
        log.info("%s", lost)


def _give_up_the_hopeless() -> None:
    """End what was tried as often as it may be, and whose last worker did not live to say so."""
    now = wall_now()
    hopeless = Reflection.objects.filter(WAITING, attempts__gte=MOST_ATTEMPTS)
    for piece in hopeless.filter(Q(claim__isnull=True) | claims.lapsed(now)):
        with transaction.atomic():
            mine = Reflection.objects.filter(WAITING, pk=piece.pk, claim=piece.claim, attempts=piece.attempts)
            ended = {"status": Reflection.Status.GIVEN_UP, "finished_at": now, "claim": None, "claimed_until": None}
            if mine.update(reason=piece.reason or DIED, **ended):
                _tell_hopeless(piece, piece.reason or DIED)


def _tell_hopeless(piece: Reflection, why: str) -> None:
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "WARN",
        "reflection_failed",
        title=f"Given up after {MOST_ATTEMPTS} attempts: {piece}",
        detail=why[:2000],
        action_taken="What was learnt before goes on",
        about={"piece": str(piece.pk)},
    )


def is_settled(now: datetime) -> bool:
    """Whether nothing is under way that later decisions depend on. What is postponed for want of money is not."""
    if closings.unnoted().exists():
        return False
    if question.why_postponed(now) is not None:
        return not Reflection.objects.filter(WAITING, claim__isnull=False).exists()
    return not Reflection.objects.filter(WAITING).exists() and due.cause(now) is None
