"""Analyze: ask the big model what to do."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from decisions import context, cycles, outbox
from decisions.clients import claude
from decisions.messages import AccountState, OpusDecision, Position
from decisions.models import DecisionCycle, ModelCall, Outcome, ScreenerLog, State
from decisions.prompts import allowed_actions, analysis_prompt
from decisions.schemas import AnalysisAnswer
from decisions.screening import agreed
from decisions.stages.calls import failed, keep_call
from decisions.stages.research import research_of
from journal.services import active_playbook

EXITS = ("CLOSE", "REDUCE")
"""What does not wait for research: the question can be asked again in the next cycle."""


def analyze(cycle: DecisionCycle, now: datetime) -> None:
    playbook = active_playbook()
    positions = [Position.model_validate(each) for each in cycle.positions or []]
    has_position = context.has_position(cycle.instrument, positions)
    prompt = analysis_prompt(
        snapshot=context.snapshot_of(cycle),
        positions=positions,
        account=AccountState.model_validate(cycle.account),
        research=research_of(cycle),
        playbook=playbook,
        recent_trades=context.recent_trades(),
        allowed=allowed_actions(has_position=has_position, blocked=cycle.openings_blocked_reason or None),
        limits=context.told_limits(),
        events=context.known_events(now),
    )
    reply = claude.ask(
        "analyze",
        prompt,
        AnalysisAnswer,
        model=settings.OPUS_MODEL,
        max_tokens=settings.OPUS_MAX_TOKENS,
        timeout_seconds=settings.MAX_OPUS_TIMEOUT_SECONDS,
        effort=settings.OPUS_EFFORT or None,
    )
    keep_call(cycle, ModelCall.Purpose.ANALYZE, prompt, reply, now, shadow=cycle.shadow_audit)
    with transaction.atomic():
        if cycle.shadow_audit:
            _end_audit(cycle, reply.parsed)
        elif reply.parsed is None:
            failed(cycle, reply, "the analyst")
        else:
            _follow(cycle, reply.parsed, playbook_version=playbook.version)


def _end_audit(cycle: DecisionCycle, answer: AnalysisAnswer | None) -> None:
    """A screened-out cycle that was asked all the same, to measure what the screener misses. It never trades."""
    if answer is not None:
        _compare(cycle, answer)
    cycles.finish(cycle, Outcome.SCREENED_OUT, cycle.reason, decision=answer and answer.model_dump(mode="json"))
    if answer is not None:
        publish_decision(cycle, answer, risk_approved=None)


def _compare(cycle: DecisionCycle, answer: AnalysisAnswer) -> None:
    if cycle.screener_signal is not None:
        action = answer.decision.action
        ScreenerLog.objects.filter(cycle=cycle).update(
            opus_action=action, opus_agreed=agreed(cycle.screener_signal, action)
        )


def _follow(cycle: DecisionCycle, answer: AnalysisAnswer, *, playbook_version: int) -> None:
    fields = {"decision": answer.model_dump(mode="json"), "playbook_version": playbook_version}
    decision = answer.decision
    if decision.research_request and cycle.round == 1 and decision.action not in EXITS:
        reasons = [*cycle.research_reasons, ["model_request", decision.research_request]]
        cycles.advance(cycle, State.RESEARCHING, round=2, research_reasons=reasons, **fields)
        return
    _compare(cycle, answer)
    if decision.symbol != cycle.instrument:
        reason = f"asked about {cycle.instrument}, the analyst decided on {decision.symbol}"
        cycles.finish(cycle, Outcome.INVALID_OUTPUT, reason, **fields)
        publish_decision(cycle, answer, risk_approved=False)
    elif decision.action == "HOLD":
        cycles.finish(cycle, Outcome.MODEL_HOLD, answer.reasoning, **fields)
        publish_decision(cycle, answer, risk_approved=None)
    else:
        cycles.advance(cycle, State.RISK_CHECK, **fields)


def publish_decision(cycle: DecisionCycle, answer: AnalysisAnswer, *, risk_approved: bool | None) -> None:
    """Tell those who watch, once the cycle's verdict is known."""
    latency = dict(cycle.model_calls.order_by("id").values_list("purpose", "latency_ms"))
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
