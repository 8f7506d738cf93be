"""An offline model that trades what its playbook names, and a playbook that is deliberately bad in one regime.

The playbook has one strategy more than the first one: to scalp a ranging market with a stop of 0.2 %, of which it is
almost certain. Fees and slippage are 0.14 % of such a trade, so it loses whatever the market does. Where the strategy
is named and not avoided the model trades it at every third opportunity; everything else it does as the offline model
always does. It knows nothing of how that ends.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from decisions.prompts import sections
from decisions.sandbox import offline_model
from decisions.sandbox.offline_model import Desk, Plan, user_text
from journal.playbook import Playbook, first_playbook, read_playbook

SCALP = "scalp_the_range"
REGIME = "ranging"
ONE_IN = 3
STOP = 0.002
REWARD = 1.6
SIZE = 0.03
CONFIDENCE = 0.9


def bad_playbook(now: datetime) -> Playbook:
    """The first playbook, and the scalps in a ranging market."""
    document = first_playbook(now).model_dump(mode="json")
    document["strategy_definitions"].append(
        {
            "name": SCALP,
            "entry": "The market goes sideways: buy, it comes up again soon.",
            "exit": "Target at 1.6 times the risk.",
            "filters": ["a stop of 0.2 %"],
            "historical_winrate": None,
            "avg_rr": None,
        }
    )
    rule = next(rule for rule in document["market_regime_rules"] if rule["regime"] == REGIME)
    rule["preferred_strategies"] = [SCALP, *rule["preferred_strategies"]]
    return read_playbook(document)


class OvertradingDesk(Desk):
    """The offline model's desk, with a liking for small change."""

    def _plan(self) -> Plan:
        free = self.position is None and self.view.atr is not None and self.market["regime"] == REGIME
        if not (free and self._names_scalps() and self.dice.one_in(ONE_IN, "scalp")):
            return super()._plan()
        price = self.view.price
        return Plan(
            "OPEN_LONG",
            "the market goes sideways and comes up again soon",
            strategy=SCALP,
            size_pct=SIZE,
            stop=float(f"{price * (1 - STOP):.8g}"),
            target=float(f"{price * (1 + STOP * REWARD):.8g}"),
            leverage=1.0,
            paths=("price", "regime"),
        )

    def _names_scalps(self) -> bool:
        named = {strategy["name"] for strategy in self.playbook["strategy_definitions"]}
        return SCALP in named and SCALP not in self._rule().get("avoid_strategies", ())

    def decide(self) -> dict[str, Any]:
        told = super().decide()
        return {**told, "confidence": CONFIDENCE} if told["strategy_used"] == SCALP else told


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The offline model's answer, but for analyses, which this one makes."""
    shown = sections(user_text(request)) if "messages" in request else {}
    return OvertradingDesk(shown).decide() if "allowed_actions" in shown else offline_model.answer(request)
