"""Analyze: ask the big model what to do, and believe only a decision that rests on what it was shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from decisions import context, cycles, grounding, model_status, outbox
from decisions.budget import Budget
from decisions.clients import claude
from decisions.messages import AccountState, OpusDecision, Position
from decisions.models import DecisionCycle, ModelCall, Outcome, ScreenerLog, State
from decisions.prompts import AllowedActions, Prompt, allowed_actions, analysis_prompt, sections
from decisions.schemas import AnalysisAnswer, Decision
from decisions.screening import agreed
from decisions.signals import cycle_analysed
from decisions.stages.calls import failed, keeping, occasion_of
from decisions.stages.research import research_of
from journal.playbook import Playbook
from journal.services import active_playbook

EXITS = ("CLOSE", "REDUCE")
"""What does not wait for research: the question can be asked again in the next cycle."""


def analyze(cycle: DecisionCycle, now: datetime) -> None:
    playbook = active_playbook()
    positions = [Position.model_validate(each) for each in cycle.positions or []]
    has_position = context.has_position(cycle.instrument, positions)
    budget = context.budget(now)
    if not budget.allows_analysis(has_position=has_position) or (cycle.shadow_audit and not budget.allows_audits):
        _without_asking(cycle, budget)
        return
    asked_with: dict[str, Any] = {"playbook_version": playbook.version}
    fields = dict(asked_with)
    if not (budget.allows_openings or cycle.openings_blocked):
        fields |= {"openings_blocked": Outcome.BUDGET, "openings_blocked_reason": str(budget)}
    blocked = cycle.openings_blocked_reason or fields.get("openings_blocked_reason")
    allowed = allowed_actions(has_position=has_position, blocked=blocked)
    prompt = _prompt(cycle, playbook, positions, now, allowed)
    reply = claude.ask(
        "analyze",
        prompt,
        AnalysisAnswer,
        model=settings.OPUS_MODEL,
        max_tokens=settings.OPUS_MAX_TOKENS,
        timeout_seconds=settings.MAX_OPUS_TIMEOUT_SECONDS,
        effort=settings.OPUS_EFFORT or None,
        temperature=settings.OPUS_TEMPERATURE,
        occasion=occasion_of(cycle),
        keep=keeping(cycle, prompt, now, shadow=cycle.shadow_audit),
    )
    if reply.model_is_gone:
        model_status.note_gone(reply.model, reply.error)
    with transaction.atomic():
        if reply.parsed is not None:
            _follow(cycle, reply.parsed, sections(prompt.text), fields)
        elif cycle.shadow_audit:
            cycles.finish(cycle, Outcome.SCREENED_OUT, cycle.reason, **asked_with)
        else:
            failed(cycle, reply, "the analyst", **asked_with)


def _without_asking(cycle: DecisionCycle, budget: Budget) -> None:
    """The money went while the cycle was on its way here."""
    if cycle.shadow_audit:
        cycles.finish(cycle, Outcome.SCREENED_OUT, cycle.reason)
    else:
        cycles.finish(cycle, Outcome.BUDGET, str(budget))


def _prompt(
    cycle: DecisionCycle, playbook: Playbook, positions: list[Position], now: datetime, allowed: AllowedActions
) -> Prompt:
    return analysis_prompt(
        snapshot=context.snapshot_of(cycle),
        positions=positions,
        account=AccountState.model_validate(cycle.account),
        research=research_of(cycle),
        playbook=playbook,
        recent_trades=context.recent_trades(),
        allowed=allowed,
        limits=context.told_limits(),
        events=context.known_events(now),
    )


def _follow(cycle: DecisionCycle, answer: AnalysisAnswer, shown: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    faults = grounding.faults_of(answer.decision, shown)
    invalid = grounding.why_invalid(answer.decision, cycle.instrument, faults)
    fields = {
        **fields,
        "decision": answer.model_dump(mode="json"),
        "warnings": "" if invalid else "; ".join(faults),
    }
    if cycle.shadow_audit:
        _end_audit(cycle, answer, invalid, fields)
    elif _asks_for_research(cycle, answer.decision):
        reasons = [*cycle.research_reasons, ["model_request", answer.decision.research_request]]
        cycles.advance(cycle, State.RESEARCHING, round=2, research_reasons=reasons, **fields)
    elif invalid:
        cycles.finish(cycle, Outcome.INVALID_OUTPUT, invalid, **fields)
        publish_decision(cycle, answer, risk_approved=False)
    else:
        _compare(cycle, answer)
        _act(cycle, answer, fields)


def _end_audit(cycle: DecisionCycle, answer: AnalysisAnswer, invalid: str | None, fields: dict[str, Any]) -> None:
    """A screened-out cycle that was asked all the same, to measure what the screener misses. It never trades, and an
    answer that could not have traded measures nothing: it counts neither for the screener nor against it."""
    if invalid is None:
        _compare(cycle, answer)
    fields["warnings"] = invalid or fields["warnings"]
    cycles.finish(cycle, Outcome.SCREENED_OUT, cycle.reason, **fields)
    publish_decision(cycle, answer, risk_approved=None)


def _asks_for_research(cycle: DecisionCycle, decision: Decision) -> bool:
    return bool(decision.research_request) and cycle.round == 1 and decision.action not in EXITS


def _compare(cycle: DecisionCycle, answer: AnalysisAnswer) -> None:
    if cycle.screener_signal is not None:
        action = answer.decision.action
        ScreenerLog.objects.filter(cycle=cycle).update(
            opus_action=action, opus_agreed=agreed(cycle.screener_signal, action)
        )


def _act(cycle: DecisionCycle, answer: AnalysisAnswer, fields: dict[str, Any]) -> None:
    if answer.decision.action == "HOLD":
        cycles.finish(cycle, Outcome.MODEL_HOLD, answer.reasoning, **fields)
        publish_decision(cycle, answer, risk_approved=None)
    else:
        cycles.advance(cycle, State.RISK_CHECK, **fields)
    transaction.on_commit(lambda: cycle_analysed.send_robust(sender=DecisionCycle, cycle_id=cycle.pk))


def publish_decision(cycle: DecisionCycle, answer: AnalysisAnswer, *, risk_approved: bool | None) -> None:
    """Tell those who watch, once the cycle's verdict is known."""
    calls = cycle.model_calls if cycle.shadow_audit else cycle.model_calls.filter(shadow=False)
    latency = dict(calls.order_by("id").values_list("purpose", "latency_ms"))
    outbox.record_decision(
        OpusDecision(
            action=answer.decision.action,
            symbol=answer.decision.symbol,
            confidence=answer.confidence,
            market_regime=answer.analysis.market_regime,
            bias=answer.analysis.bias,
            strategy_used=answer.strategy_used,
            reasoning=answer.reasoning,
            risk_approved=risk_approved,
            screener_signal=cycle.screener_signal,
        ),
        {
            "opus_latency_ms": latency.get(ModelCall.Purpose.ANALYZE),
            "haiku_latency_ms": latency.get(ModelCall.Purpose.SCREEN),
            "cycle_number": cycle.pk,
        },
    )
