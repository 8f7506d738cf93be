"""The reckless model: an offline model that bets at every chance, to show what stands between a model and the account.

It proposes something in every cycle and never asks whether it may. About half of its bets are outrages, each made to
break one limit; the others are just valid, at the very limits that it is told. It leaves a position after a few cycles,
so that there is room for the next. A hash of instrument and market time decides, so the same market gives the same
bets. What a bet cites is true: nothing but the limits is to stop it. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from decisions.prompts import sections
from decisions.sandbox import offline_model
from decisions.sandbox.offline_model import SIGNATURE, Desk, Plan, UnknownQuestion, user_text
from decisions.sandbox.offline_setups import Direction

STRATEGY = "momentum_breakout"
"""What every bet is called: the gate is asked about it only under a strategy that the playbook defines."""

ELSEWHERE_ONE_IN = 30
CLOSE_ONE_IN = 4
OUTRAGE_ONE_IN = 2

WITHIN, BEYOND = 0.999, 1.01
"""Factors to this side of a limit and to the other; a stop and a target still have to be rounded to the tick."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer object to the body of a Messages or an Agent API request. Raises `UnknownQuestion`.

    Only what trades is its own: what was searched for is answered as by the other offline model.
    """
    disciplined = offline_model.answer(request)
    if "signal" in disciplined:
        return {"signal": True, "reason": f"{SIGNATURE} every moment is worth a bet."}
    if "decision" not in disciplined:
        return disciplined
    try:
        return Gambler(sections(user_text(request))).decide()
    except KeyError as error:
        raise UnknownQuestion(f"the request has no {error}") from error


class Gambler(Desk):
    """Everything one analysis was shown, and the bet that is made on it. Sizes are notional / equity."""

    def __init__(self, shown: Mapping[str, Any]) -> None:
        super().__init__(shown)
        limits = {name: float(value) for name, value in shown["risk_limits"].items()}
        self.largest, self.leverage = limits["max_single_trade_pct"], limits["max_leverage"]
        self.farthest, self.least_reward = limits["max_sl_distance_pct"], limits["min_rr_ratio"]
        self.side: Direction = 1 if self.dice.one_in(2, "side") else -1

    def decide(self) -> dict[str, Any]:
        """The answer in full; what is allowed is not looked at."""
        told = self._told(replace(self._plan(), strategy=STRATEGY))
        if self.dice.one_in(ELSEWHERE_ONE_IN, "elsewhere"):
            told["decision"]["symbol"] = f"{'ETH' if self.symbol.startswith('BTC') else 'BTC'}-USDT-SWAP"
        return told

    def _plan(self) -> Plan:
        outrageous = self.dice.one_in(OUTRAGE_ONE_IN, "outrage")
        if self.position is None:
            return self._one_of(self._outrages() if outrageous else self._fair_openings())
        if self.dice.one_in(CLOSE_ONE_IN, "close"):
            return Plan("CLOSE", "on to the next bet")
        position = self.position
        self.side = 1 if position["pos_side"] == "long" else -1
        return self._one_of(self._outrages_upon(position) if outrageous else self._fair_upon(position))

    def _one_of(self, plans: Sequence[Plan]) -> Plan:
        return plans[int(self.dice.share("bet") * len(plans))]

    # --- without a position

    def _fair_openings(self) -> tuple[Plan, ...]:
        """Valid, were nothing else held: at every limit at once, with room for others, and waiting at the quote."""
        return (
            self._opening(
                "as much of everything as is allowed",
                size=self.largest,
                distance=self.farthest * WITHIN,
                reward=self.least_reward * BEYOND,
                leverage=self.leverage,
            ),
            self._opening("half of what is allowed", size=self.largest / 2),
            self._opening("a bet that waits at the quote", size=self.largest / 2, limit=self._quote()),
        )

    def _outrages(self) -> tuple[Plan, ...]:
        """Each breaks one limit, but the first, which breaks what there is for a size to break."""
        fair = self._opening("", size=self.largest / 5)
        return (
            replace(fair, because="everything on one bet", size_pct=1.0),
            replace(fair, because="a little more than is allowed", size_pct=self.largest * BEYOND),
            replace(fair, because="a bet of twenty times what is there", leverage=20.0),
            replace(fair, because="no stop, it will come back", stop=None),
            replace(fair, because="a stop where the profit is", stop=self.view.price * (1 + self.side * 0.01)),
            self._opening("a stop far away", size=self.largest / 5, distance=0.10),
            self._opening("a quick profit", size=self.largest / 5, reward=self.least_reward / BEYOND),
            self._opening("a limit across the book", size=self.largest / 5, limit=self._quote() * self._away(-0.001)),
            self._opening("a limit far from the market", size=self.largest / 5, limit=self._quote() * self._away(0.03)),
            replace(fair, because="a crumb", size_pct=1e-7),
            replace(fair, because="more of what is not there", action="ADD"),
        )

    def _opening(
        self,
        because: str,
        *,
        size: float,
        distance: float = 0.01,
        reward: float = 2.0,
        leverage: float = 2.0,
        limit: float | None = None,
    ) -> Plan:
        """A bet at the price or a limit, with its stop and target so far away (fractions of it)."""
        entry = limit or self.view.price
        return Plan(
            "OPEN_LONG" if self.side > 0 else "OPEN_SHORT",
            because,
            size_pct=size,
            stop=entry * (1 - self.side * distance),
            target=entry * (1 + self.side * distance * reward),
            limit=limit,
            leverage=leverage,
        )

    def _quote(self) -> float:
        """Where an order of this side rests first in line."""
        return float(self.market["bid"] if self.side > 0 else self.market["ask"])

    def _away(self, distance: float) -> float:
        """The factor that moves a price away from the market, to where a better one is waited for."""
        return 1 - self.side * distance

    # --- upon a position

    def _fair_upon(self, position: Mapping[str, Any]) -> tuple[Plan, ...]:
        room = self.largest - self._share_of_equity(position)
        return (
            self._more("up to the limit", position, room * WITHIN),
            self._more("a little more", position, self.largest / 10),
            Plan("REDUCE", "half of it off the table", size_pct=self._share_of_equity(position) / 2),
        )

    def _outrages_upon(self, position: Mapping[str, Any]) -> tuple[Plan, ...]:
        price, more = self.view.price, self._more("", position, self.largest / 10)
        looser = float(position["stop_loss"] or price) * self._away(0.002)
        dream = price + (price - looser) * 2 * self.least_reward
        return (
            self._opening("the same bet once more", size=self.largest / 10),
            replace(more, because="the stop was in the way", stop=looser, target=dream),
            replace(more, because="twice what is allowed", size_pct=self.largest),
            replace(more, because="no target, it will go on", target=None),
        )

    def _more(self, because: str, position: Mapping[str, Any], size: float) -> Plan:
        """An ADD that keeps the stop, or draws it in to where it may be."""
        price, nearer = self.view.price, max if self.side > 0 else min
        allowed = price * self._away(self.farthest * WITHIN)
        stop = nearer(float(position["stop_loss"] or allowed), allowed)
        target = price + (price - stop) * self.least_reward * BEYOND
        return Plan("ADD", because, size_pct=max(size, 0.0), stop=stop, target=target, leverage=self.leverage)
