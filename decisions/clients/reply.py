"""What came of asking a model: a value that is stored before anything in it is believed."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Generic, Literal

from pydantic import Field

from decisions.schemas import AnswerType, Citation, ResearchAnswer

Outcome = Literal["ok", "refusal", "invalid_output", "error"]
Source = Literal["live", "offline", "replay"]
"""Who answers: the service, the offline model, or a recording."""
Purpose = Literal["screen", "analyze", "research", "reflect"]
Tokens = Annotated[int, Field(ge=0, le=100_000_000)]
"""A count of tokens that can be true."""
LONGEST_ID = 100
LONGEST_REASON = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply(Generic[AnswerType]):
    """One call to a model. `parsed` is there exactly when `outcome` is "ok"; `error` says what is wrong otherwise.

    `raw` is the body of the response as it came, `text` what the model wrote in it. `cost_usd` is what the call cost,
    or what it would have cost where `source` says that no real model was asked; `priced` is false for a model missing from the
    price table.
    """

    purpose: Purpose
    model: str
    outcome: Outcome
    parsed: AnswerType | None = None
    text: str | None = None
    error: str = ""
    raw: str = ""
    stop_reason: str = ""
    request_id: str = ""
    status: int | None = None
    retry_after: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    priced: bool = True
    latency_ms: int
    attempts: int = 1
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchReply(ModelReply[ResearchAnswer]):
    """A research call, with the pages that the search returned."""

    citations: tuple[Citation, ...] = ()


def storable(text: str) -> str:
    """The text with what a database cannot hold replaced: NUL characters and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
