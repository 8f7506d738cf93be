"""How the account stands against its limits, as a value to show: on a terminal, on a page, as JSON."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from django.conf import settings

from risk import gate
from risk.inputs import encoded
from risk.models import RiskState
from risk.state import ACCOUNT, gate_account, gate_state, standing_halts


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A loss beside its limit. `measured` and `limit` are changes as fractions, a loss below zero; `used` is the share
    of the limit that is used up, 1 and more at a halt. None while nothing can be measured."""

    measured: Decimal | None
    limit: Decimal
    used: Decimal | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingHalt:
    """A halt that stands, at market time; `until` is None when only a person ends it."""

    kind: str
    reason: str
    since: datetime
    by: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """The account's risk state at market time `now`; money in USD, None before the first report."""

    state: Literal["unknown", "halted", "cooldown", "running"]
    sentence: str
    now: datetime
    equity: Decimal | None
    equity_at: datetime | None
    day: str | None
    day_start_equity: Decimal | None
    peak_equity: Decimal | None
    daily_loss: Fall
    drawdown: Fall
    loss_streak: int
    losses_to_cooldown: int
    cooldown_until: datetime | None
    halts: tuple[StandingHalt, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, numbers as text, times as ISO 8601."""
        return dict(encoded(self))


def account_status(now: datetime) -> AccountStatus:
    """The account as it stands at market time `now`. Reads only, and takes no lock."""
    state = RiskState.objects.filter(account=ACCOUNT).first() or RiskState(account=ACCOUNT)
    daily, drawdown = gate.account_halts(gate_account(state), gate_state(state), settings.RISK_LIMITS)
    cooldown = state.cooldown_until if state.cooldown_until and state.cooldown_until > now else None
    halts = tuple(
        StandingHalt(kind=each.kind, reason=each.reason, since=each.started_at, by=each.started_by, until=each.until)
        for each in standing_halts(now)
    )
    word, sentence = _in_words(state, halts, cooldown)
    return AccountStatus(
        state=word,
        sentence=sentence,
        now=now,
        equity=state.equity,
        equity_at=state.equity_at,
        day=_iso(state.day),
        day_start_equity=state.day_start_equity,
        peak_equity=state.peak_equity,
        daily_loss=_fall(daily, settings.RISK_LIMITS.max_daily_loss_pct),
        drawdown=_fall(drawdown, settings.RISK_LIMITS.max_drawdown_pct),
        loss_streak=state.loss_streak,
        losses_to_cooldown=settings.RISK_LIMITS.max_consecutive_losses,
        cooldown_until=cooldown,
        halts=halts,
    )


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _in_words(
    state: RiskState, halts: tuple[StandingHalt, ...], cooldown: datetime | None
) -> tuple[Literal["unknown", "halted", "cooldown", "running"], str]:
    if halts:
        kinds = ", ".join(each.kind for each in halts)
        return "halted", f"Halted ({kinds}): nothing is opened, exits go on."
    if cooldown is not None:
        until = f"{cooldown.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        return "cooldown", f"Cooling down until {until}: nothing is opened, exits go on."
    if state.equity is None:
        return "unknown", "No report of the account has come in yet: nothing is opened."
    return "running", "Running: the gate judges every opening."


def _fall(result: gate.RuleResult, limit: Decimal) -> Fall:
    measured = None if result.measured is None else Decimal(result.measured)
    used = None if measured is None else max(-measured / limit, Decimal(0))
    return Fall(measured=measured, limit=-limit, used=used, reason=result.reason)
