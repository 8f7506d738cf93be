"""How a person lifts the block of an instrument, from the block's page."""

from collections.abc import Iterator

from django.core.exceptions import ValidationError
from django.db import transaction

from decisions import outbox
from decisions.clock import now_for_record, wall_now
from decisions.models import Discrepancy, InstrumentBlock
from journal.admin_actions import Action
from journal.admin_base import ReasonForm, offered_on, shown_on
from journal.models import Trade
from journal.presentation import Section, table_of
from risk import services as risk
from risk.models import RiskAction

TRADES = ("symbol", "direction", "open_size", "entry_price", "stop_loss", "origin", "status", "opened_at")
DISCREPANCIES = ("kind", "ours", "theirs", "first_told_at", "last_told_at", "resolved_at", "resolution")
NEWEST = 20


@shown_on(InstrumentBlock)
def block_page(block: InstrumentBlock) -> Iterator[Section]:
    """What the record holds of the instrument, and what it and the venue differed about."""
    held = Trade.objects.filter(symbol=block.symbol, status=Trade.Status.OPEN)
    yield table_of("Open trade", held, *TRADES)
    differed = Discrepancy.objects.filter(symbol=block.symbol).order_by("-id")[:NEWEST]
    yield table_of("What the record and the venue differed about", differed, *DISCREPANCIES)


@transaction.atomic
def lift(block: InstrumentBlock, *, by: str, reason: str) -> str:
    """End a block. Raises `ValidationError` when it has ended already."""
    standing = InstrumentBlock.objects.filter(pk=block.pk, ended_at__isnull=True)
    if not standing.update(ended_at=wall_now(), ended_by=by):
        raise ValidationError("This block has been lifted already.")
    title = f"{by} lifted the block of {block.symbol}"
    told = f"It had been blocked: {block.reason}"
    risk.record_action(
        RiskAction.Action.LIFT_BLOCK,
        source=RiskAction.Source.ADMIN,
        by=by,
        reason=reason,
        detail=f"{block.symbol}. {told}",
        now=now_for_record(),
    )
    outbox.record_alert("WARN", "block_lifted", title, reason, told)
    return f"{block.symbol} may open again, unless something else stands in the way."


offered_on(
    InstrumentBlock,
    Action(
        name="lift",
        title="Lift the block",
        meaning="The instrument may open again. The position, where there is one, stays as it is.",
        tone="good",
        permission="decisions.lift_block",
        form=ReasonForm,
        sections=block_page,
        carry_out=lift,
    ),
)
