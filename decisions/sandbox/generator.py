"""An endless invented market: prices that trend, range and break out, with funding and open interest.

Nothing here forecasts anything; it gives every rule of the product something to do. The log return of a bar is a common
factor times the instrument's beta plus a movement of its own. Both move through regimes (range, trend up, trend down,
volatile) of random length, with clustered volatility, fat tails and now and then a jump; a trend begins with an
impulse on high volume. Highs and lows are drawn from the extremes of a Brownian bridge between open and close
(Beaglehole, Dybvig and Zhou, "Going to extremes", 1997). Volume follows the absolute return and the hour of the day.
The funding rate follows the last day's return, open interest reverts to its mean; both jump now and then.

The market is made in blocks of a week, each from a random generator of its own, seeded by (seed, name, block), and from
the state that the block before it left. The same seed and start therefore give the same bars whatever the process did
between: after a restart the blocks are made again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from math import exp, log
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from decisions.bars import BarSeries
from decisions.messages import InstrumentSpecification

BAR_SECONDS = 300
BLOCK_BARS = 7 * 86_400 // BAR_SECONDS
FUNDING_SECONDS = 8 * 3600
FUNDING_PLACES = 6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regime:
    """How a market moves for a while. `volatility` and `drift` are a bar's, as log return; `hours` the mean length."""

    name: str
    hours: float
    volatility: float
    drift: float
    jumps_per_bar: float
    share: float


REGIMES: tuple[Regime, ...] = (
    Regime("range", hours=30, volatility=0.0008, drift=0.0, jumps_per_bar=1 / 4000, share=0.45),
    Regime("trend_up", hours=20, volatility=0.0010, drift=0.00014, jumps_per_bar=1 / 3000, share=0.24),
    Regime("trend_down", hours=20, volatility=0.0010, drift=-0.00014, jumps_per_bar=1 / 3000, share=0.24),
    Regime("volatile", hours=6, volatility=0.0036, drift=0.0, jumps_per_bar=1 / 300, share=0.07),
)
RANGE_PULL = 0.012
"""Share of the distance from the range's centre that is taken back each bar."""
IMPULSE_BARS = 9
IMPULSE_DRIFT = 6.0
IMPULSE_ACTIVITY = 3.0
VOLATILITY_MEMORY = 0.985
VOLATILITY_NOISE = 0.08
OWN_SHARE = 0.7
"""Weight of an instrument's own movement beside the common factor's."""


@dataclass(slots=True)
class _Course:
    """The state that a movement carries from bar to bar."""

    regime: int = 0
    age: int = 0
    left: int = 0
    displacement: float = 0.0
    log_volatility: float = 0.0


class Swing(NamedTuple):
    """A block of a movement: log `returns`, their `volatility`, and `activity` (1 is usual), a value a bar each."""

    returns: Floats
    volatility: Floats
    activity: Floats


class Movement:
    """A regime-switching log return, made block after block."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed = (seed, crc32(name.encode()))
        self._course = _Course()
        self._made = 0

    def next_block(self) -> Swing:
        rng = np.random.default_rng((*self._seed, self._made))
        shocks = (rng.standard_t(4, BLOCK_BARS) / 2**0.5).tolist()
        wanders = (rng.standard_normal(BLOCK_BARS) * VOLATILITY_NOISE).tolist()
        chances = rng.random(BLOCK_BARS).tolist()
        jumps = (rng.choice((-1, 1), BLOCK_BARS) * rng.uniform(0.012, 0.04, BLOCK_BARS)).tolist()
        bars = [self._bar(rng, *draws) for draws in zip(shocks, wanders, chances, jumps, strict=True)]
        self._made += 1
        return Swing(*np.array(bars).T)

    def _bar(
        self, rng: np.random.Generator, shock: float, wander: float, chance: float, jump: float
    ) -> tuple[float, float, float]:
        course = self._course
        if course.left <= 0:
            self._switch(rng)
        regime = REGIMES[course.regime]
        course.log_volatility = VOLATILITY_MEMORY * course.log_volatility + wander
        volatility = regime.volatility * exp(course.log_volatility)
        impulse = regime.drift != 0 and course.age < IMPULSE_BARS
        drift = regime.drift * (IMPULSE_DRIFT if impulse else 1.0)
        if regime.drift == 0:
            drift -= RANGE_PULL * course.displacement
        jumped = chance < regime.jumps_per_bar
        value = drift + volatility * shock + (jump if jumped else 0.0)
        course.displacement += value
        course.age += 1
        course.left -= 1
        return value, volatility, IMPULSE_ACTIVITY if impulse or jumped else 1.0

    def _switch(self, rng: np.random.Generator) -> None:
        course = self._course
        others = [number for number in range(len(REGIMES)) if number != course.regime]
        shares = np.array([REGIMES[number].share for number in others])
        course.regime = int(rng.choice(others, p=shares / shares.sum()))
        mean_bars = REGIMES[course.regime].hours * 3600 / BAR_SECONDS
        course.left = max(IMPULSE_BARS, int(rng.gamma(3.0, mean_bars / 3.0)))
        course.age = 0
        course.displacement = 0.0


class CommonFactor:
    """The movement that the instruments of one seed share; each of them reads it from the first block on."""

    def __init__(self, seed: int) -> None:
        self._movement = Movement(seed, "common factor")
        self._blocks: list[Swing] = []

    def block(self, index: int) -> Swing:
        while len(self._blocks) <= index:
            self._blocks.append(self._movement.next_block())
        return self._blocks[index]


@dataclass(frozen=True, slots=True)
class Character:
    """What tells one invented instrument from another. `turnover` and `open_interest` in USD, turnover a bar's."""

    price: float
    beta: float
    turnover: float
    open_interest: float


