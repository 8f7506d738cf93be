"""Who reads the account's streams: one consumer at a time, for as long as its session on the database lasts.

What happens to the account takes effect one after another, under the account's lock, and an exit only after its entry.
Consumers that took neighbouring batches would win nothing by it and come too early again and again.

The turn is a session advisory lock of Postgres on the consumer's own connection. It ends with the process, with the
connection, and with the database; also when a consumer is stopped or its machine is gone, since a session that has been
silent for `SILENCE_SECONDS` is ended by the server. The next one takes it with its next read. It needs a session to
itself: a pooler in between must not share one among several clients.
"""

from time import monotonic

from django.db import connection

SILENCE_SECONDS = 10
"""More than a consumer is ever busy with something else than the database: it waits for Redis up to seven seconds."""

LOCK = int.from_bytes(b"account")

_END_WHEN_SILENT = """
SELECT set_config('idle_session_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false)
"""


class Turn:
    """The turn of the thread that asks."""

    def __init__(self) -> None:
        self._session: object = None
        self._since = 0.0

    def held_seconds(self) -> float | None:
        """Take the turn if it is free. Returns for how long it has been ours without a break, None if it is another's.

        Whoever has the lock gets it again, so this is also the look whether it is still ours. Raises what the database
        raises.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            (ours,) = cursor.fetchone()
            session = connection.connection
            if ours and session is not self._session:
                cursor.execute(_END_WHEN_SILENT, [f"{SILENCE_SECONDS}s"] * 2)
                self._since = monotonic()
        self._session = session if ours else None
        return monotonic() - self._since if ours else None
