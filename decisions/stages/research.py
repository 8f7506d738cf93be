"""Research: ask the news search, or the cache, what lies behind the reasons that were found.

Research that fails leaves the analysis to go on without it, and the model is told so. Only in a news window with
`RESEARCH_REQUIRED_IN_NEWS` nothing is opened without it: the cycle ends, or goes on for its exits where there is a
position.

Several workers that want to know the same ask once: a question is asked under a session lock of Postgres, and whoever
comes second waits for it and finds the answer in the cache. The lock goes with the connection of whoever holds it, so a
worker that dies leaves the question to the next.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any

from django.conf import settings
from django.db import connection

from decisions import alerts, context, cycles
from decisions.budget import Level
from decisions.clients import perplexity
from decisions.clients.perplexity_response import Trouble, trouble
from decisions.clients.reply import ResearchReply
from decisions.clock import now_for_record, wall_now
from decisions.models import DecisionCycle, ModelCall, Outcome, ResearchCache, State
from decisions.prompts import RESEARCH_SYSTEM, Prompt, Research, research_query
from decisions.schemas import Citation, ResearchAnswer
from decisions.stages.calls import keeping, occasion_of
from decisions.stages.collect import triggers_of
from decisions.triggers import Trigger

LONGEST_REQUEST = 300
"""Characters of the model's question that are asked: as many as it was told."""
MOST_EVENTS = 3
"""The next scheduled events that a question names, of a day that may be full of speeches."""
LONGEST_QUERY_BYTES = 2600
"""What the cache's index holds of a question; the names of market alerts come from outside, up to 20 of them."""
POLL_SECONDS = 0.2
LEAST_SHARE = 0.25
"""What must be left of the time, after waiting for another's answer that did not come, to ask oneself."""
NOT_IN_TIME = "another worker asked the same, and no answer came in time"
"""Told to the analyst, as every failure is: nothing in it may depend on how long anything took."""
MOVED_FOR = timedelta(hours=1)
"""How long nobody asks an API that has said that it is gone. A person's command asks it all the same."""

ALERTS: dict[Trouble, tuple[str, str]] = {
    "moved": ("The API of the news search has moved", "Research is off for an hour at a time; analyses go on without"),
    "key_refused": ("The key of the news search is refused", "Analyses go on without research"),
}


class NothingFound(Exception):
    """There is no research; the text tells the model and a person why."""


def research(cycle: DecisionCycle, now: datetime) -> None:
    triggers = _triggers_of_round(cycle)
    requested = triggers[-1].detail[:LONGEST_REQUEST] if cycle.round == 2 else None
    events = context.known_events(now)[:MOST_EVENTS]
    whole = research_query(context.snapshot_of(cycle), triggers, events=events, requested=requested)
    query = whole.encode()[:LONGEST_QUERY_BYTES].decode("utf-8", "ignore")
    kinds = {trigger.kind for trigger in triggers}
    try:
        found = _found(cycle, query, now, commanded="command" in kinds)
    except NothingFound as why:
        _without(cycle, str(why), in_news="news" in kinds or context.news_at(now) is not None)
    else:
        cycles.advance(cycle, State.ANALYZING, research=found, research_error="")


def _triggers_of_round(cycle: DecisionCycle) -> list[Trigger]:
    """What the first round found before the analysis; in the second, what the model asks."""
    triggers = triggers_of(cycle)
    return [trigger for trigger in triggers if (trigger.kind == "model_request") == (cycle.round == 2)]


# --- from the cache, or asked ---------------------------------------------------------------------------------------


def _found(cycle: DecisionCycle, query: str, now: datetime, *, commanded: bool) -> dict[str, Any]:
    """What is known of the question. Raises `NothingFound`, all in all within `RESEARCH_TIMEOUT_SECONDS`."""
    with _one_at_a_time(query) as seconds:
        if (cached := _cached(query)) is not None:
            return cached
        if reason := _why_not(now, commanded=commanded):
            raise NothingFound(reason)
        if seconds < LEAST_SHARE * settings.RESEARCH_TIMEOUT_SECONDS:
            raise NothingFound(NOT_IN_TIME)
        return _asked(cycle, query, now, seconds)


@contextmanager
def _one_at_a_time(query: str) -> Iterator[float]:
    """Hold the question against every other worker. Gives the seconds that are left to ask it."""
    allowed = settings.RESEARCH_TIMEOUT_SECONDS
    began, seconds = monotonic(), float(allowed)
    while not _ask_postgres("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", query):
        sleep(POLL_SECONDS)
        seconds = round(allowed - (monotonic() - began), 1)
        if seconds <= 0:
            raise NothingFound(NOT_IN_TIME)
    try:
        yield seconds
    finally:
        _ask_postgres("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", query)


