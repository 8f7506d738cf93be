"""How many rows Postgres reads for what is done, statement by statement, as its own statistics have it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection

_READ = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"


@dataclass(frozen=True)
class Statement:
    """A statement as it was sent, and the rows that it read, whatever it returned."""

    sql: str
    rows: int


@contextmanager
def rows_read(plans: str = "force_generic_plan") -> Iterator[list[Statement]]:
    """The statements of the block, which all belong to one transaction. By default each is planned as one that was
    prepared is: without a look at its parameters."""
    statements: list[Statement] = []

    def measured(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        before = _read_so_far()
        result = execute(sql, params, many, context)
        statements.append(Statement(sql, _read_so_far() - before))
        return result

    connection.ensure_connection()
    threshold, connection.connection.prepare_threshold = connection.connection.prepare_threshold, 0
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('plan_cache_mode', %s, true)", [plans])
        with connection.execute_wrapper(measured):
            yield statements
    finally:
        connection.connection.prepare_threshold = threshold


def _read_so_far() -> int:
    with connection.connection.cursor() as cursor:  # past the wrapper
        return int(cursor.execute(_READ).fetchone()[0])
