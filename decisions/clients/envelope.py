"""How the envelope round an answer is read: strict in what is used, blind to the rest. Pure.

An answer was paid for. A new kind of block, a null, or a number where a text used to be must not spoil it, unless it is
what the answer or its price is read from.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class Part(BaseModel):
    """A part of an envelope; fields that it does not name are ignored."""

    model_config = ConfigDict(extra="ignore")


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


OrNone = WrapValidator(_or_none)
"""For what nothing depends on: a value of another shape counts as none."""
Word = Annotated[str | None, OrNone]


def only(*kinds: str) -> BeforeValidator:
    """Of a list, the objects whose `type` is one of `kinds`; whatever else stands there is not looked at."""

    def pick(value: Any) -> list[Any]:
        entries = value if isinstance(value, list) else []
        return [entry for entry in entries if isinstance(entry, dict) and entry.get("type") in kinds]

    return BeforeValidator(pick)
