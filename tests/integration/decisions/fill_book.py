"""What the venue may do with one position, and what may befall the messages about it, as hypothesis makes it up.

A course is an opening in parts, additions, reductions, funding, an end by an order of ours, by the venue, or none. An
interleaving is how its messages reach us: each delayed by some places, some never, some twice; between them position
updates that tell of what had happened up to then, and rounds over what waits. One that comes out of turn is delivered
again as the consumer does it, to the last try.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Literal

from django.db import transaction
from django.db.models import Sum
from hypothesis import strategies as st

from decisions import fills, funding, recent_fills
from decisions.consumer import MOST_DELIVERIES
from decisions.messages import FundingPayment, TradeFill
from decisions.models import Fill, MarketRecord, Order, Outcome, State
from decisions.models import FundingPayment as BookedPayment
from decisions.refusals import AlreadyBooked, OutOfTurn
from journal.models import Trade
from tests.integration.decisions.build import (
    BTC,
    NOON,
    NOTHING_FILLED,
    alerts,
    fill_payload,
    funding_payload,
    indicators,
    sent_order,
    snapshot_payload,
    zulu,
)

D = Decimal
STEP = D("0.0001")
MOST_MESSAGES = 8
"""From so many on nothing is added to a course but its end."""
Message = TradeFill | FundingPayment


# --- what the venue does ----------------------------------------------------------------------------------------------


@dataclass
class Part:
    """Contracts that change hands at once, so many minutes after what was before."""

    size: int
    price: int
    minutes: int
    confirmed: bool | None = None


@dataclass
class Step:
    """One order of ours with its parts, an exit of the venue's, or a funding payment."""

    kind: str
    parts: list[Part] = field(default_factory=list)
    left_over: int = 0
    """Contracts of the order that are cancelled."""
    accepted: bool = False
    reason: str = ""
    amount: str = ""

    @property
    def messages(self) -> int:
        return len(self.parts) + self.accepted + bool(self.left_over)

    @property
    def enters(self) -> bool:
        return self.kind in ("OPEN", "ADD")


@dataclass
class Course:
    side: str
    steps: list[Step]

    @property
    def messages(self) -> int:
        return sum(step.messages for step in self.steps)


PRICES = st.integers(19_000, 21_000)
MINUTES = st.sampled_from([0, 1, 1, 7])
PAYMENTS = st.sampled_from(["-0.05", "0.00025", "-0.1"])


@st.composite
def courses(draw: st.DrawFn) -> Course:
    """A side, and what happens to the position."""
    course = Course(draw(st.sampled_from(["long", "short"])), [_order(draw, "OPEN", draw(st.integers(1, 6)))])
    held = sum(part.size for part in course.steps[0].parts)
    for kind in draw(st.lists(st.sampled_from(["ADD", "ADD", "REDUCE", "FUNDING", "VENUE_REDUCES"]), max_size=4)):
        if course.messages >= MOST_MESSAGES or (held < 2 and "REDUCE" in kind):
            continue
        if kind == "FUNDING":
            course.steps.append(_funding(draw))
            continue
        step = _order(draw, kind, draw(st.integers(1, 6 if kind == "ADD" else held - 1)))
        held += sum(part.size for part in step.parts) * (1 if kind == "ADD" else -1)
        course.steps.append(step)
    course.steps += _end(draw, held, draw(st.sampled_from(["CLOSE", "VENUE", "VENUE", "NONE"])))
    return course


def _order(draw: st.DrawFn, kind: str, size: int) -> Step:
    """An order that is executed at once or in two parts; the rest of some is cancelled. The venue's own are whole."""
    first = draw(st.integers(1, size))
    sizes = [first] if first == size else [first, size - first]
    parts = [Part(each, draw(PRICES), draw(MINUTES), draw(st.sampled_from([None, True]))) for each in sizes]
    if kind == "VENUE_REDUCES":
        return Step(kind, parts, reason="manual")
    left_over = draw(st.sampled_from([0, 0, 0, 3]))
    if kind == "CLOSE" and len(parts) > 1 and draw(st.booleans()):
        left_over = parts.pop().size
    return Step(kind, parts, left_over, accepted=draw(st.sampled_from([False, False, True])))


def _funding(draw: st.DrawFn) -> Step:
    return Step("FUNDING", [Part(0, 0, draw(MINUTES))], amount=draw(PAYMENTS))


def _end(draw: st.DrawFn, held: int, by: str) -> list[Step]:
    """All that is held leaves; what an order of ours does not take, the venue does. Funding may be due on the close."""
    if by == "NONE":
        return []
    steps = [_order(draw, "CLOSE", held)] if by == "CLOSE" else []
    held -= sum(part.size for step in steps for part in step.parts)
    if held:
        reason = draw(st.sampled_from(["stop_loss", "take_profit", "liquidation", "manual", "trailing_stop"]))
        steps.append(Step("VENUE", [Part(held, draw(PRICES), draw(MINUTES))], reason=reason))
    if draw(st.sampled_from([False, False, True])):
        steps.append(Step("FUNDING", [Part(0, 0, 0)], amount=draw(PAYMENTS)))
    return steps


