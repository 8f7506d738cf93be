"""What a verdict costs: the pure evaluation with three positions, and a whole approval under the account's lock.

    python tests/bench/gate.py [--rounds 2000] [--approvals 500]

The evaluation waits for nothing, so it is told in processor time, whatever else the machine does. An approval is one
transaction on a real Postgres, fsync and all: the lock, the verdict with its complete inputs and its hash, and the
order's row.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
AIM_MICROSECONDS = 100.0
BATCH = 20
"""Evaluations in one measurement: one alone is too short for the clock."""
WARM_UP = 20
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HERE, HELD = "SIM0-USDT-SWAP", ("SIM1-USDT-SWAP", "SIM2-USDT-SWAP", "SIM3-USDT-SWAP")

if TYPE_CHECKING:
    from risk import gate


def proposed() -> dict[str, Any]:
    """What `services.judge` is asked about the proposal: a sound long beside three positions that move otherwise."""
    from risk import gate

    proposal = gate.Proposal(
        action="OPEN_LONG", symbol=HERE, size_pct=Decimal("0.0421"), order_type="market", limit_price=None,
        stop_loss=Decimal("19612.3"), take_profit=Decimal("20811.7"), leverage=Decimal(2),
        snapshot_price=Decimal("20003.4"), bid=Decimal("20003.3"), ask=Decimal("20003.5"),
    )  # fmt: skip
    positions = [
        gate.Position(
            symbol=symbol, direction="LONG", size=Decimal("1.23"), notional_usd=Decimal("246.0417"),
            stop_loss=Decimal("19500.1"), take_profit=Decimal("21000.2"),
        )
        for symbol in HELD
    ]  # fmt: skip
    steps = dict.fromkeys(("ct_val", "lot_size", "min_size"), Decimal("0.01"))
    return {
        "proposal": proposal,
        "positions": tuple(positions),
        "pending": (),
        "correlations": dict.fromkeys(HELD, Decimal("0.4271")),
        "instrument": gate.Instrument(symbol=HERE, tick_size=Decimal("0.1"), **steps),
        "now": NOW,
    }


def evaluation() -> Callable[[], "gate.Verdict"]:
    """One pure evaluation."""
    from django.conf import settings

    from risk import gate

    quiet = gate.RiskState(
        day_start_equity=Decimal("10012.34"), day_net_transfers=Decimal(0), peak_equity=Decimal("10321.5"),
        peak_net_transfers=Decimal(0), loss_streak=1, cooldown_until=None, halts=(),
    )  # fmt: skip
    account = gate.Account(equity=Decimal("9987.6543"))
    asked: Any = {**proposed(), "account": account, "state": quiet, "limits": settings.RISK_LIMITS}
    return lambda: gate.evaluate(**asked)


def adopt_account() -> None:
    """The account as its first report finds it."""
    from django.db import transaction

    from risk import services

    with transaction.atomic():
        equity = Decimal("9987.6543")
        services.on_account_update(services.lock_state(), equity=equity, net_transfers=Decimal(0), as_of=NOW)


def empty_transaction() -> None:
    """The lock and nothing else."""
    from django.db import transaction

    from risk import services

    with transaction.atomic():
        services.lock_state()


def approval(asked: dict[str, Any]) -> None:
    """Lock, verdict and order, as a cycle has them."""
    from django.db import transaction

    from decisions.models import Order
    from risk import services

    decision_id, proposal = uuid4(), asked["proposal"]
    with transaction.atomic():
        state = services.lock_state()
        judged = services.judge(
            state,
            decision_id=decision_id,
            cycle_number=None,
            decision={},
            equity=state.equity or Decimal("NaN"),
            **asked,
        )
        verdict = judged.verdict
        assert verdict.approved, verdict.refusals
        Order.objects.create(
            decision_id=decision_id, client_order_id=decision_id.hex, symbol=HERE, action=proposal.action, side="buy",
            pos_side="long", order_type="market", size=verdict.contracts, size_pct=verdict.size_pct,
            stop_loss=verdict.stop_loss, take_profit=verdict.take_profit, leverage=verdict.leverage, reduce_only=False,
            judged_price=proposal.snapshot_price, notional_usd=Decimal("420.5"), expires_at=NOW + timedelta(seconds=30),
        )  # fmt: skip


def microseconds(work: Callable[[], object], times: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    for _ in range(times):
        work()
    return (clock() - began) / times * 1e6


def told(name: str, figures: list[float]) -> float:
    p50, p99 = statistics.median(figures), statistics.quantiles(figures, n=100)[98]
    print(f"{name:<34} p50 {p50:8.0f} us   p99 {p99:8.0f} us   (min {min(figures):.0f})")
    return p50


def measure(rounds: int, approvals: int) -> None:
    evaluate, asked = evaluation(), proposed()
    assert evaluate().approved
    adopt_account()
    for _ in range(WARM_UP):
        evaluate(), empty_transaction(), approval(asked)
    pure = [microseconds(evaluate, BATCH, time.process_time) for _ in range(rounds)]
    bare, whole = [], []
    for _ in range(approvals):  # alternating, so that whatever else the machine does falls on both
        bare.append(microseconds(empty_transaction))
        whole.append(microseconds(lambda: approval(asked)))
    p50 = told("pure evaluation, three positions", pure)
    verdict = "within" if p50 < AIM_MICROSECONDS else "beyond"
    print(f"{'':<34} {verdict} the aim of {AIM_MICROSECONDS:g} us, at best {min(pure):.0f} us on this machine")
    told("the lock in a transaction", bare)
    told("approval: lock, verdict, order", whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2000, help=f"measurements of {BATCH} evaluations each")
    parser.add_argument("--approvals", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings",
            LOCAL_DIR=folder,
            SETTINGS_FILE=os.devnull,
            MAX_CONCURRENT_POSITIONS="4",  # so that three are open and a fourth may be
        )
        import django

        django.setup()
        from orchestrator_project.local.ownership import Wanted, servers_for_command

        with servers_for_command(Path(folder), Wanted(postgres=True, redis=False)):
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            measure(options.rounds, options.approvals)


if __name__ == "__main__":
    main()
