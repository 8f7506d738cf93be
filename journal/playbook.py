"""The playbook: what the trader has learnt, as a frozen value with bounded texts and counts.

Three things in it are enforced by code and not only told to the model: the hours to avoid, the strategies to avoid in
a regime, and the largest position of a regime. They block or shrink openings; nothing here can allow more than the
risk limits do.

Rules, strategies and calibration are named lists rather than dictionaries, because the schemas that a model's answer
follows allow no free keys.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from journal.untrusted import visible

Regime = Literal["trending_up", "trending_down", "ranging", "volatile"]
REGIMES: tuple[Regime, ...] = ("trending_up", "trending_down", "ranging", "volatile")


LONGEST_PLACE = 120
LONGEST_PLAYBOOK = 40_000
"""Characters of the canonical JSON, about half of what a deep reflection may be shown in all: one that it cannot read
could never be improved again."""
SMALLEST_POSITION = Decimal("0.001")
"""The least that `max_position_pct` may be. Below, a rule would be a ban in disguise, of everything and told by nobody:
what a playbook bans it names in `avoid_strategies`, where a ban of everything is refused. The floor does not promise
that the venue takes so little: with a small account an opening may still end as `size_too_small`."""
EARLIEST_LESSON, LATEST_LESSON = date(2000, 1, 1), date(2100, 1, 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a document, and where: names of fields and places in lists, from the outermost on."""

    place: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        place = ".".join(map(str, self.place)) or "playbook"
        return f"{place if len(place) <= LONGEST_PLACE else place[:LONGEST_PLACE] + '...'}: {self.text}"


class InvalidPlaybook(ValueError):
    """A playbook that cannot be used. The text names the first field and what is wrong with it; `faults` are all."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{others}")


def storable(value: str) -> str:
    """The text, if the database can hold it. Raises `ValueError`."""
    if "\x00" in value:
        raise ValueError("a NUL character cannot be stored")
    return value


def _readable(value: str) -> str:
    """A person decides by these texts: nothing in them steers a terminal, turns the direction of writing or hides."""
    if not storable(value).strip():
        raise ValueError("it is empty")
    if hidden := next((each for each in value if visible(each) != each), None):
        raise ValueError(f"the character U+{ord(hidden):04X} cannot be seen, and has no place in a text")
    return value


def _plausible(value: date) -> date:
    if not EARLIEST_LESSON <= value < LATEST_LESSON:
        raise ValueError(f"a date from {EARLIEST_LESSON} to before {LATEST_LESSON} was expected")
    return value


def _tradable(value: Decimal) -> Decimal:
    if value < SMALLEST_POSITION:
        raise ValueError(
            f"at least {SMALLEST_POSITION} is needed; what is not to be traded belongs in avoid_strategies"
        )
    return value


def _exact(value: Any) -> Any:
    """The Decimal that a number or a text of JSON means: 0.05 is 0.05, whatever a float makes of it."""
    if isinstance(value, bool):
        raise ValueError("a number was expected, not a boolean")
    if not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise ValueError("a number was expected") from None


def _shortest(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _zulu(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


NAME = r"^[a-z][a-z0-9_]*$"
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=50)]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER, max_length=40)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=600), AfterValidator(_readable)]
Number = Annotated[Decimal, BeforeValidator(_exact), Field(max_digits=28), PlainSerializer(_shortest, return_type=str)]
Share = Annotated[Number, Field(ge=0, le=1)]
Hour = Annotated[int, Field(ge=0, le=23)]
Names = Annotated[tuple[Name, ...], Field(max_length=30)]
Hours = Annotated[tuple[Hour, ...], Field(max_length=24)]


class Part(BaseModel):
    """A piece of a playbook: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class RegimeRule(Part):
    """What to do in one market regime."""

    regime: Regime
    preferred_strategies: Names
    avoid_strategies: Names = Field(description="Openings under these strategies are blocked in this regime.")
    max_position_pct: Annotated[Number, Field(gt=0, le=1), AfterValidator(_tradable)] = Field(
        description="Largest notional of a position as a fraction of equity; larger openings are shrunk."
    )
    preferred_timeframe: Literal["15m", "1H", "4H"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_repeats("preferred_strategies", self.preferred_strategies)
        _refuse_repeats("avoid_strategies", self.avoid_strategies)
        if both := set(self.preferred_strategies) & set(self.avoid_strategies):
            raise ValueError(f"avoid_strategies: {_listed(both)} both preferred and avoided")
        return self


class StrategyDefinition(Part):
    """When a strategy enters and leaves, in words, and what it has earned so far (null while unknown)."""

    name: Name
    entry: Text
    exit: Text
    filters: Annotated[tuple[Text, ...], Field(max_length=12)]
    historical_winrate: Share | None = Field(description="Winning trades / closed trades, null while unknown.")
    avg_rr: Annotated[Number, Field(ge=0, le=100)] | None = Field(
        description="Mean win / mean loss, null while unknown."
    )


class Lesson(Part):
    """One thing learnt, with what it rests on."""

    id: Identifier
    date: Annotated[date, AfterValidator(_plausible)]
    lesson: Text
    evidence: Text
    impact: Text


class CalibrationEntry(Part):
    """How often trades entered with a confidence in [bucket_low, bucket_high) won."""

    bucket_low: Share
    bucket_high: Share
    count: Annotated[int, Field(ge=0, le=1_000_000)]
    stated_mean: Share
    actual_win_rate: Share

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.bucket_low >= self.bucket_high:
            raise ValueError(f"bucket {self.bucket_low} to {self.bucket_high} is empty")
        return self


class TimeFilter(Part):
    """Hours of the day, UTC. In an hour to avoid no opening is decided, by the time of the snapshot that the decision
    rests on; a limit order from before it may still be filled within its lifetime."""

    avoid_hours_utc: Hours
    preferred_hours_utc: Hours

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_repeats("avoid_hours_utc", self.avoid_hours_utc)
        _refuse_repeats("preferred_hours_utc", self.preferred_hours_utc)
        if both := set(self.avoid_hours_utc) & set(self.preferred_hours_utc):
            raise ValueError(f"avoid_hours_utc: {_listed(both)} both preferred and avoided")
        return self


class Playbook(Part):
    """One version of the playbook."""

    version: Annotated[int, Field(ge=1, le=1_000_000)]
    last_updated: Annotated[AwareDatetime, AfterValidator(_utc), PlainSerializer(_zulu, return_type=str)]
    market_regime_rules: Annotated[tuple[RegimeRule, ...], Field(max_length=len(REGIMES))]
    strategy_definitions: Annotated[tuple[StrategyDefinition, ...], Field(min_length=1, max_length=20)]
    lessons_learned: Annotated[tuple[Lesson, ...], Field(max_length=60)]
    confidence_calibration: Annotated[tuple[CalibrationEntry, ...], Field(max_length=20)]
    time_filters: TimeFilter

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [strategy.name for strategy in self.strategy_definitions]
        _refuse_repeats("strategy_definitions", names)
        _refuse_repeats("market_regime_rules", [rule.regime for rule in self.market_regime_rules])
        _refuse_repeats("lessons_learned", [lesson.id for lesson in self.lessons_learned])
        _refuse_unknown_strategies(self.market_regime_rules, set(names))
        _refuse_overlaps(self.confidence_calibration)
        _refuse_total_ban(self, set(names))
        _refuse_too_long(self)
        return self


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values)))


