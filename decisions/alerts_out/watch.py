"""What runs beside the stream consumer: the dead-man's look, and the alerts' way out. It never keeps the consumer."""

import logging
import threading

import redis
from django.db import close_old_connections, connection

from decisions import dead_man
from decisions.alerts_out.delivery import deliver
from decisions.refusals import DATABASE_AWAY

EVERY_SECONDS = 5.0

log = logging.getLogger(__name__)


def look_and_deliver() -> None:
    """One round. Raises what is in `DATABASE_AWAY`, or of Redis."""
    dead_man.look()
    deliver()


class Watch(threading.Thread):
    """A thread that makes a round every few seconds until it is stopped, whatever a round meets."""

    def __init__(self) -> None:
        super().__init__(name="watch", daemon=True)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the round at hand; one that waits for a slow server is not waited for."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            close_old_connections()
            try:
                look_and_deliver()
            except (*DATABASE_AWAY, redis.RedisError) as error:
                log.warning("the watch waits: %s", error)
            except Exception:
                # The edge of the thread: one round's failure does not end the watch.
                log.exception("a round of the watch failed")
        connection.close()
