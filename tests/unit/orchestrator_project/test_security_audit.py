"""The audit of the pinned packages fails for what is vulnerable, and never calls sound what nobody was asked about."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.audit import REQUIREMENTS, judged

PROJECT = Path(__file__).resolve().parents[3]
FLAW = {"id": "PYSEC-1", "fix_versions": ["5.2.20"]}


def package(name: str, *flaws: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": list(flaws), **more}


SKIPPED = {"name": "celery", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_a_vulnerable_package_fails_and_is_told_with_its_cure() -> None:
    code, told = judged([package("django", FLAW), package("celery")])
    assert (code, told[0]) == (1, "VULNERABLE: django 1.0: PYSEC-1, mended in 5.2.20")
    assert judged([package("django", {**FLAW, "fix_versions": []})])[1][0].endswith("not mended yet")


def test_sound_packages_pass_and_are_counted() -> None:
    assert judged([package("django"), package("celery")]) == (0, ["audited: 2 packages, 0 known vulnerabilities"])


def test_packages_that_the_service_does_not_know_are_told_loudly() -> None:
    code, told = judged([package("django"), SKIPPED])
    assert (code, told[1].startswith("NOT AUDITED: 1 of 2 packages")) == (0, True)
    assert "celery" in told[1]
    assert told[-1] == "audited: 1 packages, 0 known vulnerabilities"
    assert judged([package("django", FLAW), SKIPPED])[0] == 1


class Vulnerabilities(BaseHTTPRequestHandler):
    """Answers as OSV does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked_for.append(asked["package"]["name"])
        flawed = asked["package"]["name"] in flawed_packages
        flaw = {
            "id": "PYSEC-1", "summary": "s", "details": "d", "published": "2026-01-01T00:00:00Z",
            "affected": [
                {"package": {"ecosystem": "PyPI", "name": asked["package"]["name"]}, "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]}
            ],
        }  # fmt: skip
        body = json.dumps({"vulns": [flaw]} if flawed else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


asked_for: list[str] = []
flawed_packages: set[str] = set()


@contextmanager
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "tests/audit.py", "--vulnerability-service", "osv", "--osv-url", url, "--timeout", "5"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("flawed", "code"), [(set(), 0), ({"django"}, 1)], ids=["sound", "vulnerable"])
def test_a_service_is_asked_about_every_pinned_package(flawed: set[str], code: int) -> None:
    asked_for.clear()
    flawed_packages.clear()
    flawed_packages.update(flawed)
    with service() as url:
        done = audit(url)
    assert done.returncode == code, done.stdout + done.stderr
    assert {"django", "celery", "anthropic", "pytest"} <= set(asked_for)
    assert ("VULNERABLE: django " in done.stdout) == bool(flawed)
    assert f"audited: {len(set(asked_for))} packages" in done.stdout
    assert "NOT AUDITED" not in done.stdout


def test_a_service_that_is_away_fails_nothing_and_is_told_loudly() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        done = audit(f"http://127.0.0.1:{nobody.getsockname()[1]}/query")
    assert (done.returncode, "NOT AUDITED: the vulnerability service cannot be asked" in done.stdout) == (0, True)
    assert "audited:" not in done.stdout


def test_every_package_is_pinned_with_its_hashes() -> None:
    for name in REQUIREMENTS:
        lines = (PROJECT / name).read_text().splitlines()
        pinned = [place for place, line in enumerate(lines) if line and not line.startswith((" ", "#", "--"))]
        assert pinned
        assert all("==" in lines[place] and "--hash=sha256:" in lines[place + 1] for place in pinned)


def test_the_checks_that_run_by_themselves_ask_it() -> None:
    run = (PROJECT / ".ci" / "run").read_text()
    assert " audit " in run.partition("for target in ")[2].partition("; do")[0]


def test_the_linter_looks_for_insecure_code() -> None:
    import tomllib

    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]
    assert [rule for rule in settings["ignore"] if rule.startswith("S") and rule[1:].isdigit()] == ["S603"]
    relaxed = {name for name, rules in settings["per-file-ignores"].items() if any(r[0] == "S" for r in rules)}
    assert relaxed == {"tests/*"}