def _refuse_repeats(field: str, values: Sequence[Hashable]) -> None:
    if repeated := {value for value in values if values.count(value) > 1}:
        raise ValueError(f"{field}: {_listed(repeated)} more than once")


def _refuse_unknown_strategies(rules: Iterable[RegimeRule], known: set[str]) -> None:
    for rule in rules:
        if unknown := {*rule.preferred_strategies, *rule.avoid_strategies} - known:
            raise ValueError(f"market_regime_rules: {rule.regime} names undefined strategies {_listed(unknown)}")


def _refuse_overlaps(entries: Iterable[CalibrationEntry]) -> None:
    ordered = sorted(entries, key=lambda entry: entry.bucket_low)
    for lower, upper in pairwise(ordered):
        if upper.bucket_low < lower.bucket_high:
            raise ValueError(f"confidence_calibration: buckets overlap at {upper.bucket_low}")


def _refuse_total_ban(playbook: Playbook, strategies: set[str]) -> None:
    if len(playbook.time_filters.avoid_hours_utc) == 24:
        raise ValueError("time_filters: every hour is avoided, nothing could ever be traded")
    banned = [rule.regime for rule in playbook.market_regime_rules if strategies <= set(rule.avoid_strategies)]
    if len(banned) == len(REGIMES):
        raise ValueError("market_regime_rules: every strategy is avoided in every regime, nothing could ever be traded")


def _refuse_too_long(playbook: Playbook) -> None:
    """The section with the most text is named: there is most to be left out."""
    sections = {name: len(_compact(value)) for name, value in content(playbook).items()}
    if (length := len(canonical_json(playbook))) > LONGEST_PLAYBOOK:
        longest = max(sections, key=sections.__getitem__)
        share = f"{sections[longest]} of the playbook's {length} characters stand here"
        raise ValueError(f"{longest}: {share}, and reflection can read {LONGEST_PLAYBOOK}")


