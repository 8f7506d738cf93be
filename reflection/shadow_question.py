"""Asking the challenger: which cycles, within which money and time, and what of the answer is kept.

It is asked the question that the champion was asked, with its own playbook in it and nothing else changed, positions,
account and research included. An answer that no cycle could use (a refusal, no JSON, facts that were not shown) trades
nothing, as it would be of the version that trades: a challenger is not judged by its good days alone.

A question that was missed, for want of money, of time or of the model's service, is left out of both records, with the
reason. None is made up for later than a cycle is long. It is asked once; only where a worker died with it may it be
asked, and paid for, again.
"""

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Max, Q, QuerySet

from decisions import context, cycles, question
from decisions.clock import older_than, wall_now
from decisions.models import DecisionCycle, ModelCall, Outcome, State
from decisions.prompts import with_another_playbook
from decisions.schemas import AnalysisAnswer
from decisions.stages.calls import keeping, occasion_of
from journal import playbook_versions
from journal.services import playbook
from reflection import challenger, claims
from reflection.models import Role, ShadowContest, ShadowQuestion
from reflection.shadow_state import BookState

LATE = "nobody asked it within the length of a cycle"
OVER = "the challenger or the version that trades is another one by now"
NOTHING_USABLE = "unusable"
"""In the place of an answer that no cycle could use, with the reason; and what becomes of it in the book."""
LOOKED_AT = 500
"""Among so many of the newest cycles those are looked for that were not noted."""
BEFORE = (State.COLLECTING, State.SCREENING, State.RESEARCHING, State.ANALYZING)
"""Where a cycle is whose analysis is not there yet."""

log = logging.getLogger(__name__)


def chosen(symbol: str, slot_at: datetime, version: int, share: Decimal) -> bool:
    """Whether a cycle is among the share that a challenger is asked about: by hash, the same for the same three."""
    digest = hashlib.sha256(f"{symbol}|{slot_at.astimezone(UTC).isoformat()}|{version}".encode()).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


# --- noted ------------------------------------------------------------------------------------------------------------


def note(cycle_id: int) -> ShadowQuestion | None:
    """Note that the challenger is to be asked about a cycle whose analysis is there, if it is. Once, however often."""
    against = challenger.opponents()
    if against is None:
        return None
    cycle = DecisionCycle.objects.get(pk=cycle_id)
    if cycle.playbook_version != against.champion:
        return None
    if not chosen(cycle.instrument, cycle.slot_at, against.challenger, settings.CHALLENGER_SHARE):
        return None
    at = context.snapshot_of(cycle).timestamp
    contest = _contest(against, cycle, at)
    if contest is None:
        return None
    noted, new = ShadowQuestion.objects.get_or_create(contest=contest, cycle=cycle, defaults={"snapshot_at": at})
    return noted if new else None


def _contest(against: challenger.Opponents, cycle: DecisionCycle, at: datetime) -> ShadowContest | None:
    """The contest, begun with the account's equity of its first cycle; None where there is nothing to begin with."""
    equity = Decimal((cycle.account or {}).get("equity", "0"))
    if equity <= 0:
        return None
    books = {role: BookState.begun(role, equity, at).to_json() for role in Role.values}
    found, _ = ShadowContest.objects.get_or_create(
        challenger_version=against.challenger,
        champion_version=against.champion,
        defaults={"start_equity": equity, "started_at": at, "books": books},
    )
    return found


UNUSABLE = (
    Outcome.INVALID_OUTPUT, Outcome.MODEL_ERROR, Outcome.MODEL_REFUSAL, Outcome.RESEARCH_ERROR, Outcome.SCREENED_OUT,
    Outcome.BUDGET, Outcome.ABANDONED,
)  # fmt: skip
"""How a cycle ends whose last analysis cannot be acted on."""


def unnoted() -> list[int]:
    """The cycles since the challenger was written that should have been noted and were not: a worker died after the
    commit, or is at it."""
    against = challenger.opponents()
    if against is None:
        return []
    newest = DecisionCycle.objects.aggregate(number=Max("id"))["number"] or 0
    analysed = DecisionCycle.objects.exclude(state__in=BEFORE).exclude(outcome__in=UNUSABLE)
    mine = analysed.filter(decision__isnull=False, playbook_version=against.champion, shadow_audit=False)
    since_then = mine.filter(
        id__gt=newest - LOOKED_AT, created_at__gte=playbook_versions.find(against.challenger).created_at
    )
    wanted = [
        number
        for number, symbol, slot_at, equity in since_then.values_list("id", "instrument", "slot_at", "account__equity")
        if Decimal(equity or 0) > 0 and chosen(symbol, slot_at, against.challenger, settings.CHALLENGER_SHARE)
    ]
    noted = ShadowQuestion.objects.filter(
        cycle_id__in=wanted, contest__challenger_version=against.challenger
    ).values_list("cycle_id", flat=True)
    return sorted(set(wanted) - set(noted))


