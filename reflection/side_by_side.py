"""A challenger's record beside the champion's, as people read it: on a playbook's page and at the command line."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db.models import Count

from journal.performance import Figure, Rate, TradeFigures
from reflection import challenger, promotion
from reflection.models import Role, ShadowContest, ShadowLook, ShadowQuestion

MONEY, SCORE, PERCENT = Decimal("0.01"), Decimal("0.0001"), Decimal("0.01")
FOLLOWED, LEFT_OUT = ShadowQuestion.Status.FOLLOWED, ShadowQuestion.Status.LEFT_OUT


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both."""

    name: str
    challenger: str
    champion: str


def sides(contest: ShadowContest) -> tuple[str, str]:
    """What stands over the two columns."""
    return f"challenger {contest.challenger_version}", f"champion {contest.champion_version}"


def lines(contest: ShadowContest) -> list[Line]:
    """The two records, figure by figure."""
    record = challenger.record(contest)
    open_now = dict(contest.trades.filter(closed_at=None).values_list("role").annotate(Count("id")).order_by())
    scores = (record.challenger_brier_score, record.champion_brier_score)
    own, others = (
        _told(figures, score, open_now.get(role, 0))
        for figures, score, role in zip((record.challenger, record.champion), scores, Role.values, strict=True)
    )
    return [Line(name, own[name], others[name]) for name in own]


def _told(figures: TradeFigures, score: Figure, open_now: int) -> dict[str, str]:
    return {
        "Closed trades": str(figures.total_trades),
        "Won": _rate(figures.win_rate),
        "Net USD": f"{figures.net_pnl.quantize(MONEY):,}",
        "Fees, funding": f"{(figures.funding - figures.fees).quantize(MONEY):,}",
        "Mean return": _known(figures.mean_return, percent=True),
        "Brier score": _known(score),
        "Open": str(open_now),
    }


def _rate(found: Rate) -> str:
    if found.value is None:
        return "-"
    low, high = (found.low * 100).quantize(Decimal(1)), (found.high * 100).quantize(Decimal(1))
    return f"{found.successes} of {found.count} (90 %: {low} to {high} %)"


def _known(figure: Figure, *, percent: bool = False) -> str:
    if figure.value is None:
        return "-"
    if percent:
        return f"{(figure.value * 100).quantize(PERCENT)} %"
    return f"{figure.value.quantize(SCORE)}"


def asked(contest: ShadowContest) -> str:
    """How many cycles both were asked about, in a sentence."""
    counts = dict(contest.questions.values_list("status").annotate(Count("id")).order_by())
    followed, left_out = counts.get(FOLLOWED, 0), counts.get(LEFT_OUT, 0)
    open_still = sum(counts.values()) - followed - left_out
    told = f"Both answers were followed on {followed} cycles; {left_out} were left out of both"
    return f"{told}, {open_still} wait." if open_still else f"{told}."


def looks(contest: ShadowContest) -> Iterator[tuple[str, ...]]:
    """The looks so far, under `LOOK_HEADINGS`."""
    for look in contest.looks.order_by("number"):
        yield (
            str(look.number),
            f"{look.as_of:%Y-%m-%d %H:%M}",
            f"{look.record['challenger']['total_trades']} and {look.record['champion']['total_trades']}",
            str(look.days),
            f"{look.net_better:.4f}",
            "-" if look.calibration_better is None else f"{look.calibration_better:.4f}",
            f"{look.net_worse:.4f}",
            f"{look.level:.4f}",
            ShadowLook.Verdict(look.verdict).value,
        )


LOOK_HEADINGS = (
    "look", "market time, UTC", "trades of both", "days that differ", "earns more, p", "knows better, p",
    "earns less, p", "level", "verdict",
)  # fmt: skip


def next_look(contest: ShadowContest) -> str:
    """When the record is looked at again."""
    if not challenger.is_on(contest):
        return "The contest is over: no further look is made, and what is open in the books stays as it is."
    made, fewest = contest.looks.count(), settings.CHALLENGER_MIN_TRADES
    return (
        f"Look {made + 1} is made at {fewest * 2**made} closed trades of the challenger and"
        f" {promotion.needed_of_champion(fewest)} of the champion, at a level of {promotion.level_of(made + 1):.4f}."
    )
