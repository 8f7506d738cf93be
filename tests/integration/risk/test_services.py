"""The account's state on real Postgres: day start, peak, halts, warnings, cooldown, the chain of verdicts."""

import threading
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connections, transaction

from risk import gate, services
from risk.models import Halt, RiskRejection, RiskState, Verdict
from tests.integration.risk.scene import DAY, MIDNIGHT, categories, in_drawdown, report, standing, state

pytestmark = pytest.mark.django_db
D = Decimal


# --- day start and peak -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "start"),
    [(-5, 10100), (-15, 10100), (-16, 10300)],
    ids=["5 minutes old", "15 minutes old", "16 minutes old"],
)
def test_the_day_starts_with_the_last_report_before_midnight_if_it_is_fresh(minutes: int, start: int) -> None:
    report(MIDNIGHT - timedelta(hours=5), "10000")
    report(MIDNIGHT + timedelta(minutes=minutes), "10100")
    report(MIDNIGHT + timedelta(minutes=7), "10300")
    report(MIDNIGHT + timedelta(minutes=9), "10400")
    assert (state().day_start_equity, state().day) == (start, MIDNIGHT.date())


def test_a_report_of_midnight_itself_is_the_start_and_of_several_the_last() -> None:
    report(MIDNIGHT - timedelta(minutes=5), "10000")
    report(MIDNIGHT, "10100")
    report(MIDNIGHT, "10150")
    report(MIDNIGHT + timedelta(minutes=5), "10200")
    assert state().day_start_equity == 10150


def test_the_first_report_ever_starts_day_and_peak() -> None:
    report(DAY + timedelta(hours=9), "10000", transfers="500")
    found = state()
    assert (found.day_start_equity, found.peak_equity, found.day_start_transfers) == (10000, 10000, 500)


def test_days_without_reports_start_with_the_first_one_after_them() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(days=3, hours=2), "9000")
    assert (state().day_start_equity, state().day) == (9000, (DAY + timedelta(days=3)).date())


def test_the_peak_only_rises_and_transfers_are_no_gain() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "10500")
    report(DAY + timedelta(hours=2), "10200")
    assert state().peak_equity == 10500
    report(DAY + timedelta(hours=3), "15200", transfers="5000")  # 10200 and a deposit
    assert (state().peak_equity, state().peak_transfers) == (10500, 0)
    report(DAY + timedelta(hours=4), "15600", transfers="5000")
    assert (state().peak_equity, state().peak_transfers) == (15600, 5000)


def test_the_first_report_ever_is_adopted_as_found_and_said_so() -> None:
    (notice,) = report(DAY + timedelta(hours=9), "12345.6")
    assert (notice.severity, notice.title) == ("INFO", "Account adopted: equity 12345.6 USD")
    assert report(DAY + timedelta(hours=10), "12300") == []


def test_an_older_report_changes_nothing() -> None:
    report(DAY + timedelta(hours=1), "10000")
    before = RiskState.objects.values().get()
    assert report(DAY, "1") == []
    assert report(DAY - timedelta(days=1), "1") == []
    assert (RiskState.objects.values().get(), standing()) == (before, [])


def test_when_our_clock_was_set_back_reports_are_judged_and_the_day_that_has_begun_goes_on() -> None:
    report(MIDNIGHT + timedelta(minutes=20), "10000")
    before = MIDNIGHT - timedelta(minutes=40)
    assert report(before, "9960", clock_set_back=True) == []
    assert (state().day, state().day_start_equity, state().equity_at) == (MIDNIGHT.date(), 10000, before)
    report(before + timedelta(minutes=1), "9600")
    assert standing() == ["daily_loss"]
    report(MIDNIGHT + timedelta(minutes=10), "9600")
    assert (state().day_start_equity, standing()) == (10000, ["daily_loss"])


def test_a_clock_that_jumped_ahead_begins_its_day_and_one_that_jumps_back_waits_until_it_has_caught_up() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "9700")
    assert standing() == ["daily_loss"]
    ahead = DAY + timedelta(days=3, hours=1)
    report(ahead, "9690")
    assert (standing(), state().day, state().day_start_equity) == ([], ahead.date(), 9690)
    assert report(DAY + timedelta(hours=2), "5000") == []  # back again
    assert (standing(), state().equity) == ([], 9690)
    report(ahead + timedelta(minutes=5), "9399.3")  # 3 % of the day that began with the jump
    assert standing() == ["daily_loss"]


# --- halts ------------------------------------------------------------------------------------------------------------


def test_a_daily_loss_of_three_percent_halts_until_midnight_and_no_longer() -> None:
    report(DAY, "10000")
    notices = report(DAY + timedelta(hours=2), "9700")
    assert ("CRITICAL", "risk_daily_loss") in categories(notices)
    assert standing() == ["daily_loss"]
    assert Halt.objects.get().until == MIDNIGHT

    report(DAY + timedelta(hours=3), "10000")  # recovered: the halt stands
    assert standing() == ["daily_loss"]
    report(MIDNIGHT - timedelta(seconds=1), "10000")
    assert standing() == ["daily_loss"]
    assert ("WARN", "risk_halt_ended") in categories(report(MIDNIGHT, "10000"))
    assert standing() == []
    assert (Halt.objects.get().ended_by, Halt.objects.get().ended_at) == ("midnight", MIDNIGHT)


