"""The gate's shell: the account as it is reported, and the record of every verdict.

Everything here is called inside a transaction that holds `lock_state`. What the apps above need of the risk state, its
halts and the loss streak is to be had from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings

from risk import gate
from risk.drill import Finding, drill
from risk.halts import Refused, begin_halt, halt, lift_ended_halts, record_action, resume
from risk.models import RiskRejection, RiskState, Verdict
from risk.state import (
    ACCOUNT,
    RiskNotice,
    gate_account,
    gate_state,
    lock_state,
    openings_blocked,
    standing_halts,
)
from risk.streak import on_trade_closed
from risk.verification import FIRST_HASH, chained_hash

__all__ = [
    "ACCOUNT",
    "FIRST_HASH",
    "Judged",
    "Refused",
    "RiskNotice",
    "begin_halt",
    "chained_hash",
    "drill_limits",
    "gate_account",
    "gate_state",
    "halt",
    "judge",
    "lock_state",
    "on_account_update",
    "on_trade_closed",
    "openings_blocked",
    "record_action",
    "resume",
    "standing_halts",
    "weigh",
]

DAY_START_TOLERANCE = timedelta(minutes=15)


# --- the account ------------------------------------------------------------------------------------------------------


def on_account_update(
    state: RiskState, *, equity: Decimal, net_transfers: Decimal, as_of: datetime, clock_set_back: bool = False
) -> list[RiskNotice]:
    """Take in the account as reported at market time `as_of`; judge daily loss and drawdown at once.

    The first report ever is adopted as found. Reports older than the newest one change nothing: when the venue's clock
    jumps back, the account stands still until it has caught up, and its positions grow too old to open anything on.
    Unless `clock_set_back` says that the newest one lies ahead of our own clock: then this one is newer, and the day
    that has begun goes on, also where its midnight comes a second time.
    When it jumps ahead, the day it names begins and the daily halt of the day before ends; live, that is by less than
    the minute by which a report may be ahead of us at all, since one from further ahead is refused before it comes
    here.
    """
    if state.equity_at is not None and as_of < state.equity_at and not clock_set_back:
        return []
    notices = [_adopted(equity, as_of)] if state.equity_at is None else []
    _begin_day(state, equity, net_transfers, as_of)
    if state.peak_equity is None or equity - net_transfers > state.peak_equity - state.peak_transfers:
        state.peak_equity, state.peak_transfers = equity, net_transfers
    state.equity, state.net_transfers, state.equity_at = equity, net_transfers, as_of
    notices += lift_ended_halts(as_of)
    notices += _judge_account(state, as_of)
    state.save()
    return notices


def _adopted(equity: Decimal, as_of: datetime) -> RiskNotice:
    return RiskNotice(
        "INFO",
        "risk_account_adopted",
        f"Account adopted: equity {equity} USD",
        f"The first report, as of {as_of:%Y-%m-%d %H:%M} UTC: today's loss and the drawdown are measured from it",
        "None",
    )


def _begin_day(state: RiskState, equity: Decimal, net_transfers: Decimal, as_of: datetime) -> None:
    """At the first report of a new UTC day take its start: the last report at or before midnight if it is at most
    15 minutes old then, else this one."""
    today = as_of.astimezone(UTC).date()
    if state.day is not None and today < state.day:
        return
    midnight = datetime.combine(today, datetime.min.time(), tzinfo=UTC)
    if today == state.day and as_of > midnight:
        return  # of several reports as of midnight itself the last one counts
    fresh = state.equity_at is not None and midnight - state.equity_at <= DAY_START_TOLERANCE
    if as_of > midnight and fresh:
        state.day_start_equity, state.day_start_transfers = state.equity, state.net_transfers
    else:
        state.day_start_equity, state.day_start_transfers = equity, net_transfers
    state.day = today


def _judge_account(state: RiskState, now: datetime) -> list[RiskNotice]:
    notices = []
    for result in gate.account_halts(gate_account(state), gate_state(state), settings.RISK_LIMITS):
        if result.verdict == "halt":
            notices += begin_halt(result.rule, result.reason, now=now, by="risk gate")
        elif result.verdict == "warn" and state.warned_on.get(result.rule) != str(state.day):
            state.warned_on = {**state.warned_on, result.rule: str(state.day)}
            title = f"Close to the limit: {result.rule}"
            notices.append(RiskNotice("WARN", f"risk_{result.rule}", title, result.reason, "None yet"))
    return notices


# --- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict with what a caller has to do about it."""

    verdict: gate.Verdict
    record: Verdict
    notices: list[RiskNotice]


def judge(
    state: RiskState,
    *,
    decision_id: UUID,
    cycle_number: int | None,
    decision: Mapping[str, Any],
    proposal: gate.Proposal,
    equity: Decimal,
    positions: Sequence[gate.Position],
    pending: Sequence[gate.PendingOrder],
    correlations: Mapping[str, Decimal | None],
    instrument: gate.Instrument,
    now: datetime,
) -> Judged:
    """Judge a proposal with the effective limits, and record what was shown and what was said.

    `cycle_number` is None for a close that no cycle asked for.
    """
    inputs, verdict = weigh(
        proposal=proposal,
        account=gate.Account(equity=equity),
        positions=tuple(positions),
        pending=tuple(pending),
        state=gate_state(state),
        correlations=dict(correlations),
        instrument=instrument,
        now=now,
    )
    record = _record(verdict, gate.inputs_to_dict(**inputs), decision_id, cycle_number, proposal)
    notices = [
        notice for kind, reason in verdict.new_halts for notice in begin_halt(kind, reason, now=now, by="risk gate")
    ]
    if not verdict.approved:
        RiskRejection.objects.create(
            verdict=record,
            decision_json=dict(decision),
            failed_rules=[asdict(result) for result in verdict.refusals],
            account_state={"equity": str(equity)},
        )
    return Judged(verdict=verdict, record=record, notices=notices)


def weigh(
    *,
    proposal: gate.Proposal,
    account: gate.Account,
    positions: tuple[gate.Position, ...],
    pending: tuple[gate.PendingOrder, ...],
    state: gate.RiskState,
    correlations: Mapping[str, Decimal | None],
    instrument: gate.Instrument,
    now: datetime,
) -> tuple[gate.Inputs, gate.Verdict]:
    """The gate's verdict with the limits in force, and the whole of what it was shown. Nothing is recorded."""
    inputs = gate.Inputs(
        proposal=proposal,
        account=account,
        positions=positions,
        pending=pending,
        state=state,
        correlations=correlations,
        instrument=instrument,
        limits=settings.RISK_LIMITS,
        now=now,
    )
    return inputs, gate.evaluate(**inputs)


def drill_limits() -> tuple[Finding, ...]:
    """Probe every limit in force by the function that weighs real proposals."""

    def weighed(**probe: Any) -> gate.Verdict:
        return weigh(**{name: value for name, value in probe.items() if name != "limits"})[1]

    return drill(settings.RISK_LIMITS, weighed)


def _record(
    verdict: gate.Verdict, inputs: dict[str, Any], decision_id: UUID, cycle_number: int | None, proposal: gate.Proposal
) -> Verdict:
    previous = Verdict.objects.order_by("-id").values_list("content_hash", flat=True).first() or FIRST_HASH
    results = verdict.as_dict()
    return Verdict.objects.create(
        decision_id=decision_id,
        cycle_number=cycle_number,
        symbol=proposal.symbol,
        action=proposal.action,
        approved=verdict.approved,
        outcome=verdict.outcome,
        inputs=inputs,
        results=results,
        previous_hash=previous,
        content_hash=chained_hash(previous, decision_id, inputs, results),
    )
