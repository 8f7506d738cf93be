"""`manage.py playbook`: history, versions and differences in words, and deciding which one trades."""

import getpass
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class

from journal.models import PerformanceSnapshot, PlaybookVersion, Promotion
from journal.playbook_versions import active, find
from tests.integration.admin_rows import row
from tests.integration.journal.playbooks import by_hand, by_reflection, lessons, seeded
from tests.integration.rewriting import rewriting_the_record

pytestmark = pytest.mark.usefixtures(seeded.__name__)


def told(*words: str) -> str:
    out = StringIO()
    call_command("playbook", *words, stdout=out)
    return out.getvalue()


def refused(code: int, *words: str) -> str:
    before = (PlaybookVersion.objects.count(), Promotion.objects.count())
    with pytest.raises(CommandError) as raised:
        told(*words)
    assert raised.value.returncode == code
    assert (PlaybookVersion.objects.count(), Promotion.objects.count()) == before
    return str(raised.value)


def test_history_is_a_table_with_who_and_why_and_how_each_stands():
    row(PerformanceSnapshot, snapshot_type="daily", total_pnl="31.5")
    by_hand("L1", by="ada")
    by_reflection("L2")
    heading, *rows = told("history").splitlines()
    assert heading.split()[:4] == ["version", "standing", "written", "by"]
    assert [line.split()[:2] for line in rows] == [["3", "challenger"], ["2", "active"], ["1", "former"]]
    assert "lessons_learned: added L1" in rows[1]
    assert "for L1" in rows[1]
    assert rows[1].endswith("31.5000 in the last day")
    assert "init" in rows[2]


def test_history_as_json_leaves_nothing_out():
    by_hand("L1", by="ada")
    newest, first = json.loads(told("history", "--json"))
    assert set(newest) == {
        "version", "standing", "created_at", "triggered_by", "created_by", "reason", "change_summary", "promotions",
        "performance",
    }  # fmt: skip
    assert (newest["version"], newest["standing"], newest["created_by"], newest["reason"]) == (
        2, "active", "ada", "for L1",
    )  # fmt: skip
    assert [each["by"] for each in first["promotions"]] == ["init"]


def test_show_prints_the_document_as_it_is_stored():
    assert json.loads(told("show", "1")) == PlaybookVersion.objects.get().playbook_json


def test_diff_tells_in_words():
    by_hand("L1")
    assert told("diff", "1", "2") == "lessons_learned: added L1\n"
    assert told("diff", "2", "1") == "lessons_learned: removed L1\n"
    assert told("diff", "2", "2") == "Versions 2 and 2 say the same.\n"


def test_promote_and_reject_decide_about_a_challenger():
    by_reflection("L1")
    assert told("promote", "2", "--by", "ada", "--reason", "better") == "Version 2 trades from the next cycle on.\n"
    assert (active().version, find(2).decision.decided_by) == (2, "ada")
    by_reflection("L2")
    assert "Version 3 is rejected" in told("reject", "3", "--by", "ada", "--reason", "no ban")
    assert (active().version, find(3).decision.decision) == (2, "rejected")


def test_rollback_writes_the_old_content_anew():
    by_hand("L1")
    assert "Version 3, with what version 1 says, trades" in told("rollback", "1", "--reason", "it paid less")
    assert (active().version, lessons(active()), active().created_by) == (3, [], getpass.getuser())


def test_what_the_facts_stand_against_is_refused_with_1():
    assert refused(1, "promote", "1", "--reason", "why") == "Refused. Version 1 is the one that trades already."
    assert "says what version 1 says" in refused(1, "rollback", "1", "--reason", "why")


def test_what_is_mistyped_is_refused_with_2():
    for words in (("show", "9"), ("diff", "1", "9"), ("promote", "9", "--reason", "why")):
        assert refused(2, *words) == "There is no playbook version 9: they go from 1 to 1."
    assert "--reason is empty" in refused(2, "rollback", "1", "--reason", " ")
    assert "--by" in refused(2, "rollback", "1", "--by", "", "--reason", "why")


def test_before_the_first_playbook_it_says_how_to_get_one():
    with rewriting_the_record():
        Promotion.objects.all().delete()
        PlaybookVersion.objects.all().delete()
    for words in (("history",), ("show", "1"), ("rollback", "1", "--reason", "why")):
        assert "`manage.py seed` writes the first" in refused(2, *words)


def test_a_version_that_cannot_be_read_any_more_is_told_and_not_traded():
    row(PlaybookVersion, version=2, playbook_json={"version": 2})
    for words in (("diff", "1", "2"), ("promote", "2", "--reason", "why")):
        assert refused(1, *words) == "A version can no longer be read. last_updated: it is missing (and 5 more)"
    assert told("history").count("\n") == 3


def test_help_has_an_example_of_every_word(capsys: Any):
    command = load_command_class("journal", "playbook")
    with pytest.raises(SystemExit) as ended:
        command.run_from_argv(["manage.py", "playbook", "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("history", "show", "diff", "promote", "reject", "rollback"):
        assert f"manage.py playbook {word} " in shown or f"manage.py playbook {word}\n" in shown
