"""What health checks, a scrape and a backup cost with months of trading on record.

    python tests/bench/monitoring.py [--cycles 1000000] [--trades 100000] [--no-backup]

Servers of its own, filled as for the pages' bench. First a scrape that has to count everything, then the folding that
the housekeeping does by and by, then scrapes as they are from then on; last a backup, and its restore into a database
of its own, compared table by table.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
ROUNDS = 20


def timed(name: str, work: Callable[[], Any], rounds: int = 1) -> Any:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    taken = []
    with CaptureQueriesContext(connection) as queries:
        for _ in range(rounds):
            began = time.perf_counter()
            result = work()
            taken.append((time.perf_counter() - began) * 1000)
    asked = len(queries) // rounds
    print(f"{name:<46} {statistics.median(taken):10.1f} ms   max {max(taken):10.1f} ms   {asked} queries", flush=True)
    return result


def measure(folder: Path, *, with_backup: bool) -> None:
    from orchestrator_project.monitoring import exposition, observation, totals

    counted = timed("a scrape with nothing folded", exposition.read)
    timed("folding the whole record", totals.fold)
    assert (
        timed("a scrape with everything folded", exposition.read)["cycles", ("model_hold",)]
        == counted["cycles", ("model_hold",)]
    )
    timed("a scrape", exposition.read, ROUNDS)
    timed("a look at /readyz", observation.observe, ROUNDS)
    timed("folding when there is nothing new", totals.fold, ROUNDS)
    if with_backup:
        measure_backup(folder / "one.dump")


def measure_backup(file: Path) -> None:
    from django.db import connection

    from orchestrator_project.backup import backup, restore
    from orchestrator_project.management.commands.backup import database

    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE restored")
    here = database()
    written = timed("a backup", lambda: backup(here, file))
    restored = timed("its restore", lambda: restore({**here, "dbname": "restored"}, file))
    assert restored.tables == written.tables
    print(f"{written.rows:,} rows, {file.stat().st_size / 2**20:,.0f} MiB; restored and equal, table by table")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=1_000_000)
    parser.add_argument("--trades", type=int, default=100_000)
    parser.add_argument("--no-backup", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-"))
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings", LOCAL_DIR=folder, SETTINGS_FILE=os.devnull
        )
        import django

        django.setup()
        from orchestrator_project.local.ownership import Wanted, servers_for_command

        stack.enter_context(servers_for_command(Path(folder), Wanted(postgres=True, redis=True)))
        from django.core.management import call_command

        from tests.bench.pages import fill_tables

        call_command("migrate", verbosity=0)
        call_command("seed", stdout=stack.enter_context(open(os.devnull, "w")))
        fill_tables(options.cycles, options.trades)
        measure(Path(folder), with_backup=not options.no_backup)


if __name__ == "__main__":
    main()
