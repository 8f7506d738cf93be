"""What the apps above let a lockstep run wait for, beside the cycles: work that later cycles depend on.

Each piece of work has a question, whether all of it is done, and a way to have it done. They are waited for one after
the other, at the same places of every run: when a bar has been taken in and no cycle has begun, and after each cycle.
"""

from collections.abc import Callable, Iterator

Done = Callable[[], bool]
Ask = Callable[[], None]

_waited_for: list[tuple[Done, Ask]] = []


def register(is_done: Done, ask: Ask) -> None:
    """Wait until `is_done` from now on, after what was registered before; `ask` is called while it is not, every few
    seconds."""
    _waited_for.append((is_done, ask))


def in_turn() -> Iterator[tuple[Done, Ask]]:
    """The questions with their ways."""
    yield from _waited_for


def is_done() -> bool:
    """Whether all of it is done."""
    return all(done() for done, _ in _waited_for)
