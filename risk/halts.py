"""Halts: begun by the gate or by a person, ended by midnight or by a person, each with name and reason.

Openings need none to stand. Everything here is called under the account's lock.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from risk import gate
from risk.models import Halt, RiskAction, RiskState
from risk.state import ACCOUNT, RiskNotice, gate_account, gate_state, standing_halts


class Refused(ValueError):
    """What a person asked for is not done: the facts stand against it. The text says which, and the cure."""


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
    taken = f"No openings; the halt ends {'at 00:00 UTC' if halt.until else 'when a person resumes'}"
    if kind == Halt.Kind.MANUAL:
        return [RiskNotice("WARN", "risk_manual", f"Trading halted by {by}", reason, taken)]
    return [RiskNotice("CRITICAL", f"risk_{kind}", f"Trading halted: {kind}", reason, taken)]


def lift_ended_halts(now: datetime) -> list[RiskNotice]:
    """End the halts that end by themselves. A daily one ends at midnight; nobody is needed."""
    notices = []
    for halt in standing_halts():
        if halt.until is not None and halt.until <= now:
            _end(halt, now=now, by="midnight", reason="the day is over")
            notices.append(
                RiskNotice("WARN", "risk_halt_ended", f"Halt ended: {halt.kind}", halt.reason, "Openings may resume")
            )
    return notices


def _end(halt: Halt, *, now: datetime, by: str, reason: str) -> None:
    halt.ended_at, halt.ended_by, halt.end_reason = now, by, reason
    halt.save(update_fields=["ended_at", "ended_by", "end_reason"])


def _next_midnight(now: datetime) -> datetime:
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, datetime.min.time(), tzinfo=UTC)


# --- what people do ---------------------------------------------------------------------------------------------------


def record_action(action: str, *, source: str, by: str, reason: str, detail: str, now: datetime) -> None:
    """Keep what a person did. Raises `Refused` when it comes without a name or a reason."""
    if not by.strip() or not reason.strip():
        raise Refused("a name and a reason are needed")
    RiskAction.objects.create(
        account=ACCOUNT, action=action, source=source, by=by, reason=reason, detail=detail, market_time=now
    )


def halt(*, by: str, reason: str, source: str, now: datetime) -> tuple[str, list[RiskNotice]]:
    """A person halts openings. Returns what was done, and what to tell. Raises `Refused` without name and reason."""
    standing = next((each for each in standing_halts(now) if each.kind == Halt.Kind.MANUAL), None)
    done = "Halted: nothing is opened until a person resumes."
    if standing is not None:
        done = f"Halted already, by {standing.started_by} since {_told(standing.started_at)}: that halt stands on."
    record_action(RiskAction.Action.HALT, source=source, by=by, reason=reason, detail=done, now=now)
    return done, begin_halt(Halt.Kind.MANUAL, reason, now=now, by=by)


def resume(
    state: RiskState, *, by: str, reason: str, source: str, now: datetime, rebase_peak: bool = False
) -> tuple[str, list[RiskNotice]]:
    """A person lifts the manual and the drawdown halt, all or none; the daily one stays until midnight.

    With `rebase_peak` the equity as last reported becomes the peak that the drawdown is measured from. Returns what was
    done, and what to tell. Raises `Refused` when no such halt stands, when the drawdown still measures at its limit or
    beyond and is not re-based, when there is nothing to re-base to, and for a re-basing from the stream.
    """
    lifted = [each for each in standing_halts(now) if each.kind != Halt.Kind.DAILY_LOSS]
    if not lifted:
        raise Refused(f"There is nothing to lift.{_daily_stays(now) or ' No halt stands.'}")
    drawdown = any(each.kind == Halt.Kind.DRAWDOWN for each in lifted)
    rebased = _rebase(state, source, drawdown=drawdown) if rebase_peak else ""
    if drawdown and (still := _drawdown_still(state)):
        raise Refused(still)
    for each in lifted:
        _end(each, now=now, by=by, reason=reason)
    done = f"Lifted: {', '.join(each.kind for each in lifted)}.{rebased}{_daily_stays(now)}"
    if rebased:
        state.save(update_fields=["peak_equity", "peak_transfers", "warned_on", "updated_at"])
        record_action(
            RiskAction.Action.REBASE_PEAK, source=source, by=by, reason=reason, detail=rebased.strip(), now=now
        )
    record_action(RiskAction.Action.RESUME, source=source, by=by, reason=reason, detail=done, now=now)
    return done, [RiskNotice("WARN" if rebased else "INFO", "risk_resume", f"Trading resumed by {by}", reason, done)]


def _daily_stays(now: datetime) -> str:
    daily = next((each for each in standing_halts(now) if each.kind == Halt.Kind.DAILY_LOSS), None)
    return (
        "" if daily is None else f" The daily-loss halt stands until {_told(daily.until)}, never to be lifted before."
    )


def _drawdown_still(state: RiskState) -> str:
    """Why a drawdown halt cannot be lifted as things are, or nothing."""
    results = gate.account_halts(gate_account(state), gate_state(state), settings.RISK_LIMITS)
    measured = next(result for result in results if result.rule == gate.DRAWDOWN)
    if measured.verdict not in ("halt", "reject"):
        return ""
    return (
        f"{measured.reason} The halt would be back with the next report of the account: re-base the peak too, in the"
        " admin or with `manage.py risk resume --rebase-peak`."
    )


def _rebase(state: RiskState, source: str, *, drawdown: bool) -> str:
    """Let the drawdown be measured from the equity as last reported; not saved yet. Says what changed."""
    if source == RiskAction.Source.STREAM:
        raise Refused(
            "The peak is never re-based from the stream: use the admin, or `manage.py risk resume --rebase-peak`."
        )
    if not drawdown:
        raise Refused("No drawdown halt stands: the peak is re-based only to end one. Resume without re-basing.")
    if state.equity is None or state.equity <= 0:
        known = "not known yet" if state.equity is None else f"{state.equity} USD"
        raise Refused(
            f"Equity is {known}: there is nothing to trade with, and no peak to begin from. Fund the account"
            " first; once the trade server has reported it, re-base again."
        )
    before, state.peak_equity, state.peak_transfers = state.peak_equity, state.equity, state.net_transfers
    state.warned_on = {rule: day for rule, day in state.warned_on.items() if rule != gate.DRAWDOWN}
    return f" Peak re-based from {before} to {state.equity} USD, the equity reported as of {_told(state.equity_at)}."


def _told(at: datetime | None) -> str:
    return "an unknown time" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