CHARACTERS: Mapping[str, Character] = {
    "BTC-USDT-SWAP": Character(90_000, 1.0, 20e6, 3e9),
    "ETH-USDT-SWAP": Character(3_000, 1.2, 12e6, 2e9),
    "SOL-USDT-SWAP": Character(140, 1.5, 4e6, 6e8),
    "BNB-USDT-SWAP": Character(850, 0.9, 1e6, 2e8),
    "XRP-USDT-SWAP": Character(2.1, 1.2, 2e6, 3e8),
    "DOGE-USDT-SWAP": Character(0.14, 1.5, 2e6, 3e8),
    "ADA-USDT-SWAP": Character(0.42, 1.3, 5e5, 8e7),
    "AVAX-USDT-SWAP": Character(14, 1.4, 5e5, 8e7),
    "LINK-USDT-SWAP": Character(13, 1.3, 5e5, 8e7),
    "LTC-USDT-SWAP": Character(80, 1.0, 4e5, 6e7),
}


def character(symbol: str) -> Character:
    """The character of a known coin, or one drawn from the symbol's name."""
    if symbol in CHARACTERS:
        return CHARACTERS[symbol]
    rng = np.random.default_rng(crc32(symbol.encode()))
    return Character(
        price=round(exp(rng.uniform(log(5), log(500))), 2),
        beta=float(rng.uniform(0.8, 1.6)),
        turnover=1e6,
        open_interest=1e8,
    )


@dataclass(frozen=True, slots=True)
class Block:
    """A week of one instrument. `funding` holds (time in ms, rate) of each settlement, `open_interest` a value a bar,
    as known when the bar closed."""

    bars: BarSeries
    funding: tuple[tuple[int, float], ...]
    open_interest: Floats


