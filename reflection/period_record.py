"""A period as a deep reflection looks at it: its trades with their reviews, its performance, and what both rest on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from django.conf import settings
from django.db.models import Sum

from decisions.models import MarketRecord, ModelCall
from journal.excursion import Excursion
from journal.models import Trade
from journal.performance import Figure, PerformanceSummary, Period, PriceSpan
from journal.performance_snapshots import closed_trade, performance_of
from reflection.closings import is_of
from reflection.digest import Direction, ReviewedTrade
from reflection.models import Reflection
from reflection.schemas import TradeReview

UNREVIEWED = "its review is not there yet"
FIGURES = ("adverse", "favourable", "adverse_r", "favourable_r", "risk")


# --- performance ----------------------------------------------------------------------------------------------------


def model_costs(start: datetime, end: datetime) -> Decimal:
    """What models cost after `start` and up to `end`, in USD, whoever answered: an offline answer at the real price."""
    calls = ModelCall.objects.filter(market_time__gt=start, market_time__lte=end)
    return calls.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)


def price_spans(start: datetime, end: datetime) -> list[PriceSpan]:
    """The instruments that are traded now and whose price was known at both moments: the newest snapshot, if it was no
    older than what opens nothing."""
    found = []
    for symbol in settings.INSTRUMENTS:
        first, last = _price(symbol, start), _price(symbol, end)
        if first is not None and last is not None:
            found.append(PriceSpan(symbol=symbol, first=first, last=last))
    return found


def _price(symbol: str, at: datetime) -> Decimal | None:
    oldest = at - timedelta(seconds=settings.MAX_SNAPSHOT_AGE_SECONDS)
    known = MarketRecord.objects.filter(symbol=symbol, at__lte=at, at__gte=oldest)
    return known.order_by("-at").values_list("price", flat=True).first()


def performance(period: Period) -> PerformanceSummary:
    """The figures of a period, model costs and holding included."""
    return performance_of(period, costs=model_costs, prices=price_spans)


# --- trades ---------------------------------------------------------------------------------------------------------


def reviewed_trades(piece: Reflection, period: Period) -> list[ReviewedTrade]:
    """The trades that closed in the period of a deep reflection, and those that are new to it whenever they closed."""
    new = {each.pk: each for each in _new_trades(piece)}
    unseen = ("opus_reasoning", "indicators_entry", "indicators_exit", "research_context")
    closed = Trade.objects.filter(
        status=Trade.Status.CLOSED, closed_at__gt=period.start, closed_at__lte=period.end
    ).defer(*unseen)
    found = new | {each.pk: each for each in closed.select_related("reflection")}
    return [_reviewed(trade, is_new=number in new) for number, trade in found.items()]


def _new_trades(piece: Reflection) -> Iterable[Trade]:
    return Trade.objects.filter(status=Trade.Status.CLOSED, reflection__considered_in=piece).select_related(
        "reflection"
    )


def _reviewed(trade: Trade, *, is_new: bool) -> ReviewedTrade:
    piece = getattr(trade, "reflection", None)
    review = _review(trade, piece)
    return ReviewedTrade(
        number=trade.pk,
        direction=cast(Direction, trade.direction),
        trade=closed_trade(trade),
        is_new=is_new,
        excursion=None if review is None or piece is None else _excursion(piece.excursion),
        review=review,
        not_reviewed="" if review is not None else _why_not(piece),
    )


def _review(trade: Trade, piece: Reflection | None) -> TradeReview | None:
    """The review of the trade as it is now."""
    if piece is None or trade.self_review is None or piece.status != Reflection.Status.DONE or not is_of(piece, trade):
        return None
    return TradeReview.model_validate_json(json.dumps(trade.self_review))


def _why_not(piece: Reflection | None) -> str:
    if piece is None or piece.status != Reflection.Status.GIVEN_UP:
        return UNREVIEWED
    return piece.reason


def _excursion(kept: Mapping[str, Any] | None) -> Excursion | None:
    """The figures of an excursion as it was kept."""
    if kept is None:
        return None
    adverse, favourable, adverse_r, favourable_r, risk = (_figure(kept[name]) for name in FIGURES)
    return Excursion(adverse=adverse, favourable=favourable, adverse_r=adverse_r, favourable_r=favourable_r, risk=risk)


def _figure(kept: Mapping[str, Any]) -> Figure:
    return Figure(None if kept["value"] is None else Decimal(kept["value"]), kept["reason"])


def numbers(trades: Sequence[ReviewedTrade]) -> list[int]:
    """Which trades they are, in the order of their closing."""
    return [each.number for each in sorted(trades, key=lambda each: (each.trade.closed_at, each.number))]