# --- reading and writing ------------------------------------------------------------------------------------------


def read_playbook(value: Mapping[str, Any]) -> Playbook:
    """The playbook in a decoded JSON document, as it is stored. Raises `InvalidPlaybook`."""
    try:
        return Playbook.model_validate_json(json.dumps(value))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise InvalidPlaybook(*(_fault(each) for each in found if not _follows(each, found))) from error
    except RecursionError:
        raise InvalidPlaybook(Fault((), "it is nested too deeply")) from None
    except (TypeError, ValueError) as error:
        raise InvalidPlaybook(Fault((), str(error))) from error


_PATTERNS = {
    NAME: "a name of small letters, digits and _ is needed, with a letter first",
    IDENTIFIER: "letters, digits, - and _ are needed, with a letter or digit first",
}
_WORDS = {
    "missing": "it is missing",
    "string_too_short": "it is empty",
    "string_too_long": "it has more than {max_length} characters",
    "too_long": "it has more than {max_length} entries",
    "too_short": "it has fewer than {min_length} entries",
    "extra_forbidden": "a playbook has nothing of this name",
    "date_from_datetime_parsing": "a date like 2026-02-07 was expected",
    "date_parsing": "a date like 2026-02-07 was expected",
    "int_type": "a whole number was expected",
}
"""The commonest faults in plain words; the others in pydantic's."""


