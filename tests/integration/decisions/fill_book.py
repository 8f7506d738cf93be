"""What the venue may do with a position or two in a row, and what may befall the messages about them, as hypothesis
makes it up.

A course is an opening in parts, additions, reductions, funding, an end by an order of ours, by the venue, or none. Of
two the second begins when the first has ended, on the same side or the other. An interleaving is how the messages reach
us: each delayed by some places, some never, some twice; between them position updates that tell of what had happened up
to then, and rounds over what waits. One that comes out of turn is delivered again as the consumer does it, to the last
try. Our orders are written when they are first heard of, or all before.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Literal

from django.db import transaction
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
"""From so many on nothing is added to a position's course but its end."""
Message = TradeFill | FundingPayment
Kind = Literal["message", "update", "round", "late round"]
BETWEEN: tuple[Kind, ...] = ("update", "update", "round", "late round")


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
LATER = st.sampled_from([1, 1, 7])
PAYMENTS = st.sampled_from(["-0.05", "0.00025", "-0.1"])
SIDES = st.sampled_from(["long", "short"])


@st.composite
def courses(draw: st.DrawFn) -> list[Course]:
    """What happens to one position, or to two in a row."""
    if draw(st.booleans()):
        return [_course(draw, draw(st.sampled_from(["CLOSE", "VENUE", "VENUE", "NONE"])))]
    first = _course(draw, draw(st.sampled_from(["CLOSE", "VENUE"])))
    second = _course(draw, draw(st.sampled_from(["CLOSE", "VENUE", "NONE"])))
    _tell_apart(draw, first, second)
    return [first, second]


def _course(draw: st.DrawFn, end: str) -> Course:
    """A side, and what happens to the position."""
    course = Course(draw(SIDES), [_order(draw, "OPEN", draw(st.integers(1, 6)))])
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
    course.steps += _end(draw, held, end)
    return course


def _tell_apart(draw: st.DrawFn, first: Course, second: Course) -> None:
    """What names no order is told apart by its time alone: into the moment in which the second position begins falls no
    payment, and none of the venue's exits from that position."""
    if any(step.kind == "FUNDING" for step in (*first.steps, *second.steps)):
        second.steps[0].parts[0].minutes = draw(LATER)
    for step in second.steps[1:]:
        if step.kind.startswith("VENUE"):
            step.parts[0].minutes = max(step.parts[0].minutes, 1)


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
    """Courses as the venue tells them: our orders, and its messages as they happened."""

    def __init__(self, positions: Sequence[Course]) -> None:
        self.at, self.held, self.cost = NOON, D(0), D(0)
        self.orders: dict[int, Order] = {}
        """By the place of the first message that tells of it."""
        self.messages: list[Message] = []
        self.ends: list[int] = []
        """For each position the place after its last message."""
        numbers = count()
        for course in positions:
            self.side = course.side
            for step in course.steps:
                self._tell(step, next(numbers))
            self.ends.append(len(self.messages))
        Order.objects.all().delete()

    def write_orders(self, place: int) -> None:
        """Write the orders that the first so many messages tell of, where they are not yet."""
        due = [order for first, order in self.orders.items() if first < place]
        Order.objects.bulk_create(due, ignore_conflicts=True)

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
        decision = {"strategy_used": f"strategy {number}", "confidence": number / 20, "reasoning": f"reason {number}"}
        order = sent_order(
            action, str(size), pos_side=self.side, leverage=D(1 + number), size_pct=D(1 + number) / 100,
            stop_loss=D(18_000 + number) if step.enters else None,
            take_profit=D(22_000 + number) if step.enters else None,
            cycle_changes={"state": State.DONE, "outcome": Outcome.TRADED, "finished_at": NOON, "decision": decision},
        )  # fmt: skip
        self.orders[len(self.messages)] = order
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
    kind: Kind = field(compare=False)
    place: int = field(default=0, compare=False)
    delivery: int = field(default=1, compare=False)


@dataclass
class Hearing:
    """How the messages come in. `foreseen`: all orders are written before."""

    events: list[Event]
    foreseen: bool


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Course], Hearing]:
    """The courses, and how we hear of them."""
    positions = draw(courses())
    messages = sum(course.messages for course in positions)
    numbers, copies, delays = count(), st.sampled_from([0, 1, 1, 1, 2]), st.sampled_from([0, 0, 1, 2, 4, 7])
    events = [
        Event(place + draw(delays), next(numbers), "message", place)
        for place in range(messages)
        for _ in range(draw(copies))
    ]
    moments = st.integers(0, messages + 7)
    for kind in draw(st.lists(st.sampled_from(BETWEEN), max_size=3)):
        events.append(Event(draw(moments), next(numbers), kind, draw(st.integers(1, messages))))
    return positions, Hearing(events, draw(st.booleans()))


