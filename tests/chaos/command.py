"""The command: seeds in, one line a run out, and what all of them together have met."""

import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.planted import BUGS, FOUND_BY

if TYPE_CHECKING:
    from tests.chaos.driver import Happened
    from tests.chaos.evidence import Evidence
    from tests.chaos.stack import Stack

PROJECT = Path(__file__).resolve().parents[2]
KEPT = PROJECT / ".local" / "chaos"
SLOTS = 20
INSTRUMENTS = [f"{coin}-USDT-SWAP" for coin in ("BTC", "ETH", "SOL")]
SETTINGS: Mapping[str, str] = {
    "DJANGO_SETTINGS_MODULE": "orchestrator_project.settings",
    "SETTINGS_FILE": os.devnull,
    "SANDBOX": "true",
    "SANDBOX_LOCKSTEP": "true",
    "SANDBOX_MODEL": "reckless",
    "SCREENER_ENABLED": "false",
    "DAILY_MODEL_BUDGET_USD": "100000",
    "INSTRUMENTS": json.dumps(INSTRUMENTS),
    "ORDER_TTL_MARKET_SECONDS": "8",
    "CONFIRM_TIMEOUT_SECONDS": "3",
    "PROTECTION_DEADLINE_SECONDS": "3",
    "SWEEP_SECONDS": "1",
    "MAX_OPUS_TIMEOUT_SECONDS": "2",
    "RESEARCH_TIMEOUT_SECONDS": "2",
    "REFLECTION_TIMEOUT_SECONDS": "2",
    "SANDBOX_BAR_SECONDS": "1",
}
"""Everything as by default but the waiting: a run is over in half a minute."""


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    local_dir = Path(tempfile.mkdtemp(prefix="orchestrator-chaos-"))
    _use_settings(local_dir)
    if not options.verbose:  # that a server is away is planned here, and no news between the lines of the runs
        logging.getLogger("decisions.sandbox.lockstep").setLevel(logging.ERROR)
    from orchestrator_project.local.children import die_with_parent
    from tests.chaos.stack import Stack

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.end_with_parent:
        die_with_parent(signal.SIGTERM, os.getppid())
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    began = time.monotonic()
    stack = Stack(local_dir, {**os.environ}, options.plant)
    try:
        _make_template(stack)
        runs = [_one(stack, seed, options, number, len(seeds)) for number, seed in enumerate(seeds, 1)]
    finally:
        stack.close()
        shutil.rmtree(local_dir, ignore_errors=True)
    return _summary(runs, time.monotonic() - began)


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="so many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="this one seed")
    parser.add_argument("--slots", type=int, default=SLOTS, metavar="N", help="of a run (default: %(default)s)")
    seeds = ", ".join(f"{name} by --seed {seed}" for name, seed in FOUND_BY.items())
    parser.add_argument(
        "--plant", choices=sorted(BUGS), default="", help=f"a bug that has to be found: {seeds}; each with --slots 12"
    )
    parser.add_argument("--verbose", action="store_true", help="tell of each fault as it strikes")
    parser.add_argument("--keep", action="store_true", help="keep the logs of every run, not only of the bad ones")
    parser.add_argument("--end-with-parent", action="store_true", help="stop when the starting process dies")
    return parser.parse_args(arguments)


def _use_settings(local_dir: Path) -> None:
    """Forget what this machine has set; the settings are those of the runs."""
    for name in re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (PROJECT / ".env.example").read_text(), re.MULTILINE):
        os.environ.pop(name, None)
    os.environ.update(SETTINGS, LOCAL_DIR=str(local_dir))
    import django

    django.setup()


def _make_template(stack: "Stack") -> None:
    """The database with which every run begins: migrated, seeded, and a playbook that allows whatever the limits do."""
    from django.core.management import call_command
    from django.db import connection, connections

    from journal.models import PlaybookVersion, Promotion
    from journal.playbook import playbook_hash
    from journal.services import active_playbook
    from tests.chaos.evidence import AUDIT

    call_command("migrate", verbosity=0, interactive=False)
    with open(os.devnull, "w") as nowhere:
        call_command("seed", stdout=nowhere)
    anything = active_playbook().model_copy(update={"version": 2, "market_regime_rules": ()})
    version = PlaybookVersion.objects.create(
        version=2, playbook_json=anything.model_dump(mode="json"), content_hash=playbook_hash(anything),
        change_summary="no rule, no largest position", triggered_by="manual",
    )  # fmt: skip
    Promotion.objects.create(playbook=version, promoted_by="chaos", reason="only the limits are to hold the model")
    with connection.cursor() as cursor:
        cursor.execute(AUDIT)
    connections.close_all()
    stack.keep_as_template()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    met: set[str]
    orders: int
    fills: int
    violations: list[str]


