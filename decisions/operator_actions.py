"""What a person may do to the trading: halt, resume, close everything. The stream, the admin and the command line all
come here, and each action is kept with name and reason.

Each function is one transaction under the account's lock and returns, in words, what was done; `now` is market time,
`source` a `RiskAction.Source`. They raise `risk.services.Refused`, and then nothing was done.
"""

from datetime import datetime

from django.db import transaction

from decisions import closing, exposure, orders
from decisions.models import OrderKind
from decisions.notices import publish
from risk import gate
from risk import services as risk
from risk.models import RiskAction, RiskState


@transaction.atomic
def halt(*, by: str, reason: str, source: str, now: datetime) -> str:
    """Open nothing more: orders that are not sent yet never will be, resting ones are withdrawn."""
    risk.lock_state()
    done, notices = risk.halt(by=by, reason=reason, source=source, now=now)
    publish(notices)
    orders.withdraw_openings("a person halted trading")
    return done


@transaction.atomic
def resume(*, by: str, reason: str, source: str, now: datetime, rebase_peak: bool = False) -> str:
    """Lift what a person may lift. It also ends a close-all that is still under way."""
    state = risk.lock_state()
    done, notices = risk.resume(state, by=by, reason=reason, source=source, now=now, rebase_peak=rebase_peak)
    publish(notices)
    return done


@transaction.atomic
def close_all(*, by: str, reason: str, source: str, now: datetime) -> str:
    """Halt, and leave every position, those of the venue's report and those of our own record. The orders go out after
    the commit; what comes to nothing is tried again until the positions are gone or a person resumes."""
    halted = halt(by=by, reason=reason, source=source, now=now)
    state = risk.lock_state()
    positions = exposure.positions(closing.reported())
    found = ", ".join(_told(position) for position in positions) or "no position"
    risk.record_action(
        RiskAction.Action.CLOSE_ALL, source=source, by=by, reason=reason, detail=f"Found {found}.", now=now
    )
    publish([risk.RiskNotice("WARN", "risk_close_all", f"Closing everything, by {by}", reason, f"Found {found}")])
    done = [f"{_told(position)}: {_close(state, position, reason, now)}." for position in positions]
    return "\n".join([halted, *(done or ["There is no position to close."])])


def _told(position: gate.Position) -> str:
    return f"{position.symbol} {position.direction} {position.size.normalize():f}"


def _close(state: RiskState, position: gate.Position, reason: str, now: datetime) -> str:
    if closing.exit_in_flight(position.symbol):
        return "an exit is on its way already"
    order = closing.close(state, position, OrderKind.CLOSE_ALL, f"close all: {reason}", now)
    return "closing at market" if order else "the gate refuses to close it, see the alerts"
