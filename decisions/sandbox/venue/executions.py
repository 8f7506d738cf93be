"""Executions: how a fill changes the account's positions and money, and the report that says so.

The functions below are the only ones that touch positions and books.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from decisions.messages import ExitReason, FundingPayment, Intent, TradeFill, TradeOrder

from .holdings import HeldPosition, LateStop, WorkingOrder
from .market import Funding, Quote
from .matching import Trigger
from .state import Outgoing, VenueState
from .terms import cash

_INTENTS: dict[str, Intent] = {
    "OPEN_LONG": "open", "OPEN_SHORT": "open", "ADD": "add", "REDUCE": "reduce", "CLOSE": "close",
}  # fmt: skip


def execute(
    state: VenueState, working: WorkingOrder, quote: Quote, *, size: Decimal, price: Decimal, fee_rate: Decimal
) -> list[Outgoing]:
    """`size` contracts of an order change hands at the price; what is left of it rests."""
    working = replace(working, filled=working.filled + size)
    if working.remaining:
        state.resting[working.order.client_order_id] = working
    else:
        state.resting.pop(working.order.client_order_id, None)
    fee = _charge(state, size, price, fee_rate, quote)
    if not working.reducing:
        return [_enter(state, working, quote, size=size, price=price, fee=fee)]
    position = state.positions[quote.symbol]
    left, pnl = _reduce(state, position, size, price)
    fill = _fill(
        state, working, quote.at, price=price, size=size, fee=fee,
        intent="reduce" if left else "close", algo_id=position.algo_id, pnl=pnl, exit_reason="signal",
    )  # fmt: skip
    return [fill, *_drop_orphans(state, quote)]


def exit_position(state: VenueState, trigger: Trigger, quote: Quote, fee_rate: Decimal) -> list[Outgoing]:
    """The venue closes a position by itself, all of it."""
    position = state.positions[quote.symbol]
    _, pnl = _reduce(state, position, position.size, trigger.price)
    fill = TradeFill(
        fill_id=state.next_id("fill"), decision_id=None, client_order_id=None, order_id=state.next_id("order"),
        algo_id=position.algo_id or state.next_id("algo"), symbol=quote.symbol, pos_side=position.pos_side,
        side=position.exit_side, intent="close", status="filled", fill_price=trigger.price, fill_size=position.size,
        fee_usd=_charge(state, position.size, trigger.price, fee_rate, quote), pnl_usd=pnl,
        cumulative_size=position.size, exit_reason=trigger.reason, stop_confirmed=None, reject_reason=None,
        filled_at=quote.at,
    )  # fmt: skip
    return [fill, *_drop_orphans(state, quote)]


def settle(state: VenueState, funding: Funding, quote: Quote) -> list[Outgoing]:
    """Funding on what is held at the settlement: long pays a positive rate on the notional at mark price."""
    position = state.positions.get(quote.symbol)
    if position is None:
        return []
    amount = cash(-position.sign * position.notional(quote.mark_price) * funding.rate)
    state.books.funding += amount
    payment = FundingPayment(
        funding_id=state.next_id("funding"), symbol=quote.symbol, pos_side=position.pos_side, amount_usd=amount,
        rate=funding.rate, paid_at=funding.settles_at,
    )  # fmt: skip
    return [payment]


def withdraw(
    state: VenueState, working: WorkingOrder, status: Literal["cancelled", "expired"], at: datetime, reason: str
) -> TradeFill:
    """A resting order ends before it is filled."""
    del state.resting[working.order.client_order_id]
    return notice(state, working, status, at, reason)


def notice(
    state: VenueState,
    working: WorkingOrder,
    status: Literal["accepted", "rejected", "cancelled", "expired"],
    at: datetime,
    reason: str | None = None,
) -> TradeFill:
    """The report of what became of an order, without an execution."""
    order = working.order
    return TradeFill(
        fill_id=state.next_id("fill"), decision_id=order.decision_id, client_order_id=order.client_order_id,
        order_id=working.order_id, algo_id=None, symbol=order.symbol, pos_side=order.pos_side, side=order.side,
        intent=_INTENTS[order.action], status=status, fill_price=None, fill_size=None, fee_usd=None, pnl_usd=None,
        cumulative_size=working.filled, exit_reason=None, stop_confirmed=None, reject_reason=reason, filled_at=at,
    )  # fmt: skip


def _enter(
    state: VenueState, working: WorkingOrder, quote: Quote, *, size: Decimal, price: Decimal, fee: Decimal
) -> TradeFill:
    """Open or increase a position. The order's target takes effect with its first execution, its stop then or later."""
    order = working.order
    position = (state.positions.get(quote.symbol) or _empty(order, quote)).increased(size, price)
    first = working.filled == size
    if first and (order.stop_loss is not None or order.take_profit is not None):
        stop_loss = _placed_stop(state, working)
        position = replace(
            position,
            stop_loss=position.stop_loss if stop_loss is None else stop_loss,
            take_profit=position.take_profit if order.take_profit is None else order.take_profit,
            algo_id=state.next_id("algo"),
        )
    state.positions[quote.symbol] = position
    return _fill(
        state, working, quote.at, price=price, size=size, fee=fee,
        intent=_INTENTS[order.action], algo_id=position.algo_id,
        stop_confirmed=position.stop_loss is not None and quote.symbol not in state.late_stops,
    )  # fmt: skip


