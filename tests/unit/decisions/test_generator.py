from decimal import Decimal
from itertools import islice

import numpy as np
import pytest

from decisions.bars import BarSeries, first_fault, milliseconds_of
from decisions.sandbox.feeds import GeneratedFeed
from decisions.sandbox.generator import BAR_SECONDS, BLOCK_BARS, Block, CommonFactor, InstrumentGenerator
from decisions.sandbox.instruments import (
    MOST_SIMULATED,
    SPECIFICATIONS,
    UnknownInstrumentError,
    specification,
)
from decisions.sandbox.opening import GENERATED_START

GENESIS = milliseconds_of(GENERATED_START)
WEEKS = 12


def generator(symbol: str = "BTC-USDT-SWAP", seed: int = 1, factor: CommonFactor | None = None) -> InstrumentGenerator:
    return InstrumentGenerator(
        symbol, specification(symbol), seed=seed, genesis_ms=GENESIS, factor=factor or CommonFactor(seed)
    )


def feed(symbol: str = "BTC-USDT-SWAP", seed: int = 1) -> GeneratedFeed:
    return GeneratedFeed(symbol, generator(symbol, seed), genesis_ms=GENESIS)


def column(blocks: list[Block], name: str) -> np.ndarray:
    return np.concatenate([getattr(block.bars, name) for block in blocks])


def same(one: BarSeries, other: BarSeries) -> bool:
    return list(one) == list(other)


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[Block]]:
    factor = CommonFactor(1)
    return {
        symbol: list(islice(generator(symbol, 1, factor).blocks(), WEEKS))
        for symbol in ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "DOGE-USDT-SWAP")
    }


def test_the_same_seed_gives_the_same_market_and_another_seed_another() -> None:
    one, again, other = (next(generator(seed=seed).blocks()) for seed in (1, 1, 2))
    assert same(one.bars, again.bars)
    assert one.funding == again.funding
    assert one.open_interest.tolist() == again.open_interest.tolist()
    assert not same(one.bars, other.bars)


def test_an_instruments_market_does_not_depend_on_which_others_there_are() -> None:
    shared = CommonFactor(1)
    next(generator("ETH-USDT-SWAP", 1, shared).blocks())
    with_other = next(generator("BTC-USDT-SWAP", 1, shared).blocks())
    assert same(with_other.bars, next(generator("BTC-USDT-SWAP").blocks()).bars)


def test_every_bar_is_possible_on_tick_and_follows_the_one_before(blocks: dict[str, list[Block]]) -> None:
    for symbol, made in blocks.items():
        names = ("open_ms", "open", "high", "low", "close", "volume")
        bars = BarSeries(*(column(made, name) for name in names))
        assert first_fault(bars, BAR_SECONDS) is None
        assert bars.open[1:].tolist() == bars.close[:-1].tolist()
        tick = float(specification(symbol).tick_size)
        assert np.abs(bars.close / tick - np.rint(bars.close / tick)).max() < 1e-6
        assert bars.volume.min() > 0


def test_what_the_rules_of_the_product_look_for_happens_now_and_then(blocks: dict[str, list[Block]]) -> None:
    for made in blocks.values():
        close = column(made, "close")
        interest = np.concatenate([block.open_interest for block in made])
        rates = np.array([rate for block in made for _, rate in block.funding])
        assert 0.0005 < (np.abs(close[12:] / close[:-12] - 1) > 0.03).mean() < 0.05
        assert 0.001 < (np.abs(interest[48:] / interest[:-48] - 1) > 0.10).mean() < 0.15
        assert 3 <= ((rates > 0.0005) | (rates < -0.0003)).sum() <= 40
        assert 0.3 < close[-1] / close[0] < 3


def test_volume_rises_with_movement_and_instruments_move_together(blocks: dict[str, list[Block]]) -> None:
    returns = {symbol: np.diff(np.log(column(made, "close"))) for symbol, made in blocks.items()}
    for symbol, made in blocks.items():
        assert np.corrcoef(column(made, "volume")[1:], np.abs(returns[symbol]))[0, 1] > 0.4
    assert np.corrcoef(returns["BTC-USDT-SWAP"], returns["ETH-USDT-SWAP"])[0, 1] > 0.5


def test_funding_settles_at_midnight_eight_and_sixteen(blocks: dict[str, list[Block]]) -> None:
    settled = [moment for block in blocks["BTC-USDT-SWAP"] for moment, _ in block.funding]
    assert settled[0] == GENESIS + 8 * 3_600_000
    assert set(np.diff(settled).tolist()) == {8 * 3_600_000}


def test_a_feed_taken_up_later_goes_on_with_the_same_candles() -> None:
    through = feed()
    through.history(GENESIS + 300_000 * BLOCK_BARS // 2)
    moments = [GENESIS + 300_000 * number for number in range(BLOCK_BARS - 3, BLOCK_BARS + 3)]
    unbroken = [(through.candle(at), through.funding(at), through.open_interest(at)) for at in moments]
    resumed = feed()
    resumed.history(GENESIS + 300_000 * BLOCK_BARS)
    assert [(resumed.candle(at), resumed.funding(at), resumed.open_interest(at)) for at in moments] == unbroken


def test_history_is_the_candles_before_the_moment() -> None:
    history = feed().history(GENESIS + 300_000 * (BLOCK_BARS + 10))
    assert len(history) == BLOCK_BARS + 10
    taken = feed()
    *_, last = history
    candle = taken.candle(last.open_ms)
    assert (float(candle.close), float(candle.volume)) == (last.close, last.volume)


def test_funding_is_known_from_its_settlement_on_only() -> None:
    made = feed()
    midnight = GENESIS + 24 * 3_600_000
    made.candle(midnight)
    before, at = made.funding(midnight - 1), made.funding(midnight)
    assert before is not None
    assert at is not None
    assert milliseconds_of(before.settled_at) == midnight - 8 * 3_600_000
    assert before.next_at == at.settled_at
    assert milliseconds_of(at.settled_at) == midnight
    assert at.next_at is not None
    assert milliseconds_of(at.next_at) == midnight + 8 * 3_600_000


def test_prices_are_decimals_with_the_digits_of_the_tick() -> None:
    candle = feed("DOGE-USDT-SWAP").candle(GENESIS)
    assert candle.close.as_tuple().exponent == -6
    assert candle.volume % 10 == 0, "whole lots of 0.01 contracts of 1000 coins"


@pytest.mark.parametrize("symbol", [*SPECIFICATIONS, "SIM1-USDT-SWAP", f"SIM{MOST_SIMULATED}-USDT-SWAP"])
def test_every_known_instrument_can_be_generated_at_a_price_its_tick_resolves(symbol: str) -> None:
    terms = specification(symbol)
    bars = next(generator(symbol).blocks()).bars
    assert Decimal(str(bars.close.min())) * Decimal("0.0005") > terms.tick_size


@pytest.mark.parametrize("symbol", ["PEPE-USDT-SWAP", "SIM0-USDT-SWAP", f"SIM{MOST_SIMULATED + 1}-USDT-SWAP", "BTC"])
def test_an_unknown_instrument_is_refused_with_the_known_ones(symbol: str) -> None:
    with pytest.raises(UnknownInstrumentError, match=f"{symbol}: the sandbox has BTC-USDT-SWAP"):
        specification(symbol)
