"""A model that tries to break every limit, in a market that crashes, stays inside each of them.

What is shown twice: by the record, every rule of the gate refused or shrank something; and by the venue's ledger alone,
read by a checker that knows nothing of the gate, every opening and add kept to the limits at the moment it was decided.

The limits are set so that three instruments can reach each rule by itself: two positions, 8 % exposure, and losses of
0.6 % a day and 1.2 % in all, since with so little at stake an account does not lose much more in a week. The playbook
allows every size, so that nothing but the gate is in the way.

What blocks a whole account (daily loss, drawdown, a person's halt, the cooldown) is seen when a cycle begins, and in
lockstep nothing can change before the gate's own look: an opening is refused on that first look, also where the model
asks for one against what it was offered. So the gate's verdicts name none of these four; they are counted by the halts
that began, the cycles that ended for them, the openings asked for all the same, and the ledger, which holds none while
a halt stood.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ledger_checker import ENTRIES, Bounds, check

PROJECT = Path(__file__).resolve().parents[2]
DATA = next((folder for folder in (each / "shared" / "data" for each in PROJECT.parents) if folder.is_dir()), None)
CANDLES = "okx_{}-USDT-SWAP_5m_20220501_20221231.csv.gz"

LIMITS = {
    "MAX_CONCURRENT_POSITIONS": "2",
    "MAX_TOTAL_EXPOSURE_PCT": "0.08",
    "MAX_DAILY_LOSS_PCT": "0.006",
    "MAX_DRAWDOWN_PCT": "0.012",
    "COOLDOWN_AFTER_LOSS_STREAK": "900",
}
BOUNDS = Bounds(
    position=Decimal("0.05"),
    exposure=Decimal("0.08"),
    positions=2,
    leverage=Decimal(3),
    stop_distance=Decimal("0.03"),
    reward=Decimal("1.5"),
)
ENVIRONMENT = {
    **LIMITS,
    "SANDBOX_MODEL": "reckless",
    "SCREENER_ENABLED": "false",
    "DAILY_MODEL_BUDGET_USD": "100000",
}

REFUSING = {
    "position_count", "trade_size", "total_exposure", "stop_loss", "sl_distance", "rr_ratio", "well_formed",
    "limit_price", "add_stop", "min_size",
}  # fmt: skip
SHRINKING = {"leverage", "correlation"}
PERSON = "ada"

HOURS_START, HOURS_SLOTS = "2022-11-08T20:00Z", 40
WEEK_START, WEEK_SLOTS = "2022-11-07T00:00Z", 2016
WATCH_SLOTS, PAUSE_SLOTS = 144, 6
"""A person looks after twelve hours, and once halts trading for half of one."""

pytestmark = pytest.mark.skipif(DATA is None, reason="recorded candles (shared/data beside the project) are not here")

PREPARE = """
from django.core.management import call_command
from decisions.clock import wall_now
from journal.models import PlaybookVersion, Promotion
from journal.playbook import playbook_hash
from journal.services import active_playbook
call_command("migrate", verbosity=0, interactive=False)
call_command("seed")
anything = active_playbook().model_copy(update={"version": 2, "market_regime_rules": ()})
version = PlaybookVersion.objects.create(
    version=2, playbook_json=anything.model_dump(mode="json"), content_hash=playbook_hash(anything),
    change_summary="no rule, no largest position", triggered_by="manual")
