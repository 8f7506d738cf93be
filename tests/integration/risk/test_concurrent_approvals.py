"""Fifty workers approve at once, on real Postgres: what they grant together stays inside the limits, and is recorded.

Each worker is a thread with a connection of its own, or a process of a real Celery pool, and goes the way that every
opening goes: the task of the risk stage, under the account's lock.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import F, Sum

from decisions import cycles, operator_actions, tasks, verdict_audit
from decisions.models import DecisionCycle, Order, OrderStatus, Outcome, State
from decisions.stages.judge import judge
from journal.models import Trade
from orchestrator_project.celery import app
from risk import services as risk
from risk.models import Halt, Verdict
from tests.integration.decisions.build import NOON, book, position_payload, sent_order, snapshot_payload
from tests.integration.decisions.model_server import ScriptedModels, analysed
from tests.integration.decisions.real_worker import worker
from tests.integration.decisions.scene import account, at_once, bar, lapse_claim, later, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready")]

SYMBOLS = tuple(f"COIN{number}-USDT-SWAP" for number in range(50))
EQUITY = Decimal(10000)


@pytest.fixture(autouse=True)
def fifty_instruments(ready: Any) -> None:
    ready.INSTRUMENTS = SYMBOLS


@pytest.fixture
def many_positions(settings: Any) -> None:
    """The exposure is what is short, not the number of positions."""
    settings.RISK_LIMITS = replace(settings.RISK_LIMITS, max_concurrent_positions=20)


def decided(symbol: str, *, at: datetime = NOON, size_pct: float = 0.03) -> DecisionCycle:
    """A cycle that wants a sound long, and waits for the gate."""
    return DecisionCycle.objects.create(
        instrument=symbol, slot_at=at, state=State.RISK_CHECK, playbook_version=1, positions=[],
        snapshot=snapshot_payload(symbol, at), decision=analysed(symbol=symbol, size_pct=size_pct),
    )  # fmt: skip


def fifty_decided(**changes: Any) -> list[DecisionCycle]:
    """Fifty of them in a world that everybody can see."""
    bar(symbol=SYMBOLS[0])
    account()
    return [decided(symbol, **changes) for symbol in SYMBOLS]


def judging(waiting: list[DecisionCycle]) -> list[Callable[[], object]]:
    return [partial(tasks.risk, cycle.pk) for cycle in waiting]


def exposure() -> Decimal:
    """Notional of all openings that may still fill or have filled, by the orders alone."""
    openings = Order.objects.filter(reduce_only=False).exclude(status__in=["rejected", "cancelled", "expired"])
    return openings.aggregate(total=Sum(F("size") * 200))["total"] or Decimal(0)  # 200 USD a contract


def outcomes() -> list[str]:
    return sorted(cycle.outcome or cycle.state for cycle in DecisionCycle.objects.all())


def assert_recorded(judged: int) -> None:
    """So many verdicts in one chain, each as it would be given again, and one order for each that approves."""
    audit = verdict_audit.of_all()
    assert (audit.verdicts, audit.faults) == (judged, ())
    approved = set(Verdict.objects.filter(approved=True).values_list("decision_id", flat=True))
    ordered = list(Order.objects.filter(kind="decision").values_list("decision_id", flat=True))
    assert (len(ordered), set(ordered)) == (len(approved), approved)
    assert Verdict.objects.values("previous_hash").distinct().count() == judged


# --- room -------------------------------------------------------------------------------------------------------------


def test_of_fifty_at_once_as_many_are_approved_as_positions_are_allowed() -> None:
    assert at_once(*judging(fifty_decided())) == []
    assert outcomes() == sorted([State.EXECUTING] * 3 + [Outcome.GATE_REJECTED] * 47)
    assert_recorded(50)


@pytest.mark.usefixtures("many_positions")
def test_of_fifty_at_once_as_many_are_approved_as_the_exposure_has_room_for() -> None:
    """One of 3 % and then, halved since nobody knows how alike they move, of 1.5 %; each needs 3 % of room to ask."""
    assert at_once(*judging(fifty_decided())) == []
    assert outcomes() == sorted([State.EXECUTING] * 8 + [Outcome.GATE_REJECTED] * 42)
    assert exposure() == EQUITY * Decimal("0.135") <= EQUITY * Decimal("0.15")
    assert_recorded(50)


@pytest.mark.usefixtures("many_positions")
def test_what_is_held_and_on_its_way_leaves_the_rest_only() -> None:
    waiting = fifty_decided(at=later(5))
    bar(later(5), symbol=SYMBOLS[0])
    order = sent_order(size="2.5", symbol="HELD-USDT-SWAP")
    book(order, fill_price="20000", stop_confirmed=True)
    account(later(5), position_payload("HELD-USDT-SWAP", size="2.5", notional_usd="500"))
    sent_order(size="2.5", symbol="UNKNOWN-USDT-SWAP", status=OrderStatus.UNKNOWN)
    assert at_once(*judging(waiting)) == []
    # 10 % are taken: 1.5 % at a time while another 3 % would still fit.
    assert exposure() == EQUITY * Decimal("0.13")
    assert DecisionCycle.objects.filter(state=State.EXECUTING).count() == 2


def test_a_cycle_delivered_to_many_workers_is_judged_once() -> None:
    waiting = fifty_decided()[:5]
    assert at_once(*judging(waiting * 10)) == []
    assert outcomes() == sorted([State.EXECUTING] * 3 + [Outcome.GATE_REJECTED] * 2 + [State.RISK_CHECK] * 45)
    assert_recorded(5)


def test_processes_share_the_room_as_threads_do(tmp_path: Path, models: ScriptedModels) -> None:
    waiting = fifty_decided()[:20]
    for cycle in waiting[1:]:
        bar(symbol=cycle.instrument)  # what is approved is sent too, and keeps its room
    with worker(tmp_path / "log", processes=4):
        for cycle in waiting:
            app.send_task("decisions.tasks.risk", args=(cycle.pk,))
        until(lambda: Verdict.objects.count() == 20)
        until(lambda: Order.objects.filter(status=OrderStatus.SENT).count() == 3)
    assert Verdict.objects.filter(approved=True).count() == 3
    assert_recorded(20)


# --- among everything else --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many_positions")
def test_approvals_fills_reports_halts_and_resumes_at_once_lock_nobody_out() -> None:
    waiting = fifty_decided()[:24]
    orders = [sent_order(size="0.1", symbol=f"FILLED{number}-USDT-SWAP") for number in range(8)]
    fills = [partial(book, order, fill_price="20000", stop_confirmed=True) for order in orders]
    reports = [partial(account, NOON, equity=str(EQUITY + number)) for number in range(6)]
    people = [_halt_and_resume] * 4
    assert at_once(*judging(waiting), *fills, *reports, *people) == []
    assert not DecisionCycle.objects.filter(state=State.RISK_CHECK, pk__in=[each.pk for each in waiting]).exists()
    assert Trade.objects.filter(status=Trade.Status.OPEN).count() == 8
    assert exposure() <= EQUITY * Decimal("0.15")
    assert not Halt.objects.filter(ended_at__isnull=True).exists()
    audit = verdict_audit.of_all()
    assert (audit.verdicts, [fault for fault in audit.faults if fault.startswith("verdict")]) == (24, [])


def _halt_and_resume() -> None:
    operator_actions.halt(by="ada", reason="a look", source="command", now=NOON)
    try:
        operator_actions.resume(by="ada", reason="looked", source="command", now=NOON)
    except risk.Refused:
        return  # another has lifted the halt that both stood behind


# --- the one who holds the lock dies ----------------------------------------------------------------------------------


class Holder(threading.Thread):
    """Judges a cycle, and holds the lock with the verdict and the order written and not committed."""

    def __init__(self, cycle: DecisionCycle) -> None:
        super().__init__()
        self.cycle = cycle
        self.backend = 0
        self.raised: BaseException | None = None
        self.holding, self.may_end = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            with transaction.atomic():
                claimed = cycles.claim(self.cycle.pk, State.RISK_CHECK)
                assert claimed is not None
                judge(claimed, NOON)
                assert Order.objects.filter(cycle=claimed).exists()
                self.backend = _backend()
                self.holding.set()
                self.may_end.wait(30)
        except OperationalError as error:
            self.raised = error
        finally:
            self.holding.set()
            connections.close_all()


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def test_a_holder_that_is_killed_leaves_nothing_behind_and_the_others_go_on() -> None:
    first, *others = fifty_decided()
    holder = Holder(first)
    holder.start()
    assert holder.holding.wait(30)
    raised: list[BaseException] = []
    crowd = threading.Thread(target=lambda: raised.extend(at_once(*judging(others))))
    crowd.start()
    until(lambda: _waiting_for_a_lock() >= len(others))
    assert not Verdict.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [holder.backend])
    holder.may_end.set()
    crowd.join(60)
    holder.join(60)
    assert raised == []
    assert isinstance(holder.raised, OperationalError)
    assert not Verdict.objects.filter(decision_id=first.decision_id).exists()
    assert not Order.objects.filter(cycle=first).exists()
    assert outcomes().count(State.EXECUTING) == 3
    lapse_claim(first)
    tasks.risk(first.pk)
    first.refresh_from_db()
    assert first.outcome == Outcome.GATE_REJECTED
    assert_recorded(50)
