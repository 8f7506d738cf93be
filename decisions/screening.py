"""When the screening model is asked, when it is passed by, and how it is watched. Pure rules."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from decisions.messages import Action, MarketAlert, MarketSnapshot
from decisions.triggers import Thresholds, anomalies

PASS_RATE_WINDOW = 100
"""Screens over which the pass rate is taken."""

ALARM_INTERVAL = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The screener's flags: whether it is used at all, and what bypasses it."""

    enabled: bool = True
    bypass_on_position: bool = True
    bypass_on_news: bool = True
    bypass_on_anomaly: bool = True


@dataclass(frozen=True, slots=True)
class ScreenDecision:
    """Whether the screening model is asked before the big one, and why not when it is not."""

    ask: bool
    reason: str


def screen_decision(
    snapshot: MarketSnapshot,
    *,
    switches: Switches,
    thresholds: Thresholds,
    has_position: bool,
    news: str | None,
    alerts: Collection[MarketAlert] = (),
) -> ScreenDecision:
    """Ask the screener, or go straight to the analysis.

    `news` names the event whose window this is, or is None; `alerts` are those since the instrument's last cycle.
    """
    reason = bypass_reason(
        snapshot, switches=switches, thresholds=thresholds, has_position=has_position, news=news, alerts=alerts
    )
    return ScreenDecision(ask=reason is None, reason=reason or "nothing bypasses the screener")


def bypass_reason(
    snapshot: MarketSnapshot,
    *,
    switches: Switches,
    thresholds: Thresholds,
    has_position: bool,
    news: str | None,
    alerts: Collection[MarketAlert] = (),
) -> str | None:
    """The first reason to pass the screener by, or None."""
    if not switches.enabled:
        return "the screener is switched off"
    if has_position and switches.bypass_on_position:
        return "open position"
    if news is not None and switches.bypass_on_news:
        return f"news window: {news}"
    unusual = anomalies(snapshot, thresholds, alerts) if switches.bypass_on_anomaly else ()
    return "; ".join(str(trigger) for trigger in unusual) or None


def audited(symbol: str, slot_at: datetime, rate: Decimal | float) -> bool:
    """Whether a screened-out cycle goes to the big model in shadow.

    A share `rate` of all (symbol, slot) pairs, chosen by hash: the same pair always gives the same answer.
    """
    digest = hashlib.sha256(f"{symbol}|{slot_at.astimezone(UTC).isoformat()}".encode()).digest()
    return int.from_bytes(digest[:6]) < rate * 2**48


def agreed(signal: bool, action: Action) -> bool:
    """Whether the big model saw what the screener saw: a signal and something other than HOLD, or neither."""
    return signal == (action != "HOLD")


def pass_rate_alarm(
    signals: Sequence[bool], minimum: Decimal | float, *, last_alarm_at: datetime | None, now: datetime
) -> str | None:
    """What to alert about the screener's pass rate, or None.

    `signals` are the newest screens, newest last; the rate is that of the last hundred, and fewer say nothing. At most
    one alarm a day.
    """
    newest = signals[-PASS_RATE_WINDOW:]
    if len(newest) < PASS_RATE_WINDOW or (last_alarm_at is not None and now - last_alarm_at < ALARM_INTERVAL):
        return None
    passed = sum(newest)
    if passed >= minimum * PASS_RATE_WINDOW:
        return None
    return f"only {passed} of the last {PASS_RATE_WINDOW} screens gave a signal, fewer than the share of {minimum}"
