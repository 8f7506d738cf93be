"""A market of one price at a time and answers to it, in the tests of shadow books."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from decisions.messages import InstrumentSpecification, MarketSnapshot
from decisions.schemas import AnalysisAnswer
from journal.playbook import Playbook, first_playbook, read_playbook
from reflection.shadow_book import Consequence, ShadowAnswer, ShadowBook
from reflection.shadow_state import BookState
from risk.limits import Limits, parse_limits
from tests.unit.reflection.scene import SNAPSHOT

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
NOON = datetime(2026, 2, 7, 12, tzinfo=UTC)
PLAYBOOK = first_playbook(NOON)
TERMS = InstrumentSpecification(
    ct_val=Decimal("0.01"), lot_size=Decimal("0.01"), min_size=Decimal("0.01"), tick_size=Decimal("0.1")
)


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def snapshot(price: str = "20000", *, minutes: float = 0, symbol: str = BTC, **changes: Any) -> MarketSnapshot:
    """A calm upward market. Funding of 0.0001 is due at 16:00."""
    mark = Decimal(price)
    fields = {
        "symbol": symbol, "timestamp": later(minutes), "price": mark, "mark_price": mark, "bid": mark - Decimal("0.1"),
        "ask": mark + Decimal("0.1"), "regime": "trending_up", "funding_rate": Decimal("0.0001"),
        "next_funding_at": NOON + timedelta(hours=4), "instrument": TERMS,
    }  # fmt: skip
    return SNAPSHOT.model_copy(update=fields | changes)


def answered(action: str = "OPEN_LONG", **changes: Any) -> AnalysisAnswer:
    """A long of 4 % at 20000, its stop 1 % away, twice that to win, with a confidence of 0.7."""
    opens = action in ("OPEN_LONG", "OPEN_SHORT", "ADD")
    decision = {
        "action": action, "symbol": BTC, "size_pct": "0.04" if opens else "0", "entry_price": None,
        "stop_loss": "19800" if opens else None, "take_profit": "20400" if opens else None, "order_type": "market",
        "limit_price": None, "leverage": None, "research_request": None, "cited_facts": [],
    }  # fmt: skip
    outer = {name: changes.pop(name) for name in ("confidence", "strategy_used") if name in changes}
    analysis = {"market_regime": "trending_up", "bias": "bullish", "key_observations": (), "risk_factors": ()}
    return AnalysisAnswer.model_validate(
        {
            "analysis": analysis,
            "decision": {**decision, "cited_facts": (), **changes},
            "confidence": 0.7,
            "strategy_used": "momentum_breakout",
            "reasoning": "",
            **outer,
        }
    )


def limits(**changes: str) -> Limits:
    return parse_limits(changes)


def opened(equity: str = "10000", **changes: str) -> ShadowBook:
    return ShadowBook(
        BookState.begun("test", Decimal(equity), NOON),
        limits=limits(**changes),
        limit_order_life=timedelta(minutes=5),
    )


def banning(regime: str, strategy: str) -> Playbook:
    """The first playbook with one more ban."""
    document = PLAYBOOK.model_dump(mode="json")
    for rule in document["market_regime_rules"]:
        if rule["regime"] == regime:
            rule["avoid_strategies"].append(strategy)
            rule["preferred_strategies"] = [each for each in rule["preferred_strategies"] if each != strategy]
    return read_playbook(document)


def ask(book: ShadowBook, answer: AnalysisAnswer, price: str = "20000", **changes: Any) -> Consequence:
    """Follow an answer to a question at this price; what is not told of the question is usual."""
    names = ("cycle_number", "playbook", "shown", "openings_blocked", "correlations")
    given = {name: changes.pop(name) for name in names if name in changes}
    usual: dict[str, Any] = {
        "cycle_number": 1, "playbook": PLAYBOOK, "shown": None, "openings_blocked": "", "correlations": {},
    }  # fmt: skip
    return book.on_answer(ShadowAnswer(answer=answer, snapshot=snapshot(price, **changes), **usual | given))
