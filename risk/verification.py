"""Verdicts held against what they were made from: judged again bit for bit, and their chain of hashes followed. Pure.

A verdict is stored with its complete inputs, limits included, and a hash over them, its results and the hash of the
verdict before. So what was changed, taken out or slipped in afterwards shows, and so does a gate that judges otherwise
today than it did then.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from risk import gate
from risk.limits import LimitsError

FIRST_HASH = "0" * 64
"""What the first verdict has for the hash of the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict as it lies in the record."""

    number: int
    decision_id: UUID
    symbol: str
    action: str
    approved: bool
    outcome: str
    inputs: Mapping[str, Any]
    results: Mapping[str, Any]
    previous_hash: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was, or not as it must be, with the verdict it was found on."""

    number: int
    told: str

    def __str__(self) -> str:
        return f"verdict {self.number}: {self.told}"


def chained_hash(previous: str, decision_id: UUID, inputs: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """SHA-256 over the previous verdict's hash and this one's whole content as canonical JSON."""
    content = {"previous": previous, "decision_id": str(decision_id), "inputs": inputs, "results": results}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify(verdicts: Iterable[StoredVerdict], *, after: str | None = FIRST_HASH) -> Iterator[Fault]:
    """Everything wrong with verdicts given oldest first. `after` is the hash of the one before the first, None when
    that is not known."""
    previous = after
    for verdict in verdicts:
        if previous is not None and verdict.previous_hash != previous:
            yield Fault(verdict.number, "the chain is broken: the verdict before it was changed, added or taken out")
        yield from verify_one(verdict)
        previous = verdict.content_hash


def verify_one(verdict: StoredVerdict) -> Iterator[Fault]:
    """Everything wrong with one verdict by itself."""
    expected = chained_hash(verdict.previous_hash, verdict.decision_id, verdict.inputs, verdict.results)
    if expected != verdict.content_hash:
        yield Fault(verdict.number, "its content does not match its hash: it was changed after it was written")
    yield from (Fault(verdict.number, told) for told in _mislabelled(verdict))
    try:
        judged = gate.evaluate(**gate.inputs_from_dict(verdict.inputs)).as_dict()
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, LimitsError) as error:
        yield Fault(verdict.number, f"its inputs cannot be read: {type(error).__name__}: {error}")
        return
    for path, stored, now in _differences(verdict.results, judged):
        yield Fault(verdict.number, f"judged again, {path} is {_short(now)}, stored was {_short(stored)}")


def entry(document: Any, name: str) -> Any:
    """What a stored document says under a name; None where it says nothing, or is no object any more."""
    return document.get(name) if isinstance(document, Mapping) else None


def _mislabelled(verdict: StoredVerdict) -> Iterator[str]:
    """Columns that say something else than the documents beside them."""
    proposal = entry(verdict.inputs, "proposal")
    said: Mapping[str, Any] = {
        "symbol": entry(proposal, "symbol"),
        "action": entry(proposal, "action"),
        "approved": entry(verdict.results, "approved"),
        "outcome": entry(verdict.results, "outcome"),
    }
    for name, value in said.items():
        if getattr(verdict, name) != value:
            yield f"it is listed with {name} {_short(getattr(verdict, name))}, its documents say {_short(value)}"


def _differences(stored: Any, judged: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, stored value, value judged now) wherever two documents differ."""
    if isinstance(stored, Mapping) and isinstance(judged, Mapping):
        for name in sorted(stored.keys() | judged.keys()):
            yield from _differences(stored.get(name), judged.get(name), f"{path}.{name}" if path else name)
    elif isinstance(stored, list) and isinstance(judged, list) and len(stored) == len(judged):
        for place, (one, other) in enumerate(zip(stored, judged, strict=True)):
            name = one.get("rule", place) if isinstance(one, Mapping) else place
            yield from _differences(one, other, f"{path}.{name}")
    elif stored != judged:
        yield path, stored, judged


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."