class Telling:
    """A course as the venue tells it: our orders, and its messages as they happened."""

    def __init__(self, course: Course) -> None:
        self.side = course.side
        self.at, self.held, self.cost = NOON, D(0), D(0)
        self.orders: list[Order] = []
        self.messages: list[Message] = []
        for number, step in enumerate(course.steps):
            self._tell(step, number)

    def _tell(self, step: Step, number: int) -> None:
        if step.kind == "FUNDING":
            self.at += timedelta(minutes=step.parts[0].minutes)
            paid = {"pos_side": self.side, "amount_usd": step.amount, "paid_at": zulu(self.at)}
            self.messages.append(FundingPayment.model_validate(funding_payload(**paid)))
        elif step.kind.startswith("VENUE"):
            for part in step.parts:
                self._fill(None, step, part, D(part.size), last=True)
        else:
            self._tell_order(self._write(step, number), step)

    def _write(self, step: Step, number: int) -> Order:
        """No two orders have anything in common that a trade takes from them."""
        action = f"OPEN_{self.side.upper()}" if step.kind == "OPEN" else step.kind
        size = sum(part.size for part in step.parts) + step.left_over
        decision = {"strategy_used": f"strategy {number}", "confidence": number / 10, "reasoning": f"reason {number}"}
        order = sent_order(
            action, str(size), pos_side=self.side, leverage=D(1 + number), size_pct=D(1 + number) / 100,
            stop_loss=D(18_000 + number) if step.enters else None,
            take_profit=D(22_000 + number) if step.enters else None,
            cycle_changes={"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON, "decision": decision},
        )  # fmt: skip
        self.orders.append(order)
        return order

    def _tell_order(self, order: Order, step: Step) -> None:
        if step.accepted:
            self._notice(order, "accepted", D(0))
        done = D(0)
        for place, part in enumerate(step.parts, 1):
            done += part.size
            self._fill(order, step, part, done, last=place == len(step.parts) and not step.left_over)
        if step.left_over:
            self._notice(order, "cancelled", done)

    def _notice(self, order: Order, status: str, done: Decimal) -> None:
        told = NOTHING_FILLED | {"status": status, "cumulative_size": str(done), "filled_at": zulu(self.at)}
        self.messages.append(TradeFill.model_validate(fill_payload(order, **told, order_id=f"venue-{order.pk}")))

    def _fill(self, order: Order | None, step: Step, part: Part, done: Decimal, *, last: bool) -> None:
        self.at += timedelta(minutes=part.minutes)
        size, intent, pnl = D(part.size), step.kind.lower(), None
        if step.enters:
            self.held, self.cost = self.held + size, self.cost + size * part.price / 100
        else:
            pnl = self._profit(size, part.price)
            intent = "reduce" if self.held else "close"
        side = "buy" if (self.side == "long") == step.enters else "sell"
        told = {
            "pos_side": self.side, "side": side, "intent": intent, "order_id": f"venue-{order.pk if order else 0}",
            "status": "filled" if last else "partially_filled", "fill_price": str(part.price), "fill_size": str(size),
            "fee_usd": "0.10005", "pnl_usd": pnl, "cumulative_size": str(done), "filled_at": zulu(self.at),
            "stop_confirmed": part.confirmed, "exit_reason": None if step.enters else step.reason or "signal",
        }  # fmt: skip
        self.messages.append(TradeFill.model_validate(fill_payload(order, **told)))

    def _profit(self, size: Decimal, price: int) -> str:
        """By average cost, as a venue works it out."""
        share = self.cost if size == self.held else self.cost * size / self.held
        gain = size * price / 100 - share
        self.held, self.cost = self.held - size, self.cost - share
        return str((gain if self.side == "long" else -gain).quantize(STEP))


# --- how we hear of it ------------------------------------------------------------------------------------------------


@dataclass(order=True)
class Event:
    """A message comes in, a position update tells of the first `place` messages, or a round is made over what waits,
    now or so much later that patience is over."""

    due: int
    number: int
    kind: Literal["message", "update", "round", "late round"] = field(compare=False)
    place: int = field(default=0, compare=False)
    delivery: int = field(default=1, compare=False)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Course, list[Event]]:
    """A course, and how its messages come in."""
    course = draw(courses())
    numbers, copies, delays = count(), st.sampled_from([0, 1, 1, 1, 2]), st.sampled_from([0, 0, 1, 2, 4, 7])
    events = [
        Event(place + draw(delays), next(numbers), "message", place)
        for place in range(course.messages)
        for _ in range(draw(copies))
    ]
    moments = st.integers(0, course.messages + 7)
    for kind in draw(st.lists(st.sampled_from(["update", "update", "round", "late round"]), max_size=3)):
        events.append(Event(draw(moments), next(numbers), kind, draw(st.integers(1, course.messages))))
    return course, events


