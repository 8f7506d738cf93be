"""The playbook's three strategies as rules on a snapshot's figures, for the offline model. Pure.

A figure that is not known yet (warm-up) makes no setup.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Figures = Mapping[str, Any]
Direction = Literal[1, -1]

SIGNATURE = "Offline model:"
"""How every answer begins, so that nobody takes it for a real model's."""

RANGE_ADX = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """How clear a setup has to be."""

    volume: float
    """Volume against its average from which a break counts."""
    band: float
    """Bollinger position from which the upper band counts as broken; 1 - band for the lower."""
    trend_adx: float
    pullback: float
    """Distance from the 1H EMA 20, in 1H ATR, that still counts as having come back to it."""
    cooled: tuple[float, float]
    """Where the 15m RSI lies after a pullback in an upward trend; mirrored in a downward one."""
    extreme: float
    """RSI below which a range is oversold; 100 - extreme for overbought."""


TRADED = Standard(volume=1.2, band=1.0, trend_adx=20.0, pullback=0.75, cooled=(35.0, 50.0), extreme=30.0)
"""What the analyst trades, as the playbook's first version says it."""
WORTH_A_LOOK = Standard(volume=1.0, band=0.85, trend_adx=20.0, pullback=1.0, cooled=(33.0, 54.0), extreme=35.0)
"""What the screener lets through."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A strategy that fits now, the side it takes (1 long, -1 short) and the figures it rests on, by path."""

    strategy: str
    direction: Direction
    because: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The figures of a snapshot that the rules look at. `market` is the snapshot without indicators."""

    market: Figures
    m15: Figures
    h1: Figures

    @property
    def price(self) -> float:
        return float(self.market["price"])

    @property
    def atr(self) -> float | None:
        """ATR 14 of the 1H timeframe, None while unknown or zero."""
        value = self.h1.get("atr_14")
        return float(value) if value else None


def find_setup(view: View, standard: Standard) -> Setup | None:
    """The first strategy that fits: breakout, then pullback, then reversion."""
    return _breakout(view, standard) or _pullback(view, standard) or _reversion(view, standard)


def no_setup(view: View) -> str:
    """Why there is none: the figures that the strategies look at."""
    figures = (
        ("volume", view.market.get("volume_vs_avg"), "times the usual"),
        ("15m band", view.m15.get("bb_position"), ""),
        ("15m RSI", view.m15.get("rsi_14"), ""),
        ("1H ADX", view.h1.get("adx_14"), f"and {view.h1.get('ema_alignment') or 'unknown'} EMAs"),
    )
    told = ", ".join(f"{name} {_short(value)} {words}".strip() for name, value, words in figures)
    return f"no setup with {told}"


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def trend(view: View) -> Direction | None:
    """The side of the 1H trend: EMA 20 against EMA 50 with the MACD histogram on the same side."""
    fast, slow, momentum = (view.h1.get(name) for name in ("ema_20", "ema_50", "macd_hist"))
    if fast is None or slow is None or momentum is None:
        return None
    if fast > slow and momentum > 0:
        return 1
    return -1 if fast < slow and momentum < 0 else None


def _breakout(view: View, standard: Standard) -> Setup | None:
    volume, band, momentum = view.market.get("volume_vs_avg"), view.m15.get("bb_position"), view.h1.get("macd_hist")
    if volume is None or band is None or momentum is None or volume < standard.volume:
        return None
    direction: Direction = 1 if momentum > 0 else -1
    if (band if direction > 0 else 1 - band) <= standard.band:
        return None
    return Setup(
        "momentum_breakout",
        direction,
        f"15m close at the edge of the band or beyond ({band:.2f}) on {volume:.1f} times the usual volume",
        ("volume_vs_avg", "indicators.15m.bb_position", "indicators.1H.macd_hist"),
    )


def _pullback(view: View, standard: Standard) -> Setup | None:
    alignment, strength, average = (view.h1.get(name) for name in ("ema_alignment", "adx_14", "ema_20"))
    rsi, atr = view.m15.get("rsi_14"), view.atr
    if alignment not in ("bullish", "bearish") or strength is None or average is None or rsi is None or atr is None:
        return None
    if strength < standard.trend_adx or abs(view.price - average) > standard.pullback * atr:
        return None
    direction: Direction = 1 if alignment == "bullish" else -1
    lowest, highest = standard.cooled
    if not lowest <= (rsi if direction > 0 else 100 - rsi) <= highest:
        return None
    return Setup(
        "trend_pullback",
        direction,
        f"pullback to the 1H EMA 20 in a {alignment} trend (ADX {strength:.0f}, 15m RSI {rsi:.0f})",
        ("price", "indicators.1H.ema_20", "indicators.1H.adx_14", "indicators.15m.rsi_14"),
    )


def _reversion(view: View, standard: Standard) -> Setup | None:
    rsi, strength = view.m15.get("rsi_14"), view.h1.get("adx_14")
    if view.market.get("regime") != "ranging" or rsi is None or strength is None or strength >= RANGE_ADX:
        return None
    if standard.extreme <= rsi <= 100 - standard.extreme:
        return None
    return Setup(
        "mean_reversion",
        1 if rsi < 50 else -1,
        f"15m RSI {rsi:.0f} at the edge of a ranging market (1H ADX {strength:.0f})",
        ("regime", "indicators.15m.rsi_14", "indicators.1H.adx_14"),
    )
