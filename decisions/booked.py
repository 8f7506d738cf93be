"""The executions that are booked on a trade, as the journal reads them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from django.db.models import QuerySet, Sum

from decisions.messages import TradeFill
from decisions.models import Fill, Order, OrderKind
from journal.cost_basis import Execution
from journal.models import Trade

DIRECTION: Mapping[str, Literal["LONG", "SHORT"]] = {"long": "LONG", "short": "SHORT"}
ENTRIES = ("open", "add")


def entries(trade: Trade) -> QuerySet[Fill]:
    """The executions by which a trade was entered."""
    return Fill.objects.filter(trade=trade, price__isnull=False, intent__in=ENTRIES)


def exited(trade: Trade) -> Decimal:
    """The contracts of a trade whose exit is booked."""
    return contracts(Fill.objects.filter(trade=trade, price__isnull=False).exclude(intent__in=ENTRIES))


def contracts(executed: QuerySet[Fill]) -> Decimal:
    """How many contracts changed hands."""
    return executed.aggregate(contracts=Sum("size"))["contracts"] or Decimal(0)


def executions(trade: Trade) -> list[Execution]:
    """All of a trade's, as we heard of them."""
    booked = Fill.objects.filter(trade=trade).select_related("order").order_by("id")
    told = (as_told(fill, fill.order, fill.price, fill.size) for fill in booked)
    return [each for each in told if each is not None]


def as_told(
    told: TradeFill | Fill, order: Order | None, price: Decimal | None, size: Decimal | None
) -> Execution | None:
    """An execution by the message, or by the row that was kept of it; None where no contracts changed hands."""
    if price is None or size is None or told.fee_usd is None:
        return None
    return Execution(
        fill_id=told.fill_id,
        symbol=told.symbol,
        direction=DIRECTION[told.pos_side],
        price=price,
        size=size,
        fee_usd=told.fee_usd,
        pnl_usd=None if told.intent in ENTRIES else told.pnl_usd,
        at=told.filled_at,
        exit_reason=_exit_reason(told.exit_reason, order),
        final=told.intent == "close",
    )


def _exit_reason(told: str | None, order: Order | None) -> str:
    """Why contracts left, as the trade has it. To the venue every exit that we send is a signal; one that no decision
    asked for, but a person or the protection, is `manual`."""
    if order is not None and order.kind != OrderKind.DECISION and told in (None, "", "signal"):
        return "manual"
    return told or ""
