"""The panels of the work: cycles, screener, models, calibration, playbook, what was heard and what was told. Pure."""

from datetime import timedelta
from decimal import Decimal

from decisions.dashboard.drawings import calibration_chart
from decisions.dashboard.facts import Facts, Heard, Version, dear_calls_saved
from decisions.dashboard.lookups import stamp, today
from decisions.dashboard.parts import Addresses, Bar, Cell, Figure, Panel, Rows
from decisions.dashboard.words import counted, moment, per_cent, share, tone_of_use, usd
from journal.wording import duration

DAY = timedelta(days=1)
AUDIT_DAYS, AUDITS = 30, 400
"""The miss rate is that of the newest so many audits of so many days."""
CALIBRATED_TRADES = 1000
PURPOSES = {"screen": "Screening", "analyze": "Analysis", "research": "Research", "reflect": "Reflection"}


def panels(facts: Facts, to: Addresses) -> list[Panel]:
    """In the order of the page."""
    makers = (
        heard_panel, cycles_panel, alerts_panel, screener_panel, models_panel, calibration_panel, playbook_panel,
    )  # fmt: skip
    return [maker(facts, to) for maker in makers]


def cycles_panel(facts: Facts, to: Addresses) -> Panel:
    counts, since = facts.cycles.by_outcome, stamp(facts.now - DAY)
    total = sum(counts.values())
    return Panel(
        key="cycles",
        title="Cycles of 24 hours",
        address=to.rows("decisions.decisioncycle", slot_at__gte=since),
        bars=[
            Bar(
                name=outcome.replace("_", " "),
                used=Decimal(count) / total,
                text=f"{count} · {per_cent(Decimal(count) / total, 1)}",
                address=to.rows("decisions.decisioncycle", outcome__exact=outcome, slot_at__gte=since),
                tone="info",
            )
            for outcome, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ],
        tables=[_newest(facts, to)] if facts.last_cycles else [],
        note=f"{facts.cycles.still_open} still open." if facts.cycles.still_open else "",
        empty="No cycle has ended in the last 24 hours.",
    )


def _newest(facts: Facts, to: Addresses) -> Rows:
    return Rows(
        title="The newest cycles",
        headers=("Cycle", "Outcome"),
        rows=[
            (
                Cell(
                    text=f"{cycle.slot_at:%H:%M} {cycle.instrument}",
                    note=cycle.reason,
                    address=to.row("decisions.decisioncycle", cycle.key),
                ),
                Cell(text=cycle.outcome, pill=True),
            )
            for cycle in facts.last_cycles
        ],
    )


def screener_panel(facts: Facts, to: Addresses) -> Panel:
    cycles, audits, since = facts.cycles, facts.audits.miss_rate, stamp(facts.now - DAY)
    saved = dear_calls_saved(cycles, facts.spending)
    audited = {"shadow_audit__exact": "1", "slot_at__gte": stamp(facts.now - AUDIT_DAYS * DAY)}
    return Panel(
        key="screener",
        title="Screener",
        address=to.rows("decisions.screenerlog"),
        figures=[
            Figure(
                name="Passed, 24 hours",
                text=share(cycles.pass_rate),
                note=counted(cycles.pass_rate, "screened cycles"),
                address=to.rows("decisions.decisioncycle", screener_signal__exact="1", slot_at__gte=since),
            ),
            Figure(
                name="Calls of the big model saved, 24 hours",
                text=share(saved),
                note=f"{saved.successes} of {saved.count} that it would have been asked" if saved.count else "",
                address=to.rows("decisions.decisioncycle", outcome__exact="screened_out", slot_at__gte=since),
            ),
            Figure(
                name="Missed, newest audits",
                text=share(audits),
                note=counted(audits, "audits in which the big model wanted to act"),
                address=to.rows("decisions.decisioncycle", **audited),
            ),
        ],
    )


