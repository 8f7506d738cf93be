"""The review of one closed trade: asked, judged, and written down in one transaction.

A trade's row is written by whoever books its executions, under the account's lock. The review is put there under the
same lock, and only if the trade is still what was reviewed.
"""

from datetime import UTC, datetime

from django.db import transaction

from decisions import outbox
from decisions.clients.reply import ModelReply
from decisions.clock import wall_now
from decisions.prompts import Prompt
from journal.models import Trade
from journal.performance import as_document
from reflection import question
from reflection.claims import ClaimLost, fail, settle
from reflection.closings import is_of
from reflection.models import Reflection, ReflectionLog
from reflection.prompts import CompletedTrade, post_trade_prompt
from reflection.schemas import TradeReview, why_invalid
from reflection.trade_record import completed_trade, playbook_of
from risk import services as risk


def review(piece: Reflection, now: datetime) -> None:
    """Review the trade of a claimed piece at market time `now`. Raises `ClaimLost`."""
    trade = Trade.objects.get(reflection=piece)
    if not is_of(piece, trade):
        _drop(piece)
        return
    completed = completed_trade(trade)
    prompt = post_trade_prompt(completed, playbook_of(trade))
    reply = question.ask(prompt, TradeReview, now=now, occasion=_occasion(trade))
    if (why := _why_unusable(reply, trade)) is not None:
        _give_up_or_wait(piece, trade, why, again=question.is_worth_repeating(reply))
    elif reply.parsed is not None:
        _save(piece, trade, completed, prompt, reply.parsed)


def _occasion(trade: Trade) -> str:
    """What the question is known by, the same in every run of the same market."""
    closed_at = trade.closed_at or trade.opened_at
    return f"{trade.symbol} {closed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} closed"


def _why_unusable(reply: ModelReply[TradeReview], trade: Trade) -> str | None:
    if reply.parsed is None:
        return f"{reply.outcome}: {reply.error}"
    return None if trade.pnl_usd is None else why_invalid(reply.parsed, trade.pnl_usd)


def _drop(piece: Reflection) -> None:
    """The closing is none any more: the trade is noted again when it is closed."""
    if not Reflection.objects.filter(pk=piece.pk, claim=piece.claim, log=None).delete()[0]:
        raise ClaimLost(f"{piece} is not ours any more")


@transaction.atomic
def _give_up_or_wait(piece: Reflection, trade: Trade, why: str, *, again: bool) -> None:
    if fail(piece, why, again=again):
        outbox.record_alert_at_most(
            outbox.REMINDER,
            "WARN",
            "review_failed",
            title="A closed trade could not be reviewed",
            detail=f"trade {trade.pk}, {trade}: {why}",
            action_taken="It stays in the figures, and nothing is learnt from it alone",
        )


@transaction.atomic
def _save(piece: Reflection, trade: Trade, completed: CompletedTrade, prompt: Prompt, review: TradeReview) -> None:
    """Keep the review on the trade, its log and its suggestion, all or nothing. One that comes after the deep
    reflection that waited for it is new to the next one."""
    risk.lock_state()
    current = Trade.objects.filter(pk=trade.pk).only("status", "closed_at", "pnl_usd", "gross_pnl_usd").get()
    if not is_of(piece, current):
        raise ClaimLost(f"{piece}: the trade is another one meanwhile")
    answered = review.model_dump(mode="json")
    log = ReflectionLog.objects.create(
        reflection_type=ReflectionLog.ReflectionType.POST_TRADE,
        trade_ids=[trade.pk],
        input_prompt=prompt.text,
        output_json=answered,
        old_version=trade.playbook_version,
    )
    Trade.objects.filter(pk=trade.pk).update(self_review=answered, updated_at=wall_now())
    settle(
        piece,
        Reflection.Status.DONE,
        log=log,
        excursion=as_document(completed.excursion),
        suggestion=review.suggestion or "",
        considered_in=_waiting(piece.considered_in),
    )


def _waiting(deep: Reflection | None) -> Reflection | None:
    """The deep reflection, if it has not gone on without the review."""
    return None if deep is None or deep.status != Reflection.Status.WAITING else deep