def hear(told: Telling, hearing: Hearing) -> None:
    """All of it in turn, and in the end updates that tell everything."""
    messages, coming, numbers = told.messages, list(hearing.events), count(len(hearing.events))
    heapq.heapify(coming)
    while coming:
        event = heapq.heappop(coming)
        told.write_orders(len(messages) if hearing.foreseen else event.place + 1)
        if event.kind == "message":
            again = not _delivered(messages[event.place], last_try=event.delivery >= MOST_DELIVERIES)
            if again:
                later = Event(event.due + 1, next(numbers), "message", event.place, event.delivery + 1)
                heapq.heappush(coming, later)
        elif event.kind == "update":
            _update(messages[: event.place])
        else:
            fills.settle_waiting(datetime.now(UTC) + timedelta(hours=event.kind == "late round"))
    told.write_orders(len(messages))
    for last_try in (False, False, True, True):
        _update(messages, last_try=last_try)
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
def _update(messages: Sequence[Message], *, last_try: bool = False) -> None:
    recent_fills.book(recent_fills.not_booked(messages), last_try=last_try)


# --- what became of it ------------------------------------------------------------------------------------------------


def snapshots() -> list[MarketRecord]:
    """With indicators that tell one from the other."""
    return [_snapshot(minute) for minute in (0, 3, 9, 20)]


def _snapshot(minute: int) -> MarketRecord:
    at = NOON + timedelta(minutes=minute)
    frames = {frame: indicators(rsi_14=50.0 + minute) for frame in ("15m", "1H", "4H")}
    return MarketRecord(symbol=BTC, at=at, price=20_000, payload=snapshot_payload(BTC, at, indicators=frames))


def in_order_and_as_heard(positions: Sequence[Course], hearing: Hearing) -> None:
    """Book the courses as they happened and check their sums, then as they were heard of, and compare. Leaves nothing
    behind."""
    with transaction.atomic():
        told = Telling(positions)
        with transaction.atomic():
            for place, message in enumerate(told.messages, 1):
                told.write_orders(place)
                _book(message)
            ordered = record()
            check_sums(told)
            transaction.set_rollback(True)
        hear(told, hearing)
        assert record() == ordered
        transaction.set_rollback(True)


def record() -> dict[str, Any]:
    """All that follows from the venue's word: trades, orders, and what was booked on which trade."""
    trades = list(Trade.objects.order_by("opened_at", "decision_id"))
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


def check_sums(told: Telling) -> None:
    """Each trade has what the messages about its position add up to."""
    trades = Trade.objects.order_by("id")
    for trade, begin, end in zip(trades, [0, *told.ends], told.ends, strict=False):
        _check_sums(trade, told.messages[begin:end])
    assert len(trades) == len(told.ends)


def _check_sums(trade: Trade, messages: Sequence[Message]) -> None:
    executed = [each for each in messages if isinstance(each, TradeFill) and each.executed]
    entries = [each for each in executed if each.pnl_usd is None]
    entered = sum((each.fill_size or D(0) for each in entries), D(0))
    value = sum(((each.fill_price or D(0)) * (each.fill_size or D(0)) for each in entries), D(0)) / 100
    left = entered - sum((each.fill_size or D(0) for each in executed if each not in entries), D(0))
    assert (trade.size, trade.open_size, trade.entry_value) == (entered, left, value)
    assert trade.entry_price == (value * 100 / entered).quantize(D("0.00000001"))
    assert trade.gross_pnl_usd == sum((each.pnl_usd or D(0) for each in executed), D(0))
    assert trade.fees_usd == len(executed) * D("0.10005").quantize(STEP)
    paid = [each.amount_usd.quantize(STEP) for each in messages if isinstance(each, FundingPayment)]
    assert trade.funding_usd == sum(paid, D(0))
    assert trade.status == ("open" if left else "closed")
    if not left:
        assert trade.pnl_usd == trade.gross_pnl_usd - trade.fees_usd + trade.funding_usd
