"""The pages of reflection say what was looked at, what came of it and why nothing did, and escape what models wrote."""

from typing import Any

import pytest
from django.test import Client

from decisions.dashboard.addresses import ADDRESSES
from decisions.dashboard.parts import Panel
from journal import playbook_versions
from journal.presentation import page_of
from reflection import looks
from reflection.dashboard_panel import challenger_panel
from reflection.models import PlaybookSuggestion, Reflection
from tests.integration.admin_rows import logged_in
from tests.integration.decisions.build import NOON
from tests.integration.decisions.model_server import ScriptedModels
from tests.integration.reflection.scene import closed, deep_ones, logs, look_after, piece_of, world
from tests.integration.reflection.shadow_records import WINS, contest_of
from tests.integration.reflection.test_deep import lesson, proposed
from tests.integration.reflection.test_reviews import review

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ready")]

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def reader() -> Client:
    return logged_in("ada", is_superuser=True)[0]


def shown(reader: Client, row: Any) -> str:
    answer = reader.get(page_of(row))
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_review_is_read_on_its_trade_its_log_and_its_own_page(
    models: ScriptedModels, reader: Client, settings: Any
) -> None:
    settings.REFLECTION_INTERVAL_TRADES = 1
    world()
    trade = closed()
    told = {
        "lesson": SCRIPT,
        "playbook_suggestion": SCRIPT,
        "what_went_right": [SCRIPT],
        "should_update_playbook": True,
    }
    models.will_say("review", review(**told))
    models.will_say("reflect", proposed(lessons_learned=[lesson(text=SCRIPT)]))
    look_after()
    (log,), (deep_log,), (deep,) = logs(), logs("periodic"), deep_ones()
    suggestion = PlaybookSuggestion.objects.get()
    pages = [shown(reader, row) for row in (trade, log, deep_log, deep, piece_of(trade), suggestion)]
    assert [page for page in pages if SCRIPT in page] == []
    of_trade, of_log, of_deep_log, of_deep, of_piece, of_suggestion = pages
    assert page_of(log) in of_trade
    assert page_of(deep_log) in of_trade
    assert page_of(trade) in of_log
    assert "Deep reflection: version 2 was written" in of_deep_log
    assert "lessons_learned: added L1" in of_deep_log
    assert "made due by the number of trades: done" in of_deep
    assert page_of(trade) in of_deep
    assert page_of(deep) in of_piece
    assert page_of(deep) in of_suggestion


def test_a_failure_is_told_with_its_reason(models: ScriptedModels, reader: Client) -> None:
    trade = closed(None)
    look_after()
    assert "its result is not known" in shown(reader, piece_of(trade))
    listed = reader.get("/admin/reflection/reflection/").content.decode()
    assert "its result is not known" in listed
    assert Reflection.objects.count() == 1


# --- the dashboard ----------------------------------------------------------------------------------------------------


def panel() -> Panel:
    (found,) = challenger_panel(NOON, ADDRESSES)
    return found


def test_the_dashboard_says_why_nothing_is_on_trial(on_trial: ScriptedModels, settings: Any) -> None:
    assert panel().empty == "Version 2 has not been asked yet."
    playbook_versions.reject(2, by="ann", reason="worse")
    assert panel().empty.startswith("No version is on trial")
    settings.PLAYBOOK_PROMOTION = "immediate"
    assert "PLAYBOOK_PROMOTION is immediate" in panel().empty


def test_the_dashboard_shows_a_challenger_beside_its_champion(
    on_trial: ScriptedModels, reader: Client, settings: Any
) -> None:
    settings.PLAYBOOK_PROMOTION = "manual"
    contest = contest_of(WINS, WINS[:20])
    assert panel().figures[0].text == "none yet"
    looks.look(contest.pk, NOON)
    shown_now = panel()
    (verdict,), (table,) = shown_now.figures, shown_now.tables
    assert verdict.text == "undecided"
    assert table.headers == ("Figure", "Challenger 2", "Champion 1")
    assert [cell.text for cell in table.rows[0]] == ["Closed trades", "30", "20"]
    for address, count in ((verdict.address, 1), (table.rows[0][1].address, 30), (table.rows[0][2].address, 20)):
        assert reader.get(address).context["cl"].result_count == count
    assert 'id="panel-challenger"' in reader.get("/admin/").content.decode()
