"""Ask a vulnerability service about every pinned package, those of the tests included.

    python tests/audit.py [options of pip-audit]     # such as: --vulnerability-service osv

Ends with 1 when a package has a known vulnerability, each listed with the version that mends it. A service that cannot
be asked is no fault of ours and ends with 0, but is told in letters that nobody can miss: what was not audited is not
known to be sound. pip-audit itself calls a package sound that its service does not know; here it counts as not audited.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("requirements.txt", "tests/requirements.txt")
LOUD = "*" * 78


def judged(packages: Iterable[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """The exit code and what is told, of the packages as pip-audit reports them."""
    known = {package["name"]: package for package in packages}
    unasked = sorted(name for name, package in known.items() if "vulns" not in package)
    found = list(_vulnerabilities(known.values()))
    told = [*found]
    if unasked:
        told += _not_audited(
            f"{len(unasked)} of {len(known)} packages, which the vulnerability service does not know or tell of: "
            + ", ".join(unasked)
        )
    told.append(f"audited: {len(known) - len(unasked)} packages, {len(found)} known vulnerabilities")
    return int(bool(found)), told


def _vulnerabilities(packages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for package in packages:
        for each in package.get("vulns", ()):
            cure = f"mended in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "not mended yet"
            yield f"VULNERABLE: {package['name']} {package['version']}: {each['id']}, {cure}"


def _not_audited(why: str) -> list[str]:
    return [LOUD, f"NOT AUDITED: {why}", LOUD]


def main(options: list[str]) -> int:
    files = [word for name in REQUIREMENTS for word in ("--requirement", name)]
    command = [
        sys.executable, "-m", "pip_audit", *files, "--require-hashes", "--disable-pip", "--format", "json",
        "--progress-spinner", "off", "--desc", "off", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    try:
        code, told = judged(json.loads(done.stdout)["dependencies"])
    except ValueError:
        if done.returncode == 2:  # its own usage: a mistake in the options
            print(done.stderr, file=sys.stderr)
            return 2
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        code, told = 0, _not_audited(f"the vulnerability service cannot be asked: {last}")
    print("\n".join(told))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
