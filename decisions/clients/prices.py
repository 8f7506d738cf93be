"""What the models charge, in USD, as published. Pure.

A call is priced by the table's entry for its model, a dated name by that of the undated one. A model that is not in
the table is priced like the dearest that is, so that nothing is ever free by omission; `is_priced` tells which case it
was.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from decisions.clients.catalogue import undated

READ_ON = date(2026, 11, 22)
PRICING_PAGE = "platform.claude.com: pricing"
MODEL_OVERVIEW = "platform.claude.com: overview of the model"
AGENT_API_PRICES = "docs.perplexity.ai: prices of the Agent API; its tokens as reported by users"

CENT_FRACTION = Decimal("0.000001")
MILLION = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens, and per web search. `long_prompt` replaces it above `long_prompt_tokens` of input.

    `as_of` is the day on which `source` said so.
    """

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    web_search: Decimal = Decimal(0)
    long_prompt_tokens: int | None = None
    long_prompt: "Price | None" = None
    as_of: date
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call; `input` are those neither written to the cache nor read from it."""

    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0

    @property
    def cache_write(self) -> int:
        """Tokens written to the cache, for whatever time."""
        return self.cache_write_5m + self.cache_write_1h


def _price(given: str, answered: str, write_5m: str, write_1h: str, read: str, source: str = PRICING_PAGE) -> Price:
    return Price(
        input=Decimal(given),
        output=Decimal(answered),
        cache_write_5m=Decimal(write_5m),
        cache_write_1h=Decimal(write_1h),
        cache_read=Decimal(read),
        as_of=READ_ON,
        source=source,
    )


PRICES: dict[str, Price] = {
    "claude-opus-4-6": _price("5", "25", "6.25", "10", "0.50", MODEL_OVERVIEW),
    "claude-opus-4-7": _price("5", "25", "6.25", "10", "0.50"),
    "claude-opus-4-8": _price("5", "25", "6.25", "10", "0.50"),
    "claude-opus-5": _price("5", "25", "6.25", "10", "0.50"),
    "claude-opus-5-5": _price("4", "20", "5", "8", "0.20", MODEL_OVERVIEW),
    "claude-sonnet-4-6": _price("3", "15", "3.75", "6", "0.30"),
    "claude-sonnet-5-5": _price("2", "10", "2.50", "4", "0.20"),
    "claude-haiku-4-5": _price("1", "5", "1.25", "2", "0.10"),
    "claude-haiku-5-5": replace(
        _price("0.10", "0.50", "0.125", "0.20", "0.01", MODEL_OVERVIEW),
        long_prompt_tokens=100_000,
        long_prompt=_price("0.50", "2.50", "0.625", "1.00", "0.05", MODEL_OVERVIEW),
    ),
    "claude-fable-5-1": _price("10", "50", "12.50", "20", "0.25"),
    "perplexity/sonar": replace(
        _price("0.25", "2.50", "0.25", "0.25", "0.0625", AGENT_API_PRICES),
        web_search=Decimal("0.005"),
    ),
}
"""Where two sources disagree, the dearer one. A cache write that no page lists costs the usual multiple of input."""

DEAREST = PRICES["claude-fable-5-1"]


def price_of(model: str) -> Price:
    """The model's price, or the dearest where the table does not know it."""
    return PRICES.get(undated(model), DEAREST)


def is_priced(model: str) -> bool:
    """Whether the table knows the model."""
    return undated(model) in PRICES


def cost(model: str, usage: Usage, *, web_searches: int = 0) -> Decimal:
    """USD of one call, to the millionth, never below what the table says."""
    price = price_of(model)
    prompt = usage.input + usage.cache_write + usage.cache_read
    if price.long_prompt is not None and price.long_prompt_tokens is not None and prompt > price.long_prompt_tokens:
        price = price.long_prompt
    tokens = (
        usage.input * price.input
        + usage.output * price.output
        + usage.cache_write_5m * price.cache_write_5m
        + usage.cache_write_1h * price.cache_write_1h
        + usage.cache_read * price.cache_read
    )
    return (tokens / MILLION + web_searches * price.web_search).quantize(CENT_FRACTION, ROUND_HALF_UP)
