"""The account's risk state: its row under lock, the halts that stand, and both as the gate reads them.

The row lock is what keeps two instruments from using the same room, what orders the chain of verdicts, and what a halt
and an order about to be sent wait for one another on.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from risk import gate
from risk.models import Halt, RiskState

ACCOUNT = "main"


@dataclass(frozen=True, slots=True)
class RiskNotice:
    """Something a person should be told, for the caller to publish."""

    severity: Literal["INFO", "WARN", "CRITICAL"]
    category: str
    title: str
    detail: str
    action_taken: str


def lock_state() -> RiskState:
    """The account's risk state, locked until the transaction ends; made as found at the first use."""
    locked = RiskState.objects.select_for_update().filter(account=ACCOUNT)
    if (state := locked.first()) is None:
        RiskState.objects.get_or_create(account=ACCOUNT)
        state = locked.get()
    return state


def standing_halts(now: datetime | None = None) -> list[Halt]:
    """The halts that stand, oldest first; at market time `now`, without those that are over by themselves by then."""
    standing = Halt.objects.filter(account=ACCOUNT, ended_at__isnull=True)
    if now is not None:
        standing = standing.exclude(until__lte=now)
    return list(standing.order_by("id"))


def openings_blocked(now: datetime) -> tuple[Literal["halted", "cooldown"], str] | None:
    """Why nothing may be opened at market time `now`, or None. A look without the lock, to spare work early: the gate
    decides under it."""
    if halts := standing_halts(now):
        return "halted", "; ".join(f"{halt.kind}: {halt.reason}" for halt in halts)
    state = RiskState.objects.filter(account=ACCOUNT, cooldown_until__gt=now).first()
    if state is not None:
        return (
            "cooldown",
            f"{state.loss_streak or 'several'} losses in a row: cooling down until {state.cooldown_until:%H:%M} UTC",
        )
    return None


def gate_state(state: RiskState) -> gate.RiskState:
    """The row as the gate's value."""
    return gate.RiskState(
        day_start_equity=_known(state.day_start_equity),
        day_net_transfers=Decimal(state.net_transfers - state.day_start_transfers),
        peak_equity=_known(state.peak_equity),
        peak_net_transfers=Decimal(state.net_transfers - state.peak_transfers),
        loss_streak=state.loss_streak,
        cooldown_until=state.cooldown_until,
        halts=tuple(
            gate.Halt(kind=halt.kind, reason=halt.reason, since=halt.started_at, until=halt.until)
            for halt in standing_halts()
        ),
    )


def gate_account(state: RiskState) -> gate.Account:
    """The account's money as last reported."""
    return gate.Account(equity=_known(state.equity))


def _known(equity: Decimal | None) -> Decimal:
    """An equity nobody has reported yet is NaN to the gate, which opens nothing on it."""
    return Decimal("NaN") if equity is None else equity