def models_panel(facts: Facts, to: Addresses) -> Panel:
    """The day's calls by what they were for; lengths are shares of the money."""
    budget, calls = facts.spending.budget, today(facts.now)
    return Panel(
        key="models",
        title="Models today",
        address=to.rows("decisions.modelcall", **calls),
        figures=[
            Figure(
                name="Cost",
                text=usd(budget.spent),
                note=f"of {usd(budget.daily)} a day",
                address=to.rows("decisions.modelcall", **calls),
                tone=tone_of_use(
                    budget.spent / budget.daily if budget.daily else None, warns_at=facts.account.warns_at
                ),
            )
        ],
        bars=[
            Bar(
                name=PURPOSES.get(purpose, purpose),
                used=cost / budget.spent if budget.spent else Decimal(0),
                text=f"{count} {'call' if count == 1 else 'calls'} · {usd(cost)}",
                address=to.rows("decisions.modelcall", purpose__exact=purpose, **calls),
                tone="info",
            )
            for purpose, (count, cost) in sorted(facts.spending.today.items(), key=lambda item: -item[1][1])
        ],
    )


def calibration_panel(facts: Facts, to: Addresses) -> Panel:
    known = facts.calibration
    closed = to.rows("journal.trade", status__exact="closed")
    if not known.count:
        empty = "No closed trade with a stated confidence yet."
        return Panel(key="calibration", title="Calibration", address=closed, empty=empty)
    return Panel(
        key="calibration",
        title="Calibration",
        address=closed,
        figures=[
            Figure(
                name="Brier score",
                text=f"{known.brier_score.value:.3f}",
                note=f"{known.reference_score.value:.3f} is what always stating the win rate earns; lower is better",
            ),
            Figure(
                name="Won",
                text=share(known.actual_win_rate),
                note=counted(known.actual_win_rate, "trades"),
                address=closed,
            ),
        ],
        charts=[calibration_chart(known)],
        note=(
            "Across the confidence that was stated, up what was won of it; on the dashed line they agree."
            f" The newest {CALIBRATED_TRADES:,} trades at most."
        ),
    )


def playbook_panel(facts: Facts, to: Addresses) -> Panel:
    versions = [
        _version(name, version, to)
        for name, version in (("It trades", facts.active), ("It waits", facts.challenger))
        if version is not None
    ]
    return Panel(
        key="playbook",
        title="Playbook",
        address=to.rows("journal.playbookversion"),
        figures=versions,
        note="" if facts.challenger else "No version waits to trade.",
        empty="There is no playbook yet.",
    )


def _version(name: str, version: Version, to: Addresses) -> Figure:
    return Figure(
        name=name,
        text=f"Version {version.version}",
        note=f"since {moment(version.at)}, {version.by}" + (f": {version.summary}" if version.summary else ""),
        address=to.row("journal.playbookversion", version.key),
    )


def heard_panel(facts: Facts, to: Addresses) -> Panel:
    """How old the newest is of everything that must not grow old."""
    return Panel(
        key="heard",
        title="Last heard of",
        place="side",
        address=to.rows("decisions.marketrecord"),
        figures=[
            Figure(
                name=each.name,
                text=f"{duration(facts.wall - each.wall_at)} ago" if each.wall_at else "never",
                note=_limit_told(each),
                address=each.address,
                tone="bad" if each.is_stale(facts.now, facts.wall) else "good",
            )
            for each in facts.heard
        ],
    )


def _limit_told(heard: Heard) -> str:
    as_of = f"as of {moment(heard.market_at)}; " if heard.market_at else ""
    return f"{as_of}at most {duration(heard.wall_limit)}"


def alerts_panel(facts: Facts, to: Addresses) -> Panel:
    rows = [
        (
            Cell(text=f"{alert.at:%m-%d %H:%M}", address=to.row("decisions.outboxmessage", alert.key), at=alert.at),
            Cell(text=alert.severity, pill=True),
            Cell(text=alert.title),
        )
        for alert in facts.alerts
    ]
    return Panel(
        key="alerts",
        title="Last alerts",
        address=to.rows("decisions.outboxmessage", stream__exact="system:alerts"),
        tables=[Rows(title="The newest alerts", headers=("Told", "Severity", "What"), rows=rows)] if rows else [],
        empty="Nobody was told anything lately.",
    )
