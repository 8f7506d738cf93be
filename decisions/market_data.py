"""Market messages, kept as the record that cycles decide on."""

from django.conf import settings

from decisions.clock import now_for_record
from decisions.messages import MarketAlert, MarketSnapshot
from decisions.models import MarketAlertRecord, MarketRecord
from decisions.refusals import AlreadyBooked, CannotBook, refuse_future


def record_snapshot(message: MarketSnapshot) -> None:
    """Keep a snapshot of an instrument that is traded here."""
    _refuse_stranger(message.symbol)
    refuse_future("a snapshot", message.timestamp)
    record, created = MarketRecord.objects.get_or_create(
        symbol=message.symbol,
        at=message.timestamp,
        defaults={"price": message.price, "payload": message.model_dump(mode="json", by_alias=True)},
    )
    if not created:
        raise AlreadyBooked(f"{record} is recorded already")


def record_alert(message: MarketAlert) -> None:
    """Keep a market alert of an instrument that is traded here."""
    _refuse_stranger(message.symbol)
    MarketAlertRecord.objects.create(**dict(message), market_time=now_for_record())


def _refuse_stranger(symbol: str) -> None:
    if symbol not in settings.INSTRUMENTS:
        raise CannotBook(f"{symbol} is not traded here: INSTRUMENTS has {', '.join(settings.INSTRUMENTS)}")
