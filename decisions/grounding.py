"""Whether a decision may be believed: it is about what was asked, and rests on facts as they were shown. Pure.

A fact is cited as the path of a field and its value. A path begins with a section's name or its short form
(`indicators`, `account`, `positions`), or is the name of a field of the market snapshot alone; an entry of a list is
named by its number, or by what names it and no other (`positions.BTC-USDT-SWAP.size`, `recent_trades[0].pnl_usd`). Case
does not matter, neither in names nor in values.

Numbers may differ by one per cent of the value shown, since models round; a zero must be a zero. Everything else has
to be the text that was shown. Nothing is guessed: what cannot be found is a fault.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from decisions.schemas import CitedFact, Decision

OPENINGS = ("OPEN_LONG", "OPEN_SHORT", "ADD")
"""What must rest on facts. An exit is never held up by what the model says beside it."""

TOLERANCE = 0.01
"""How far a cited number may be from the one shown, as a fraction of it."""
ZERO = 1e-9
"""How far from zero is still zero."""

SHORT_FORMS: Mapping[str, str] = {
    "indicators": "technical_indicators",
    "account": "account_state",
    "positions": "current_positions",
}
OF_ITSELF = "market_snapshot"
"""The section whose fields are cited by their names alone."""
NAMING = ("symbol", "name", "regime", "id")
"""The fields that may name an entry of a list."""

_BRACKETS = re.compile(r"""\[\s*['"]?([^\[\]'"]*)['"]?\s*\]""")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class NotShown(LookupError):
    """A path that leads to nothing that was shown."""


class Ambiguous(LookupError):
    """A path that may mean more than one thing that was shown."""


def why_invalid(decision: Decision, symbol: str, faults: Collection[str]) -> str | None:
    """Why a decision must not be acted on although it has the right form, or None. `symbol` is the instrument that was
    asked about, `faults` what is wrong with its facts."""
    if decision.symbol != symbol:
        return f"asked about {symbol}, the analyst decided on {decision.symbol}"
    if faults and decision.action in OPENINGS:
        return f"{decision.action} does not rest on what was shown: {'; '.join(faults)}"
    return None


def faults_of(decision: Decision, shown: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the facts a decision rests on, in words. Only doing nothing may rest on none."""
    if decision.cited_facts or decision.action == "HOLD":
        return check(decision.cited_facts, shown)
    return ("no fact was cited",)


def check(facts: Iterable[CitedFact], shown: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the cited facts, in words; empty when all are as shown.

    `shown` holds the sections of the prompt by name, as `decisions.prompts.sections` reads them.
    """
    faults = (_fault(fact, shown) for fact in facts)
    return tuple(fault for fault in faults if fault is not None)


def _fault(fact: CitedFact, shown: Mapping[str, Any]) -> str | None:
    try:
        value = figure(fact.path, shown)
    except NotShown:
        return f"no field {_plain(fact.path)} was shown"
    except Ambiguous:
        return f"{_plain(fact.path)} is ambiguous: more than one entry has that name"
    if isinstance(value, dict | list):
        return f"{_plain(fact.path)} is not a single value"
    if same(fact.value, value):
        return None
    return f"{_plain(fact.path)} was cited as {json.dumps(fact.value)} and shown as {json.dumps(value)}"


def _plain(path: str) -> str:
    """The path with what could disguise it made visible."""
    return path.encode("ascii", "backslashreplace").decode()


# --- finding --------------------------------------------------------------------------------------------------------


def figure(path: str, shown: Mapping[str, Any]) -> Any:
    """What was shown under a path. Raises `NotShown` or `Ambiguous`."""
    first, *rest = (part.strip() for part in _BRACKETS.sub(r".\1", path).casefold().split("."))
    section = SHORT_FORMS.get(first, first)
    found: Any = shown
    for part in (section, *rest) if section in shown else (OF_ITSELF, first, *rest):
        found = _member(found, part)
    return found


def _member(value: Any, part: str) -> Any:
    """The field or entry of a value that a casefolded name or a number means."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name.casefold() == part:
                return member
    elif isinstance(value, list):
        return _entry(value, part)
    raise NotShown(part)


def _entry(entries: Sequence[Any], part: str) -> Any:
    if part.isascii() and part.isdecimal() and len(part) < 4 and int(part) < len(entries):
        return entries[int(part)]
    named = [entry for entry in entries if isinstance(entry, Mapping) and part in _names(entry)]
    if len(named) > 1:
        raise Ambiguous(part)
    if not named:
        raise NotShown(part)
    return named[0]


def _names(entry: Mapping[str, Any]) -> list[str]:
    return [str(entry[field]).casefold() for field in NAMING if entry.get(field) is not None]


# --- comparing ------------------------------------------------------------------------------------------------------


def same(cited: float | str, shown: object) -> bool:
    """Whether a cited value is the one shown. A text that is a number counts as the number, on either side."""
    if isinstance(shown, str) and isinstance(cited, str) and shown.strip().casefold() == cited.strip().casefold():
        return True
    if shown is None or isinstance(shown, bool):  # in JSON's own words: a fact's value is a number or a text
        return isinstance(cited, str) and cited.strip().casefold() == json.dumps(shown)
    one, other = _number(cited), _number(shown)
    return one is not None and other is not None and _near(one, other)


def _near(cited: float, shown: float) -> bool:
    return math.isfinite(shown) and abs(cited - shown) <= (TOLERANCE * abs(shown) if shown else ZERO)


def _number(value: object) -> float | None:
    """The number that a value is, or that its text says; None for anything else, `3%` and `1,000` included, and for
    one that is too large to compare."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except OverflowError:
        return None
