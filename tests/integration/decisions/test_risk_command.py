"""`manage.py risk` on real Postgres: what it shows, what it does, and its exit codes."""

import getpass
import json
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection, transaction
from pytest_django import Settings

from decisions.management.commands.risk import Command
from decisions.models import Order, OutboxMessage
from decisions.risk_command.layout import bar
from orchestrator_project.command_line import acted_on
from risk.limits import LIMIT_FIELDS
from risk.models import Halt, RiskAction, RiskState
from risk.services import begin_halt
from tests.integration.decisions.build import NOON, book, position_payload, sent_order
from tests.integration.decisions.scene import account, command, later, sent_orders
from tests.integration.decisions.scene import bar as bar_comes_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]
MIDNIGHT = NOON - timedelta(hours=12)


risk = partial(command, "risk")


def days_of_losses() -> None:
    """10 % below the peak after days of losses; the drawdown halt stands."""
    for day, equity in enumerate(["10000", "9800", "9600", "9400", "9200", "9000"]):
        account(NOON + timedelta(days=day), equity=equity)
    assert [halt.kind for halt in Halt.objects.all()] == ["drawdown"]


def _line(text: str, heading: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(heading)]
    return " ".join(found.removeprefix(heading).split())


def test_a_database_that_is_read_only_is_told_in_one_line() -> None:
    told = r"^Nothing was done, the database refuses: cannot execute .*\. Try again\.$"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(CommandError, match=told):
            risk("halt", "--reason", "drill", "--by", "ada")
        transaction.set_rollback(True)
    assert not Halt.objects.exists()


# --- status -----------------------------------------------------------------------------------------------------------


def test_before_the_first_report_it_says_that_nothing_is_known() -> None:
    code, text = risk("status")
    assert (code, text.splitlines()[0]) == (0, "No report of the account has come in yet: nothing is opened.")
    assert _line(text, "today") == "Daily loss cannot be measured with these figures"
    assert not RiskState.objects.exists()  # to look changes nothing


def test_the_account_is_shown_against_its_limits() -> None:
    bar_comes_in(later(60))
    account(NOON, equity="10000")
    account(later(60), equity="9895")
    RiskState.objects.update(loss_streak=2)
    code, text = risk("status")
    assert (code, text.splitlines()[0]) == (0, "Running: the gate judges every opening.")
    assert _line(text, "market time") == "2022-11-20 13:00 UTC"
    assert _line(text, "equity") == "9,895.00 USD, 2022-11-20 13:00 UTC"
    assert _line(text, "day start") == "10,000.00 USD, 2022-11-20"
    assert _line(text, "today") == "[########................] -1.05 % of -3.00 %"
    assert _line(text, "drawdown") == "[##......................] -1.05 % of -10.00 %"
    assert _line(text, "loss streak") == "2 in a row, 3 start a cooldown"
    assert (_line(text, "cooldown"), _line(text, "halts")) == ("none", "none")


def test_a_cooldown_is_said_while_it_lasts() -> None:
    bar_comes_in(later(10))
    account(later(10))
    RiskState.objects.update(cooldown_until=later(30))
    sentence = "Cooling down until 2022-11-20 12:30 UTC: nothing is opened, exits go on."
    assert risk("status")[1].splitlines()[0] == sentence
    bar_comes_in(later(30))
    account(later(30))
    assert risk("status")[1].splitlines()[0] == "Running: the gate judges every opening."


def test_halts_are_shown_with_who_and_why_and_their_end() -> None:
    bar_comes_in(later(60))
    account(NOON)
    account(later(60), equity="9700")
    risk("halt", "--by", "ada", "--reason", "the news")
    text = risk("status")[1]
    assert text.splitlines()[0] == "Halted (daily_loss, manual): nothing is opened, exits go on."
    assert _line(text, "today") == "[########################] -3.00 % of -3.00 %"
    assert _line(text, "daily_loss").startswith("2022-11-20 13:00 UTC risk gate 2022-11-21 00:00 UTC Equity changed by")
    assert _line(text, "manual") == "2022-11-20 13:00 UTC ada a person the news"


def test_as_json_it_is_the_same_in_figures() -> None:
    bar_comes_in(later(60))
    account(NOON)
    account(later(60), equity="9700")
    code, text = risk("status", "--json")
    found = json.loads(text)
    assert (code, found["state"], found["equity"], found["day"]) == (0, "halted", "9700.0000", "2022-11-20")
    assert (found["daily_loss"]["measured"], found["daily_loss"]["limit"], Decimal(found["daily_loss"]["used"])) == (
        "-0.03", "-0.03", 1)  # fmt: skip
    assert found["halts"][0]["until"] == "2022-11-21T00:00:00Z"


@pytest.mark.parametrize(
    ("share", "filled"), [("0", 0), ("0.001", 1), ("0.5", 12), ("0.999", 23), ("1", 24), ("7", 24)]
)
def test_a_bar_is_full_at_the_limit_and_not_before(share: str, filled: int) -> None:
    assert bar(Decimal(share)) == f"[{'#' * filled}{'.' * (24 - filled)}]"


# --- limits -----------------------------------------------------------------------------------------------------------


