"""Looks at the record of a challenger: made when enough trades are there, once each, and what follows from them.

With `auto` a record that is better beyond chance promotes the challenger and one that is worse rejects it. With
`manual` a person is told and decides.
"""

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from decisions import outbox
from journal import playbook_versions
from journal.performance import Figure, as_document
from journal.playbook import InvalidPlaybook
from reflection import challenger, promotion
from reflection.models import Role, ShadowContest, ShadowLook
from reflection.promotion import Comparison
from reflection.prompts import ChallengerRecord

JUDGE = "the challenger's record"
"""Who decides, where no person does."""


def is_due(contest: ShadowContest) -> bool:
    """Whether there are enough trades for the next look."""
    own, others = (
        contest.trades.filter(role=role, closed_at__isnull=False).count() for role in (Role.CHALLENGER, Role.CHAMPION)
    )
    return promotion.due(own, others, settings.CHALLENGER_MIN_TRADES, contest.looks.count())


@transaction.atomic
def look(contest_id: int, now: datetime) -> ShadowLook | None:
    """Make the look that is due, if one is and the contest is not over, and carry out what follows from it."""
    contest = ShadowContest.objects.select_for_update(no_key=True).get(pk=contest_id)
    if not is_due(contest):
        return None
    playbook_versions.lock()  # what it concludes about has to stand until it is carried out
    if not challenger.is_on(contest):
        return None
    from reflection.randomisation import compare  # numpy: only who makes a look needs it

    own, others = (challenger.closed_trades(contest, role) for role in (Role.CHALLENGER, Role.CHAMPION))
    found = compare(own, others, contest.looks.count() + 1)
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
    if settings.PLAYBOOK_PROMOTION == "manual":
        _tell(contest, found, figures, "None: a person approves or rejects it")
    elif found.verdict == "better":
        _promote(contest, found, figures)
    elif found.verdict == "worse":
        _reject(contest, figures)
    else:
        _tell(contest, found, figures, "It is asked on")


def _tell(contest: ShadowContest, found: Comparison, figures: str, action: str) -> None:
    """What was decided and was not carried out is a person's to decide."""
    undecided = found.verdict == "undecided"
    outbox.record_alert(
        "INFO" if undecided else "WARN",
        "challenger_record",
        f"The record of playbook {contest.challenger_version} is "
        + ("not better or worse beyond chance" if undecided else f"{found.verdict} beyond chance than the champion's"),
        figures,
        action,
    )


def _promote(contest: ShadowContest, found: Comparison, figures: str) -> None:
    version = contest.challenger_version
    try:
        with transaction.atomic():
            playbook_versions.promote(version, by=JUDGE, reason=figures)
    except InvalidPlaybook as fault:
        _tell(contest, found, figures, f"None: it cannot be used any more: {fault}")
        return
    outbox.record_alert(
        "WARN",
        "challenger_promoted",
        f"Playbook {version} has earned its place",
        figures,
        f"It trades from the next cycle on, instead of version {contest.champion_version}",
    )


def _reject(contest: ShadowContest, figures: str) -> None:
    version = contest.challenger_version
    playbook_versions.reject(version, by=JUDGE, reason=figures)
    outbox.record_alert(
        "WARN",
        "challenger_rejected",
        f"Playbook {version} is worse than the one that trades",
        figures,
        f"It is rejected; version {contest.champion_version} goes on",
    )
