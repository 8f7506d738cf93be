"""What the dashboard says of a system: the state first, then figures that add up, each with the rows behind it."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from decisions.budget import Budget
from decisions.dashboard import account_panels, work_panels
from decisions.dashboard.curve import change, falls, gaps, moments
from decisions.dashboard.drawings import calibration_chart, equity_charts, strip
from decisions.dashboard.facts import Alert, Cycles, Facts, Halt, Spending, Trouble, Version, dear_calls_saved
from decisions.dashboard.headline import headline
from decisions.dashboard.holdings import Exposure
from decisions.dashboard.parts import Panel
from decisions.dashboard.words import per_cent, price, ratio, usd
from decisions.templatetags.dashboard import together
from journal.performance import ClosedTrade
from journal.performance.calibration import calibration
from tests.unit.decisions.dashboard_facts import MINUTE, NOON, TO, account, curve, facts, heard, holding, point

HALT = Halt(kind="manual", reason="the exchange is in maintenance.", since=NOON - 95 * MINUTE, by="ann", until=None)
HOUR = 60 * MINUTE


def panel(known: Facts, key: str) -> Panel:
    every = [*account_panels.panels(known, TO), *work_panels.panels(known, TO)]
    return next(each for each in every if each.key == key)


def bars(known: Facts, key: str) -> dict[str, tuple[str, str, str]]:
    """Name -> how much is filled, text, tone."""
    return {bar.name: (bar.filled, bar.text, bar.tone) for bar in panel(known, key).bars}


def figures(known: Facts, key: str) -> dict[str, tuple[str, str]]:
    return {figure.name: (figure.text, figure.note) for figure in panel(known, key).figures}


# --- the state --------------------------------------------------------------------------------------------------------


def test_a_system_in_order_says_that_it_runs():
    told = headline(facts(), TO)
    assert (told.mode, told.tone, told.lines) == ("SANDBOX", "good", ())
    assert told.sentence == "Running: the gate judges every opening."
    assert told.address == "risk.riskstate/1"


def test_live_is_said_in_other_words_than_sandbox():
    told = headline(facts(is_live=True), TO)
    assert (told.mode, told.meaning, told.is_live) == ("LIVE", "real money moves", True)


def test_a_halt_says_why_since_when_by_whom_and_what_ends_it():
    told = headline(facts(account=account(state="halted", halts=[HALT])), TO)
    assert told.tone == "bad"
    assert told.sentence == (
        "Halted (by hand) since 2022-11-01 10:25 UTC (1 h 35 min) by ann, until a person resumes: "
        "the exchange is in maintenance. Nothing is opened, exits go on."
    )


def test_every_halt_that_stands_is_named_and_a_cooldown_behind_them():
    daily = replace(HALT, kind="daily_loss", by="risk gate", until=NOON + 12 * HOUR, reason="3.1 % lost")
    halted = account(state="halted", halts=[HALT, daily], cooldown_until=NOON + 5 * MINUTE)
    told = headline(facts(account=halted), TO)
    assert "(by hand)" in told.sentence
    assert "(daily loss)" in told.sentence
    assert "by risk gate, until 2022-11-02 00:00 UTC: 3.1 % lost" in told.sentence
    assert [line.text for line in told.lines] == ["Cooling down too, until 2022-11-01 12:05 UTC."]


def test_a_cooldown_says_how_long_it_lasts():
    told = headline(facts(account=account(state="cooldown", cooldown_until=NOON + 25 * MINUTE)), TO)
    assert told.tone == "warn"
    assert told.sentence.startswith("Cooling down until 2022-11-01 12:25 UTC, 25 min 00 s more.")


@pytest.mark.parametrize(
    "old",
    [
        heard(wall_at=NOON - 3 * MINUTE),
        heard(wall_at=NOON + 2 * MINUTE),
        heard(market_at=NOON - 3 * MINUTE),
        heard(market_at=None, wall_at=None),
    ],
)
def test_a_system_that_fell_silent_is_not_shown_as_running(old):
    told = headline(facts(heard=[heard(name="BTC"), old]), TO)
    assert (told.tone, told.sentence) == ("bad", "Running, but not everything is up to date.")
    (line,) = told.lines
    assert line.text.startswith("Out of date: Positions ")
    assert "BTC" not in line.text


def test_a_system_of_which_nothing_is_heard_is_silent():
    told = headline(facts(heard=[heard(wall_at=None)]), TO)
    assert (told.tone, told.sentence) == ("bad", "Silent: nothing new comes in. It was running when last heard of.")


def test_of_many_things_that_are_out_of_date_a_few_are_named():
    old = [heard(name=f"S{number}", wall_at=None) for number in range(7)]
    assert headline(facts(heard=old), TO).lines[0].text == (
        "Out of date: S0 never came, S1 never came, S2 never came, S3 never came, 3 more."
    )


def test_what_waits_for_a_person_is_told_and_keeps_the_state_from_looking_good():
    waiting = [Trouble(count=2, what="Instruments blocked", address="blocks"), Trouble(count=0, what="", address="")]
    told = headline(facts(troubles=waiting), TO)
    assert (told.tone, [(line.text, line.address) for line in told.lines]) == (
        "warn",
        [("Instruments blocked: 2.", "blocks")],
    )


def test_a_spent_budget_is_told():
    spent = replace(facts().spending, budget=Budget(Decimal(15), Decimal(15)))
    told = headline(facts(spending=spent), TO)
    assert told.tone == "warn"
    assert "models have cost 15 USD today, of 15. Nothing is opened." in told.lines[0].text


# --- the account ------------------------------------------------------------------------------------------------------


def test_each_limit_is_a_bar_with_what_is_measured_and_what_is_allowed():
    assert bars(facts(), "limits") == {
        "Loss today": ("0.3333", "1.00 % of 3.00 %", "good"),
        "Drawdown": ("0.9000", "9.00 % of 10.00 %", "warn"),
        "Exposure": ("0.3333", "5.00 % of 15.00 %; 500.00 USD", "good"),
        "Positions": ("0.6667", "2 of 3, 1 pending", "good"),
        "Losses in a row": ("0.3333", "1 of 3, then a cooldown", "good"),
        "Money for models": ("0.2333", "3.50 USD of 15.00 USD", "good"),
    }


def test_a_limit_that_is_reached_is_a_full_bar_and_bad():
    full = Exposure(holdings=[holding(notional_usd=Decimal(2000))] * 3, pending=0, pending_usd=Decimal(0))
    told = bars(facts(exposure=full), "limits")
    assert told["Positions"] == ("1.0000", "3 of 3", "bad")
    assert told["Exposure"] == ("1.0000", "60.00 % of 15.00 %; 6,000.00 USD", "bad")


def test_nothing_is_measured_before_the_first_report():
    unknown = account(
        equity=None,
        day_start_equity=None,
        daily_loss=replace(account().daily_loss, measured=None, used=None),
    )
    told = bars(facts(account=unknown), "limits")
    assert told["Loss today"] == ("0.0000", "– of 3.00 %", "info")
    assert told["Exposure"][2] == "info"


def test_the_result_of_the_day_counts_open_positions_and_leads_to_the_trades_closed_since_midnight():
    (figure,) = panel(facts(), "limits").figures
    assert (figure.text, figure.tone) == ("−101.00 USD (−1.00 %)", "bad")
    assert figure.note == "3 trades closed, 2 won, −12.50 USD net"
    assert figure.address == "journal.trade?closed_at__gte=2022-11-01T00:00Z"


@pytest.mark.parametrize(
    ("held", "stop", "target", "won"),
    [
        (holding(), "14.29 % · +1.50 R", "23.81 % · +2.50 R", "+5.00 % · +0.50 R"),
        (
            holding(direction="SHORT", stop=Decimal(110), target=Decimal(70), mark=Decimal(95)),
            "15.79 % · +1.50 R",
            "26.32 % · +2.50 R",
            "+5.00 % · +0.50 R",
        ),
        (holding(mark=Decimal(85)), "−5.88 % · −0.50 R", "52.94 % · +4.50 R", "−15.00 % · −1.50 R"),
        (holding(mark=None), "– · –", "– · –", "– · –"),
        (holding(stop=Decimal(101)), "3.81 % · –", "23.81 % · –", "+5.00 % · –"),
    ],
)
def test_a_position_says_how_far_its_stop_and_its_target_are(held, stop, target, won):
    (card,) = panel(facts(exposure=Exposure(holdings=[held], pending=0, pending_usd=Decimal(0))), "positions").cards
    told = {figure.name: (figure.text, figure.note) for figure in card.figures}
    assert told["To the stop"][0] == stop
    assert told["To the target"][0] == target
    assert told["Unrealised"][1] == won


def test_a_position_without_a_stop_is_bad_news():
    held = holding(stop=None)
    (card,) = panel(facts(exposure=Exposure(holdings=[held], pending=0, pending_usd=Decimal(0))), "positions").cards
    stop = next(figure for figure in card.figures if figure.name == "To the stop")
    assert (stop.text, stop.tone, card.drawing) == ("none", "bad", None)


def test_a_position_that_only_the_venue_knows_leads_to_its_report():
    held = holding(trade=None)
    (card,) = panel(facts(exposure=Exposure(holdings=[held], pending=0, pending_usd=Decimal(0))), "positions").cards
    assert card.address.startswith("decisions.positionreport")


def test_a_position_is_drawn_from_its_stop_to_its_target_whichever_way_it_goes():
    drawings = [
        strip(holding()),
        strip(holding(direction="SHORT", stop=Decimal(110), target=Decimal(70), mark=Decimal(95))),
    ]
    for drawing in drawings:
        assert drawing is not None
        filled = ElementTree.fromstring(drawing).findall("rect")[1]  # noqa: S314 -- our own markup
        assert (filled.attrib["x"], filled.attrib["width"]) == ("25.00%", "12.50%")
    beyond = strip(holding(mark=Decimal(200)))
    assert beyond is not None
    assert 'x="100.00%"' in beyond


# --- the curve --------------------------------------------------------------------------------------------------------


def test_a_drawdown_is_measured_from_the_highest_equity_before_and_leaves_transfers_out():
    points = [point(0, "10000"), point(1, "12000", "2000"), point(2, "11500", "2000"), point(3, "12500", "2000")]
    assert falls(points) == [0, 0, Decimal(-500) / 10_000, 0]
    assert falls(points, before=[point(-9, "10500")])[0] == Decimal(-500) / 10_500


def test_a_change_leaves_transfers_out():
    assert change([point(0, "10000"), point(1, "12100", "2000")]) == 100
    assert change([point(0, "10000")]) is None


def test_moments_end_with_the_newest_and_are_equally_far_apart():
    found = moments(NOON, NOON + HOUR, 4)
    assert found == [NOON + 15 * number * MINUTE for number in (1, 2, 3, 4)]


def test_a_stretch_without_reports_is_a_gap_and_not_a_line():
    points = [point(0, "10000"), point(6, "10000"), point(60, "9000"), point(66, "9000")]
    assert gaps(points, 6 * MINUTE) == {points[2].at}
    (equity, _) = equity_charts(curve(points), Decimal("-0.1"))
    (line,) = [part for part in equity.drawing.split("<path ") if part.startswith('class="chart-line')]
    assert line.count("M") == 2


def test_the_curve_says_its_figures_in_words_and_in_a_table_of_bounded_length():
    points = [point(number, str(10_000 + number)) for number in range(240)]
    equity, drawdown = equity_charts(curve(points), Decimal("-0.1"))
    assert equity.summary.startswith("From 10,000.00 USD to 10,239.00 USD, +239.00 USD without transfers; lowest")
    assert 20 < len(equity.rows) <= 24
    assert equity.rows[0] == ("2022-11-01 15:59 UTC", "10,239.00 USD", "0.00 %")
    assert drawdown.summary == "Drawdown from the highest equity so far: deepest 0.00 %, now 0.00 %."


@pytest.mark.parametrize(("low", "is_shown"), [("9600", False), ("9400", True), ("8900", True)])
def test_the_limit_of_the_drawdown_is_drawn_when_it_comes_near(low, is_shown):
    _, drawdown = equity_charts(curve([point(0, "10000"), point(9, low)]), Decimal("-0.1"))
    assert ("halt at −10 %" in drawdown.drawing) is is_shown


def test_an_account_reported_once_has_no_curve():
    lonely = panel(facts(curve=curve([point(0, "10000")])), "equity")
    assert lonely.charts == []


# --- the work ---------------------------------------------------------------------------------------------------------


def test_cycles_are_counted_by_outcome_the_most_frequent_first():
    told = panel(facts(), "cycles")
    assert [(bar.name, bar.text) for bar in told.bars] == [
        ("screened out", "30 · 75.0 %"),
        ("model hold", "9 · 22.5 %"),
        ("traded", "1 · 2.5 %"),
    ]
    assert told.bars[2].address == ("decisions.decisioncycle?outcome__exact=traded&slot_at__gte=2022-10-31T12:00Z")
    assert told.note == "1 still open."


def test_the_screener_tells_what_passes_what_it_saves_and_what_it_misses_with_counts():
    assert figures(facts(), "screener") == {
        "Passed, 24 hours": ("11.8 %", "4 of 34 screened cycles; 90 %: 5 % to 24 %"),
        "Calls of the big model saved, 24 hours": ("70.0 %", "28 of 40 that it would have been asked"),
        "Missed, newest audits": ("5.0 %", "1 of 20 audits in which the big model wanted to act; 90 %: 1 % to 20 %"),
    }


def test_a_screener_that_was_not_asked_has_no_rates():
    idle = Cycles(by_outcome={}, still_open=0, screened=0, passed=0, screened_out=0, audited=0)
    nothing = Spending(budget=Budget(Decimal(0), Decimal(15)), today={}, analysed=0)
    told = figures(facts(cycles=idle, spending=nothing), "screener")
    assert [text for text, _ in told.values()] == ["–", "–", "5.0 %"]
    assert dear_calls_saved(idle, nothing).value is None


def test_what_models_cost_is_told_by_purpose_the_dearest_first():
    assert bars(facts(), "models") == {
        "Analysis": ("0.8571", "10 calls · 3.00 USD", "info"),
        "Screening": ("0.1429", "34 calls · 0.50 USD", "info"),
    }


def closed(confidence: str, result: str) -> ClosedTrade:
    return ClosedTrade(
        opened_at=NOON,
        closed_at=NOON,
        symbol="BTC",
        entry_notional=Decimal(100),
        gross_pnl=Decimal(result),
        fees=Decimal(0),
        funding=Decimal(0),
        confidence=Decimal(confidence),
    )


def test_calibration_draws_every_bucket_with_its_interval_and_tells_its_counts():
    known = calibration([closed("0.62", "5"), closed("0.68", "-5"), closed("0.81", "5")])
    chart = calibration_chart(known)
    assert chart.drawing.count("<circle") == 2
    assert chart.rows[0] == ("60 % to 70 %", "2", "65.0 %", "50.0 %", "12 % to 88 %")
    assert chart.summary == "3 trades: 70 % stated on average, 67 % won."
    told = panel(facts(calibration=known), "calibration")
    assert [figure.text for figure in told.figures] == ["0.214", "66.7 %"]


def test_without_a_stated_confidence_there_is_no_calibration():
    told = panel(facts(), "calibration")
    assert told.is_empty
    assert told.empty == "No closed trade with a stated confidence yet."


def test_the_playbook_that_trades_stands_beside_the_one_that_waits():
    active = Version(key=3, version=4, by="ann", at=NOON, summary="Fewer trades in a range.")
    waits = Version(key=4, version=5, by="reflection", at=NOON, summary="")
    assert figures(facts(active=active, challenger=waits), "playbook") == {
        "It trades": ("Version 4", "since 2022-11-01 12:00 UTC, ann: Fewer trades in a range."),
        "It waits": ("Version 5", "since 2022-11-01 12:00 UTC, reflection"),
    }
    assert panel(facts(active=active), "playbook").note == "No version waits to trade."


def test_what_was_heard_of_last_is_told_with_its_age_and_what_it_may_be():
    old = heard(name="BTC snapshot", wall_at=NOON - 2 * HOUR)
    told = panel(facts(heard=[heard(), old]), "heard").figures
    assert [(each.text, each.tone) for each in told] == [("10 s ago", "good"), ("2 h 00 min ago", "bad")]
    assert told[0].note == "as of 2022-11-01 12:00 UTC; at most 2 min 00 s"


def test_alerts_lead_to_what_was_told():
    told = panel(facts(alerts=[Alert(key=8, at=NOON, severity="WARN", title="Close to the limit")]), "alerts")
    (row,) = told.tables[0].rows
    assert [cell.text for cell in row] == ["11-01 12:00", "WARN", "Close to the limit"]
    assert row[0].address == "decisions.outboxmessage/8"


# --- all of it --------------------------------------------------------------------------------------------------------


def numbers(panels: list[Panel]) -> Iterator[tuple[str, str, str]]:
    for each in panels:
        for part in (*each.figures, *each.bars):
            yield each.key, part.name, part.address or each.address


def test_every_number_leads_to_the_rows_behind_it():
    known = facts()
    panels = [*account_panels.panels(known, TO), *work_panels.panels(known, TO)]
    assert [(key, name) for key, name, address in numbers(panels) if not address] == []


def test_a_system_that_has_done_nothing_yet_says_so_panel_by_panel():
    nothing = facts(
        account=account(state="unknown", equity=None, key=None),
        curve=curve(),
        exposure=Exposure(holdings=[], pending=0, pending_usd=Decimal(0)),
        cycles=Cycles(by_outcome={}, still_open=0, screened=0, passed=0, screened_out=0, audited=0),
        last_cycles=[],
        heard=[heard(market_at=None, wall_at=None)],
    )
    empty = {
        key for key in ("positions", "cycles", "calibration", "playbook", "alerts") if panel(nothing, key).is_empty
    }
    assert empty == {"positions", "cycles", "calibration", "playbook", "alerts"}
    assert headline(nothing, TO).address == "risk.riskstate?"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (per_cent(Decimal("-0.01234")), "−1.23 %"),
        (per_cent(None), "–"),
        (usd(Decimal("-1234.5"), signed=True), "−1,234.50 USD"),
        (usd(Decimal("0.004"), signed=True), "+0.00 USD"),
        (price(Decimal("20634.8000")), "20,634.8"),
        (price(Decimal("200")), "200"),
        (ratio(Decimal("-0.5")), "−0.50 R"),
    ],
)
def test_numbers_are_told_as_people_read_them(told, text):
    assert told == text


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("5 % to 24 % of 417", "5\u00a0% to 24\u00a0% of 417"),
        ("2 h 05 min, 12.00 USD, +1.20 R", "2\u00a0h 05\u00a0min, 12.00\u00a0USD, +1.20\u00a0R"),
        ("3 R-squared and 2 hours", "3\u00a0R-squared and 2 hours"),
    ],
)
def test_a_number_stays_on_one_line_with_its_unit(told, shown):
    assert together(told) == shown