def _one(stack: "Stack", seed: int, options: Namespace, number: int, of: int) -> Outcome:
    from tests.chaos.checker import check
    from tests.chaos.driver import Driver
    from tests.chaos.plan import plan

    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if options.verbose:
            print(f"  {line}", flush=True)

    if sys.stdout.isatty():
        print(f"seed {seed} ({number} of {of}) ...", end="\r", flush=True)
    began = time.monotonic()
    driver = Driver(stack, plan(seed, options.slots), tell)
    evidence = driver.run()
    violations = [*driver.happened.violations]
    try:
        driver.verify()
        violations = [*driver.happened.violations, *check(evidence)]
    finally:
        stack.stop()
    outcome = Outcome(seed, driver.met(), len(evidence.venue.of("order")), len(evidence.venue.executions()), violations)
    print(_line(outcome, driver.happened, time.monotonic() - began), flush=True)
    if violations or options.keep:
        _keep(stack, seed, evidence, [*told, "", *violations])
    return outcome


def _line(outcome: Outcome, happened: "Happened", seconds: float) -> str:
    counted = Counter(kind.partition(":")[0] for kind in happened.faults)
    counted["crash"] = sum(kind.startswith("crash:") for kind in outcome.met)
    counted["venue"] = sum(kind.startswith("venue:") for kind in outcome.met)
    faults = ", ".join(f"{count} {what}" for what, count in sorted(counted.items()) if count)
    slowest = max(happened.slot_seconds, default=0.0)
    count = len(outcome.violations)
    return (
        f"seed {outcome.seed:>4}  {faults}; {outcome.orders} orders, {outcome.fills} fills, {happened.slots} slots "
        f"(slowest {slowest:.1f} s), {seconds:.1f} s, {count or 'no'} violation{'' if count == 1 else 's'}"
    )


def _keep(stack: "Stack", seed: int, evidence: "Evidence", told: Sequence[str]) -> None:
    """Copy what explains a run to a folder that stays, and name it."""
    folder = KEPT / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stack.folder, folder)
    shutil.copytree(stack.local_dir / "venue", folder / "venue", dirs_exist_ok=True)
    (folder / "told.txt").write_text("\n".join(told) + "\n")
    for table, rows in evidence.record.tables.items():
        lines = (json.dumps(dict(row), default=str) for row in rows)
        (folder / f"{table}.jsonl").write_text("\n".join(lines) + "\n")
    entries = (
        json.dumps([each.stream, each.entry_id, each.life, _readable(each.fields)])
        for each in evidence.traffic.entries
    )  # fmt: skip
    (folder / "streams.jsonl").write_text("\n".join(entries) + "\n")
    for line in told[told.index("") + 1 :][:12]:
        print(f"           {line[:300]}")
    print(f"           everything about it: {folder}", flush=True)


def _readable(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(errors="replace"): value.decode(errors="replace")[:2000] for key, value in fields.items()}


def _summary(runs: Sequence[Outcome], seconds: float) -> int:
    """What all of them were, and what is wrong with them; the exit code."""
    print(f"\n{len(runs)} runs, {seconds:.0f} s, {sum(run.orders for run in runs)} orders, ", end="")
    print(f"{sum(run.fills for run in runs)} fills. Kinds of fault that were met, and in how many runs:")
    _tell_coverage(Counter(kind for run in runs for kind in run.met))
    bad = [run for run in runs if run.violations]
    if not bad:
        print("No violations.")
        return 0
    rules = Counter(violation.partition(":")[0] for run in bad for violation in run.violations)
    told = ", ".join(f"{count} {rule}" for rule, count in rules.most_common())
    print(f"Violations in {len(bad)} runs, of the seeds {', '.join(str(run.seed) for run in bad)}: {told}.")
    return 1


def _tell_coverage(met: Counter[str]) -> None:
    from tests.chaos.plan import every_kind

    every = every_kind()
    for what in sorted({kind.partition(":")[0] for kind in every}):
        kinds = sorted(kind for kind in every & met.keys() if kind.startswith(f"{what}:"))
        told = ", ".join(f"{kind.partition(':')[2]} {met[kind]}" for kind in kinds)
        of = sum(kind.startswith(f"{what}:") for kind in every)
        print(f"  {what:<8} {len(kinds):>2} of {of:>2}  {told}")
    print(f"Not met: {', '.join(sorted(every - met.keys())) or 'none'}.")
