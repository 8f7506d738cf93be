"""A person's commands on real Postgres: carried out or refused, and kept either way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from decisions import commands, context, operator_actions, tasks
from decisions.clock import now_for_record
from decisions.messages import SystemCommand
from decisions.models import (
    Command,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    ResearchRequest,
    ScreenerSwitch,
    State,
)
from risk import services as risk
from risk.models import Halt, RiskAction
from tests.integration.decisions.build import BTC, NOON, NOTHING_FILLED, alerts, book, command_payload, sent_order
from tests.integration.decisions.model_server import ScriptedModels, analysed
from tests.integration.decisions.scene import at_once, drive, later, order_of, sent_orders, tick, world

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


HALTED = "Halted: nothing is opened until a person resumes."


def test_a_halt_stands_is_told_and_withdraws_resting_openings() -> None:
    order = sent_order(order_type="limit", limit_price=Decimal(19990))
    book(order, **NOTHING_FILLED | {"status": "accepted"})
    assert carry_out("halt", reason="the news") == (True, HALTED)
    halt = Halt.objects.get()
    assert (halt.kind, halt.reason, halt.started_by, halt.until) == ("manual", "the news", "ada", None)
    assert alerts("risk_manual") == ["the news"]
    assert OutboxMessage.objects.get(type="trade_cancel").payload["client_order_id"] == order.client_order_id


def test_a_halt_needs_no_reason_and_may_come_late() -> None:
    assert carry_out("halt", NOON) == (True, HALTED)
    assert (standing(), Halt.objects.get().reason) == (["manual"], "no reason given")


def test_a_halt_does_not_fail_for_what_the_database_cannot_keep() -> None:
    payload = command_payload("halt", reason="fl\x00ash \ud800 crash", more={"k\x00": ["\x00"]})
    with transaction.atomic():
        commands.carry_out(SystemCommand.model_validate({**payload, "issued_by": "  "}))
    halt, kept = Halt.objects.get(), Command.objects.get()
    assert (halt.reason, halt.started_by) == ("fl\ufffdash ? crash", "nobody named")
    assert (kept.accepted, kept.args["more"]) == (True, {"k\ufffd": ["\ufffd"]})


def test_a_second_halt_leaves_the_first_as_it_is() -> None:
    carry_out("halt", reason="first")
    accepted, told = carry_out("halt", reason="second")
    assert (accepted, told.startswith("Halted already, by ada since ")) == (True, True)
    assert Halt.objects.get().reason == "first"
    assert Command.objects.count() == 2


def test_what_a_person_did_is_kept_as_done_from_the_stream() -> None:
    carry_out("halt", reason="the news")
    carry_out("resume", reason="it is over")
    carry_out("resume", reason="again")  # refused: not done
    kept = RiskAction.objects.order_by("id").values_list("action", "source", "by", "reason")
    assert list(kept) == [("halt", "stream", "ada", "the news"), ("resume", "stream", "ada", "it is over")]


def test_closing_everything_is_not_for_the_stream_and_the_halt_stands_all_the_same() -> None:
    book(sent_order())
    accepted, told = carry_out("halt", reason="the news", close_all=True)
    assert (accepted, "Nothing is closed from the stream" in told, standing()) == (True, True, ["manual"])
    assert not Order.objects.filter(kind="close_all").exists()


def test_a_resume_lifts_a_persons_halt_with_name_and_reason() -> None:
    carry_out("halt", reason="the news")
    assert carry_out("resume", reason="  it is over ") == (True, "Lifted: manual.")
    halt = Halt.objects.get()
    assert (halt.ended_by, halt.end_reason) == ("ada", "it is over")
    assert standing() == []
    assert alerts("risk_resume") == ["it is over"]


@pytest.mark.parametrize("args", [{}, {"reason": ""}, {"reason": "  "}, {"reason": 7}, {"reason": None}])
def test_a_resume_without_a_reason_is_refused(args: dict[str, Any]) -> None:
    carry_out("halt", reason="the news")
    assert carry_out("resume", **args) == (False, "args.reason is missing")
    assert standing() == ["manual"]


def test_a_resume_leaves_the_daily_halt_to_midnight() -> None:
    risk.begin_halt(Halt.Kind.DAILY_LOSS, "3 %", now=now_for_record(), by="risk gate")
    carry_out("halt")
    accepted, told = carry_out("resume", reason="go on")
    assert (accepted, told.startswith("Lifted: manual. The daily-loss halt stands until ")) == (True, True)
    assert standing() == ["daily_loss"]
    assert carry_out("resume", reason="go on")[0] is False


@pytest.mark.parametrize("value", [True, False, None, "yes"])
def test_the_peak_is_never_re_based_from_the_stream(value: object) -> None:
    risk.begin_halt(Halt.Kind.DRAWDOWN, "10 %", now=now_for_record(), by="risk gate")
    accepted, told = carry_out("resume", reason="go on", rebase_peak=value)
    assert (accepted, told.startswith("The peak is never re-based from the stream")) == (False, True)
    assert standing() == ["drawdown"]


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


# --- a halt against orders on their way -------------------------------------------------------------------------------


def halt() -> None:
    operator_actions.halt(by="ada", reason="the news", source="stream", now=NOON)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ready")
def test_a_halt_between_approval_and_sending_keeps_the_order_in(models: ScriptedModels) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    assert order_of(cycle).status == OrderStatus.PENDING
    assert at_once(halt) == []  # from a connection of its own
    assert drive(cycle).outcome == Outcome.ORDER_EXPIRED
    assert "trading was halted before the order was sent: the news" in cycle.reason
    assert (order_of(cycle).status, sent_orders()) == (OrderStatus.EXPIRED, [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ready")
def test_a_halt_and_an_approval_at_once_send_nothing(models: ScriptedModels) -> None:
    """Whichever is first: a halt before the approval refuses it, one after it is found when the order is to be sent."""
    outcomes = set()
    for number in range(6):
        at = later(5 * number)
        world(at)
        cycle = drive(tick(at), until=State.RISK_CHECK)
        assert at_once(lambda cycle=cycle: tasks.risk(cycle.pk), halt) == []
        cycle.refresh_from_db()
        outcomes.add(drive(cycle).outcome)
        operator_actions.resume(by="ada", reason="again", source="stream", now=at)
    assert outcomes <= {Outcome.HALTED, Outcome.ORDER_EXPIRED}
    assert sent_orders() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ready")
def test_a_halt_and_a_sending_at_once_keep_the_order_in_or_have_it_withdrawn(models: ScriptedModels) -> None:
    for number in range(6):
        at = later(5 * number)
        models.will_say("analyze", analysed(order_type="limit", limit_price=19990.0))
        world(at)
        cycle = drive(tick(at), until=State.EXECUTING)
        before = len(sent_orders())
        assert at_once(lambda cycle=cycle: tasks.execute(cycle.pk), halt) == []
        order = order_of(cycle)
        if order.status == OrderStatus.EXPIRED:
            assert len(sent_orders()) == before
        else:
            cancelled = OutboxMessage.objects.filter(type="trade_cancel").latest("id").payload["client_order_id"]
            assert (order.status, cancelled) == (OrderStatus.SENT, order.client_order_id)
        Order.objects.filter(pk=order.pk).update(status=OrderStatus.CANCELLED, ended_at=at)
        cycle.refresh_from_db()
        if cycle.outcome is None:
            type(cycle).objects.filter(pk=cycle.pk).update(
                state=State.DONE, outcome=Outcome.ORDER_CANCELLED, finished_at=now_for_record()
            )
        operator_actions.resume(by="ada", reason="again", source="stream", now=at)
