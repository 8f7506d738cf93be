"""The dashboard on real tables: what it reads, what it leads to, and who may see it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from decisions.dashboard import pages, parts, queries
from decisions.models import DecisionCycle, InstrumentBlock, ModelCall, OutboxMessage, ScreenerLog
from journal.models import AccountUpdate, Trade
from risk.models import Halt, RiskState
from tests.integration.admin_rows import logged_in, row
from tests.integration.decisions.build import BTC, NOON
from tests.integration.decisions.scene import ETH, account, bar, later, world

pytestmark = pytest.mark.usefixtures("ready")

DASHBOARD = "/admin/"
MINUTE = timedelta(minutes=1)


def report(minutes: float, equity: str, transfers: str = "0") -> None:
    """The account, as it was reported so long before noon."""
    AccountUpdate.objects.create(
        as_of=NOON - minutes * MINUTE,
        equity=Decimal(equity),
        available=Decimal(0),
        margin_used=Decimal(0),
        unrealized_pnl=Decimal(0),
        net_transfers_usd=Decimal(transfers),
    )


def cycle(number: int, outcome: str, **values: Any) -> DecisionCycle:
    """One that has ended, so many slots before noon."""
    given: dict[str, Any] = {"instrument": BTC, "finished_at": datetime.now(UTC), **values}
    made: Any = row(DecisionCycle, number, outcome=outcome, slot_at=NOON - 5 * number * MINUTE, **given)
    return made


def figures(key: str) -> dict[str, str]:
    shown = pages.panels(queries.facts("24h"))
    return {figure.name: figure.text for panel in shown if panel.key == key for figure in panel.figures}


def page(client: Client, address: str = DASHBOARD) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def reader() -> Client:
    return logged_in("reader", is_superuser=True)[0]


# --- what it reads ----------------------------------------------------------------------------------------------------


def test_a_system_that_has_seen_nothing_has_a_dashboard(reader: Client):
    told = page(reader)
    assert "No report of the account has come in yet" in told
    assert "never came" in told


def test_the_newest_report_at_each_moment_is_what_is_drawn():
    world(NOON)
    for minutes, equity in ((1500, "11000"), (1441, "10500"), (700, "10100"), (699, "9999")):
        report(minutes, equity)
    curve = queries.facts("24h").curve
    assert [point.equity for point in curve.shown] == [9_999, 10_000]
    assert max(point.equity for point in curve.before) == 11_000


@pytest.mark.parametrize(("chosen", "first"), [("24h", 9_001), ("7d", 9_002), ("30d", 9_003), ("all", 9_004)])
def test_a_range_shows_its_own_stretch_and_never_more_points_than_it_may(chosen: str, first: int):
    world(NOON)
    for days, equity in ((0.9, "9001"), (6, "9002"), (29, "9003"), (90, "9004")):
        report(days * 1440, equity)
    for number in range(600):
        report(number, "9500")
    curve = queries.facts(chosen).curve
    assert curve.shown[0].equity == first
    assert len(curve.shown) <= 240
    assert curve.shown[-1].at == NOON


def test_transfers_are_no_result():
    report(60, "10000")
    report(30, "12000", "2000")
    world(NOON)
    assert queries.facts("24h").curve.shown[0].net_transfers == 0


def test_exposure_is_counted_as_the_gate_counts_it():
    held = {"symbol": BTC, "pos_side": "long", "size": "10", "mark_price": "20000", "notional_usd": "2000"}
    world(NOON, {**position(), **held})
    exposure = queries.facts("24h").exposure
    (holding,) = exposure.holdings
    assert (holding.symbol, holding.direction, holding.trade) == (BTC, "LONG", None)
    assert exposure.total_usd == 2000


def position() -> dict[str, Any]:
    return {
        "symbol": BTC, "pos_side": "long", "size": "10", "entry_price": "19900", "mark_price": "20000",
        "notional_usd": "2000", "unrealized_pnl": "10", "leverage": "1", "margin_usd": "2000",
        "liquidation_price": None, "stop_loss": "19700", "take_profit": "20500", "opened_at": "2022-11-01T11:00:00Z",
    }  # fmt: skip


def test_our_trade_gives_a_position_its_entry_and_its_page(reader: Client):
    trade = row(
        Trade, symbol=BTC, direction="LONG", status="open", closed_at=None, size=10, open_size=10,
        ct_val=Decimal("0.01"), entry_price=Decimal(19_800), stop_loss=Decimal(19_600), take_profit=Decimal(20_600),
    )  # fmt: skip
    world(NOON, position())
    (holding,) = queries.facts("24h").exposure.holdings
    assert (holding.trade, holding.entry, holding.stop, holding.mark) == (trade.pk, 19_800, 19_600, 20_000)
    assert (holding.won.multiple, holding.to_stop.multiple) == (1, 2)
    assert f"/admin/journal/trade/{trade.pk}/change/" in page(reader)


def test_cycles_of_a_day_are_counted_by_outcome_and_older_ones_are_not():
    world(NOON)
    for number, (outcome, signal) in enumerate(
        [("traded", True), ("model_hold", True), ("screened_out", False), ("screened_out", False), ("halted", None)]
    ):
        cycle(number, outcome, screener_signal=signal)
    cycle(288, "traded", screener_signal=True)
    known = queries.facts("24h").cycles
    assert known.by_outcome == {"traded": 1, "model_hold": 1, "screened_out": 2, "halted": 1}
    assert (known.screened, known.passed, known.screened_out) == (4, 2, 2)


def test_what_the_screener_missed_is_measured_by_audits_that_could_have_traded():
    world(NOON)
    for number, agreed in enumerate([True, True, False, None]):
        audited = cycle(number, "screened_out", screener_signal=False, shadow_audit=True)
        row(ScreenerLog, number, cycle=audited, signal=False, opus_agreed=agreed)
    held = cycle(9, "model_hold", screener_signal=False)
    row(ScreenerLog, 9, cycle=held, signal=False, opus_agreed=False)
    assert figures("screener")["Missed, newest audits"] == "33.3 %"


def test_models_are_counted_by_the_market_day_and_cycles_by_24_hours():
    world(NOON)
    asked = cycle(0, "model_hold")
    for minutes, purpose, cost, shadow in (
        (1, "analyze", "1.5", False), (2, "analyze", "0.5", False), (3, "analyze", "1", True),
        (4, "screen", "0.25", False), (60 * 13, "analyze", "7", False), (60 * 25, "analyze", "9", False),
    ):  # fmt: skip
        values: dict[str, Any] = {"purpose": purpose, "cost_usd": Decimal(cost), "shadow": shadow}
        row(ModelCall, int(minutes), cycle=asked, market_time=NOON - minutes * MINUTE, **values)
    spending = queries.facts("24h").spending
    assert spending.budget.spent == Decimal("3.25")
    assert spending.today == {"analyze": (3, Decimal(3)), "screen": (1, Decimal("0.25"))}
    assert spending.analysed == 1


def test_the_ages_are_those_of_the_newest_of_every_instrument():
    bar(later(-5))
    world(NOON)
    cycle(1, "traded")
    known = {each.name: each for each in queries.facts("24h").heard}
    assert list(known) == [f"{BTC} snapshot", f"{ETH} snapshot", "Positions", "Finished cycle"]
    assert known[f"{BTC} snapshot"].market_at == NOON
    assert known[f"{ETH} snapshot"].wall_at is None


def test_alerts_are_told_and_decisions_that_were_told_are_not(reader: Client):
    row(OutboxMessage, stream="opus:decisions", payload={"title": "no alert"})
    row(OutboxMessage, 1, stream="system:alerts", severity="WARN", payload={"title": "Close to the limit"})
    assert [alert.title for alert in queries.facts("24h").alerts] == ["Close to the limit"]


def test_what_waits_for_a_person_is_told_at_the_top(reader: Client):
    world(NOON)
    row(InstrumentBlock, symbol=BTC, ended_at=None)
    assert "Instruments blocked until a person lifts it: 1." in page(reader)


def test_what_a_model_wrote_is_shown_as_text(reader: Client):
    world(NOON)
    cycle(0, "model_hold", reason="<script>alert(1)</script> \u202etrap")
    told = page(reader)
    assert "<script>alert(1)" not in told
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in told
    assert "‹U+202E›" in told


# --- what it costs ----------------------------------------------------------------------------------------------------


def queries_of(client: Client) -> int:
    with CaptureQueriesContext(connection) as captured:
        page(client, reverse("dashboard"))
    return len(captured)


def test_the_number_of_queries_does_not_grow_with_the_rows(reader: Client):
    report(60, "10000")
    world(NOON)
    before = queries_of(reader)
    world(NOON + 5 * MINUTE, position())
    account(NOON + 10 * MINUTE, position(), {**position(), "symbol": ETH})
    for number in range(40):
        screened = cycle(number, "screened_out", screener_signal=False, shadow_audit=True)
        row(ScreenerLog, number, cycle=screened, signal=False, opus_agreed=number % 2 == 0)
        row(ModelCall, number, cycle=screened, market_time=NOON)
        row(OutboxMessage, number, stream="system:alerts", severity="INFO", payload={"title": "told"})
        row(Trade, number, symbol=f"S{number}", closed_at=NOON, confidence_at_entry=Decimal("0.7"), pnl_usd=Decimal(1))
        report(number, "10000")
    assert queries_of(reader) == before
    assert before <= 40


# --- what it leads to -------------------------------------------------------------------------------------------------


def links(told: str) -> Iterator[str]:
    contents = told[told.index('id="dashboard"') :]
    yield from sorted({unescape(found) for found in re.findall(r'href="(/[^"]*|\?[^"]*)"', contents)})


def test_every_link_leads_to_a_page_that_takes_its_filters(reader: Client):
    world(NOON, position())
    for number, outcome in enumerate(("traded", "screened_out", "model_hold")):
        cycle(number, outcome, screener_signal=True)
    row(OutboxMessage, stream="system:alerts", severity="WARN", payload={"title": "told"})
    row(InstrumentBlock, symbol=ETH, ended_at=None)
    row(Halt, account="main", kind="manual", ended_at=None, until=None)
    found = list(links(page(reader)))
    assert len(found) > 25
    for address in found:
        response = reader.get(DASHBOARD + address if address.startswith("?") else address)
        assert (address, response.status_code) == (address, 200)


def test_the_list_behind_a_count_has_as_many_rows(reader: Client):
    world(NOON)
    for number, outcome in enumerate(("traded", "model_hold", "model_hold")):
        cycle(number, outcome)
    cycle(400, "model_hold")
    (panel,) = [each for each in pages.panels(queries.facts("24h")) if each.key == "cycles"]
    bar_of_holds = next(each for each in panel.bars if each.name == "model hold")
    listed = reader.get(bar_of_holds.address)
    assert bar_of_holds.text.startswith("2 ")
    assert listed.context["cl"].result_count == 2


# --- who may see it ---------------------------------------------------------------------------------------------------


def test_somebody_who_may_not_see_everything_gets_the_tables_that_they_may(db: None):
    client, user = logged_in("clerk")
    user.user_permissions.add(Permission.objects.get(codename="view_trade"))
    told = page(client)
    assert 'id="dashboard"' not in told
    assert "/admin/journal/trade/" in told
    assert client.get(reverse("dashboard")).status_code == 403


def viewer(*further: str) -> Client:
    client, user = logged_in("viewer")
    names = {name.split(".")[1] for name in (*pages.SHOWN, *further)}
    granted = Permission.objects.filter(codename__in=names)
    assert {permission.codename for permission in granted} == names
    user.user_permissions.set(granted)
    return client


@pytest.mark.parametrize(
    ("further", "offered"),
    [
        ((), []),
        (("risk.halt_trading",), ["halt", "close-all"]),
        (("risk.halt_trading", "risk.resume_trading"), ["halt", "close-all", "resume"]),
    ],
)
def test_a_halted_account_offers_what_the_reader_may_do(further: tuple[str, ...], offered: list[str]):
    world(NOON)
    row(Halt, account="main", kind="manual", ended_at=None, until=None, started_at=NOON)
    state = RiskState.objects.get()
    told = page(viewer(*further))
    assert re.findall(rf"/admin/risk/riskstate/{state.pk}/(halt|close-all|resume)/", told) == offered


def test_there_is_nothing_to_resume_while_nothing_is_halted(reader: Client):
    world(NOON)
    told = page(reader)
    assert "/halt/" in told
    assert "/resume/" not in told


def test_who_is_not_logged_in_is_sent_to_log_in(client: Client):
    for address in (DASHBOARD, reverse("dashboard")):
        response = client.get(address)
        assert response.status_code == 302
        assert "/login/" in response.headers["Location"]


def test_a_range_that_nobody_offers_is_the_usual_one(reader: Client):
    assert 'aria-current="true">24h</a>' in page(reader, f"{DASHBOARD}?range=<script>")


def test_live_says_live(reader: Client, settings: Any):
    settings.SANDBOX = False
    told = page(reader)
    assert re.search(r"headline-live.*LIVE.*real money moves", told)


# --- what others add --------------------------------------------------------------------------------------------------


def test_an_application_above_adds_panels(reader: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "_providers", [*parts._providers])

    @parts.on_dashboard
    def added(now: datetime, to: parts.Addresses) -> list[parts.Panel]:
        version = parts.Figure(name="Challenger's record", text="12 of 20", address=to.rows("reflection.shadowtrade"))
        return [parts.Panel(key="record", title="Record", figures=[version])]

    told = page(reader)
    assert 'id="panel-record"' in told
    assert "12 of 20" in told
