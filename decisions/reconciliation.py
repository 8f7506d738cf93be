"""The record and the venue, compared: what differs, since when, and what is done about it.

Most differences are gone before they are looked for: a lost fill is booked from the recent ones of the next position
update. What stays in the reports for `PATIENCE`, or longer while an order of ours may explain it, is repaired where the
facts allow, else told to a person; in any case it blocks the instrument's openings, never its exits. Nothing is done on
the word of a report that is too old.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from decisions import fills, outbox, recent_fills, repairs
from decisions.booked import DIRECTION
from decisions.clock import older_than, out_of_date, wall_now
from decisions.differences import Difference, Direction, Holding, compare
from decisions.messages import Position, PositionUpdate, Recent, TradeFill
from decisions.models import Discrepancy, Fill, Order, PositionReport
from decisions.refusals import UNUSABLE
from journal.models import Trade
from orchestrator_project.crash_points import reached
from risk import services as risk
from risk.models import RiskState

INTERVAL = timedelta(seconds=60)

PATIENCE = timedelta(seconds=10)
"""Wall time between the arrival of the first and of the newest report that show a difference before anything is done
about it: a report may be made up in the middle of an execution, and the venue's heartbeat brings the next one within
ten seconds. While an order of ours on the instrument is not over, its fill may be all that is missing: then it is as
long as the order has to be answered and to live."""

FORESIGHT = timedelta(minutes=5)
"""Market time. A fill of ours that a report leaves out shows that our record is newer, unless the fill is older than
the report by more than this: the venue's clocks need not agree to the second, nor the sandbox's bars."""

_reconciled_here = False
"""Whether this process has done it since it started."""


class NoReport(LookupError):
    """The trade server has never reported its positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A difference, since when it has been there (wall time), and what is done about it."""

    symbol: str
    difference: str
    ours: str
    theirs: str
    since: datetime
    done: str
    needs_a_person: bool


def reconcile_if_due(now: datetime) -> None:
    """Reconcile, unless this process has done so and it was done lately by anyone. With a report that is too old it
    waits for the next. `now` is market time."""
    global _reconciled_here
    report = PositionReport.objects.filter(account=risk.ACCOUNT).only("as_of", "reconciled_at").first()
    if report is None or _too_old(report, now) or (_reconciled_here and not _is_due(report.reconciled_at)):
        return
    reconcile(now)
    _reconciled_here = True


def _is_due(last: datetime | None) -> bool:
    if last is None:
        return True
    being_watched = Discrepancy.objects.filter(resolved_at__isnull=True, told=False).exists()
    return older_than(last, PATIENCE if being_watched else INTERVAL, wall_now())


def _too_old(report: PositionReport, now: datetime) -> bool:
    return out_of_date(report.as_of, timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS), now)


def reconcile(now: datetime, *, dry_run: bool = False) -> list[Finding]:
    """Compare the newest report with the record and do what follows; returns what was found, by symbol.

    `now` is market time. A dry run does the same and takes it back. Raises `NoReport`.
    """
    reached("reconcile_began")
    with transaction.atomic():
        state = risk.lock_state()
        found = _reconcile(state, now)
        if dry_run:
            transaction.set_rollback(True)
    return found


def _reconcile(state: RiskState, now: datetime) -> list[Finding]:
    report = PositionReport.objects.filter(account=risk.ACCOUNT).first()
    if report is None:
        raise NoReport("The trade server has not reported its positions yet: there is nothing to compare.")
    fills.settle_waiting(wall_now())
    recent, update = recent_fills.kept(report), PositionUpdate.model_validate(report.payload)
    found, too_old = _watched(report, update.positions, recent), _too_old(report, now)
    if not too_old and _book_what_fits(found, recent, update.as_of):
        found = _watched(report, update.positions, recent)
    findings = [_judged(state, row, update, too_old=too_old) for row in found]
    findings += [_not_ours(trade) for trade in repairs.block_what_is_not_ours()]
    PositionReport.objects.filter(pk=report.pk).update(reconciled_at=wall_now())
    return findings


def _judged(state: RiskState, row: Discrepancy, update: PositionUpdate, *, too_old: bool) -> Finding:
    if too_old:
        done, needs_a_person = "nothing: the report is too old", row.told
    elif not _stood(row):
        done, needs_a_person = f"watched: it must stand for {_patience(row).seconds} s", row.told
    else:
        done, needs_a_person = _repaired(state, row, update)
    return Finding(
        symbol=row.symbol,
        difference=row.kind,
        ours=row.ours,
        theirs=row.theirs,
        since=row.first_told_at,
        done=done,
        needs_a_person=needs_a_person,
    )


def _repaired(state: RiskState, row: Discrepancy, update: PositionUpdate) -> repairs.Done:
    """What is done about one difference. Figures that have no place in the record must not cost us the others."""
    try:
        with transaction.atomic():
            done = repairs.repair(state, row, update)
            reached("repair_written")
            return done
    except UNUSABLE as error:
        state.refresh_from_db()
        row.refresh_from_db()
        return repairs.leave(row, error)


def _not_ours(trade: Trade) -> Finding:
    """A trade that the venue's fills began, without an order of ours."""
    return Finding(
        symbol=trade.symbol,
        difference="not_ours",
        ours=str(_holding(trade)),
        theirs=str(_holding(trade)),
        since=trade.created_at,
        done=repairs.LEFT_TO_A_PERSON,
        needs_a_person=True,
    )


