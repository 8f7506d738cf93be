"""Looks at the record of a challenger: made when enough trades are there, once each, and what follows from them.

With `auto` a record that is better beyond chance promotes the challenger and one that is worse rejects it. With
`manual` a person is told and decides.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from decisions import outbox
from journal import playbook_versions
from journal.performance import Figure, as_document
from journal.playbook import InvalidPlaybook
from journal.playbook_versions import Refused
from reflection import challenger, promotion
from reflection.models import Role, ShadowContest, ShadowLook
from reflection.promotion import Comparison
from reflection.prompts import ChallengerRecord

JUDGE = "the challenger's record"
"""Who decides, where no person does."""
PATIENCE = timedelta(days=14)
MOST_LOOKS = 3
"""How long, in market time, and for how many looks a challenger may earn its place before reflection puts another one
in it."""

log = logging.getLogger(__name__)


@transaction.atomic
def look(contest_id: int, now: datetime) -> ShadowLook | None:
    """Make the look that is due, if one is, and carry out what follows from it."""
    contest = ShadowContest.objects.select_for_update(no_key=True).get(pk=contest_id)
    own, others = (challenger.closed_trades(contest, role) for role in (Role.CHALLENGER, Role.CHAMPION))
    made = contest.looks.count()
    if not promotion.due(len(own), len(others), settings.CHALLENGER_MIN_TRADES, made):
        return None
    from reflection.randomisation import compare  # numpy: only who makes a look needs it

    found = compare(own, others, made + 1)
    record = challenger.record(contest)
    written = ShadowLook.objects.create(
        contest=contest,
        number=found.look,
        verdict=found.verdict,
        level=found.level,
        net_better=found.net_better,
        net_worse=found.net_worse,
        calibration_better=found.calibration_better,
        days=found.days,
        record=as_document(record),
        as_of=now,
    )
    _conclude(contest, found, told(record, found))
    return written


def told(record: ChallengerRecord, found: Comparison) -> str:
    """The figures in a sentence or two."""
    own, others = record.challenger, record.champion
    calibration = "not known" if found.calibration_better is None else _p(found.calibration_better)
    return (
        f"Look {found.look}, over {record.cycles} cycles that both were asked about and {found.days} days that differ: "
        f"net {own.net_pnl} USD of {own.total_trades} shadow trades against {others.net_pnl} USD of "
        f"{others.total_trades} (better: p = {_p(found.net_better)}, worse: p = {_p(found.net_worse)}); Brier score "
        f"{_score(record.challenger_brier_score)} against {_score(record.champion_brier_score)} (better: "
        f"p = {calibration}). Beyond chance is p up to {_p(found.level)}."
    )


def _p(value: float) -> str:
    return f"{value:.4f}"


def _score(figure: Figure) -> str:
    return "unknown" if figure.value is None else f"{figure.value.quantize(Decimal('0.0001'))}"


# --- what follows -----------------------------------------------------------------------------------------------------


def _conclude(contest: ShadowContest, found: Comparison, figures: str) -> None:
    version = contest.challenger_version
    if settings.PLAYBOOK_PROMOTION == "auto" and found.verdict != "undecided":
        decide = _promote if found.verdict == "better" else _reject
        if _decided(decide, version, figures):
            return
    outbox.record_alert(
        "INFO",
        "challenger_record",
        f"The record of playbook {version} is {_in_words(found)}",
        figures,
        "None: a person approves or rejects it" if settings.PLAYBOOK_PROMOTION == "manual" else "It is asked on",
    )


def _in_words(found: Comparison) -> str:
    if found.verdict == "undecided":
        return "not better or worse beyond chance"
    return f"{found.verdict} beyond chance than that of the version that trades"


def _decided(decide: Callable[[int, str], None], version: int, figures: str) -> bool:
    """Whether it was decided so; not where a person was quicker."""
    try:
        with transaction.atomic():
            decide(version, figures)
    except (Refused, InvalidPlaybook) as refusal:
        log.warning("the record of playbook %s decides nothing: %s", version, refusal)
        return False
    return True


def _promote(version: int, figures: str) -> None:
    before = playbook_versions.active().version
    playbook_versions.promote(version, by=JUDGE, reason=figures)
    outbox.record_alert(
        "WARN",
        "challenger_promoted",
        f"Playbook {version} has earned its place",
        figures,
        f"It trades from the next cycle on, instead of version {before}",
    )


def _reject(version: int, figures: str) -> None:
    playbook_versions.reject(version, by=JUDGE, reason=figures)
    outbox.record_alert(
        "WARN",
        "challenger_rejected",
        f"Playbook {version} is worse than the one that trades",
        figures,
        f"It is rejected; version {playbook_versions.active().version} goes on",
    )


def why_reflection_waits(now: datetime) -> str | None:
    """Why no other challenger should be written at market time `now`, or None: each would take the place of one that
    is still earning its own, and none would ever have. One that does in effect what the champion does earns nothing."""
    contest = challenger.contest()
    if contest is None or now - contest.started_at > PATIENCE:
        return None
    last = contest.looks.order_by("number").last()
    if last is not None and (last.number >= MOST_LOOKS or last.days == 0):
        return None
    return f"playbook {contest.challenger_version} is being tried since {contest.started_at:%Y-%m-%d %H:%M} UTC"
