"""The deep reflection: a period's trades, reviews and figures shown to the model, and the playbook that comes of it.

What the model proposes is read like what a person types. A playbook with a fault in it changes nothing: the log keeps
the answer with every fault named, a person is told, and the current version goes on.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import transaction

from decisions import outbox
from decisions.clients.reply import ModelReply
from decisions.clock import older_than, wall_now
from decisions.prompts import Prompt
from journal import playbook_versions
from journal.models import PlaybookVersion
from journal.performance import PerformanceSummary, Period, as_document
from journal.playbook import InvalidPlaybook, Playbook, content, diff
from journal.playbook_versions import PromotionMode
from journal.services import playbook as playbook_version
from reflection import candidacy, due, period_record, question, trial
from reflection.challenger import record_of
from reflection.claims import fail, settle
from reflection.digest import ReviewedTrade
from reflection.models import Reflection, ReflectionLog
from reflection.prompts import ChallengerRecord, FailedChallenger, PromptTooLong, deep_reflection_prompt
from reflection.schemas import DeepReflectionResult, playbook_of

REVIEWS_PATIENCE = timedelta(minutes=30)
"""How long it waits for the reviews of its trades, wall time: longer than all the attempts at one."""
LONGEST_DETAIL = 2000
MOST_FAILED_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What was shown: the version to be improved on and where it stood, the trades and their figures."""

    basis: playbook_versions.Basis
    playbook: Playbook
    trades: Sequence[ReviewedTrade]
    performance: PerformanceSummary
    prompt: Prompt


def why_waiting(piece: Reflection) -> str | None:
    """Why an open deep reflection does not go on yet, or None."""
    waiting = piece.considered.filter(status=Reflection.Status.WAITING).count()
    if waiting and not older_than(piece.created_at, REVIEWS_PATIENCE, wall_now()):
        return f"waits for {waiting} review{'s' if waiting > 1 else ''} of its trades"
    return None


def reflect(piece: Reflection, now: datetime) -> None:
    """Carry out a claimed deep reflection at market time `now`. Raises `ClaimLost`."""
    try:
        asked = _question(piece)
    except PromptTooLong as error:
        _end_without(piece, str(error))
        return
    reply = question.ask(asked.prompt, DeepReflectionResult, now=now, occasion=_occasion(piece))
    if reply.parsed is None:
        _end_or_wait(piece, asked, reply)
    else:
        trial.go_on(now)  # a look that is due is made before another version may take the challenger's place
        _conclude(piece, asked, reply.parsed, now)


def _occasion(piece: Reflection) -> str:
    """What the question is known by, the same in every run of the same market."""
    return f"period {piece.as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _question(piece: Reflection) -> _Question:
    basis = playbook_versions.basis()
    shown = playbook_version(basis.edited_from)
    period = Period(start=cast(datetime, piece.period_start), end=piece.as_of)
    trades, performance = period_record.reviewed_trades(piece, period), period_record.performance(period)
    before = due.last_done()
    prompt = deep_reflection_prompt(
        playbook=shown,
        performance=performance,
        trades=trades,
        since=None if before is None else before.as_of,
        challenger=_challenger_record(),
        failed=_failed_challengers(),
    )
    return _Question(basis=basis, playbook=shown, trades=trades, performance=performance, prompt=prompt)


def _challenger_record() -> ChallengerRecord | None:
    """How the version that waits for its decision did in shadow, if there is one and it was asked."""
    waiting = playbook_versions.challenger()
    return None if waiting is None else record_of(waiting.version)


def _failed_challengers() -> list[FailedChallenger]:
    """The newest of what has failed against the version that trades; what cannot be read any more is left out."""
    found = []
    for version in candidacy.failed()[:MOST_FAILED_TOLD]:
        with suppress(InvalidPlaybook):
            changes = playbook_versions.changes(playbook_versions.active(), version)
            found.append(FailedChallenger.told(version.version, changes, version.decision.reason))
    return found


# --- nothing came of it ---------------------------------------------------------------------------------------------


@transaction.atomic
def _end_or_wait(piece: Reflection, asked: _Question, reply: ModelReply[DeepReflectionResult]) -> None:
    why = f"{reply.outcome}: {reply.error}"
    if fail(piece, why, again=question.is_worth_repeating(reply)):
        log = _log(asked, None, {"refused": [why]}, None)
        Reflection.objects.filter(pk=piece.pk).update(log=log)
        _tell_failed(why)