# --- asked ------------------------------------------------------------------------------------------------------------


def waiting() -> QuerySet[ShadowQuestion]:
    """The questions that nobody has asked to the end, the oldest market time first."""
    return ShadowQuestion.objects.filter(status=ShadowQuestion.Status.WAITING).order_by("snapshot_at", "cycle_id")


def open_still() -> QuerySet[ShadowQuestion]:
    """The questions whose answers were not followed yet, asked or not."""
    return ShadowQuestion.objects.filter(status__in=[ShadowQuestion.Status.WAITING, ShadowQuestion.Status.ANSWERED])


def lease() -> timedelta:
    """How long one who asks is waited for."""
    return claims.lease(settings.MAX_OPUS_TIMEOUT_SECONDS)


def free(now: datetime) -> Q:
    """Those that nobody is asking at wall time `now`."""
    return Q(claimed_until=None) | claims.lapsed(now, lease())


def ask(question_id: int, now: datetime) -> None:
    """Ask one that waits and that nobody is asking. `now` is market time."""
    asked = _claimed(question_id)
    if asked is None:
        return
    if (why := _why_not(asked, now)) is not None:
        leave_out(asked, why)
        return
    posed = _question(asked)
    reply = posed.ask(keep=keeping(asked.cycle, posed.prompt, now, shadow=True))
    if reply.outcome == "error":
        leave_out(asked, f"it could not be asked: {reply.error}")
    elif (why := posed.why_invalid(reply)) is not None or reply.parsed is None:
        _write(asked, status=ShadowQuestion.Status.ANSWERED, answer={NOTHING_USABLE: f"{why}"[:2000]})
    else:
        _write(asked, status=ShadowQuestion.Status.ANSWERED, answer=reply.parsed.model_dump(mode="json"))


def _claimed(question_id: int) -> ShadowQuestion | None:
    now = wall_now()
    if not waiting().filter(free(now), pk=question_id).update(claimed_until=now + lease()):
        return None
    return ShadowQuestion.objects.select_related("contest", "cycle").get(pk=question_id)


def _why_not(asked: ShadowQuestion, now: datetime) -> str | None:
    """Why it is not asked any more, or not at all."""
    if older_than(asked.created_at, cycles.length(), wall_now()):
        return LATE
    if not challenger.is_on(asked.contest):
        return OVER
    budget = context.budget(now)
    return None if budget.allows_audits else str(budget)


def _question(asked: ShadowQuestion) -> question.Question:
    """What the champion was asked, with the challenger's playbook."""
    cycle, version = asked.cycle, asked.contest.challenger_version
    calls = cycle.model_calls.filter(purpose=ModelCall.Purpose.ANALYZE, shadow=False, outcome="ok")
    call = calls.order_by("id").last()
    if call is None:
        raise ValueError(f"{cycle} has no analysis that could be asked again")
    return question.Question(
        purpose="analyze",
        symbol=cycle.instrument,
        prompt=with_another_playbook(call.system_prompt, call.prompt, playbook(version)),
        answer_model=AnalysisAnswer,
        model=settings.OPUS_MODEL,
        max_tokens=settings.OPUS_MAX_TOKENS,
        effort=settings.OPUS_EFFORT or None,
        temperature=settings.OPUS_TEMPERATURE,
        occasion=f"{occasion_of(cycle)} playbook {version}",
    )


def leave_out(asked: ShadowQuestion, why: str) -> None:
    """Leave the cycle out of both records."""
    log.info("%s is left out: %s", asked, why)
    _write(asked, status=ShadowQuestion.Status.LEFT_OUT, reason=why[:2000], ended_at=wall_now())


def _write(asked: ShadowQuestion, **fields: object) -> None:
    """Somebody else may have ended it meanwhile: then theirs stands."""
    open_still().filter(pk=asked.pk).update(claimed_until=None, **fields)


# --- what the books wait for ------------------------------------------------------------------------------------------

Place = tuple[datetime, int]
"""Where an answer belongs in the course of things: the snapshot's market time, and of several the cycle's number."""


def outstanding(contest: ShadowContest) -> list[Place]:
    """Where answers may still come: questions that wait, and analyses under way of cycles that will be asked about."""
    places = list(waiting().filter(contest=contest).values_list("snapshot_at", "cycle_id"))
    under_way = DecisionCycle.objects.filter(state__in=BEFORE, shadow_audit=False, snapshot__isnull=False)
    for number, symbol, slot_at, at in under_way.values_list("id", "instrument", "slot_at", "snapshot__timestamp"):
        if chosen(symbol, slot_at, contest.challenger_version, settings.CHALLENGER_SHARE):
            places.append((datetime.fromisoformat(at), number))
    return places
