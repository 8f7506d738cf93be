"""Changing what the database keeps as it is: for tests that ask what happens when somebody does."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def rewriting_the_record() -> Iterator[None]:
    """Rows of append-only tables can be changed meanwhile. Postgres allows that to its superuser alone, and checks no
    foreign keys either."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")
