"""Backup and restore of the whole record, by Postgres's own `pg_dump` and `pg_restore`.

A backup is two files: the dump, and beside it (`.json`) how many rows each table held and a fingerprint of them, both
of one moment. A restore goes into an empty database, so it destroys nothing, and is believed only when every table
has the same rows and the same fingerprint as then.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from orchestrator_project.command_line import named_database
from orchestrator_project.local import binaries

Parameters = Mapping[str, str]
"""How to reach a database, as libpq names it; a password never stands in a command line."""
FORM = 1
OURS = "django_migrations"
"""A table that every database of ours has."""
TIMEOUT_KNOWN = 170_000
"""The first version of a server that knows `transaction_timeout`, which newer dumps set before anything else."""
TIMEOUT_SET = b"SET transaction_timeout = 0;\n"


class BackupFailed(Exception):
    """It was tried and did not succeed. The message says why."""


class NotPossible(Exception):
    """It was not begun: something has to be put right first. The message says what."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a table held. The fingerprint is the sum of the hashes of its rows' text, in whatever order."""

    rows: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The database of one moment."""

    taken_at: str
    tables: dict[str, Table]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())


def backup(database: Parameters, file: Path) -> Contents:
    """Write the dump and its description. Trading may go on meanwhile: both show one moment.

    Raises `NotPossible`, and `BackupFailed`: what was begun is taken away again.
    """
    description, draft = described_by(file), file.with_name(f"{file.name}.part")
    if existing := [path for path in (file, description) if path.exists()]:
        raise NotPossible(f"{existing[0]} exists: name another file, nothing is overwritten.")
    if not file.absolute().parent.is_dir():
        raise NotPossible(f"{file}: {file.absolute().parent} is no folder.")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        contents = _dump(database, draft)
        draft.rename(file)
        _write_private(description, json.dumps({"form": FORM, **asdict(contents)}, indent=2) + "\n")
    except OSError as error:
        raise BackupFailed(f"{file} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return contents


def restore(database: Parameters, file: Path) -> Contents:
    """Read a backup into the empty database, all or nothing, and compare. Raises `NotPossible`, `BackupFailed`."""
    expected = _read_description(file)
    with _connect(database) as connection:
        if held := _tables(connection):
            raise NotPossible(
                f"The database is not empty: it holds {held[0]} and {len(held) - 1} more tables. A restore goes into a "
                "new one: set LOCAL_DIR to a new folder, or DATABASE_URL to a database made for it."
            )
        knows_timeout = connection.info.server_version >= TIMEOUT_KNOWN
    _load(database, file, without=None if knows_timeout else TIMEOUT_SET)
    with _connect(database) as connection:
        found = _contents(connection)
    if different := sorted(
        name for name in {*expected.tables, *found.tables} if expected.tables.get(name) != found.tables.get(name)
    ):
        raise BackupFailed(f"What was restored is not what was backed up: {', '.join(different)}. Do not trade on it.")
    return found


def described_by(file: Path) -> Path:
    """Where a backup's description stands."""
    return file.with_name(f"{file.name}.json")


def _dump(database: Parameters, file: Path) -> Contents:
    with _connect(database) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if OURS not in _tables(connection):
            named = named_database(connection.info.dbname, connection.info.host)
            raise NotPossible(f"The {named} holds no table of ours: look at DATABASE_URL and LOCAL_DIR.")
        exported = connection.execute("SELECT pg_export_snapshot()").fetchone()
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={file}"]
        _run("pg_dump", database, f"--snapshot={exported[0] if exported else ''}", *options)
        return _contents(connection)


def _contents(connection: "psycopg.Connection[tuple[object, ...]]") -> Contents:
    connection.execute("SET LOCAL timezone = 'UTC'")
    return Contents(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        tables={name: _table(connection, name) for name in _tables(connection)},
    )


def _tables(connection: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return [str(name) for (name,) in rows]


def _table(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> Table:
    counted = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(each::text, 0)::numeric), 0)::text FROM {} each")
    rows, fingerprint = connection.execute(counted.format(sql.Identifier(name))).fetchone() or (0, "0")
    return Table(int(str(rows)), str(fingerprint))


def _connect(database: Parameters) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(make_conninfo(**database))


def _load(database: Parameters, file: Path, without: bytes | None) -> None:
    """The dump as SQL into the database, but for the line `without`. One that is torn ends before its COMMIT, and what
    was read of it is undone. Raises `BackupFailed`."""
    reader = [_program("pg_restore"), "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    writer = [*_on("psql", database), "--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen([*reader, "--file=-", str(file)], stdout=subprocess.PIPE, stderr=said) as giving,
        subprocess.Popen(writer, env=_environment(database), stdin=subprocess.PIPE, stderr=said) as taking,
    ):
        _pass_on(giving, taking, without)
        if giving.wait() or taking.wait():
            said.seek(0)
            raise BackupFailed(f"The restore failed: {_words(said.read().decode(errors='replace'))}")


def _pass_on(giving: "subprocess.Popen[bytes]", taking: "subprocess.Popen[bytes]", without: bytes | None) -> None:
    if giving.stdout and taking.stdin:
        with suppress(BrokenPipeError), giving.stdout, taking.stdin:  # whoever takes may have refused a line
            taking.stdin.writelines(line for line in giving.stdout if line != without)


def _run(program: str, database: Parameters, *options: str) -> None:
    """One of Postgres's own programs on the database. Raises `BackupFailed` with its last words."""
    done = subprocess.run(
        [*_on(program, database), *options], env=_environment(database), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        raise BackupFailed(f"{program} failed: {_words(done.stderr) or f'exit code {done.returncode}'}")


def _on(program: str, database: Parameters) -> list[str]:
    """The program and which database it is to reach; the password goes by the environment."""
    named = make_conninfo(**{name: value for name, value in database.items() if name != "password"})
    return [_program(program), f"--dbname={named}"]


def _environment(database: Parameters) -> dict[str, str]:
    return {**os.environ, "PGPASSWORD": database.get("password", ""), "LC_ALL": "C"}


def _words(said: str) -> str:
    return " ".join(said.split())[:1000]


def _program(name: str) -> str:
    """Where the program is: beside the embedded server's, else on PATH. Raises `NotPossible`."""
    with suppress(binaries.ServerMissing):
        beside = binaries.postgres_programs() / name
        if beside.is_file():
            return str(beside)
    on_path = shutil.which(name)
    if on_path is None:
        raise NotPossible(f"No {name}: run `make install`, or install Postgres's client programs.")
    return on_path


def _read_description(file: Path) -> Contents:
    try:
        read = json.loads(described_by(file).read_text())
        if read["form"] != FORM or not file.is_file():
            raise NotPossible(f"{file}: no backup of ours.")
        return Contents(read["taken_at"], {name: Table(**table) for name, table in read["tables"].items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotPossible(f"{file}: no backup with its description beside it ({type(error).__name__}).") from error


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
