"""How far the price went against a trade and in its favour while the position was open. Pure.

Maximum adverse and maximum favourable excursion (J. Sweeney, "Maximum Adverse Excursion: Analyzing Price Fluctuations
for Trading Management", Wiley, 1997) of a price p at a moment t, for a long position:

    excursion(t) = (p - entry(t)) / entry(t)

and its negative for a short one; the adverse excursion is the smallest value, zero or below, the favourable one the
largest, zero or above. `entry(t)` is what the open position had cost a contract at that moment: an addition changes
the average from its own moment on and not before, so that no price counts as adverse which never was. An exit leaves
the average as it is. Executions are prices too, the first entry and the last exit included: an addition counts once
against the old average and once against the new one.

In R, multiples of what was risked (V. K. Tharp, "Trade Your Way to Financial Freedom", McGraw-Hill, 1998):

    (p - entry(t)) / |price of the first entry - stop|

with the stop that the trade was opened with. Stops that were drawn closer later, and those of additions, do not change
what one R is. Fees and funding are not in it: this is about prices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from journal.cost_basis import ZERO, Execution, in_turn
from journal.performance.values import Figure, Undefined


@dataclass(frozen=True, slots=True)
class RecordedPrice:
    """An instrument's price at a moment of market time."""

    at: datetime
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion:
    """Fractions of the entry price and multiples of R; a figure without a value says why.

    The moments are those at which the extremes were first seen. `risk` is one R as a fraction of the first entry price.
    `recorded` prices were looked at, executions not counted.
    """

    adverse: Figure
    favourable: Figure
    adverse_r: Figure
    favourable_r: Figure
    risk: Figure
    adverse_at: datetime | None = None
    favourable_at: datetime | None = None
    recorded: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """A price while the position was open: its distance from the average entry, in its favour, and that average."""

    at: datetime
    gain: Decimal
    entry: Decimal

    @property
    def share(self) -> Decimal:
        return self.gain / self.entry


def excursion(
    executions: Iterable[Execution],
    prices: Iterable[RecordedPrice],
    *,
    stop_loss: Decimal | None,
    longest_gap: timedelta,
) -> Excursion:
    """The excursions of one closed trade, from all its executions and the prices recorded meanwhile.

    Order does not matter; prices before the first execution or after the last one are left out. A stretch without any
    price that is longer than `longest_gap` may hide the extreme: then there are no figures but the reason. A trade
    shorter than that is known from its executions alone.
    """
    executions = in_turn(executions)
    try:
        within = _within(executions, prices)
        _refuse_gaps(executions, within, longest_gap)
        seen = _seen(executions, within)
    except Undefined as undefined:
        none = Figure(None, str(undefined))
        return Excursion(adverse=none, favourable=none, adverse_r=none, favourable_r=none, risk=none)
    lowest, highest = min(seen, key=lambda each: each.share), max(seen, key=lambda each: each.share)
    risk = _risk(executions[0], stop_loss)
    return Excursion(
        adverse=Figure(lowest.share),
        favourable=Figure(highest.share),
        adverse_r=_in_r(min(each.gain for each in seen), risk, executions[0].price),
        favourable_r=_in_r(max(each.gain for each in seen), risk, executions[0].price),
        risk=risk,
        adverse_at=lowest.at,
        favourable_at=highest.at,
        recorded=len(within),
    )


def _within(executions: Sequence[Execution], prices: Iterable[RecordedPrice]) -> list[RecordedPrice]:
    if not executions or executions[0].is_exit:
        raise Undefined("its first entry is not recorded")
    if not executions[-1].is_exit:
        raise Undefined("its last exit is not recorded")
    first, last = executions[0].at, executions[-1].at
    return sorted((each for each in prices if first <= each.at <= last), key=lambda each: each.at)


def _refuse_gaps(executions: Sequence[Execution], prices: Sequence[RecordedPrice], longest: timedelta) -> None:
    moments = sorted([each.at for each in executions] + [each.at for each in prices])
    for before, after in pairwise(moments):
        if after - before > longest:
            raise Undefined(f"no price was recorded from {before:%Y-%m-%d %H:%M:%S} to {after:%Y-%m-%d %H:%M:%S}")


def _seen(executions: Sequence[Execution], prices: Sequence[RecordedPrice]) -> list[_Seen]:
    """Every price against the average entry of its moment; at one moment the record comes before the execution."""
    side = 1 if executions[0].direction == "LONG" else -1
    held, cost = executions[0].size, executions[0].price * executions[0].size
    seen = [_Seen(executions[0].at, ZERO, executions[0].price)]
    events: list[RecordedPrice | Execution] = sorted([*prices, *executions[1:]], key=lambda each: each.at)
    for event in events:
        if held <= 0:
            raise Undefined("more left it than is known to have been entered")
        entry = cost / held
        seen.append(_Seen(event.at, side * (event.price - entry), entry))
        if isinstance(event, RecordedPrice):
            continue
        if not event.is_exit:
            held, cost = held + event.size, cost + event.price * event.size
            seen.append(_Seen(event.at, side * (event.price - cost / held), cost / held))
        else:
            held, cost = held - event.size, cost - entry * event.size
    if held != 0:
        raise Undefined("what left it is not what was entered")
    return seen


def _risk(first: Execution, stop: Decimal | None) -> Figure:
    if stop is None:
        return Figure(None, "it was opened without a stop")
    distance = first.price - stop if first.direction == "LONG" else stop - first.price
    if distance <= 0:
        return Figure(None, f"its stop at {stop} was not behind its entry at {first.price}")
    return Figure(distance / first.price)


def _in_r(gain: Decimal, risk: Figure, first_price: Decimal) -> Figure:
    return risk if risk.value is None else Figure(gain / (risk.value * first_price))
