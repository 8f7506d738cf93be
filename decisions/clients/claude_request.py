"""The body of a question to the Messages API. Pure.

The stable part stands first (system, schema, reference) and what changes last, so that the API's prompt cache can hold
the first. It is marked for the cache where it is long enough for the model.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import BaseModel

from decisions.clients import catalogue
from decisions.prompts import Prompt, estimated_tokens
from decisions.schemas import output_schema

CACHED = {"type": "ephemeral", "ttl": "1h"}
"""An hour: cycles are five minutes apart, and most end before the big model is asked, so that the usual five-minute
entry would be cold by the next question."""

ESTIMATE_SLACK = 4 / 3
"""The estimate may be a quarter below the true count (JSON). It is taken at its highest, since a mark on too short a
prefix does nothing and costs nothing, while a missing one costs the full price every time."""

SAMPLING_VERSION = "2023-06-01"
"""The last API version under which some models take a temperature."""

_SAMPLING = ("extra_body", "extra_headers")


def build_request(
    prompt: Prompt,
    answer_model: type[BaseModel],
    *,
    model: str,
    max_tokens: int,
    effort: str | None = None,
    temperature: Decimal | float | None = None,
) -> dict[str, Any]:
    """What `messages.create` of the SDK takes.

    `effort` is sent whenever it is given: not every model takes it. `temperature` is sent only to a model that takes
    one, which needs an older API version and the SDK's way round its own signature.
    """
    system = {"type": "text", "text": prompt.system}
    content = [{"type": "text", "text": text} for text in (prompt.reference, prompt.user) if text]
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "system": [system],
        "messages": [{"role": "user", "content": content}],
        "output_config": {"format": {"type": "json_schema", "schema": output_schema(answer_model)}},
    }
    if cached_prefix(prompt, answer_model) >= catalogue.smallest_cached_prefix(model):
        last: dict[str, Any] = content[0] if prompt.reference else system
        last["cache_control"] = CACHED
    if effort:
        request["output_config"]["effort"] = effort
    if temperature is not None and catalogue.takes_temperature(model):
        request["extra_body"] = {"temperature": float(temperature)}
        request["extra_headers"] = {"anthropic-version": SAMPLING_VERSION}
    return request


def cached_prefix(prompt: Prompt, answer_model: type[BaseModel]) -> int:
    """The most tokens that the stable part of the question may have."""
    estimate = estimated_tokens(prompt.system) + estimated_tokens(prompt.reference) + _schema_tokens(answer_model)
    return math.ceil(estimate * ESTIMATE_SLACK)


def has_temperature(request: Mapping[str, Any]) -> bool:
    """Whether the request asks for a sampling temperature."""
    return "extra_body" in request


def without_temperature(request: Mapping[str, Any]) -> dict[str, Any]:
    """The same request, sampled as the model does by itself."""
    return {name: value for name, value in request.items() if name not in _SAMPLING}


@cache
def _schema_tokens(answer_model: type[BaseModel]) -> int:
    return estimated_tokens(json.dumps(output_schema(answer_model), separators=(",", ":")))
