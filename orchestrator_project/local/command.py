"""What `manage.py` does around a command: the servers it needs, and a plain sentence for what a person can put right.

Exit codes: 2 for a person's mistake (settings, arguments, an unknown command, a database that was not migrated), which
starting again would not cure; 1 when Postgres or Redis cannot be reached, which it may.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

AWAY = 1
MISTAKE = 2
INTERRUPTED = 130
ASKING = frozenset({"-h", "--help", "--version"})


def run(execute: Callable[[list[str]], None], arguments: list[str], without_servers: Collection[str]) -> int:
    """Run one management command and return its exit code."""
    import redis
    from django.db import OperationalError, ProgrammingError

    from orchestrator_project.local.binaries import ServerMissing
    from orchestrator_project.local.servers import ServerFailed

    words = arguments[1:] or ["help"]
    try:
        if not _exists(words[0], without_servers):
            with suppress(SystemExit):
                execute(arguments)  # Django says so, and which name may have been meant.
            return MISTAKE
        with _servers_when_needed(words, without_servers):
            execute(arguments)
    except (ServerMissing, ServerFailed) as error:
        return _told(str(error), MISTAKE)
    except OSError as error:
        return _told(_about_a_file(error), MISTAKE)
    except ProgrammingError as error:
        if not _not_migrated(error):
            raise
        return _told("The database lacks tables of this version: run `manage.py migrate` (or `make run`).", MISTAKE)
    except OperationalError as error:
        if not _away(error):
            raise
        return _told(f"Postgres cannot be reached (DATABASE_URL): {_one_line(error)}", AWAY)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        return _told(f"Redis cannot be reached (REDIS_URL): {_one_line(error)}", AWAY)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _told(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _exists(word: str, without_servers: Collection[str]) -> bool:
    if word in without_servers or word in ASKING:
        return True
    import django
    from django.core.management import get_commands

    django.setup()
    return word in get_commands()


@contextmanager
def _servers_when_needed(words: list[str], without_servers: Collection[str]) -> Iterator[None]:
    if words[0] in without_servers or not ASKING.isdisjoint(words):
        yield
        return
    from django.conf import settings

    from orchestrator_project.local.ownership import Wanted, servers_for_command

    wanted = Wanted(postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS)
    with servers_for_command(settings.LOCAL_DIR, wanted):
        yield


def _about_a_file(error: OSError) -> str:
    """What to say of something in LOCAL_DIR, and of a file elsewhere that is barred. Anything else is raised again."""
    from django.conf import settings

    from orchestrator_project.local.endpoints import unusable

    sentence = unusable(settings.LOCAL_DIR, error)
    if sentence is None and not isinstance(error, PermissionError):
        raise error
    return sentence or str(error)


def _not_migrated(error: Exception) -> bool:
    from psycopg import errors

    return isinstance(error.__cause__, (errors.UndefinedTable, errors.UndefinedColumn))


def _away(error: Exception) -> bool:
    """Whether there was no connection, or no longer: what a server itself complains of has a code."""
    import psycopg

    return isinstance(error.__cause__, psycopg.OperationalError) and error.__cause__.sqlstate is None
