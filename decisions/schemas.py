"""What the models answer, as strict frozen values, and the JSON schemas that ask for it.

`output_schema` gives the form that the Messages API accepts: no free keys and no numeric or length constraints, which
go into the descriptions instead. So the server guarantees the shape only; `decode_answer` checks the rest, and an
answer that fails there never trades.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from decisions import messages
from journal.playbook import Number, storable

LONGEST_ANSWER = 200_000
"""Characters. Sixteen thousand output tokens, the most that is ever asked for, stay below half of it."""


class InvalidAnswer(ValueError):
    """A model's answer that must not be used; the text says why."""


def any_case(literal: Any) -> BeforeValidator:
    """Accept the members of a Literal in any case: the API does not promise capitalisation."""
    spellings = {member.casefold(): member for member in get_args(literal)}

    def spell(value: Any) -> Any:
        return spellings.get(value.strip().casefold(), value) if isinstance(value, str) else value

    return BeforeValidator(spell)


def bounded_text(told: int, slack: int = 4) -> tuple[Any, ...]:
    """A text of about `told` characters. The API enforces no length, and a few words too many make an answer no less
    clear: only a text `slack` times as long is refused."""

    def bounded(value: str) -> str:
        if len(value) > told * slack:
            raise ValueError(f"{len(value)} characters, at most {told * slack} are accepted")
        return storable(value)

    extra: Any = {"maxLength": told}
    return StringConstraints(strip_whitespace=True), AfterValidator(bounded), Field(json_schema_extra=extra)


Action = Annotated[messages.Action, any_case(messages.Action)]
OrderType = Annotated[messages.OrderType, any_case(messages.OrderType)]
Regime = Annotated[messages.Regime, any_case(messages.Regime)]
_Lean = Literal["bullish", "bearish", "neutral"]
Lean = Annotated[_Lean, any_case(_Lean)]
_Level = Literal["high", "medium", "low"]
Level = Annotated[_Level, any_case(_Level)]
_Horizon = Literal["immediate", "short", "medium"]
Horizon = Annotated[_Horizon, any_case(_Horizon)]

NotNegative = Annotated[Number, Field(ge=0, lt=10**12)]
Positive = Annotated[Number, Field(gt=0, lt=10**12)]
Label = Annotated[str, *bounded_text(50, slack=1)]
Sentence = Annotated[str, *bounded_text(300)]
Paragraph = Annotated[str, *bounded_text(1200)]
Sentences = Annotated[tuple[Sentence, ...], Field(max_length=12)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="Probability from 0 to 1.")]


class Answer(BaseModel):
    """Something a model answers: strict, frozen, no unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class ScreenAnswer(Answer):
    """Whether a snapshot holds a setup worth a full analysis."""

    signal: bool
    reason: Annotated[str, *bounded_text(160)] = Field(description="Why, in one sentence.")


class Analysis(Answer):
    """How the model reads the market."""

    market_regime: Regime
    bias: Lean
    key_observations: Sentences
    risk_factors: Sentences


class CitedFact(Answer):
    """One figure the reasoning rests on, as it was shown."""

    path: Annotated[str, *bounded_text(120, slack=1)] = Field(
        description="Path of a field that was shown, like indicators.1H.rsi_14."
    )
    value: Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, *bounded_text(200, slack=1)] = Field(
        description="Its value, exactly as shown and in the same unit."
    )


def _none_for_zero(value: Any) -> Any:
    """Zero is how models fill in a leverage that does not matter; an exit must not fail on it."""
    return None if value == 0 and not isinstance(value, bool) else value


class Decision(Answer):
    """What to do with the instrument now. Prices in quote currency, sizes as fractions of equity.

    Whether the stop, the target and the size make sense is the risk gate's to judge, zero and missing included.
    """

    action: Action
    symbol: messages.Symbol
    size_pct: Annotated[NotNegative, Field(le=1)] = Field(
        description="Notional as a fraction of equity (0.03 is 3 %): of the new position for an opening, of the "
        "increment for ADD, of what is taken off for REDUCE; 0 for CLOSE and HOLD."
    )
    entry_price: NotNegative | None = Field(
        description="Expected entry price in quote currency, for the record only; null for none."
    )
    stop_loss: NotNegative | None = Field(
        description="Stop price in quote currency; required to open or add, else null."
    )
    take_profit: NotNegative | None = Field(
        description="Target price in quote currency; required to open or add, else null."
    )
    order_type: OrderType
    limit_price: NotNegative | None = Field(
        description="Passive limit price in quote currency for a limit order, else null."
    )
    leverage: Annotated[Annotated[Positive, Field(le=125)] | None, BeforeValidator(_none_for_zero)] = Field(
        description="Leverage, notional / margin; null for 1."
    )
    research_request: Sentence | None = Field(
        description="A question for the news search when an answer would change the decision, else null."
    )
    cited_facts: Annotated[tuple[CitedFact, ...], Field(max_length=20)]


class AnalysisAnswer(Answer):
    """A full analysis and the decision it leads to."""

    analysis: Analysis
    decision: Decision
    confidence: Confidence
    strategy_used: Label = Field(description="Name of a strategy of the playbook; none for HOLD.")
    reasoning: Paragraph = Field(description="The argument, resting on the cited facts.")


class ResearchAnswer(Answer):
    """What a news search found, and what it means for the price."""

    summary: Paragraph
    sentiment: Lean
    impact_level: Level
    time_horizon: Horizon
    key_points: Sentences
    trading_implication: Paragraph
    confidence: Confidence
    sources: Annotated[tuple[Annotated[str, *bounded_text(500)], ...], Field(max_length=100)] = Field(
        description="Addresses of the pages used."
    )


class Citation(Answer):
    """A page that the search returned. `date` is the page's own, as text, empty where it has none."""

    url: Annotated[str, *bounded_text(2000, slack=1)]
    title: Annotated[str, *bounded_text(500, slack=1)]
    date: Annotated[str, *bounded_text(40, slack=1)]


