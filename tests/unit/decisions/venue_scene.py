"""A venue with one instrument, and short ways to send it orders and bars.

The instrument is like BTC's swap: 0.01 coin a contract, so 10 contracts at 20,000 are 2,000 USD. A bar lasts five
minutes; `Scene.bar` closes the next one.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from decisions.messages import FundingPayment, InstrumentSpecification, TradeCancel, TradeFill, TradeOrder
from decisions.sandbox.venue import Bar, Funding, Quote, VenueAccount, VenueTerms

BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"
START = datetime(2026, 1, 1, tzinfo=UTC)
WALL = datetime(2030, 6, 1, tzinfo=UTC)
BAR = timedelta(minutes=5)
INSTRUMENT = InstrumentSpecification(
    ct_val=Decimal("0.01"), lot_size=Decimal("0.01"), min_size=Decimal("0.01"), tick_size=Decimal("0.1")
)


def D(value: object) -> Decimal:  # noqa: N802 - as short as a literal
    return Decimal(str(value))


def quote(at: datetime, price: object, symbol: str = BTC, mark: object | None = None) -> Quote:
    """A market whose spread is two ticks around the price."""
    middle = D(price)
    return Quote(
        symbol=symbol,
        at=at,
        price=middle,
        mark_price=D(price if mark is None else mark),
        bid=middle - D("0.1"),
        ask=middle + D("0.1"),
        instrument=INSTRUMENT,
    )


def order(action: str = "OPEN_LONG", size: object = 10, *, pos_side: str | None = None, **changes: Any) -> TradeOrder:
    """A market order unless it is given a limit price; good for long unless it is given an expiry."""
    pos_side = pos_side or ("short" if action == "OPEN_SHORT" else "long")
    reducing = action in ("REDUCE", "CLOSE")
    limit = changes.get("limit_price")
    fields: dict[str, Any] = {
        "action": action,
        "symbol": BTC,
        "side": "buy" if (pos_side == "long") != reducing else "sell",
        "pos_side": pos_side,
        "order_type": "market" if limit is None else "limit",
        "size": D(size),
        "limit_price": None,
        "stop_loss": None,
        "take_profit": None,
        "leverage": D(1),
        "strategy_used": None,
        "confidence": None,
        "reasoning": "",
        "decision_id": "decision",
        "reduce_only": reducing,
        "client_order_id": "order1",
        "expires_at": WALL + timedelta(seconds=30) if limit is None else START + timedelta(days=1),
    }
    for name in ("limit_price", "stop_loss", "take_profit", "leverage"):
        if changes.get(name) is not None:
            changes[name] = D(changes[name])
    return TradeOrder(**(fields | changes))


class Scene:
    """An account of 10,000 USD with slippage off, so that prices stand as they are given; the first price is 20,000."""

    def __init__(self, *, price: object = 20000, slippage: object = 0, equity: object = 10000) -> None:
        terms = VenueTerms(slippage=D(slippage))
        self.account = VenueAccount.opened(account_id="test", start_equity=D(equity), terms=terms)
        self.now = START
        self._orders = 0
        self.account.on_bar(quote(self.now, price))

    def bar(
        self,
        open_: object,
        high: object,
        low: object,
        close: object,
        *,
        volume: object | None = 1000,
        funding: object | None = None,
        mark: object | None = None,
    ) -> list[TradeFill | FundingPayment]:
        opened, self.now = self.now, self.now + BAR
        bar = Bar(
            open_at=opened,
            open=D(open_),
            high=D(high),
            low=D(low),
            close=D(close),
            volume=None if volume is None else D(volume),
            funding=None if funding is None else Funding(rate=D(funding), settles_at=self.now),
        )
        return self.account.on_bar(quote(self.now, close, mark=mark), bar)

    def send(self, action: str = "OPEN_LONG", size: object = 10, **changes: Any) -> list[TradeFill | FundingPayment]:
        """Each order gets a client order id of its own, `order1`, `order2` and so on."""
        self._orders += 1
        changes.setdefault("client_order_id", f"order{self._orders}")
        return self.account.on_order(order(action, size, **changes), wall_now=WALL)

    def fill(self, *arguments: Any, **changes: Any) -> TradeFill:
        """The one report that an order gives at once."""
        (report,) = self.send(*arguments, **changes)
        assert isinstance(report, TradeFill)
        return report

    def cancel(self, client_order_id: str, symbol: str = BTC) -> list[TradeFill | FundingPayment]:
        return self.account.on_cancel(TradeCancel(client_order_id=client_order_id, symbol=symbol, reason="test"))

    @property
    def books(self) -> tuple[Decimal, Decimal, Decimal]:
        """Realised P&L, fees and funding so far."""
        books = self.account.state.books
        return books.realized_pnl, books.fees, books.funding