def _holding(trade: Trade) -> Holding:
    direction: Direction = "LONG" if trade.direction == Trade.Direction.LONG else "SHORT"
    return Holding(symbol=trade.symbol, direction=direction, size=trade.open_size)


def _stood(row: Discrepancy) -> bool:
    return row.last_told_at - row.first_told_at >= _patience(row)


def _patience(row: Discrepancy) -> timedelta:
    if not Order.objects.filter(symbol=row.symbol, ended_at__isnull=True).exists():
        return PATIENCE
    return timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS + settings.ORDER_TTL_MARKET_SECONDS)


# --- what differs -----------------------------------------------------------------------------------------------------


def _watched(report: PositionReport, positions: Sequence[Position], recent: Sequence[Recent]) -> list[Discrepancy]:
    """The differences that the report shows, each with the row that remembers since when; those gone are resolved."""
    ours = map(_holding, Trade.objects.filter(closed_at__isnull=True))
    theirs = [Holding(symbol=each.symbol, direction=DIRECTION[each.pos_side], size=each.size) for each in positions]
    unclear = _known_to_us_only(report, recent) | _waited_for()
    differences = compare(ours, theirs, not_comparable=unclear)
    standing = {(row.symbol, row.kind): row for row in Discrepancy.objects.filter(resolved_at__isnull=True)}
    found = [_noted(standing.pop((each.symbol, each.kind), None), each, report.received_at) for each in differences]
    _resolve(row for row in standing.values() if row.symbol not in unclear)
    return found


def _known_to_us_only(report: PositionReport, recent: Iterable[Recent]) -> set[str]:
    """The instruments of which we have booked an execution that the report does not know yet."""
    told = {each.fill_id for each in recent if isinstance(each, TradeFill)}
    booked = Fill.objects.filter(
        price__isnull=False, waiting__isnull=True, filled_at__gt=report.as_of - FORESIGHT
    ).values_list("fill_id", "symbol")
    return {symbol for fill_id, symbol in booked if fill_id not in told}


def _waited_for() -> set[str]:
    """The instruments of which an execution waits for its order: it is booked when that appears, or when it has waited
    for too long. Until then it may be all there is to a difference."""
    patience = timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS)
    waiting = Fill.objects.filter(waiting__isnull=False).values_list("symbol", "created_at")
    return {symbol for symbol, came in waiting if not older_than(came, patience, wall_now())}


def _noted(row: Discrepancy | None, difference: Difference, received_at: datetime) -> Discrepancy:
    if row is None:
        row = Discrepancy(symbol=difference.symbol, kind=difference.kind, first_told_at=received_at)
    row.first_told_at = min(row.first_told_at, received_at)  # our clock may have been set back
    row.last_told_at = received_at
    row.ours, row.theirs = difference.ours, difference.theirs
    row.save()
    return row


def _resolve(gone: Iterable[Discrepancy]) -> None:
    for row in gone:
        repairs.resolve(row, "no longer seen")
        if row.told:
            outbox.record_alert(
                "INFO",
                "reconciled",
                f"The record and the venue agree about {row.symbol} again",
                f"{row.kind.replace('_', ' ')} is no longer seen",
                f"{row.symbol} may open again unless something else stands in the way",
            )


def _book_what_fits(found: Iterable[Discrepancy], recent: Sequence[Recent], as_of: datetime) -> bool:
    """Book what the record refused so far, as far as it fits: of the instruments whose difference stood, and of those
    without one what has been refused for long, as a whole round trip that came too late would be for ever. What does
    not fit is kept and waits. Says whether anything was booked or kept."""
    stood = {row.symbol: _stood(row) for row in found}
    patience = timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS)
    missing = [
        each
        for each in recent_fills.not_booked(recent)
        if stood.get(each.symbol, as_of - recent_fills.happened_at(each) > patience)
    ]
    return len(recent_fills.book(missing, last_try=True)) < len(missing)
