"""Which trade an execution is part of: for an order of ours the one of its position, for the rest the one of its time.

We hold one position an instrument, so our orders tell the positions apart however late their fills are heard of: an
addition or an exit is about the position that the youngest opening before it began. What the venue did by itself names
no order; its time tells, unless a position may have begun of which we have not heard yet. Then it is `OutOfTurn`.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import F, QuerySet, Subquery
from django.db.models.functions import Coalesce

from decisions import booked
from decisions.booked import DIRECTION
from decisions.messages import TradeFill
from decisions.models import LIVE, Fill, Order
from decisions.order_life import ENDED
from decisions.refusals import OutOfTurn
from journal import services as journal
from journal.cost_basis import last_exit
from journal.models import Trade

_DOCUMENTS = ("indicators_entry", "indicators_exit", "research_context", "opus_reasoning")
"""What of a trade an execution neither needs nor changes, and what of a trade is large: neither read nor written."""


def with_trade(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Orders with their trades, without the documents of these."""
    return orders.select_related("trade").defer(*(f"trade__{name}" for name in _DOCUMENTS))


def _trades(message: TradeFill) -> QuerySet[Trade]:
    return Trade.objects.filter(symbol=message.symbol).defer(*_DOCUMENTS)


# --- positions by their orders ----------------------------------------------------------------------------------------


def opening_of(order: Order) -> Order | None:
    """The order that opened the position which an order is about; None where none of ours did."""
    if order.action.startswith("OPEN"):
        return order
    before = _openings(order.symbol, order.pos_side).filter(pk__lt=order.pk)
    return with_trade(before).order_by("-pk").first()


def _openings(symbol: str, pos_side: str) -> QuerySet[Order]:
    """The orders that opened a position on this side, or may have: not those that came to nothing."""
    openings = Order.objects.filter(symbol=symbol, pos_side=pos_side, action=f"OPEN_{pos_side.upper()}")
    return openings.exclude(status__in=ENDED, filled_size=0, trade__isnull=True)


def _trade_of(opening: Order) -> Trade | None:
    """The trade of an opening's position, which an addition may have had to begin."""
    if opening.trade is not None:
        return opening.trade
    younger = Order.objects.filter(symbol=opening.symbol, pos_side=opening.pos_side, pk__gt=opening.pk)
    openings = _openings(opening.symbol, opening.pos_side).filter(pk__gt=opening.pk).order_by("pk").values("pk")
    following = Coalesce(Subquery(openings[:1]), F("pk") + 1)
    first = with_trade(younger.filter(trade__isnull=False, pk__lt=following)).order_by("pk").first()
    return None if first is None else first.trade


def _may_be(trade: Trade, opening: Order | None) -> bool:
    """Whether a trade may be of the position that an order opened: it is not known to be of another's."""
    first = None if opening is None else trade.orders.order_by("pk").first()
    other = None if first is None else opening_of(first)
    return other is None or other == opening


def of_the_position(waiting: Iterable[Fill], order: Order | None) -> list[int]:
    """Those of some executions that may be of an order's position: they name no order that is about another."""
    opening = None if order is None else opening_of(order)
    told = ((each.pk, each.order and opening_of(each.order)) for each in waiting)
    return [key for key, other in told if other is None or other == opening]


# --- entries ----------------------------------------------------------------------------------------------------------


def entered(message: TradeFill, order: Order | None) -> Trade | None:
    """The trade that an entry is part of, if there is one: its order's, the one of its order's position or of its time,
    or one that an addition had to begin because what was entered before it was not heard of."""
    if order is not None and order.trade is not None and _lasted_until(order.trade, message):
        return order.trade
    later = _trades(message).filter(opened_at__gte=message.filled_at)
    if order is not None and message.intent == "open" and not later.exists():
        return None  # what else was entered of its position came after it
    opening = None if order is None else opening_of(order)
    trade = None if opening is None else _trade_of(opening)
    if trade is not None and _lasted_until(trade, message):
        return trade
    if order is None or message.intent == "add":
        begun = _trades(message).filter(direction=DIRECTION[message.pos_side], opened_at__lte=message.filled_at)
        of_its_time = begun.order_by(*journal.NEWEST_FIRST).first()
        if of_its_time is not None and _lasted_until(of_its_time, message) and _may_be(of_its_time, opening):
            return of_its_time
    next_one = later.order_by("opened_at", "id").first()
    if next_one is None or next_one.direction != DIRECTION[message.pos_side] or not _begun_by_addition(next_one):
        return None
    return next_one if _may_be(next_one, opening) else None


