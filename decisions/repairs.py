"""What is done about a difference between the record and the venue that has stood. Called under the account's lock."""

from datetime import datetime
from decimal import Decimal

from django.db.models import Max, QuerySet

from decisions import alerts, context, executions, outbox
from decisions.booked import DIRECTION, exited
from decisions.clock import wall_now
from decisions.messages import MarketSnapshot, Position, PositionUpdate
from decisions.models import LIVE, Discrepancy, Fill, InstrumentBlock, Order, OrderStatus
from decisions.notices import publish
from journal import services as journal
from journal.models import Trade
from risk import services as risk
from risk.models import RiskState

Done = tuple[str, bool]
"""What was done, in words, and whether a person is needed."""

LEFT_TO_A_PERSON = "openings blocked, left to a person"


def resolve(row: Discrepancy, resolution: str) -> None:
    """The difference is gone."""
    row.resolved_at, row.resolution = wall_now(), resolution
    row.save()


def repair(state: RiskState, row: Discrepancy, update: PositionUpdate) -> Done:
    """Repair what the facts allow to repair; tell the rest."""
    if row.kind == Discrepancy.Kind.POSITION_WITHOUT_TRADE:
        position = context.position_in(row.symbol, update.positions)
        if position is None:
            raise ValueError(f"{row} without a position in the report")
        return _find_its_trade(state, row, position)
    if row.kind == Discrepancy.Kind.TRADE_WITHOUT_POSITION:
        return _close(state, row, update.as_of)
    told = {
        Discrepancy.Kind.SIZE: "The size of {} differs, and no fill explains it",
        Discrepancy.Kind.DIRECTION: "{} is held the other way round than the record has it",
        Discrepancy.Kind.BOTH_SIDES: "{} is held both long and short",
    }
    return _tell(row, told[Discrepancy.Kind(row.kind)].format(row.symbol))


def leave(row: Discrepancy, error: Exception) -> Done:
    """The repair failed."""
    return _tell(row, f"What differs about {row.symbol} cannot be repaired", f": {error}"[:1000])


def _tell(row: Discrepancy, title: str, why: str = "") -> Done:
    """A CRITICAL alert, once for each difference. While it lasts it blocks the instrument's openings by itself."""
    if not row.told:
        detail, action_taken = _both(row) + why, LEFT_TO_A_PERSON.capitalize()
        outbox.record_alert("CRITICAL", f"reconciliation_{row.kind}", title, detail, action_taken)
        row.told = True
        row.save()
    return LEFT_TO_A_PERSON, True


def _both(row: Discrepancy) -> str:
    return f"The record has {row.ours or 'no position'}, the venue {row.theirs or 'none'}"


# --- a position without a trade ---------------------------------------------------------------------------------------


def _find_its_trade(state: RiskState, row: Discrepancy, position: Position) -> Done:
    """The position of a trade that we had given up, or else one that we did not open."""
    given_up = journal.closed_unknown(position.symbol, DIRECTION[position.pos_side])
    if given_up is not None and given_up.size - exited(given_up) == position.size:
        return _reopen(state, row, given_up, position)
    return _adopt(row, position)


def _reopen(state: RiskState, row: Discrepancy, trade: Trade, position: Position) -> Done:
    done = executions.reopen(state, trade, position.size, _both(row))
    resolve(row, done)
    return done, False


def _adopt(row: Discrepancy, position: Position) -> Done:
    record = context.newest_snapshot(position.symbol)
    if record is None:
        return _tell(row, f"A position in {row.symbol} that nobody knows, and no snapshot with its contract terms")
    # What found no place in the record is what the position, as it is now, has been through.
    gone_through = Fill.objects.filter(symbol=row.symbol, pos_side=position.pos_side, waiting__isnull=False)
    gone_through.update(waiting=None)
    terms = MarketSnapshot.model_validate(record.payload).instrument
    trade = journal.open_trade(_entry(position), _plan(position, terms.ct_val))
    _unanswered_entries(trade, position.pos_side).update(trade=trade)
    _block(trade)
    done = f"adopted, {LEFT_TO_A_PERSON}"
    resolve(row, done)
    return done, True


def _unanswered_entries(trade: Trade, pos_side: str) -> QuerySet[Order]:
    """The entries of ours that the venue may have executed, of which we have not heard and which came after all that
    we have: if it has, their contracts are in what was adopted, and their fills begin nothing."""
    entries = Order.objects.filter(symbol=trade.symbol, pos_side=pos_side, reduce_only=False)
    last = entries.filter(trade__isnull=False).aggregate(last=Max("pk"))["last"] or 0
    return entries.filter(pk__gt=last, status__in=(*LIVE, OrderStatus.EXPIRED))


def block_what_is_not_ours() -> list[Trade]:
    """Block the instruments of open trades that no decision of ours began, once for each trade. Returns those trades
    that were not blocked before."""
    not_ours = Trade.objects.filter(closed_at__isnull=True, origin=Trade.Origin.RECONCILED).order_by("id")
    return [trade for trade in not_ours if _block(trade)]


def _block(trade: Trade) -> bool:
    """Block the instrument, unless it ever was for this trade: a person may have lifted that. Returns whether a person
    was told now."""
    reason = f"a position that we did not open was adopted as trade {trade.pk}"
    if InstrumentBlock.objects.filter(symbol=trade.symbol, reason=reason).exists():
        return False
    InstrumentBlock.objects.get_or_create(symbol=trade.symbol, ended_at=None, defaults={"reason": reason})
    return alerts.record_once(
        "CRITICAL",
        "position_not_ours",
        {"trade": str(trade.trade_id)},
        title=f"A position in {trade.symbol} that we did not open",
        detail=f"{trade.direction} {trade.open_size.normalize():f}, entered at {trade.entry_price.normalize():f}",
        action_taken=f"Kept as trade {trade.pk}; {LEFT_TO_A_PERSON}",
    )


def _entry(position: Position) -> journal.Execution:
    return journal.Execution(
        symbol=position.symbol,
        direction=DIRECTION[position.pos_side],
        price=position.entry_price,
        size=position.size,
        fee_usd=Decimal(0),
        pnl_usd=None,
        at=position.opened_at,
    )


def _plan(position: Position, ct_val: Decimal) -> journal.EntryPlan:
    return journal.EntryPlan(
        ct_val=ct_val,
        stop_loss=position.stop_loss,
        take_profit=position.take_profit,
        leverage=position.leverage,
        origin=Trade.Origin.RECONCILED,
        stop_confirmed_at=None if position.stop_loss is None else wall_now(),
    )


# --- a trade without a position ---------------------------------------------------------------------------------------


def _close(state: RiskState, row: Discrepancy, as_of: datetime) -> Done:
    trade = context.open_trade_of(row.symbol)
    if trade is None:
        raise ValueError(f"{row} without an open trade")
    journal.close_unknown(trade, as_of)
    publish(risk.on_trade_closed(state))
    done = f"trade {trade.pk} closed, its P&L is not known"
    resolve(row, done)
    outbox.record_alert(
        "CRITICAL",
        f"reconciliation_{row.kind}",
        f"The position of {row.symbol} is gone, and nobody knows how",
        f"{_both(row)}; no fill of the last day explains it",
        done.capitalize(),
    )
    return done, True
