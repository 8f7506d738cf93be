"""How the system stands, on one screen and as JSON: `manage.py status`. Pure: it shows the facts of the dashboard."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from decisions.dashboard.facts import Cycle, Facts, Heard
from decisions.dashboard.headline import Headline
from decisions.dashboard.holdings import Holding
from decisions.risk_command.layout import NOTHING, bar, moment, money, percent
from journal.wording import duration
from orchestrator_project.terminal import columns

LONGEST_REASON = 70
LABEL = 12


def is_at_work(facts: Facts) -> bool:
    """Whether the account may open, and everything it decides on is up to date."""
    return facts.account.state == "running" and not facts.stale


# --- for a terminal ---------------------------------------------------------------------------------------------------


def as_text(facts: Facts, head: Headline) -> Iterator[str]:
    """The screen: the sentence, what needs a look, the figures, positions, the last cycles."""
    yield f"{head.mode} ({head.meaning})  {moment(facts.now)}"
    yield head.sentence
    yield from (f"  ! {line.text}" for line in head.lines)
    yield ""
    yield from (f"{label:<{LABEL}}{told}" for label, told in _figures(facts))
    yield from _positions(facts)
    yield from _last_cycles(facts)


def _figures(facts: Facts) -> Iterator[tuple[str, str]]:
    account = facts.account
    yield "Equity", money(account.equity)
    yield "Today", f"{_signed(account.result_today)}{_against(account.daily_loss.used, account.daily_loss.measured)}"
    yield "Drawdown", f"{_against(account.drawdown.used, account.drawdown.measured).strip() or NOTHING}"
    closed = facts.closed_today
    yield "Closed", f"{closed.count} trades today, {closed.won} won, net {_signed(closed.net_usd)}"
    yield "Exposure", _exposure(facts)
    by_outcome = sorted(facts.cycles.by_outcome.items(), key=lambda each: -each[1])
    told = ", ".join(f"{outcome} {count}" for outcome, count in by_outcome)
    yield "Cycles 24 h", told + (f", open {facts.cycles.still_open}" if facts.cycles.still_open else "") or NOTHING
    yield "Models", str(facts.spending.budget)
    yield "Playbook", _playbook(facts)
    yield "Ages", ", ".join(f"{each.name} {_age(each, facts.wall)}" for each in facts.heard)


def _signed(amount: Decimal | None) -> str:
    return NOTHING if amount is None else f"{amount:+,.2f} USD"


def _against(used: Decimal | None, measured: Decimal | None) -> str:
    if used is None or measured is None:
        return ""
    return f"  {percent(measured)}  {bar(used)} {used:.0%} of the limit"


def _exposure(facts: Facts) -> str:
    total, equity = facts.exposure.total_usd, facts.account.equity
    if not equity:
        return NOTHING
    share = total / equity
    limit = facts.account.max_exposure
    pending = f", {facts.exposure.pending} openings under way" if facts.exposure.pending else ""
    return f"{money(total)}  {percent(share)}  {bar(share / limit)} of {percent(limit)}{pending}"


def _playbook(facts: Facts) -> str:
    told = "none" if facts.active is None else f"version {facts.active.version} trades, by {facts.active.by}"
    return told if facts.challenger is None else f"{told}; version {facts.challenger.version} challenges"


def _age(heard: Heard, wall: datetime) -> str:
    return "never came" if heard.wall_at is None else duration(wall - heard.wall_at)


def _positions(facts: Facts) -> Iterator[str]:
    if not facts.exposure.holdings:
        return
    head = ("position", "side", "size", "entry", "mark", "P&L USD", "to stop", "to target")
    yield ""
    yield from columns([head, *(_position(each) for each in facts.exposure.holdings)], texts=2)


def _position(held: Holding) -> tuple[str, ...]:
    unrealized = NOTHING if held.unrealized_usd is None else f"{held.unrealized_usd:+,.2f}"
    prices = (held.size, held.entry, held.mark)
    return (
        held.symbol,
        held.direction,
        *(NOTHING if each is None else f"{each.normalize():,f}" for each in prices),
        unrealized,
        *(NOTHING if way.fraction is None else percent(way.fraction) for way in (held.to_stop, held.to_target)),
    )


def _last_cycles(facts: Facts) -> Iterator[str]:
    if not facts.last_cycles:
        return
    yield ""
    yield from columns([_cycle(each) for each in facts.last_cycles])


def _cycle(cycle: Cycle) -> tuple[str, ...]:
    reason = cycle.reason if len(cycle.reason) <= LONGEST_REASON else f"{cycle.reason[: LONGEST_REASON - 4]} ..."
    return f"{cycle.slot_at:%m-%d %H:%M}", cycle.instrument, cycle.outcome, reason


# --- as JSON ----------------------------------------------------------------------------------------------------------


def as_object(facts: Facts, head: Headline) -> dict[str, Any]:
    """The same as JSON values: numbers as text, times as ISO 8601, ages in seconds."""
    account = facts.account
    return {
        "mode": head.mode.lower(),
        "market_time": _zulu(facts.now),
        "state": account.state,
        "at_work": is_at_work(facts),
        "sentence": head.sentence,
        "attention": [line.text for line in head.lines],
        "halts": [
            {"kind": halt.kind, "reason": halt.reason, "since": _zulu(halt.since), "by": halt.by}
            for halt in account.halts
        ],
        "cooldown_until": account.cooldown_until and _zulu(account.cooldown_until),
        "equity_usd": _text(account.equity),
        "today_usd": _text(account.result_today),
        "daily_loss": _text(account.daily_loss.measured),
        "drawdown": _text(account.drawdown.measured),
        "exposure_usd": _text(facts.exposure.total_usd),
        "positions": [_held(each) for each in facts.exposure.holdings],
        "cycles_24h": dict(facts.cycles.by_outcome),
        "last_cycles": [
            {
                "id": each.key,
                "slot_at": _zulu(each.slot_at),
                "instrument": each.instrument,
                "outcome": each.outcome,
                "reason": each.reason,
            }
            for each in facts.last_cycles
        ],
        "models": {"spent_usd": str(facts.spending.budget.spent), "budget_usd": str(facts.spending.budget.daily)},
        "playbook": None if facts.active is None else facts.active.version,
        "challenger": None if facts.challenger is None else facts.challenger.version,
        "age_seconds": {each.name: _seconds(each, facts.wall) for each in facts.heard},
        "out_of_date": [each.name for each in facts.stale],
    }


def _held(held: Holding) -> dict[str, Any]:
    return {
        "symbol": held.symbol,
        "direction": held.direction,
        "trade": held.trade,
        **{
            name: _text(getattr(held, name))
            for name in ("size", "notional_usd", "entry", "mark", "stop", "target", "unrealized_usd")
        },
    }


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"


def _seconds(heard: Heard, wall: datetime) -> int | None:
    return None if heard.wall_at is None else round((wall - heard.wall_at).total_seconds())


def _zulu(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
