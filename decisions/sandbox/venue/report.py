"""The account as it is shown to others."""

from datetime import datetime

from decisions.messages import AccountState, OpenOrder, Position, PositionUpdate

from .holdings import HeldPosition, WorkingOrder
from .matching import liquidation_level
from .state import VenueState
from .terms import VenueTerms, cash


def position_update(state: VenueState, terms: VenueTerms, as_of: datetime) -> PositionUpdate:
    """The whole account at the newest prices, in the order of the symbols."""
    return PositionUpdate(
        positions=tuple(_position(state, terms, held) for _, held in sorted(state.positions.items())),
        account=AccountState(
            equity=state.equity,
            available=state.available,
            margin_used=state.margin_used,
            unrealized_pnl=state.unrealized_pnl,
            net_transfers_usd=state.books.transfers,
        ),
        open_orders=tuple(_open_order(working) for working in state.resting.values()),
        recent_fills=tuple(state.recent),
        as_of=as_of,
    )


def _position(state: VenueState, terms: VenueTerms, held: HeldPosition) -> Position:
    quote = state.quotes[held.symbol]
    return Position(
        symbol=held.symbol,
        pos_side=held.pos_side,
        size=held.size,
        entry_price=held.entry_price,
        mark_price=quote.mark_price,
        notional_usd=cash(held.notional(quote.mark_price)),
        unrealized_pnl=state.unrealized(held),
        leverage=held.leverage,
        margin_usd=held.margin,
        liquidation_price=liquidation_level(held, terms, quote.instrument.tick_size),
        stop_loss=held.stop_loss,
        take_profit=held.take_profit,
        opened_at=held.opened_at,
    )


def _open_order(working: WorkingOrder) -> OpenOrder:
    order = working.order
    return OpenOrder(
        client_order_id=order.client_order_id,
        order_id=working.order_id,
        symbol=order.symbol,
        pos_side=order.pos_side,
        side=order.side,
        size=order.size,
        filled_size=working.filled,
        limit_price=working.limit_price,
        expires_at=order.expires_at,
    )
