"""Every command that README and docs/ tell people to type is typed: in this process, on the tests' own servers."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class
from pytest_django import Settings

from decisions.management.commands.venue import DEFAULTS, ledger_path
from decisions.sandbox.ledger import Ledger

PROJECT = Path(__file__).resolve().parents[3]
PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
NOT_TYPED = {
    "docker compose": "there is no engine here: test_compose.py parses the words",
    "manage.py runstack": "a long run: tests/e2e/test_lockstep.py",
    "manage.py market --source okx": "it asks OKX: test_okx_market.py has a server that answers like it",
    "manage.py restore": "it wants another database: test_backup.py",
    "manage.py second_factor": "it asks for a code: test_security_second_factor.py types it",
}
"""What a line begins with -> why it is not run here. Whatever else stands in the documents is."""


def typed() -> Iterator[str]:
    """Each line of a code block that calls one of our commands or targets, without prompt, settings and comment."""
    for page in PAGES:
        for line in re.findall(r"^(?: {4,}|\$ )(?:\$ )?(\S.*)$", page.read_text(), re.MULTILINE):
            command = re.sub(r" {2,}#.*| +# .*", "", line)
            command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command).removeprefix(".venv/bin/python ")
            if command.startswith(("manage.py ", "make ")) or (" manage.py " in command and "docker" in command):
                yield command.rstrip()


LINES = sorted(set(typed()))
RUN = [line for line in LINES if line.startswith("manage.py ") and not line.startswith(tuple(NOT_TYPED))]


def test_the_documents_are_read_and_every_reason_not_to_type_a_line_is_used() -> None:
    assert len(RUN) > 20
    for beginning in NOT_TYPED:
        assert any(line.startswith(beginning) for line in LINES), beginning


@pytest.fixture
def place(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder like the project's, with a venue's ledger."""
    (tmp_path / "docs").symlink_to(PROJECT / "docs")
    (tmp_path / "backups").mkdir()
    monkeypatch.chdir(tmp_path)
    settings.LOCAL_DIR = tmp_path
    Ledger.open(ledger_path(), start_equity=Decimal(10_000), terms=DEFAULTS).close()


@pytest.mark.django_db
@pytest.mark.usefixtures("place", "seeded", "redis_client")
@pytest.mark.parametrize("line", RUN)
def test_a_line_that_is_to_be_typed_works(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Done, or refused by the facts of an empty system: never a mistake, never a traceback."""
    _, name, *words = shlex.split(line)
    command = load_command_class(str(get_commands()[name]), name)
    options = vars(command.create_parser("manage.py", name).parse_args(words))
    code, refusal = 0, ""
    try:
        command.execute(*options.pop("args", ()), **options)
    except CommandError as refused:
        code, refusal = refused.returncode, str(refused)
    except SystemExit as ended:
        code = int(str(ended.code))
    said = "".join([*capsys.readouterr(), refusal])
    assert (code in (0, 1), said != "") == (True, True), (code, said)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_a_target_that_is_to_be_made_exists(line: str) -> None:
    words = shlex.split(line)
    told = subprocess.run([*words, "--dry-run"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
