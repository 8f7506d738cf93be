"""One question to a model, on its own: how it is asked, what it may cost, and whether a cycle could use the answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings

from decisions import grounding
from decisions.clients import claude, prices
from decisions.clients.reply import Keep, ModelReply, Purpose, forget
from decisions.prompts import Prompt, estimated_tokens, sections
from decisions.schemas import AnalysisAnswer, ScreenAnswer, output_schema

USUAL_ANSWER: Mapping[Purpose, int] = {"analyze": 700, "screen": 40}
"""Output tokens of an answer of ordinary length, without thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt about an instrument, and how it is asked. `occasion` names it among recorded exchanges."""

    purpose: Purpose
    symbol: str
    prompt: Prompt
    answer_model: type[AnalysisAnswer] | type[ScreenAnswer]
    model: str
    max_tokens: int
    effort: str | None
    temperature: Decimal | None
    occasion: str

    def request(self) -> dict[str, Any]:
        """What is sent: the body, and the headers that depend on the question. No key is in it."""
        asked = claude.build_request(
            self.prompt,
            self.answer_model,
            model=self.model,
            max_tokens=self.max_tokens,
            effort=self.effort,
            temperature=self.temperature,
        )
        headers, added = asked.pop("extra_headers", {}), asked.pop("extra_body", {})
        return {"headers": headers, "body": {**asked, **added}}

    def ask(self, keep: Keep = forget) -> ModelReply[Any]:
        """Ask it, within the deadline of a cycle's question. `keep` writes the reply down."""
        return claude.ask(
            self.purpose,
            self.prompt,
            self.answer_model,
            model=self.model,
            max_tokens=self.max_tokens,
            timeout_seconds=settings.MAX_OPUS_TIMEOUT_SECONDS,
            effort=self.effort,
            temperature=self.temperature,
            occasion=self.occasion,
            keep=keep,
        )

    def faults(self, reply: ModelReply[Any]) -> tuple[str, ...]:
        """What is wrong with the facts that the answer cites, in words."""
        if not isinstance(reply.parsed, AnalysisAnswer):
            return ()
        return grounding.faults_of(reply.parsed.decision, sections(self.prompt.text))

    def why_invalid(self, reply: ModelReply[Any]) -> str | None:
        """Why a cycle could not use the reply, or None."""
        if reply.parsed is None:
            return f"{reply.outcome}: {reply.error}"
        if isinstance(reply.parsed, AnalysisAnswer):
            return grounding.why_invalid(reply.parsed.decision, self.symbol, self.faults(reply))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a question may cost. Usually: a warm cache and an ordinary answer; at most: a cold cache and the longest
    answer allowed. Tokens are estimated by `prompts.estimated_tokens`, with its error."""

    tokens: Mapping[str, int]
    """Input tokens by part: system, schema, reference, user."""
    cached_tokens: int
    usual_output_tokens: int
    most_output_tokens: int
    usual_cost_usd: Decimal
    most_cost_usd: Decimal
    priced: bool
    """Whether the price of the model is known; the dearest known is taken otherwise."""

    @property
    def input_tokens(self) -> int:
        """All of them, cached or not."""
        return sum(self.tokens.values())


def estimate(question: Question) -> Estimate:
    """What asking costs, before it is asked."""
    prompt = question.prompt
    tokens = {
        "system": estimated_tokens(prompt.system),
        "schema": estimated_tokens(json.dumps(output_schema(question.answer_model))),
        "reference": estimated_tokens(prompt.reference),
        "user": estimated_tokens(prompt.user),
    }
    marked = "cache_control" in json.dumps(question.request())
    stable = sum(tokens.values()) - tokens["user"] if marked else 0
    rest = sum(tokens.values()) - stable
    usual = min(USUAL_ANSWER[question.purpose], question.max_tokens)
    warm = prices.Usage(input=rest, cache_read=stable, output=usual)
    cold = prices.Usage(input=rest, cache_write_1h=stable, output=question.max_tokens)
    return Estimate(
        tokens=tokens,
        cached_tokens=stable,
        usual_output_tokens=usual,
        most_output_tokens=question.max_tokens,
        usual_cost_usd=prices.cost(question.model, warm),
        most_cost_usd=prices.cost(question.model, cold),
        priced=prices.is_priced(question.model),
    )
