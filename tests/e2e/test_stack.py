"""The life of the whole stack: it starts, ends in order, goes on with its data, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STARTED = "beat.log"
"""The last line of the table."""


class Stack:
    """A `runstack` on a folder of its own."""

    def __init__(self, local_dir: Path) -> None:
        self.local_dir = local_dir
        self.environment = {**os.environ, "LOCAL_DIR": str(local_dir), "WEB_PORT": "18000", "FLOWER_PORT": "15555"}
        self.output = local_dir.with_name(f"{local_dir.name}-output")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runstack", *options],
                cwd=PROJECT, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        until(lambda: STARTED in self.said() or self.process.poll() is not None, 300, self.said)
        return self.process

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def processes(self) -> dict[int, str]:
        """Every living process that was given our folder, whoever its parent is now."""
        mark = f"LOCAL_DIR={self.local_dir}\0".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + b"\0":
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:  # It has ended, or is another user's.
                continue
        return found


def until(condition: Callable[[], bool], seconds: float, explain: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "local")
    yield stack
    if stack.process and stack.process.poll() is None:
        stack.process.kill()
        stack.process.wait()


@pytest.mark.timeout(900)
def test_it_starts_is_used_ends_in_order_and_starts_again(stack: Stack):
    process = stack.start()
    assert process.poll() is None, stack.said()
    assert "OFFLINE" in stack.said()
    with urllib.request.urlopen("http://127.0.0.1:18000/admin/login/", timeout=20) as page:
        assert page.status == 200

    second = stack.command("runstack")
    assert (second.returncode, str(process.pid) in second.stderr) == (2, True), second.stderr
    users = "from django.contrib.auth.models import User; print('administrators:', User.objects.count())"
    assert "administrators: 1" in stack.command("shell", "--no-imports", "-c", users).stdout

    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 0, stack.said()
    assert stack.processes() == {}

    process = stack.start("--no-web")
    assert process.poll() is None, stack.said()
    assert "password" not in stack.said().lower(), "the administrator was made twice"
    process.kill()
    process.wait()
    until(lambda: stack.processes() == {}, 30, stack.processes)
    assert "administrators: 1" in stack.command("shell", "--no-imports", "-c", users).stdout
