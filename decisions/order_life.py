"""The life of an order: from which status it may go to which.

    pending -> sent -> accepted -> partially_filled -> filled

An order may leave out any step, since messages are reordered and lost, and goes no step back. It ends in `filled`, or
by the facts in `rejected`, `cancelled` or `expired`. It is `unknown` while nobody can say what became of it; then the
venue's word makes it whatever is true, but our own note of having sent it says nothing new.

What has ended stays so, whatever comes late: a part that was executed counts in the order's filled size and on the
trade, and the status stays. Only the proof that the whole order was executed overrules a rejection, a cancellation or
an expiry: these may be our own conclusion, or the end of a remainder that there turns out not to be.
"""

from collections.abc import Mapping
from types import MappingProxyType

_ENDS = frozenset({"filled", "rejected", "cancelled", "expired"})
_PROVEN = frozenset({"filled"})

TRANSITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pending": frozenset({"sent", "accepted", "partially_filled", "unknown"}) | _ENDS,
        "sent": frozenset({"accepted", "partially_filled", "unknown"}) | _ENDS,
        "accepted": frozenset({"partially_filled", "unknown"}) | _ENDS,
        "partially_filled": frozenset({"unknown"}) | _ENDS,
        "unknown": frozenset({"accepted", "partially_filled"}) | _ENDS,
        "rejected": _PROVEN,
        "cancelled": _PROVEN,
        "expired": _PROVEN,
        "filled": frozenset(),
    }
)
"""Status -> what it may become."""

ENDED = _ENDS
"""What an order ends in."""


def may_become(status: str, to: str, *, filled_whole: bool) -> bool:
    """Whether an order may go from `status` to another. `filled_whole`: its executions add up to its whole size."""
    return to in TRANSITIONS[status] and (status not in _ENDS or filled_whole)
