"""The gate's shell: the account's risk state under its lock, halts, and the record of every verdict.

Everything here is called inside a transaction that holds `lock_state`: the row lock is what keeps two instruments from
using the same room, and what orders the chain of verdicts.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from django.conf import settings

from risk import gate
from risk.models import Halt, RiskRejection, RiskState, Verdict

ACCOUNT = "main"
DAY_START_TOLERANCE = timedelta(minutes=15)
FIRST_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class RiskNotice:
    """Something a person should be told, for the caller to publish."""

    severity: Literal["WARN", "CRITICAL"]
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


# --- the account ------------------------------------------------------------------------------------------------------


def on_account_update(
    state: RiskState, *, equity: Decimal, net_transfers: Decimal, as_of: datetime
) -> list[RiskNotice]:
    """Take in the account as reported at market time `as_of`; judge daily loss and drawdown at once.

    Reports older than the newest one change nothing.
    """
    if state.equity_at is not None and as_of < state.equity_at:
        return []
    _begin_day(state, equity, net_transfers, as_of)
    if state.peak_equity is None or equity - net_transfers > state.peak_equity - state.peak_transfers:
        state.peak_equity, state.peak_transfers = equity, net_transfers
    state.equity, state.net_transfers, state.equity_at = equity, net_transfers, as_of
    notices = _lift_ended_halts(as_of)
    notices += _judge_account(state, as_of)
    state.save()
    return notices


def _begin_day(state: RiskState, equity: Decimal, net_transfers: Decimal, as_of: datetime) -> None:
    """At the first report of a new UTC day take its start: the last report at or before midnight if it is at most
    15 minutes old then, else this one."""
    today = as_of.astimezone(UTC).date()
    midnight = datetime.combine(today, datetime.min.time(), tzinfo=UTC)
    if today == state.day and as_of > midnight:
        return  # of several reports as of midnight itself the last one counts
    fresh = state.equity_at is not None and midnight - state.equity_at <= DAY_START_TOLERANCE
    if as_of > midnight and fresh:
        state.day_start_equity, state.day_start_transfers = state.equity, state.net_transfers
    else:
        state.day_start_equity, state.day_start_transfers = equity, net_transfers
    state.day = today


def _lift_ended_halts(now: datetime) -> list[RiskNotice]:
    """End the halts that end by themselves. A daily one ends at midnight; nobody is needed."""
    notices = []
    for halt in standing_halts():
        if halt.until is not None and halt.until <= now:
            end_halt(halt, now=now, by="midnight", reason="the day is over")
            notices.append(
                RiskNotice("WARN", "risk_halt_ended", f"Halt ended: {halt.kind}", halt.reason, "Openings may resume")
            )
    return notices


def _judge_account(state: RiskState, now: datetime) -> list[RiskNotice]:
    account = gate.Account(equity=state.equity or Decimal(0))
    notices = []
    for result in gate.account_halts(account, gate_state(state), settings.RISK_LIMITS):
        if result.verdict == "halt":
            notices += begin_halt(result.rule, result.reason, now=now, by="risk gate")
        elif result.verdict == "warn" and state.warned_on.get(result.rule) != str(state.day):
            state.warned_on = {**state.warned_on, result.rule: str(state.day)}
            notices.append(
                RiskNotice(
                    "WARN", f"risk_{result.rule}", f"Close to the limit: {result.rule}", result.reason, "None yet"
                )
            )
    return notices


def begin_halt(kind: str, reason: str, *, now: datetime, by: str) -> list[RiskNotice]:
    """Make a halt stand. One that stands already is left as it is, and nobody is told twice."""
    until = _next_midnight(now) if kind == Halt.Kind.DAILY_LOSS else None
    halt, created = Halt.objects.get_or_create(
        account=ACCOUNT,
        kind=kind,
        ended_at=None,
        defaults={"reason": reason, "started_at": now, "started_by": by, "until": until},
    )
    if not created:
        return []
    ends = "at 00:00 UTC" if halt.until else "when a person resumes"
    return [
        RiskNotice("CRITICAL", f"risk_{kind}", f"Trading halted: {kind}", reason, f"No openings; the halt ends {ends}")
    ]


def end_halt(halt: Halt, *, now: datetime, by: str, reason: str) -> None:
    """Record that a halt ended, who ended it and why."""
    halt.ended_at, halt.ended_by, halt.end_reason = now, by, reason
    halt.save(update_fields=["ended_at", "ended_by", "end_reason"])


def resume(*, now: datetime, by: str, reason: str) -> list[Halt]:
    """A person lifts the halts that only a person may lift. The daily one stays until midnight. Returns the lifted."""
    lifted = [halt for halt in standing_halts() if halt.kind != Halt.Kind.DAILY_LOSS]
    for halt in lifted:
        end_halt(halt, now=now, by=by, reason=reason)
    return lifted


def _next_midnight(now: datetime) -> datetime:
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, datetime.min.time(), tzinfo=UTC)


# --- trades -----------------------------------------------------------------------------------------------------------


def on_trade_closed(state: RiskState, *, net_pnl_usd: Decimal | None, now: datetime) -> list[RiskNotice]:
    """Count losing trades in a row; at the limit begin the cooldown and count from zero again.

    Anything but a known loss ends the streak.
    """
    limits = settings.RISK_LIMITS
    state.loss_streak = state.loss_streak + 1 if net_pnl_usd is not None and net_pnl_usd < 0 else 0
    notices = []
    if state.loss_streak >= limits.max_consecutive_losses:
        until = now + timedelta(seconds=limits.cooldown_after_loss_streak)
        state.cooldown_until = max(until, state.cooldown_until or until)
        notices.append(
            RiskNotice(
                "WARN",
                "risk_cooldown",
                f"Cooldown after {state.loss_streak} losses in a row",
                f"Openings resume at {state.cooldown_until:%Y-%m-%d %H:%M} UTC",
                "No openings until then",
            )
        )
        state.loss_streak = 0
    state.save()
    return notices


# --- verdicts ---------------------------------------------------------------------------------------------------------


def gate_state(state: RiskState) -> gate.RiskState:
    """The row as the gate's value."""
    return gate.RiskState(
        day_start_equity=_known(state.day_start_equity),
        day_net_transfers=state.net_transfers - state.day_start_transfers,
        peak_equity=_known(state.peak_equity),
        peak_net_transfers=state.net_transfers - state.peak_transfers,
        loss_streak=state.loss_streak,
        cooldown_until=state.cooldown_until,
        halts=tuple(
            gate.Halt(kind=halt.kind, reason=halt.reason, since=halt.started_at, until=halt.until)
            for halt in standing_halts()
        ),
    )


