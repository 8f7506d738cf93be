"""The supervisor with small real processes: what they do to a shared file tells their order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator_project.local import supervisor
from orchestrator_project.local.supervisor import Process, StackFailed, StopRequested, Supervisor

RECORDER = """
import signal, sys, time
name, stubborn, journal = sys.argv[1], sys.argv[2] == "stubborn", sys.argv[3]
def tell(what):
    with open(journal, "a") as file:
        file.write(f"{what} {name}\\n")
def end(*_):
    tell("stop")
    if not stubborn:
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
tell("start")
while True:
    time.sleep(60)
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervise(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*processes: Process) -> Supervisor:
        made.append(
            Supervisor(processes=processes, environment=os.environ, folder=tmp_path, logs=tmp_path, say=said.append)
        )
        return made[-1]

    yield make
    for each in made:
        each.request_stop()
        each.stop()


def recorder(name: str, journal: Path, start: int = 1, stop: int = 1, *, stubborn: bool = False) -> Process:
    return Process(
        name=name,
        command=(sys.executable, "-c", RECORDER, name, "stubborn" if stubborn else "obedient", str(journal)),
        start_stage=start,
        stop_stage=stop,
        ready=lambda: f"start {name}" in lines(journal),
        stop_seconds=0.5,
    )


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def exits(code: int, **changes: object) -> Process:
    command = (sys.executable, "-c", f"print('last words'); raise SystemExit({code})")
    return Process(**({"name": "short", "command": command, "start_stage": 1, "stop_stage": 1} | changes))


def test_stages_start_and_stop_in_their_own_orders(supervise, journal: Path):
    stack = supervise(recorder("b", journal, 2, 1), recorder("a", journal, 1, 2))
    stack.start()
    stack.stop()
    assert lines(journal) == ["start a", "start b", "stop b", "stop a"]


def test_what_dies_is_started_again_and_told(supervise, journal: Path, said: list[str]):
    stack = supervise(recorder("a", journal))
    stack.start()
    ((_, pid, _, _),) = stack.table()
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        stack.watch()
        return lines(journal) == ["start a", "start a"]

    until(is_back)
    assert "killed by SIGKILL" in said[0]
    assert "a.log" in said[0]


def test_three_quick_deaths_end_the_stack_and_name_the_log(supervise, said: list[str]):
    stack = supervise(exits(3))
    stack.start()

    def watch_until_it_fails() -> bool:
        stack.watch()
        return False

    with pytest.raises(StackFailed, match=r"short died 3 times in a row(.|\n)*short\.log(.|\n)*last words"):
        until(watch_until_it_fails)
    assert len(said) == 2


def test_a_natural_end_is_no_failure(supervise, said: list[str]):
    stack = supervise(exits(0, may_finish=True))
    stack.start()

    def has_finished() -> bool:
        stack.watch()
        return bool(said)

    until(has_finished)
    assert said == ["short has finished."]


def test_what_never_gets_ready_fails_the_start(supervise):
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    stack = supervise(exits(0, command=sleeper, ready=lambda: False, ready_seconds=0.2))
    with pytest.raises(StackFailed, match="not ready"):
        stack.start()


def test_a_stop_request_ends_the_waiting_for_readiness(supervise, journal: Path):
    stack = supervise(recorder("a", journal))
    stack.request_stop()
    with pytest.raises(StopRequested):
        stack.start()


def test_what_does_not_end_is_killed_after_its_time(supervise, journal: Path, said: list[str]):
    stack = supervise(recorder("a", journal, stubborn=True))
    stack.start()
    stack.stop()
    assert said == ["a does not end by itself: killed."]


def test_a_second_request_hurries(supervise, journal: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervisor, "HURRIED_SECONDS", 0.1)
    patient = recorder("a", journal, stubborn=True)
    stack = supervise(
        Process(name="a", command=patient.command, start_stage=1, stop_stage=1, ready=patient.ready, stop_seconds=600)
    )
    stack.start()
    signal.signal(signal.SIGALRM, lambda *_: stack.request_stop())
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    begun = time.monotonic()
    stack.stop()
    assert time.monotonic() - begun < 60


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path):
    parent = """
import os, sys
from pathlib import Path
from orchestrator_project.local.children import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]))
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    project = Path(__file__).resolve().parents[3]
    told = subprocess.run(
        [sys.executable, "-c", parent, tmp_path / "log"], cwd=project, capture_output=True, text=True, check=False
    )
    until(lambda: not Path(f"/proc/{told.stdout.strip()}").exists())
