"""Every command of ours, for every mistake that a person makes: a sentence and an exit code, and no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, get_commands, load_command_class

PROJECT = Path(__file__).resolve().parents[3]
OURS = sorted(
    name
    for name, app in get_commands().items()
    if str(app).partition(".")[0] in ("orchestrator_project", "journal", "risk", "decisions", "reflection")
)
NEEDED = {
    "ask": ["--snapshot", "docs/examples/snapshot.json"],
    "backup": ["none.dump"],
    "restore": [os.devnull],
    "risk": ["status"],
    "playbook": ["history"],
    "trades": ["list"],
    "second_factor": ["codes", "ada", "--reason", "lost"],
}
"""What a command cannot be called without."""
WAITING = {"consume", "market", "venue"}
"""Services: while a server is away they wait for it."""
WITHOUT = {"show_config"}

_CHILD = """
import contextlib, io, json, sys
from django.core.management import execute_from_command_line
from manage import WITHOUT_SERVERS
from orchestrator_project.local import command

told = {}
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = command.run(execute_from_command_line, ["manage.py", *words], WITHOUT_SERVERS)
        except SystemExit as ended:
            code = ended.code
        except BaseException as error:
            code = repr(error)
    told[" ".join(words)] = [code, said.getvalue()]
print(json.dumps(told))
"""


def _run_all(calls: list[list[str]], local_dir: Path, **environment: str) -> dict[str, tuple[Any, str]]:
    """Exit code and words of each call, all in one process."""
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(calls)], cwd=PROJECT, capture_output=True, text=True, check=False,
        timeout=110, env={**os.environ, "LOCAL_DIR": str(local_dir), **environment},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, tuple[Any, str]] = {call: (code, said) for call, (code, said) in json.loads(ended.stdout).items()}
    return found


def test_an_option_that_there_is_not_is_a_mistake_and_servers_that_are_away_are_told_in_a_line(tmp_path: Path) -> None:
    away = {"DATABASE_URL": "postgres://me:canary-word@127.0.0.1:1/x", "REDIS_URL": "redis://:canary-word@127.0.0.1:1"}
    mistaken = [[name, *NEEDED.get(name, []), "--nosuch"] for name in OURS]
    asked = [[name, *NEEDED.get(name, [])] for name in OURS if name not in WAITING | WITHOUT]
    found = _run_all([*mistaken, *asked], tmp_path, **away)
    for words in mistaken:
        code, said = found[" ".join(words)]
        assert (code, "nosuch" in said, "Traceback" in said) == (2, True, False), (words, code, said)
    for words in asked:
        code, said = found[" ".join(words)]
        assert code in (1, 2), (words, code, said)
        assert "Traceback" not in said, (words, said)
        assert "canary-word" not in said, words
        assert "cannot be reached" in said or "refuses" in said or code == 2, (words, said)


@pytest.mark.parametrize("name", OURS)
def test_help_ends_with_examples_and_exit_codes(name: str) -> None:
    app = str(get_commands()[name])
    told = load_command_class(app, name).create_parser("manage.py", name).format_help()
    assert "examples:" in told
    assert f"manage.py {name}" in told.split("examples:")[1]
    assert "exit codes: 0 " in told.replace("\n", " ").replace("exit codes:  0", "exit codes: 0 ")


@pytest.mark.parametrize("words", [("risk", "halt"), ("trades", "export"), ("playbook", "rollback")], ids=" ".join)
def test_the_help_of_a_word_has_its_own_examples(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    name, word = words
    parser = load_command_class(str(get_commands()[name]), name).create_parser("manage.py", name)
    with pytest.raises(SystemExit):
        parser.parse_args([word, "--help"])
    shown = capsys.readouterr().out.split("examples:\n")[1]
    examples, _, codes = shown.partition("\n\n")
    assert all(f"manage.py {name} {word}" in line for line in examples.splitlines())
    assert "exit codes: 0 " in codes


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words",
    [
        ("costs", "--days", "0"),
        ("costs", "--days", "many"),
        ("calendar", "--days", "0"),
        ("ask", "--snapshot", "nowhere.json"),
        ("ask", "--snapshot", "pyproject.toml"),
        ("ask",),
        ("models", "--check"),
        ("market", "--bars", "0"),
        ("market", "--market", "nowhere.csv"),
        ("market", "--once"),
        ("venue", "--equity", "much"),
        ("venue", "--taker-fee", "5"),
        ("risk",),
        ("risk", "rule"),
        ("risk", "halt"),
        ("risk", "resume", "--by", "ada"),
        ("risk", "halt", "--reason", "x" * 1001),
        ("risk", "verify", "--cycle", "one"),
        ("playbook", "show", "999"),
        ("challenger", "999"),
        ("reflect", "--by", "ada"),
        ("trades", "list", "--symbol"),
        ("trades", "list", "--from", "yesterday"),
        ("trades", "list", "--from", "2025-01-02", "--to", "2025-01-01"),
        ("restore", "nowhere.dump"),
        ("runstack", "--cycles", "5"),
        ("runstack", "--market", "nowhere.csv"),
        ("status", "more"),
        ("doctor", "--offline"),
        ("show_config", "--json", "--table"),
    ],
    ids=" ".join,
)
def test_what_was_mistyped_is_told_and_ends_with_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_client: Any
) -> None:
    monkeypatch.chdir(PROJECT)
    with pytest.raises((CommandError, SystemExit)) as ended:
        _typed(*words)
    code = ended.value.returncode if isinstance(ended.value, CommandError) else ended.value.code
    assert code == 2, (ended.value, capsys.readouterr())


def _typed(name: str, *rest: str) -> None:
    """As `manage.py` does it, but for closing the connections."""
    command = load_command_class(str(get_commands()[name]), name)
    command._called_from_command_line = True
    options = vars(command.create_parser("manage.py", name).parse_args(rest))
    command.execute(*options.pop("args", ()), **options)
