"""Where the record and the venue's report differ. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Direction = Literal["LONG", "SHORT"]
Kind = Literal["position_without_trade", "trade_without_position", "size", "direction", "both_sides"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """So many contracts of an instrument on one side: an open trade of ours, or a position of the venue's."""

    symbol: str
    direction: Direction
    size: Decimal

    def __str__(self) -> str:
        return f"{self.direction} {self.size.normalize():f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An instrument of which the two do not hold the same, in words: nothing of it is an empty text."""

    symbol: str
    kind: Kind
    ours: str
    theirs: str


def compare(
    trades: Iterable[Holding], positions: Iterable[Holding], *, not_comparable: Collection[str] = ()
) -> list[Difference]:
    """The differences between our open trades and the venue's positions, by symbol.

    `not_comparable` are the instruments of which our record knows something that the report does not know yet, or the
    other way round: of them the report says nothing.
    """
    ours, theirs = _by_symbol(trades), _by_symbol(positions)
    found = []
    for symbol in sorted((ours.keys() | theirs.keys()) - set(not_comparable)):
        kind = _kind(ours[symbol], theirs[symbol])
        if kind is not None:
            found.append(Difference(symbol=symbol, kind=kind, ours=_told(ours[symbol]), theirs=_told(theirs[symbol])))
    return found


def _by_symbol(holdings: Iterable[Holding]) -> defaultdict[str, list[Holding]]:
    found: defaultdict[str, list[Holding]] = defaultdict(list)
    for holding in holdings:
        found[holding.symbol].append(holding)
    return found


def _kind(ours: list[Holding], theirs: list[Holding]) -> Kind | None:
    if len({position.direction for position in theirs}) > 1:
        return "both_sides"  # we hold one position an instrument, so one of them is not ours, whichever
    if not ours:
        return "position_without_trade" if theirs else None
    if not theirs:
        return "trade_without_position"
    if ours[0].direction != theirs[0].direction:
        return "direction"
    return None if ours[0].size == theirs[0].size else "size"


def _told(holdings: list[Holding]) -> str:
    return " and ".join(str(holding) for holding in holdings)
