"""Screen: ask the small model whether the big one is worth asking."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from decisions import context, cycles, outbox
from decisions.clients import claude
from decisions.clock import wall_now
from decisions.models import DecisionCycle, ModelCall, OutboxMessage, Outcome, ScreenerLog, State
from decisions.prompts import screening_prompt
from decisions.schemas import ScreenAnswer
from decisions.screening import PASS_RATE_WINDOW, audited, pass_rate_alarm
from decisions.stages.calls import failed, keep_call
from decisions.stages.collect import after_screening

LETS_LITTLE_THROUGH = "screener_pass_rate"


def screen(cycle: DecisionCycle, now: datetime) -> None:
    snapshot = context.snapshot_of(cycle)
    prompt = screening_prompt(snapshot)
    reply = claude.ask(
        "screen",
        prompt,
        ScreenAnswer,
        model=settings.HAIKU_MODEL,
        max_tokens=settings.HAIKU_MAX_TOKENS,
        timeout_seconds=settings.MAX_OPUS_TIMEOUT_SECONDS,
    )
    keep_call(cycle, ModelCall.Purpose.SCREEN, prompt, reply, now)
    if reply.parsed is None:
        failed(cycle, reply, "the screener")
        return
    with transaction.atomic():
        _follow(cycle, reply.parsed)
        ScreenerLog.objects.create(
            cycle=cycle,
            symbol=cycle.instrument,
            signal=reply.parsed.signal,
            reason=reply.parsed.reason,
            snapshot_json=cycle.snapshot if settings.SCREENER_LOG_ALL else None,
            tokens_used=reply.input_tokens + reply.output_tokens,
            latency_ms=reply.latency_ms,
        )


def _follow(cycle: DecisionCycle, answer: ScreenAnswer) -> None:
    if answer.signal:
        cycles.advance(cycle, after_screening(cycle.research_reasons), screener_signal=True)
    elif audited(cycle.instrument, cycle.slot_at, settings.SCREENER_AUDIT_RATE):
        cycles.advance(cycle, State.ANALYZING, screener_signal=False, shadow_audit=True, reason=answer.reason)
    else:
        cycles.finish(cycle, Outcome.SCREENED_OUT, answer.reason, screener_signal=False)


def watch_pass_rate() -> None:
    """Tell a person when the screener lets almost nothing through any more."""
    newest = ScreenerLog.objects.order_by("-id").values_list("signal", flat=True)[:PASS_RATE_WINDOW]
    last = OutboxMessage.objects.filter(category=LETS_LITTLE_THROUGH).order_by("-created_at").first()
    alarm = pass_rate_alarm(
        [*reversed(newest)],
        settings.SCREENER_MIN_PASS_RATE,
        last_alarm_at=last.created_at if last else None,
        now=wall_now(),
    )
    if alarm is not None:
        outbox.record_alert("WARN", LETS_LITTLE_THROUGH, "The screener lets little through", alarm, "None")
