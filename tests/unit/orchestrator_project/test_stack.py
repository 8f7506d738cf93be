import socket
from pathlib import Path

import pytest

from orchestrator_project.local.stack import StackPlan, free_port

QUEUES = {"cycle", "screen", "research", "analyze", "risk", "execute", "reflect", "journal"}


def processes(**changes: object):
    plan = StackPlan(**({"name": "here", "web_port": 8000, "flower_port": 5555} | changes))
    return {process.name: process for process in plan.processes()}


def queues_of(process) -> set[str]:
    return set(process.command[process.command.index("--queues") + 1].split(","))


def test_the_sandbox_stack_has_every_process():
    assert processes().keys() == {
        "consumer", "venue", "market", "worker-cycle", "worker-screen", "web", "flower", "beat",
    }  # fmt: skip


def test_live_there_is_neither_market_nor_venue():
    assert not processes(sandbox=False).keys() & {"market", "venue"}


def test_in_lockstep_no_market_runs_by_itself():
    found = processes(lockstep=True)
    assert "market" not in found
    assert "venue" in found


def test_without_web_there_is_no_flower_and_workers_send_no_events():
    found = processes(web_port=None, flower_port=None)
    assert not found.keys() & {"web", "flower"}
    assert "--task-events" not in found["worker-cycle"].command
    assert "--task-events" in processes()["worker-cycle"].command


@pytest.mark.parametrize("workers", ["grouped", "each"])
def test_every_queue_has_exactly_one_worker(workers: str):
    found = [queues_of(each) for each in processes(workers=workers).values() if "--queues" in each.command]
    assert sorted(queue for queues in found for queue in queues) == sorted(QUEUES)
    assert len(found) == (2 if workers == "grouped" else 8)


def test_a_queue_with_its_own_worker_has_its_own_concurrency():
    found = processes(workers="each", concurrency=2, concurrencies={"analyze": 6})
    concurrency = {name: found[name].command[found[name].command.index("--concurrency") + 1] for name in QUEUES}
    assert concurrency == dict.fromkeys(QUEUES, "2") | {"analyze": "6"}


def test_what_makes_work_stops_before_what_does_it_and_that_before_what_records_it():
    stages = {name: process.stop_stage for name, process in processes().items()}
    assert stages["beat"] == stages["market"] < stages["worker-cycle"] < stages["consumer"] == stages["venue"]


def test_beat_starts_last():
    found = processes()
    assert all(found["beat"].start_stage > each.start_stage for name, each in found.items() if name != "beat")


def test_the_market_gets_its_files():
    command = processes(market=["--market", "A=/a.csv", "--start", "2022-11-01"])["market"].command
    assert command[2:] == ("market", "--market", "A=/a.csv", "--start", "2022-11-01")


def test_the_venue_gets_its_first_equity_and_its_fault_plan():
    assert processes()["venue"].command[2:] == ("venue",)
    command = processes(equity="500", faults=Path("/plan.json"))["venue"].command
    assert command[2:] == ("venue", "--equity", "500", "--faults", "/plan.json")


def test_a_busy_port_is_left_to_its_owner():
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        busy = owner.getsockname()[1]
        assert free_port(busy) > busy


def test_a_port_promised_to_another_process_is_not_given_twice():
    port = free_port(20_000)
    assert free_port(port, taken=[port]) > port
