"""How long a slot takes: instruments a cycle against pool processes of the queues that wait for a model.

    python tests/bench/scaling.py [--screen-seconds 0.1] [--analyze-seconds 0.4] [--slots 2]

Real servers, consumer and workers: one for the quick stages with a pool of two, one for `screen` and one for `analyze`
with the pool that is measured. The model takes the given seconds for every answer and lets every instrument through, so
each cycle is screened and analysed. Times are from the tick to the end of the last cycle of the slot; beside each the
time that the model alone would need with that pool. The CPU time of a cycle is that of servers, consumer and workers
together, and tells how many cycles a second a core can carry whatever else the machine does meanwhile.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from math import ceil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.bench.pipeline import SYMBOLS, Bench, cycles_at, open_cycles, processes, servers, wait  # noqa: E402 - by its path

INSTRUMENTS = (1, 10, 50)
POOLS = (1, 2, 4, 8, 16)
SWEEP_SECONDS = 10.0


def workers_answer(count: int) -> bool:
    """Whether so many workers are ready."""
    from celery import current_app

    return len(current_app.control.inspect(timeout=1).ping() or {}) >= count


def slot_seconds(bench: Bench, count: int) -> float:
    """One slot of so many instruments, to the end of its last cycle."""
    from celery import current_app

    symbols = SYMBOLS[1 : count + 1]
    bench.next_slot(symbols)
    began = time.perf_counter()
    current_app.send_task("decisions.tasks.cycle", args=(symbols,))
    sweep_at = began + SWEEP_SECONDS

    def ended() -> bool:
        """Whether every cycle has; what a lost message left is woken meanwhile, as beat has it done."""
        nonlocal sweep_at
        if time.perf_counter() > sweep_at:
            current_app.send_task("decisions.tasks.sweep")
            sweep_at += SWEEP_SECONDS
        return cycles_at(bench.now) == count and open_cycles() == 0

    wait(ended, poll=0.02, seconds=120)
    return time.perf_counter() - began


def cpu_seconds() -> float:
    """What servers, consumer and workers have used so far: everything that this process has started."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        process = int(stat.parent.name)
        parents[process], used[process] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(process, 0) for process in ours - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def measure(pool: int, slots: int, screen: float, analyze: float) -> None:
    from decisions.models import DecisionCycle

    bench = Bench()
    bench.now = max([bench.now, *DecisionCycle.objects.values_list("slot_at", flat=True)])
    slot_seconds(bench, 2 * pool)  # the first slot warms every process of the pools
    told, worked, began = [], 0, cpu_seconds()
    for count in INSTRUMENTS:
        taken = statistics.median(slot_seconds(bench, count) for _ in range(slots))
        alone = ceil(count / pool) * max(screen, analyze) + min(screen, analyze)
        told.append(f"{taken:6.1f} s ({alone:5.1f})")
        worked += count * slots
    cpu = (cpu_seconds() - began) / worked * 1000
    print(f"{pool:>4}   {'   '.join(told)}   {cpu:6.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--screen-seconds", type=float, default=0.1)
    parser.add_argument("--analyze-seconds", type=float, default=0.4)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--pools", type=int, nargs="+", default=POOLS)
    options = parser.parse_args()
    print(f"the model takes {options.screen_seconds} s to screen and {options.analyze_seconds} s to analyse")
    print("pool   " + "   ".join(f"{count:>4} instruments" for count in INSTRUMENTS) + "   CPU a cycle", flush=True)
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="orchestrator_project.settings",
            LOCAL_DIR=folder,
            SETTINGS_FILE=os.devnull,
            INSTRUMENTS=",".join(SYMBOLS),
            DAILY_MODEL_BUDGET_USD="100000",
            BENCH_SCREEN_SECONDS=str(options.screen_seconds),
            BENCH_ANALYZE_SECONDS=str(options.analyze_seconds),
        )
        import django

        django.setup()
        with servers(Path(folder)):
            for pool in options.pools:
                pools = (("cycle,risk,execute,journal,research,reflect", 2), ("screen", pool), ("analyze", pool))
                with processes(Path(folder), pools):
                    wait(lambda: workers_answer(3), poll=0.1, seconds=180)
                    measure(pool, options.slots, options.screen_seconds, options.analyze_seconds)


if __name__ == "__main__":
    main()
