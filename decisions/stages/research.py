"""Research: ask the news search, or the cache, what lies behind the reasons that were found.

Research that fails leaves the analysis to go on without it, and the model is told so; only in a news window with
`RESEARCH_REQUIRED_IN_NEWS` does the cycle end instead.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from decisions import context, cycles
from decisions.clients import perplexity
from decisions.models import DecisionCycle, ModelCall, Outcome, ResearchCache, State
from decisions.prompts import RESEARCH_SYSTEM, Prompt, Research, research_query
from decisions.schemas import Citation, ResearchAnswer
from decisions.stages.calls import keep_call
from decisions.stages.collect import triggers_of
from decisions.triggers import Trigger

LONGEST_REQUEST = 300
"""Characters of the model's question that are asked: what it was told, and what the cache's index holds."""


def research(cycle: DecisionCycle, now: datetime) -> None:
    triggers = _triggers_of_round(cycle)
    requested = triggers[-1].detail[:LONGEST_REQUEST] if cycle.round == 2 else None
    query = research_query(context.snapshot_of(cycle), triggers, events=context.known_events(now), requested=requested)
    if (found := _cached(query, now)) is not None:
        cycles.advance(cycle, State.ANALYZING, research=found, research_error="")
        return
    reply = perplexity.research(
        query, model=settings.PERPLEXITY_MODEL, timeout_seconds=settings.RESEARCH_TIMEOUT_SECONDS
    )
    keep_call(cycle, ModelCall.Purpose.RESEARCH, Prompt(RESEARCH_SYSTEM, query), reply, now)
    if reply.parsed is None:
        _without(cycle, reply.error or reply.outcome, in_news=any(trigger.kind == "news" for trigger in triggers))
        return
    document = {
        "query": query,
        "answer": reply.parsed.model_dump(mode="json"),
        "citations": [citation.model_dump(mode="json") for citation in reply.citations],
    }
    with transaction.atomic():
        cycles.advance(cycle, State.ANALYZING, research=document, research_error="")
        ResearchCache.objects.create(
            query=query, response_json=document, ttl_seconds=settings.RESEARCH_CACHE_TTL_SECONDS, asked_at=now
        )


def _triggers_of_round(cycle: DecisionCycle) -> list[Trigger]:
    """What the first round found before the analysis; in the second, what the model asks."""
    triggers = triggers_of(cycle)
    return [trigger for trigger in triggers if (trigger.kind == "model_request") == (cycle.round == 2)]


def _cached(query: str, now: datetime) -> dict[str, Any] | None:
    newest = ResearchCache.objects.filter(query=query, asked_at__lte=now).order_by("-asked_at").first()
    if newest is None or newest.asked_at + timedelta(seconds=newest.ttl_seconds) < now:
        return None
    return dict(newest.response_json)


def _without(cycle: DecisionCycle, error: str, *, in_news: bool) -> None:
    if in_news and settings.RESEARCH_REQUIRED_IN_NEWS:
        cycles.finish(cycle, Outcome.RESEARCH_ERROR, f"research is required in a news window and failed: {error}")
    else:
        cycles.advance(cycle, State.ANALYZING, research_error=f"research failed: {error}")


def research_of(cycle: DecisionCycle) -> Research | str | None:
    """What the analysis is shown: the finding, the reason why there is none, or None when none was wanted. A second
    research that failed is told with what the first one found."""
    if cycle.research is not None and cycle.research_error:
        return f"{cycle.research_error}; found before that: {cycle.research['answer']['summary']}"
    if cycle.research is not None:
        return Research(
            answer=ResearchAnswer.model_validate_json(json.dumps(cycle.research["answer"])),
            citations=tuple(Citation.model_validate_json(json.dumps(each)) for each in cycle.research["citations"]),
        )
    return cycle.research_error or None
