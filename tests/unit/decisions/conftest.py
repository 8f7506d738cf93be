"""What the market's tests share: recorded candles, where there are any, and invented ones."""

from pathlib import Path

import numpy as np
import pytest

from decisions.bars import BarSeries

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded candles beside the project; without it the test is skipped."""
    for folder in (PROJECT, *PROJECT.parents):
        found = folder.parent / "shared" / "data"
        if found.is_dir():
            return found
    pytest.skip("there is no folder shared/data with recorded candles beside the project")


@pytest.fixture(scope="session")
def walk() -> BarSeries:
    """60,000 five-minute bars of a seeded random walk from 2026-01-01 on, more than 1,000 bars of 4 hours."""
    rng = np.random.default_rng(7)
    count = 60_000
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, count)))
    opened = np.concatenate(([100.0], close[:-1]))
    stretch = np.abs(rng.normal(0, 0.001, (2, count)))
    return BarSeries(
        open_ms=1_767_225_600_000 + np.arange(count, dtype=np.int64) * 300_000,
        open=opened,
        high=np.maximum(opened, close) * (1 + stretch[0]),
        low=np.minimum(opened, close) * (1 - stretch[1]),
        close=close,
        volume=rng.uniform(1, 100, count),
    )
