"""A position by its executions, as they happened at the venue, whatever order we heard of them in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Contracts that changed hands at market time `at`.

    `pnl_usd` is the venue's gross figure, null on entries. An exit is not `final` when by the venue's word something is
    left after it: it calls it a reduction.
    """

    fill_id: str = ""
    symbol: str
    direction: Literal["LONG", "SHORT"]
    price: Decimal
    size: Decimal
    fee_usd: Decimal
    pnl_usd: Decimal | None
    at: datetime
    exit_reason: str = ""
    final: bool = True

    @property
    def is_exit(self) -> bool:
        return self.pnl_usd is not None


def in_turn(executions: Iterable[Execution]) -> list[Execution]:
    """As they happened; those of one moment as they are given."""
    return sorted(executions, key=lambda each: each.at)


def exited(executions: Iterable[Execution]) -> Decimal:
    """Contracts that left, by the venue's word; more than were entered while an entry is missing."""
    return sum((each.size for each in executions if each.is_exit), ZERO)


def last_exit(executions: Iterable[Execution]) -> Execution | None:
    """The exit that happened last; of one moment a final one, so that it does not depend on what was heard of first."""
    exits = [each for each in executions if each.is_exit]
    return max(exits, key=lambda each: (each.at, each.final, each.fill_id), default=None)


def own_pnl(
    executions: Sequence[Execution],
    which: Execution,
    *,
    ct_val: Decimal,
    held: Decimal = ZERO,
    cost: Decimal = ZERO,
) -> Decimal | None:
    """Gross P&L in USD of one exit by the average cost of what was open when it happened, not rounded.

    Nothing of the venue's own P&L enters. An exit takes its share of the cost with it: cost x size / open size. `held`
    and `cost` are what was there before the first execution, in contracts and USD. None where more left than is known
    to have been entered: an entry is missing then, and the cost is not known.
    """
    for each in in_turn(executions):
        value = each.price * each.size * ct_val
        if not each.is_exit:
            held, cost = held + each.size, cost + value
            continue
        if each.size > held:
            return None
        share = cost if each.size == held else cost * each.size / held
        if each is which:
            return value - share if each.direction == "LONG" else share - value
        held, cost = held - each.size, cost - share
    return None
