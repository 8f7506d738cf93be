"""What is known of Anthropic's models beside their prices. Pure.

Facts that the API does not tell before it is asked, as published on 2026-11-22 (platform.claude.com: prompt caching,
migration guide, model overview). A dated name (`claude-haiku-4-5-20251001`) has the facts of the undated one.
"""

import re

UNLISTED_PREFIX = 4096
"""The largest of the published minima: a model that is not listed gets no marker that would do nothing."""

SMALLEST_CACHED_PREFIX = {
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-opus-4-8": 1024,
    "claude-opus-5": 512,
    "claude-sonnet-5": 1024,
    "claude-haiku-4-5": 4096,
    "claude-haiku-5-5": 512,
}
"""Tokens. A shorter prefix is not cached, and no error says so."""

TAKING_A_TEMPERATURE = frozenset({"claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5"})
"""The models that take sampling parameters under API version 2023-06-01. No model does under later versions."""

NEWEST_OF_LINE = {
    "opus": "claude-opus-5-5",
    "sonnet": "claude-sonnet-5-5",
    "haiku": "claude-haiku-5-5",
}


def undated(model: str) -> str:
    """The name of a model without the date of its snapshot."""
    return re.sub(r"-\d{8}$", "", model)


def smallest_cached_prefix(model: str) -> int:
    """The fewest tokens that the model caches as a prefix."""
    return SMALLEST_CACHED_PREFIX.get(undated(model), UNLISTED_PREFIX)


def takes_temperature(model: str) -> bool:
    """Whether the model still takes a sampling temperature, if asked under API version 2023-06-01."""
    return undated(model) in TAKING_A_TEMPERATURE


def successor(model: str) -> str | None:
    """The model to change to when this one goes: the newest of its line, or None where none newer is known."""
    name = undated(model)
    newest = next((newest for line, newest in NEWEST_OF_LINE.items() if line in name.split("-")), None)
    return newest if newest is not None and _version(name) < _version(newest) else None


def _version(model: str) -> tuple[int, ...]:
    return tuple(int(part) for part in model.split("-") if part.isdecimal())
