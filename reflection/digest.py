"""Much told in little: performance, and the trades of a deep reflection within so many characters. Pure.

Figures have six significant digits: what lies beyond is noise that costs tokens. A trade is told whole or it is a part
of counts, and is never cut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from decimal import Context, Decimal
from typing import Any, Literal

from decisions.prompts import section
from journal.excursion import Excursion
from journal.performance import ClosedTrade, Figure, PerformanceSummary, TradeFigures
from journal.performance.outcomes import trade_figures
from journal.performance.values import ZERO
from reflection.evidence import records
from reflection.schemas import TradeReview

SIX_DIGITS = Context(prec=6)
SHOWN_GROUPS = 12
"""How many strategies, symbols, exit reasons or versions a breakdown tells one by one: those with the most trades."""
SHOWN_RECORDS = 32
"""How many pairs of strategy and regime are told one by one."""

Direction = Literal["LONG", "SHORT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedTrade:
    """A closed trade with its review, or with the reason why there is none. `number` names it; `is_new` while no deep
    reflection has looked at it."""

    number: int
    direction: Direction
    trade: ClosedTrade
    is_new: bool = True
    excursion: Excursion | None = None
    review: TradeReview | None = None
    not_reviewed: str = ""


def figures(value: object) -> Any:
    """A value of `journal.performance`, or anything made of such, as it stands in a prompt.

    A figure that is not known is told as the reason why.
    """
    if isinstance(value, Decimal):
        return value.normalize(SIX_DIGITS)
    if isinstance(value, Figure):
        return value.reason if value.value is None else figures(value.value)
    if isinstance(value, Mapping):
        return {name: figures(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [figures(each) for each in value]
    if is_dataclass(value):
        return {field.name: figures(getattr(value, field.name)) for field in fields(value)}
    return value


# --- performance ----------------------------------------------------------------------------------------------------


def overall(performance: PerformanceSummary) -> dict[str, Any]:
    """Everything of a period but its breakdowns and the calibration."""
    names = ("total", "streaks", "account", "exposure_time", "buy_and_hold")
    return {name: figures(getattr(performance, name)) for name in names}


def breakdown(groups: Mapping[str, TradeFigures], shown: int = SHOWN_GROUPS) -> list[dict[str, Any]]:
    """The groups in their order; beyond `shown` those with the fewest trades stand together as the last entry."""
    by_size = sorted(groups, key=lambda name: -groups[name].total_trades)
    rest = [groups[name] for name in by_size[shown:]]
    told = [_group(name, group) for name, group in groups.items() if name in by_size[:shown]]
    return [*told, *_others(len(rest), [(each.total_trades, each.wins, each.net_pnl) for each in rest])]


def _group(name: str, group: TradeFigures) -> dict[str, Any]:
    return {
        "name": name,
        "trades": group.total_trades,
        "unknown_results": group.unknown_trades,
        "wins": group.wins,
        "win_rate_low": figures(group.win_rate.low),
        "win_rate_high": figures(group.win_rate.high),
        "net_pnl_usd": figures(group.net_pnl),
        "expectancy_usd": _known(group.expectancy),
        "mean_return": _known(group.mean_return),
        "payoff_ratio": _known(group.payoff_ratio),
    }


def _known(figure: Figure) -> Any:
    return None if figure.value is None else figures(figure.value)


def _others(groups: int, results: Iterable[tuple[int, int, Decimal]]) -> list[dict[str, Any]]:
    """The groups that are not told one by one, as one entry, if there are any."""
    if groups == 0:
        return []
    trades, wins, net = zip(*results, strict=True)
    return [{"other_groups": groups, "trades": sum(trades), "wins": sum(wins), "net_pnl_usd": figures(sum(net, ZERO))}]


def strategies_in_regimes(trades: Iterable[ClosedTrade]) -> list[dict[str, Any]]:
    """The record of each strategy in each regime, with the interval of its mean return."""
    found = records(trades)
    told = [
        {
            "strategy": record.strategy,
            "regime": record.regime,
            "trades": record.trades,
            "wins": record.win_rate.successes,
            "win_rate_low": figures(record.win_rate.low),
            "win_rate_high": figures(record.win_rate.high),
            "net_pnl_usd": figures(record.net_pnl_usd),
            "mean_return": figures(record.mean_return.value),
            "mean_return_low": figures(record.mean_return.low),
            "mean_return_high": figures(record.mean_return.high),
        }
        for record in found[:SHOWN_RECORDS]
    ]
    rest = found[SHOWN_RECORDS:]
    return [*told, *_others(len(rest), [(each.trades, each.win_rate.successes, each.net_pnl_usd) for each in rest])]


# --- trades ---------------------------------------------------------------------------------------------------------


class Room:
    """Characters that may still be filled."""

    def __init__(self, characters: int, most_each: int) -> None:
        self.left, self._most_each = characters, most_each

    @staticmethod
    def needed(entry: Mapping[str, Any]) -> int:
        """What an entry takes in a prompt, escaped, and a little more."""
        return len(section("entry", entry))

    def is_too_long(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry takes more than any one may."""
        return self.needed(entry) > self._most_each

    def take(self, entry: Mapping[str, Any]) -> bool:
        """Fill in an entry if there is room for all of it."""
        needed = self.needed(entry)
        if needed > self.left:
            return False
        self.left -= needed
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The trades that are told whole, the newest first, and the others in counts."""

    whole: list[dict[str, Any]]
    in_counts: dict[str, Any]


def tell_trades(trades: Sequence[ReviewedTrade], room: Room) -> Told:
    """Tell the newest trades whole until one does not fit; that one and all before it are told in counts.

    One that is too long by itself is counted too, and does not end it. `trades` are newest first.
    """
    whole: list[dict[str, Any]] = []
    counted: list[ReviewedTrade] = []
    too_long, is_full = 0, False
    for trade in trades:
        entry = _entry(trade)
        if room.is_too_long(entry):
            too_long += 1
        elif not is_full and room.take(entry):
            whole.append(entry)
            continue
        else:
            is_full = True
        counted.append(trade)
    return Told(whole=whole, in_counts=_counts(counted, too_long))


def _entry(reviewed: ReviewedTrade) -> dict[str, Any]:
    trade, pnl, excursion = reviewed.trade, reviewed.trade.pnl, reviewed.excursion
    entry: dict[str, Any] = {
        "number": reviewed.number,
        "is_new": reviewed.is_new,
        "symbol": trade.symbol,
        "direction": reviewed.direction,
        "strategy": trade.strategy,
        "regime": trade.regime,
        "confidence": figures(trade.confidence),
        "playbook_version": trade.playbook_version,
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "exit_reason": trade.exit_reason,
        "pnl_usd": figures(pnl),
        "return": None if pnl is None else figures(pnl / trade.entry_notional),
        "adverse_r": None if excursion is None else _known(excursion.adverse_r),
        "favourable_r": None if excursion is None else _known(excursion.favourable_r),
    }
    if reviewed.review is None:
        return {**entry, "not_reviewed": reviewed.not_reviewed}
    return {**entry, "review": reviewed.review.model_dump(exclude={"should_update_playbook", "playbook_suggestion"})}


def _counts(trades: Sequence[ReviewedTrade], too_long: int) -> dict[str, Any]:
    if not trades:
        return {"trades": 0}
    closed = [each.trade.closed_at for each in trades]
    group = trade_figures([each.trade for each in trades], ZERO)
    return {
        "trades": len(trades),
        "too_long_to_show": too_long,
        "first_closed_at": min(closed),
        "last_closed_at": max(closed),
        "wins": group.wins,
        "losses": group.losses,
        "unknown_results": group.unknown_trades,
        "net_pnl_usd": figures(group.net_pnl),
        "reviewed": sum(each.review is not None for each in trades),
    }


def tell_suggestions(trades: Sequence[ReviewedTrade], room: Room) -> Told:
    """What the reviews of new trades suggest for the playbook, newest first, whole as long as there is room, the rest
    counted. Those of others have been considered before."""
    found = [
        {"trade": each.number, "suggestion": each.review.suggestion}
        for each in trades
        if each.is_new and each.review is not None and each.review.suggestion is not None
    ]
    whole: list[dict[str, Any]] = []
    for entry in found:
        if not room.take(entry):
            break
        whole.append(entry)
    return Told(whole=whole, in_counts={"suggestions": len(found) - len(whole)})
