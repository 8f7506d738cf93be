"""The sums over the record of calls, and what the screener is found to have saved."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from decisions import costs
from decisions.budget import Budget
from decisions.costs import Cycles, Entry, Report, Totals
from decisions.management.commands.costs import as_text, table

TODAY = date(2022, 11, 20)
OPUS, HAIKU = "claude-opus-4-6", "claude-haiku-4-5-20251001"


def entry(
    model: str, purpose: str, calls: int, usd: str, *, days_ago: int = 0, source: str = "live", **more: Any
) -> Entry:
    """So many calls, all billed, that cost so much together."""
    cost = Decimal(usd)
    totals = {
        "calls": calls,
        "billed": calls,
        "input_tokens": 1000 * calls,
        "output_tokens": 100 * calls,
        "cost_usd": cost,
        "paid_usd": cost if source == "live" else Decimal(0),
        **more,
    }
    day = TODAY - timedelta(days=days_ago)
    return Entry(day=day, model=model, purpose=purpose, source=source, totals=Totals(**totals))


ENTRIES = [
    entry(OPUS, "analyze", 20, "0.60", failed=2, unknown=1, billed=15),
    entry(HAIKU, "screen", 100, "0.065"),
    entry(OPUS, "analyze", 10, "0.30", days_ago=1, source="offline"),
    entry("perplexity/sonar", "research", 4, "0.02", days_ago=1),
]
CYCLES = Cycles(
    analysed=18,
    analysed_usd=Decimal("0.63"),
    screened=100,
    screened_out=84,
    screened_out_usd=Decimal("0.1146"),
    audited=2,
)


def report(entries: list[Entry] = ENTRIES, cycles: Cycles = CYCLES, spent: str = "0.665") -> Report:
    return costs.report(
        entries, cycles, Budget(Decimal(spent), Decimal(15)), today=TODAY, first_day=TODAY - timedelta(days=29)
    )


def empty() -> Report:
    return report([], Cycles(), spent="0")


def test_today_is_told_apart_from_the_period() -> None:
    told = report()
    assert [row["purpose"] for row in told["today"]["by_model"]] == ["analyze", "screen"]
    assert (told["today"]["total"]["calls"], told["period"]["total"]["calls"]) == (120, 134)
    assert (told["today"]["total"]["cost_usd"], told["period"]["total"]["cost_usd"]) == ("0.665000", "0.985000")


def test_the_dearest_stands_first_and_sources_are_kept_apart() -> None:
    rows = [(row["model"], row["source"], row["cost_usd"]) for row in report()["period"]["by_model"]]
    assert rows == [
        (OPUS, "live", "0.600000"),
        (OPUS, "offline", "0.300000"),
        (HAIKU, "live", "0.065000"),
        ("perplexity/sonar", "live", "0.020000"),
    ]


def test_only_what_the_live_service_answered_was_paid() -> None:
    assert report()["period"]["total"]["paid_usd"] == "0.685000"
    assert [row["paid_usd"] for row in report()["by_day"]] == ["0.665000", "0.020000"]


def test_the_mean_is_that_of_the_calls_that_cost_something() -> None:
    row = report()["today"]["by_model"][0]
    assert (row["failed"], row["unknown"], row["billed"], row["mean_usd"]) == (2, 1, 15, "0.040000")


def test_the_days_stand_newest_first() -> None:
    assert [row["day"] for row in report()["by_day"]] == ["2022-11-20", "2022-11-19"]


def test_the_cost_of_a_cycle_is_that_of_all_its_calls() -> None:
    told = report()["cycles"]
    assert (told["analysed_mean_usd"], told["screened_out_mean_usd"]) == ("0.035000", "0.001364")


def test_the_screener_saves_the_analyses_it_kept_away_less_its_own_cost() -> None:
    saved = report()["screener"]
    assert (saved["calls_saved"], saved["calls_wanted"]) == (82, 102)
    assert saved["share_saved"] == "0.8039"
    assert saved["analysis_mean_usd"] == "0.036000"  # 0.90 USD for the 25 analyses that cost something
    assert saved["saved_usd"] == str(82 * Decimal("0.036") - Decimal("0.065") + Decimal("0.000000"))


def test_a_screener_that_lets_everything_through_costs_money() -> None:
    saved = report(cycles=Cycles(analysed=100, screened=100))["screener"]
    assert (saved["share_saved"], saved["saved_usd"]) == ("0.0000", "-0.065000")


def test_without_an_analysis_nothing_is_known_to_have_been_saved() -> None:
    saved = report([entry(HAIKU, "screen", 5, "0.003")], Cycles(screened=5, screened_out=5))["screener"]
    assert (saved["share_saved"], saved["analysis_mean_usd"], saved["saved_usd"]) == ("1.0000", None, None)


def test_an_empty_record_is_told_as_one() -> None:
    told = empty()
    assert (told["today"]["by_model"], told["by_day"], told["screener"]["share_saved"]) == ([], [], None)
    assert told["period"]["total"]["cost_usd"] == "0.000000"
    assert as_text(told).count("no calls") == 2


def test_a_model_without_a_price_is_named() -> None:
    assert report([entry("claude-new-9", "analyze", 1, "1")])["unpriced_models"] == ["claude-new-9"]
    assert "claude-new-9: no known price" in as_text(report([entry("claude-new-9", "analyze", 1, "1")]))


def test_the_text_says_what_matters() -> None:
    text = as_text(report(spent="12.5"))
    for told in (
        "12.500000 of 15 USD (83.3%): tight",
        "0.685000 USD to the services, of 0.985000 USD at their prices",
        "at their prices; calls whose cost is not known: 1",
        "84 of 100 screened cycles ended there, 2 of them audited",
        "80.4% of big-model calls: 82 of 102 cycles did without",
        "2.887000 USD: 82 x 0.036000 USD for an analysis, less 0.065000 USD for the screening",
    ):
        assert told in text


def test_numbers_stand_flush_right_under_their_headings() -> None:
    lines = table(["name", "calls"], [["a", "1"], ["longer", "1,234"]], texts=1)
    assert lines == ["  name    calls", "  a           1", "  longer  1,234"]
