"""Why a message that can be read does not take effect."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError

from decisions.clock import wall_now

AHEAD_TOLERATED = timedelta(seconds=60)


class AlreadyBooked(Exception):
    """The fill or payment was booked before."""


class CannotBook(ValueError):
    """A message that contradicts the record: it is kept among the dead letters."""


class OutOfTurn(CannotBook):
    """An execution that does not fit the position as it is recorded now: the one before it may be on its way still."""


DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
"""What a database raises that is away, or read-only for now, and what may do on another try."""

UNUSABLE = (ValueError, ArithmeticError, DataError, IntegrityError)
"""What figures raise that have no place in the record, `CannotBook` among it, as opposed to a server that is away. Who
catches it has a savepoint to go back to."""


def refuse_future(what: str, at: datetime) -> None:
    """Refuse a message dated ahead of us: it would make all that come after it look old. The sandbox's market clock is
    made by such messages and runs as it will."""
    if not settings.SANDBOX and at > wall_now() + AHEAD_TOLERATED:
        raise CannotBook(f"{what} from the future: {at.isoformat()}")
