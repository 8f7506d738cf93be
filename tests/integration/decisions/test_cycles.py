"""One cycle a slot and one piece of work a stage, however often and by however many it is asked for."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import settings as configured
from django.db import DataError

from decisions import clock, cycles, orders, reconciliation, tasks
from decisions.models import (
    DecisionCycle,
    ModelCall,
    Order,
    OutboxMessage,
    Outcome,
    ResearchRequest,
    ScreenerLog,
    State,
)
from decisions.stages.collect import collect
from tests.integration.decisions.build import BTC, NOON, alerts
from tests.integration.decisions.model_server import ScriptedModels, analysed, left, screened
from tests.integration.decisions.scene import (
    ETH,
    account,
    at_once,
    bar,
    drive,
    lapse_claim,
    later,
    order_of,
    queued,
    sent_orders,
    tick,
    until,
    venue_is_silent,
    venue_says,
    world,
)

concurrent = pytest.mark.django_db(transaction=True)


# --- slots --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ready")
def test_a_tick_makes_one_cycle_an_instrument_for_the_slot_of_the_market_clock() -> None:
    world(NOON + timedelta(seconds=299))
    tasks.cycle()
    assert list(DecisionCycle.objects.order_by("id").values_list("instrument", "slot_at")) == [(BTC, NOON), (ETH, NOON)]


@pytest.mark.usefixtures("ready")
def test_the_tick_collects_its_first_cycle_itself_and_leaves_the_others_to_whoever_is_free(
    django_capture_on_commit_callbacks: Any, redis_client: Any
) -> None:
    world(NOON)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.cycle()
    states = dict(DecisionCycle.objects.values_list("instrument", "state"))
    assert states == {BTC: State.SCREENING, ETH: State.COLLECTING}
    assert (queued(redis_client, "screen"), queued(redis_client, "cycle")) == (1, 1)


@pytest.mark.usefixtures("ready")
def test_a_tick_before_the_first_bar_makes_nothing() -> None:
    tasks.cycle()
    assert not DecisionCycle.objects.exists()


@pytest.mark.usefixtures("ready")
def test_a_duplicate_tick_finds_the_rows_and_does_nothing(models: ScriptedModels) -> None:
    models.will_say("screen", screened(False))
    world()
    tasks.cycle([BTC])
    tasks.cycle([BTC])
    drive(DecisionCycle.objects.get())
    tasks.cycle([BTC])
    assert DecisionCycle.objects.get().outcome == Outcome.SCREENED_OUT


@pytest.mark.usefixtures("ready")
def test_the_cycle_that_still_runs_at_the_next_tick_is_left_to_finish(models: ScriptedModels) -> None:
    world()
    first = drive(tick(), until=State.ANALYZING)
    world(later(5))
    tasks.cycle([BTC])
    assert drive(first).state == State.CONFIRMING
    second = DecisionCycle.objects.get(slot_at=later(5))
    assert (second.outcome, second.model_calls.count()) == (Outcome.PREVIOUS_STILL_RUNNING, 0)


@pytest.mark.usefixtures("ready")
def test_a_reconciliation_that_fails_is_told_and_keeps_no_cycle_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: datetime) -> None:
        raise DataError("numeric field overflow")

    monkeypatch.setattr(reconciliation, "reconcile_if_due", fail)
    for minutes in (0, 5):
        world(later(minutes))
        tasks.cycle([BTC])
    assert list(DecisionCycle.objects.order_by("id").values_list("slot_at", flat=True)) == [NOON, later(5)]
    assert alerts("round_failed") == ["DataError: numeric field overflow"]


@concurrent
@pytest.mark.usefixtures("ready")
def test_two_beats_at_once_make_one_cycle_and_wake_it_once(redis_client: "redis.Redis") -> None:
    for number in range(5):
        slot_at = later(5 * number)
        world(slot_at)
        assert at_once(*[tasks.cycle] * 3) == []
        assert DecisionCycle.objects.filter(slot_at=slot_at).count() == len(configured.INSTRUMENTS)
    assert queued(redis_client, "cycle") == DecisionCycle.objects.filter(state=State.COLLECTING).count()


# --- claims -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ready")
def test_a_stage_delivered_again_after_it_was_done_does_nothing(models: ScriptedModels) -> None:
    world()
    cycle = drive(tick())
    for task in (tasks.collect, tasks.screen, tasks.analyze, tasks.risk, tasks.execute):
        task(cycle.pk)
    cycle.refresh_from_db()
    assert cycle.state == State.CONFIRMING
    assert (ModelCall.objects.count(), Order.objects.count(), len(sent_orders())) == (2, 1, 1)


@pytest.mark.usefixtures("ready")
def test_a_task_for_a_cycle_that_is_not_there_does_nothing() -> None:
    tasks.execute(10**9)
    assert sent_orders() == []


@concurrent
@pytest.mark.usefixtures("ready")
def test_of_two_deliveries_at_once_one_works(models: ScriptedModels) -> None:
    world(price_change_1h="0.04")
    cycle = tick()
    for stage, done in (
        (tasks.collect, lambda: cycle.state == State.RESEARCHING),
        (tasks.research, lambda: models.times_asked("research") == 1),
        (tasks.analyze, lambda: models.times_asked("analyze") == 1),
        (tasks.risk, lambda: Order.objects.count() == 1),
        (tasks.execute, lambda: len(sent_orders()) == 1),
    ):
        assert at_once(*[_delivery(stage, cycle)] * 3) == []
        cycle.refresh_from_db()
        assert done(), stage
    assert (cycle.state, cycle.attempts) == (State.CONFIRMING, 0)
    assert ModelCall.objects.count() == 2


def _delivery(stage: Callable[[int], None], cycle: DecisionCycle) -> Callable[[], None]:
    return lambda: stage(cycle.pk)


@concurrent
@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("state", "question", "late_answer", "quick_answer"),
    [
        (State.ANALYZING, "analyze", analysed(), left("HOLD")),
        (State.SCREENING, "screen", screened(True), screened(False)),
    ],
)
def test_what_a_late_twin_worked_out_is_dropped_but_for_the_record_of_its_call(
    models: ScriptedModels, state: State, question: Any, late_answer: dict[str, Any], quick_answer: dict[str, Any]
) -> None:
    world()
    cycle = drive(tick(), until=state)
    models.will_say(question, late_answer, quick_answer)
    held, stage = models.hold_next(question), {"analyze": tasks.analyze, "screen": tasks.screen}[question]
    raised: list[list[BaseException]] = []
    twin = threading.Thread(target=lambda: raised.append(at_once(_delivery(stage, cycle))))
    twin.start()
    until(lambda: models.times_asked(question) == 1)
    lapse_claim(cycle)
    stage(cycle.pk)
    held.set()
    twin.join(20)
    cycle.refresh_from_db()
    assert raised == [[]]
    assert cycle.outcome == {"analyze": Outcome.MODEL_HOLD, "screen": Outcome.SCREENED_OUT}[question]
    assert cycle.model_calls.filter(purpose=question).count() == 2
    log = ScreenerLog.objects.get()
    assert log.signal is (question == "analyze")
    assert OutboxMessage.objects.filter(type="opus_decision").count() == (question == "analyze")
    assert not Order.objects.exists()


@pytest.mark.usefixtures("ready")
def test_a_result_without_the_claim_is_refused() -> None:
    world()
    tick()
    first = cycles.claim(DecisionCycle.objects.get().pk, State.COLLECTING)
    assert first is not None
    assert cycles.claim(first.pk, State.COLLECTING) is None
    lapse_claim(first)
    second = cycles.claim(first.pk, State.COLLECTING)
    assert (second is not None, second and second.attempts) == (True, 2)
    with pytest.raises(cycles.ClaimLost):
        cycles.finish(first, Outcome.NO_DATA, "too late")
    cycles.release(first, RuntimeError("too late as well"))
    stored = DecisionCycle.objects.get()
    assert (stored.state, stored.claim, stored.last_error) == (State.COLLECTING, second and second.claim, "")


@pytest.mark.usefixtures("ready")
def test_a_command_taken_by_a_stage_that_failed_is_not_lost(models: ScriptedModels) -> None:
    ResearchRequest.objects.create(symbol=BTC, requested_by="ada")
    world()
    cycle = tick()
    claimed = cycles.claim(cycle.pk, State.COLLECTING)
    assert claimed is not None
    lapse_claim(cycle)
    assert cycles.claim(cycle.pk, State.COLLECTING) is not None
    with pytest.raises(cycles.ClaimLost):
        collect(claimed, NOON)
    assert ResearchRequest.objects.get().cycle is None


@pytest.mark.usefixtures("ready")
def test_a_fill_may_come_before_the_sending_is_noted(models: ScriptedModels) -> None:
    world()
    cycle = drive(tick(), until=State.EXECUTING)
    orders.send(order_of(cycle))
    venue_says(order_of(cycle), "filled")
    cycle.refresh_from_db()
    assert (cycle.state, cycle.outcome) == (State.DONE, Outcome.TRADED)
    tasks.execute(cycle.pk)
    assert (len(sent_orders()), order_of(cycle).status) == (1, "filled")


# --- the market clock -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ready")
def test_a_bar_counts_once_the_venue_has_reported_as_of_it() -> None:
    assert clock.market_now() is None
    bar()
    assert clock.market_now() is None
    account()
    assert clock.market_now() == NOON
    bar(later(5))
    assert clock.market_now() == NOON
    account(later(5))
    assert clock.market_now() == later(5)


@pytest.mark.usefixtures("ready")
def test_a_silent_venue_neither_stops_the_clock_nor_turns_it_back() -> None:
    world()
    bar(later(5))
    venue_is_silent()
    assert clock.market_now() == later(5)
    bar(later(10))
    assert clock.market_now() == later(5)
    venue_is_silent()
    assert clock.market_now() == later(10)


@pytest.mark.usefixtures("ready")
def test_live_the_market_clock_is_the_wall_clock(settings: Any) -> None:
    settings.SANDBOX = False
    assert abs(clock.wall_now() - clock.now_for_record()) < timedelta(seconds=5)