def _follows(error: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a list is told to be too short only because of what is wrong inside: faulty entries do not count."""
    place = error["loc"]
    return error["type"] == "too_short" and any(each["loc"][: len(place)] == place != each["loc"] for each in found)


def _fault(error: Mapping[str, Any]) -> Fault:
    """A validator of several fields begins its text with the name of the one that is wrong."""
    place, about = tuple(error["loc"]), error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        return Fault(place, _PATTERNS[about["pattern"]])
    if error["type"] in _WORDS:
        return Fault(place, _WORDS[error["type"]].format(**about))
    text = error["msg"].removeprefix("Value error, ")
    name, _, rest = text.partition(": ")
    return Fault((*place, name), rest) if rest and name.isidentifier() else Fault(place, text)


def content(playbook: Playbook) -> dict[str, Any]:
    """What a playbook says, as JSON values: all but which version it is and when it was written."""
    return playbook.model_dump(mode="json", exclude={"version", "last_updated"})


def canonical_json(playbook: Playbook) -> str:
    """The one text of a playbook: keys sorted, no blanks, numbers in their shortest plain form as strings."""
    return _compact(playbook.model_dump(mode="json"))


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def playbook_hash(playbook: Playbook) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(playbook).encode()).hexdigest()


# --- differences --------------------------------------------------------------------------------------------------

_KEYS: Mapping[str, tuple[str, ...]] = {
    "market_regime_rules": ("regime",),
    "strategy_definitions": ("name",),
    "lessons_learned": ("id",),
    "confidence_calibration": ("bucket_low", "bucket_high"),
}
"""What names an entry of each list, so that differences are told by name and not by place."""


def diff(old: Playbook, new: Playbook) -> list[str]:
    """What changed from `old` to `new`, a line each, in the order of the sections; version and date are left out."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    changes: list[str] = []
    for section, keys in _KEYS.items():
        changes += _entry_changes(section, _by_name(before[section], keys), _by_name(after[section], keys))
    return changes + _field_changes("time_filters", before["time_filters"], after["time_filters"])


def _by_name(entries: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {" to ".join(str(entry[key]) for key in keys): entry for entry in entries}


def _entry_changes(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changes = [f"{section}: removed {name}" for name in old if name not in new]
    for name, entry in new.items():
        changes += _field_changes(name, old[name], entry) if name in old else [f"{section}: added {name}"]
    if [name for name in old if name in new] != [name for name in new if name in old]:
        changes.append(f"{section}: reordered")
    return changes


def _field_changes(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changes: list[str] = []
    for field, value in new.items():
        if isinstance(value, list):
            changes += _list_changes(f"{name}.{field}", old[field], value)
        elif old[field] != value:
            changes.append(f"{name}.{field}: {_told(old[field])} -> {_told(value)}")
    return changes


def _list_changes(field: str, old: Sequence[Any], new: Sequence[Any]) -> list[str]:
    """What came, what went, and whether what stayed stands in another order; a value may stand there twice."""
    added, removed = Counter(new) - Counter(old), Counter(old) - Counter(new)
    changes = [f"{field}: added {_told(value)}" for value in added.elements()]
    changes += [f"{field}: removed {_told(value)}" for value in removed.elements()]
    if _in_order(old, new) != _in_order(new, old) or (not changes and list(old) != list(new)):
        changes.append(f"{field}: reordered")
    return changes


def _in_order(values: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Each value that both have, where it stands first."""
    return [value for value in dict.fromkeys(values) if value in others]


def _told(value: object) -> str:
    return "unknown" if value is None else repr(value) if isinstance(value, str) and " " in value else str(value)


# --- enforcement --------------------------------------------------------------------------------------------------


def strategy_name(text: str) -> str:
    """A strategy's name as a playbook spells it: whoever means the same strategy names the same one."""
    return text.strip().casefold().replace(" ", "_").replace("-", "_")


def blocked_by(playbook: Playbook, strategy: str, regime: Regime | None, now: datetime) -> str | None:
    """Why the playbook forbids an opening under `strategy` at `now`, or None.

    An opening must name a strategy that the playbook defines, spelling aside: otherwise a new name would get around
    every ban. With the regime unknown (warm-up) only that and the hours count.
    """
    hour = now.astimezone(UTC).hour
    if hour in playbook.time_filters.avoid_hours_utc:
        return f"the playbook avoids the hour from {hour:02}:00 UTC"
    name = strategy_name(strategy)
    if name not in {definition.name for definition in playbook.strategy_definitions}:
        return f"strategy {strategy!r} is not in the playbook"
    rule = _rule(playbook, regime)
    if rule is not None and name in rule.avoid_strategies:
        return f"the playbook avoids {name} in a {rule.regime} market"
    return None


def largest_position(playbook: Playbook, regime: Regime | None) -> Decimal | None:
    """The largest notional / equity the playbook allows in `regime`, or None where it has no rule."""
    rule = _rule(playbook, regime)
    return None if rule is None else rule.max_position_pct


def _rule(playbook: Playbook, regime: Regime | None) -> RegimeRule | None:
    return next((rule for rule in playbook.market_regime_rules if rule.regime == regime), None)


# --- the first one ------------------------------------------------------------------------------------------------


def first_playbook(now: datetime) -> Playbook:
    """Version 1: three textbook strategies, a rule for each regime, nothing learnt yet."""
    return Playbook(
        version=1,
        last_updated=now,
        market_regime_rules=(
            _first_rule("trending_up", "1H", "0.05", prefer=("trend_pullback", "momentum_breakout")),
            _first_rule("trending_down", "1H", "0.05", prefer=("trend_pullback", "momentum_breakout")),
            _first_rule("ranging", "15m", "0.04", prefer=("mean_reversion",)),
            _first_rule("volatile", "15m", "0.03", prefer=("momentum_breakout",), avoid=("mean_reversion",)),
        ),
        strategy_definitions=_FIRST_STRATEGIES,
        lessons_learned=(),
        confidence_calibration=(),
        time_filters=TimeFilter(avoid_hours_utc=(), preferred_hours_utc=()),
    )


def _first_rule(
    regime: Regime,
    timeframe: Literal["15m", "1H", "4H"],
    largest: str,
    *,
    prefer: tuple[str, ...],
    avoid: tuple[str, ...] = (),
) -> RegimeRule:
    return RegimeRule(
        regime=regime,
        preferred_strategies=prefer,
        avoid_strategies=avoid,
        max_position_pct=Decimal(largest),
        preferred_timeframe=timeframe,
    )


def _first_strategy(name: str, entry: str, exit_: str, *filters: str) -> StrategyDefinition:
    return StrategyDefinition(name=name, entry=entry, exit=exit_, filters=filters, historical_winrate=None, avg_rr=None)


_FIRST_STRATEGIES = (
    _first_strategy(
        "momentum_breakout",
        "The 15m close leaves the Bollinger band on volume well above average, with the 1H MACD histogram on its side.",
        "Target at about twice the risk; close when the 1H momentum turns against the position.",
        "volume above 1.2 times its average",
        "15m close beyond the band (bb_position above 1 or below 0)",
        "stop at about one to one and a half 1H ATR",
    ),
    _first_strategy(
        "trend_pullback",
        "In a trend aligned on 1H, the price returns to the 1H EMA 20 while the 15m RSI cools and the trend holds.",
        "Target at about twice the risk; close when the 1H EMAs lose their alignment.",
        "1H ADX above 20",
        "price within three quarters of a 1H ATR of the 1H EMA 20",
        "stop beyond the pullback, at about one to one and a half 1H ATR",
    ),
    _first_strategy(
        "mean_reversion",
        "In a ranging market the 15m RSI is below 30 or above 70 at the edge of the Bollinger band: trade back inside.",
        "Target towards the middle of the range; close when the range breaks.",
        "regime is ranging",
        "1H ADX below 25",
        "no scheduled news within the hour",
    ),
)
