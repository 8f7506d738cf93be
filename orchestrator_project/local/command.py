"""What `manage.py` does around a command: the servers it needs, and a plain sentence for a person's mistake."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

MISTAKE = 2
INTERRUPTED = 130


def run(execute: Callable[[list[str]], None], arguments: list[str], without_servers: Collection[str]) -> int:
    """Run one management command and return its exit code."""
    from django.db import ProgrammingError

    from orchestrator_project.local.binaries import ServerMissing
    from orchestrator_project.local.servers import ServerFailed

    try:
        with _servers_when_needed(arguments, without_servers):
            execute(arguments)
    except (ServerMissing, ServerFailed, PermissionError) as error:
        print(error, file=sys.stderr)
        return MISTAKE
    except ProgrammingError as error:
        if not _not_migrated(error):
            raise
        print("The database lacks tables of this version: run `manage.py migrate` (or `make run`).", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


@contextmanager
def _servers_when_needed(arguments: list[str], without_servers: Collection[str]) -> Iterator[None]:
    words = arguments[1:] or ["help"]
    if words[0] in without_servers or not {"-h", "--help", "--version"}.isdisjoint(words):
        yield
        return
    from django.conf import settings

    from orchestrator_project.local.ownership import Wanted, servers_for_command

    wanted = Wanted(postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS)
    with servers_for_command(settings.LOCAL_DIR, wanted):
        yield


def _not_migrated(error: Exception) -> bool:
    from psycopg import errors

    return isinstance(error.__cause__, (errors.UndefinedTable, errors.UndefinedColumn))
