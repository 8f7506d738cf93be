"""What can befall the account, in any order: a machine of hypothesis on real Postgres, and the reference it is held to.

Reports of gains, losses and transfers, late ones too; proposals judged, sent, filled in parts, cancelled or lost sight
of; exits with any result, told of out of order; nights, absences and restarts; halts and resumes. Proposals go through
the stages that judge and send them all; what the venue says, through what books it.
"""

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from decisions import cycles, funding, market_data, operator_actions, positions, verdict_audit
from decisions.messages import FundingPayment, MarketSnapshot, PositionUpdate
from decisions.models import LIVE, DecisionCycle, Order, OrderStatus, Outcome, State
from decisions.stages.execute import execute
from decisions.stages.judge import judge
from journal.models import PlaybookVersion, Promotion, Trade
from journal.services import playbook
from risk import services as risk
from risk.models import RiskState
from tests.integration.admin_rows import OURS
from tests.integration.decisions.build import (
    NOON,
    book,
    funding_payload,
    position_payload,
    position_update_payload,
    snapshot_payload,
    zulu,
)
from tests.integration.decisions.model_server import analysed, left
from tests.integration.decisions.scene import venue_says
from tests.integration.risk.reference import CT_VAL, LOT, Closing, Holding, Reference, Report, Reserved, Wish

SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP", "XRP-USDT-SWAP", "ADA-USDT-SWAP")
TABLES = [model._meta.db_table for model in OURS if model not in (PlaybookVersion, Promotion)]
AGE = timedelta(seconds=120)
SIDES = {"long": 1, "short": -1}

symbols = st.sampled_from(SYMBOLS)
choices = st.integers(0, 999)
amounts = st.sampled_from(["-30", "-5", "-0.01", "0", "0.01", "5", "30"]).map(Decimal)


def often(sound: object, *others: object) -> st.SearchStrategy[Any]:
    """The sound value about half of the time."""
    return st.sampled_from([sound] * len(others) + list(others))


def terms(sizes: str, **odd: tuple[str | None, ...]) -> st.SearchStrategy[dict[str, str | None]]:
    """Terms of a sound opening, in several sizes, or with one thing about it odd."""
    sound = [
        {"size_pct": size, "stop": stop, "reward": reward, "limit": limit}
        for size in sizes.split()
        for stop, reward in (("0.01", "2"), ("0.03", "1.5"))
        for limit in (None, None, "0.002")
    ]
    broken = [{**sound[0], name: value} for name, values in odd.items() for value in values]
    return st.sampled_from(sound + broken)


openings = terms(
    "0.005 0.02 0.03 0.045 0.05",
    size_pct=("0.0001", "0.0501", "0.4"),
    stop=(None, "0", "0.04", "-0.01"),
    reward=(None, "1.4", "-1"),
    limit=("0.02", "-0.002"),
)
leverages = st.sampled_from([None, "1", "3", "20"])
progress = st.sampled_from(["fill", "fill", "lose", "lose", "send", "wait", "halt", "lost"])
lateness = st.sampled_from([0, 0, 60, 1200, 4000])
additions = terms("0.001 0.01 0.02", size_pct=("0.05",), stop=(None, "0.04"), reward=("1.4",), limit=("-0.002",))


