"""The challenger, the contest it is in, and the two records side by side.

A contest is one challenger against the version that trades meanwhile. Where either of the two becomes another version
it is over for good, and the next begins with empty books: a record is never mixed from several opponents.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import QuerySet

from journal import playbook_versions
from journal.performance import ClosedTrade
from journal.performance.calibration import calibration
from journal.performance.outcomes import trade_figures
from journal.playbook_versions import NoVersion
from reflection.models import Role, ShadowContest, ShadowQuestion, ShadowTrade
from reflection.prompts import ChallengerRecord
from reflection.shadow_book import ShadowBook
from reflection.shadow_state import BookState

NO_COSTS = Decimal(0)
"""Models are paid for from the real account: a shadow trade bears none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opponents:
    """The versions of a contest."""

    challenger: int
    champion: int


def opponents() -> Opponents | None:
    """Who is against whom now; None while there is no challenger, and where reflection's playbooks trade at once."""
    if settings.PLAYBOOK_PROMOTION == "immediate":
        return None
    challenger = playbook_versions.challenger()
    if challenger is None:
        return None
    try:
        return Opponents(challenger=challenger.version, champion=playbook_versions.active().version)
    except NoVersion:
        return None


def is_on(contest: ShadowContest) -> bool:
    """Whether the two are still against one another."""
    versions = versions_of(contest)
    return opponents() == Opponents(challenger=versions[Role.CHALLENGER], champion=versions[Role.CHAMPION])


def contest() -> ShadowContest | None:
    """The contest that is on, once the challenger has been asked."""
    against = opponents()
    if against is None:
        return None
    return ShadowContest.objects.filter(
        challenger_version=against.challenger, champion_version=against.champion
    ).first()


def versions_of(contest: ShadowContest) -> dict[str, int]:
    """The version behind each book."""
    return {Role.CHALLENGER: contest.challenger_version, Role.CHAMPION: contest.champion_version}


def book(written: BookState) -> ShadowBook:
    """A shadow book under the limits in force."""
    return ShadowBook(
        written,
        limits=settings.RISK_LIMITS,
        limit_order_life=timedelta(seconds=settings.ORDER_TTL_LIMIT_SECONDS),
    )


# --- records ----------------------------------------------------------------------------------------------------------


def closed_trades(contest: ShadowContest, role: str) -> list[ClosedTrade]:
    """The closed shadow trades of one side, in the order of closing."""
    rows = contest.trades.filter(role=role, closed_at__isnull=False).order_by("closed_at", "id")
    return [_as_closed(row) for row in rows]


def _as_closed(row: ShadowTrade) -> ClosedTrade:
    return ClosedTrade(
        opened_at=row.opened_at,
        closed_at=row.closed_at or row.opened_at,
        symbol=row.symbol,
        entry_notional=row.entry_notional_usd,
        gross_pnl=row.gross_pnl_usd,
        fees=row.fees_usd,
        funding=row.funding_usd,
        strategy=row.strategy,
        regime=row.regime,
        exit_reason=row.exit_reason,
        playbook_version=row.playbook_version,
        confidence=row.confidence,
    )


def followed(contest: ShadowContest) -> QuerySet[ShadowQuestion]:
    """The cycles on which both answers were followed."""
    return contest.questions.filter(status=ShadowQuestion.Status.FOLLOWED)


def record(contest: ShadowContest) -> ChallengerRecord:
    """How both did so far, on the same cycles and prices."""
    own, others = closed_trades(contest, Role.CHALLENGER), closed_trades(contest, Role.CHAMPION)
    return ChallengerRecord(
        version=contest.challenger_version,
        cycles=followed(contest).count(),
        challenger=trade_figures(own, NO_COSTS),
        champion=trade_figures(others, NO_COSTS),
        challenger_brier_score=calibration(own).brier_score,
        champion_brier_score=calibration(others).brier_score,
    )


def newest_contest_of(version: int) -> ShadowContest | None:
    """The last contest that a version challenged in."""
    return ShadowContest.objects.filter(challenger_version=version).order_by("-id").first()


def record_of(version: int) -> ChallengerRecord | None:
    """How a version did in its last contest; None where it was never asked."""
    newest = newest_contest_of(version)
    return None if newest is None else record(newest)
