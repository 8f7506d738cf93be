"""A generated market, a simulated venue and the real cycles, reflection and trials, one after the other in one process.

Nothing waits for a message: the market closes a bar, the venue's account sees it, what it reports is booked, each
instrument's cycle runs through its stages, and what comes after is done before the next bar. So a run is the same every
time. Postgres and Redis are real; the streams are written and not read.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum

from decisions import clock, cycles, fills, funding, market_data, orders, positions, tasks
from decisions.messages import FundingPayment, Message, TradeCancel, TradeFill, TradeOrder
from decisions.models import DecisionCycle, Order, OrderStatus, OutboxMessage, State
from decisions.sandbox.market import SandboxMarket, Step
from decisions.sandbox.opening import GENERATED_START, open_market
from decisions.sandbox.venue import Quote, VenueAccount
from journal import playbook_versions
from journal.models import AccountUpdate, PlaybookVersion, Promotion, Trade
from reflection import desk, shadow_question, trial
from reflection.models import ShadowLook

START_EQUITY = Decimal(10_000)
RECORDED_EVERY = 900
"""Seconds between the snapshots that are recorded: the shadow books see no more. The venue sees every bar."""
STAGES = {
    State.COLLECTING: tasks.collect,
    State.SCREENING: tasks.screen,
    State.RESEARCHING: tasks.research,
    State.ANALYZING: tasks.analyze,
    State.RISK_CHECK: tasks.risk,
    State.EXECUTING: tasks.execute,
}


def market(instruments: Sequence[str], seed: int, folder: Any) -> SandboxMarket:
    return open_market(
        candles=(), funding={}, open_interest={}, instruments=instruments, start=GENERATED_START, seed=seed,
        local_dir=folder,
    )  # fmt: skip


class World:
    """Runs bars of a market through the venue and the orchestrator."""

    def __init__(self, market: SandboxMarket, instruments: Sequence[str]) -> None:
        self.market = market
        self.instruments = instruments
        self.venue = VenueAccount.opened(account_id="bench", start_equity=START_EQUITY)
        self.cancels_heard = 0

    def run(self, days: int) -> None:
        """So many days of bars."""
        for _ in range(days * 86_400 // self.market.bar_seconds):
            step = self.market.step()
            if step is None:
                return
            self._bar(step)

    def _bar(self, step: Step) -> None:
        changed = self._market_moves(step)
        decides = step.closed_at.timestamp() % settings.DECISION_CYCLE_SECONDS == 0
        if not (decides or changed):
            return
        self._report(step.closed_at)
        if not decides:
            return
        slot_at = clock.slot(step.closed_at, settings.DECISION_CYCLE_SECONDS)
        for instrument in self.instruments:
            for cycle in cycles.create([instrument], slot_at):
                self._cycle(cycle)
        self._look_back(step.closed_at)

    # --- the market and the venue

    def _market_moves(self, step: Step) -> bool:
        """Whether anything happened to the account."""
        reports: list[Message] = []
        recorded = step.closed_at.timestamp() % RECORDED_EVERY == 0
        for update in step.updates:
            if recorded:
                market_data.record_snapshot(update.snapshot)
            for alert in update.alerts:
                market_data.record_alert(alert)
            reports += self.venue.on_bar(Quote.of(update.snapshot), update.bar)
        self._book(reports)
        return bool(reports)

    def _report(self, at: datetime) -> None:
        with transaction.atomic():
            positions.take_in(self.venue.position_update(at), datetime.now(UTC))

    def _book(self, reports: Iterable[Message]) -> None:
        for report in reports:
            with transaction.atomic():
                if isinstance(report, TradeFill):
                    fills.book_fill(report)
                elif isinstance(report, FundingPayment):
                    funding.book(report)

    # --- a cycle

    def _cycle(self, cycle: DecisionCycle) -> None:
        while (stage := STAGES.get(State(cycle.state))) is not None:
            before = (cycle.round, cycle.state)
            stage(cycle.pk)
            cycle.refresh_from_db()
            if (cycle.round, cycle.state) == before:
                raise SystemExit(f"{cycle} stands still: {cycle.last_error}")
        self._carry_out_orders()
        for asked in list(shadow_question.waiting()):
            shadow_question.ask(asked.pk, clock.now_for_record())

    def _carry_out_orders(self) -> None:
        moved = False
        for order in Order.objects.filter(status=OrderStatus.SENT).order_by("id"):
            message = TradeOrder.model_validate(orders.envelope(order).payload)
            self._book(self.venue.on_order(message, wall_now=datetime.now(UTC)))
            moved = True
        cancels = OutboxMessage.objects.filter(type="trade_cancel", id__gt=self.cancels_heard).order_by("id")
        for cancel in cancels:
            self._book(self.venue.on_cancel(TradeCancel.model_validate(cancel.payload)))
            self.cancels_heard, moved = cancel.pk, True
        if moved and self.venue.market_now is not None:
            self._report(self.venue.market_now)

    # --- what comes after

    def _look_back(self, now: datetime) -> None:
        """The trial of a challenger, then reviews and deep reflections, as the sweeps do it."""
        trial.go_on(now)
        desk.see_to_it(now)
        while desk.work(now):
            pass


# --- what came of it --------------------------------------------------------------------------------------------------


def story(bad_strategy: str) -> dict[str, Any]:
    """What the account made, and what became of the playbook, as JSON values."""
    trades = Trade.objects.filter(pnl_usd__isnull=False)
    bad = trades.filter(strategy_used=bad_strategy).aggregate(count=Count("pk"), net=Sum("pnl_usd"))
    looked = ShadowLook.objects.select_related("contest").order_by("id")
    return {
        "net": str(_net()),
        "trades": trades.count(),
        "bad_trades": [bad["count"], str(bad["net"] or 0)],
        "cycles": DecisionCycle.objects.count(),
        "ban_proposed": _told(_first_with_a_ban(bad_strategy)),
        "promoted": _told(_promoted_at(looked)),
        "looks": [_look(look) for look in looked],
        "versions": [
            [version.version, version.triggered_by, _told(_market_time(version))]
            for version in PlaybookVersion.objects.order_by("version")
        ],
        "active": playbook_versions.active().version,
    }


def _net() -> Decimal:
    """The equity of the last report, less what the account began with."""
    newest = AccountUpdate.objects.order_by("-as_of", "-id").first()
    return (newest.equity if newest else START_EQUITY) - START_EQUITY


def _look(look: ShadowLook) -> dict[str, Any]:
    sides = ("challenger", "champion")
    return {
        "at": _told(look.as_of),
        "versions": [look.contest.challenger_version, look.contest.champion_version],
        "verdict": look.verdict,
        "days": look.days,
        "p": [look.net_better, look.calibration_better, look.net_worse],
        "trades": [look.record[side]["total_trades"] for side in sides],
        "net": [look.record[side]["net_pnl"] for side in sides],
        "brier": [look.record[f"{side}_brier_score"]["value"][:6] for side in sides],
    }


def _first_with_a_ban(strategy: str) -> datetime | None:
    """Market time of the first version of reflection's that bans the strategy."""
    written = PlaybookVersion.objects.filter(triggered_by="reflection").order_by("version")
    bans = (each for each in written if any(strategy in rule["avoid_strategies"] for rule in _rules(each)))
    found = next(bans, None)
    return None if found is None else _market_time(found)


def _rules(version: PlaybookVersion) -> Sequence[dict[str, Any]]:
    rules: Sequence[dict[str, Any]] = version.playbook_json["market_regime_rules"]
    return rules


def _market_time(version: PlaybookVersion) -> datetime:
    return datetime.fromisoformat(version.playbook_json["last_updated"])


def _promoted_at(looked: Iterable[ShadowLook]) -> datetime | None:
    promoted = set(Promotion.objects.values_list("playbook__version", flat=True))
    better = (look for look in looked if look.verdict == "better" and look.contest.challenger_version in promoted)
    return next((look.as_of for look in better), None)


def _told(moment: datetime | None) -> str:
    """Days since the market began."""
    return "" if moment is None else f"day {(moment - GENERATED_START) / timedelta(days=1):.1f}"
