"""The writers of the playbook: new versions, which of them trades, and what is decided about challengers.

A version is only ever added and its number is the next one, so that two authors can never write over one another: the
later one is told what was written meanwhile and keeps their text. Each function is one transaction under the playbook's
lock and keeps who did it and why. Those of people raise `Refused`, and then nothing was done.

The newest version need not be the one that trades: that is the one promoted last. A challenger is made from the version
that trades. Where another one is promoted it is superseded: it knows nothing of that one's changes and would undo them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import QuerySet

from journal.models import ChallengerDecision, PerformanceSnapshot, PlaybookVersion, Promotion
from journal.playbook import InvalidPlaybook, Playbook, content, diff, playbook_hash, read_playbook
from journal.wording import duration

PromotionMode = Literal["immediate", "manual", "auto"]
"""What becomes of a version that reflection wrote: it trades at once, or it is the challenger until a person or its
record decides."""
Standing = Literal["active", "former", "challenger", "waiting", "rejected", "superseded"]

REFLECTION = "reflection"
LONGEST_NAME = 150
LONGEST_REASON = 1000
LONGEST_SUMMARY = 2000
FIGURES = (
    "snapshot_type", "period_end", "equity", "total_pnl", "win_rate", "profit_factor", "sharpe_ratio", "max_drawdown",
    "total_trades",
)  # fmt: skip


class Refused(ValueError):
    """The facts stand against it; the text says which."""


class NoVersion(Refused):
    """There is no such version."""


class Conflict(Refused):
    """Somebody else was faster. The text names who, when, and what has changed since this author began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an author had before their eyes: the version they edit, the newest one, and the last promotion."""

    edited_from: int
    newest: int
    promotion: int


# --- reading ----------------------------------------------------------------------------------------------------------


def find(version: int) -> PlaybookVersion:
    """Raises `NoVersion`."""
    found = PlaybookVersion.objects.select_related("decision").filter(version=version).first()
    if found is None:
        newest = PlaybookVersion.objects.order_by("-version").first()
        exist = (
            f"they go from 1 to {newest.version}" if newest else "there is none yet, `manage.py seed` writes the first"
        )
        raise NoVersion(f"There is no playbook version {version}: {exist}.")
    return found


def active() -> PlaybookVersion:
    """The version that trades. Raises `NoVersion` before the first is seeded."""
    return _last_promotion().playbook


def challenger() -> PlaybookVersion | None:
    """The version of reflection's that waits for its decision."""
    return _undecided().order_by("-version").first()


def _undecided() -> QuerySet[PlaybookVersion]:
    return PlaybookVersion.objects.filter(promotions=None, decision=None, triggered_by=REFLECTION)


def standing(version: PlaybookVersion, active_version: int | None) -> Standing:
    """Where a version is in its life."""
    if version.version == active_version:
        return "active"
    if version.promotions.all():
        return "former"
    decision = getattr(version, "decision", None)
    if decision is not None:
        return "rejected" if decision.decision == ChallengerDecision.Decision.REJECTED else "superseded"
    return "challenger" if version.triggered_by == REFLECTION else "waiting"


def basis(edited_from: int | None = None) -> Basis:
    """What an author sees who begins now, from the version that trades or another. Raises `NoVersion`."""
    promotion = _last_promotion()
    edited = promotion.playbook if edited_from is None else find(edited_from)
    return Basis(edited_from=edited.version, newest=_newest().version, promotion=promotion.pk)


def changes(old: PlaybookVersion, new: PlaybookVersion) -> list[str]:
    """What differs, in words. Raises `journal.playbook.InvalidPlaybook` where one cannot be read any more."""
    return diff(read_playbook(old.playbook_json), read_playbook(new.playbook_json))


def _says(version: PlaybookVersion) -> dict[str, Any]:
    """The content of a version as it is stored, whether or not it could be read today."""
    return {name: value for name, value in version.playbook_json.items() if name not in ("version", "last_updated")}


def _differences(old: PlaybookVersion, playbook: Playbook) -> list[str]:
    try:
        return diff(read_playbook(old.playbook_json), playbook)
    except InvalidPlaybook as error:
        return [f"Version {old.version} cannot be read any more: {error}"]


def author(version: PlaybookVersion) -> str:
    """Who wrote it, as far as it was kept."""
    return version.created_by or version.triggered_by


def _newest() -> PlaybookVersion:
    return PlaybookVersion.objects.latest("version")


def _last_promotion() -> Promotion:
    promotion = Promotion.objects.select_related("playbook").order_by("-id").first()
    if promotion is None:
        raise NoVersion("There is no playbook yet: `manage.py seed` writes the first.")
    return promotion


