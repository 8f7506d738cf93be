"""The record of the gate held against itself and against the orders: nothing was sent that no verdict approved."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet

from decisions.models import DecisionCycle, Order
from risk.models import Verdict
from risk.verification import FIRST_HASH, StoredVerdict, entry, verify

BATCH = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Audit:
    """How much was looked at, and what is wrong, in words."""

    verdicts: int
    orders: int
    faults: tuple[str, ...]


def of_all(progress: Progress | None = None) -> Audit:
    """Every verdict and every order. `progress` is told how many verdicts are done, of how many."""
    verdicts, orders = Verdict.objects.order_by("id"), Order.objects.order_by("id")
    return _audit(verdicts, orders, after=FIRST_HASH, progress=progress)


def of_cycle(cycle: DecisionCycle) -> Audit:
    """The verdict of one cycle, its place in the chain, and its order."""
    verdicts = Verdict.objects.filter(decision_id=cycle.decision_id)
    verdict = verdicts.first()
    before = None if verdict is None else Verdict.objects.filter(id__lt=verdict.pk).order_by("-id").first()
    return _audit(verdicts, Order.objects.filter(cycle=cycle), after=before.content_hash if before else FIRST_HASH)


def _audit(
    verdicts: "QuerySet[Verdict]", orders: "QuerySet[Order]", *, after: str, progress: Progress | None = None
) -> Audit:
    total, order_count = verdicts.count(), orders.count()
    stored = _counted(verdicts.iterator(chunk_size=BATCH), total, progress)
    faults = [str(fault) for fault in verify(map(_stored, stored), after=after)]
    for batch in _batches(orders.iterator(chunk_size=BATCH)):
        approving = Verdict.objects.in_bulk([order.decision_id for order in batch], field_name="decision_id")
        faults += [f"order {order.pk} ({order}): {told}" for order in batch for told in _unlike(order, approving)]
    return Audit(total, order_count, tuple(faults))


def _stored(row: Verdict) -> StoredVerdict:
    return StoredVerdict(
        number=row.pk,
        decision_id=row.decision_id,
        symbol=row.symbol,
        action=row.action,
        approved=row.approved,
        outcome=row.outcome,
        inputs=row.inputs,
        results=row.results,
        previous_hash=row.previous_hash,
        content_hash=row.content_hash,
    )


def _counted(rows: Iterable[Verdict], total: int, progress: Progress | None) -> Iterator[Verdict]:
    for number, row in enumerate(rows, 1):
        yield row
        if progress is not None and (number % BATCH == 0 or number == total):
            progress(number, total)


def _batches(orders: Iterable[Order]) -> Iterator[list[Order]]:
    batch: list[Order] = []
    for order in orders:
        batch.append(order)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _unlike(order: Order, approving: dict[Any, Verdict]) -> Iterator[str]:
    """Where an order says something else than the verdict that let it out."""
    verdict = approving.get(order.decision_id)
    if verdict is None:
        yield "no verdict approved it"
        return
    if not verdict.approved:
        yield f"verdict {verdict.pk} refused it"
        return
    if (verdict.symbol, verdict.action) != (order.symbol, order.action):
        yield f"verdict {verdict.pk} approved {verdict.action} of {verdict.symbol}"
    if (reduce_only := entry(verdict.results, "reduce_only")) is not order.reduce_only:
        yield f"verdict {verdict.pk} approved it with reduce_only {reduce_only}"
    granted = {
        "size": "contracts",
        "leverage": "leverage",
        "limit_price": "limit_price",
        "stop_loss": "stop_loss",
        "take_profit": "take_profit",
    }
    for column, name in granted.items():
        approved, ordered = entry(verdict.results, name), getattr(order, column)
        if _number(approved) != ordered:
            yield f"{column} is {ordered}, verdict {verdict.pk} approved {approved}"


def _number(stored: Any) -> Decimal | None:
    """A figure of a stored verdict; NaN, which equals nothing, for one that is none any more."""
    try:
        return None if stored is None else Decimal(stored)
    except (ArithmeticError, TypeError, ValueError):
        return Decimal("NaN")
