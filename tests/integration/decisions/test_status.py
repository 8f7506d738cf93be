"""`manage.py status`: one screen, JSON, and an exit code to watch by."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from decisions.clock import now_for_record, wall_now
from decisions.models import DecisionCycle
from risk import services as risk
from risk.models import Halt
from tests.integration.decisions.build import NOON, cycle_row, position_payload
from tests.integration.decisions.scene import ETH, bar, world

pytestmark = pytest.mark.django_db


def status(*words: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("status", *words, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def at_work(ready: Any) -> None:
    bar(symbol=ETH)
    world()
    cycle = cycle_row()
    DecisionCycle.objects.filter(pk=cycle.pk).update(
        state="done", outcome="model_hold", reason="nothing to do", finished_at=wall_now(), claim=None,
        claimed_until=None,
    )  # fmt: skip


def test_before_the_first_report_it_says_so(ready: Any) -> None:
    code, told = status("--check")
    assert code == 1
    assert "No report of the account has come in yet: nothing is opened." in told


def test_a_system_at_work_is_one_screen(at_work: None) -> None:
    code, told = status("--check")
    assert code == 0
    assert told.startswith("SANDBOX (no real money moves)")
    assert "Running: the gate judges every opening." in told
    assert "Equity      10,000.00 USD" in told
    assert "model_hold" in told
    assert len(told.splitlines()) < 24
    assert max(map(len, told.splitlines())) < 160


def test_a_position_stands_with_its_distances(ready: Any) -> None:
    bar(symbol=ETH)
    world(NOON, position_payload())
    _, told = status()
    assert "BTC-USDT-SWAP" in told.split("position")[1]


def test_a_halt_is_shown_with_its_reason_and_ends_a_check_with_1(at_work: None) -> None:
    risk.begin_halt(Halt.Kind.MANUAL, "the news", now=now_for_record(), by="ada")
    assert status()[0] == 0
    code, told = status("--check")
    assert (code, "by ada" in told, "the news" in told) == (1, True, True)


def test_json_has_the_state_and_the_totals(at_work: None) -> None:
    told = json.loads(status("--json")[1])
    assert (told["state"], told["at_work"], told["mode"], told["equity_usd"]) == (
        "running",
        True,
        "sandbox",
        "10000.0000",
    )
    assert told["last_cycles"][0]["outcome"] == "model_hold"
    assert set(told["age_seconds"]) == {"BTC-USDT-SWAP snapshot", f"{ETH} snapshot", "Positions", "Finished cycle"}
    assert {"cycles", "orders", "trades", "books", "model", "reconciliation"} <= set(told)


def test_totals_are_shown_when_asked_for(at_work: None) -> None:
    assert "books" not in status()[1]
    assert "books" in status("--totals")[1]
