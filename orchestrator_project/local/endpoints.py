"""Where the embedded servers of a `LOCAL_DIR` listen, as URLs; and the key that is made there once.

Everything is derived from the folder's path, so that a process finds the servers that another one has started. The
servers listen on Unix sockets only: nobody else's port can be in the way and nobody else can reach them.
"""

import errno
import hashlib
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import environ

DATABASE = "orchestrator"
POSTGRES_SOCKET = ".s.PGSQL.5432"
REDIS_SOCKET = "redis.sock"
LONGEST_SOCKET_PATH = 107
"""Bytes of a Unix socket's path, as the kernel has it (`sun_path` less its closing zero)."""


def socket_dir(local_dir: Path) -> Path:
    """The sockets' folder: in `local_dir`, or under the system's temporary folder when the path would be too long."""
    beside = local_dir / "run"
    if len(os.fsencode(beside / POSTGRES_SOCKET)) <= LONGEST_SOCKET_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(local_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}-{digest}"


def private_dir(path: Path) -> Path:
    """Make `path` a folder of our own that nobody else may list. Raises `PermissionError` where it is another's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "Not a folder of this user", str(path))
    if found.st_mode & 0o066:
        path.chmod(0o700)
    return path


PREPARED = {"server_side_binding": True, "prepare_threshold": 2}
"""Statements are prepared at their second use: planning them costs as much as running them."""


def database_url(local_dir: Path) -> str:
    """libpq's own form for a socket folder: the host is a query parameter."""
    return f"postgresql://{DATABASE}@/{DATABASE}?{urlencode({'host': str(socket_dir(local_dir))}, quote_via=quote)}"


def redis_url(local_dir: Path) -> str:
    return f"unix://{quote(str(socket_dir(local_dir) / REDIS_SOCKET))}?db=0"


def broker_url(redis: str) -> str:
    """The same Redis as Celery names it: `unix://` is `redis+socket://` there, the database its virtual host."""
    parts = urlsplit(redis)
    if parts.scheme != "unix":
        return redis
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


def database(url: str) -> dict[str, Any]:
    """Django's description of the database at `url`."""
    description: dict[str, Any] = environ.Env.db_url_config(url)
    options = description.get("OPTIONS", {})
    description["HOST"] = unquote(options.pop("host", "")) or description["HOST"]
    description["OPTIONS"] = PREPARED | options
    return description


def unusable(local_dir: Path, error: OSError) -> str | None:
    """What to tell a person when `error` is about something in `local_dir` or its sockets' folder; else None."""
    if not isinstance(error.filename, str | os.PathLike):
        return None
    failed = Path(error.filename)
    ours = any(failed.is_relative_to(place) for place in (local_dir, socket_dir(local_dir)))
    if not ours and not local_dir.is_relative_to(failed):
        return None
    return (
        f"LOCAL_DIR={local_dir} cannot be used: {error.strerror}: {failed}. It must be a folder of yours to write in."
    )


def generated_secret_key(local_dir: Path) -> str:
    """Django's key of this folder, made on first use. The settings want it, so a folder that cannot be used ends the
    process as any other wrong setting does: exit code 2, and a line that says why."""
    try:
        return _secret_key(local_dir)
    except OSError as error:
        print(unusable(local_dir, error) or f"LOCAL_DIR={local_dir}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _secret_key(local_dir: Path) -> str:
    """Of two processes that make it at once, one wins for both."""
    path = private_dir(local_dir) / "secret_key"
    if not path.exists():
        draft = local_dir / f"secret_key.{secrets.token_hex(8)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