AnswerType = TypeVar("AnswerType", bound=BaseModel)


# --- reading an answer ----------------------------------------------------------------------------------------------


def decode_answer(model: type[AnswerType], text: str) -> AnswerType:
    """The answer in a model's reply text.

    Raises `InvalidAnswer` for anything that is not exactly one JSON document of the model's shape, within its bounds:
    NaN, infinity, unknown keys, repeated keys and over-long texts included.
    """
    if len(text) > LONGEST_ANSWER:
        raise InvalidAnswer(f"an answer of {len(text)} characters, at most {LONGEST_ANSWER} are read")
    try:
        json.loads(text, parse_constant=messages.refuse_constant, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"not JSON: {error}") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InvalidAnswer(messages.first_faults(error, "answer")) from error


def _no_repeats(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key stands twice among {', '.join(sorted(keys))[:200]}")


# --- asking for one -------------------------------------------------------------------------------------------------

_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
"""The string formats that the Messages API enforces."""

_BOUNDS: Mapping[str, str] = {
    "minimum": "At least {}.",
    "ge": "At least {}.",
    "maximum": "At most {}.",
    "le": "At most {}.",
    "exclusiveMinimum": "Above {}.",
    "gt": "Above {}.",
    "exclusiveMaximum": "Below {}.",
    "lt": "Below {}.",
    "minLength": "At least {} characters.",
    "maxLength": "At most {} characters.",
    "minItems": "At least {} entries.",
    "maxItems": "At most {} entries.",
    "pattern": "Matches {}",
}
"""How each bound is told. The short names are pydantic's own, which it leaves on a Decimal with a validator."""

_UNTOLD = 10**6
"""Bounds as large as this protect the storage and mean nothing to a model."""


@cache
def output_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model's answer in the dialect of the Messages API. Shared: do not change it.

    References are resolved in place, objects allow no further keys, bounds stand in words in the descriptions, and
    a Decimal is asked for as a number.
    """
    schema = model.model_json_schema()
    return _plain(schema, schema.get("$defs", {}))


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    description = " ".join(_description(schema))
    plain: dict[str, Any] = {"description": description} if description else {}
    if "enum" in schema or "const" in schema:
        return {"enum": schema.get("enum") or [schema["const"]], **plain}
    if "anyOf" in schema:
        return _union([_plain(variant, definitions) for variant in _variants(schema)], plain)
    plain = {"type": schema["type"], **plain}
    if schema["type"] == "object":
        plain["properties"] = {name: _plain(each, definitions) for name, each in schema["properties"].items()}
        plain["required"] = list(schema.get("required", ()))
        plain["additionalProperties"] = False
    elif schema["type"] == "array":
        plain["items"] = _plain(schema["items"], definitions)
    elif schema.get("format") in _FORMATS:
        plain["format"] = schema["format"]
    return plain


def _variants(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The variants of a union. The text that may stand for a Decimal is not offered."""
    variants = schema["anyOf"]
    decimal = any(each.get("type") == "string" and "maxLength" not in each for each in variants)
    return [each for each in variants if not (decimal and each.get("type") == "string")]


def _union(variants: list[dict[str, Any]], described: dict[str, Any]) -> dict[str, Any]:
    if len(variants) > 1:
        return {"anyOf": variants, **described}
    words = " ".join(each["description"] for each in (described, variants[0]) if "description" in each)
    return {**variants[0], **({"description": words} if words else {})}


def _description(schema: Mapping[str, Any]) -> list[str]:
    words = [schema["description"]] if "description" in schema else []
    bounds = [(text, schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return words + [text.format(_plain_bound(bound)) for text, bound in bounds if not _is_storage_bound(bound)]


def _is_storage_bound(bound: Any) -> bool:
    return isinstance(bound, int | float) and abs(bound) >= _UNTOLD


def _plain_bound(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
