"""Whether a challenger that earns its place is worth having: the seeded experiment.

    python tests/bench/promotion.py [--seeds 5] [--days 28] [--jobs 2]

A generated market, an offline model with a playbook that is deliberately bad in one regime, and the real cycles, gate,
books, reflection, shadow books and promotion, twice for each seed: with PLAYBOOK_PROMOTION=auto, and with `manual` and
nobody there to approve. Offline reflection has to find what is bad and propose the ban; the ban has to earn its place
against the champion on the same cycles; then it trades. The table shows when, and what each account made in the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
INSTRUMENTS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP")
SEEDS, DAYS = 5, 28
HEADINGS = (
    "seed", "trades", "ban proposed", "looks", "promoted", "shadow net: challenger", "champion", "Brier: challenger",
    "champion", "net USD with promotion", "without", "difference",
)  # fmt: skip
Run = dict[str, Any]


def environment(folder: str, mode: str) -> dict[str, str]:
    """The settings of a run, all others by default."""
    return {
        "DJANGO_SETTINGS_MODULE": "orchestrator_project.settings",
        "LOCAL_DIR": folder,
        "SETTINGS_FILE": os.devnull,
        "INSTRUMENTS": ",".join(INSTRUMENTS),
        "DECISION_CYCLE_SECONDS": "3600",
        "SCREENER_ENABLED": "false",
        "DAILY_MODEL_BUDGET_USD": "100000",
        "PLAYBOOK_PROMOTION": mode,
        "CHALLENGER_SHARE": "1" if mode == "auto" else "0",  # nobody looks at a record that nobody decides by
        "REFLECTION_INTERVAL_TRADES": "40",
        "REFLECTION_INTERVAL_HOURS": "720",
        "LOG_LEVEL": "ERROR",
    }


# --- one run, in a process of its own ---------------------------------------------------------------------------------


def one_run(seed: int, days: int, mode: str) -> Run:
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(environment(folder, mode))
        import django

        django.setup()
        from orchestrator_project.local.ownership import Wanted, servers_for_command

        with servers_for_command(Path(folder), Wanted(postgres=True, redis=True)):
            return _measured(seed, days, Path(folder))


def _measured(seed: int, days: int, folder: Path) -> Run:
    from django.core.management import call_command
    from django.db import connection

    from decisions.sandbox import offline_transport
    from decisions.sandbox.opening import GENERATED_START
    from journal import playbook_versions
    from tests.bench import overtrading_model, promotion_world

    offline_transport.ANSWERS = {"disciplined": overtrading_model.answer}
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:  # nothing of this outlives the run
        cursor.execute("SET synchronous_commit = off")
    call_command("seed", stdout=open(os.devnull, "w"))  # noqa: SIM115
    playbook_versions.save_manual(
        overtrading_model.bad_playbook(GENERATED_START),
        basis=playbook_versions.basis(),
        by="the experiment",
        reason="It is deliberately bad in one regime.",
        now=GENERATED_START,
        promote=True,
    )
    world = promotion_world.World(promotion_world.market(INSTRUMENTS, seed, folder), INSTRUMENTS)
    world.run(days)
    return promotion_world.story(overtrading_model.SCALP)


# --- all of them ------------------------------------------------------------------------------------------------------


def all_runs(seeds: Sequence[int], days: int, jobs: int) -> list[tuple[int, Run, Run]]:
    """For each seed the run with promotion and the one without."""
    with ThreadPoolExecutor(jobs) as pool:
        asked = [(seed, mode) for seed in seeds for mode in ("auto", "manual")]
        found = dict(zip(asked, pool.map(lambda each: _in_a_process(*each, days), asked), strict=True))
    return [(seed, found[seed, "auto"], found[seed, "manual"]) for seed in seeds]


def _in_a_process(seed: int, mode: str, days: int) -> Run:
    words = ["--seed", str(seed), "--mode", mode, "--days", str(days)]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run of seed {seed} with {mode} failed:\n{done.stderr[-4000:]}")
    run: Run = json.loads(done.stdout)
    return run


def told(seed: int, with_promotion: Run, without: Run) -> tuple[str, ...]:
    """A line of the table."""
    look = with_promotion["looks"][-1] if with_promotion["looks"] else None
    gained, kept = Decimal(with_promotion["net"]), Decimal(without["net"])
    return (
        str(seed),
        f"{with_promotion['trades']} / {without['trades']}",
        with_promotion["ban_proposed"] or "-",
        str(len(with_promotion["looks"])),
        with_promotion["promoted"] or "-",
        *(look["net"] if look else ("-", "-")),
        *(look["brier"] if look else ("-", "-")),
        f"{gained:.2f}",
        f"{kept:.2f}",
        f"{gained - kept:+.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--days", type=int, default=DAYS, help="days of the market")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--seed", type=int, help="one run of this seed only, as JSON")
    parser.add_argument("--mode", choices=("auto", "manual"), default="auto", help="of that one run")
    options = parser.parse_args()
    if options.seed is not None:
        print(json.dumps(one_run(options.seed, options.days, options.mode), indent=1))
        return
    from orchestrator_project.terminal import columns

    runs = all_runs(range(1, options.seeds + 1), options.days, options.jobs)
    print("\n".join(columns([HEADINGS, *(told(*run) for run in runs)])))
    better = sum(Decimal(auto["net"]) > Decimal(manual["net"]) for _, auto, manual in runs)
    total = sum((Decimal(auto["net"]) - Decimal(manual["net"]) for _, auto, manual in runs), Decimal(0))
    print(f"better with promotion: {better} of {len(runs)} seeds, {total:+.2f} USD together")


if __name__ == "__main__":
    main()
