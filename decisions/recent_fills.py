"""The executions and payments of the last day that come with every position update, booked where they are not yet.

A fill that was lost on its way, or that our record could not make sense of at the time, is found here.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import connection, transaction

from decisions import fills, funding, outbox
from decisions.messages import FundingPayment as FundingMessage
from decisions.messages import PositionUpdate, Recent, TradeFill, read_recent
from decisions.models import PositionReport
from decisions.refusals import UNUSABLE, AlreadyBooked


def kept(report: PositionReport) -> tuple[Recent, ...]:
    """What the newest update told of the last day, in its order."""
    return read_recent(report.recent_fills)[0]


def not_booked(recent: Sequence[Recent]) -> list[Recent]:
    """Those that are not in the record, in their order."""
    fills_told = [each.fill_id for each in recent if isinstance(each, TradeFill)]
    payments_told = [each.funding_id for each in recent if isinstance(each, FundingMessage)]
    known_fills = _known("SELECT fill_id FROM fills WHERE fill_id = ANY(%s)", fills_told)
    known_payments = _known("SELECT funding_id FROM funding_payments WHERE funding_id = ANY(%s)", payments_told)
    return [
        each
        for each in recent
        if (each.fill_id not in known_fills if isinstance(each, TradeFill) else each.funding_id not in known_payments)
    ]


def _known(statement: str, ids: list[str]) -> set[str]:
    """Which of the ids are in the record. They go as one array: an `IN` of every length would be another statement to
    prepare, and drive out those that are used again."""
    if not ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(statement, [ids])
        return {found for (found,) in cursor.fetchall()}


def happened_at(each: Recent) -> datetime:
    """When it was executed or paid."""
    return each.filled_at if isinstance(each, TradeFill) else each.paid_at


def book(missing: Iterable[Recent], *, last_try: bool = False) -> list[Recent]:
    """Book each in turn; one that contradicts the record must not cost us the others. Returns what was refused.

    `last_try`: what will not fit the position as it is recorded is booked as far as it does.
    """
    return [each for each in missing if not _booked(each, last_try=last_try)]


def _booked(each: Recent, *, last_try: bool) -> bool:
    try:
        with transaction.atomic():
            if isinstance(each, TradeFill):
                fills.book_fill(each, last_try=last_try)
            else:
                funding.book(each)
    except AlreadyBooked:
        return True
    except UNUSABLE as error:
        _tell(each, error)
        return False
    return True


def tell_unreadable(message: PositionUpdate) -> None:
    """Tell of those that could not be read."""
    if message.recent_faults:
        outbox.record_alert_at_most(
            outbox.REMINDER,
            "WARN",
            "recent_fill_unreadable",
            title=f"{len(message.recent_faults)} of the recent fills cannot be read",
            detail="; ".join(message.recent_faults)[:1000],
            action_taken="Left out; the rest of the position update was taken in",
        )


def _tell(each: Recent, error: Exception) -> None:
    what = f"fill {each.fill_id}" if isinstance(each, TradeFill) else f"funding {each.funding_id}"
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "WARN",
        f"recent_fill_refused:{each.symbol}",
        title=f"A recent fill of {each.symbol} does not fit the record",
        detail=f"{what}: {error}"[:1000],
        action_taken="Tried again with every position update",
    )
