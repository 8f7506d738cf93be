"""The shadow venue: brings the two books of a contest forward, through recorded prices and the answers that came.

Both books go through the same events in the order of market time, whatever order the answers came in: where one is
still outstanding the books wait, at most for the length of a cycle. Each price and each answer is told once, also
after a restart: a book knows how far it is, and is written down in the transaction of what happened to it.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.db import transaction

from decisions import context, exposure
from decisions.clock import wall_now
from decisions.grounding import OPENINGS
from decisions.messages import MarketSnapshot, Position
from decisions.models import DecisionCycle, MarketRecord
from decisions.schemas import AnalysisAnswer
from journal.services import playbook
from reflection import challenger
from reflection.models import Role, ShadowContest, ShadowQuestion, ShadowTrade
from reflection.shadow_book import ShadowAnswer, ShadowBook
from reflection.shadow_question import NOTHING_USABLE, Place, leave_out, outstanding
from reflection.shadow_state import BookState
from reflection.shadow_trades import BookedTrade, Direction

CENT_OF_A_CENT = Decimal("0.0001")
TOO_LATE = "the prices had gone on before its answer could be followed"
Books = Mapping[str, ShadowBook]


@transaction.atomic
def play(contest_id: int, now: datetime) -> ShadowContest:
    """Bring the books up to market time `now`, or as far as the answers are there."""
    contest = ShadowContest.objects.select_for_update(no_key=True).get(pk=contest_id)
    books = {role: challenger.book(BookState.from_json(contest.books[role])) for role in Role.values}
    places = outstanding(contest)
    for asked in _answered(contest, now, before=min(places, default=None)):
        _tell_prices(contest, books, asked.snapshot_at)
        _follow(contest, books, asked)
    until = min([now, *(at for at, _ in places)])
    _tell_prices(contest, books, until)
    contest.books = {role: book.state.to_json() for role, book in books.items()}
    contest.played_until = max(until, contest.played_until or until)
    contest.save(update_fields=["books", "played_until"])
    return contest


def _answered(contest: ShadowContest, now: datetime, before: Place | None) -> list[ShadowQuestion]:
    """The answers that can be followed now, in their order."""
    found = contest.questions.filter(status=ShadowQuestion.Status.ANSWERED, snapshot_at__lte=now)
    ordered = found.select_related("cycle").order_by("snapshot_at", "cycle_id")
    return [asked for asked in ordered if before is None or (asked.snapshot_at, asked.cycle_id) < before]


# --- prices -----------------------------------------------------------------------------------------------------------


def _tell_prices(contest: ShadowContest, books: Books, until: datetime) -> None:
    """Tell both books the recorded prices of what either holds."""
    held = {(symbol, book.told_until(symbol)) for book in books.values() for symbol in book.symbols}
    known = [at for _, at in held if at is not None]
    if not known:
        return
    symbols = {symbol for symbol, _ in held}
    records = MarketRecord.objects.filter(symbol__in=symbols, at__gt=min(known), at__lte=until)
    for payload in records.order_by("at", "symbol").values_list("payload", flat=True).iterator(chunk_size=500):
        snapshot = MarketSnapshot.model_validate(payload)
        for role, book in books.items():
            _keep(contest, role, book.on_snapshot(snapshot))


# --- answers ----------------------------------------------------------------------------------------------------------


def _follow(contest: ShadowContest, books: Books, asked: ShadowQuestion) -> None:
    """Follow both answers of a cycle, each in its own book."""
    cycle = asked.cycle
    snapshot = context.snapshot_of(cycle)
    told = [at for book in books.values() if (at := book.told_until(snapshot.symbol)) is not None]
    if any(at > snapshot.timestamp for at in told):
        leave_out(asked, TOO_LATE)
        return
    answers = {Role.CHALLENGER: asked.answer, Role.CHAMPION: cycle.decision}
    consequences = {}
    for role, version in challenger.versions_of(contest).items():
        written = cast(dict[str, Any], answers[Role(role)])
        if (why := written.get(NOTHING_USABLE)) is not None:  # it trades nothing
            _keep(contest, role, books[role].on_snapshot(snapshot))
            consequences[role] = {"action": "HOLD", "outcome": NOTHING_USABLE, "reason": why}
            continue
        answer = AnalysisAnswer.model_validate_json(json.dumps(written))
        consequence = books[role].on_answer(_as_told(cycle, snapshot, answer, version, books[role]))
        _keep(contest, role, consequence.trades)
        consequences[role] = {
            "action": answer.decision.action,
            "outcome": consequence.outcome,
            "reason": consequence.reason,
        }
    asked.status, asked.consequences, asked.ended_at = ShadowQuestion.Status.FOLLOWED, consequences, wall_now()
    asked.save(update_fields=["status", "consequences", "ended_at"])


def _as_told(
    cycle: DecisionCycle, snapshot: MarketSnapshot, answer: AnalysisAnswer, version: int, book: ShadowBook
) -> ShadowAnswer:
    return ShadowAnswer(
        cycle_number=cycle.pk,
        answer=answer,
        playbook=playbook(version),
        snapshot=snapshot,
        shown=_shown(cycle),
        openings_blocked=cycle.openings_blocked_reason if cycle.openings_blocked else "",
        correlations=_correlations(book, answer, snapshot),
    )


def _shown(cycle: DecisionCycle) -> Direction | None:
    """The side of the position that the question showed in the instrument."""
    positions = [Position.model_validate(each) for each in cycle.positions or ()]
    position = context.position_in(cycle.instrument, positions)
    if position is None:
        return None
    return "LONG" if position.pos_side == "long" else "SHORT"


def _correlations(book: ShadowBook, answer: AnalysisAnswer, snapshot: MarketSnapshot) -> dict[str, Decimal | None]:
    if answer.decision.action not in OPENINGS:
        return {}
    return exposure.correlations(snapshot.symbol, book.symbols, snapshot.timestamp)


# --- rows -------------------------------------------------------------------------------------------------------------


def _keep(contest: ShadowContest, role: str, trades: Iterable[BookedTrade]) -> None:
    """Write down the trades that have changed."""
    for trade in trades:
        ShadowTrade.objects.update_or_create(
            contest=contest,
            role=role,
            cycle_number=trade.plan.cycle_number,
            defaults={"playbook_version": challenger.versions_of(contest)[role], **_columns(trade)},
        )


def _columns(trade: BookedTrade) -> dict[str, Any]:
    return {
        "symbol": trade.symbol,
        "direction": trade.direction,
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "strategy": trade.plan.strategy,
        "regime": trade.plan.regime,
        "confidence": trade.plan.confidence,
        "entry_price": trade.entry_price,
        "exit_price": trade.exit_price,
        "stop_loss": trade.stop_loss,
        "take_profit": trade.take_profit,
        "size": trade.size,
        "entry_notional_usd": trade.entry_value.quantize(CENT_OF_A_CENT),
        "gross_pnl_usd": trade.gross_pnl,
        "fees_usd": trade.fees,
        "funding_usd": trade.funding,
        "pnl_usd": None if trade.closed_at is None else trade.pnl,
        "exit_reason": trade.exit_reason,
    }