def _known(equity: Decimal | None) -> Decimal:
    """An equity nobody has reported yet is NaN to the gate, which opens nothing on it."""
    return Decimal("NaN") if equity is None else equity


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
    cycle_number: int,
    decision: Mapping[str, Any],
    proposal: gate.Proposal,
    equity: Decimal,
    positions: Sequence[gate.Position],
    pending: Sequence[gate.PendingOrder],
    correlations: Mapping[str, Decimal | None],
    instrument: gate.Instrument,
    now: datetime,
) -> Judged:
    """Judge a proposal with the effective limits, and record what was shown and what was said."""
    inputs: dict[str, Any] = {
        "proposal": proposal,
        "account": gate.Account(equity=equity),
        "positions": tuple(positions),
        "pending": tuple(pending),
        "state": gate_state(state),
        "correlations": dict(correlations),
        "instrument": instrument,
        "limits": settings.RISK_LIMITS,
        "now": now,
    }
    verdict = gate.evaluate(**inputs)
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


def _record(
    verdict: gate.Verdict, inputs: dict[str, Any], decision_id: UUID, cycle_number: int, proposal: gate.Proposal
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


def chained_hash(previous: str, decision_id: UUID, inputs: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """SHA-256 over the previous verdict's hash and this one's whole content as canonical JSON."""
    content = {"previous": previous, "decision_id": str(decision_id), "inputs": inputs, "results": results}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
