"""Collect: take the newest snapshot and positions, and see what stands in the way of an opening.

An instrument without a position ends its cycle here when nothing may be opened. One with a position goes on, whatever
stands in the way: exits are never blocked. That the day's money for models runs out is told here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from decisions import budget_alerts, context, cycles, model_status
from decisions.budget import Budget
from decisions.clock import out_of_date
from decisions.messages import MarketSnapshot, PositionUpdate
from decisions.models import DecisionCycle, Outcome, ResearchRequest, State
from decisions.screening import screen_decision
from decisions.triggers import Trigger, research_triggers
from risk import services as risk


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing may be opened."""

    outcome: Outcome
    reason: str


def collect(cycle: DecisionCycle, now: datetime) -> None:
    budget = context.budget(now)
    budget_alerts.tell(budget, now)
    record = context.newest_snapshot(cycle.instrument)
    if record is None:
        cycles.finish(cycle, Outcome.NO_DATA, f"no snapshot of {cycle.instrument} has ever come in")
        return
    report = context.position_report()
    if report is None:
        cycles.finish(cycle, Outcome.STALE_DATA, "the trade server has never reported its positions")
        return
    has_position = context.has_position(cycle.instrument, report.positions)
    obstacle = _obstacle(cycle.instrument, record.at, report, budget, now)
    if obstacle is not None and not has_position:
        cycles.finish(cycle, obstacle.outcome, obstacle.reason, snapshot=record.payload)
        return
    snapshot = MarketSnapshot.model_validate(record.payload)
    fields = {
        "snapshot": record.payload,
        "positions": [position.model_dump(mode="json") for position in report.positions],
        "account": report.account.model_dump(mode="json"),
        "openings_blocked": obstacle.outcome if obstacle else "",
        "openings_blocked_reason": obstacle.reason if obstacle else "",
    }
    _route(cycle, snapshot, now, has_position=has_position, fields=fields)


def _obstacle(
    symbol: str, snapshot_at: datetime, report: PositionUpdate, budget: Budget, now: datetime
) -> Obstacle | None:
    """The first thing that stands in the way of an opening."""
    if blocked := risk.openings_blocked(now):
        return Obstacle(Outcome(blocked[0]), blocked[1])
    if stale := staleness(snapshot_at, report.as_of, now):
        return Obstacle(Outcome.STALE_DATA, stale)
    if trouble := context.instrument_trouble(symbol):
        return Obstacle(Outcome.INSTRUMENT_BLOCKED, trouble)
    if gone := model_status.blocked_by_models():
        return Obstacle(Outcome.MODEL_ERROR, gone)
    if not budget.allows_openings:
        return Obstacle(Outcome.BUDGET, str(budget))
    return None


def staleness(snapshot_at: datetime, positions_at: datetime, now: datetime) -> str | None:
    """What is too old to open on at market time `now`, in words, or None."""
    newest = (
        ("snapshot is", snapshot_at, timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS)),
        ("positions are", positions_at, timedelta(seconds=settings.MAX_POSITIONS_AGE_SECONDS)),
    )
    for what, at, oldest in newest:
        if out_of_date(at, oldest, now):
            if at > now:
                return f"the newest {what} {at - now} ahead of our clock, which seems to have been set back"
            return f"the newest {what} {now - at} old, at most {oldest} is allowed"
    return None


@transaction.atomic
def _route(
    cycle: DecisionCycle, snapshot: MarketSnapshot, now: datetime, *, has_position: bool, fields: dict[str, object]
) -> None:
    """Choose the next stage that has something to do: screening, research, or the analysis at once."""
    alerts, news = context.alerts_since_last_cycle(cycle), context.news_at(now)
    screen = screen_decision(
        snapshot,
        switches=context.switches(),
        thresholds=context.thresholds(),
        has_position=has_position,
        news=news,
        alerts=alerts,
    )
    commanded = bool(ResearchRequest.objects.filter(symbol=cycle.instrument, cycle__isnull=True).update(cycle=cycle))
    triggers = research_triggers(
        snapshot,
        context.thresholds(),
        alerts=alerts,
        news=news if settings.RESEARCH_BEFORE_NEWS else None,
        commanded=commanded,
    )
    fields["research_reasons"] = [[trigger.kind, trigger.detail] for trigger in triggers]
    if screen.ask and not commanded:
        cycles.advance(cycle, State.SCREENING, **fields)
    else:  # what a person asked for is done, whatever the screener would say
        bypass = "research was commanded" if screen.ask else screen.reason
        cycles.advance(cycle, after_screening(triggers), bypass_reason=bypass[:200], **fields)


def after_screening(reasons: object) -> State:
    """Research where there is a reason for it, else the analysis."""
    return State.RESEARCHING if reasons else State.ANALYZING


def triggers_of(cycle: DecisionCycle) -> list[Trigger]:
    """The cycle's reasons for research, read back."""
    return [Trigger(kind, detail) for kind, detail in cycle.research_reasons]
