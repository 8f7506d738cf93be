"""A shadow book: an account of invented money that trades what answers propose. Pure.

Every proposal goes the way of a real one: the playbook's bans, the gate with the limits in force, then a venue. That is
the sandbox's simulated one on its terms (`decisions.sandbox.venue.VenueTerms`): market orders slip by 0.02 % and pay
0.05 %, limit orders pay 0.02 %, liquidation comes at a maintenance margin of 0.4 %.

Of the market it sees the recorded snapshots. Between two of them the price is taken to have gone straight from one to
the other: a stop on the way is executed at its level less the slippage, a target or a limit at its own price and no
better. What a price did in between and took back is seen by nobody, in no book. Funding is settled when a snapshot has
come past the moment that was announced for it, at that snapshot's rate.

What happens must be told in the order of market time; a price that is not newer than its instrument's last is ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from decisions import proposals
from decisions.grounding import OPENINGS
from decisions.messages import MarketSnapshot, TradeCancel, TradeFill, TradeOrder
from decisions.sandbox.venue import Bar, Funding, Quote, VenueAccount
from decisions.sandbox.venue.state import Outgoing
from decisions.schemas import AnalysisAnswer
from journal.playbook import Playbook, blocked_by, strategy_name
from reflection.shadow_state import BookState, side_of
from reflection.shadow_trades import BookedTrade, Direction, EntryPlan, begun
from risk import gate
from risk.limits import Limits

HOLD, NOT_HELD, BLOCKED, BANNED = "model_hold", "not_held", "openings_blocked", "playbook_blocked"
"""Besides what the gate and the venue say: `not_held` is an exit or an addition for a position that the question showed
and this book does not have, `openings_blocked` an opening in a cycle that took none."""
ONE_MOMENT = timedelta(seconds=1)
ENDED = ("filled", "cancelled", "rejected", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowAnswer:
    """An answer to a cycle's question, and what it is judged by.

    `shown` is the side of the instrument's position in the question, None where it showed none. `openings_blocked` is
    why the cycle took no openings, empty where it did. `correlations` are with what is held elsewhere, by symbol.
    """

    cycle_number: int
    answer: AnalysisAnswer
    playbook: Playbook
    snapshot: MarketSnapshot
    shown: Direction | None
    openings_blocked: str
    correlations: Mapping[str, Decimal | None]


@dataclass(frozen=True, slots=True)
class Consequence:
    """What became of an answer, in one word and in a sentence, and the trades that changed."""

    outcome: str
    reason: str
    trades: tuple[BookedTrade, ...] = ()


class ShadowBook:
    """One book. `limits` are the gate's, `limit_order_life` is how long a limit order rests, in market time."""

    def __init__(self, state: BookState, *, limits: Limits, limit_order_life: timedelta) -> None:
        self.state = state
        self._account = VenueAccount(state.venue)
        self._limits = limits
        self._limit_order_life = limit_order_life

    @property
    def symbols(self) -> set[str]:
        """The instruments that are held, or will be when what rests is filled: those whose prices matter."""
        venue = self.state.venue
        return {*venue.positions, *(working.order.symbol for working in venue.resting.values())}

    def told_until(self, symbol: str) -> datetime | None:
        """The time of the last price of an instrument that was told."""
        quote = self.state.venue.quotes.get(symbol)
        return None if quote is None else quote.at

    # --- prices

    def on_snapshot(self, snapshot: MarketSnapshot) -> tuple[BookedTrade, ...]:
        """A price has come. Returns the trades that it changed."""
        last = self.state.venue.quotes.get(snapshot.symbol)
        if last is not None and snapshot.timestamp <= last.at:
            return ()
        self.state.begin_day(snapshot.timestamp)
        quote = Quote.of(snapshot)
        before = last or quote
        bar = Bar(
            open_at=before.at,
            open=before.price,
            high=max(before.price, quote.price),
            low=min(before.price, quote.price),
            close=quote.price,
            volume=None,
            funding=self._settled(snapshot),
        )
        changed = self._book(self._account.on_bar(quote, bar))
        self._judge_account(snapshot.timestamp)
        return changed

    def _settled(self, snapshot: MarketSnapshot) -> Funding | None:
        """The settlement that has fallen since the last price, if one has."""
        due = self.state.funding_due.get(snapshot.symbol)
        if snapshot.next_funding_at is not None:
            self.state.funding_due[snapshot.symbol] = snapshot.next_funding_at
        if due is None or snapshot.timestamp < due or snapshot.funding_rate is None:
            return None
        return Funding(rate=snapshot.funding_rate, settles_at=due)

    def _judge_account(self, at: datetime) -> None:
        """With every price, as with every report of a real account. A halt withdraws what rests."""
        if not self.state.judge_account(self._limits, at):
            return
        for working in list(self.state.venue.resting.values()):
            name, symbol = working.order.client_order_id, working.order.symbol
            self._book(self._account.on_cancel(TradeCancel(client_order_id=name, symbol=symbol, reason="halted")))

    # --- answers

    def on_answer(self, asked: ShadowAnswer) -> Consequence:
        """An answer is followed, at the price of the snapshot that it was given for."""
        earlier = self.on_snapshot(asked.snapshot)
        if obstacle := self._obstacle(asked):
            return Consequence(*obstacle, earlier)
        account, positions, pending = self.state.account(), self.state.positions(), self.state.pending()
        try:
            proposal = proposals.proposal(
                asked.answer.decision, asked.snapshot, asked.playbook,
                equity=account.equity, positions=positions, pending=pending,
            )  # fmt: skip
        except proposals.PositionFull as full:
            return Consequence(BANNED, str(full), earlier)
        verdict = gate.evaluate(
            proposal=proposal,
            account=account,
            positions=positions,
            pending=pending,
            state=self.state.risk_state(),
            correlations=asked.correlations,
            instrument=proposals.instrument(asked.snapshot),
            limits=self._limits,
            now=asked.snapshot.timestamp,
        )
        if not verdict.approved:
            reason = "; ".join(f"{result.rule}: {result.reason}" for result in verdict.refusals)
            return Consequence(verdict.outcome, reason, earlier)
        outcome, reason, followed = self._send(asked, verdict, gate.direction_of(proposal, positions))
        self._judge_account(asked.snapshot.timestamp)
        return Consequence(outcome, reason, (*earlier, *followed))

    def _obstacle(self, asked: ShadowAnswer) -> tuple[str, str] | None:
        """Why the gate is not asked."""
        action, snapshot = asked.answer.decision.action, asked.snapshot
        if action == "HOLD":
            return HOLD, ""
        if action in OPENINGS and asked.openings_blocked:
            return BLOCKED, asked.openings_blocked
        if action in OPENINGS and (
            ban := blocked_by(asked.playbook, asked.answer.strategy_used, snapshot.regime, snapshot.timestamp)
        ):
            return BANNED, ban
        held = self.state.venue.positions.get(snapshot.symbol)
        if action in ("ADD", "REDUCE", "CLOSE") and (held is None or side_of(held) != asked.shown):
            return NOT_HELD, f"{action} is about a position that this book does not have"
        return None

    def _send(
        self, asked: ShadowAnswer, verdict: gate.Verdict, direction: Direction | None
    ) -> tuple[str, str, tuple[BookedTrade, ...]]:
        """What became of the order: outcome, reason, trades."""
        order = self._order(asked, verdict, direction)
        if not order.reduce_only:
            self.state.plans[order.client_order_id] = _plan(asked, verdict)
        reports = self._account.on_order(order, wall_now=asked.snapshot.timestamp)
        changed = self._book(reports)
        refusals = [each for each in reports if isinstance(each, TradeFill) and each.status in ("rejected", "expired")]
        if refusals:
            return "order_rejected", f"the venue refused: {refusals[0].reject_reason}", changed
        rests = order.client_order_id in self.state.venue.resting
        return "order_working" if rests else "traded", "", changed

    def _order(self, asked: ShadowAnswer, verdict: gate.Verdict, direction: Direction | None) -> TradeOrder:
        decision, name = asked.answer.decision, f"s{asked.cycle_number}"
        rests = not verdict.reduce_only and decision.order_type == "limit"
        return TradeOrder.model_validate(
            {
                "action": decision.action,
                "symbol": decision.symbol,
                "side": "buy" if (direction == "LONG") != verdict.reduce_only else "sell",
                "pos_side": "long" if direction == "LONG" else "short",
                "order_type": "limit" if rests else "market",
                "size": verdict.contracts,
                "limit_price": verdict.limit_price,
                "stop_loss": verdict.stop_loss,
                "take_profit": verdict.take_profit,
                "leverage": verdict.leverage,
                "strategy_used": asked.answer.strategy_used,
                "confidence": asked.answer.confidence,
                "reasoning": "",
                "decision_id": name,
                "reduce_only": verdict.reduce_only,
                "client_order_id": name,
                "expires_at": asked.snapshot.timestamp + (self._limit_order_life if rests else ONE_MOMENT),
            }
        )

    # --- what is booked of it

    def _book(self, reports: Iterable[Outgoing]) -> tuple[BookedTrade, ...]:
        """The trades that reports of the venue change, each once, as it is then."""
        booked = [trade for report in reports if (trade := self._booked(report)) is not None]
        self.state.venue.recent.clear()  # the trades keep what happened,
        self.state.venue.seen.clear()  # and the caller that an answer is followed once
        return tuple({trade.plan.cycle_number: trade for trade in booked}.values())

    def _booked(self, report: Outgoing) -> BookedTrade | None:
        trade = self.state.trades.get(report.symbol)
        if isinstance(report, TradeFill):
            plan = self.state.plans.get(report.client_order_id or "")
            if report.status in ENDED:
                self.state.plans.pop(report.client_order_id or "", None)
            if not report.executed:
                return None
            trade = _executed(trade, report, plan)
        elif trade is not None:
            trade = trade.with_funding(report)
        if trade is not None:
            self._keep(trade)
        return trade

    def _keep(self, trade: BookedTrade) -> None:
        if trade.closed_at is None:
            self.state.trades[trade.symbol] = trade
        else:
            del self.state.trades[trade.symbol]
            self.state.count_loss(trade, trade.closed_at, self._limits)


def _executed(trade: BookedTrade | None, fill: TradeFill, plan: EntryPlan | None) -> BookedTrade:
    if trade is not None:
        return trade.with_execution(fill, plan)
    if plan is None:
        raise ValueError(f"{fill.fill_id} opens a position that nobody planned")
    return begun(fill, plan)


def _plan(asked: ShadowAnswer, verdict: gate.Verdict) -> EntryPlan:
    return EntryPlan(
        cycle_number=asked.cycle_number,
        strategy=strategy_name(asked.answer.strategy_used),
        regime=asked.snapshot.regime or "",
        confidence=Decimal(str(asked.answer.confidence)).quantize(Decimal("0.001")),
        ct_val=asked.snapshot.instrument.ct_val,
        stop_loss=verdict.stop_loss,
        take_profit=verdict.take_profit,
    )