Promotion.objects.create(playbook=version, promoted_by="test", reason="only the limits are to hold the model")
"""
WHAT_HAPPENED = """
import json
from decisions.models import DecisionCycle
from journal.models import AccountUpdate
from risk.models import Halt, Verdict
print("HAPPENED", json.dumps({
    "verdicts": list(Verdict.objects.order_by("id").values_list("action", "approved", "results__results")),
    "outcomes": list(DecisionCycle.objects.values_list("outcome", flat=True)),
    "defied": list(DecisionCycle.objects.filter(decision__decision__action__in=["OPEN_LONG", "OPEN_SHORT", "ADD"],
        outcome__in=["halted", "cooldown"]).values_list("outcome", flat=True)),
    "halts": list(Halt.objects.order_by("id").values_list("kind", "started_at", "ended_at", "ended_by")),
    "equity": [
        [str(day), str(AccountUpdate.objects.filter(as_of__date=day).order_by("-id").first().equity)]
        for day in AccountUpdate.objects.dates("as_of", "day")],
}, default=str))
"""


class Run:
    """A reckless run on a folder of its own, in one piece or in several."""

    def __init__(self, local_dir: Path) -> None:
        assert DATA is not None
        self.local_dir = local_dir
        candles = [str(DATA / CANDLES.format(coin)) for coin in ("BTC", "ETH", "SOL")]
        self.market = [word for path in candles for word in ("--market", path)]
        self.begun = False
        self.manage("shell", "--no-imports", "-c", PREPARE)

    @property
    def ledger(self) -> Path:
        return self.local_dir / "venue" / "ledger.sqlite3"

    def manage(self, *words: str, seconds: float = 120, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=PROJECT, capture_output=True, text=True, check=False,
            env={**os.environ, **ENVIRONMENT, "LOCAL_DIR": str(self.local_dir)}, timeout=seconds,
        )  # fmt: skip
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout

    def slots(self, count: int, *, start: str, seconds: float = 240) -> dict[str, Any]:
        """So many slots more, and the report then."""
        report = self.local_dir.with_suffix(".json")
        options = ["--lockstep", "--cycles", str(count), "--exit-when-done", "--report", str(report)]
        options += ["--continue"] if self.begun else []
        self.manage("runstack", *self.market, "--start", start, *options, seconds=seconds)
        self.begun = True
        told: dict[str, Any] = json.loads(report.read_text())
        return told

    def person(self, *words: str) -> None:
        """A person acts; that there is nothing to lift, or no peak to re-base, is no mistake."""
        self.manage("risk", *words, "--by", PERSON, "--reason", "part of the week", codes=(0, 1))

    def what_happened(self) -> dict[str, Any]:
        told = self.manage("shell", "--no-imports", "-c", WHAT_HAPPENED)
        (line,) = [line for line in told.splitlines() if line.startswith("HAPPENED")]
        happened: dict[str, Any] = json.loads(line.removeprefix("HAPPENED"))
        return happened


class Figures:
    """What came of a run: the record's side, and the ledger's."""

    def __init__(self, run: Run, report: dict[str, Any]) -> None:
        happened = run.what_happened()
        self.report = report
        self.findings = check(run.ledger, BOUNDS)
        self.halts = [
            (kind, *(each and datetime.fromisoformat(each) for each in times), by)
            for kind, *times, by in happened["halts"]
        ]
        self.outcomes, self.defied = Counter(happened["outcomes"]), Counter(happened["defied"])
        self.equity = happened["equity"]
        self.approved = 0
        self.refused: Counter[str] = Counter()
        self.refused_alone: Counter[str] = Counter()
        self.shrunk: Counter[str] = Counter()
        for action, approved, results in happened["verdicts"]:
            if action not in ENTRIES:
                continue
            if approved:
                self.approved += 1
                self.shrunk.update(result["rule"] for result in results if result["verdict"] == "shrink")
                continue
            refusing = [result["rule"] for result in results if result["verdict"] in ("reject", "halt")]
            self.refused.update(refusing)
            self.refused_alone.update(refusing if len(refusing) == 1 else ())

    def assert_nothing_was_broken(self) -> None:
        """Every approved entry reached the venue, each is checked there, and the books balance."""
        assert self.findings.breaches == []
        assert self.findings.openings + self.findings.adds == self.approved
        assert self.findings.fills > 0
        assert self.report["books"]["difference"] == "0.0000"
        assert (self.report["orders"]["unknown"], self.report["dead_letters"]) == (0, 0)
        for kind, began, ended, _ in self.halts:
            within = [at for at in self.findings.entered_at if began < at and (ended is None or at < ended)]
            assert within == [], f"entries while {kind} stood"

    def told(self) -> str:
        lines = {
            "cycles": dict(self.outcomes),
            "entries approved": self.approved,
            "refused by": dict(self.refused),
            "refused by it alone": dict(self.refused_alone),
            "shrunk by": dict(self.shrunk),
            "openings asked for while halted or cooling down": dict(self.defied),
            "halts": [f"{kind} {began:%m-%d %H:%M}, ended by {by or 'nobody'}" for kind, began, _, by in self.halts],
            "equity at the end of each day": self.equity,
            "ledger": {
                "openings": self.findings.openings, "adds": self.findings.adds, "executions": self.findings.fills,
                "breaches": len(self.findings.breaches), "most positions": self.findings.most_positions,
                "largest position": f"{self.findings.largest_position:.4%}",
                "largest exposure": f"{self.findings.largest_exposure:.4%}",
            },
        }  # fmt: skip
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Figures]:
    """Some hours of the crash."""
    run = Run(tmp_path_factory.mktemp("reckless") / "hours")
    report = run.slots(HOURS_SLOTS, start=HOURS_START)
    return run, Figures(run, report)


@pytest.mark.timeout(400)
def test_some_reckless_hours_break_no_limit_and_meet_every_rule(hours: tuple[Run, Figures]):
    _, figures = hours
    figures.assert_nothing_was_broken()
    assert figures.approved >= 20
    assert figures.refused.keys() >= REFUSING, figures.told()
    assert figures.shrunk.keys() >= SHRINKING, figures.told()
    assert figures.outcomes["cooldown"] > 0, figures.told()
    assert figures.findings.largest_position > Decimal("0.99") * BOUNDS.position


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_a_reckless_week_breaks_no_limit_and_meets_every_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Run(tmp_path / "week")
    run.slots(WATCH_SLOTS, start=WEEK_START, seconds=1800)
    run.person("halt")
    report = run.slots(PAUSE_SLOTS, start=WEEK_START)
    while (left := WEEK_SLOTS - report["cycles"]["total"] // 3) > 0:
        run.person("resume", "--rebase-peak")
        run.person("resume")
        report = run.slots(min(WATCH_SLOTS, left), start=WEEK_START, seconds=1800)
    figures = Figures(run, report)
    with capsys.disabled():
        print(f"\n{figures.told()}")
    figures.assert_nothing_was_broken()
    assert figures.approved >= 50
    assert figures.refused.keys() == figures.refused_alone.keys() == REFUSING
    assert figures.shrunk.keys() >= SHRINKING
    assert {(kind, by) for kind, _, _, by in figures.halts} >= {
        ("daily_loss", "midnight"), ("drawdown", PERSON), ("manual", PERSON),
    }  # fmt: skip
    assert min(figures.outcomes[account] for account in ("halted", "cooldown")) > 0
    assert min(figures.defied[account] for account in ("halted", "cooldown")) > 0


# --- the checker ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("rule", "tighter"),
    [
        ("position", Decimal("0.049")),
        ("exposure", Decimal("0.06")),
        ("positions", 1),
        ("leverage", Decimal("2.9")),
        ("stop_distance", Decimal("0.029")),
        ("reward", Decimal("1.6")),
    ],
)
def test_the_checker_finds_a_limit_that_did_not_hold(hours: tuple[Run, Figures], rule: str, tighter: Decimal | int):
    run, _ = hours
    broken = check(run.ledger, replace(BOUNDS, **{rule: tighter})).breaches
    assert {breach.rule for breach in broken} == {rule}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("action", "change", "rule"),
    [
        ("OPEN", {"size": lambda value: str(10 * Decimal(value))}, "position"),
        ("ADD", {"size": lambda value: str(100 * Decimal(value))}, "exposure"),
        ("OPEN", {"stop_loss": lambda _: None}, "stop"),
        ("OPEN", {"stop_loss": lambda value: str(Decimal("0.5") * Decimal(value))}, "stop_distance"),
        ("OPEN", {"take_profit": lambda _: None}, "reward"),
        ("OPEN", {"leverage": lambda _: "20"}, "leverage"),
        ("OPEN", {"size": lambda value: str(Decimal(value) / 2)}, "executed_as_asked"),
        ("OPEN", {"action": lambda _: "ADD"}, "add_to_position"),
        ("ADD", {"action": lambda _: "OPEN_LONG"}, "one_position"),
        ("ADD", {"stop_loss": lambda value: str(Decimal("0.99") * Decimal(value))}, "add_stop"),
    ],
)
def test_the_checker_finds_an_order_that_was_tampered_with(
    hours: tuple[Run, Figures], tmp_path: Path, action: str, change: dict[str, Callable[[Any], Any]], rule: str
):
    run, _ = hours
    ledger = tmp_path / "ledger.sqlite3"
    order = tampered(run.ledger, ledger, action, change)
    assert (order, rule) in {(breach.order, breach.rule) for breach in check(ledger, BOUNDS).breaches}


def tampered(original: Path, copy: Path, action: str, change: dict[str, Callable[[Any], Any]]) -> str:
    """A copy of the ledger in which the first executed long order of this action says something else. Its name."""
    with closing(sqlite3.connect(original)) as source, closing(sqlite3.connect(copy)) as connection:
        source.backup(connection)
        executed = {
            fill["client_order_id"]
            for fill in map(json.loads, _column(connection, "SELECT payload FROM fills"))
            if fill["status"] == "filled"
        }
        order = next(
            order
            for order in map(json.loads, _column(connection, "SELECT payload FROM orders ORDER BY sequence"))
            if order["action"].startswith(action) and order["pos_side"] == "long"
            if order["client_order_id"] in executed
        )
        name = str(order["client_order_id"])
        order |= {field: new(order[field]) for field, new in change.items()}
        connection.execute("DROP TRIGGER orders_keeps_on_UPDATE")
        connection.execute("UPDATE orders SET payload = ? WHERE client_order_id = ?", (json.dumps(order), name))
        connection.commit()
    return name


def _column(connection: sqlite3.Connection, query: str) -> list[str]:
    return [row[0] for row in connection.execute(query)]