def test_just_above_the_daily_limit_nothing_is_halted() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "9700.01")
    assert standing() == []


def test_a_halt_is_told_once_while_it_stands() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "9700")
    assert report(DAY + timedelta(hours=2), "9600") == []
    assert Halt.objects.count() == 1


def test_a_drawdown_of_ten_percent_is_an_emergency_that_midnight_does_not_lift() -> None:
    in_drawdown()
    assert Halt.objects.get().until is None
    report(DAY + timedelta(days=9), "9900")
    assert standing() == ["drawdown"]


def test_a_drawdown_is_told_as_critical() -> None:
    report(DAY, "10000")
    assert ("CRITICAL", "risk_drawdown") in categories(report(DAY + timedelta(days=1), "9000"))


@pytest.mark.parametrize("equity", ["0", "-5"])
def test_an_account_without_equity_is_an_emergency(equity: str) -> None:
    report(DAY, equity)
    assert standing() == ["drawdown"]


def test_a_withdrawal_is_no_loss_and_a_deposit_hides_none() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "6000", transfers="-4000")
    assert standing() == []
    report(DAY + timedelta(hours=2), "10699", transfers="1000")  # 10000 + 1000 - 301
    assert standing() == ["daily_loss"]


def test_closeness_to_a_limit_is_warned_of_once_a_day() -> None:
    report(DAY, "10000")
    assert report(DAY + timedelta(hours=1), "9761") == []
    assert categories(report(DAY + timedelta(hours=2), "9760")) == [("WARN", "risk_daily_loss")]  # 80 % of 3 %
    assert report(DAY + timedelta(hours=3), "9750") == []
    assert report(MIDNIGHT, "9750") == []
    assert categories(report(MIDNIGHT + timedelta(hours=1), "9516")) == [("WARN", "risk_daily_loss")]


def test_openings_are_blocked_by_a_halt_first_and_by_a_cooldown_while_it_lasts() -> None:
    report(DAY, "10000")
    assert services.openings_blocked(DAY) is None
    RiskState.objects.update(cooldown_until=DAY + timedelta(minutes=30))
    blocked = services.openings_blocked(DAY + timedelta(minutes=29))
    assert blocked is not None
    assert blocked[0] == "cooldown"
    assert services.openings_blocked(DAY + timedelta(minutes=30)) is None
    services.begin_halt(Halt.Kind.MANUAL, "a drill", now=DAY, by="ada")
    assert services.openings_blocked(DAY) == ("halted", "manual: a drill")


# --- verdicts ---------------------------------------------------------------------------------------------------------


def judge(size_pct: str) -> services.Judged:
    with transaction.atomic():
        locked = services.lock_state()
        return services.judge(
            locked,
            decision_id=uuid4(),
            cycle_number=1,
            decision={"action": "OPEN_LONG"},
            proposal=gate.Proposal(
                action="OPEN_LONG", symbol="BTC-USDT-SWAP", size_pct=D(size_pct), leverage=D(2),
                stop_loss=D(19800), take_profit=D(20400), snapshot_price=D(20000),
                order_type="market",
                limit_price=None,
                bid=D("19999.9"),
                ask=D("20000.1"),
            ),
            equity=D(10000),
            positions=(),
            pending=(),
            correlations={},
            instrument=gate.Instrument(
                symbol="BTC-USDT-SWAP", ct_val=D("0.01"), lot_size=D("0.01"), min_size=D("0.01"), tick_size=D("0.1")
            ),
            now=DAY,
        )  # fmt: skip


def test_verdicts_are_chained_and_refusals_are_kept() -> None:
    report(DAY, "10000")
    assert judge("0.04").verdict.approved
    refused = judge("0.06")
    assert not refused.verdict.approved
    first, second = Verdict.objects.order_by("id")
    assert (first.previous_hash, second.previous_hash) == (services.FIRST_HASH, first.content_hash)
    for row in (first, second):
        assert row.content_hash == services.chained_hash(row.previous_hash, row.decision_id, row.inputs, row.results)
    rejection = RiskRejection.objects.get()
    assert rejection.verdict == second
    assert [rule["rule"] for rule in rejection.failed_rules] == ["trade_size"]


def test_before_the_first_report_nothing_may_be_opened() -> None:
    assert not judge("0.04").verdict.approved


@pytest.mark.django_db(transaction=True)
def test_the_state_is_made_once_however_many_ask_for_it_at_once() -> None:
    start, seen = threading.Barrier(8), []

    def work() -> None:
        try:
            start.wait()
            with transaction.atomic():
                locked = services.lock_state()
                locked.loss_streak += 1
                locked.save()
                seen.append(locked.loss_streak)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 9))
    assert RiskState.objects.get().loss_streak == 8
