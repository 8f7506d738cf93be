"""Whether what reflection proposes becomes the challenger or is put aside: the one rule about it.

A challenger is looked at several times, each look at a stricter level (`reflection.promotion`), and that is worth
something only while it stays: an idea an hour would never be tried out, and the same idea under a new number would
begin again at the mildest level. So one at a time has its trial, and what has failed does not come again.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q

from journal import playbook_versions
from journal.models import ChallengerDecision, PlaybookVersion
from journal.playbook import Playbook
from reflection import challenger
from reflection.closings import LOOK_BACK
from reflection.models import ShadowContest, ShadowLook

PATIENCE = LOOK_BACK
MOST_LOOKS = 3
"""How long, in market time since it was written, and for how many looks a challenger may earn its place before
reflection puts another one in it."""
MEASURED = frozenset(
    {"version", "last_updated", "historical_winrate", "avg_rr", "confidence_calibration", "id", "date", "evidence"}
)
"""What a playbook notes of what was measured, and how it names things: it tells nobody what to do."""


def why_put_aside(proposed: Playbook, shown: int, now: datetime) -> str | None:
    """Why a playbook that reflection made of version `shown` is not written as the challenger at market time `now`, or
    None. The answer holds while the playbook's lock is held."""
    if settings.PLAYBOOK_PROMOTION == "immediate":
        return None
    trades, waiting = playbook_versions.active(), playbook_versions.challenger()
    if trades.version != shown:
        return f"version {trades.version} trades by now, and it was made from version {shown}"
    says = instructions(proposed.model_dump(mode="json"))
    if says == instructions(trades.playbook_json):
        return f"but for measured numbers it says what version {shown} says"
    for other in (*failed(), *([waiting] if waiting else [])):
        if says == instructions(other.playbook_json):
            how = "is on trial" if other == waiting else f"was {other.decision.decision}"
            return f"it says what version {other.version} says, which {how}"
    return None if waiting is None else _why_protected(waiting, now)


def instructions(value: Any) -> Any:
    """What a playbook tells to do, what is enforced and what is only read, whatever the order."""
    if isinstance(value, Mapping):
        return {name: instructions(each) for name, each in value.items() if name not in MEASURED}
    if isinstance(value, list):
        return sorted(map(instructions, value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


def failed() -> list[PlaybookVersion]:
    """What had its chance against the version that trades, the newest first: rejected, or superseded after a look."""
    promotion = playbook_versions.active().promotions.latest("id")
    looked_at = ShadowContest.objects.filter(champion_version=promotion.playbook.version, looks__isnull=False)
    rejected = Q(decision__decision=ChallengerDecision.Decision.REJECTED)
    superseded = Q(
        decision__decision=ChallengerDecision.Decision.SUPERSEDED, version__in=looked_at.values("challenger_version")
    )
    of_reflection = PlaybookVersion.objects.filter(triggered_by=playbook_versions.REFLECTION)
    since = of_reflection.filter(decision__created_at__gte=promotion.created_at).select_related("decision")
    return list(since.filter(rejected | superseded).order_by("-version"))


def _why_protected(waiting: PlaybookVersion, now: datetime) -> str | None:
    contest = challenger.newest_contest_of(waiting.version)
    last = None if contest is None else contest.looks.order_by("number").last()
    if settings.PLAYBOOK_PROMOTION == "manual" and last is not None and last.verdict != ShadowLook.Verdict.UNDECIDED:
        return f"version {waiting.version} waits for a person: look {last.number} found it {last.verdict}"
    written = datetime.fromisoformat(waiting.playbook_json["last_updated"])
    if now - written > PATIENCE:
        return None
    if last is not None and (last.number >= MOST_LOOKS or last.days == 0):  # no day differs: it does the same in effect
        return None
    made = 0 if last is None else last.number
    return f"version {waiting.version} is on trial since {written:%Y-%m-%d %H:%M} UTC: {made} of {MOST_LOOKS} looks"
