"""What decisions left behind, from the snapshot to the last fill: as many queries for one cycle as for ten."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from django.db.models import Model, Q

from decisions.models import DecisionCycle, Fill, FundingPayment, ModelCall, Order, OrderTransition, ScreenerLog
from journal.models import Trade
from risk.models import Verdict

Row = TypeVar("Row", bound=Model)
MOST_CYCLES = 6
"""Cycles of a trade that are told whole: the one that opened it and the newest ones."""
UNTOLD = ("positions", "account")
"""Long columns of a cycle that a trade's page does not show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Cycles, oldest first, and their rows by the cycle's id, the verdicts by the decision's.

    Of a trade that many cycles changed `left_out` are not among them.
    """

    cycles: Sequence[DecisionCycle]
    screenings: Mapping[int, Sequence[ScreenerLog]]
    calls: Mapping[int, Sequence[ModelCall]]
    verdicts: Mapping[UUID, Verdict]
    orders: Sequence[Order]
    transitions: Mapping[int, Sequence[OrderTransition]]
    fills: Sequence[Fill]
    funding: Sequence[FundingPayment] = ()
    left_out: int = 0
    of_trade: bool = False

    @property
    def all_calls(self) -> list[ModelCall]:
        return [call for cycle in self.cycles for call in self.calls.get(cycle.pk, ())]


def chain_of_cycle(cycle: DecisionCycle) -> Chain:
    """All that a cycle left."""
    orders = list(cycle.orders.order_by("id"))
    return _chain([cycle], orders, list(Fill.objects.filter(order__in=orders).order_by("filled_at", "id")))


def chain_of_trade(trade: Trade) -> Chain:
    """All that made a trade: the decisions behind it, its orders, fills and funding."""
    orders = list(trade.orders.order_by("id"))
    decided = Q(decision_id=trade.decision_id) | Q(pk__in=[order.cycle_id for order in orders])
    cycles = list(DecisionCycle.objects.filter(decided).defer(*UNTOLD).order_by("slot_at", "id"))
    told = cycles if len(cycles) <= MOST_CYCLES else [cycles[0], *cycles[1 - MOST_CYCLES :]]
    fills = list(trade.fills.order_by("filled_at", "id"))
    funding = list(trade.funding_payments.order_by("paid_at", "id"))
    chain = _chain(told, orders, fills)
    return replace(chain, funding=funding, left_out=len(cycles) - len(told), of_trade=True)


def _chain(cycles: Sequence[DecisionCycle], orders: Sequence[Order], fills: Sequence[Fill]) -> Chain:
    decided = [cycle.decision_id for cycle in cycles]
    return Chain(
        cycles=cycles,
        screenings=_by(ScreenerLog.objects.filter(cycle__in=cycles).order_by("id"), "cycle_id"),
        calls=_by(ModelCall.objects.filter(cycle__in=cycles).order_by("id"), "cycle_id"),
        verdicts={verdict.decision_id: verdict for verdict in Verdict.objects.filter(decision_id__in=decided)},
        orders=orders,
        transitions=_by(OrderTransition.objects.filter(order__in=orders).order_by("id"), "order_id"),
        fills=fills,
    )


def _by(rows: Iterable[Row], name: str) -> Mapping[int, Sequence[Row]]:
    """The rows by a column of theirs."""
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, name)].append(row)
    return groups
