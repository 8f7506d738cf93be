"""`manage.py ask`: one question by hand, and nothing left behind but the record of what was paid."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from decisions import context
from decisions.clock import now_for_record
from decisions.messages import MarketSnapshot
from decisions.models import ModelCall
from journal.models import PlaybookVersion, Promotion
from tests.integration.decisions.build import (
    BTC,
    entry_fields,
    position_payload,
    position_update_payload,
    snapshot_payload,
)
from tests.integration.decisions.model_server import (
    KEY,
    Reply,
    ScriptedModels,
    analysed,
    left,
    refusal,
    screened,
)
from tests.integration.rewriting import rewriting_the_record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ready")]

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "snapshot.json"


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    """A file with a market snapshot."""
    return written(tmp_path, snapshot_payload())


def written(folder: Path, document: Any, name: str = "snapshot.json") -> str:
    file = folder / name
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(file)


def ask(*words: str) -> tuple[str, int]:
    """What the command prints, and its exit code."""
    output = io.StringIO()
    try:
        call_command("ask", *words, stdout=output)
    except SystemExit as exit_:
        return output.getvalue(), int(str(exit_.code))
    return output.getvalue(), 0


def asked(*words: str) -> dict[str, Any]:
    printed, _ = ask("--json", *words)
    told: dict[str, Any] = json.loads(printed)
    return told


def rows() -> dict[str, int]:
    """How many rows each table of ours has."""
    return {
        model.__name__: model._default_manager.count()
        for name in ("journal", "decisions", "risk", "reflection")
        for model in apps.get_app_config(name).get_models()
    }


def test_the_decision_is_printed_with_its_cost_and_only_the_call_is_left_behind(
    models: ScriptedModels, snapshot: str
) -> None:
    before = rows()
    printed, code = ask("--snapshot", snapshot)
    assert code == 0
    for told in ("=== request ===", '"OPEN_LONG"', "400 in", "30 out", "0.002750 USD", "verdict        valid"):
        assert told in printed
    assert "answered by    http://127.0.0.1" in printed
    assert KEY not in printed
    assert rows() == {**before, "ModelCall": before["ModelCall"] + 1}


def test_a_call_that_was_paid_counts_for_the_days_budget(models: ScriptedModels, snapshot: str) -> None:
    now = now_for_record()
    spent = context.budget(now).spent
    ask("--snapshot", snapshot)
    models.will_say("screen", "Certainly!")
    ask("--snapshot", snapshot, "--screen")
    analysis, screening = ModelCall.objects.order_by("id")
    assert (analysis.cycle, analysis.purpose, analysis.source, analysis.outcome) == (None, "analyze", "live", "ok")
    assert (screening.purpose, screening.outcome) == ("screen", "invalid_output")
    assert context.budget(now).spent - spent == analysis.cost_usd + screening.cost_usd > 0


def test_what_costs_nothing_is_not_recorded(
    models: ScriptedModels, settings: Any, snapshot: str, tmp_path: Path
) -> None:
    settings.MODEL_REPLAY = tmp_path
    ask("--snapshot", snapshot)
    settings.MODEL_REPLAY, settings.ANTHROPIC_API_KEY = None, ""
    ask("--snapshot", snapshot)
    settings.SANDBOX = False
    printed, code = ask("--snapshot", snapshot)
    assert (code, "ANTHROPIC_API_KEY is not set" in printed) == (1, True)
    assert not ModelCall.objects.exists()


def test_what_is_printed_is_what_is_sent(models: ScriptedModels, snapshot: str) -> None:
    told = asked("--snapshot", snapshot)
    ((question, body),) = models.asked
    assert (question, told["request"]["body"]) == ("analyze", body)
    assert told["prompt"]["system"] == body["system"][0]["text"]
    assert [told["prompt"]["reference"], told["prompt"]["user"]] == [
        block["text"] for block in body["messages"][0]["content"]
    ]
    assert told["reply"]["parsed"]["decision"]["action"] == "OPEN_LONG"
    assert (told["faults"], told["invalid"]) == ([], None)
    assert models.shown()["account_state"]["equity"] == 10000


def test_the_estimate_bounds_the_cost_and_says_what_it_is_made_of(models: ScriptedModels, snapshot: str) -> None:
    told = asked("--snapshot", snapshot, "--dry-run")["estimate"]
    assert told["input_tokens"] == sum(told["tokens"].values())
    assert min(told["tokens"].values()) > 100
    assert 0 < Decimal(told["usual_cost_usd"]) < Decimal(told["most_cost_usd"]) < Decimal("0.2")
    assert told["priced"] is True
    assert asked("--snapshot", snapshot, "--dry-run", "--model", "claude-new")["estimate"]["priced"] is False
    assert models.asked == []


def test_the_screeners_question_is_asked_of_the_small_model(models: ScriptedModels, snapshot: str) -> None:
    models.will_say("screen", screened(False))
    told = asked("--snapshot", snapshot, "--screen")
    ((question, body),) = models.asked
    assert (question, body["model"], body["max_tokens"]) == ("screen", "claude-haiku-4-5-20251001", 100)
    assert told["reply"]["parsed"] == {"signal": False, "reason": "no setup"}


def test_a_model_and_an_effort_can_be_tried(models: ScriptedModels, snapshot: str) -> None:
    asked("--snapshot", snapshot, "--model", "claude-opus-5-5", "--effort", "high")
    ((_, body),) = models.asked
    assert (body["model"], body["output_config"]["effort"]) == ("claude-opus-5-5", "high")
    assert "temperature" not in body


def test_the_prompt_is_printed_whole_where_that_is_wanted(models: ScriptedModels, snapshot: str) -> None:
    short, _ = ask("--snapshot", snapshot, "--dry-run")
    whole, _ = ask("--snapshot", snapshot, "--dry-run", "--show-prompt")
    for text in (
        "You are a disciplined trader",
        "Preserving capital comes first",
        "<allowed_actions>",
        "cited_facts are",
    ):
        assert text in whole
    assert "<allowed_actions>" not in short
    assert '"additionalProperties": false' in whole


@pytest.mark.parametrize("bare", [True, False])
def test_positions_are_shown_and_leave_the_exits_to_choose_from(
    models: ScriptedModels, snapshot: str, tmp_path: Path, bare: bool
) -> None:
    held = [position_payload()]
    document = held if bare else position_update_payload(equity="12000", positions=held)
    models.will_say("analyze", left("HOLD"))
    asked("--snapshot", snapshot, "--positions", written(tmp_path, document, "positions.json"))
    shown = models.shown()
    assert shown["allowed_actions"]["actions"] == ["ADD", "REDUCE", "CLOSE", "HOLD"]
    assert shown["current_positions"][0]["symbol"] == BTC
    assert shown["account_state"]["equity"] == (10000 if bare else 12000)


@pytest.mark.parametrize("one_field", [False, True])
@pytest.mark.parametrize("wrap", [json.loads, str])
def test_a_snapshot_may_stand_in_its_envelope_and_come_by_standard_input(
    models: ScriptedModels, monkeypatch: pytest.MonkeyPatch, wrap: Any, one_field: bool
) -> None:
    entry = entry_fields("market_snapshot", snapshot_payload())
    envelope = {**entry, "payload": wrap(entry["payload"])}
    envelope = {"data": wrap(json.dumps(envelope))} if one_field else envelope
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(envelope)))
    asked("--snapshot", "-")
    assert models.shown()["market_snapshot"]["symbol"] == BTC


def test_the_example_is_a_snapshot(models: ScriptedModels) -> None:
    MarketSnapshot.model_validate_json(EXAMPLE.read_text())
    assert models.asked == []


def test_without_a_key_the_sandbox_says_that_the_offline_model_answers(settings: Any) -> None:
    settings.ANTHROPIC_API_KEY = ""
    printed, code = ask("--snapshot", str(EXAMPLE))
    assert code == 0
    assert "answered by    the offline model" in printed
    assert "not paid: nobody was asked" in printed


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (analysed(cited_facts=[{"path": "price", "value": 1}]), "price was cited as 1.0 and shown as 20000"),
        (analysed(symbol="ETH-USDT-SWAP"), "the analyst decided on ETH-USDT-SWAP"),
        ("I would go long here.", "invalid_output: not JSON"),
        (refusal(), "refusal: the model refuses"),
        (Reply({"type": "error", "error": {"type": "not_found_error", "message": "gone"}}, 404), "error: HTTP 404"),
    ],
)
def test_a_reply_that_a_cycle_could_not_use_is_told_and_is_exit_code_1(
    models: ScriptedModels, snapshot: str, answer: Any, told: str
) -> None:
    models.will_say("analyze", answer)
    printed, code = ask("--snapshot", snapshot)
    assert (code, told in printed.partition("verdict        a cycle could not use it: ")[2]) == (1, True), printed


def test_an_exits_wrong_facts_are_told_and_it_is_valid_all_the_same(
    models: ScriptedModels, snapshot: str, tmp_path: Path
) -> None:
    models.will_say("analyze", left("CLOSE", cited_facts=[]))
    printed, code = ask("--snapshot", snapshot, "--positions", written(tmp_path, [position_payload()], "p.json"))
    assert (code, "cited facts    no fact was cited" in printed) == (0, True)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("", "holds no market snapshot: not JSON: Expecting value"),
        ("price: 20000", "holds no market snapshot: not JSON"),
        ('{"price": NaN}', "not JSON: NaN is not a number"),
        ("[]", "This is no market snapshot: the document: Input should be a valid dictionary"),
        ({"symbol": "btc"}, "This is no market snapshot: symbol: String should match pattern"),
        (
            {**snapshot_payload(), "price": "cheap"},
            "This is no market snapshot: price: Input should be a valid decimal",
        ),
        ({"payload": {"symbol": BTC}}, "This is no market snapshot: timestamp: Field required"),
        ({"data": "{"}, "holds no market snapshot: not JSON"),
        ("[" * 100_000, "holds no market snapshot: not JSON"),
        ({**snapshot_payload(), "timestamp": "9999-12-31T23:59:59Z"}, "timestamp: beyond any calendar"),
    ],
)
def test_a_persons_mistake_is_told_in_one_line(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(CommandError) as mistake:
        ask("--snapshot", written(tmp_path, document))
    assert mistake.value.returncode == 2
    assert told in str(mistake.value)
    assert len(str(mistake.value).splitlines()) == 1


def test_so_is_a_file_that_cannot_be_read(tmp_path: Path, snapshot: str) -> None:
    for words in (["--snapshot", str(tmp_path / "none")], ["--snapshot", snapshot, "--positions", str(tmp_path)]):
        with pytest.raises(CommandError, match="cannot be read: ") as mistake:
            ask(*words)
        assert mistake.value.returncode == 2


def test_a_database_without_a_playbook_is_told_with_the_cure(snapshot: str) -> None:
    with rewriting_the_record():
        Promotion.objects.all().delete()
        PlaybookVersion.objects.all().delete()
    with pytest.raises(CommandError, match=r"There is no playbook yet: run `manage\.py seed` first") as mistake:
        ask("--snapshot", snapshot)
    assert mistake.value.returncode == 2
