"""What models have cost, by day, model and purpose, and what the screener has saved. Pure: sums of sums.

The ledger is the record of calls; `cost_ledger` reads it. USD throughout, money as decimal strings in what is returned.
Only calls answered by the live service were paid; those of the offline model and of recordings are shown at the price
of the real ones.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from functools import reduce
from typing import Any, TypeVar

from decisions.budget import Budget
from decisions.clients.prices import CENT_FRACTION, is_priced

LIVE = "live"
ANALYZE, SCREEN = "analyze", "screen"
Report = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over calls. `unknown` are those without an answer that says what they cost; `billed` those that cost
    something."""

    calls: int = 0
    failed: int = 0
    unknown: int = 0
    billed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    paid_usd: Decimal = Decimal(0)

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Totals)})

    @property
    def mean_usd(self) -> Decimal | None:
        """The cost of a billed call."""
        return _mean(self.cost_usd, self.billed)

    def as_dict(self) -> Report:
        counts = {each.name: getattr(self, each.name) for each in fields(self) if not each.name.endswith("_usd")}
        return {
            **counts,
            "cost_usd": _money(self.cost_usd),
            "paid_usd": _money(self.paid_usd),
            "mean_usd": _money(self.mean_usd),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The calls of one market day, model, purpose and source."""

    day: date
    model: str
    purpose: str
    source: str
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Cycles by what the models were asked in them, and what all their calls cost.

    `analysed` asked the big model for a decision, `screened` asked the screener; of these, `screened_out` ended there,
    and `audited` are the screened out that asked the big model in shadow.
    """

    analysed: int = 0
    analysed_usd: Decimal = Decimal(0)
    screened: int = 0
    screened_out: int = 0
    screened_out_usd: Decimal = Decimal(0)
    audited: int = 0


def report(entries: Sequence[Entry], cycles: Cycles, budget: Budget, *, today: date, first_day: date) -> Report:
    """Everything, as JSON values. `entries` are those from `first_day` to `today`."""
    return {
        "market_day": today.isoformat(),
        "first_day": first_day.isoformat(),
        "budget": {
            "spent_usd": _money(budget.spent),
            "daily_usd": str(budget.daily),
            "level": budget.level.value,
        },
        "today": _of_period([entry for entry in entries if entry.day == today]),
        "period": _of_period(entries),
        "by_day": [
            {"day": day.isoformat(), **_short(totals)}
            for day, totals in sorted(_summed(entries, lambda entry: entry.day).items(), reverse=True)
        ],
        "cycles": _cycle_costs(cycles),
        "screener": _saved(entries, cycles),
        "unpriced_models": sorted({entry.model for entry in entries if not is_priced(entry.model)}),
    }


def _of_period(entries: Sequence[Entry]) -> Report:
    by_kind = _summed(entries, lambda entry: (entry.model, entry.purpose, entry.source))
    dearest_first = sorted(by_kind.items(), key=lambda item: (-item[1].cost_usd, item[0]))
    return {
        "by_model": [
            {"model": model, "purpose": purpose, "source": source, **totals.as_dict()}
            for (model, purpose, source), totals in dearest_first
        ],
        "total": _sum(entries).as_dict(),
    }


def _short(totals: Totals) -> Report:
    told = totals.as_dict()
    return {name: told[name] for name in ("calls", "failed", "cost_usd", "paid_usd")}


def _cycle_costs(cycles: Cycles) -> Report:
    return {
        "analysed": cycles.analysed,
        "analysed_mean_usd": _money(_mean(cycles.analysed_usd, cycles.analysed)),
        "screened_out": cycles.screened_out,
        "screened_out_mean_usd": _money(_mean(cycles.screened_out_usd, cycles.screened_out)),
    }


def _saved(entries: Sequence[Entry], cycles: Cycles) -> Report:
    """What the screener saves: the cycles it kept from the big model, times what an analysis costs, less what the
    screening costs. An audited cycle saved nothing. The share is that of all cycles that would have asked the big model
    without a screener."""
    saved = cycles.screened_out - cycles.audited
    wanted = saved + cycles.analysed + cycles.audited
    analysis = _sum(entry for entry in entries if entry.purpose == ANALYZE).mean_usd
    screening = _sum(entry for entry in entries if entry.purpose == SCREEN).cost_usd
    return {
        "screened": cycles.screened,
        "screened_out": cycles.screened_out,
        "audited": cycles.audited,
        "calls_saved": saved,
        "calls_wanted": wanted,
        "share_saved": str((Decimal(saved) / wanted).quantize(Decimal("0.0001"))) if wanted else None,
        "analysis_mean_usd": _money(analysis),
        "screening_usd": _money(screening),
        "saved_usd": None if analysis is None else _money(saved * analysis - screening),
    }


def _summed(entries: Iterable[Entry], key: Callable[[Entry], Key]) -> dict[Key, Totals]:
    sums: dict[Key, Totals] = defaultdict(Totals)
    for entry in entries:
        sums[key(entry)] += entry.totals
    return sums


def _sum(entries: Iterable[Entry]) -> Totals:
    return reduce(Totals.__add__, (entry.totals for entry in entries), Totals())


def _mean(total: Decimal, count: int) -> Decimal | None:
    return total / count if count else None


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount.quantize(CENT_FRACTION))