def test_every_limit_is_shown_with_its_source_and_bounds(settings: Settings) -> None:
    code, text = risk("limits")
    assert code == 0
    assert _line(text, "MAX_DAILY_LOSS_PCT") == "0.03 default 0.03 above 0 0.10"
    assert _line(text, "COOLDOWN_AFTER_LOSS_STREAK") == "1800 default 1800 300 604800"
    found: list[dict[str, str]] = json.loads(risk("limits", "--json")[1])
    assert [limit["name"] for limit in found] == [field.name for field in LIMIT_FIELDS]
    assert {limit["value"] for limit in found} == set(settings.RISK_LIMITS.as_dict().values())


# --- halt and resume --------------------------------------------------------------------------------------------------


def test_a_halt_and_a_resume_are_kept_with_name_reason_and_source() -> None:
    on = f"Of: SANDBOX, database {connection.settings_dict['NAME']} at {connection.settings_dict['HOST']}\n"
    assert risk("halt", "--by", "ada", "--reason", " the news ") == (
        0, f"Halted: nothing is opened until a person resumes.\n{on}")  # fmt: skip
    assert risk("resume", "--by", "bob", "--reason", "over") == (0, f"Lifted: manual.\n{on}")
    kept = RiskAction.objects.order_by("id").values_list("action", "source", "by", "reason")
    assert list(kept) == [("halt", "command", "ada", "the news"), ("resume", "command", "bob", "over")]


def test_the_login_name_is_the_default() -> None:
    risk("halt", "--reason", "the news")
    assert RiskAction.objects.get().by == getpass.getuser()


def test_what_the_facts_refuse_is_said_and_ends_with_one() -> None:
    refused = "There is nothing to lift. No halt stands."
    assert risk("resume", "--reason", "go on") == (1, f"Refused. {refused}\nOf: {acted_on()}\n")
    code, text = risk("resume", "--reason", "go on", "--json")
    assert (code, json.loads(text)) == (1, {"of": acted_on(), "done": False, "told": refused})


def test_the_daily_halt_is_refused_with_its_end() -> None:
    begin_halt(Halt.Kind.DAILY_LOSS, "3 %", now=NOON, by="risk gate")
    bar_comes_in()
    account()
    code, text = risk("resume", "--reason", "go on")
    assert (code, "stands until 2022-11-21 00:00 UTC, never to be lifted before" in text) == (1, True)


def test_a_drawdown_needs_its_peak_re_based_explicitly() -> None:
    days_of_losses()
    code, text = risk("resume", "--reason", "understood")
    assert (code, "--rebase-peak" in text) == (1, True)
    code, text = risk("resume", "--rebase-peak", "--by", "ada", "--reason", "understood")
    assert (code, text.startswith("Lifted: drawdown. Peak re-based from 10000.0000 to 9000.0000 USD")) == (0, True)
    assert RiskState.objects.get().peak_equity == 9000
    assert OutboxMessage.objects.get(category="risk_resume").severity == "WARN"


def test_closing_everything_says_what_it_closes(django_capture_on_commit_callbacks: Any) -> None:
    bar_comes_in()
    book(sent_order(), stop_confirmed=True)
    account(NOON, position_payload())
    with django_capture_on_commit_callbacks(execute=True):
        code, text = risk("halt", "--close-all", "--by", "ada", "--reason", "the news", "--json")
    told = "Halted: nothing is opened until a person resumes.\nBTC-USDT-SWAP LONG 2: closing at market."
    assert (code, json.loads(text)) == (0, {"of": acted_on(), "done": True, "told": told})
    assert (Order.objects.get(kind="close_all").status, len(sent_orders())) == ("sent", 1)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        (), ("nosuch",), ("halt",), ("resume",), ("halt", "--reason"), ("status", "--reason", "x"),
        ("halt", "--rebase-peak", "--reason", "x"), ("resume", "--close-all", "--reason", "x"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_ends_with_two(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Command().run_from_argv(["manage.py", "risk", *words])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("halt", "--reason", "  "), "--reason is empty"),
        (("halt", "--by", " ", "--reason", "x"), "a name of 1 to 100 characters is needed"),
        (("resume", "--by", "a" * 101, "--reason", "x"), "a name of 1 to 100 characters is needed"),
    ],
)
def test_a_name_and_a_reason_must_be_some(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandError, match=told) as raised:
        risk(*words)
    assert raised.value.returncode == 2
    assert not RiskAction.objects.exists()


def test_a_name_in_any_script_is_kept_and_bytes_that_are_no_text_are_escaped() -> None:
    assert risk("halt", "--by", "名前", "--reason", "größer")[0] == 0
    assert risk("halt", "--by", "ada\udcff", "--reason", "so\udcfe")[0] == 0
    assert list(RiskAction.objects.order_by("id").values_list("by", "reason")) == [
        ("名前", "größer"),
        ("ada\\udcff", "so\\udcfe"),
    ]


def test_a_login_without_a_name_must_say_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(CommandError, match="--by is needed") as raised:
        risk("halt", "--reason", "x")
    assert raised.value.returncode == 2
    assert risk("halt", "--by", "ada", "--reason", "x")[0] == 0


def test_the_help_has_examples_and_the_exit_codes() -> None:
    text = Command().create_parser("manage.py", "risk").format_help()
    assert "\n  manage.py risk halt --close-all --by ada --reason " in text
    assert "exit codes: 0 done, 1 refused by the facts, 2 a mistake in what was typed" in text
