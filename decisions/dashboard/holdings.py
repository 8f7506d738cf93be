"""What is held, and how far each position is from where it began, its stop and its target. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Way:
    """A distance in a position's favour: as a fraction of a price, and as a multiple of what was risked."""

    fraction: Decimal | None
    multiple: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A position, ours or the venue's, with its trade where it is ours. None is what nobody knows."""

    symbol: str
    direction: str
    trade: int | None
    size: Decimal
    notional_usd: Decimal
    entry: Decimal | None
    mark: Decimal | None
    stop: Decimal | None
    target: Decimal | None
    unrealized_usd: Decimal | None

    @property
    def _sign(self) -> int:
        return 1 if self.direction == "LONG" else -1

    @property
    def risked(self) -> Decimal | None:
        """R: from the entry to the stop, as a price difference. None for a stop that risks nothing."""
        if self.entry is None or self.stop is None:
            return None
        distance = (self.entry - self.stop) * self._sign
        return distance if distance > 0 else None

    @property
    def won(self) -> Way:
        """From the entry to the price now."""
        return self._way(self.entry, self.mark, self.entry)

    @property
    def to_stop(self) -> Way:
        """How far the price may fall back; below zero it is beyond the stop."""
        return self._way(self.stop, self.mark, self.mark)

    @property
    def to_target(self) -> Way:
        """How far it has to go."""
        return self._way(self.mark, self.target, self.mark)

    def _way(self, start: Decimal | None, end: Decimal | None, base: Decimal | None) -> Way:
        if start is None or end is None or base is None or base <= 0:
            return Way(None, None)
        difference = (end - start) * self._sign
        return Way(difference / base, None if self.risked is None else difference / self.risked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Positions and openings under way, and what the latter reserve, in USD."""

    holdings: Sequence[Holding]
    pending: int
    pending_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        return sum((holding.notional_usd for holding in self.holdings), self.pending_usd)
