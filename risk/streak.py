"""Losing trades in a row, counted from the record by closing time, whatever order the news of them came in."""

from datetime import timedelta

from django.conf import settings

from journal.models import Trade
from risk.models import RiskState
from risk.state import RiskNotice


def on_trade_closed(state: RiskState) -> list[RiskNotice]:
    """Count the losses in a row, newest closing first; at the limit begin the cooldown and count from zero again.

    A loss is a closed trade with a known net P&L below zero; any other closed trade ends the count. Of trades closed at
    one moment the one opened later counts as the later. So a loss that is told of after a later win does not count, and
    a win told of late parts the losses before it from those after it. A cooldown that was begun on what was known then
    stands.

    The cooldown runs from the newest closing, in market time. Trades closed up to then count no more, those told of
    later included. Called under the account's lock, after a closing and after anything that restates a closed trade.
    """
    limits = settings.RISK_LIMITS
    losses = _losses_in_a_row(state, limits.max_consecutive_losses)
    if len(losses) < limits.max_consecutive_losses:
        state.loss_streak = len(losses)
        state.save(update_fields=["loss_streak", "updated_at"])
        return []
    newest = losses[0].closed_at
    if newest is None:
        raise ValueError(f"{losses[0]} is closed and has no closing time")
    until = newest + timedelta(seconds=limits.cooldown_after_loss_streak)
    state.cooldown_until = max(until, state.cooldown_until or until)
    state.loss_streak, state.streak_from = 0, newest
    state.save(update_fields=["loss_streak", "streak_from", "cooldown_until", "updated_at"])
    title = f"Cooldown after {len(losses)} losses in a row"
    told = f"Openings resume at {state.cooldown_until:%Y-%m-%d %H:%M} UTC"
    return [RiskNotice("WARN", "risk_cooldown", title, told, "No openings until then")]


def _losses_in_a_row(state: RiskState, most: int) -> list[Trade]:
    """The newest losses with nothing else between them, at most so many."""
    closed = Trade.objects.filter(status=Trade.Status.CLOSED).only("closed_at", "pnl_usd", "symbol")
    if state.streak_from is not None:
        closed = closed.filter(closed_at__gt=state.streak_from)
    losses = []
    for trade in closed.order_by("-closed_at", "-opened_at", "-id")[:most]:
        if trade.pnl_usd is None or trade.pnl_usd >= 0:
            break
        losses.append(trade)
    return losses
