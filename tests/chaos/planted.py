"""Bugs to be found: each takes one promise of the product away, in a process of a chaos run.

`dedup`: an order's key is not remembered, so that sending it again sends it twice. `inbox`: nothing that came in is
unique, neither message ids nor fill ids, so that what is delivered again takes effect again. `fill_ids`: only fill ids
are not, so that a fill that comes again in another message is booked again. `early_ack`: an entry is acknowledged
before it has taken effect, so that what dies in between is lost.

Message ids have no bug of their own: a fill that is delivered again is held off twice, by its message's id and by its
own, so without the first alone no fill is booked twice.
"""

from collections.abc import Callable, Mapping
from typing import Any


def dedup() -> None:
    from orchestrator_project import streams

    kept = "local id = redis.call('GET', known)"
    if kept not in streams._PUBLISH:
        raise RuntimeError("the publishing script has changed: plant the bug anew")
    streams._PUBLISH = streams._PUBLISH.replace(kept, "local id = false")

    def unknown(*_: Any) -> None:
        """Nothing is known to have gone out."""

    streams.published = unknown  # type: ignore[assignment]


def inbox() -> None:
    from decisions import consumer

    remember = consumer._remember

    def always_new(*arguments: Any) -> None:
        remember(*arguments)

    consumer._remember = always_new
    fill_ids()


def fill_ids() -> None:
    from decisions import consumer
    from decisions.messages import TradeFill
    from decisions.models import Fill

    carry_out = consumer._carry_out

    def carry_out_anew(entry: Any, envelope: Any, message: Any) -> None:
        while isinstance(message, TradeFill) and Fill.objects.filter(fill_id=message.fill_id).exists():
            message = message.model_copy(update={"fill_id": f"{message.fill_id}+"})
        carry_out(entry, envelope, message)

    consumer._carry_out = carry_out_anew


def early_ack() -> None:
    from decisions.consumer import Consumer

    handle = Consumer._handle_one

    def acknowledge_first(self: Consumer, entry: Any) -> None:
        self.reader.acknowledge(entry)
        handle(self, entry)

    Consumer._handle_one = acknowledge_first  # type: ignore[method-assign]


BUGS: Mapping[str, Callable[[], None]] = {"dedup": dedup, "inbox": inbox, "fill_ids": fill_ids, "early_ack": early_ack}
FOUND_BY: Mapping[str, int] = {"dedup": 1, "inbox": 3, "fill_ids": 3, "early_ack": 3}
"""A seed whose run of twelve slots shows the bug. Others do too: which is a matter of where a process dies."""