class InstrumentGenerator:
    """The endless market of one instrument. `factor` is shared by the instruments of one seed."""

    def __init__(
        self, symbol: str, terms: InstrumentSpecification, *, seed: int, genesis_ms: int, factor: CommonFactor
    ) -> None:
        self._seed = (seed, crc32(f"{symbol} trade".encode()))
        self._character = character(symbol)
        self.tick_places = _places(terms.tick_size)
        self._lot_coins = float(terms.ct_val * terms.lot_size)
        self.volume_places = _places(terms.ct_val * terms.lot_size)
        self._genesis_ms = genesis_ms
        self._factor = factor
        self._own = Movement(seed, symbol)
        self._log_price = log(self._character.price)
        self._momentum = 0.0
        self._crowding = 0.0

    def blocks(self) -> Iterator[Block]:
        """The market from its first bar on, without end."""
        for index in count():
            yield self._make(index)

    def _make(self, index: int) -> Block:
        rng = np.random.default_rng((*self._seed, index))
        common, own = self._factor.block(index), self._own.next_block()
        beta = self._character.beta
        # A faint pull towards the first price, so that an endless walk stays where its tick size makes sense.
        pull = 0.03 * (log(self._character.price) - self._log_price) / BLOCK_BARS
        returns = beta * common.returns + OWN_SHARE * own.returns + pull
        volatility = np.hypot(beta * common.volatility, OWN_SHARE * own.volatility)
        opened = self._genesis_ms + (index * BLOCK_BARS + np.arange(BLOCK_BARS, dtype=np.int64)) * BAR_SECONDS * 1000
        bars = self._bars(rng, opened, returns, volatility, np.maximum(common.activity, own.activity))
        return Block(bars, self._funding(rng, opened, returns), self._open_interest(rng, returns))

    def _bars(
        self, rng: np.random.Generator, opened: NDArray[np.int64], returns: Floats, volatility: Floats, activity: Floats
    ) -> BarSeries:
        path = self._log_price + np.cumsum(returns)
        before = np.concatenate(([self._log_price], path[:-1]))
        self._log_price = float(path[-1])
        above = _bridge_extreme(rng, path - before, volatility)
        below = _bridge_extreme(rng, before - path, volatility)
        opens, closes = self._on_tick(np.exp(before)), self._on_tick(np.exp(path))
        highs = np.maximum(self._on_tick(np.exp(before + above)), np.maximum(opens, closes))
        lows = np.minimum(self._on_tick(np.exp(before - below)), np.minimum(opens, closes))
        return BarSeries(opened, opens, highs, lows, closes, self._volumes(rng, opened, closes, returns, activity))

    def _volumes(
        self, rng: np.random.Generator, opened: NDArray[np.int64], closes: Floats, returns: Floats, activity: Floats
    ) -> Floats:
        """Base coin, in whole lots: more when prices move, around 14:00 UTC, and when a trend begins."""
        of_day = opened / 86_400_000 % 1
        season = 1 + 0.35 * np.cos(2 * np.pi * (of_day - 14 / 24))
        moved = 0.5 + np.abs(returns) / 0.0015
        usd = self._character.turnover * season * moved * activity * np.exp(0.35 * rng.standard_normal(BLOCK_BARS))
        return np.round(np.maximum(np.rint(usd / closes / self._lot_coins), 1) * self._lot_coins, self.volume_places)

    def _funding(
        self, rng: np.random.Generator, opened: NDArray[np.int64], returns: Floats
    ) -> tuple[tuple[int, float], ...]:
        """A rate at 00, 08 and 16 UTC: 0.8 basis points and 0.3 % of the day's momentum, in 3 % of cases a spike."""
        settlements = []
        closed = (opened + BAR_SECONDS * 1000).tolist()
        for moment, value in zip(closed, returns.tolist(), strict=True):
            self._momentum += value - self._momentum / 288
            if moment % (FUNDING_SECONDS * 1000) == 0:
                usual = 0.00008 + 0.003 * self._momentum + 0.00003 * rng.standard_normal()
                spike = rng.choice((-1, 1)) * rng.uniform(0.0006, 0.0015) if rng.random() < 0.03 else 0.0
                settlements.append((moment, round(float(np.clip(usual + spike, -0.003, 0.003)), FUNDING_PLACES)))
        return tuple(settlements)

    def _open_interest(self, rng: np.random.Generator, returns: Floats) -> Floats:
        """USD: reverts to its mean, grows and shrinks with the price, every 8 days or so jumps by a tenth or more."""
        noise = (0.0008 * rng.standard_normal(BLOCK_BARS) + 0.3 * returns).tolist()
        sizes = (rng.choice((-1, 1), BLOCK_BARS) * rng.uniform(0.11, 0.18, BLOCK_BARS)).tolist()
        jumps = (rng.random(BLOCK_BARS) < 1 / 2400).tolist()
        crowding = []
        for step, size, jumped in zip(noise, sizes, jumps, strict=True):
            self._crowding = 0.999 * self._crowding + step + (size if jumped else 0.0)
            crowding.append(self._crowding)
        return np.rint(self._character.open_interest * np.exp(np.array(crowding)))

    def _on_tick(self, prices: Floats) -> Floats:
        return np.round(prices, self.tick_places).clip(min=10.0**-self.tick_places)


def _bridge_extreme(rng: np.random.Generator, end: Floats, volatility: Floats) -> Floats:
    """How far above 0 a Brownian bridge from 0 to `end` rises: (end + sqrt(end^2 - 2 volatility^2 ln U)) / 2."""
    uniform = 1 - rng.random(len(end))
    highest: Floats = 0.5 * (end + np.sqrt(end * end - 2 * volatility * volatility * np.log(uniform)))
    return highest


def _places(step: Decimal) -> int:
    """Decimal places of a power of ten: 0.001 has 3."""
    return max(0, -int(step.normalize().adjusted()))
