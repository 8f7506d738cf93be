"""The questions of reflection: to the big model, with a length and a deadline of their own, written down like any."""

from datetime import datetime

from django.conf import settings

from decisions import context, model_status
from decisions.budget import Level
from decisions.clients import claude
from decisions.clients.reply import ModelReply
from decisions.prompts import Prompt
from decisions.schemas import AnswerType
from decisions.stages.calls import keeping


def why_postponed(now: datetime) -> str | None:
    """Why nothing is asked at market time `now`, or None: the day's money is for trading first."""
    budget = context.budget(now)
    return f"postponed until the market day ends: {budget}" if budget.level is Level.SPENT else None


def ask(prompt: Prompt, answer_model: type[AnswerType], *, now: datetime, occasion: str) -> ModelReply[AnswerType]:
    """Ask; the call is recorded before its answer is believed. `occasion` names it in a recording."""
    reply = claude.ask(
        "reflect",
        prompt,
        answer_model,
        model=settings.OPUS_MODEL,
        max_tokens=settings.REFLECTION_MAX_TOKENS,
        timeout_seconds=settings.REFLECTION_TIMEOUT_SECONDS,
        effort=settings.OPUS_EFFORT or None,
        temperature=settings.OPUS_TEMPERATURE,
        occasion=occasion,
        keep=keeping(None, prompt, now),
    )
    if reply.model_is_gone:
        model_status.note_gone(reply.model, reply.error)
    return reply


def is_worth_repeating(reply: ModelReply[AnswerType]) -> bool:
    """Whether another attempt may end otherwise: the offline model and a recording answer the same again."""
    return reply.source == "live"