def _placed_stop(state: VenueState, working: WorkingOrder) -> Decimal | None:
    """The stop that the order brings at once; one that comes late is noted instead."""
    order = working.order
    if order.stop_loss is None:
        return None
    if working.stop_after == 0:
        state.late_stops.pop(order.symbol, None)
        return order.stop_loss
    state.late_stops[order.symbol] = LateStop(order.stop_loss, working.stop_after)
    return None


def _empty(order: TradeOrder, quote: Quote) -> HeldPosition:
    return HeldPosition(
        symbol=order.symbol, pos_side=order.pos_side, size=Decimal(0), ct_val=quote.instrument.ct_val,
        cost=Decimal(0), leverage=order.leverage, stop_loss=None, take_profit=None, algo_id=None, opened_at=quote.at,
    )  # fmt: skip


def _reduce(
    state: VenueState, position: HeldPosition, size: Decimal, price: Decimal
) -> tuple[HeldPosition | None, Decimal]:
    left, pnl = position.reduced(size, price)
    state.books.realized_pnl += pnl
    if left is None:
        del state.positions[position.symbol]
        state.late_stops.pop(position.symbol, None)
    else:
        state.positions[position.symbol] = left
    return left, pnl


def _charge(state: VenueState, size: Decimal, price: Decimal, fee_rate: Decimal, quote: Quote) -> Decimal:
    fee = cash(size * quote.instrument.ct_val * price * fee_rate)
    state.books.fees += fee
    return fee


def _drop_orphans(state: VenueState, quote: Quote) -> list[Outgoing]:
    """Cancel what presupposes a position once there is none."""
    if quote.symbol in state.positions:
        return []
    orphans = [working for working in state.orders_resting(quote.symbol) if working.needs_position]
    return [withdraw(state, working, "cancelled", quote.at, "the position is closed") for working in orphans]


def _fill(
    state: VenueState, working: WorkingOrder, at: datetime, *,
    price: Decimal, size: Decimal, fee: Decimal, intent: Intent, algo_id: str | None,
    pnl: Decimal | None = None, exit_reason: ExitReason | None = None, stop_confirmed: bool | None = None,
) -> TradeFill:  # fmt: skip
    """The report of an execution of an order that was sent to us."""
    order = working.order
    return TradeFill(
        fill_id=state.next_id("fill"), decision_id=order.decision_id, client_order_id=order.client_order_id,
        order_id=working.order_id, algo_id=algo_id, symbol=order.symbol, pos_side=order.pos_side, side=order.side,
        intent=intent, status="partially_filled" if working.remaining else "filled", fill_price=price,
        fill_size=size, fee_usd=fee, pnl_usd=pnl, cumulative_size=working.filled, exit_reason=exit_reason,
        stop_confirmed=stop_confirmed, reject_reason=None, filled_at=at,
    )  # fmt: skip
