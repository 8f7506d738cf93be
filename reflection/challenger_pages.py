"""What the admin shows of challengers: both records on the page of a playbook, and what they rest on."""

from collections.abc import Iterator

from decisions.models import DecisionCycle
from journal.admin_base import register, shown_on
from journal.models import PlaybookVersion
from journal.presentation import Notice, Section, Table, label, table_of
from reflection import challenger, side_by_side
from reflection.models import ShadowContest, ShadowLook, ShadowQuestion, ShadowTrade

SHOWN = 20

register(
    ShadowContest,
    list_display=("created_at", "challenger_version", "champion_version", "start_equity", "started_at", "played_until"),
    list_filter=("challenger_version", "champion_version"),
)
register(
    ShadowTrade,
    list_display=(
        "symbol", "direction", "role", "playbook_version", "opened_at", "closed_at", "strategy", "regime",
        "entry_price", "exit_price", "size", "pnl_usd", "exit_reason",
    ),
    list_filter=("role", "playbook_version", "symbol", "direction", "strategy", "regime", "exit_reason"),
    date_hierarchy="opened_at",
)  # fmt: skip
register(
    ShadowQuestion,
    list_display=("created_at", "contest", "cycle", "snapshot_at", "status", "reason"),
    list_filter=("status", "contest"),
    date_hierarchy="created_at",
)
register(
    ShadowLook,
    list_display=(
        "created_at", "contest", "number", "verdict", "level", "net_better", "calibration_better", "net_worse", "days",
    ),
    list_filter=("verdict",),
)  # fmt: skip


@shown_on(PlaybookVersion)
def challenger_record(version: PlaybookVersion) -> Iterator[Section]:
    """How it did in shadow beside the version that traded, for whoever decides about it."""
    contest = challenger.newest_contest_of(version.version)
    if contest is not None:
        yield from _contest(contest)
        return
    against = challenger.opponents()
    if against is not None and against.challenger == version.version:
        yield Notice(title="It has not been asked yet", text="There is no shadow record of it so far.", tone="plain")


@shown_on(ShadowContest)
def contest_page(contest: ShadowContest) -> Iterator[Section]:
    """Both records, and the newest trades of either."""
    yield from _contest(contest)
    for role in ("challenger", "champion"):
        yield table_of(
            f"Newest shadow trades of the {role}",
            contest.trades.filter(role=role).order_by("-opened_at", "-id")[:SHOWN],
            *("opened_at", "closed_at", "symbol", "direction", "strategy", "regime", "exit_reason", "pnl_usd"),
        )


def _contest(contest: ShadowContest) -> Iterator[Section]:
    rows = [[line.name, line.challenger, line.champion] for line in side_by_side.lines(contest)]
    yield Notice(
        title=f"In shadow against version {contest.champion_version} since {contest.started_at:%Y-%m-%d %H:%M} UTC",
        text=f"{side_by_side.asked(contest)} {side_by_side.next_look(contest)}",
        tone="plain",
    )
    yield Table(
        title="Shadow records, on the same cycles and prices",
        headers=["Figure", *map(label, side_by_side.sides(contest))],
        rows=rows,
    )
    yield Table(
        title="Looks at the records",
        headers=[label(each) for each in side_by_side.LOOK_HEADINGS],
        rows=[list(row) for row in side_by_side.looks(contest)],
    )


@shown_on(ShadowTrade)
def shadow_page(trade: ShadowTrade) -> Iterator[Section]:
    """The cycle whose question was answered so."""
    yield table_of(
        "Cycle", DecisionCycle.objects.filter(pk=trade.cycle_number), "slot_at", "instrument", "outcome", "reason"
    )
    yield _questions_of(trade.cycle_number)


@shown_on(DecisionCycle)
def questions_of_cycle(cycle: DecisionCycle) -> Iterator[Section]:
    """Whether a challenger was asked too, and what became of both answers in the shadow books."""
    found = _questions_of(cycle.pk)
    if found.rows:
        yield found


def _questions_of(cycle_number: int) -> Table:
    return table_of(
        "Asked in shadow",
        ShadowQuestion.objects.filter(cycle_id=cycle_number).select_related("contest"),
        *("created_at", "contest", "status", "reason", "consequences"),
    )
