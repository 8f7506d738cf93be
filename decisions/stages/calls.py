"""What the model stages share: the name and the record of a call, and the end of a cycle whose call failed."""

from datetime import datetime
from typing import Any

from decisions import cycles
from decisions.clients.reply import Keep, ModelReply
from decisions.models import DecisionCycle, ModelCall, Outcome
from decisions.prompts import Prompt

OUTCOME_OF = {
    "refusal": Outcome.MODEL_REFUSAL,
    "invalid_output": Outcome.INVALID_OUTPUT,
    "error": Outcome.MODEL_ERROR,
}


def occasion_of(cycle: DecisionCycle) -> str:
    """What a question of this cycle is known by, the same in every run of the same market."""
    return f"{cycle.instrument} {cycle.slot_at:%Y-%m-%dT%H:%MZ} round {cycle.round}"


def keeping(cycle: DecisionCycle | None, prompt: Prompt, now: datetime, *, shadow: bool = False) -> Keep:
    """What writes a call down, of a cycle or by hand: one row when the reply has come, before anything is made of it,
    and the verdict on it later. Each is committed by itself."""
    row: ModelCall | None = None

    def keep(reply: ModelReply[Any]) -> None:
        nonlocal row
        if row is None:
            row = _row(cycle, prompt, reply, now, shadow)
            row.save(force_insert=True)
        else:
            ModelCall.objects.filter(pk=row.pk).update(outcome=reply.outcome, error=reply.error)

    return keep


def _row(cycle: DecisionCycle | None, prompt: Prompt, reply: ModelReply[Any], now: datetime, shadow: bool) -> ModelCall:
    return ModelCall(
        cycle=cycle,
        purpose=reply.purpose,
        model=reply.model,
        source=reply.source,
        shadow=shadow,
        system_prompt=prompt.system,
        prompt=prompt.text,
        raw_reply=reply.raw,
        outcome=reply.outcome,
        http_status=reply.status,
        error=reply.error,
        stop_reason=reply.stop_reason,
        request_id=reply.request_id,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cache_write_tokens=reply.cache_write_tokens,
        cache_read_tokens=reply.cache_read_tokens,
        cost_usd=reply.cost_usd,
        latency_ms=reply.latency_ms,
        attempts=reply.attempts,
        market_time=now,
    )


def failed(cycle: DecisionCycle, reply: ModelReply[Any], who: str, **fields: Any) -> None:
    """End the cycle for a reply that cannot be used: what failed is the outcome, never a silent hold."""
    cycles.finish(cycle, OUTCOME_OF[reply.outcome], f"{who}: {reply.error or reply.outcome}", **fields)