class Account(RuleBasedStateMachine):
    """The account, and what the test knows of it: positions as filled, as last reported, and orders."""

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        self.now = NOON + timedelta(seconds=37)
        self.reference = Reference()
        self.prices = dict.fromkeys(SYMBOLS, Decimal(20000))
        self.bars: dict[str, tuple[datetime, Decimal]] = {}
        self.equity, self.transfers = Decimal(10000), Decimal(0)
        self.filled: dict[str, Holding] = {}
        self.shown: dict[str, Holding] = {}
        self.cycles = 0
        self.live: list[Order] = []
        self.kept_in: set[int] = set()

    # --- what is known ----------------------------------------------------------------------------------------------

    def known(self) -> dict[str, Holding]:
        """The more of what the fills and the venue's last report say; valued at the report's price where it has one."""
        known = dict(self.shown)
        for symbol, holding in self.filled.items():
            shown = self.shown.get(symbol)
            if shown is not None:
                size = max(holding.size, shown.size) if shown.side == holding.side else holding.size
                holding = replace(holding, size=size, price=shown.price)
            known[symbol] = holding
        return known

    def reserved(self) -> list[Reserved]:
        return [
            Reserved(
                symbol=order.symbol,
                side=order.pos_side,
                notional=(order.size - order.filled_size) * max(order.limit_price or 0, order.judged_price) * CT_VAL,
                leaves=order.reduce_only,
            )
            for order in self.look()
        ]

    def look(self) -> list[Order]:
        """The orders that are not over."""
        self.live = list(Order.objects.filter(status__in=LIVE).select_related("cycle").order_by("id"))
        return self.live

    def busy(self, symbol: str) -> bool:
        return DecisionCycle.objects.filter(instrument=symbol).exclude(state=State.DONE).exists()

    # --- time and the account ---------------------------------------------------------------------------------------

    @initialize()
    def begins(self) -> None:
        self.reported(Decimal(0), Decimal(0), 0)

    @rule(
        seconds=st.sampled_from([1, 30, 119, 120, 121, 299, 300, 600, 1500, 1800, 3600, 6 * 3600]),
        symbol=symbols,
        price=st.sampled_from([19000, 19900, 19900, 20000, 20000, 20100, 21000]).map(Decimal),
    )
    def time_passes(self, seconds: int, symbol: str, price: Decimal) -> None:
        self.now += timedelta(seconds=seconds)
        self.prices[symbol] = price

    @rule(
        before=st.sampled_from([None, 1, 14, 15, 16, 40]), after=st.sampled_from([0, 0, 1, 600, 40_000]), change=amounts
    )
    def midnight(self, before: int | None, after: int, change: Decimal) -> None:
        """With a report so many minutes before it, and so many seconds later. It may pass while everything is down."""
        midnight = self.now.replace(hour=0, minute=0, second=0) + timedelta(days=1)
        if before is not None and midnight - timedelta(minutes=before) > self.now:
            self.now = midnight - timedelta(minutes=before)
            self.reported(change, Decimal(0), 0)
        self.now = midnight + timedelta(seconds=after)
        self.reported(change, Decimal(0), 0)

    @rule(
        change=st.sampled_from([-310, -160, -60, -20, -5, 0, 0, 5, 20, 60, 160, 310]).map(Decimal),
        transfer=often(Decimal(0), Decimal(500), Decimal(-400)),
        late_by=often(0, 40, 600),
    )
    def reported(self, change: Decimal, transfer: Decimal, late_by: int) -> None:
        self.tell(self.equity + change + transfer, self.transfers + transfer, self.now - timedelta(seconds=late_by))

    def falls_to_a_limit(self, share: Decimal, since: Report | None) -> None:
        assert since is not None
        moved = self.transfers - since.transfers
        self.tell((since.equity * (1 - share) + moved).quantize(Decimal("0.0001")), self.transfers, self.now)

    def tell(self, equity: Decimal, transfers: Decimal, at: datetime) -> None:
        held = [
            position_payload(
                symbol, pos_side=each.side, size=str(each.size), mark_price=str(self.prices[symbol]),
                notional_usd=str(each.size * self.prices[symbol] * CT_VAL), stop_loss=str(each.stop),
            )
            for symbol, each in self.filled.items()
        ]  # fmt: skip
        payload = position_update_payload(at, str(equity), str(transfers), positions=held)
        with transaction.atomic():
            positions.take_in(PositionUpdate.model_validate(payload), datetime.now(UTC))
        if self.reference.report(Report(at=at, equity=equity, transfers=transfers)):
            self.equity, self.transfers = equity, transfers
            self.shown = {symbol: replace(each, price=self.prices[symbol]) for symbol, each in self.filled.items()}
        self.a_halt_keeps_in_what_waits()

    def a_halt_keeps_in_what_waits(self) -> None:
        """An opening that waits while a halt stands never goes out, not after the halt either."""
        if self.reference.halts:
            waiting = Order.objects.filter(status=OrderStatus.PENDING, reduce_only=False)
            self.kept_in |= set(waiting.values_list("pk", flat=True))

    # --- proposals --------------------------------------------------------------------------------------------------

    @rule(symbol=symbols, wanted=openings, leverage=leverages, then=progress)
    def long_wanted(self, symbol: str, wanted: dict[str, str | None], leverage: str | None, then: str) -> None:
        if not self.busy(symbol):
            self.want(self.wish(symbol, "long", adds=False, **wanted), leverage, then)

    @rule(symbol=symbols, wanted=openings, leverage=leverages, then=progress)
    def short_wanted(self, symbol: str, wanted: dict[str, str | None], leverage: str | None, then: str) -> None:
        if not self.busy(symbol):
            self.want(self.wish(symbol, "short", adds=False, **wanted), leverage, then)

    @precondition(lambda self: self.filled)
    @rule(choice=choices, wanted=additions, then=progress)
    def addition_wanted(self, choice: int, wanted: dict[str, str | None], then: str) -> None:
        symbol = list(self.filled)[choice % len(self.filled)]
        if not self.busy(symbol):
            self.want(self.wish(symbol, self.filled[symbol].side, adds=True, **wanted), "2", then)

    def wish(
        self,
        symbol: str,
        side: str,
        *,
        adds: bool,
        size_pct: str | None,
        stop: str | None,
        reward: str | None,
        limit: str | None,
    ) -> Wish:
        """Stop, target and limit price so far from the price, towards where they belong."""
        price, sign = self.prices[symbol], SIDES[side]
        risk = None if stop is None else price * Decimal(stop) * sign
        return Wish(
            symbol=symbol,
            side=side,
            adds=adds,
            size_pct=Decimal(size_pct or 0),
            price=price,
            limit=None if limit is None else price * (1 - sign * Decimal(limit)),
            stop=None if risk is None else price - risk,
            target=None if risk is None or reward is None else price + risk * Decimal(reward),
        )

    def want(self, wish: Wish, leverage: str | None, then: str) -> None:
        held, reserved = self.known(), self.reserved()
        blocked = Order.objects.filter(symbol=wish.symbol, status__in=["unknown", "accepted", "partially_filled"])
        expected, contracts = ("instrument_blocked", LOT) if blocked.exists() else self.reference.judge(
            wish, held, reserved, self.now
        )  # fmt: skip
        action = "ADD" if wish.adds else "OPEN_LONG" if wish.side == "long" else "OPEN_SHORT"
        cycle = self.judged(
            wish.symbol,
            analysed(
                action, symbol=wish.symbol, size_pct=str(wish.size_pct), leverage=leverage,
                stop_loss=_text(wish.stop), take_profit=_text(wish.target),
                order_type="market" if wish.limit is None else "limit", limit_price=_text(wish.limit),
            ),
        )  # fmt: skip
        assert (cycle.outcome or "approved") == expected, cycle.reason
        order = Order.objects.filter(cycle=cycle).first()
        assert (order is not None) == (expected == "approved")
        if order is not None:
            allowed = (contracts, min(Decimal(leverage or 1), Decimal(3)), wish.stop, wish.limit, False)
            assert (order.size, order.leverage, order.stop_loss, order.limit_price, order.reduce_only) == allowed
            self.assert_limits_hold(wish, order, held, reserved)
            self.goes_on(order, then)

    def assert_limits_hold(self, wish: Wish, order: Order, held: dict[str, Holding], reserved: list[Reserved]) -> None:
        """Five per cent of equity a position, nine in all, three positions; on the sizes that were granted."""
        added = order.size * wish.sizing_price * CT_VAL
        taken = [(symbol, each.notional) for symbol, each in held.items()]
        taken += [(each.symbol, each.notional) for each in reserved if not each.leaves]
        assert added + sum(each for symbol, each in taken if symbol == wish.symbol) <= self.equity * 5 / 100
        assert added + sum(each for _, each in taken) <= self.equity * 9 / 100
        assert wish.adds or len({symbol for symbol, _ in taken} | {wish.symbol}) <= 3

    @precondition(lambda self: self.filled or self.shown)
    @rule(symbol=symbols, then=progress)
    def close_wanted(self, symbol: str, then: str) -> None:
        """Whatever stands, a position may be left, unless it is being left already."""
        if self.busy(symbol):
            return
        position = self.known().get(symbol)
        leaving = any(each.leaves and each.symbol == symbol for each in self.reserved())
        cycle = self.judged(symbol, left("CLOSE", symbol=symbol))
        order = Order.objects.filter(cycle=cycle).first()
        if position is None or leaving:
            assert (cycle.outcome, order) == (Outcome.GATE_REJECTED, None)
        else:
            assert order is not None, cycle.reason
            assert (order.size, order.pos_side, order.reduce_only) == (position.size, position.side, True)
            self.goes_on(order, then)

    def judged(self, symbol: str, answer: dict[str, Any]) -> DecisionCycle:
        """A cycle with that decision, judged by the stage."""
        self.cycles += 1
        snapshot = snapshot_payload(symbol, self.now, str(self.prices[symbol]), regime=None)
        cycle = DecisionCycle.objects.create(
            instrument=symbol, slot_at=NOON + timedelta(seconds=self.cycles), state=State.RISK_CHECK,
            snapshot=snapshot, decision=answer, playbook_version=1, positions=[],
        )  # fmt: skip
        claimed = cycles.claim(cycle.pk, State.RISK_CHECK)
        assert claimed is not None
        judge(claimed, self.now)
        return claimed

    # --- orders -----------------------------------------------------------------------------------------------------

    def goes_on(self, order: Order, then: str) -> None:
        """What comes next, before anything else does."""
        if then == "halt":
            self.halted_by_a_person()
        if then != "wait":
            self.send(order, fresh=True)
        if then == "halt":
            self.resumed_by_a_person("command", rebase=False)
        if then == "lost":
            self.lose_sight_of(order)
        if then in ("fill", "lose") and order.status == OrderStatus.SENT:
            self.fill(order, whole=True)
        if then == "lose" and order.symbol in self.filled:
            self.leaves(order.symbol, Decimal(-30), told_late=0)

    @precondition(lambda self: any(order.status == OrderStatus.PENDING for order in self.live))
    @rule(choice=choices, fresh=often(True, False))
    def sent(self, choice: int, fresh: bool) -> None:
        waiting = [order for order in self.live if order.status == OrderStatus.PENDING]
        self.send(waiting[choice % len(waiting)], fresh=fresh)

    def send(self, order: Order, *, fresh: bool) -> None:
        """The order goes out unless a halt, the time or the price has come between."""
        if fresh:
            self.world_is_seen(order.symbol)
        assert order.cycle is not None
        claimed = cycles.claim(order.cycle.pk, State.EXECUTING)
        assert claimed is not None
        execute(claimed, self.now)
        order.refresh_from_db()
        expected = OrderStatus.SENT if self.may_go_out(order) else OrderStatus.EXPIRED
        assert order.status == expected, order.reason

    def world_is_seen(self, symbol: str) -> None:
        """A new bar, and the account as it was."""
        self.now += timedelta(seconds=1)
        self.tell(self.equity, self.transfers, self.now)
        payload = snapshot_payload(symbol, self.now, str(self.prices[symbol]))
        market_data.record_snapshot(MarketSnapshot.model_validate(payload))
        self.bars[symbol] = (self.now, self.prices[symbol])

    def may_go_out(self, order: Order) -> bool:
        if order.reduce_only:
            return True
        if order.pk in self.kept_in or self.reference.standing(self.now) or order.symbol not in self.bars:
            return False
        if order.order_type == "limit" and self.now >= order.expires_at:
            return False
        seen_at, price = self.bars[order.symbol]
        fresh = self.now - seen_at <= AGE and self.now - self.reference.reports[-1].at <= AGE
        assert order.stop_loss is not None
        assert order.take_profit is not None
        near = abs(price - order.judged_price) <= order.judged_price * 5 / 1000
        return fresh and near and min(order.stop_loss, order.take_profit) < price < max(
            order.stop_loss, order.take_profit
        )  # fmt: skip

    @precondition(lambda self: any(order.status != OrderStatus.PENDING for order in self.live))
    @rule(choice=choices, answer=st.sampled_from(["fill", "part", "accepted", "rejected", "expired", "cancelled", "?"]))
    def venue_answers(self, choice: int, answer: str) -> None:
        out = [order for order in self.live if order.status != OrderStatus.PENDING]
        order = out[choice % len(out)]
        if answer in ("fill", "part"):
            self.fill(order, whole=answer == "fill")
        elif answer == "?":
            self.lose_sight_of(order)
        elif answer != "accepted" or (order.order_type == "limit" and order.status == OrderStatus.SENT):
            venue_says(order, answer, reject_reason="so it is", filled_at=zulu(self.now))

    def fill(self, order: Order, *, whole: bool) -> None:
        self.now += timedelta(seconds=1)
        if order.reduce_only:
            self.leave_by_order(order)
            return
        rest = order.size - order.filled_size
        size = rest if whole else (rest / 2).quantize(LOT)
        if not LOT <= size <= rest:
            return
        price = order.limit_price or order.judged_price
        venue_says(
            order, "filled" if size == rest else "partially_filled", fill_price=str(price), fill_size=str(size),
            cumulative_size=str(order.filled_size + size), fee_usd="0", stop_confirmed=True, filled_at=zulu(self.now),
        )  # fmt: skip
        self.enlarge(order, size, price, first=order.filled_size == 0)

    def enlarge(self, order: Order, size: Decimal, price: Decimal, *, first: bool) -> None:
        assert order.stop_loss is not None
        before = self.filled.get(order.symbol)
        if before is None:
            opened = Holding(side=order.pos_side, size=size, price=price, stop=order.stop_loss, opened_at=self.now)
            self.filled[order.symbol] = opened
            return
        trade = Trade.objects.get(symbol=order.symbol, status=Trade.Status.OPEN)
        stop = order.stop_loss if first else before.stop
        self.filled[order.symbol] = replace(before, size=before.size + size, price=trade.entry_price, stop=stop)

    def leave_by_order(self, order: Order) -> None:
        """As much as there still is. What the venue does not have any more it cannot close."""
        holding = self.filled.get(order.symbol)
        if holding is None:
            venue_says(order, "rejected", reject_reason="no position", filled_at=zulu(self.now))
            return
        venue_says(
            order, "filled", fill_price=str(holding.price), fill_size=str(holding.size), fee_usd="0", pnl_usd="-7",
            cumulative_size=str(holding.size), exit_reason="signal", filled_at=zulu(self.now),
        )  # fmt: skip
        self.gone(order.symbol, self.now, Decimal(-7))

    def lose_sight_of(self, order: Order) -> None:
        if order.status == OrderStatus.SENT:
            Order.objects.filter(pk=order.pk).update(status=OrderStatus.UNKNOWN)
            cycles.end_by_order(order.decision_id, Outcome.ORDER_UNKNOWN, "silence")

    # --- exits and results ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.filled)
    @rule(choice=choices, net=often(Decimal(-30), Decimal("-0.01")), told_late=lateness)
    def stopped_out(self, choice: int, net: Decimal, told_late: int) -> None:
        self.leaves(list(self.filled)[choice % len(self.filled)], net, told_late=told_late)

    @precondition(lambda self: self.filled)
    @rule(choice=choices, net=amounts, told_late=lateness, whole=often(True, False))
    def left_by_venue(self, choice: int, net: Decimal, told_late: int, whole: bool) -> None:
        self.leaves(list(self.filled)[choice % len(self.filled)], net, told_late=told_late, whole=whole)

    def leaves(self, symbol: str, net: Decimal, *, told_late: int, whole: bool = True) -> None:
        """A stop or a target is met. The news of it may come later than that of exits after it."""
        holding = self.filled[symbol]
        at = max(self.now - timedelta(seconds=told_late), holding.opened_at)
        size = holding.size if whole else (holding.size / 2).quantize(LOT)
        if not 0 < size <= holding.size:
            return
        if size < holding.size:
            net = Decimal(0)
        book(
            symbol=symbol, pos_side=holding.side, side="sell" if holding.side == "long" else "buy",
            intent="close" if size == holding.size else "reduce", fill_price="20000", fill_size=str(size),
            cumulative_size=str(size), fee_usd="0", pnl_usd=str(net), exit_reason="stop_loss", filled_at=zulu(at),
        )  # fmt: skip
        if size == holding.size:
            self.gone(symbol, at, net)
        else:
            self.filled[symbol] = replace(holding, size=holding.size - size)

    def found_closed(self, symbol: str) -> None:
        """A position is gone, and nobody knows with what result."""
        with transaction.atomic():
            state = risk.lock_state()
            trade = Trade.objects.filter(symbol=symbol, status=Trade.Status.OPEN)
            trade.update(status=Trade.Status.CLOSED, open_size=0, closed_at=self.now)
            risk.on_trade_closed(state)
        self.gone(symbol, self.now, None)

    def gone(self, symbol: str, at: datetime, net: Decimal | None) -> None:
        holding = self.filled.pop(symbol)
        self.reference.close(
            Closing(symbol=symbol, side=holding.side, opened_at=holding.opened_at, closed_at=at, net=net)
        )

    @precondition(lambda self: self.reference.closings)
    @rule(choice=choices, amount=st.sampled_from(["-10", "10"]).map(Decimal))
    def funding_told_late(self, choice: int, amount: Decimal) -> None:
        """A payment as of a trade's end restates its result."""
        about = self.reference.closings[choice % len(self.reference.closings)]
        alike = [
            each for each in self.reference.closings
            if (each.symbol, each.side) == (about.symbol, about.side) and each.opened_at <= about.closed_at
            and each.closed_at >= about.closed_at - timedelta(seconds=1)
        ]  # fmt: skip
        holding = self.filled.get(about.symbol)
        if len(alike) > 1 or (holding is not None and holding.opened_at <= about.closed_at):
            return
        payload = funding_payload(
            symbol=about.symbol, pos_side=about.side, amount_usd=str(amount), paid_at=zulu(about.closed_at)
        )
        with transaction.atomic():
            funding.book(FundingPayment.model_validate(payload))
        self.reference.restate(about, amount)

    # --- what is rare, and people ----------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["restart"] * 6 + ["daily", "drawdown", "close", "ruin", "unknown", "halt"]))
    def what_is_rare(self, what: str) -> None:
        match what:
            case "restart":
                connections.close_all()
                playbook.cache_clear()
            case "daily":
                self.falls_to_a_limit(Decimal("0.03"), self.reference.day_start())
            case "close":
                self.falls_to_a_limit(Decimal("0.0299"), self.reference.day_start())
            case "drawdown":
                self.falls_to_a_limit(Decimal("0.10"), self.reference.peak())
            case "ruin" if self.now.minute % 4 == 0:
                self.tell(Decimal(0), self.transfers, self.now)
            case "unknown" if self.filled:
                self.found_closed(next(iter(self.filled)))
            case "halt":
                self.halted_by_a_person()

    def halted_by_a_person(self) -> None:
        operator_actions.halt(by="ada", reason="the news", source="admin", now=self.now)
        self.reference.halts.setdefault("manual", None)
        self.a_halt_keeps_in_what_waits()

    @precondition(lambda self: self.reference.halts)
    @rule(source=often("command", "stream", "admin"), rebase=st.booleans())
    def resumed_by_a_person(self, source: str, rebase: bool) -> None:
        granted = self.reference.resume(self.now, rebase=rebase, by_stream=source == "stream")
        with nullcontext() if granted else pytest.raises(risk.Refused):
            operator_actions.resume(by="ada", reason="go on", source=source, now=self.now, rebase_peak=rebase)

    # --- after every step -------------------------------------------------------------------------------------------

    @invariant()
    def orders_are_looked_at(self) -> None:
        self.look()

    @invariant()
    def state_is_as_the_reference_says(self) -> None:
        state = RiskState.objects.first()
        start, peak = self.reference.day_start(), self.reference.peak()
        if state is None or start is None or peak is None:
            assert state is start is peak is None
            return
        last = self.reference.reports[-1]
        assert (state.equity, state.net_transfers, state.equity_at) == (last.equity, last.transfers, last.at)
        assert (state.day_start_equity, state.day_start_transfers) == (start.equity, start.transfers)
        assert (state.peak_equity, state.peak_transfers) == (peak.equity, peak.transfers)
        assert (state.loss_streak, state.cooldown_until) == (self.reference.streak(), self.reference.cooldown_until)
        standing = {halt.kind: halt.until for halt in risk.standing_halts(self.now)}
        assert standing == self.reference.standing(self.now)

    def teardown(self) -> None:
        """Every verdict judges the same again, the chain is whole, every order has one that approves it."""
        assert verdict_audit.of_all().faults == ()


def _text(price: Decimal | None) -> str | None:
    return None if price is None else str(price)
