"""What trades brought: together, and by what they have in common."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from sys import maxsize

from journal.performance.values import ZERO, ClosedTrade, Figure, Rate, Undefined, figure, mean, rate

CENT_OF_A_CENT = Decimal("0.0001")
UNKNOWN = "unknown"
NO_TRADE = "no trade with a known result"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFigures:
    """The results of some trades.

    - `total_trades`: those whose result is known; `unknown_trades`: the others, which are in no other figure.
    - A trade wins or loses by its P&L net of fees and funding: above zero, below zero, breakeven at zero.
    - `win_rate`: wins / total trades; a breakeven trade has not won.
    - `avg_win`, `avg_loss`: means of the winning and of the losing trades, the latter below zero.
    - `payoff_ratio`: avg_win / -avg_loss.
    - `profit_factor`: sum of the wins / -sum of the losses. It is the Omega ratio of the trades' P&L at a threshold of
      zero (Keating and Shadwick, "A Universal Performance Measure", 2002).
    - `net_pnl`: gross_pnl - fees + funding; `total_pnl`: that less `model_costs`.
    - `expectancy`: total_pnl / total trades, what one trade brings, everything paid.
    - `mean_return`: mean of net P&L / entry notional, model costs not counted; a fraction.
    """

    total_trades: int
    unknown_trades: int
    wins: int
    losses: int
    breakeven: int
    win_rate: Rate
    avg_win: Figure
    avg_loss: Figure
    payoff_ratio: Figure
    profit_factor: Figure
    gross_pnl: Decimal
    fees: Decimal
    funding: Decimal
    net_pnl: Decimal
    model_costs: Decimal
    total_pnl: Decimal
    expectancy: Figure
    mean_return: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaks:
    """The longest runs, in the order of closing. Breakeven and unknown results end a run of either kind."""

    max_consecutive_wins: int
    max_consecutive_losses: int


def trade_figures(trades: Sequence[ClosedTrade], model_costs: Decimal) -> TradeFigures:
    """The figures of `trades`, which bear `model_costs` together."""
    known = [trade for trade in trades if trade.gross_pnl is not None]
    results = [trade.pnl for trade in known if trade.pnl is not None]
    wins, losses = [pnl for pnl in results if pnl > 0], [pnl for pnl in results if pnl < 0]
    returns = [pnl / trade.entry_notional for trade, pnl in zip(known, results, strict=True)]
    fees, funding = sum((trade.fees for trade in known), ZERO), sum((trade.funding for trade in known), ZERO)
    net = sum(results, ZERO)
    return TradeFigures(
        total_trades=len(known),
        unknown_trades=len(trades) - len(known),
        wins=len(wins),
        losses=len(losses),
        breakeven=len(known) - len(wins) - len(losses),
        win_rate=rate(len(wins), len(known)),
        avg_win=figure(mean, wins, "no winning trade"),
        avg_loss=figure(mean, losses, "no losing trade"),
        payoff_ratio=figure(_payoff_ratio, wins, losses),
        profit_factor=figure(_profit_factor, wins, losses),
        gross_pnl=net + fees - funding,
        fees=fees,
        funding=funding,
        net_pnl=net,
        model_costs=model_costs,
        total_pnl=net - model_costs,
        expectancy=figure(_expectancy, net - model_costs, len(known)),
        mean_return=figure(mean, returns, NO_TRADE),
    )


def _payoff_ratio(wins: list[Decimal], losses: list[Decimal]) -> Decimal:
    return mean(wins, "no winning trade") / -mean(losses, "no losing trade")


def _profit_factor(wins: list[Decimal], losses: list[Decimal]) -> Decimal:
    if not losses:
        raise Undefined("no losing trade: infinite" if wins else "no winning and no losing trade")
    return sum(wins, ZERO) / -sum(losses, ZERO)


def _expectancy(total: Decimal, count: int) -> Decimal:
    if count == 0:
        raise Undefined(NO_TRADE)
    return total / count


def streaks(trades: Iterable[ClosedTrade]) -> Streaks:
    """The longest runs of wins and of losses. Trades closed together stand in the order they were opened in."""
    longest = {1: 0, -1: 0, 0: 0}
    last, run = 0, 0
    for trade in sorted(trades, key=_when):
        sign = _sign(trade.pnl)
        run = run + 1 if sign == last else 1
        last, longest[sign] = sign, max(longest[sign], run)
    return Streaks(max_consecutive_wins=longest[1], max_consecutive_losses=longest[-1])


def _when(trade: ClosedTrade) -> tuple[object, ...]:
    """An order that does not depend on how the trades came; equal ones are alike in all that a streak looks at."""
    return trade.closed_at, trade.opened_at, trade.symbol, _sign(trade.pnl)


def _sign(pnl: Decimal | None) -> int:
    return 0 if pnl is None else (pnl > 0) - (pnl < 0)


# --- by what they have in common --------------------------------------------------------------------------------------

Place = tuple[int, str]
"""Where a group stands in its breakdown, and its name."""


def _named(name: str) -> Place:
    return (0, name) if name else (maxsize, UNKNOWN)


def _hour(trade: ClosedTrade) -> Place:
    hour = trade.opened_at.astimezone(UTC).hour
    return hour, f"{hour:02}"


def _weekday(trade: ClosedTrade) -> Place:
    day = trade.opened_at.astimezone(UTC).weekday()
    return day, WEEKDAYS[day]


def _version(trade: ClosedTrade) -> Place:
    return _named("") if trade.playbook_version is None else (trade.playbook_version, str(trade.playbook_version))


BREAKDOWNS: Mapping[str, Callable[[ClosedTrade], Place]] = {
    "by_strategy": lambda trade: _named(trade.strategy),
    "by_regime": lambda trade: _named(trade.regime),
    "by_hour": _hour,
    "by_weekday": _weekday,
    "by_symbol": lambda trade: _named(trade.symbol),
    "by_exit_reason": lambda trade: _named(trade.exit_reason),
    "by_playbook_version": _version,
}
"""Hour and weekday are those of the opening, UTC: that is when the decision was made."""


def breakdown(
    trades: Sequence[ClosedTrade], place: Callable[[ClosedTrade], Place], model_costs: Decimal
) -> dict[str, TradeFigures]:
    """The figures of each group, in order; sums over the groups are the total's.

    A group bears the model costs in the proportion of its closed trades, those with unknown results included, in steps
    of 0.0001 USD: most calls lead to no trade at all, so the costs cannot be told by trade.
    """
    groups: defaultdict[Place, list[ClosedTrade]] = defaultdict(list)
    for trade in trades:
        groups[place(trade)].append(trade)
    figures: dict[str, TradeFigures] = {}
    counted, borne = 0, ZERO
    for (_, name), group in sorted(groups.items(), key=lambda item: item[0]):
        counted += len(group)
        upto = model_costs if counted == len(trades) else _share(model_costs, counted, len(trades))
        figures[name] = trade_figures(group, upto - borne)
        borne = upto
    return figures


def _share(model_costs: Decimal, counted: int, of: int) -> Decimal:
    return (model_costs * counted / of).quantize(CENT_OF_A_CENT)
