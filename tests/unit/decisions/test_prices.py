"""What the models charge, and what else is known of them."""

from datetime import date
from decimal import Decimal

import pytest

from decisions.clients import prices
from decisions.clients.catalogue import NEWEST_OF_LINE, smallest_cached_prefix, successor, takes_temperature
from decisions.clients.prices import Price, Usage

MILLION = 10**6
EACH_KIND = Usage(
    input=MILLION, output=MILLION, cache_write_5m=MILLION, cache_write_1h=MILLION, cache_read=MILLION
)  # 4 million tokens of prompt


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("claude-opus-4-6", "46.75"),
        ("claude-opus-5-5", "37.20"),
        ("claude-haiku-4-5", "9.35"),
        ("claude-haiku-4-5-20251001", "9.35"),
        ("perplexity/sonar", "3.3125"),
    ],
)
def test_each_kind_of_token_is_charged_at_its_own_rate(model: str, usd: str) -> None:
    assert prices.cost(model, EACH_KIND) == Decimal(usd)


def test_the_cost_of_a_screening_and_of_an_analysis_is_what_the_design_reckons_with() -> None:
    assert prices.cost("claude-haiku-4-5", Usage(input=500, output=30)) == Decimal("0.00065")
    assert prices.cost("claude-opus-4-6", Usage(input=3000, output=520)) == Decimal("0.028")


def test_a_cached_prefix_costs_a_tenth_of_the_input() -> None:
    assert prices.cost("claude-opus-4-6", Usage(cache_read=MILLION)) == Decimal("0.5")


def test_web_searches_are_charged_beside_the_tokens() -> None:
    assert prices.cost("perplexity/sonar", Usage(input=40, output=12), web_searches=1) == Decimal("0.00504")


def test_a_cost_is_rounded_to_the_millionth() -> None:
    assert prices.cost("claude-haiku-5-5", Usage(input=25)) == Decimal("0.000003")


def test_above_its_threshold_the_whole_prompt_of_a_long_one_is_dearer() -> None:
    assert prices.cost("claude-haiku-5-5", Usage(input=60_000, cache_read=40_000)) == Decimal("0.0064")
    assert prices.cost("claude-haiku-5-5", Usage(input=60_001, cache_read=40_000)) == Decimal("0.032001")


def test_a_model_that_is_not_in_the_table_is_never_cheaper_than_one_that_is() -> None:
    assert not prices.is_priced("claude-new-9")
    assert prices.cost("claude-new-9", EACH_KIND) >= max(prices.cost(model, EACH_KIND) for model in prices.PRICES)


def every_price() -> list[Price]:
    return [each for price in prices.PRICES.values() for each in (price, price.long_prompt) if each is not None]


@pytest.mark.parametrize("price", every_price())
def test_every_price_says_when_and_where_it_was_read(price: Price) -> None:
    assert date(2026, 11, 1) <= price.as_of
    assert price.source.partition(":")[0] in ("platform.claude.com", "docs.perplexity.ai")


@pytest.mark.parametrize("price", every_price())
def test_reading_from_the_cache_is_cheaper_than_the_input_and_writing_to_it_is_not(price: Price) -> None:
    assert price.cache_read < price.input <= price.cache_write_5m <= price.cache_write_1h
    assert price.input < price.output


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("claude-opus-4-6", 4096), ("claude-haiku-4-5-20251001", 4096), ("claude-haiku-5-5", 512), ("claude-new-9", 4096)],
)
def test_the_smallest_cached_prefix_of_an_unlisted_model_is_the_largest_there_is(model: str, tokens: int) -> None:
    assert smallest_cached_prefix(model) == tokens


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-opus-4-6", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-sonnet-4-6", True),
        ("claude-opus-4-7", False),
        ("claude-opus-5-5", False),
        ("claude-new-9", False),
    ],
)
def test_newer_models_take_no_temperature(model: str, takes: bool) -> None:
    assert takes_temperature(model) is takes


@pytest.mark.parametrize(
    ("model", "newer"),
    [
        ("claude-opus-4-6", "claude-opus-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-5-5"),
        ("claude-3-5-haiku-20241022", "claude-haiku-5-5"),
        ("claude-sonnet-5", "claude-sonnet-5-5"),
        ("claude-opus-4-20250514", "claude-opus-5-5"),
        ("claude-opus-5-5", None),
        ("claude-opus-6", None),
        ("claude-fable-5-1", None),
        ("perplexity/sonar", None),
    ],
)
def test_a_model_is_followed_by_the_newest_of_its_line(model: str, newer: str | None) -> None:
    assert successor(model) == newer


def test_every_successor_has_a_price() -> None:
    assert all(prices.is_priced(model) for model in NEWEST_OF_LINE.values())
