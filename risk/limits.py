"""The limits: one frozen value, made from the environment when a process starts, and from nothing else.

`LIMIT_FIELDS` is the only place where a limit's name, default and hard bounds stand; what is shown or documented about
limits is made from it. `parse_limits` reports every problem at once.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any

MISSPELLING = 0.8
"""From this similarity on (difflib's ratio, 0 to 1) an unknown name is taken for a misspelt limit."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class LimitsError(ValueError):
    """Limits that cannot be used. `problems` has one sentence for each thing to put right."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the gate may never let pass. Fractions are of equity, the stop's distance of the entry price."""

    max_daily_loss_pct: Decimal
    max_single_trade_pct: Decimal
    max_total_exposure_pct: Decimal
    max_concurrent_positions: int
    max_drawdown_pct: Decimal
    max_consecutive_losses: int
    max_leverage: Decimal
    max_sl_distance_pct: Decimal
    min_rr_ratio: Decimal
    max_correlation: Decimal
    cooldown_after_loss_streak: int

    def as_dict(self) -> dict[str, str]:
        """Every limit as text, by attribute name; `from_dict` gives back an equal value."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> "Limits":
        """The limits that `as_dict` wrote. Raises `LimitsError` when a name is missing or unknown."""
        known = {field.attribute: field for field in LIMIT_FIELDS}
        if odd := sorted(known.keys() ^ values.keys()):
            raise LimitsError(f"{name}: {'missing' if name in known else 'not a limit'}" for name in odd)
        numbers: dict[str, Any] = {name: field.number(values[name]) for name, field in known.items()}
        return cls(**numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitField:
    """One limit: its name in the environment, default, and the hard bounds that no setting can pass.

    `floor` and `ceiling` are allowed values themselves; a `floor` of None means "above zero".
    """

    name: str
    default: str
    floor: str | None
    ceiling: str
    whole: bool = False
    description: str

    @property
    def attribute(self) -> str:
        """The name in `Limits`."""
        return self.name.lower()

    @property
    def allowed(self) -> str:
        """The permitted range in words."""
        kind = "a whole number" if self.whole else "a number"
        lower = "above 0" if self.floor is None else f"at least {self.floor}"
        return f"{kind} {lower} and at most {self.ceiling}"

    def number(self, text: str) -> Decimal | int:
        """The value of `text`, whatever its bounds."""
        return int(text) if self.whole else Decimal(text)

    def accepts(self, text: str) -> bool:
        """Whether `text` is a plain number of the right kind inside the bounds."""
        if not _PLAIN_NUMBER.fullmatch(text) or (self.whole and "." in text):
            return False
        value = Decimal(text)
        above = value > 0 if self.floor is None else value >= Decimal(self.floor)
        return above and value <= Decimal(self.ceiling)


LIMIT_FIELDS: tuple[LimitField, ...] = (
    LimitField(
        name="MAX_DAILY_LOSS_PCT",
        default="0.03",
        floor=None,
        ceiling="0.10",
        description="Loss since 00:00 UTC, as a fraction of the equity then, that halts openings for the day",
    ),
    LimitField(
        name="MAX_SINGLE_TRADE_PCT",
        default="0.05",
        floor=None,
        ceiling="0.25",
        description="Largest notional of one position, as a fraction of equity",
    ),
    LimitField(
        name="MAX_TOTAL_EXPOSURE_PCT",
        default="0.15",
        floor=None,
        ceiling="1.0",
        description="Largest notional of all positions and pending openings together, as a fraction of equity",
    ),
    LimitField(
        name="MAX_CONCURRENT_POSITIONS",
        default="3",
        floor="1",
        ceiling="20",
        whole=True,
        description="Number of open and pending positions at which nothing more is opened",
    ),
    LimitField(
        name="MAX_DRAWDOWN_PCT",
        default="0.10",
        floor=None,
        ceiling="0.30",
        description="Fall from the highest equity, as a fraction of it, that halts openings until a person resumes",
    ),
    LimitField(
        name="MAX_CONSECUTIVE_LOSSES",
        default="3",
        floor="1",
        ceiling="10",
        whole=True,
        description="Losing trades in a row that start a cooldown",
    ),
    LimitField(
        name="MAX_LEVERAGE",
        default="3",
        floor="1",
        ceiling="10",
        description="Leverage above this is capped to it",
    ),
    LimitField(
        name="MAX_SL_DISTANCE_PCT",
        default="0.03",
        floor=None,
        ceiling="0.10",
        description="Largest distance of the stop from the entry, as a fraction of the entry price",
    ),
    LimitField(
        name="MIN_RR_RATIO",
        default="1.5",
        floor="1.0",
        ceiling="100",
        description="Smallest reward for the risk: distance of the target over distance of the stop",
    ),
    LimitField(
        name="MAX_CORRELATION",
        default="0.8",
        floor=None,
        ceiling="0.95",
        description="Correlation of hourly log returns with a position elsewhere above which the size is halved",
    ),
    LimitField(
        name="COOLDOWN_AFTER_LOSS_STREAK",
        default="1800",
        floor="300",
        ceiling="604800",
        whole=True,
        description="Seconds without openings after a streak of losses",
    ),
)


def parse_limits(
    environment: Mapping[str, str],
    settings_file: Mapping[str, str] = _NOTHING,
    other_known: Collection[str] = (),
) -> Limits:
    """The limits in force; the environment wins over the settings file, the default fills the rest.

    `other_known` are names that belong to other settings. Raises `LimitsError` with every problem: a value that is no
    number or out of bounds, a misspelt limit in either place, any unknown `MAX_` or `MIN_` name in the settings file.
    """
    given = {**settings_file, **environment}
    problems = [
        *_unknown_names(settings_file, other_known, "in the settings file", own_prefixes=True),
        *_unknown_names(environment, other_known, "in the environment", own_prefixes=False),
        *_bad_values(given),
    ]
    if problems:
        raise LimitsError(problems)
    return Limits.from_dict({field.attribute: _text(field, given) for field in LIMIT_FIELDS})


def _text(field: LimitField, given: Mapping[str, str]) -> str:
    return given.get(field.name, field.default).strip()


def _bad_values(given: Mapping[str, str]) -> Iterator[str]:
    for field in LIMIT_FIELDS:
        text = _text(field, given)
        if not field.accepts(text):
            hint = "; a fraction, 0.03 is 3 %" if field.name.endswith("_PCT") else ""
            yield f"{field.name}={text!r} is not allowed: {field.allowed} is needed{hint}"


def _unknown_names(
    names: Iterable[str], other_known: Collection[str], place: str, *, own_prefixes: bool
) -> Iterator[str]:
    """Foreign programs may own a `MAX_` name in the environment; in our settings file nobody else has a say."""
    limit_names = [field.name for field in LIMIT_FIELDS]
    for name in sorted(set(names) - {*limit_names, *other_known}):
        prefixed = name.upper().startswith(("MAX_", "MIN_"))
        candidates = [*limit_names, *sorted(other_known)] if prefixed else limit_names
        likeness, nearest = max((_likeness(name, candidate), candidate) for candidate in candidates)
        if likeness >= MISSPELLING or (own_prefixes and prefixed):
            yield f"{name} {place} is not a setting: did you mean {nearest}?"


def _likeness(name: str, candidate: str) -> float:
    return SequenceMatcher(None, name.upper(), candidate).ratio()
