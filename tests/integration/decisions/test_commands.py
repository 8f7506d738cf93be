"""A person's commands on real Postgres: carried out or refused, and kept either way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from decisions import commands, context
from decisions.messages import SystemCommand
from decisions.models import Command, OutboxMessage, ResearchRequest, ScreenerSwitch
from risk import services as risk
from risk.models import Halt
from tests.integration.decisions.build import BTC, NOON, NOTHING_FILLED, alerts, book, command_payload, sent_order

pytestmark = pytest.mark.django_db


def carry_out(command: str, issued_at: datetime | None = None, **args: Any) -> tuple[bool, str]:
    """Whether the command was accepted, and what was noted."""
    with transaction.atomic():
        commands.carry_out(SystemCommand.model_validate(command_payload(command, issued_at, **args)))
    kept = Command.objects.latest("id")
    assert (kept.command, kept.issued_by) == (command, "ada")
    return kept.accepted, kept.detail


def standing() -> list[str]:
    return [halt.kind for halt in risk.standing_halts()]


def test_a_halt_stands_is_told_and_withdraws_resting_openings() -> None:
    order = sent_order(order_type="limit", limit_price=Decimal(19990))
    book(order, **NOTHING_FILLED | {"status": "accepted"})
    assert carry_out("halt", reason="the news") == (True, "the news")
    halt = Halt.objects.get()
    assert (halt.kind, halt.reason, halt.started_by, halt.until) == ("manual", "the news", "ada", None)
    assert len(alerts("risk_manual")) == 1
    assert OutboxMessage.objects.get(type="trade_cancel").payload["client_order_id"] == order.client_order_id


def test_a_halt_needs_no_reason_and_may_come_late() -> None:
    assert carry_out("halt", NOON) == (True, "no reason given")
    assert standing() == ["manual"]


def test_a_second_halt_leaves_the_first_as_it_is() -> None:
    carry_out("halt", reason="first")
    assert carry_out("halt", reason="second") == (True, "second")
    assert Halt.objects.get().reason == "first"
    assert Command.objects.count() == 2


def test_a_resume_lifts_a_persons_halt_with_name_and_reason() -> None:
    carry_out("halt", reason="the news")
    assert carry_out("resume", reason="  it is over ") == (True, "lifted: manual")
    halt = Halt.objects.get()
    assert (halt.ended_by, halt.end_reason) == ("ada", "it is over")
    assert standing() == []


@pytest.mark.parametrize("args", [{}, {"reason": ""}, {"reason": "  "}, {"reason": 7}, {"reason": None}])
def test_a_resume_without_a_reason_is_refused(args: dict[str, Any]) -> None:
    carry_out("halt", reason="the news")
    assert carry_out("resume", **args) == (False, "args.reason is missing")
    assert standing() == ["manual"]


def test_a_resume_leaves_the_daily_halt_to_midnight() -> None:
    risk.begin_halt(Halt.Kind.DAILY_LOSS, "3 %", now=NOON, by="risk gate")
    carry_out("halt")
    assert carry_out("resume", reason="go on") == (True, "lifted: manual")
    assert standing() == ["daily_loss"]
    assert carry_out("resume", reason="go on") == (True, "lifted: nothing")


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("resume", {"reason": "go on"}),
        ("research", {"symbol": BTC}),
        ("config", {"SCREENER_ENABLED": False}),
    ],
)
def test_a_command_older_than_five_minutes_is_refused(command: str, args: dict[str, Any]) -> None:
    carry_out("halt")
    late = datetime.now(UTC) - timedelta(seconds=301)
    assert carry_out(command, late, **args) == (False, "issued more than 300 seconds ago, or ahead")
    assert standing() == ["manual"]
    assert not ResearchRequest.objects.exists()
    assert not ScreenerSwitch.objects.exists()
    assert carry_out(command, datetime.now(UTC) - timedelta(seconds=290), **args)[0]


def test_research_is_asked_of_the_next_cycle_of_an_instrument_that_is_traded() -> None:
    assert carry_out("research", symbol=BTC) == (True, f"the next cycle of {BTC} researches")
    request = ResearchRequest.objects.get()
    assert (request.symbol, request.requested_by, request.cycle) == (BTC, "ada", None)


@pytest.mark.parametrize("args", [{"symbol": "DOGE-USDT-SWAP"}, {"symbol": [BTC]}, {"symbol": None}, {}])
def test_research_of_anything_else_is_refused(args: dict[str, Any]) -> None:
    assert carry_out("research", **args) == (False, f"args.symbol must be one of {BTC}")
    assert not ResearchRequest.objects.exists()


def test_the_three_switches_may_be_set_and_the_newest_is_in_force() -> None:
    assert carry_out("config", SCREENER_ENABLED=False, SCREENER_BYPASS_ON_NEWS=False)[0]
    found = context.switches()
    assert (found.enabled, found.bypass_on_news, found.bypass_on_position) == (False, False, True)
    assert carry_out("config", SCREENER_ENABLED=True) == (True, "SCREENER_ENABLED=True")
    assert context.switches().enabled
    assert set(ScreenerSwitch.objects.values_list("changed_by", flat=True)) == {"ada"}


@pytest.mark.parametrize(
    "args",
    [
        {"MAX_LEVERAGE": 10},
        {"SCREENER_ENABLED": False, "MAX_DAILY_LOSS_PCT": "0.5"},
        {"SCREENER_ENABLED": "false"},
        {"SCREENER_BYPASS_ON_POSITION": 0},
        {"SCREENER_ENABLED": None},
        {},
    ],
)
def test_nothing_else_can_be_configured(args: dict[str, Any]) -> None:
    assert not carry_out("config", **args)[0]
    assert not ScreenerSwitch.objects.exists()


def test_what_was_sent_along_is_kept_whole() -> None:
    message = SystemCommand.model_validate(
        command_payload("halt") | {"args": {"reason": "r", "deep": [{"price": Decimal("1.10")}, True, None, 3]}}
    )
    commands.carry_out(message)
    assert Command.objects.get().args == {"reason": "r", "deep": [{"price": "1.10"}, True, None, 3]}
