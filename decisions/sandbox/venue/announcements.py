"""What the venue says of what happened, and what it leaves out, repeats, delays or gets wrong by the fault plan.

The account's history is the truth and is not touched here: a message that is lost on the streams is in the ledger, and
executions and funding stand in the `recent_fills` of later position updates all the same.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from decisions.messages import FundingPayment, Message, Position, PositionUpdate, TradeFill

from .faults import FaultPlan
from .market import Quote
from .state import Outgoing, own_number
from .terms import cash


@dataclass(frozen=True, slots=True)
class Announcement:
    """A message for a stream. It is held back for `held_seconds` of wall time, or, when it is to be `overtaken`, until
    a later fill has been said if that is sooner; `again` says whether it comes a second time, and under which id."""

    stream: str
    message: Message
    held_seconds: float = 0.0
    overtaken: bool = False
    again: Literal["no", "new_id", "same_id"] = "no"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the faults of a step's messages depend on, besides the plan and the messages.

    `replies` are the ids of the fills that answer an order at its arrival, `number` how many messages the venue has
    said so far, `before` the last update before these, as it should have been. A `heartbeat` never lags: whoever waits
    for the account as of the newest bar learns of it in the end.
    """

    account_id: str
    replies: Collection[str]
    number: int
    quotes: Mapping[str, Quote]
    before: PositionUpdate | None
    heartbeat: bool


def announcements(
    plan: FaultPlan, occasion: Occasion, messages: Iterable[tuple[str, Message]]
) -> Iterator[Announcement]:
    """What is said of the messages, given as pairs of stream and message."""
    for number, (stream, message) in enumerate(messages, occasion.number):
        if isinstance(message, PositionUpdate):
            occasion = replace(occasion, number=number)
            yield _of_update(plan, occasion, stream, message)
            occasion = replace(occasion, before=message)
        elif isinstance(message, TradeFill | FundingPayment) and not _is_lost(plan, occasion, message):
            yield _of_fill(plan, occasion, stream, message)


def _number(occasion: Occasion, message: Outgoing) -> str:
    identifier = message.fill_id if isinstance(message, TradeFill) else message.funding_id
    return own_number(occasion.account_id, identifier)


def _is_lost(plan: FaultPlan, occasion: Occasion, message: Outgoing) -> bool:
    return plan.befalls("drop_fill", _number(occasion, message)) or (
        isinstance(message, TradeFill)
        and message.fill_id in occasion.replies
        and message.status not in ("rejected", "expired")
        and plan.befalls("lose_reply", own_number(occasion.account_id, message.order_id or ""))
    )


def _of_fill(plan: FaultPlan, occasion: Occasion, stream: str, message: Outgoing) -> Announcement:
    number = _number(occasion, message)
    again: Literal["no", "new_id", "same_id"] = "no"
    if plan.befalls("duplicate_fill", number):
        again = "same_id" if plan.draw("same_message", number) < plan.duplicate_fill.same_message else "new_id"
    if plan.befalls("delay_fill", number):
        return Announcement(stream, message, held_seconds=plan.delay_fill.seconds, again=again)
    if plan.befalls("reorder_fills", number):
        return Announcement(stream, message, held_seconds=plan.reorder_fills.seconds, overtaken=True, again=again)
    return Announcement(stream, message, again=again)


def _of_update(plan: FaultPlan, occasion: Occasion, stream: str, update: PositionUpdate) -> Announcement:
    number, before = str(occasion.number), occasion.before
    stretch = str(occasion.number // plan.disagree_positions.messages)
    said = _disagreeing(plan, occasion, update, stretch) if plan.befalls("disagree_positions", stretch) else update
    if occasion.heartbeat or not plan.befalls("lag_positions", number):
        return Announcement(stream, said)
    if plan.draw("repeat", number) < plan.lag_positions.repeat and before is not None and before.as_of == update.as_of:
        return Announcement(stream, before)
    return Announcement(stream, said, held_seconds=plan.lag_positions.seconds)


def _disagreeing(plan: FaultPlan, occasion: Occasion, update: PositionUpdate, stretch: str) -> PositionUpdate:
    """The update with one position missing, of another size, or invented; as it is when no instrument is known."""
    held = {position.symbol for position in update.positions}
    flat = [quote for symbol, quote in sorted(occasion.quotes.items()) if symbol not in held]
    possible = [kind for kind, choices in (("missing", held), ("size", held), ("phantom", flat)) if choices]
    if not possible:
        return update
    kind = possible[int(plan.draw("disagreement", stretch) * len(possible))]
    which = plan.draw("disagreeing", stretch)
    if kind == "phantom":
        phantom = _phantom(flat[int(which * len(flat))], update, long=plan.draw("phantom_side", stretch) < 0.5)
        positions = [*update.positions, phantom]
    else:
        positions = list(update.positions)
        wrong = positions.pop(int(which * len(positions)))
        if kind == "size":
            positions.append(_doubled(wrong))
    return update.model_copy(update={"positions": tuple(sorted(positions, key=lambda position: position.symbol))})


def _doubled(position: Position) -> Position:
    figures = ("size", "notional_usd", "unrealized_pnl", "margin_usd")
    return position.model_copy(update={name: 2 * getattr(position, name) for name in figures})


def _phantom(quote: Quote, update: PositionUpdate, *, long: bool) -> Position:
    """A position that nobody holds: the smallest, entered at the mark price."""
    size, price = quote.instrument.min_size, quote.mark_price
    notional = cash(size * quote.instrument.ct_val * price)
    return Position(
        symbol=quote.symbol, pos_side="long" if long else "short", size=size, entry_price=price, mark_price=price,
        notional_usd=notional, unrealized_pnl=Decimal(0), leverage=Decimal(1), margin_usd=notional,
        liquidation_price=None, stop_loss=None, take_profit=None, opened_at=update.as_of,
    )  # fmt: skip
