"""Halts on real Postgres: what stands, what a person may lift, and that each act is kept with name and reason."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from risk import services
from risk.models import Halt, RiskAction, RiskState
from risk.services import Refused, RiskNotice
from tests.integration.risk.scene import DAY, MIDNIGHT, categories, in_drawdown, report, standing, state

pytestmark = pytest.mark.django_db
LATER = DAY + timedelta(days=5, hours=1)
ADA: Any = {"by": "ada", "reason": "looked at it", "source": "command"}


@transaction.atomic
def halt(**changes: Any) -> tuple[str, list[RiskNotice]]:
    services.lock_state()
    return services.halt(**{**ADA, "now": DAY, **changes})


@transaction.atomic
def resume(**changes: Any) -> tuple[str, list[RiskNotice]]:
    return services.resume(services.lock_state(), **{**ADA, "now": LATER, **changes})


def refused(**changes: Any) -> str:
    """Why a resume is refused; nothing has changed."""
    before = (standing(), RiskAction.objects.count(), list(RiskState.objects.values()))
    with pytest.raises(Refused) as raised:
        resume(**changes)
    assert (standing(), RiskAction.objects.count(), list(RiskState.objects.values())) == before
    return str(raised.value)


def actions() -> list[tuple[str, str, str, str]]:
    return list(RiskAction.objects.order_by("id").values_list("action", "source", "by", "reason"))


# --- halting ----------------------------------------------------------------------------------------------------------


def test_a_persons_halt_stands_and_is_kept_with_name_reason_and_source() -> None:
    done, notices = halt()
    found = Halt.objects.get()
    assert (found.kind, found.reason, found.started_by, found.until) == ("manual", "looked at it", "ada", None)
    assert actions() == [("halt", "command", "ada", "looked at it")]
    assert (done, categories(notices)) == (
        "Halted: nothing is opened until a person resumes.", [("WARN", "risk_manual")])  # fmt: skip


def test_a_second_halt_leaves_the_first_as_it_is_and_is_kept_too() -> None:
    halt()
    done, notices = halt(by="bob", source="admin")
    assert done == "Halted already, by ada since 2022-11-20 00:00 UTC: that halt stands on."
    assert (Halt.objects.get().started_by, notices) == ("ada", [])
    assert [(action, by) for action, _, by, _ in actions()] == [("halt", "ada"), ("halt", "bob")]


@pytest.mark.parametrize("missing", ["by", "reason"])
def test_nobody_acts_without_a_name_and_a_reason(missing: str) -> None:
    with pytest.raises(Refused, match="a name and a reason are needed"):
        halt(**{missing: "  "})
    assert standing() == []
    halt()
    assert "a name and a reason" in refused(**{missing: ""})


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_a_resume_lifts_a_persons_halt_with_name_and_reason() -> None:
    halt()
    done, notices = resume(by="bob", reason="it is over")
    found = Halt.objects.get()
    assert (found.ended_by, found.end_reason, found.ended_at) == ("bob", "it is over", LATER)
    assert (done, categories(notices)) == ("Lifted: manual.", [("INFO", "risk_resume")])
    assert actions()[-1] == ("resume", "command", "bob", "it is over")


def test_there_must_be_something_to_lift() -> None:
    assert refused() == "There is nothing to lift. No halt stands."


def test_the_daily_halt_is_never_lifted_before_midnight() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(hours=1), "9700")
    now = DAY + timedelta(hours=2)
    told = "The daily-loss halt stands until 2022-11-21 00:00 UTC, never to be lifted before."
    assert refused(now=now) == f"There is nothing to lift. {told}"
    halt()
    assert resume(now=now)[0] == f"Lifted: manual. {told}"
    assert standing() == ["daily_loss"]
    report(MIDNIGHT, "9700")
    assert standing() == []


def test_a_drawdown_that_has_recovered_is_lifted_by_a_resume() -> None:
    in_drawdown()
    halt()
    report(LATER, "9000.01")  # 9.9999 %
    assert resume()[0] == "Lifted: drawdown, manual."
    assert (standing(), state().peak_equity) == ([], 10000)
    assert report(LATER + timedelta(hours=1), "9000.01") == []


@pytest.mark.parametrize("equity", ["9000", "8950"])
def test_a_drawdown_at_its_limit_or_beyond_is_not_lifted_without_re_basing(equity: str) -> None:
    in_drawdown()
    halt()
    report(LATER, equity)
    told = refused()
    assert told.startswith("Equity changed by -10")
    assert "back with the next report" in told
    assert "`manage.py risk resume --rebase-peak`" in told
    assert standing() == ["drawdown", "manual"]


def test_re_basing_measures_the_drawdown_from_the_equity_as_last_reported() -> None:
    in_drawdown()
    report(LATER, "9450", transfers="500")  # still 8950 without the deposit
    done, notices = resume(rebase_peak=True)
    told = "Peak re-based from 10000.0000 to 9450.0000 USD, the equity reported as of 2022-11-25 01:00 UTC."
    assert done == f"Lifted: drawdown. {told}"
    assert categories(notices) == [("WARN", "risk_resume")]
    assert (state().peak_equity, state().peak_transfers, standing()) == (9450, 500, [])
    assert [(action, by) for action, _, by, _ in actions()] == [("rebase_peak", "ada"), ("resume", "ada")]
    assert RiskAction.objects.get(action="rebase_peak").detail == told
    assert report(LATER + timedelta(hours=1), "9450", transfers="500") == []
    report(LATER + timedelta(days=1), "8900", transfers="500")  # 5.8 % below the new peak
    assert "drawdown" not in standing()
    report(LATER + timedelta(days=2), "8505", transfers="500")
    assert "drawdown" in standing()


def test_after_re_basing_closeness_to_the_drawdown_limit_is_warned_of_again() -> None:
    in_drawdown()
    RiskState.objects.update(warned_on={"drawdown": "2022-11-25", "daily_loss": "2022-11-25"})
    resume(rebase_peak=True)
    assert state().warned_on == {"daily_loss": "2022-11-25"}


def test_the_peak_is_never_re_based_from_the_stream() -> None:
    in_drawdown()
    assert refused(source="stream", rebase_peak=True).startswith("The peak is never re-based from the stream")


def test_the_peak_is_re_based_only_to_end_a_drawdown_halt() -> None:
    report(DAY, "10000")
    report(DAY + timedelta(days=1), "9750")
    halt()
    assert refused(rebase_peak=True).startswith("No drawdown halt stands")
    assert state().peak_equity == 10000


@pytest.mark.parametrize("equity", ["0", "-5"])
def test_an_account_without_equity_cannot_be_re_based(equity: str) -> None:
    report(DAY, equity)
    assert "nothing is left to trade with" in refused()
    assert "there is nothing to trade with, and no peak to begin from" in refused(rebase_peak=True)


@pytest.mark.django_db(transaction=True)
def test_of_two_resumes_at_once_one_lifts_the_halt_and_is_kept() -> None:
    halt()
    barrier, told = threading.Barrier(2), []

    def work(name: str) -> None:
        try:
            barrier.wait(10)
            told.append(resume(by=name)[0])
        except Refused as refusal:
            told.append(str(refusal))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(told) == ["Lifted: manual.", "There is nothing to lift. No halt stands."]
    kept = RiskAction.objects.get(action="resume")
    assert Halt.objects.get().ended_by == kept.by