def hear(messages: Sequence[Message], events: Sequence[Event]) -> None:
    """All of it in turn, and in the end an update that tells everything."""
    coming, numbers = list(events), count(len(events))
    heapq.heapify(coming)
    while coming:
        event = heapq.heappop(coming)
        if event.kind == "message":
            again = not _delivered(messages[event.place], last_try=event.delivery >= MOST_DELIVERIES)
            if again:
                later = Event(event.due + 1, next(numbers), "message", event.place, event.delivery + 1)
                heapq.heappush(coming, later)
        elif event.kind == "update":
            _update(messages[: event.place])
        else:
            fills.settle_waiting(datetime.now(UTC) + timedelta(hours=event.kind == "late round"))
    for _ in range(2):
        _update(messages)
        fills.settle_waiting(datetime.now(UTC))


def _delivered(message: Message, *, last_try: bool) -> bool:
    try:
        _book(message, last_try=last_try)
    except AlreadyBooked:
        return True
    except OutOfTurn:
        return False
    return True


@transaction.atomic
def _book(message: Message, *, last_try: bool = False) -> None:
    if isinstance(message, TradeFill):
        fills.book_fill(message, last_try=last_try)
    else:
        funding.book(message)


@transaction.atomic
def _update(messages: Sequence[Message]) -> None:
    recent_fills.book(recent_fills.not_booked(messages))


# --- what became of it ------------------------------------------------------------------------------------------------


def snapshots() -> list[MarketRecord]:
    """With indicators that tell one from the other."""
    return [_snapshot(minute) for minute in (0, 3, 9, 20)]


def _snapshot(minute: int) -> MarketRecord:
    at = NOON + timedelta(minutes=minute)
    frames = {frame: indicators(rsi_14=50.0 + minute) for frame in ("15m", "1H", "4H")}
    return MarketRecord(symbol=BTC, at=at, price=20_000, payload=snapshot_payload(BTC, at, indicators=frames))


def in_order_and_as_heard(course: Course, events: Sequence[Event]) -> None:
    """Book a course as it happened and check its sums, then as it was heard of, and compare. Leaves nothing behind."""
    with transaction.atomic():
        told = Telling(course)
        with transaction.atomic():
            for message in told.messages:
                _book(message)
            ordered = record()
            check_sums(told.messages)
            transaction.set_rollback(True)
        hear(told.messages, events)
        assert record() == ordered
        transaction.set_rollback(True)


def record() -> dict[str, Any]:
    """All that follows from the venue's word: trades, orders, and what was booked on which trade."""
    trades = list(Trade.objects.order_by("opened_at", "id"))
    places: dict[int | None, int] = {trade.pk: place for place, trade in enumerate(trades)}
    booked = Fill.objects.values_list("fill_id", "trade_id", "waiting")
    paid = BookedPayment.objects.values_list("funding_id", "trade_id")
    names = ("pk", "status", "filled_size", "reason", "venue_order_id")
    return {
        "trades": [_figures(trade) for trade in trades],
        "orders": {order.pk: [getattr(order, name) for name in names] for order in Order.objects.all()},
        "of orders": {order.pk: places.get(order.trade_id) for order in Order.objects.all()},
        "fills": {fill_id: (places.get(trade), waiting) for fill_id, trade, waiting in booked},
        "funding": {funding_id: places.get(trade) for funding_id, trade in paid},
        "overfilled": alerts("overfilled"),
    }


def _figures(trade: Trade) -> dict[str, Any]:
    own = ("id", "trade_id", "created_at", "updated_at", "stop_confirmed_at")
    figures = {each.name: getattr(trade, each.name) for each in Trade._meta.concrete_fields if each.name not in own}
    return figures | {"stop_confirmed": trade.stop_confirmed_at is not None}


def check_sums(messages: Sequence[Message]) -> None:
    """The one trade has what its messages add up to."""
    executed = [each for each in messages if isinstance(each, TradeFill) and each.executed]
    entries = [each for each in executed if each.pnl_usd is None]
    entered = sum((each.fill_size or D(0) for each in entries), D(0))
    value = sum(((each.fill_price or D(0)) * (each.fill_size or D(0)) for each in entries), D(0)) / 100
    left = entered - sum((each.fill_size or D(0) for each in executed if each not in entries), D(0))
    trade = Trade.objects.get()
    assert (trade.size, trade.open_size, trade.entry_value) == (entered, left, value)
    assert trade.entry_price == (value * 100 / entered).quantize(D("0.00000001"))
    assert trade.gross_pnl_usd == sum((each.pnl_usd or D(0) for each in executed), D(0))
    assert trade.fees_usd == len(executed) * D("0.10005").quantize(STEP)
    assert trade.funding_usd == (BookedPayment.objects.aggregate(total=Sum("amount_usd"))["total"] or 0)
    assert trade.status == ("open" if left else "closed")
    if not left:
        assert trade.pnl_usd == trade.gross_pnl_usd - trade.fees_usd + trade.funding_usd
