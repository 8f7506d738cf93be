"""The offline model: rules that answer in the place of Claude and Perplexity where there is no key. Pure.

`answer` reads a request as the real service gets it, data sections of the prompt included, and gives the JSON object
that the request's schema asks for. It is deterministic: where variety is wanted, a hash of the instrument and the
market time decides. It trades the playbook's three strategies, keeps to the actions it is allowed, asks for research
now and then, and about every twelfth proposal breaks a limit on purpose, so that refusals are seen at work too. How it
looks back at its trades stands in `offline_reflection`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from decisions.prompts import sections
from decisions.sandbox import offline_reflection
from decisions.sandbox.offline_setups import SIGNATURE as SIGNATURE
from decisions.sandbox.offline_setups import TRADED, WORTH_A_LOOK, Direction, Setup, View, find_setup, no_setup, trend

FAULTY_ONE_IN = 12
RESEARCH_ONE_IN = 60
LIMIT_ONE_IN = 6
REDUCE_ONE_IN = 10
ADD_ONE_IN = 12
PATIENCE = timedelta(hours=3)


class UnknownQuestion(ValueError):
    """A request that the offline model has no rules for."""


class Dice:
    """Repeatable chance: each name is an independent draw from the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def share(self, name: str) -> float:
        """A number in [0, 1)."""
        digest = hashlib.sha256(f"{self._seed}|{name}".encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48

    def one_in(self, count: int, name: str) -> bool:
        return self.share(name) < 1 / count

    def between(self, low: float, high: float, name: str) -> float:
        return low + (high - low) * self.share(name)


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer object to the body of a Messages or an Agent API request. Raises `UnknownQuestion`."""
    try:
        asked = _asked(request)
        if "sentiment" in asked:
            return _researched(str(request["input"]))
        shown = sections(user_text(request))
        if "signal" in asked:
            return _screened(shown)
        if "decision" in asked:
            return Desk(shown).decide()
        if "execution_quality" in asked:
            return offline_reflection.reviewed(shown)
        if "updated_playbook" in asked:
            return offline_reflection.reflected(shown)
    except (KeyError, TypeError, IndexError) as error:
        raise UnknownQuestion(f"the request has no {error}") from error
    raise UnknownQuestion(f"no rules for an answer of {', '.join(sorted(asked))}")


def user_text(request: Mapping[str, Any]) -> str:
    """What a Messages request asks: the content of its last message, a text or text blocks one after another."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else "\n".join(block["text"] for block in content)


def _asked(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of the schema that the answer is to follow."""
    if "response_format" in request:
        properties = request["response_format"]["json_schema"]["schema"]["properties"]
    else:
        properties = request["output_config"]["format"]["schema"]["properties"]
    return dict(properties)


def _screened(shown: Mapping[str, Any]) -> dict[str, Any]:
    market = shown["market_snapshot"]
    view = View(market, market["indicators"]["15m"], market["indicators"]["1H"])
    setup = find_setup(view, WORTH_A_LOOK)
    return {"signal": setup is not None, "reason": f"{SIGNATURE} {setup.because if setup else no_setup(view)}."}


def _researched(query: str) -> dict[str, Any]:
    dice = Dice(query)
    lean = ("bearish", "neutral", "neutral", "bullish")[int(dice.share("lean") * 4)]
    return {
        "summary": f"{SIGNATURE} nothing was searched. A coin toss calls the news {lean}.",
        "sentiment": lean,
        "impact_level": ("low", "low", "medium")[int(dice.share("impact") * 3)],
        "time_horizon": "short",
        "key_points": [f"{SIGNATURE} there is no news without a key for the search."],
        "trading_implication": f"{SIGNATURE} none; do not weigh this.",
        "confidence": round(dice.between(0.1, 0.4, "confidence"), 2),
        "sources": [],
    }


# --- the analysis ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: an action, its size as a fraction of equity, its prices, and why."""

    action: str
    because: str
    strategy: str = "none"
    size_pct: float = 0.0
    stop: float | None = None
    target: float | None = None
    limit: float | None = None
    leverage: float | None = None
    request: str | None = None
    paths: tuple[str, ...] = ("price",)


class Desk:
    """Everything one analysis was shown, and what follows from it."""

    def __init__(self, shown: Mapping[str, Any]) -> None:
        self.market: Mapping[str, Any] = shown["market_snapshot"]
        self.indicators: Mapping[str, Any] = shown["technical_indicators"]
        self.account: Mapping[str, Any] = shown["account_state"]
        self.playbook: Mapping[str, Any] = shown["playbook"]
        self.allowed: list[str] = shown["allowed_actions"]["actions"]
        self.has_research: bool = shown["research_context"]["available"]
        self.symbol = str(self.market["symbol"])
        self.position = next((each for each in shown["current_positions"] if each["symbol"] == self.symbol), None)
        self.view = View(self.market, self.indicators["15m"], self.indicators["1H"])
        self.dice = Dice(f"{self.symbol}|{self.market['timestamp']}")

    def decide(self) -> dict[str, Any]:
        """The answer in full."""
        plan = self._plan()
        if plan.action not in self.allowed:
            plan = Plan("HOLD", f"{plan.action} is not allowed now; {plan.because}")
        return self._told(plan)

    def _plan(self) -> Plan:
        atr = self.view.atr
        if atr is None:
            return Plan("HOLD", "the indicators are still warming up")
        if self.position is not None:
            return self._manage(self.position, atr)
        setup = find_setup(self.view, TRADED)
        if setup is None:
            return Plan("HOLD", no_setup(self.view))
        if not self._permitted(setup):
            return Plan("HOLD", f"the playbook avoids {setup.strategy} in this regime")
        if not self.has_research and self.dice.one_in(RESEARCH_ONE_IN, "research"):
            question = f"Is there news that explains the move of {self.symbol}?"
            return Plan("HOLD", "the news could change the decision", request=question)
        return self._open(setup, atr)

    def _rule(self) -> Mapping[str, Any]:
        rules = self.playbook["market_regime_rules"]
        return next((rule for rule in rules if rule["regime"] == self.market["regime"]), {})

    def _permitted(self, setup: Setup) -> bool:
        known = {strategy["name"] for strategy in self.playbook["strategy_definitions"]}
        return setup.strategy in known and setup.strategy not in self._rule().get("avoid_strategies", ())

    # --- opening

    def _open(self, setup: Setup, atr: float) -> Plan:
        dice, side = self.dice, setup.direction
        limit = self._resting_price(side) if dice.one_in(LIMIT_ONE_IN, "limit") else None
        distance = _clamped(dice.between(1.0, 1.5, "stop") * atr / self.view.price, 0.006, 0.02)
        reward = dice.between(1.6, 2.5, "reward")
        largest = min(0.05, float(self._rule().get("max_position_pct", 0.05)))
        size = dice.between(0.01, largest, "size")
        if dice.one_in(FAULTY_ONE_IN, "faulty"):
            distance, reward, size = (
                (0.035, reward, size),
                (distance, 1.1, size),
                (distance, reward, 0.08),
            )[int(dice.share("fault") * 3)]
        entry = limit or self.view.price
        return Plan(
            "OPEN_LONG" if side > 0 else "OPEN_SHORT",
            setup.because,
            strategy=setup.strategy,
            size_pct=round(size, 4),
            stop=_price(entry * (1 - side * distance)),
            target=_price(entry * (1 + side * distance * reward)),
            limit=limit,
            leverage=float(1 + int(dice.share("leverage") * 4)),
            paths=setup.paths,
        )

    def _resting_price(self, side: Direction) -> float:
        """A passive price 0.05 to 0.3 % away from the quote."""
        quote = float(self.market["bid"] if side > 0 else self.market["ask"])
        return _price(quote * (1 - side * self.dice.between(0.0005, 0.003, "rest")))

    # --- an open position

    def _manage(self, position: Mapping[str, Any], atr: float) -> Plan:
        side: Direction = 1 if position["pos_side"] == "long" else -1
        entry, price = float(position["entry_price"]), self.view.price
        stop = float(position["stop_loss"] or entry - side * 1.2 * atr)
        progress = side * (price - entry) / max(abs(entry - stop), 0.001 * entry)
        share = self._share_of_equity(position)
        flipped = trend(self.view) == -side and self.indicators["15m"].get("ema_alignment") == _against(side)
        if flipped and progress < 0.5:
            return Plan("CLOSE", "the trend has turned against the position", paths=_TREND_PATHS)
        if abs(progress) < 0.4 and self._age(position) > PATIENCE:
            return Plan("CLOSE", "the move that was expected has not come")
        if progress >= 1 and share > 0.012 and self.dice.one_in(REDUCE_ONE_IN, "reduce"):
            return Plan("REDUCE", f"part of the profit at {progress:.1f} R", size_pct=round(share / 2, 4))
        if 0.3 <= progress <= 1.5 and share < 0.03 and self.dice.one_in(ADD_ONE_IN, "add"):
            return self._add(side, stop, atr)
        return Plan("HOLD", f"the position stands at {progress:.1f} R and its reason holds")

    def _age(self, position: Mapping[str, Any]) -> timedelta:
        return datetime.fromisoformat(self.market["timestamp"]) - datetime.fromisoformat(position["opened_at"])

    def _share_of_equity(self, position: Mapping[str, Any]) -> float:
        equity = float(self.account["equity"])
        return float(position["notional_usd"]) / equity if equity > 0 else 0.0

    def _add(self, side: Direction, stop: float, atr: float) -> Plan:
        """More of a winner in its trend, with the stop drawn closer and never loosened."""
        if trend(self.view) != side:
            return Plan("HOLD", "the position stands well, the trend is too weak to add")
        price = self.view.price
        distance = _clamped(atr / price, 0.006, 0.02)
        nearer = max if side > 0 else min
        stop = _price(nearer(stop, price * (1 - side * distance)))
        return Plan(
            "ADD",
            "the trend goes on, the stop is drawn closer",
            strategy="trend_pullback",
            size_pct=0.01,
            stop=stop,
            target=_price(price + 1.8 * (price - stop)),
            leverage=2.0,
            paths=_TREND_PATHS,
        )

    # --- telling it

    def _told(self, plan: Plan) -> dict[str, Any]:
        side = trend(self.view)
        return {
            "analysis": {
                "market_regime": self.market["regime"] or "ranging",
                "bias": {1: "bullish", -1: "bearish", None: "neutral"}[side],
                "key_observations": [f"{SIGNATURE} {plan.because}."],
                "risk_factors": [f"{SIGNATURE} rules on indicators know nothing of the news."],
            },
            "decision": {
                "action": plan.action,
                "symbol": self.symbol,
                "size_pct": plan.size_pct,
                "entry_price": self.market["price"] if plan.stop is not None else None,
                "stop_loss": plan.stop,
                "take_profit": plan.target,
                "order_type": "limit" if plan.limit is not None else "market",
                "limit_price": plan.limit,
                "leverage": plan.leverage,
                "research_request": plan.request,
                "cited_facts": self._cited(plan.paths),
            },
            "confidence": round(self.dice.between(0.5, 0.85, "confidence"), 3),
            "strategy_used": plan.strategy,
            "reasoning": f"{SIGNATURE} {plan.because}.",
        }

    def _cited(self, paths: tuple[str, ...]) -> list[dict[str, Any]]:
        """The figures behind a plan, as they were shown; what is not known is not cited."""
        cited = [(path, self._figure(path)) for path in paths]
        return [{"path": path, "value": value} for path, value in cited if value is not None]

    def _figure(self, path: str) -> Any:
        if path.startswith("indicators."):
            _, timeframe, name = path.split(".")
            return self.indicators[timeframe].get(name)
        return self.market.get(path)


_TREND_PATHS = ("price", "indicators.1H.ema_20", "indicators.1H.ema_50", "indicators.1H.macd_hist")


def _against(side: Direction) -> str:
    return "bearish" if side > 0 else "bullish"


def _clamped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _price(value: float) -> float:
    """Eight significant digits: finer than any tick, coarser than the noise of floats."""
    return float(f"{value:.8g}")
