"""`manage.py backup`: the whole record into a file."""

from argparse import ArgumentParser
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.management import CommandError
from django.db import connection

from orchestrator_project.backup import BackupFailed, NotPossible, backup, described_by
from orchestrator_project.command_line import CommandWithExamples, acted_on

EXAMPLES = """
examples:
  manage.py backup backups/2026-11-22.dump

exit codes: 0 done, 1 failed, 2 not possible, or a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Write the whole record into FILE, and beside it FILE.json with the rows and a fingerprint of every table. The "
        "system may run meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="such as backups/2026-11-22.dump; must not exist")

    def handle(self, *_: Any, **options: Any) -> None:
        file, began = options["file"], monotonic()
        try:
            contents = backup(database(), file)
        except (NotPossible, BackupFailed) as error:
            raise CommandError(str(error), returncode=2 if isinstance(error, NotPossible) else 1) from error
        megabytes = file.stat().st_size / 1e6
        self.stdout.write(
            f"{file}: {acted_on()}: {contents.rows} rows of {len(contents.tables)} tables, {megabytes:.1f} MB, "
            f"{monotonic() - began:.1f} s; described in {described_by(file)}"
        )


def database() -> dict[str, str]:
    """How to reach the database in use."""
    connection.ensure_connection()
    info = connection.connection.info
    return {**info.get_parameters(), **({"password": info.password} if info.password else {})}
