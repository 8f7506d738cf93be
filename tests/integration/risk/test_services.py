"""The account's state on real Postgres: day start, peak, halts, warnings, cooldown, the chain of verdicts."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connections, transaction

from risk import gate, services
from risk.models import Halt, RiskRejection, RiskState, Verdict
from risk.services import RiskNotice

pytestmark = pytest.mark.django_db
D = Decimal
DAY = datetime(2022, 11, 20, tzinfo=UTC)
MIDNIGHT = DAY + timedelta(days=1)


@transaction.atomic
def report(at: datetime, equity: str, transfers: str = "0") -> list[RiskNotice]:
    state = services.lock_state()
    return services.on_account_update(state, equity=D(equity), net_transfers=D(transfers), as_of=at)


def state() -> RiskState:
    return RiskState.objects.get()


def standing() -> list[str]:
    return [halt.kind for halt in services.standing_halts()]


def categories(notices: list[RiskNotice]) -> list[tuple[str, str]]:
    return [(notice.severity, notice.category) for notice in notices]


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


def test_an_older_report_changes_nothing() -> None:
    report(DAY + timedelta(hours=1), "10000")
    assert report(DAY, "1") == []
    assert (state().equity, standing()) == (10000, [])


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
    equities = ["10000", "9800", "9600", "9400", "9200", "9000"]  # less than 3 % a day, 10 % in all
    for day, equity in enumerate(equities):
        notices = report(DAY + timedelta(days=day), equity)
    assert ("CRITICAL", "risk_drawdown") in categories(notices)
    assert standing() == ["drawdown"]
    report(DAY + timedelta(days=9), "9900")
    assert standing() == ["drawdown"]


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


def test_a_person_lifts_every_halt_but_the_daily_one() -> None:
    report(DAY, "10000")
    with transaction.atomic():
        services.lock_state()
        services.begin_halt(Halt.Kind.MANUAL, "a drill", now=DAY, by="ada")
        services.begin_halt(Halt.Kind.DRAWDOWN, "10 %", now=DAY, by="risk gate")
        services.begin_halt(Halt.Kind.DAILY_LOSS, "3 %", now=DAY, by="risk gate")
        assert services.begin_halt(Halt.Kind.MANUAL, "again", now=DAY, by="bob") == []
        lifted = services.resume(now=DAY + timedelta(hours=1), by="ada", reason="looked at")
    assert [halt.kind for halt in lifted] == ["manual", "drawdown"]
    assert standing() == ["daily_loss"]
    manual = Halt.objects.get(kind="manual")
    assert (manual.reason, manual.ended_by, manual.end_reason) == ("a drill", "ada", "looked at")


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


# --- the streak -------------------------------------------------------------------------------------------------------


@transaction.atomic
def close_trade(net: str | None, at: datetime = DAY) -> list[RiskNotice]:
    known = None if net is None else D(net)
    return services.on_trade_closed(services.lock_state(), net_pnl_usd=known, now=at)


def test_the_third_loss_in_a_row_begins_a_cooldown_and_the_count_is_zeroed() -> None:
    assert close_trade("-1") == close_trade("-0.0001") == []
    assert categories(close_trade("-5", DAY + timedelta(hours=1))) == [("WARN", "risk_cooldown")]
    assert (state().loss_streak, state().cooldown_until) == (0, DAY + timedelta(hours=1, minutes=30))
    close_trade("-1")
    assert state().loss_streak == 1


@pytest.mark.parametrize("net", ["0", "0.0001", None])
def test_a_trade_that_is_no_known_loss_ends_the_streak(net: str | None) -> None:
    close_trade("-1")
    close_trade("-1")
    close_trade(net)
    assert state().loss_streak == 0


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
