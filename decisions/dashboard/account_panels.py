"""The account's panels: equity, what is used up of the limits, and where the open positions stand. Pure."""

from decimal import Decimal

from decisions.dashboard.curve import change, falls
from decisions.dashboard.drawings import equity_charts, strip
from decisions.dashboard.facts import Account, Facts, Fall
from decisions.dashboard.holdings import Holding, Way
from decisions.dashboard.lookups import midnight, stamp, state_page, today
from decisions.dashboard.parts import Addresses, Bar, Card, Figure, Panel, Tone
from decisions.dashboard.words import per_cent, price, ratio, tone_of_result, tone_of_use, usd


def panels(facts: Facts, to: Addresses) -> list[Panel]:
    """In the order of the page."""
    return [maker(facts, to) for maker in (limits_panel, equity_panel, positions_panel)]


def equity_panel(facts: Facts, to: Addresses) -> Panel:
    curve, account = facts.curve, facts.account
    changed, depths = change(curve.shown), falls(curve.shown, curve.before)
    start = curve.shown[0].equity if curve.shown else None
    share = changed / start if changed is not None and start else None
    return Panel(
        key="equity",
        title="Equity",
        place="main",
        address=to.rows("journal.accountupdate"),
        figures=[
            Figure(name="Equity", text=usd(account.equity), address=to.rows("journal.accountupdate")),
            Figure(
                name="In this range",
                text=usd(changed, signed=True),
                note=per_cent(share, signed=True) if share is not None else "",
                tone=tone_of_result(changed),
                address=to.rows("journal.accountupdate"),
            ),
            Figure(name="Deepest drawdown", text=per_cent(min(depths, default=None))),
        ],
        charts=equity_charts(curve, account.drawdown.limit),
        empty="The account was not reported twice in this range.",
    )


def limits_panel(facts: Facts, to: Addresses) -> Panel:
    """What is used up of every limit that a day can use up."""
    account, exposure, spent = facts.account, facts.exposure, facts.spending.budget
    exposed = exposure.total_usd / account.equity if account.equity else None
    taken = len(exposure.holdings) + exposure.pending
    state = state_page(account, to)
    held = to.rows("journal.trade", status__exact="open")
    return Panel(
        key="limits",
        title="Today against the limits",
        place="side",
        address=state,
        figures=[_result_today(facts, to)],
        bars=[
            _bar("Loss today", account.daily_loss, account, state),
            _bar("Drawdown", account.drawdown, account, state),
            _limit(
                "Exposure",
                None if exposed is None else exposed / account.max_exposure,
                f"{per_cent(exposed)} of {per_cent(account.max_exposure)}; {usd(exposure.total_usd)}",
                account,
                held,
            ),
            _limit(
                "Positions",
                Decimal(taken) / account.max_positions,
                f"{taken} of {account.max_positions}" + (f", {exposure.pending} pending" if exposure.pending else ""),
                account,
                held,
            ),
            _limit(
                "Losses in a row",
                Decimal(account.loss_streak) / account.losses_to_cooldown,
                f"{account.loss_streak} of {account.losses_to_cooldown}, then a cooldown",
                account,
                to.rows("journal.trade", status__exact="closed", o="-closed_at"),
            ),
            _limit(
                "Money for models",
                spent.spent / spent.daily if spent.daily else Decimal(1),
                f"{usd(spent.spent)} of {usd(spent.daily)}",
                account,
                to.rows("decisions.modelcall", **today(facts.now)),
            ),
        ],
    )


def _result_today(facts: Facts, to: Addresses) -> Figure:
    closed, result = facts.closed_today, facts.account.result_today
    return Figure(
        name="P&L today, open positions included",
        text=f"{usd(result, signed=True)} ({per_cent(facts.account.daily_loss.measured, signed=True)})",
        note=f"{closed.count} trades closed, {closed.won} won, {usd(closed.net_usd, signed=True)} net",
        address=to.rows("journal.trade", closed_at__gte=stamp(midnight(facts.now))),
        tone=tone_of_result(result),
    )


def _bar(name: str, fall: Fall, account: Account, address: str) -> Bar:
    lost = None if fall.measured is None else max(-fall.measured, Decimal(0))
    return _limit(name, fall.used, f"{per_cent(lost)} of {per_cent(-fall.limit)}", account, address)


def _limit(name: str, used: Decimal | None, text: str, account: Account, address: str) -> Bar:
    tone = tone_of_use(used, warns_at=account.warns_at)
    return Bar(name=name, used=used, text=text, address=address, tone=tone)


def positions_panel(facts: Facts, to: Addresses) -> Panel:
    return Panel(
        key="positions",
        title="Open positions",
        place="full",
        address=to.rows("journal.trade", status__exact="open"),
        cards=[_card(holding, to) for holding in facts.exposure.holdings],
        empty="No position is open.",
    )


def _card(holding: Holding, to: Addresses) -> Card:
    """Where a position stands between its stop and its target; R is what was risked from the entry to the stop."""
    result = f"{per_cent(holding.won.fraction, signed=True)} · {ratio(holding.won.multiple)}"
    address = to.rows("decisions.positionreport")
    if holding.trade is not None:
        address = to.row("journal.trade", holding.trade)
    return Card(
        title=f"{holding.direction} {holding.symbol}",
        address=address,
        drawing=strip(holding),
        figures=[
            Figure(
                name="Unrealised",
                text=usd(holding.unrealized_usd, signed=True),
                note=result,
                tone=tone_of_result(holding.unrealized_usd),
            ),
            Figure(name="Price", text=price(holding.mark), note=f"entry {price(holding.entry)}"),
            _distance("To the stop", holding.to_stop, holding.stop, without="bad"),
            _distance("To the target", holding.to_target, holding.target, without="plain"),
            Figure(name="Notional", text=usd(holding.notional_usd), note=f"{price(holding.size)} contracts"),
        ],
    )


def _distance(name: str, way: Way, level: Decimal | None, *, without: Tone) -> Figure:
    """How far a level is; `without` is the colour of having none."""
    if level is None:
        return Figure(name=name, text="none", tone=without)
    return Figure(name=name, text=f"{per_cent(way.fraction)} · {ratio(way.multiple)}", note=f"at {price(level)}")
