"""What came of asking a model: a value that is stored before anything in it is believed."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Generic, Literal

from django.conf import settings
from pydantic import Field

from decisions.schemas import AnswerType, Citation, ResearchAnswer
from orchestrator_project.logs import without_secrets

Outcome = Literal["ok", "refusal", "invalid_output", "error"]
Source = Literal["live", "offline", "replay"]
"""Who answers: the service, the offline model, or a recording."""
Purpose = Literal["screen", "analyze", "research", "reflect"]
Tokens = Annotated[int, Field(ge=0, le=10_000_000)]
"""A count of tokens that can be true: several times the largest context there is."""
LONGEST_ID = 100
LONGEST_REASON = 40
LONGEST_ERROR = 600
LONGEST_RAW = 1_000_000
"""Characters. An answer of sixteen thousand tokens, the longest that is asked for, stays below a tenth of it."""

NO_SUCH_MODEL = (404, "not_found_error")
"""Status and error type by which the API says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply(Generic[AnswerType]):
    """One call to a model. `parsed` is there exactly when `outcome` is "ok"; `error` says what is wrong otherwise.

    `raw` is the body of the response as it came, `text` what the model wrote in it. `attempts` counts the requests
    that were sent for it, `status` and `retry_after` are the last one's. `cost_usd` is what the call cost, or what it
    would have cost where `source` says that no real model was asked; `priced` is false for a model missing from the
    price table.
    """

    purpose: Purpose
    model: str
    outcome: Outcome
    parsed: AnswerType | None = None
    text: str | None = None
    error: str = ""
    error_type: str = ""
    """The API's own name of the error, such as not_found_error; empty where it gave none."""
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

    @property
    def model_is_gone(self) -> bool:
        """Whether the API itself says that it has no such model; a proxy's 404 says nothing about it."""
        return (self.status, self.error_type) == NO_SUCH_MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearchReply(ModelReply[ResearchAnswer]):
    """A research call, with the pages that the search returned."""

    citations: tuple[Citation, ...] = ()


def storable(text: str, longest: int = LONGEST_RAW) -> str:
    """A text from outside as it may be stored and told: our secrets hidden, what a database cannot hold replaced (NUL
    characters, lone surrogates), and no longer than `longest` characters."""
    secrets = (*settings.SECRETS, settings.ANTHROPIC_API_KEY, settings.PERPLEXITY_API_KEY)
    text = without_secrets(text, secrets).replace("\x00", "\ufffd")
    return clipped(text.encode("utf-8", "replace").decode("utf-8"), longest)


def clipped(text: str, longest: int = LONGEST_RAW) -> str:
    """The text, or as much of its beginning as fits with a note of how long it was."""
    if len(text) <= longest:
        return text
    mark = f" ... [cut: {len(text)} characters came]"
    return (text[: max(longest - len(mark), 0)] + mark)[:longest]