@transaction.atomic
def _end_without(piece: Reflection, why: str) -> None:
    log = ReflectionLog.objects.create(
        reflection_type=ReflectionLog.ReflectionType.PERIODIC,
        trade_ids=list(piece.considered.order_by("as_of", "trade_id").values_list("trade_id", flat=True)),
        playbook_changes={"refused": [why]},
        old_version=playbook_versions.active().version,
    )
    settle(piece, Reflection.Status.GIVEN_UP, why, log=log)
    _tell_failed(why)


def _tell_failed(why: str) -> None:
    outbox.record_alert(
        "WARN",
        "reflection_failed",
        "A deep reflection came to nothing",
        why[:LONGEST_DETAIL],
        "The current playbook goes on; its trades are new to the next reflection",
    )


# --- a playbook -----------------------------------------------------------------------------------------------------


@transaction.atomic
def _conclude(piece: Reflection, asked: _Question, result: DeepReflectionResult, now: datetime) -> None:
    """Keep the answer, and write the new version where it has one to write."""
    try:
        proposed = playbook_of(result, version=asked.playbook.version + 1, now=now)
    except InvalidPlaybook as error:
        _refuse(piece, asked, result, [str(fault) for fault in error.faults])
        return
    changes = diff(asked.playbook, proposed)
    playbook_versions.lock()
    version, reason = None, ""
    if content(asked.playbook) == content(proposed):
        reason = "the playbook stays as it is"
    elif why := candidacy.why_put_aside(proposed, asked.playbook.version, now):
        reason = f"the proposal is put aside: {why}"
    else:
        version = _write(asked, proposed, result, now)
    log = _log(asked, result, {"changes": changes}, version)
    settle(piece, Reflection.Status.DONE, reason, log=log)
    if version is not None:
        _tell_updated(version, asked.playbook.version, changes)


def _refuse(piece: Reflection, asked: _Question, result: DeepReflectionResult, faults: list[str]) -> None:
    why = f"the proposed playbook is refused: {'; '.join(faults)}"
    log = _log(asked, result, {"refused": faults}, None)
    settle(piece, Reflection.Status.GIVEN_UP, why, log=log)
    _tell_failed(why)


def _write(asked: _Question, proposed: Playbook, result: DeepReflectionResult, now: datetime) -> PlaybookVersion:
    return playbook_versions.save_reflection(
        proposed,
        basis=asked.basis,
        change_summary=result.summary,
        performance=_figures(asked.performance),
        promotion=cast(PromotionMode, settings.PLAYBOOK_PROMOTION),
        now=now,
    )


def _figures(performance: PerformanceSummary) -> dict[str, Any]:
    """What is kept with a version of how it went until then; the whole of it is in the prompt of the log."""
    total, account = performance.total, performance.account
    drawdown = account.max_drawdown
    return as_document(
        {
            "period_start": performance.period.start,
            "period_end": performance.period.end,
            "equity": account.closing_equity,
            "total_pnl": total.total_pnl,
            "win_rate": total.win_rate.value,
            "profit_factor": total.profit_factor.value,
            "sharpe_ratio": account.sharpe_ratio.value,
            "max_drawdown": None if drawdown is None else drawdown.depth,
            "total_trades": total.total_trades,
        }
    )


def _log(
    asked: _Question, result: DeepReflectionResult | None, changes: dict[str, Any], version: PlaybookVersion | None
) -> ReflectionLog:
    return ReflectionLog.objects.create(
        reflection_type=ReflectionLog.ReflectionType.PERIODIC,
        trade_ids=period_record.numbers([each for each in asked.trades if each.is_new]),
        input_prompt=asked.prompt.text,
        output_json=None if result is None else result.model_dump(mode="json"),
        playbook_changes=changes,
        old_version=asked.playbook.version,
        new_version=None if version is None else version.version,
    )


def _tell_updated(version: PlaybookVersion, old: int, changes: Sequence[str]) -> None:
    """A challenger that nobody is going to try waits for a person."""
    active = playbook_versions.active().version
    tried = settings.PLAYBOOK_PROMOTION != "immediate" and settings.CHALLENGER_SHARE > 0
    if active == version.version:
        action = f"It trades from the next cycle on, in place of version {old}"
    elif tried:
        action = f"It is the challenger and has its trial; version {active} goes on"
    else:
        action = f"None: a person approves or rejects it; version {active} goes on"
    outbox.record_alert(
        "INFO" if tried or active == version.version else "WARN",
        "playbook_updated",
        f"Reflection wrote playbook version {version.version}",
        "; ".join(changes)[:LONGEST_DETAIL],
        action,
    )
