"""What is on record stays as it is: the database refuses to change, delete or empty it, whoever asks."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from decisions.models import Command, InstrumentBlock, ModelCall, OrderTransition, ScreenerSwitch
from journal.append_only import WHOLE
from journal.models import (
    ChallengerDecision,
    PerformanceSnapshot,
    PlaybookVersion,
    Promotion,
    TradeNote,
    TradeTag,
)
from orchestrator_project.accounts.models import AccountEvent
from reflection.models import ReflectionLog, ShadowLook
from risk.models import Halt, RiskAction, RiskRejection, Verdict
from tests.integration.admin_rows import START, row
from tests.integration.rewriting import rewriting_the_record

pytestmark = pytest.mark.django_db

APPEND_ONLY = (
    PlaybookVersion, Promotion, ChallengerDecision, PerformanceSnapshot, Verdict, RiskRejection, RiskAction,
    OrderTransition, Command, ScreenerSwitch, ReflectionLog, ShadowLook, TradeNote, AccountEvent, LogEntry,
)  # fmt: skip
CHANGEABLE = {
    Halt: {"ended_at", "ended_by", "end_reason"},
    InstrumentBlock: {"ended_at", "ended_by"},
    ModelCall: {"outcome", "error"},
    TradeTag: {"removed_by", "removed_at"},
}
STANDING: dict[type[Model], dict[str, Any]] = {
    Halt: {"ended_at": None, "ended_by": "", "end_reason": ""},
    InstrumentBlock: {"ended_at": None, "ended_by": ""},
    TradeTag: {"tag": "news", "removed_at": None, "removed_by": ""},
    AccountEvent: {"address": "192.0.2.1"},
}
KEPT = (*APPEND_ONLY, *CHANGEABLE)
kept = pytest.mark.parametrize("model", KEPT, ids=lambda model: model.__name__)


def written(model: type[Model]) -> Model:
    if model is LogEntry:
        ada = User.objects.create_user("ada")
        return LogEntry.objects.create(user=ada, object_repr="it", action_flag=CHANGE, change_message="Changed it.")
    return row(model, **STANDING.get(model, {}))


def refused(statement: str, *values: Any) -> None:
    with (
        pytest.raises(IntegrityError, match="is refused: what is recorded there stays as it is"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)


@kept
def test_no_column_of_a_row_can_be_changed(model: type[Model]) -> None:
    found = written(model)
    table = model._meta.db_table
    for field in model._meta.concrete_fields:
        if field.name not in CHANGEABLE.get(model, ()):
            # Another value of the same type, whatever it is: null, where nothing else is at hand.
            refused(f"UPDATE {table} SET {field.column} = {other(field)} WHERE id = %s", found.pk)  # noqa: S608


def other(field: Any) -> str:
    kinds = {"boolean": "NOT {0}", "jsonb": "'{{\"other\": 1}}'", "uuid": "gen_random_uuid()"}
    kind = field.db_type(connection).split("(")[0]
    if kind in ("varchar", "text"):
        return f"{field.column} || 'x'"
    if kind.startswith("timestamp"):
        return "'2001-01-01T00:00:00Z'"
    if kind == "inet":
        return "'192.0.2.2'"
    if kind in ("integer", "bigint", "smallint", "numeric", "bigserial"):
        return f"coalesce({field.column}, 0) + 1"
    return kinds.get(kind, "NULL").format(field.column)


@kept
def test_no_row_can_be_deleted_nor_all_at_once(model: type[Model]) -> None:
    found = written(model)
    refused(f"DELETE FROM {model._meta.db_table} WHERE id = %s", found.pk)  # noqa: S608
    with connection.cursor() as cursor:  # the tests' own database lets itself be emptied between tests
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {model._meta.db_table} ENABLE TRIGGER {WHOLE}")
    refused(f"TRUNCATE {model._meta.db_table} CASCADE")


def test_a_halt_ends_once_and_stays_as_it_ended() -> None:
    halt = written(Halt)
    Halt.objects.filter(pk=halt.pk).update(ended_at=START, ended_by="ada", end_reason="it is over")
    refused("UPDATE risk_halts SET end_reason = 'another' WHERE id = %s", halt.pk)
    refused("UPDATE risk_halts SET ended_at = NULL WHERE id = %s", halt.pk)


def test_a_block_ends_once() -> None:
    block = written(InstrumentBlock)
    InstrumentBlock.objects.filter(pk=block.pk).update(ended_at=START, ended_by="ada")
    refused("UPDATE instrument_blocks SET ended_by = 'eve' WHERE id = %s", block.pk)


def test_the_verdict_on_a_reply_is_written_after_it() -> None:
    call = row(ModelCall)
    ModelCall.objects.filter(pk=call.pk).update(outcome="invalid_output", error="no JSON")
    call.refresh_from_db()
    assert (call.outcome, call.error) == ("invalid_output", "no JSON")


def test_every_such_table_keeps_itself_from_being_emptied() -> None:
    """And none is kept that is not tried here."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = %s", [WHOLE])
        found = {table for (table,) in cursor.fetchall()}
    assert found == {model._meta.db_table for model in KEPT}
    assert found <= {model._meta.db_table for model in apps.get_models()}


def test_who_owns_the_tables_can_look_behind_the_triggers_and_the_tests_do() -> None:
    switch = row(ScreenerSwitch)
    with rewriting_the_record():
        ScreenerSwitch.objects.update(changed_by="eve")
    switch.refresh_from_db()
    assert switch.changed_by == "eve"
    refused("UPDATE screener_switches SET changed_by = 'ada'")