def given_up(message: TradeFill, order: Order | None) -> Trade | None:
    """The trade that an addition is part of, and that was closed because the venue showed no position of it."""
    trade = journal.closed_unknown(message.symbol, DIRECTION[message.pos_side])
    if trade is None or message.filled_at < trade.opened_at:
        return None
    return trade if _may_be(trade, None if order is None else opening_of(order)) else None


def _lasted_until(trade: Trade, message: TradeFill) -> bool:
    """Whether the trade was not over yet when the entry was executed. One that seems to be closed by a reduction was
    not: something was left, which we have not heard of."""
    if trade.closed_at is None or message.filled_at <= trade.closed_at:
        return True
    return message.intent == "add" and not _over_for_good(trade)


def _over_for_good(trade: Trade) -> bool:
    """Whether by the venue's word nothing was left after the last exit that we have heard of."""
    last = last_exit(booked.executions(trade))
    return last is None or last.final


def _begun_by_addition(trade: Trade) -> bool:
    """Whether nothing but additions made the trade; a position that was adopted was there before them."""
    entries = booked.entries(trade)
    return booked.contracts(entries) == trade.size and not entries.filter(intent="open").exists()


# --- exits ------------------------------------------------------------------------------------------------------------


def left(message: TradeFill, order: Order | None) -> Trade:
    """The trade that an exit is of. Raises `OutOfTurn` where there is none, or which one it is cannot be told yet."""
    opening = None if order is None else opening_of(order)
    trade = None if opening is None else _trade_of(opening)
    if trade is None or (trade.closed_at is not None and message.filled_at > trade.closed_at):
        trade = _of_the_time(message, opening)
    if trade is None or message.filled_at < trade.opened_at or not _may_leave(trade, message):
        raise OutOfTurn(f"an exit of {message.symbol} {message.pos_side}, which is not open in the record")
    if order is None and _another_may_have_begun(trade, message.filled_at):
        raise OutOfTurn(f"an exit of {message.symbol} {message.pos_side}, of which one position it cannot be told yet")
    return trade


def _of_the_time(message: TradeFill, opening: Order | None) -> Trade | None:
    """The trade that was open when the exit was executed, as far as we know. In the moment in which a position begins
    it is the one before, while that is not over."""
    same_side = _trades(message).filter(direction=DIRECTION[message.pos_side])
    trades = list(same_side.filter(opened_at__lte=message.filled_at).order_by(*journal.NEWEST_FIRST)[:2])
    if not trades or not _may_be(trades[0], opening):
        return None
    if trades[0].opened_at < message.filled_at or opening is not None:
        return trades[0]
    if trades[1:] and (_may_leave(trades[1], message) or not _over_for_good(trades[1])):
        return trades[1]
    return None if _one_may_have_ended(trades[0]) else trades[0]


def _may_leave(trade: Trade, message: TradeFill) -> bool:
    """Whether something of a trade may still leave: it is open, or was closed without its exit."""
    if trade.status == Trade.Status.OPEN:
        return True
    if trade.pnl_usd is not None or trade.exit_reason != journal.RECONCILED_EXIT or trade.closed_at is None:
        return False
    if message.filled_at <= trade.closed_at:
        return True
    return not Trade.objects.filter(symbol=trade.symbol, opened_at__gt=trade.opened_at).exists()


def _one_may_have_ended(trade: Trade) -> bool:
    """Whether an older opening of ours may have begun a position before this one, of which nothing is booked yet."""
    return _other_openings(trade).filter(pk__lt=_first_order(trade), trade__isnull=True).exists()


def _another_may_have_begun(trade: Trade, at: datetime) -> bool:
    """Whether a younger opening of ours may have begun another position before a time: it is not over, not all of it
    was heard of, or by what waits it has."""
    return any(
        each.status in LIVE
        or booked.contracts(_executed(each)) < each.filled_size
        or _executed(each).filter(filled_at__lt=at).exists()
        for each in _other_openings(trade).filter(pk__gt=_first_order(trade))
    )


def _other_openings(trade: Trade) -> QuerySet[Order]:
    pos_side = "long" if trade.direction == Trade.Direction.LONG else "short"
    return _openings(trade.symbol, pos_side).exclude(trade=trade)


def _first_order(trade: Trade) -> Coalesce:
    first = Order.objects.filter(trade=trade).order_by("pk").values("pk")[:1]
    return Coalesce(Subquery(first), 0)


def _executed(order: Order) -> QuerySet[Fill]:
    return Fill.objects.filter(order=order, price__isnull=False)
