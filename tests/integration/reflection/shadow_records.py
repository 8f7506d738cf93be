"""Shadow records of two sides with any results, as the books would have written them."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from reflection.models import Role, ShadowContest, ShadowTrade
from reflection.shadow_state import BookState
from tests.integration.decisions.build import BTC, NOON

WINS, LOSES = [4.0] * 30, [-4.0] * 30


def contest_of(own: Sequence[float], others: Sequence[float], *, champion: int = 1) -> ShadowContest:
    """Version 2 against another one, with these results of closed trades: three a day."""
    books = {role: BookState.begun(role, Decimal(10000), NOON).to_json() for role in Role.values}
    contest, _ = ShadowContest.objects.get_or_create(
        challenger_version=2,
        champion_version=champion,
        defaults={"start_equity": 10000, "started_at": NOON, "books": books},
    )
    contest.trades.all().delete()
    for role, version, results in (("challenger", 2, own), ("champion", champion, others)):
        for number, pnl in enumerate(results):
            _closed(contest, role, version, number, Decimal(str(pnl)))
    return contest


def _closed(contest: ShadowContest, role: str, version: int, number: int, pnl: Decimal) -> None:
    at = NOON + timedelta(days=number // 3, minutes=number % 3)
    ShadowTrade.objects.create(
        contest=contest, role=role, playbook_version=version, cycle_number=number, symbol=BTC, direction="LONG",
        opened_at=at, closed_at=at + timedelta(hours=1), strategy="momentum_breakout", regime="trending_up",
        confidence=Decimal("0.7"), entry_price=20000, exit_price=20200, stop_loss=19800, take_profit=20450, size=2,
        entry_notional_usd=400, gross_pnl_usd=pnl + 1, fees_usd=1, funding_usd=0, pnl_usd=pnl, exit_reason="signal",
    )  # fmt: skip
