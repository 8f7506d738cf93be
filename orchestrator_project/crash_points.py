"""The named instants at which a process may be killed to see what becomes of its work.

In the product `reached` does nothing, whatever the environment says: only a test that starts a process itself installs
a handler in it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "cycle_created": "the slot's row of an instrument is written",
        "stage_claimed": "a worker has claimed a cycle's stage",
        "before_stage_saved": "a stage's work is done, its result not written yet",
        "stage_saved": "a stage's result is written, the next stage not woken yet",
        "intent_written": "an order and its verdict are written, not committed yet",
        "before_send": "an order may go out and has not gone yet",
        "order_on_stream": "an order is on the stream and nothing says so yet",
        "sent_noted": "an order is noted as sent, not committed yet",
        "close_written": "an exit of ours is written and committed, not sent yet",
        "before_close_send": "an exit may go out and has not gone yet",
        "close_on_stream": "an exit is on the stream and nothing says so yet",
        "before_publish": "a message of ours is committed, not published yet",
        "published": "a message of ours is on its stream, not marked as sent yet",
        "sweep_began": "the sweeper has begun its round",
        "cycle_abandoned": "the sweeper has ended a cycle, not committed yet",
        "reconcile_began": "the reconciliation has begun its round",
        "repair_written": "a difference is repaired, not committed yet",
        "entry_read": "the consumer was given an entry and has done nothing with it",
        "effect_written": "a message's effect and its inbox row are written, not committed yet",
        "effect_committed": "a message's effect is committed, its entry not acknowledged yet",
        "entry_acknowledged": "an entry is acknowledged",
        "before_ledger_commit": "the venue has worked something out, its ledger does not hold it yet",
        "ledger_committed": "the venue's ledger holds it, its messages are not published yet",
        "messages_published": "the venue's messages are published, not marked as such yet",
        "step_published": "a bar is on the stream, the market has not noted it yet",
    }
)
"""Name -> what has just happened."""

_handler: Callable[[str], None] | None = None


def reached(point: str) -> None:
    """Say that a point has been reached. Nobody listens but a test's own handler."""
    if _handler is not None:
        _handler(point)