# --- new versions -----------------------------------------------------------------------------------------------------


@transaction.atomic
def save_manual(
    playbook: Playbook, *, basis: Basis, by: str, reason: str, now: datetime, promote: bool
) -> PlaybookVersion:
    """Write what a person made of the version they edited, and with `promote` let it trade from the next cycle on.

    Raises `Conflict` when a version was written or promoted since `basis`, `Refused` when nothing was changed.
    """
    lock()
    by, reason = _signed(by, reason)
    _refuse_conflict(basis)
    edited = find(basis.edited_from)
    if _says(edited) == content(playbook):
        raise Refused(f"Nothing was changed: it says what version {edited.version} says.")
    summary = "; ".join(_differences(edited, playbook)) or "Written in another way."
    if edited.version != active().version:
        summary = f"From version {edited.version}: {summary}"
    version = _add(playbook, PlaybookVersion.TriggeredBy.MANUAL, by, reason, summary, now)
    if promote:
        _promote(version, by, reason)
    return version


@transaction.atomic
def save_reflection(
    playbook: Playbook,
    *,
    basis: Basis,
    change_summary: str,
    performance: dict[str, Any] | None,
    promotion: PromotionMode,
    now: datetime,
) -> PlaybookVersion:
    """Write what reflection made of the version it was shown; it is never lost.

    With `immediate` it trades from the next cycle on, unless another version was promoted since `basis`: that word is
    not overwritten, and the version waits as the challenger, which is what the other modes make of it. A version that
    somebody wrote and nobody has promoted is in nobody's way. An earlier challenger is superseded.
    """
    lock()
    overtaken = _meanwhile(basis) if _promotions_since(basis.promotion) else ""
    _supersede(REFLECTION, "Reflection wrote another version.")
    reason = f"It was shown version {basis.edited_from}. {overtaken}" if overtaken else ""
    made_by = PlaybookVersion.TriggeredBy.REFLECTION
    version = _add(playbook, made_by, REFLECTION, reason, change_summary, now, performance)
    if promotion == "immediate" and not overtaken:
        _promote(version, REFLECTION, "A version that reflection writes trades at once (PLAYBOOK_PROMOTION=immediate).")
    return version


@transaction.atomic
def roll_back(
    version: int, *, by: str, reason: str, now: datetime, seen_promotion: int | None = None
) -> PlaybookVersion:
    """Write an earlier version once more and let it trade from the next cycle on.

    Raises `Refused` when that is what trades already and for a version that waits for its decision, `Conflict` when
    something was promoted since `seen_promotion`, and `journal.playbook.InvalidPlaybook` when the old version would not
    be accepted any more.
    """
    lock()
    by, reason = _signed(by, reason)
    _refuse_promoted_since(seen_promotion)
    old, current = find(version), active()
    if standing(old, current.version) in ("challenger", "waiting"):
        raise Refused(f"Version {version} has never traded and waits for its decision: promote it instead.")
    playbook = read_playbook(old.playbook_json)
    if _says(current) == content(playbook):
        raise Refused(f"Version {current.version}, which trades now, says what version {version} says.")
    summary = f"Rolled back from version {current.version} to version {version}."
    written = _add(playbook, PlaybookVersion.TriggeredBy.MANUAL, by, reason, summary, now)
    _promote(written, by, reason)
    return written


def _add(
    playbook: Playbook,
    triggered_by: str,
    by: str,
    reason: str,
    summary: str,
    now: datetime,
    performance: dict[str, Any] | None = None,
) -> PlaybookVersion:
    numbered = playbook.model_copy(update={"version": _newest().version + 1, "last_updated": now.astimezone(UTC)})
    return PlaybookVersion.objects.create(
        version=numbered.version,
        playbook_json=numbered.model_dump(mode="json"),
        content_hash=playbook_hash(numbered),
        change_summary=summary if len(summary) <= LONGEST_SUMMARY else f"{summary[: LONGEST_SUMMARY - 3]}...",
        triggered_by=triggered_by,
        created_by=by,
        reason=reason,
        performance_at_update=_performance() if performance is None else performance,
    )


def _performance() -> dict[str, Any] | None:
    """The figures of the last day that is over, or nothing while there is none."""
    daily = PerformanceSnapshot.objects.filter(snapshot_type=PerformanceSnapshot.SnapshotType.DAILY)
    last = daily.order_by("-period_end").values(*FIGURES).first()
    if last is None:
        return None
    return {
        name: value if value is None or isinstance(value, int | str) else _plain(value) for name, value in last.items()
    }


