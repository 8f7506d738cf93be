"""Risk: what the model wants, judged by the playbook's bans and by the gate; approval writes the order."""

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from decisions import context, cycles, exposure, orders, outbox, proposals
from decisions.grounding import OPENINGS
from decisions.messages import MarketSnapshot, Position
from decisions.models import DecisionCycle, Outcome, State
from decisions.notices import publish
from decisions.schemas import AnalysisAnswer
from decisions.stages.analyze import publish_decision
from journal.playbook import Playbook, blocked_by
from journal.services import active_playbook, playbook
from risk import gate
from risk import services as risk


@transaction.atomic
def judge(cycle: DecisionCycle, now: datetime) -> None:
    answer = AnalysisAnswer.model_validate_json(json.dumps(cycle.decision))
    snapshot = context.snapshot_of(cycle)
    shown, opening = _playbook_shown(cycle), answer.decision.action in OPENINGS
    correlations = _correlations(cycle, snapshot) if opening else {}
    state = risk.lock_state()
    if opening and (obstacle := _obstacle(cycle, answer, snapshot, shown)):
        _forbid(cycle, answer, *obstacle)
        return
    equity = state.equity if state.equity is not None else Decimal("NaN")
    pending, positions = exposure.live_orders(), _positions(cycle, opening=opening)
    try:
        proposal = proposals.proposal(
            answer.decision, snapshot, shown, equity=equity, positions=positions, pending=pending
        )
    except proposals.PositionFull as full:
        _forbid(cycle, answer, Outcome.PLAYBOOK_BLOCKED, str(full))
        return
    judged = risk.judge(
        state,
        decision_id=cycle.decision_id,
        cycle_number=cycle.pk,
        decision=answer.model_dump(mode="json"),
        proposal=proposal,
        equity=equity,
        positions=positions,
        pending=pending,
        correlations=correlations,
        instrument=proposals.instrument(snapshot),
        now=now,
    )
    publish(judged.notices)
    if judged.notices:
        orders.withdraw_openings("trading was halted")
    _conclude(cycle, answer, judged.verdict, gate.direction_of(proposal, positions), now)


def _correlations(cycle: DecisionCycle, snapshot: MarketSnapshot) -> dict[str, Decimal | None]:
    """With what the cycle saw and what is under way; asked before the lock."""
    held = [position["symbol"] for position in cycle.positions or ()]
    held += [order.symbol for order in exposure.live_orders()]
    return exposure.correlations(cycle.instrument, held, snapshot.timestamp)


def _playbook_shown(cycle: DecisionCycle) -> Playbook:
    """The version that the analysis was asked with: a newer one bans nothing in hindsight."""
    return active_playbook() if cycle.playbook_version is None else playbook(cycle.playbook_version)


def _obstacle(
    cycle: DecisionCycle, answer: AnalysisAnswer, snapshot: MarketSnapshot, shown: Playbook
) -> tuple[Outcome, str] | None:
    """What forbids an opening before the gate is asked: what the cycle found when it began, the playbook, or what has
    come over the instrument since."""
    if cycle.openings_blocked:
        return Outcome(cycle.openings_blocked), cycle.openings_blocked_reason
    if ban := blocked_by(shown, answer.strategy_used, snapshot.regime, snapshot.timestamp):
        return Outcome.PLAYBOOK_BLOCKED, ban
    trouble = context.instrument_trouble(cycle.instrument)
    return None if trouble is None else (Outcome.INSTRUMENT_BLOCKED, trouble)


def _forbid(cycle: DecisionCycle, answer: AnalysisAnswer, outcome: Outcome, reason: str) -> None:
    cycles.finish(cycle, outcome, reason)
    publish_decision(cycle, answer, risk_approved=False)


def _positions(cycle: DecisionCycle, *, opening: bool) -> Sequence[gate.Position]:
    """By the venue's newest word; the cycle's own is older."""
    report = context.position_report()
    reported = report.positions if report else [Position.model_validate(each) for each in cycle.positions or []]
    positions = exposure.positions(reported)
    return positions if opening else exposure.for_an_exit(positions, cycle.instrument)


def _conclude(
    cycle: DecisionCycle,
    answer: AnalysisAnswer,
    verdict: gate.Verdict,
    direction: gate.Direction | None,
    now: datetime,
) -> None:
    if verdict.approved and direction is not None:
        orders.write_intent(cycle, answer, verdict, direction, now=now)
        if answer.decision.action == "CLOSE":
            orders.withdraw_openings("the position is closed", cycle.instrument)
        cycles.advance(cycle, State.EXECUTING)
    else:
        reason = "; ".join(f"{result.rule}: {result.reason}" for result in verdict.refusals)
        cycles.finish(cycle, Outcome(verdict.outcome), reason)
        outbox.record_alert(
            "WARN", "risk_rejection", "Trade rejected by the risk gate", reason, "Order rejected, no execution"
        )
    publish_decision(cycle, answer, risk_approved=verdict.approved)
