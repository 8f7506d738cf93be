"""Tables that are only ever added to, kept so by the database itself: whatever changes a row there is refused.

Each function gives a migration's operation. The triggers hold for the application, the admin and whoever has its
credentials in hand; only the owner of the tables could take them off, which is a change of the schema and not of a row.
What is refused is Postgres's `restrict_violation`, in Django an `IntegrityError`.
"""

from django.db.migrations import RunSQL

FUNCTION = RunSQL(
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        RAISE EXCEPTION '% on % is refused: what is recorded there stays as it is', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END
    $body$
    """,
    "DROP FUNCTION refuse_change()",
)
"""What the triggers call."""

WHOLE = "refuse_truncate"
"""The trigger that keeps a table from being emptied at once."""


def append_only(table: str) -> RunSQL:
    """Nothing in the table may be changed or deleted."""
    return RunSQL(
        [_by_row("refuse_change", table, "UPDATE OR DELETE"), _by_table(table)],
        [_drop("refuse_change", table), _drop(WHOLE, table)],
    )


def fixed_but(table: str, *columns: str, until: str = "") -> RunSQL:
    """Nothing in the table may be deleted, and of a row only `columns` may change; not even they once the column
    `until` has a value."""
    kept = "ARRAY[" + ", ".join(f"'{name}'" for name in columns) + "]"
    changed = f"(to_jsonb(OLD) - {kept}) IS DISTINCT FROM (to_jsonb(NEW) - {kept})"
    over = f"OLD.{until} IS NOT NULL OR " if until else ""
    return RunSQL(
        [
            _by_row("refuse_change", table, "UPDATE", f"WHEN ({over}{changed})"),
            _by_row("refuse_delete", table, "DELETE"),
            _by_table(table),
        ],
        [_drop(name, table) for name in ("refuse_change", "refuse_delete", WHOLE)],
    )


def _by_row(name: str, table: str, events: str, condition: str = "") -> str:
    return (
        f'CREATE TRIGGER {name} BEFORE {events} ON "{table}" FOR EACH ROW {condition} EXECUTE FUNCTION refuse_change()'
    )


def _by_table(table: str) -> str:
    return f'CREATE TRIGGER {WHOLE} BEFORE TRUNCATE ON "{table}" FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()'


def _drop(name: str, table: str) -> str:
    return f'DROP TRIGGER {name} ON "{table}"'