def period_of(performance: Mapping[str, Any]) -> str:
    """How much time the figures that were kept with a version cover: a person's version keeps those of the last day,
    reflection's those of the period that it rests on."""
    if "period_start" not in performance:
        return "the last day"
    start, end = (datetime.fromisoformat(performance[name]) for name in ("period_start", "period_end"))
    return duration(end - start)


def _plain(value: Any) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


# --- which one trades -------------------------------------------------------------------------------------------------


@transaction.atomic
def promote(version: int, *, by: str, reason: str, seen_promotion: int | None = None) -> Promotion:
    """Let a version that has never traded trade from the next cycle on; a challenger is approved by it.

    Raises `Refused` for one that has traded or was decided against: that is a roll-back, and makes a new version.
    """
    lock()
    by, reason = _signed(by, reason)
    _refuse_promoted_since(seen_promotion)
    found = _waiting(version)
    read_playbook(found.playbook_json)
    if found.triggered_by == REFLECTION:
        _decide(found, ChallengerDecision.Decision.APPROVED, by, reason)
    return _promote(found, by, reason)


@transaction.atomic
def reject(version: int, *, by: str, reason: str) -> ChallengerDecision:
    """Decide that a version that waits will not trade. Raises `Refused` for one that does not wait."""
    lock()
    by, reason = _signed(by, reason)
    return _decide(_waiting(version), ChallengerDecision.Decision.REJECTED, by, reason)


def _waiting(version: int) -> PlaybookVersion:
    found = find(version)
    match standing(found, active().version):
        case "active":
            raise Refused(f"Version {version} is the one that trades already.")
        case "former":
            raise Refused(f"Version {version} has traded before: roll back to it.")
        case "rejected" | "superseded":
            decided = found.decision
            raise Refused(
                f"Version {version} was {decided.decision} by {decided.decided_by}, {_moment(decided.created_at)}:"
                f" {decided.reason} Roll back to it to trade by it all the same."
            )
        case _:
            return found


def _promote(version: PlaybookVersion, by: str, reason: str) -> Promotion:
    promotion = Promotion.objects.create(playbook=version, promoted_by=by, reason=reason)
    _supersede(by, f"Version {version.version} was promoted: this one was made from the version before.")
    return promotion


def _supersede(by: str, reason: str) -> None:
    """End what waits of reflection's."""
    for waiting in _undecided():
        _decide(waiting, ChallengerDecision.Decision.SUPERSEDED, by, reason)


def _decide(version: PlaybookVersion, decision: str, by: str, reason: str) -> ChallengerDecision:
    return ChallengerDecision.objects.create(playbook=version, decision=decision, decided_by=by, reason=reason)


# --- one author after the other ---------------------------------------------------------------------------------------


def lock() -> None:
    """Wait until nobody else writes the playbook, and keep them waiting until the transaction ends: for whoever decides
    by what stands there. The first version, which is always there, stands for all of it."""
    if PlaybookVersion.objects.select_for_update(no_key=True).order_by("version").first() is None:
        raise NoVersion("There is no playbook yet: `manage.py seed` writes the first.")


def _signed(by: str, reason: str) -> tuple[str, str]:
    by, reason = by.strip(), reason.strip()
    if not 0 < len(by) <= LONGEST_NAME:
        raise Refused(f"A name of 1 to {LONGEST_NAME} characters is needed: it is kept.")
    if not 0 < len(reason) <= LONGEST_REASON:
        raise Refused(f"A reason of 1 to {LONGEST_REASON} characters is needed: it is kept.")
    return by, reason


def _refuse_conflict(basis: Basis) -> None:
    if told := _meanwhile(basis):
        raise Conflict(told)


def _refuse_promoted_since(seen: int | None) -> None:
    if seen is not None and (told := _promotions_since(seen)):
        raise Conflict(told)


def _meanwhile(basis: Basis) -> str:
    """What was written and promoted since an author began; empty when nothing was."""
    written = list(PlaybookVersion.objects.filter(version__gt=basis.newest).order_by("version"))
    told = [
        f"Version {each.version} was written meanwhile by {author(each)}, {_moment(each.created_at)}"
        f"{f': {each.reason}' if each.reason else '.'}"
        for each in written
    ]
    if written:
        edited, newest = find(basis.edited_from), written[-1]
        told.append(f"What version {newest.version} changes in version {edited.version}:")
        told += _differences(edited, read_playbook(newest.playbook_json))
    else:
        told += [line for line in [_promotions_since(basis.promotion)] if line]
    return "\n".join(told)


def _promotions_since(seen: int) -> str:
    last = _last_promotion()
    if last.pk == seen:
        return ""
    return (
        f"Version {last.playbook.version} was promoted meanwhile by {last.promoted_by}, {_moment(last.created_at)}:"
        f" {last.reason}"
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
