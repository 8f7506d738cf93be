"""Screen: ask the small model whether the big one is worth asking.

An instrument with a position is screened only where `SCREENER_BYPASS_ON_POSITION` is off, and goes on to the analysis
whatever comes of it: no signal is no reason to leave a position alone, and a screener that fails blocks no exit.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from decisions import context, cycles, model_status, outbox
from decisions.clients import claude
from decisions.clients.reply import ModelReply
from decisions.clock import wall_now
from decisions.models import DecisionCycle, OutboxMessage, Outcome, ScreenerLog, State
from decisions.prompts import screening_prompt
from decisions.schemas import ScreenAnswer
from decisions.screening import ALARM_INTERVAL, PASS_RATE_WINDOW, audited, pass_rate_alarm
from decisions.stages.calls import failed, keeping, occasion_of
from decisions.stages.collect import after_screening

LETS_LITTLE_THROUGH = "screener_pass_rate"
HELD = "open position: the screener saw no signal"


def screen(cycle: DecisionCycle, now: datetime) -> None:
    prompt = screening_prompt(context.snapshot_of(cycle))
    reply = claude.ask(
        "screen",
        prompt,
        ScreenAnswer,
        model=settings.HAIKU_MODEL,
        max_tokens=settings.HAIKU_MAX_TOKENS,
        timeout_seconds=settings.MAX_OPUS_TIMEOUT_SECONDS,
        occasion=occasion_of(cycle),
        keep=keeping(cycle, prompt, now),
    )
    if reply.model_is_gone:
        model_status.note_gone(reply.model, reply.error)
    if reply.parsed is None:
        _go_without(cycle, reply)
        return
    with transaction.atomic():
        _follow(cycle, reply.parsed, now)
        ScreenerLog.objects.create(
            cycle=cycle,
            symbol=cycle.instrument,
            signal=reply.parsed.signal,
            reason=reply.parsed.reason,
            snapshot_json=cycle.snapshot if settings.SCREENER_LOG_ALL else None,
            tokens_used=reply.input_tokens + reply.output_tokens,
            latency_ms=reply.latency_ms,
        )


def _go_without(cycle: DecisionCycle, reply: ModelReply[Any]) -> None:
    if context.holds_position(cycle):
        told = f"the screener failed: {reply.error or reply.outcome}"
        cycles.advance(cycle, after_screening(cycle.research_reasons), bypass_reason=told[:200])
    else:
        failed(cycle, reply, "the screener")


def _follow(cycle: DecisionCycle, answer: ScreenAnswer, now: datetime) -> None:
    onward = after_screening(cycle.research_reasons)
    if answer.signal:
        cycles.advance(cycle, onward, screener_signal=True)
    elif context.holds_position(cycle):
        cycles.advance(cycle, onward, screener_signal=False, bypass_reason=HELD)
    elif _is_audited(cycle, now):
        cycles.advance(cycle, State.ANALYZING, screener_signal=False, shadow_audit=True, reason=answer.reason)
    else:
        cycles.finish(cycle, Outcome.SCREENED_OUT, answer.reason, screener_signal=False)


def _is_audited(cycle: DecisionCycle, now: datetime) -> bool:
    """Whether the big model is asked in shadow. The budget is looked at for the few that are chosen."""
    chosen = audited(cycle.instrument, cycle.slot_at, settings.SCREENER_AUDIT_RATE)
    return chosen and context.budget(now).allows_audits


def watch_pass_rate() -> None:
    """Tell a person when the screener lets almost nothing through any more."""
    newest = ScreenerLog.objects.order_by("-id").values_list("signal", flat=True)[:PASS_RATE_WINDOW]
    now = wall_now()
    lately = OutboxMessage.objects.filter(category=LETS_LITTLE_THROUGH, created_at__gte=now - ALARM_INTERVAL)
    last = lately.order_by("-created_at").first()
    alarm = pass_rate_alarm(
        [*reversed(newest)],
        settings.SCREENER_MIN_PASS_RATE,
        last_alarm_at=last.created_at if last else None,
        now=now,
    )
    if alarm is not None:
        outbox.record_alert("WARN", LETS_LITTLE_THROUGH, "The screener lets little through", alarm, "None")
