"""Which closings are to be reviewed: every trade's, noted once, however we come to hear of it.

A closing is known by its time and its gross P&L, which follow from the executions alone. A trade that was opened again
by executions heard of late and closed otherwise, or whose result has become known, waits for a review again; fees and
funding that are booked later change no review.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from decisions.clock import wall_now
from journal.models import Trade
from reflection.models import Reflection

LOOK_BACK = timedelta(days=30)
"""What a deep reflection looks back on at least, and so how old a closing may be to be worth a review: market time."""
BATCH = 200

RESULT_UNKNOWN = "its result is not known"
TOO_OLD = f"it had closed more than {LOOK_BACK.days} days ago when it was found"

_KNOWN = Q(pnl_usd__isnull=False)
_ANOTHER = (
    Q(reflection__as_of__lt=F("closed_at"))
    | Q(reflection__as_of__gt=F("closed_at"))
    | Q(reflection__status=Reflection.Status.DONE, self_review__isnull=True)  # forgotten, as it was opened again
    | (~_KNOWN & Q(reflection__gross_pnl_usd__isnull=False))
    | (
        _KNOWN
        & (
            Q(reflection__gross_pnl_usd__isnull=True)
            | Q(reflection__gross_pnl_usd__lt=F("gross_pnl_usd"))
            | Q(reflection__gross_pnl_usd__gt=F("gross_pnl_usd"))
        )
    )
)


def unnoted() -> QuerySet[Trade]:
    """The closed trades of which this closing is not noted."""
    closed = Trade.objects.filter(status=Trade.Status.CLOSED)
    return closed.filter(Q(reflection__isnull=True) | _ANOTHER)


def note_missed(now: datetime) -> int:
    """Note closings that nobody has noted, the oldest first, at most `BATCH`. Returns how many."""
    found = list(unnoted().order_by("closed_at", "id")[:BATCH])
    for trade in found:
        _note(trade, now)
    return len(found)


def note(trade_id: int, now: datetime) -> None:
    """Note the closing of one trade, if it is closed and that is not noted."""
    trade = unnoted().filter(pk=trade_id).first()
    if trade is not None:
        _note(trade, now)


def _note(trade: Trade, now: datetime) -> None:
    """A row that waits for its review, or says why there is none. Another one's row is left as it is."""
    fields = _fields(trade, now)
    try:
        with transaction.atomic():
            known = Reflection.objects.select_for_update().filter(trade=trade).first()
            if known is None:
                Reflection.objects.create(kind=Reflection.Kind.POST_TRADE, trade=trade, **fields)
            elif unnoted().filter(pk=trade.pk).exists():
                Reflection.objects.filter(pk=known.pk).update(**_AFRESH, **fields)
    except IntegrityError:  # noted by another worker at this moment
        return


_AFRESH: dict[str, Any] = {
    "attempts": 0, "not_before": None, "claim": None, "claimed_until": None, "excursion": None, "suggestion": "",
    "considered_in": None, "log": None,
}  # fmt: skip


def _fields(trade: Trade, now: datetime) -> dict[str, Any]:
    why = _why_not(trade, now)
    return {
        "as_of": trade.closed_at,
        "gross_pnl_usd": gross(trade),
        "status": Reflection.Status.GIVEN_UP if why else Reflection.Status.WAITING,
        "reason": why,
        "finished_at": wall_now() if why else None,
    }


def _why_not(trade: Trade, now: datetime) -> str:
    if trade.pnl_usd is None:
        return RESULT_UNKNOWN
    if trade.closed_at is not None and trade.closed_at < now - LOOK_BACK:
        return TOO_OLD
    return ""


def gross(trade: Trade) -> Any:
    """The gross P&L of a closing, None while the result is not known."""
    return None if trade.pnl_usd is None else trade.gross_pnl_usd


def is_of(piece: Reflection, trade: Trade) -> bool:
    """Whether the piece is about the trade as it is now."""
    is_closed = trade.status == Trade.Status.CLOSED
    return is_closed and (piece.as_of, piece.gross_pnl_usd) == (trade.closed_at, gross(trade))
