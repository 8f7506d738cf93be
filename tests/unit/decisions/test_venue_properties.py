"""What holds for every sequence of bars, orders and cancels, whatever goes wrong by a fault plan."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decisions.messages import FundingPayment, TradeCancel, TradeFill
from decisions.sandbox.venue import NO_FAULTS, Bar, FaultPlan, Funding, VenueAccount
from tests.unit.decisions.venue_scene import BAR, BTC, ETH, START, WALL, D, order, quote

TICK = Decimal("0.1")
Step = Callable[[VenueAccount], list[TradeFill | FundingPayment]]

symbols = st.sampled_from([BTC, ETH])
moves = st.decimals("-0.03", "0.03", places=3) | st.decimals("-0.15", "0.15", places=3)
distances = st.none() | st.decimals("-0.001", "0.05", places=3)
sizes = st.decimals("0.01", "20", places=2) | st.decimals("0.001", "60", places=3)


def _tick(value: Decimal) -> Decimal:
    return max(value.quantize(TICK), TICK)


@st.composite
def bars(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "kind": "bar",
        "symbol": draw(symbols),
        "gap": draw(moves),
        "move": draw(moves),
        "up": abs(draw(moves)),
        "down": abs(draw(moves)),
        "volume": draw(st.none() | st.decimals("0", "5", places=3)),
        "rate": draw(st.none() | st.decimals("-0.01", "0.01", places=5)),
    }


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    """Three quarters of them fit the position of the moment; distances are on the proper side unless negative."""
    return {
        "kind": "order",
        "symbol": draw(symbols),
        "fits": draw(st.integers(0, 3)) > 0,
        "entry": draw(st.sampled_from(["OPEN_LONG", "OPEN_SHORT"])),
        "later": draw(st.sampled_from(["ADD", "REDUCE", "CLOSE"])),
        "side": draw(st.sampled_from(["long", "short"])),
        "size": draw(sizes),
        "limit": draw(distances),
        "stop": draw(distances),
        "target": draw(distances),
        "leverage": draw(st.integers(1, 20) | st.integers(1, 120)),
        "identity": draw(st.integers(1, 1000)),
        "minutes": draw(st.integers(0, 60)),
    }


cancels = st.fixed_dictionaries({"kind": st.just("cancel"), "symbol": symbols, "which": st.integers(0, 3)})
scripts = st.integers(1, 40).flatmap(
    lambda length: st.lists(
        st.one_of(bars(), bars(), bars(), orders(), orders(), cancels), min_size=length, max_size=length
    )
)


shares = st.sampled_from([0.0, 0.3, 1.0])
plans = st.just(NO_FAULTS) | st.builds(
    lambda seed, reject, partial, cancelled, late, never: FaultPlan(
        seed=seed,
        reject=reject / 2,
        partial_fill={"share": partial, "cancel_rest": cancelled},
        late_stop={"share": late, "seconds": 90},
        no_stop=never / 2,
    ),
    st.integers(0, 1000), shares, shares, shares, shares, shares,
)  # fmt: skip


@dataclass
class Market:
    """Turns drawn numbers into bars and orders around the price of the moment."""

    now: datetime = START
    prices: dict[str, Decimal] = field(default_factory=lambda: {BTC: D(20000), ETH: D(1500)})

    def step(self, drawn: dict[str, Any], account: VenueAccount) -> Step:
        """What `drawn` means for an account in this state; it can be done to that account and to its equals."""
        kinds = {"bar": self._bar, "order": self._order, "cancel": self._cancel}
        return kinds[drawn["kind"]](drawn, account)

    def _bar(self, drawn: dict[str, Any], _account: VenueAccount) -> Step:
        symbol, opened = drawn["symbol"], self.now
        self.now += BAR
        open_ = _tick(self.prices[symbol] * (1 + drawn["gap"]))
        close = _tick(open_ * (1 + drawn["move"]))
        bar = Bar(
            open_at=opened,
            open=open_,
            high=_tick(max(open_, close) * (1 + drawn["up"])),
            low=_tick(min(open_, close) * (1 - drawn["down"])),
            close=close,
            volume=drawn["volume"],
            funding=None if drawn["rate"] is None else Funding(rate=drawn["rate"], settles_at=self.now),
        )
        self.prices[symbol] = max(close, D(10))
        market = quote(self.now, self.prices[symbol], symbol)
        return lambda account: account.on_bar(market, bar)

    def _order(self, drawn: dict[str, Any], account: VenueAccount) -> Step:
        symbol, price = drawn["symbol"], self.prices[drawn["symbol"]]
        held = account.state.positions.get(symbol) if drawn["fits"] else None
        action = drawn["later"] if held is not None or not drawn["fits"] else drawn["entry"]
        side = held.pos_side if held is not None else {"OPEN_LONG": "long", "OPEN_SHORT": "short"}.get(action)
        side = side or drawn["side"]
        away = 1 if (side == "long") != (action in ("REDUCE", "CLOSE")) else -1
        signs = {"limit": -away, "stop": -1 if side == "long" else 1, "target": 1 if side == "long" else -1}
        limit, stop, target = (
            None if drawn[name] is None else _tick(price * (1 + sign * drawn[name])) for name, sign in signs.items()
        )
        expiry = {} if limit is None else {"expires_at": self.now + timedelta(minutes=drawn["minutes"])}
        sent = order(
            action, drawn["size"], pos_side=side, symbol=symbol, leverage=drawn["leverage"], limit_price=limit,
            stop_loss=stop, take_profit=target, client_order_id=f"order{drawn['identity']}", **expiry,
        )  # fmt: skip
        return lambda account: account.on_order(sent, wall_now=WALL)

    def _cancel(self, drawn: dict[str, Any], account: VenueAccount) -> Step:
        resting = sorted(account.state.resting)
        identity = resting[drawn["which"] % len(resting)] if resting else "none"
        cancel = TradeCancel(client_order_id=identity, symbol=drawn["symbol"], reason="")
        return lambda account: account.on_cancel(cancel)


def _account(plan: FaultPlan) -> VenueAccount:
    account = VenueAccount.opened(account_id="test", start_equity=D(10000))
    account.faults = plan
    for symbol, price in Market().prices.items():
        account.on_bar(quote(START, price, symbol))
    return account


def _signed_size(fill: TradeFill) -> Decimal:
    size = fill.fill_size or Decimal(0)
    return size if fill.intent in ("open", "add") else -size


@settings(max_examples=200, deadline=None)
@given(scripts, plans)
def test_money_sizes_and_identifiers_are_consistent_after_every_step(
    script: list[dict[str, Any]], plan: FaultPlan
) -> None:
    account, market = _account(plan), Market()
    balance, held, identifiers = D(10000), defaultdict[str, Decimal](Decimal), set[str]()
    for drawn in script:
        for report in market.step(drawn, account)(account):
            identifier = report.fill_id if isinstance(report, TradeFill) else report.funding_id
            assert identifier not in identifiers
            identifiers.add(identifier)
            if isinstance(report, FundingPayment):
                balance += report.amount_usd
            elif report.executed:
                balance += (report.pnl_usd or 0) - (report.fee_usd or 0)
                held[report.symbol] += _signed_size(report)
        assert account.balance == balance
        update = account.position_update(market.now)
        assert update.account.equity == balance + sum(position.unrealized_pnl for position in update.positions)
        assert {position.symbol: position.size for position in update.positions} == {
            symbol: size for symbol, size in held.items() if size
        }
        assert all(size >= 0 for size in held.values())
        account.place_late_stops(WALL + (market.now - START) / 5)
        assert account.state.late_stops.keys() <= account.state.positions.keys()


@settings(max_examples=150, deadline=None)
@given(scripts, plans)
def test_an_order_advances_to_one_end_and_never_beyond_its_size(script: list[dict[str, Any]], plan: FaultPlan) -> None:
    account, market = _account(plan), Market()
    filled, ended = defaultdict[str, Decimal](Decimal), set[str]()
    for drawn in script:
        for report in market.step(drawn, account)(account):
            if isinstance(report, FundingPayment) or report.client_order_id is None:
                continue
            key = report.client_order_id
            assert key not in ended
            filled[key] += report.fill_size or 0
            assert report.cumulative_size == filled[key]
            if report.status not in ("accepted", "partially_filled"):
                ended.add(key)
        assert set(account.state.resting) == set(account.state.seen) - ended
        assert all(0 < working.remaining <= working.order.size for working in account.state.resting.values())


@settings(max_examples=150, deadline=None)
@given(scripts, plans, st.data())
def test_an_account_written_down_at_any_moment_has_the_same_future(
    script: list[dict[str, Any]], plan: FaultPlan, data: Any
) -> None:
    moment = data.draw(st.integers(0, len(script)))
    account, twin, market = _account(plan), _account(plan), Market()
    for number, drawn in enumerate(script):
        if number == moment:
            written = json.dumps(twin.to_state())
            twin = VenueAccount.from_state(json.loads(written))
            twin.faults = plan
            assert json.dumps(twin.to_state()) == written
        step = market.step(drawn, account)
        assert step(account) == step(twin)
        wall = WALL + (market.now - START) / 5
        assert account.place_late_stops(wall) == twin.place_late_stops(wall)
        assert account.position_update(market.now) == twin.position_update(market.now)
    assert account.to_state() == twin.to_state()


@settings(max_examples=100, deadline=None)
@given(scripts, plans)
def test_an_order_sent_again_changes_nothing(script: list[dict[str, Any]], plan: FaultPlan) -> None:
    account, market = _account(plan), Market()
    for drawn in script:
        step = market.step(drawn, account)
        step(account)
        if drawn["kind"] == "order":
            before = account.to_state()
            assert step(account) == []
            assert account.to_state() == before
