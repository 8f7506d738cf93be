"""Rounds of work of which each piece stands alone: what one piece meets is told, and the others are done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from decisions import outbox
from decisions.refusals import DATABASE_AWAY

log = logging.getLogger(__name__)


@contextmanager
def on_its_own(what: str) -> Iterator[None]:
    """Let what the block meets keep nothing else from being done; the next round does it again.

    An error is logged and told to a person, once an hour for each `what`. That Redis is away is only logged, and that
    Postgres is, or that the statement may do on another try, is raised: nothing can be done, nor told, without it.
    """
    try:
        yield
    except redis.RedisError as error:
        log.warning("%s waits for the next round: %s", what, error)
    except DATABASE_AWAY:
        raise
    except Exception as error:
        # The edge of one piece of work: the failure is kept as an alert.
        log.exception("%s failed", what)
        outbox.record_alert_at_most(
            outbox.REMINDER,
            "CRITICAL",
            "round_failed",
            title=f"{what.capitalize()} failed",
            detail=f"{type(error).__name__}: {error}"[:2000],
            action_taken="The rest goes on; it is tried again with the next round",
            about={"what": what},
        )