def _ask_postgres(statement: str, query: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [f"research {query}"])
        return bool(cursor.fetchone()[0])


def _cached(query: str) -> dict[str, Any] | None:
    """A fresh answer by whoever answers now. The market clock is read anew: another worker's answer that was waited
    for may be younger than this task."""
    now = now_for_record()
    known = ResearchCache.objects.filter(query=query, source=_cache_source(), asked_at__lte=now)
    newest = known.order_by("-asked_at").first()
    if newest is None or newest.asked_at + timedelta(seconds=newest.ttl_seconds) < now:
        return None
    return dict(newest.response_json)


def _cache_source() -> str:
    """What the cache calls who answers: an offline answer must not be taken for a real one."""
    source = perplexity.source()
    return "perplexity" if source == "live" else source


def _why_not(now: datetime, *, commanded: bool) -> str | None:
    """Why the search is not asked now."""
    budget = context.budget(now)
    if budget.level is Level.SPENT:
        return f"the day's budget is spent: {budget}"
    if not commanded and _has_moved():
        return "the API of the news search has moved, and is asked again an hour after it said so"
    return None


def _has_moved() -> bool:
    """Whether the newest question within the hour was told that the API is gone. The record of calls remembers it: for
    every worker, and over a restart."""
    asked = ModelCall.objects.filter(
        purpose=ModelCall.Purpose.RESEARCH, source=perplexity.source(), created_at__gt=wall_now() - MOVED_FOR
    )
    newest = asked.order_by("-created_at").values_list("http_status", "raw_reply").first()
    return newest is not None and trouble(*newest) == "moved"


def _asked(cycle: DecisionCycle, query: str, now: datetime, seconds: float) -> dict[str, Any]:
    reply = perplexity.research(
        query,
        model=settings.PERPLEXITY_MODEL,
        timeout_seconds=seconds,
        now=wall_now(),
        occasion=occasion_of(cycle),
        keep=keeping(cycle, Prompt(RESEARCH_SYSTEM, query), now),
    )
    _tell_trouble(reply)
    if reply.parsed is None:
        raise NothingFound(reply.error)
    document = {
        "query": query,
        "answer": reply.parsed.model_dump(mode="json"),
        "citations": [citation.model_dump(mode="json") for citation in reply.citations],
        "asked_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
    # Before the cycle moves on, and whether it does: what was paid for answers the next one too.
    ResearchCache.objects.create(
        query=query,
        response_json=document,
        source=_cache_source(),
        ttl_seconds=settings.RESEARCH_CACHE_TTL_SECONDS,
        asked_at=now,
    )
    return document


def _tell_trouble(reply: ResearchReply) -> None:
    """Tell a person, once a day, of what only a person can mend."""
    if (found := trouble(reply.status, reply.raw)) is not None:
        title, action = ALERTS[found]
        day = {"day": wall_now().date().isoformat()}
        alerts.record_once("WARN", f"research_{found}", day, title=title, detail=reply.error, action_taken=action)


# --- without --------------------------------------------------------------------------------------------------------


def _without(cycle: DecisionCycle, why: str, *, in_news: bool) -> None:
    """Go on without research. Where it is required, and an earlier round found nothing either, nothing is opened."""
    told = f"research failed: {why}"
    required = in_news and settings.RESEARCH_REQUIRED_IN_NEWS and cycle.research is None
    if not required:
        cycles.advance(cycle, State.ANALYZING, research_error=told)
    elif not context.holds_position(cycle):
        cycles.finish(cycle, Outcome.RESEARCH_ERROR, f"research is required in a news window and failed: {why}")
    else:
        cycles.advance(
            cycle,
            State.ANALYZING,
            research_error=told,
            openings_blocked=cycle.openings_blocked or Outcome.RESEARCH_ERROR,
            openings_blocked_reason=cycle.openings_blocked_reason or f"required in a news window, {told}",
        )


def research_of(cycle: DecisionCycle) -> Research | str | None:
    """What the analysis is shown: the finding, the reason why there is none, or None when none was wanted. A second
    research that failed is told with what the first one found."""
    if cycle.research is not None and cycle.research_error:
        return f"{cycle.research_error}; found before that: {cycle.research['answer']['summary']}"
    if cycle.research is not None:
        return Research(
            answer=ResearchAnswer.model_validate_json(json.dumps(cycle.research["answer"])),
            citations=tuple(Citation.model_validate_json(json.dumps(each)) for each in cycle.research["citations"]),
            found_at=datetime.fromisoformat(cycle.research["asked_at"]),
        )
    return cycle.research_error or None
