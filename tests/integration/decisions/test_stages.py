"""The stages from facts to outcomes: every way a cycle can end, and what stands in its record then."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from decisions import commands, context, cycles, market_data, operator_actions, sweeper, tasks
from decisions.clients import claude_message
from decisions.messages import MarketAlert, SystemCommand
from decisions.models import (
    DecisionCycle,
    InstrumentBlock,
    MarketRecord,
    ModelCall,
    ModelStatus,
    Order,
    OrderStatus,
    OutboxMessage,
    Outcome,
    ResearchCache,
    ScheduledEvent,
    ScreenerLog,
    State,
)
from decisions.outbox import redis_client
from decisions.stages.collect import staleness
from risk import services as risk
from risk.models import RiskRejection, RiskState, Verdict
from tests.integration.decisions.build import (
    BTC,
    NOON,
    command_payload,
    market_alert_payload,
    position_payload,
    sent_order,
)
from tests.integration.decisions.model_server import (
    KEY,
    Reply,
    ScriptedModels,
    analysed,
    found,
    left,
    overloaded,
    refusal,
    screened,
)
from tests.integration.decisions.scene import (
    ETH,
    STAGES,
    account,
    bar,
    decided,
    drive,
    later,
    order_of,
    sent_orders,
    tick,
    venue_is_silent,
    venue_says,
    world,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

HELD = position_payload(BTC)
SPIKE = {"price_change_1h": "0.031"}


# --- what may stand in the way ------------------------------------------------------------------------------------


@transaction.atomic
def halted(settings: Any) -> None:
    risk.lock_state()
    risk.begin_halt("manual", "maintenance", now=NOON, by="ada")


@transaction.atomic
def cooling_down(settings: Any) -> None:
    risk.lock_state()
    RiskState.objects.update(cooldown_until=later(30))


def snapshot_is_stale(settings: Any) -> None:
    bar(later(15), symbol=ETH)
    account(later(15), HELD, position_payload(ETH)) if _is_held() else account(later(15))


def positions_are_stale(settings: Any) -> None:
    bar(later(5))
    venue_is_silent()


def budget_is_spent(settings: Any) -> None:
    settings.DAILY_MODEL_BUDGET_USD = Decimal("0.50")
    ModelCall.objects.create(
        purpose="analyze", model="m", outcome="ok", latency_ms=1, cost_usd=Decimal("0.50"), market_time=NOON
    )


def model_is_gone(settings: Any) -> None:
    ModelStatus.objects.create(model=settings.OPUS_MODEL, lifecycle="retired", checked_at=NOON)


def order_is_unknown(settings: Any) -> None:
    sent_order(status=OrderStatus.UNKNOWN, cycle_changes=_over(Outcome.ORDER_UNKNOWN))


def limit_order_is_working(settings: Any) -> None:
    sent_order(
        status=OrderStatus.ACCEPTED,
        order_type="limit",
        limit_price=Decimal(19990),
        cycle_changes=_over(Outcome.ORDER_WORKING),
    )


def instrument_is_blocked(settings: Any) -> None:
    InstrumentBlock.objects.create(symbol=BTC, reason="a position that is not ours")


def _over(outcome: Outcome) -> dict[str, Any]:
    return {"state": State.DONE, "outcome": outcome, "finished_at": datetime.now(UTC), "slot_at": later(-60)}


def _is_held() -> bool:
    report = context.position_report()
    return report is not None and bool(report.positions)


OBSTACLES: list[tuple[Callable[[Any], None], Outcome, str]] = [
    (halted, Outcome.HALTED, "manual: maintenance"),
    (cooling_down, Outcome.COOLDOWN, "cooling down until 12:30 UTC"),
    (snapshot_is_stale, Outcome.STALE_DATA, "the newest snapshot is 0:15:00 old"),
    (positions_are_stale, Outcome.STALE_DATA, "the newest positions are 0:05:00 old"),
    (budget_is_spent, Outcome.BUDGET, "models have cost 0.500000 USD today, of 0.50"),
    (model_is_gone, Outcome.MODEL_ERROR, "OPUS_MODEL=claude-opus-4-6: retired"),
    (order_is_unknown, Outcome.INSTRUMENT_BLOCKED, "nobody knows what became of OPEN_LONG"),
    (limit_order_is_working, Outcome.INSTRUMENT_BLOCKED, "is still working"),
    (instrument_is_blocked, Outcome.INSTRUMENT_BLOCKED, "a position that is not ours"),
]
obstacles = pytest.mark.parametrize(
    ("arise", "outcome", "told"), OBSTACLES, ids=[arise.__name__ for arise, *_ in OBSTACLES]
)


@obstacles
def test_what_stands_in_the_way_of_an_opening_ends_a_cycle_without_a_position(
    models: ScriptedModels, settings: Any, arise: Callable[[Any], None], outcome: Outcome, told: str
) -> None:
    world()
    arise(settings)
    cycle = drive(tick())
    assert (cycle.outcome, told in cycle.reason) == (outcome, True), cycle.reason
    assert models.asked == []


@obstacles
@pytest.mark.parametrize("action", ["CLOSE", "REDUCE"])
def test_nothing_stands_in_the_way_of_an_exit(
    models: ScriptedModels, settings: Any, arise: Callable[[Any], None], outcome: Outcome, told: str, action: str
) -> None:
    world(NOON, HELD)
    arise(settings)
    models.will_say("analyze", left(action, size_pct=0.02 if action == "REDUCE" else 0))
    cycle = drive(tick())
    assert (cycle.state, cycle.openings_blocked) == (State.CONFIRMING, outcome), cycle.reason
    assert told in cycle.openings_blocked_reason
    assert models.shown()["allowed_actions"]["actions"] == ["REDUCE", "CLOSE", "HOLD"]
    assert told in models.shown()["allowed_actions"]["reason"]
    order = order_of(cycle)
    assert (order.reduce_only, order.side, order.order_type) == (True, "sell", "market")
    assert order.size == Decimal(2 if action == "CLOSE" else 1)
    (entry,) = sent_orders()
    assert json.loads(entry[b"payload"])["client_order_id"] == order.client_order_id


@obstacles
def test_an_opening_proposed_all_the_same_ends_with_what_stands_in_its_way(
    models: ScriptedModels, settings: Any, arise: Callable[[Any], None], outcome: Outcome, told: str
) -> None:
    world(NOON, HELD)
    arise(settings)
    models.will_say("analyze", analysed("ADD", size_pct=0.005, stop_loss=19850.0))
    cycle = drive(tick())
    assert (cycle.outcome, told in cycle.reason) == (outcome, True), cycle.reason
    assert not Order.objects.filter(cycle=cycle).exists()


def test_a_position_in_our_record_alone_is_a_position_too(models: ScriptedModels, settings: Any) -> None:
    cycle = decided()
    venue_says(order_of(cycle), "filled", fill_price="20000")
    halted(settings)
    bar(later(5))
    account(later(5))
    models.will_say("analyze", left("CLOSE"))
    second = drive(tick(later(5)))
    assert models.shown()["allowed_actions"]["actions"] == ["REDUCE", "CLOSE", "HOLD"]
    assert order_of(second).reduce_only


@pytest.mark.parametrize(("snapshot", "positions", "told"), [
    (61, 0, "the newest snapshot is 0:01:01 ahead of our clock, which seems to have been set back"),
    (0, 3600, "the newest positions are 1:00:00 ahead of our clock, which seems to have been set back"),
    (59, 59, None),
])  # fmt: skip
def test_live_what_lies_ahead_of_our_clock_is_of_an_unknown_age(
    settings: Any, snapshot: int, positions: int, told: str | None
) -> None:
    ahead = [NOON + timedelta(seconds=seconds) for seconds in (snapshot, positions)]
    assert staleness(*ahead, NOON) is None  # in the sandbox the bars make the clock
    settings.SANDBOX = False
    assert staleness(*ahead, NOON) == told


def test_live_a_snapshot_from_before_the_clock_was_set_back_does_not_hide_those_that_follow(settings: Any) -> None:
    now = datetime.now(UTC)
    for at in (now - timedelta(minutes=1), now, now + timedelta(hours=1)):
        bar(at)
    newest = context.newest_snapshot(BTC)
    assert newest is not None
    assert newest.at > now
    settings.SANDBOX = False
    newest = context.newest_snapshot(BTC)
    assert newest is not None
    assert newest.at == now
    MarketRecord.objects.filter(at__lte=now).delete()
    assert context.newest_snapshot(BTC) is not None


# --- every outcome ------------------------------------------------------------------------------------------------


def traded(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    venue_says(order_of(cycle), "filled")
    return cycle


def partly_traded(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    order = order_of(cycle)
    venue_says(order, "partially_filled", fill_size="0.5", cumulative_size="0.5")
    venue_says(order, "cancelled", cumulative_size="0.5")
    return cycle


def order_works(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(order_type="limit", limit_price=19990.0))
    cycle = decided()
    venue_says(order_of(cycle), "accepted")
    return cycle


def model_holds(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", left("HOLD"))
    return decided()


def screened_out(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("screen", screened(False))
    return decided()


def stop_too_far(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(stop_loss=19000.0, take_profit=23000.0))
    return decided()


def unknown_strategy(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(strategy="astrology"))
    return decided()


def avoided_strategy(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(strategy="mean_reversion"))
    return decided(regime="volatile")


def halted_before_the_gate(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world()
    cycle = drive(tick(), until=State.RISK_CHECK)
    halted(settings)
    return drive(cycle)


def cooling_before_the_gate(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world()
    cycle = drive(tick(), until=State.RISK_CHECK)
    cooling_down(settings)
    return drive(cycle)


def never_a_snapshot(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world(symbol=ETH)
    return drive(tick())


def never_positions(models: ScriptedModels, settings: Any) -> DecisionCycle:
    bar()
    venue_is_silent()
    return drive(tick())


def budget_spent(models: ScriptedModels, settings: Any) -> DecisionCycle:
    budget_is_spent(settings)
    return decided()


def blocked(models: ScriptedModels, settings: Any) -> DecisionCycle:
    instrument_is_blocked(settings)
    return decided()


def analyst_overloaded(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", overloaded())
    return decided()


def screener_overloaded(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("screen", overloaded())
    return decided()


def analyst_refuses(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", refusal())
    return decided()


def not_json(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", "I would go long here.")
    return decided()


def other_symbol(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(symbol=ETH))
    return decided()


def required_research_fails(models: ScriptedModels, settings: Any) -> DecisionCycle:
    settings.RESEARCH_REQUIRED_IN_NEWS = True
    news()
    models.will_say("research", overloaded())
    return decided()


def too_small(models: ScriptedModels, settings: Any) -> DecisionCycle:
    models.will_say("analyze", analysed(size_pct=0.0001))
    return decided()


def venue_rejects(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    venue_says(order_of(cycle), "rejected", reject_reason="insufficient margin")
    return cycle


def expires_before_sending(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    Order.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    return drive(cycle)


def expires_at_the_venue(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    venue_says(order_of(cycle), "expired", reject_reason="it came after its expiry")
    return cycle


def venue_cancels(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    venue_says(order_of(cycle), "cancelled", reject_reason="self-trade prevention")
    return cycle


def venue_says_nothing(models: ScriptedModels, settings: Any) -> DecisionCycle:
    cycle = decided()
    Order.objects.update(sent_at=datetime.now(UTC) - timedelta(seconds=settings.CONFIRM_TIMEOUT_SECONDS + 1))
    sweeper.sweep()
    return cycle


def abandoned(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world()
    cycle = drive(tick(), until=State.ANALYZING)
    DecisionCycle.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=10))
    sweeper.sweep()
    return cycle


def previous_runs(models: ScriptedModels, settings: Any) -> DecisionCycle:
    world()
    tick()
    assert cycles.create([BTC], later(5)) == []
    return DecisionCycle.objects.get(slot_at=later(5))


ENDS: list[tuple[Callable[[ScriptedModels, Any], DecisionCycle], Outcome, str]] = [
    (traded, Outcome.TRADED, "OPEN_LONG filled: 1.5 of 1.5 contracts"),
    (partly_traded, Outcome.TRADED, "OPEN_LONG filled: 0.5 of 1.5 contracts"),
    (order_works, Outcome.ORDER_WORKING, "the limit order rests at the venue"),
    (model_holds, Outcome.MODEL_HOLD, "A break on volume."),
    (screened_out, Outcome.SCREENED_OUT, "no setup"),
    (stop_too_far, Outcome.GATE_REJECTED, "sl_distance: The stop is 5 % from the entry; at most 3 % is allowed."),
    (unknown_strategy, Outcome.PLAYBOOK_BLOCKED, "strategy 'astrology' is not in the playbook"),
    (avoided_strategy, Outcome.PLAYBOOK_BLOCKED, "the playbook avoids mean_reversion in a volatile market"),
    (halted_before_the_gate, Outcome.HALTED, "halted: Halted (manual: maintenance)."),
    (cooling_before_the_gate, Outcome.COOLDOWN, "cooldown: Cooling down until 2022-11-20T12:30:00Z."),
    (never_a_snapshot, Outcome.NO_DATA, f"no snapshot of {BTC} has ever come in"),
    (never_positions, Outcome.STALE_DATA, "the trade server has never reported its positions"),
    (budget_spent, Outcome.BUDGET, "models have cost 0.500000 USD today, of 0.50"),
    (blocked, Outcome.INSTRUMENT_BLOCKED, "a position that is not ours"),
    (analyst_overloaded, Outcome.MODEL_ERROR, "the analyst: HTTP 529: come back later"),
    (screener_overloaded, Outcome.MODEL_ERROR, "the screener: HTTP 529: come back later"),
    (analyst_refuses, Outcome.MODEL_REFUSAL, "the analyst: the model refuses (finance)"),
    (not_json, Outcome.INVALID_OUTPUT, "the analyst: not JSON"),
    (other_symbol, Outcome.INVALID_OUTPUT, f"asked about {BTC}, the analyst decided on {ETH}"),
    (required_research_fails, Outcome.RESEARCH_ERROR, "research is required in a news window and failed: HTTP 529"),
    (too_small, Outcome.SIZE_TOO_SMALL, "min_size: The order would be 0 contracts"),
    (venue_rejects, Outcome.ORDER_REJECTED, "the venue refused: insufficient margin"),
    (expires_before_sending, Outcome.ORDER_EXPIRED, "before it was sent"),
    (expires_at_the_venue, Outcome.ORDER_EXPIRED, "it came after its expiry"),
    (venue_cancels, Outcome.ORDER_CANCELLED, "self-trade prevention"),
    (venue_says_nothing, Outcome.ORDER_UNKNOWN, "no answer to the order within 60 seconds"),
    (abandoned, Outcome.ABANDONED, "abandoned while analyzing: older than a cycle"),
    (previous_runs, Outcome.PREVIOUS_STILL_RUNNING, "the instrument's cycle before this one had not ended"),
]


def test_every_outcome_is_shown_here() -> None:
    assert {outcome for _, outcome, _ in [*ENDS, *OBSTACLES]} == set(Outcome)


@pytest.mark.parametrize(("arrange", "outcome", "told"), ENDS, ids=[arrange.__name__ for arrange, *_ in ENDS])
def test_a_cycle_ends_with_its_outcome_and_the_reason(
    models: ScriptedModels,
    settings: Any,
    arrange: Callable[[ScriptedModels, Any], DecisionCycle],
    outcome: Outcome,
    told: str,
) -> None:
    cycle = arrange(models, settings)
    cycle.refresh_from_db()
    assert (cycle.state, cycle.outcome) == (State.DONE, outcome), cycle.reason
    assert told in cycle.reason
    assert cycle.finished_at is not None
    assert (cycle.claim, cycle.claimed_until) == (None, None)


def test_a_useless_reply_is_kept_whole_and_never_trades(models: ScriptedModels) -> None:
    models.will_say("analyze", "Buy!\x00")
    cycle = decided()
    call = cycle.model_calls.get(purpose="analyze")
    assert "Buy!" in call.raw_reply
    assert (call.outcome, call.input_tokens, call.output_tokens) == ("invalid_output", 400, 30)
    assert call.cost_usd > 0
    assert (call.system_prompt != "", BTC in call.prompt) == (True, True)
    assert not Order.objects.exists()


def test_a_call_is_written_down_before_its_answer_is_looked_at(
    models: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[str, Decimal, int]] = []

    def trips(*_: object) -> None:
        rows.extend(ModelCall.objects.values_list("outcome", "cost_usd", "output_tokens"))
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(claude_message, "decode_answer", trips)
    cycle = decided()
    assert rows == [("unread", Decimal("0.000550"), 30)]
    assert (cycle.outcome, cycle.last_error) == (Outcome.INVALID_OUTPUT, "")
    call = ModelCall.objects.get()
    assert (call.outcome, call.error) == ("invalid_output", "the answer cannot be read: RuntimeError")
    assert (call.cost_usd, call.raw_reply != "") == (Decimal("0.000550"), True)


def test_odd_members_of_a_reply_do_not_lose_its_record(models: ScriptedModels) -> None:
    models.will_say("analyze", Reply({**json.loads(_MESSAGE), "stop_reason": "x" * 300}))
    assert decided().outcome == Outcome.INVALID_OUTPUT
    assert ModelCall.objects.get(purpose="analyze").stop_reason == "x" * 40


_MESSAGE = json.dumps(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "{}"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
)


def test_a_refused_proposal_is_recorded_with_what_failed(models: ScriptedModels) -> None:
    cycle = stop_too_far(models, None)
    verdict = Verdict.objects.get(decision_id=cycle.decision_id)
    assert (verdict.approved, verdict.outcome) == (False, "gate_rejected")
    assert [rule["rule"] for rule in RiskRejection.objects.get().failed_rules] == ["sl_distance"]
    assert OutboxMessage.objects.get(category="risk_rejection").severity == "WARN"


def test_the_playbook_shrinks_what_the_model_asks_for_and_never_enlarges_it(models: ScriptedModels) -> None:
    models.will_say("analyze", analysed(size_pct=0.05))
    assert order_of(decided(regime="volatile")).size_pct == Decimal("0.03")


# --- screening ----------------------------------------------------------------------------------------------------


def news(minutes: float = 20) -> None:
    ScheduledEvent.objects.create(
        kind="CPI",
        name="Consumer Price Index",
        scheduled_at=later(minutes),
        impact="high",
        source="Bureau of Labor Statistics",
        fetched_at=NOON,
    )


def alert(kind: str = "liquidations") -> None:
    market_data.record_alert(MarketAlert.model_validate(market_alert_payload(kind=kind)))


def command(name: str, **args: Any) -> None:
    commands.carry_out(SystemCommand.model_validate(command_payload(name, **args)))


@pytest.mark.parametrize(
    ("market", "kind", "told"),
    [
        ({"price_change_1h": "-0.0301"}, "price_change", "1 h price change -0.0301 beyond 0.03"),
        ({"funding_rate": "0.00051"}, "funding_rate", "funding rate 0.00051 outside -0.0003 to 0.0005"),
        ({"funding_rate": "-0.00031"}, "funding_rate", "funding rate -0.00031 outside"),
        ({"oi_change_4h": "0.101"}, "open_interest", "4 h open interest change 0.101 beyond 0.10"),
    ],
)
def test_an_anomaly_passes_the_screener_by_and_is_researched(
    models: ScriptedModels, market: dict[str, str], kind: str, told: str
) -> None:
    cycle = decided(**market)
    assert told in cycle.bypass_reason
    assert [[kind, cycle.bypass_reason]] == cycle.research_reasons
    assert [question for question, _ in models.asked] == ["research", "analyze"]
    assert cycle.screener_signal is None


def test_at_its_threshold_nothing_is_an_anomaly(models: ScriptedModels) -> None:
    cycle = decided(price_change_1h="0.03", funding_rate="0.0005", oi_change_4h="-0.10")
    assert (cycle.bypass_reason, cycle.research_reasons) == ("", [])
    assert [question for question, _ in models.asked] == ["screen", "analyze"]


def test_an_alert_since_the_last_cycle_passes_the_screener_by_once(models: ScriptedModels) -> None:
    models.will_say("analyze", left("HOLD"), left("HOLD"))
    world()
    alert()
    first = drive(tick())
    world(later(5))
    second = drive(tick(later(5)))
    assert (first.bypass_reason, second.bypass_reason) == ("market alert: liquidations", "")


def test_an_alert_during_a_long_cycle_is_not_lost_on_one_that_was_over_at_once(models: ScriptedModels) -> None:
    models.will_say("analyze", left("HOLD"))
    world()
    first = tick()
    alert()
    cycles.create([BTC], later(5))
    drive(first)
    world(later(10))
    assert drive(tick(later(10))).bypass_reason == "market alert: liquidations"


def test_a_news_window_passes_the_screener_by_and_is_researched(models: ScriptedModels) -> None:
    news()
    cycle = decided()
    assert cycle.bypass_reason == "news window: Consumer Price Index"
    assert [kind for kind, _ in cycle.research_reasons] == ["news"]


def test_an_open_position_passes_the_screener_by_without_research(models: ScriptedModels) -> None:
    world(NOON, HELD)
    models.will_say("analyze", left("HOLD"))
    cycle = drive(tick())
    assert (cycle.bypass_reason, cycle.research_reasons) == ("open position", [])
    assert [question for question, _ in models.asked] == ["analyze"]


def test_a_person_switches_the_screener_off_and_on(models: ScriptedModels) -> None:
    models.will_say("analyze", left("HOLD"))
    command("config", SCREENER_ENABLED=False)
    assert decided().bypass_reason == "the screener is switched off"
    command("config", SCREENER_ENABLED=True)
    world(later(5))
    assert drive(tick(later(5))).screener_signal is True


def test_a_screening_is_logged_with_what_the_big_model_said_then(models: ScriptedModels) -> None:
    log = ScreenerLog.objects.get(cycle=decided())
    assert (log.signal, log.opus_action, log.opus_agreed) == (True, "OPEN_LONG", True)
    assert log.snapshot_json["price"] == "20000"
    assert (log.tokens_used, log.latency_ms is not None) == (430, True)


def test_the_snapshot_is_left_out_of_the_log_where_that_is_set(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_LOG_ALL = False
    assert ScreenerLog.objects.get(cycle=decided()).snapshot_json is None


def test_an_audit_asks_the_big_model_and_never_trades(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    models.will_say("screen", screened(False))
    cycle = decided()
    log = ScreenerLog.objects.get(cycle=cycle)
    assert (cycle.outcome, cycle.reason, cycle.shadow_audit) == (Outcome.SCREENED_OUT, "no setup", True)
    assert (log.signal, log.opus_action, log.opus_agreed) == (False, "OPEN_LONG", False)
    assert cycle.model_calls.get(purpose="analyze").shadow
    assert (Order.objects.count(), sent_orders()) == (0, [])


def test_an_audit_whose_model_fails_is_screened_out_all_the_same(models: ScriptedModels, settings: Any) -> None:
    settings.SCREENER_AUDIT_RATE = Decimal(1)
    models.will_say("screen", screened(False))
    models.will_say("analyze", overloaded())
    cycle = decided()
    assert (cycle.outcome, ScreenerLog.objects.get().opus_agreed) == (Outcome.SCREENED_OUT, None)


def test_a_screener_that_lets_nothing_through_is_told_once_a_day(models: ScriptedModels) -> None:
    ScreenerLog.objects.bulk_create(ScreenerLog(symbol=BTC, signal=False) for _ in range(99))
    alerts = OutboxMessage.objects.filter(category="screener_pass_rate")
    models.will_say("screen", screened(False), screened(False))
    for minutes in (0, 5):
        decided(later(minutes))
        tasks.housekeeping()
    assert "only 0 of the last 100" in alerts.get().payload["detail"]


# --- research -----------------------------------------------------------------------------------------------------


def test_a_commanded_research_is_done_by_the_next_cycle_and_by_no_other(models: ScriptedModels) -> None:
    models.will_say("screen", screened(False))
    models.will_say("analyze", left("HOLD"))
    command("research", symbol=BTC)
    first = decided()
    world(later(5))
    second = drive(tick(later(5)))
    assert first.research_reasons == [["command", "research was commanded"]]
    assert (first.bypass_reason, first.outcome) == ("research was commanded", Outcome.MODEL_HOLD)
    assert (second.research_reasons, second.outcome) == ([], Outcome.SCREENED_OUT)
    assert models.times_asked("research") == 1


def test_a_commanded_research_waits_while_cycles_end_early(models: ScriptedModels, settings: Any) -> None:
    command("research", symbol=BTC)
    halted(settings)
    assert decided().outcome == Outcome.HALTED
    operator_actions.resume(now=later(1), by="ada", reason="all is well", source="command")
    world(later(5))
    assert drive(tick(later(5))).research_reasons == [["command", "research was commanded"]]


def test_what_was_found_is_shown_to_the_analyst_and_kept(models: ScriptedModels) -> None:
    cycle = decided(**SPIKE)
    shown = models.shown()["research_context"]
    assert (shown["available"], shown["answer"]["summary"]) == (True, "Inflows rose.")
    assert [page["url"] for page in shown["citations"]] == ["https://example.org/a"]
    assert cycle.research["answer"]["summary"] == "Inflows rose."


def test_the_same_question_is_answered_from_the_cache_while_it_is_fresh_by_market_time(models: ScriptedModels) -> None:
    models.will_say("analyze", *[left("HOLD")] * 3)
    asked = []
    for minutes in (0, 60, 65):
        world(later(minutes), **SPIKE)
        cycle = drive(tick(later(minutes)))
        assert cycle.research["answer"]["summary"] == "Inflows rose."
        asked.append(models.times_asked("research"))
    assert asked == [1, 1, 2]
    assert ResearchCache.objects.count() == 2


def test_a_research_that_fails_is_told_to_the_model(models: ScriptedModels) -> None:
    models.will_say("research", overloaded())
    cycle = decided(**SPIKE)
    shown = models.shown()["research_context"]
    assert shown["available"] is False
    assert "research failed: HTTP 529" in shown["reason"]
    assert cycle.state == State.CONFIRMING
    assert cycle.model_calls.get(purpose="research").outcome == "error"


def test_a_failed_research_is_not_cached(models: ScriptedModels) -> None:
    models.will_say("research", "nothing that is JSON")
    decided(**SPIKE)
    assert not ResearchCache.objects.exists()


def test_the_models_question_leads_to_exactly_one_second_round(models: ScriptedModels) -> None:
    asking = left("HOLD", research_request="Is an unlock due?")
    models.will_say("analyze", asking, analysed(research_request="And another one?"))
    cycle = decided()
    assert [question for question, _ in models.asked] == ["screen", "analyze", "research", "analyze"]
    assert (cycle.round, cycle.state) == (2, State.CONFIRMING)
    assert cycle.research_reasons == [["model_request", "Is an unlock due?"]]
    assert "Is an unlock due?" in models.asked[2][1]["input"]
    assert models.shown()["research_context"]["available"] is True


def test_the_second_round_adds_to_the_reasons_of_the_first(models: ScriptedModels) -> None:
    models.will_say("research", found("Liquidations."), overloaded())
    models.will_say("analyze", left("HOLD", research_request="Whose?"), left("HOLD"))
    cycle = decided(**SPIKE)
    assert [kind for kind, _ in cycle.research_reasons] == ["price_change", "model_request"]
    shown = models.shown()["research_context"]
    assert shown["available"] is False
    assert "HTTP 529" in shown["reason"]
    assert "Liquidations." in shown["reason"]


def test_the_longest_question_in_any_script_can_be_asked(models: ScriptedModels) -> None:
    question = "".join(chr(0x1F300 + (7919 * place) % 1200) for place in range(1200))
    models.will_say("analyze", left("HOLD", research_request=question), left("HOLD"))
    assert decided().outcome == Outcome.MODEL_HOLD
    assert models.times_asked("research") == 1


# --- what is told, and what it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "approved"),
    [(analysed(), True), (left("HOLD"), None), (analysed(stop_loss=None), False), (analysed(strategy="x"), False)],
)
def test_each_decision_is_published_once_with_the_verdict(
    models: ScriptedModels,
    django_capture_on_commit_callbacks: Any,
    answer: dict[str, Any],
    approved: bool | None,
) -> None:
    models.will_say("analyze", answer)
    world()
    with django_capture_on_commit_callbacks(execute=True):
        cycle = drive(tick())
    ((_, entry),) = redis_client().xrange("opus:decisions")
    payload, metadata = json.loads(entry[b"payload"]), json.loads(entry[b"metadata"])
    assert (payload["action"], payload["risk_approved"]) == (answer["decision"]["action"], approved)
    assert (payload["symbol"], payload["screener_signal"], payload["confidence"]) == (BTC, True, 0.7)
    assert metadata["cycle_number"] == cycle.pk
    assert metadata["opus_latency_ms"] >= 0
    assert metadata["haiku_latency_ms"] >= 0


def test_what_goes_over_the_broker_is_ids_alone(
    models: ScriptedModels, django_capture_on_commit_callbacks: Any
) -> None:
    world(**SPIKE)
    with django_capture_on_commit_callbacks(execute=True):
        cycle = drive(tick())
    messages = [
        json.loads(raw)
        for queue in ("cycle", "screen", "research", "analyze", "risk", "execute")
        for raw in redis_client().lrange(queue, 0, -1)
    ]
    assert sorted(message["headers"]["task"] for message in messages) == [
        f"decisions.tasks.{name}" for name in ("analyze", "execute", "research", "risk")
    ]
    assert {message["headers"]["argsrepr"] for message in messages} == {f"({cycle.pk},)"}
    assert KEY not in json.dumps(messages)


MOST_QUERIES = {
    State.COLLECTING: 19,
    State.SCREENING: 8,
    State.RESEARCHING: 13,
    State.ANALYZING: 13,
    State.RISK_CHECK: 19,
    State.EXECUTING: 15,
}


def test_a_stage_asks_the_database_a_bounded_number_of_things(
    models: ScriptedModels, settings: Any, django_assert_max_num_queries: Any
) -> None:
    models.will_say("analyze", left("HOLD", research_request="Why?"))
    for number in range(12):
        sent_order(cycle_changes=_over(Outcome.ORDER_UNKNOWN) | {"slot_at": later(-60 - number)}, status="filled")
    world()
    cycle = tick()
    while (stage := STAGES.get(State(cycle.state))) is not None:
        with django_assert_max_num_queries(MOST_QUERIES[State(cycle.state)]):
            stage(cycle.pk)
        cycle.refresh_from_db()
    assert (cycle.state, cycle.round) == (State.CONFIRMING, 2)
    assert set(cycle.stage_ms) == set(MOST_QUERIES)
