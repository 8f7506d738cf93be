"""Where reflection stands, as JSON values: what is due, what was done, what waits and why. Times are UTC."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Count

from reflection import closings, due, question
from reflection.models import Reflection

Row = dict[str, Any]
MOST_REASONS = 5


def status(now: datetime) -> Row:
    """Everything at market time `now`. The keys are kept stable."""
    new, since = due.untried(now).count(), due.since(now)
    missing, at = due.schedule().left(new_trades=new, since=since)
    return {
        "market_time": _moment(now),
        "promotion": settings.PLAYBOOK_PROMOTION,
        "postponed": question.why_postponed(now),
        "open": _deep(due.open_one()),
        "next": {"new_trades": new, "after_trades": missing, "at": _moment(at) if new else None, "due": due.cause(now)},
        "last": _deep(_last()),
        "reviews": _reviews(),
        "suggestions": _suggestions(now),
    }


def _last() -> Reflection | None:
    """The newest deep reflection that is over, whatever became of it."""
    over = due.deep().exclude(status=Reflection.Status.WAITING)
    return over.select_related("log").order_by("-as_of", "-id").first()


def _deep(piece: Reflection | None) -> Row | None:
    if piece is None:
        return None
    log = piece.log
    return {
        "as_of": _moment(piece.as_of),
        "status": piece.status,
        "cause": piece.cause,
        "asked_by": piece.asked_by,
        "reason": piece.reason,
        "new_trades": piece.considered.count(),
        "old_version": None if log is None else log.old_version,
        "new_version": None if log is None else log.new_version,
    }


def _reviews() -> Row:
    """How many there are of each kind, the closings that are not noted yet, and why the newest were not reviewed."""
    pieces = Reflection.objects.filter(kind=Reflection.Kind.POST_TRADE)
    counts = dict(pieces.values_list("status").annotate(count=Count("id")))
    refused = pieces.filter(status=Reflection.Status.GIVEN_UP).order_by("-as_of")[:MOST_REASONS]
    waiting = pieces.filter(status=Reflection.Status.WAITING).exclude(reason="").order_by("as_of")[:MOST_REASONS]
    return {
        "reviewed": counts.get(Reflection.Status.DONE, 0),
        "waiting": counts.get(Reflection.Status.WAITING, 0) + closings.unnoted().count(),
        "not_reviewed": counts.get(Reflection.Status.GIVEN_UP, 0),
        "why_waiting": [{"trade": each.trade_id, "reason": each.reason} for each in waiting],
        "why_not": [{"trade": each.trade_id, "reason": each.reason} for each in refused],
    }


def _suggestions(now: datetime) -> list[Row]:
    """Those that wait for the next deep reflection, the newest first."""
    waiting = due.new_trades(now).exclude(suggestion="").order_by("-as_of")
    return [{"trade": each.trade_id, "suggestion": each.suggestion} for each in waiting]


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
