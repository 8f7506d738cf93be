"""What the system has done, in figures: the report of a bounded run, `manage.py status`, and the news of the cycles.

The books: equity change = realised gross P&L - fees + funding + change of unrealised P&L + transfers. The venue's
equity stands on one side, our journal on the other, and the difference is zero when every message was booked once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from math import ceil
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, Sum

from decisions.clock import wall_now
from decisions.models import (
    LIVE,
    DeadLetter,
    DecisionCycle,
    Discrepancy,
    Fill,
    FundingPayment,
    InstrumentBlock,
    ModelCall,
    Order,
    OrderStatus,
    State,
)
from decisions.sandbox.ledger_report import read_ledger
from journal.models import AccountUpdate, Trade

Report = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def report(*, wall_seconds: float | None = None) -> Report:
    """Everything counted, as JSON values; money as decimal strings. The keys are kept stable."""
    return {
        "cycles": _cycles(),
        "orders": _orders(),
        "fills": Fill.objects.filter(price__isnull=False).count(),
        "trades": _trades(),
        "reconciliation": _reconciliation(),
        "books": books().as_dict(),
        "model": _model(),
        "dead_letters": DeadLetter.objects.count(),
        "wall_seconds": None if wall_seconds is None else round(wall_seconds, 3),
        "stage_ms": stage_milliseconds(
            DecisionCycle.objects.order_by("-id").values_list("stage_ms", flat=True)[:10_000]
        ),
    }


def faults(result: Report) -> list[str]:
    """What is wrong with a finished run, in words; empty when all is well."""
    found = []
    if result["cycles"]["open"]:
        found.append(f"{result['cycles']['open']} cycles did not end")
    if Decimal(result["books"]["difference"]) != 0:
        found.append(f"the books do not balance: difference {result['books']['difference']} USD")
    booked = Trade.objects.aggregate(
        realized_gross_pnl=Sum("gross_pnl_usd"), fees=Sum("fees_usd"), funding=Sum("funding_usd")
    )
    for name, on_trades in booked.items():
        if Decimal(result["books"][name]) != (on_trades or 0):
            found.append(f"trades and fills disagree on {name}: {on_trades} and {result['books'][name]} USD")
    return found


def _cycles() -> Report:
    counts = dict(DecisionCycle.objects.values_list("outcome").annotate(count=Count("id")).order_by("-count"))
    still_open = counts.pop(None, 0)
    return {"total": sum(counts.values()) + still_open, "open": still_open, "by_outcome": counts}


def _orders() -> Report:
    return Order.objects.aggregate(
        sent=Count("id", filter=Q(sent_at__isnull=False)),
        filled=Count("id", filter=Q(status=OrderStatus.FILLED)),
        rejected=Count("id", filter=Q(status=OrderStatus.REJECTED)),
        unknown=Count("id", filter=Q(status=OrderStatus.UNKNOWN)),
        live=Count("id", filter=Q(status__in=LIVE)),
    )


def _trades() -> Report:
    reasons = Trade.objects.filter(status=Trade.Status.CLOSED).values_list("exit_reason").annotate(count=Count("id"))
    return {
        "open": Trade.objects.filter(status=Trade.Status.OPEN).count(),
        "closed": sum(count for _, count in reasons),
        "by_exit_reason": dict(reasons.order_by("-count")),
    }


def _reconciliation() -> Report:
    """What the record and the venue differ about, executions whose order is not known, and instruments that wait for a
    person."""
    return {
        "discrepancies": Discrepancy.objects.filter(resolved_at__isnull=True).count(),
        "waiting_fills": Fill.objects.filter(waiting__isnull=False).count(),
        "blocked_instruments": InstrumentBlock.objects.filter(ended_at__isnull=True).count(),
    }


def _model() -> Report:
    """What the calls cost at the services' prices, and what of it was paid: offline and replayed answers are free."""
    live = Q(source=ModelCall.Source.LIVE)
    totals = ModelCall.objects.aggregate(calls=Count("id"), cost=Sum("cost_usd"), paid=Sum("cost_usd", filter=live))
    nothing = Decimal("0.000000")
    return {
        "calls": totals["calls"],
        "cost_usd": str(totals["cost"] or nothing),
        "paid_usd": str(totals["paid"] or nothing),
    }


