"""Funding payments on their trades, booked once, whatever order they and the executions were heard of in."""

from datetime import timedelta

from decisions import outbox
from decisions.booked import DIRECTION
from decisions.messages import FundingPayment as FundingMessage
from decisions.models import FundingPayment
from decisions.notices import publish
from decisions.refusals import AlreadyBooked, refuse_future
from journal import services as journal
from journal.models import Trade
from risk import services as risk

AFTER_THE_CLOSE = timedelta(seconds=1)
"""How much later than the close a payment may be dated that was due on the position."""


def book(message: FundingMessage) -> None:
    """Book one `funding_payment` on the open trade, or on the last closed one for a payment that came late. One that
    comes before the entry it was due on is booked with that. Takes the account's lock.

    Raises `AlreadyBooked` for a payment that was booked before.
    """
    refuse_future("funding payment", message.paid_at)
    state = risk.lock_state()
    if FundingPayment.objects.filter(funding_id=message.funding_id).exists():
        raise AlreadyBooked(f"funding {message.funding_id} is booked already")
    trade = _due_on(message)
    payment = FundingPayment.objects.create(
        funding_id=message.funding_id,
        trade=trade,
        symbol=message.symbol,
        pos_side=message.pos_side,
        amount_usd=message.amount_usd.quantize(journal.MONEY_STEP),
        rate=message.rate,
        paid_at=message.paid_at,
    )
    if trade is None:
        _tell_without_trade(payment)
        return
    journal.book_funding(trade, payment.amount_usd)
    if trade.status == Trade.Status.CLOSED:  # its result is another one now
        publish(risk.on_trade_closed(state))


def give_back(trade: Trade) -> None:
    """Book elsewhere, or keep, the payments on a trade that turns out to have been over before they were due."""
    if trade.closed_at is None:
        return
    for payment in FundingPayment.objects.filter(trade=trade, paid_at__gt=trade.closed_at + AFTER_THE_CLOSE):
        journal.book_funding(trade, -payment.amount_usd)
        due_on = _due_on(payment)
        if due_on is not None:
            journal.book_funding(due_on, payment.amount_usd)
        FundingPayment.objects.filter(pk=payment.pk).update(trade=due_on)


def take_in(trade: Trade) -> None:
    """Book the payments that were heard of before the entry that they were due on."""
    pos_side = "long" if trade.direction == Trade.Direction.LONG else "short"
    waiting = FundingPayment.objects.filter(
        trade__isnull=True, symbol=trade.symbol, pos_side=pos_side, paid_at__gte=trade.opened_at
    )
    if trade.closed_at is not None:
        waiting = waiting.filter(paid_at__lte=trade.closed_at + AFTER_THE_CLOSE)
    for payment in waiting:
        journal.book_funding(trade, payment.amount_usd)
        FundingPayment.objects.filter(pk=payment.pk).update(trade=trade)


def _due_on(message: FundingMessage | FundingPayment) -> Trade | None:
    """The newest trade that was open when the payment was made."""
    same_side = Trade.objects.filter(symbol=message.symbol, direction=DIRECTION[message.pos_side])
    begun = same_side.filter(opened_at__lte=message.paid_at)
    return begun.exclude(closed_at__lt=message.paid_at - AFTER_THE_CLOSE).order_by("-opened_at").first()


def _tell_without_trade(payment: FundingPayment) -> None:
    outbox.record_alert_at_most(
        outbox.REMINDER,
        "WARN",
        "funding_without_trade",
        title=f"Funding on {payment.symbol} without a trade",
        detail=f"{payment.amount_usd} USD at {payment.paid_at:%Y-%m-%d %H:%M}",
        action_taken="Kept; it is in the books, and on the trade as soon as there is one",
        about={"symbol": payment.symbol},
    )
