"""A system in good order as the dashboard is told of it, for tests to change."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from decisions.budget import Budget
from decisions.dashboard.curve import Curve
from decisions.dashboard.facts import Account, Audits, ClosedToday, Cycle, Cycles, Facts, Fall, Heard, Spending
from decisions.dashboard.holdings import Exposure, Holding
from journal.performance import EquityPoint
from journal.performance.calibration import calibration

NOON = datetime(2022, 11, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Everywhere:
    """Addresses that can be read."""

    def rows(self, table: str, **filters: str) -> str:
        return f"{table}?{'&'.join(f'{name}={value}' for name, value in filters.items())}"

    def row(self, table: str, key: int) -> str:
        return f"{table}/{key}"


TO = Everywhere()


def point(minutes: float, equity: str, transfers: str = "0") -> EquityPoint:
    return EquityPoint(at=NOON + minutes * MINUTE, equity=Decimal(equity), net_transfers=Decimal(transfers))


def curve(points: Sequence[EquityPoint] = (), before: Sequence[EquityPoint] = ()) -> Curve:
    return Curve(chosen="24h", shown=points, before=before, step=6 * MINUTE)


def holding(**changes: Any) -> Holding:
    """Long from 100, stop at 90, target at 130, at 105 now."""
    values: dict[str, Any] = {
        "symbol": "BTC-USDT-SWAP",
        "direction": "LONG",
        "trade": 7,
        "size": Decimal(2),
        "notional_usd": Decimal(210),
        "entry": Decimal(100),
        "mark": Decimal(105),
        "stop": Decimal(90),
        "target": Decimal(130),
        "unrealized_usd": Decimal(10),
    }
    return Holding(**{**values, **changes})


def account(**changes: Any) -> Account:
    values: dict[str, Any] = {
        "key": 1,
        "state": "running",
        "sentence": "Running: the gate judges every opening.",
        "halts": (),
        "cooldown_until": None,
        "equity": Decimal(10_000),
        "day_start_equity": Decimal(10_100),
        "daily_loss": Fall(measured=Decimal("-0.01"), limit=Decimal("-0.03"), used=Decimal("0.3333")),
        "drawdown": Fall(measured=Decimal("-0.09"), limit=Decimal("-0.1"), used=Decimal("0.9")),
        "loss_streak": 1,
        "losses_to_cooldown": 3,
        "max_exposure": Decimal("0.15"),
        "max_positions": 3,
        "warns_at": Decimal("0.8"),
    }
    return Account(**{**values, **changes})


def heard(**changes: Any) -> Heard:
    values: dict[str, Any] = {
        "name": "Positions",
        "address": "positions",
        "market_at": NOON,
        "wall_at": NOON - 10 * timedelta(seconds=1),
        "market_limit": 2 * MINUTE,
        "wall_limit": 2 * MINUTE,
    }
    return Heard(**{**values, **changes})


def facts(**changes: Any) -> Facts:
    """Everything of the account's and the work's; `changes` replace parts."""
    cycle = Cycle(key=5, slot_at=NOON, instrument="BTC", outcome="traded", reason="OPEN filled", finished_at=NOON)
    known = Facts(
        now=NOON,
        wall=NOON,
        is_live=False,
        account=account(),
        curve=curve([point(-60, "10000"), point(-30, "9900"), point(0, "10000")]),
        exposure=Exposure(holdings=[holding()], pending=1, pending_usd=Decimal(290)),
        closed_today=ClosedToday(count=3, won=2, net_usd=Decimal("-12.5")),
        cycles=Cycles(
            by_outcome={"screened_out": 30, "model_hold": 9, "traded": 1},
            still_open=1,
            screened=34,
            passed=4,
            screened_out=30,
            audited=2,
        ),
        last_cycles=[cycle],
        audits=Audits(counted=20, missed=1),
        spending=Spending(
            budget=Budget(Decimal("3.5"), Decimal(15)),
            today={"screen": (34, Decimal("0.5")), "analyze": (10, Decimal(3))},
            analysed=10,
        ),
        calibration=calibration([]),
        heard=[heard()],
        alerts=(),
        troubles=(),
        active=None,
        challenger=None,
    )
    return replace(known, **changes)