# --- the books --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Both sides of the account, in USD. Fees are a cost when positive, funding a receipt when positive."""

    start_equity: Decimal
    end_equity: Decimal
    realized_gross_pnl: Decimal
    fees: Decimal
    funding: Decimal
    unrealized_pnl: Decimal
    transfers: Decimal

    @property
    def difference(self) -> Decimal:
        """What the venue's equity has more than our journal explains."""
        explained = self.realized_gross_pnl - self.fees + self.funding + self.unrealized_pnl + self.transfers
        return self.end_equity - self.start_equity - explained

    def as_dict(self) -> dict[str, str]:
        names = ("start_equity", "end_equity", "realized_gross_pnl", "fees", "funding", "unrealized_pnl", "transfers")
        return {name: f"{getattr(self, name):.4f}" for name in (*names, "difference")}


def books() -> Books:
    """The books now: the account as the venue has it, beside what our journal has booked."""
    booked = Fill.objects.aggregate(pnl=Sum("pnl_usd"), fees=Sum("fee_usd"))
    funding = FundingPayment.objects.aggregate(amount=Sum("amount_usd"))["amount"]
    start, end, unrealized, transfers = _account()
    return Books(
        start_equity=start,
        end_equity=end,
        realized_gross_pnl=booked["pnl"] or Decimal(0),
        fees=booked["fees"] or Decimal(0),
        funding=funding or Decimal(0),
        unrealized_pnl=unrealized,
        transfers=transfers,
    )


def _account() -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Equity at the start and now, unrealised P&L and transfers since: from the sandbox venue's own ledger where there
    is one, else from what the trade server reported first and last."""
    path = settings.LOCAL_DIR / "venue" / "ledger.sqlite3"
    if settings.SANDBOX and path.exists():
        ledger = read_ledger(path)
        return ledger.start_equity, ledger.equity, ledger.unrealized_pnl, ledger.transfers
    first, last = AccountUpdate.objects.order_by("id").first(), AccountUpdate.objects.order_by("-id").first()
    if first is None or last is None:
        return Decimal(0), Decimal(0), Decimal(0), Decimal(0)
    return (
        first.equity,
        last.equity,
        last.unrealized_pnl - first.unrealized_pnl,
        last.net_transfers_usd - first.net_transfers_usd,
    )


# --- times ------------------------------------------------------------------------------------------------------------


def stage_milliseconds(worked: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median and 99th percentile of each stage's work, in milliseconds."""
    by_stage: dict[str, list[float]] = defaultdict(list)
    for stage, milliseconds in chain.from_iterable(each.items() for each in worked):
        by_stage[stage].append(milliseconds)
    order = {state: place for place, state in enumerate(State.values)}
    return {
        stage: {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
        for stage, values in sorted(by_stage.items(), key=lambda item: order[item[0]])
    }


def percentile(values: list[float], share: float) -> float:
    """The value that a share of the values does not exceed (nearest rank). Of a non-empty list."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


# --- news -------------------------------------------------------------------------------------------------------------


def follow_cycles(after: int) -> tuple[list[str], int]:
    """One line for each cycle that ended after the moment given (microseconds of Unix time), and the newest moment.

    With 0 it only says what the moment is now.
    """
    if after == 0:
        return [], (wall_now() - EPOCH) // MICROSECOND
    ended = DecisionCycle.objects.filter(finished_at__gt=EPOCH + after * MICROSECOND).order_by("finished_at", "id")
    lines, newest = [], after
    for cycle in ended[:200]:
        lines.append(news(cycle))
        newest = (_finish(cycle) - EPOCH) // MICROSECOND
    return lines, newest


def _finish(cycle: DecisionCycle) -> datetime:
    if cycle.finished_at is None:
        raise ValueError(f"{cycle} has not ended")
    return cycle.finished_at


def news(cycle: DecisionCycle) -> str:
    """The end of a cycle in a line."""
    took = (_finish(cycle) - cycle.created_at).total_seconds()
    reason = " ".join(cycle.reason.split())
    short = reason if len(reason) <= 100 else f"{reason[:97]}..."
    return f"{cycle.slot_at:%Y-%m-%d %H:%M} {cycle.instrument:<15} {cycle.outcome:<22} {took:5.2f} s  {short}"
