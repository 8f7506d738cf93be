"""`manage.py costs` over a real record of calls."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from decisions import report
from decisions.costs import Report
from decisions.models import DecisionCycle, ModelCall, Outcome, State
from tests.integration.decisions.build import NOON
from tests.integration.decisions.model_server import ScriptedModels, left, overloaded, screened
from tests.integration.decisions.scene import bar, decided, drive, later, tick, venue_is_silent, world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

OPUS, HAIKU = "claude-opus-4-6", "claude-haiku-4-5-20251001"
DAY = 24 * 60


def told(*arguments: str) -> str:
    out = StringIO()
    call_command("costs", *arguments, stdout=out)
    return out.getvalue()


def costs(*arguments: str) -> Report:
    return dict(json.loads(told("--json", *arguments)))


def call(purpose: str, usd: str, *, minutes: float = 0, **changes: Any) -> ModelCall:
    """A call answered by the service, some minutes of market time from noon."""
    fields = {
        "purpose": purpose,
        "model": HAIKU if purpose == "screen" else OPUS,
        "outcome": "ok",
        "http_status": 200,
        "latency_ms": 1,
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_write_tokens": 7,
        "cache_read_tokens": 5,
        "cost_usd": Decimal(usd),
        "market_time": later(minutes),
    }
    return ModelCall.objects.create(**fields | changes)


def cycle(number: int, outcome: Outcome) -> DecisionCycle:
    slot = later(-5 * number)
    return DecisionCycle.objects.create(
        instrument="BTC-USDT-SWAP", slot_at=slot, state=State.DONE, outcome=outcome, finished_at=slot
    )


@pytest.fixture
def noon(settings: Any) -> None:
    """The market clock stands at noon: a bar has come in, and the venue is silent."""
    bar()
    venue_is_silent()


def test_an_empty_record_costs_nothing() -> None:
    assert costs()["period"]["total"]["cost_usd"] == "0.000000"
    assert "no calls" in told()


@pytest.mark.usefixtures("noon")
def test_calls_are_summed_by_model_purpose_and_source() -> None:
    call("analyze", "0.03")
    call("analyze", "0.05", minutes=-60)
    call("analyze", "0.02", source="offline")
    call("screen", "0.0006")
    rows = costs()["today"]["by_model"]
    assert [(row["model"], row["purpose"], row["source"], row["calls"], row["cost_usd"]) for row in rows] == [
        (OPUS, "analyze", "live", 2, "0.080000"),
        (OPUS, "analyze", "offline", 1, "0.020000"),
        (HAIKU, "screen", "live", 1, "0.000600"),
    ]
    tokens = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
    assert [rows[0][name] for name in tokens] == [200, 20, 14, 10]
    assert rows[0]["mean_usd"] == "0.040000"


@pytest.mark.usefixtures("noon")
def test_today_is_the_market_day_and_the_period_ends_with_it() -> None:
    for days_ago, usd in ((0, "1"), (1, "2"), (2, "4"), (3, "8")):
        call("analyze", usd, minutes=-days_ago * DAY)
    call("analyze", "16", minutes=-12 * 60 - 1)  # yesterday's last minute
    call("analyze", "32", minutes=12 * 60)  # tomorrow
    found = costs("--days", "3")
    assert (found["market_day"], found["first_day"]) == ("2022-11-20", "2022-11-18")
    assert (found["today"]["total"]["cost_usd"], found["period"]["total"]["cost_usd"]) == ("1.000000", "23.000000")
    assert [row["cost_usd"] for row in found["by_day"]] == ["1.000000", "18.000000", "4.000000"]


@pytest.mark.usefixtures("noon")
def test_the_budget_of_the_day_is_shown_with_its_level() -> None:
    call("analyze", "12")
    assert costs()["budget"] == {"spent_usd": "12.000000", "daily_usd": "15", "level": "tight"}
    assert "12.000000 of 15 USD (80.0%): tight" in told()


@pytest.mark.usefixtures("noon")
def test_what_was_asked_in_the_shadow_of_a_cycle_is_no_cost_of_its_analysis() -> None:
    analysed = cycle(1, Outcome.MODEL_HOLD)
    call("screen", "0.001", cycle=analysed)
    call("analyze", "0.03", cycle=analysed)
    call("analyze", "0.05", cycle=analysed, shadow=True)
    assert costs()["cycles"]["analysed_mean_usd"] == "0.031000"


@pytest.mark.usefixtures("noon")
def test_calls_that_failed_or_whose_cost_nobody_knows_are_counted() -> None:
    call("analyze", "0.03")
    call("analyze", "0.01", outcome="invalid_output")
    call("analyze", "0", outcome="error", http_status=529)
    call("analyze", "0", outcome="error", http_status=None)
    call("analyze", "0", outcome="invalid_output", http_status=200)
    call("research", "0", outcome="error", http_status=None, attempts=0)  # for want of a key it was never sent
    total = costs()["today"]["total"]
    assert [total[name] for name in ("calls", "failed", "unknown", "billed")] == [6, 5, 2, 2]
    assert total["mean_usd"] == "0.020000"


@pytest.mark.usefixtures("noon")
def test_what_was_paid_stands_apart_from_what_was_not() -> None:
    call("analyze", "0.03")
    call("analyze", "0.05", source="offline")
    call("analyze", "0.07", source="replay")
    total = costs()["today"]["total"]
    assert (total["cost_usd"], total["paid_usd"]) == ("0.150000", "0.030000")
    model = report.report()["model"]
    assert model == {"calls": 3, "cost_usd": "0.150000", "paid_usd": "0.030000"}


def test_before_the_first_call_nothing_was_paid() -> None:
    assert report.report()["model"] == {"calls": 0, "cost_usd": "0.000000", "paid_usd": "0.000000"}


@pytest.mark.usefixtures("noon")
def test_the_screener_is_credited_with_what_it_kept_away() -> None:
    for number in range(8):
        call("screen", "0.001", cycle=cycle(number, Outcome.SCREENED_OUT))
    for number in range(8, 10):  # audited: the big model was asked, and nothing saved
        audited = cycle(number, Outcome.SCREENED_OUT)
        call("screen", "0.001", cycle=audited)
        call("analyze", "0.04", cycle=audited, shadow=True)
    passed = cycle(10, Outcome.TRADED)
    call("screen", "0.001", cycle=passed)
    call("analyze", "0.04", cycle=passed)
    call("analyze", "0.04", cycle=passed)  # it asked for research first
    call("analyze", "0.04", cycle=cycle(11, Outcome.MODEL_HOLD))  # it passed the screener by
    call("screen", "0", cycle=cycle(12, Outcome.MODEL_ERROR), outcome="error", http_status=529)
    found = costs()
    assert found["screener"] == {
        "screened": 12,
        "screened_out": 10,
        "audited": 2,
        "calls_saved": 8,
        "calls_wanted": 12,
        "share_saved": "0.6667",
        "analysis_mean_usd": "0.040000",
        "screening_usd": "0.011000",
        "saved_usd": "0.309000",
    }
    assert found["cycles"] == {
        "analysed": 2,
        "analysed_mean_usd": "0.060500",
        "screened_out": 10,
        "screened_out_mean_usd": "0.009000",
    }


def test_cycles_as_they_really_run_are_found_again_in_the_costs(models: ScriptedModels) -> None:
    models.will_say("screen", screened(False), screened(True), overloaded(), overloaded(), overloaded())
    models.will_say("analyze", left("HOLD"))
    for minutes in (0, 5, 10):
        world(later(minutes))
        drive(tick(later(minutes)))
    found = costs()
    counts = {row["purpose"]: (row["calls"], row["failed"], row["source"]) for row in found["today"]["by_model"]}
    assert counts == {"screen": (3, 1, "live"), "analyze": (1, 0, "live")}
    assert (found["cycles"]["analysed"], found["cycles"]["screened_out"]) == (1, 1)
    assert (found["screener"]["calls_saved"], found["screener"]["calls_wanted"]) == (1, 2)
    assert Decimal(found["today"]["total"]["cost_usd"]) == sum(
        ModelCall.objects.values_list("cost_usd", flat=True), Decimal(0)
    )


@pytest.mark.usefixtures("noon")
def test_the_record_is_read_in_a_handful_of_queries(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        call("screen", "0.001", cycle=cycle(number, Outcome.SCREENED_OUT), minutes=-number * DAY)
    with django_assert_max_num_queries(4):
        told()


@pytest.mark.parametrize("days", ["0", "-1", "367"])
def test_a_period_that_makes_no_sense_is_refused(days: str) -> None:
    with pytest.raises(CommandError, match=f"--days {days}: from 1 to 366") as raised:
        told("--days", days)
    assert raised.value.returncode == 2


def test_a_whole_cycle_is_in_the_ledger(models: ScriptedModels) -> None:
    decided(NOON)
    text = told()
    for row in (f"{OPUS:<25}  analyze  live", f"{HAIKU:<25}  screen   live"):
        assert row in text
