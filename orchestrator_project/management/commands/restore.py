"""`manage.py restore`: a backup into an empty database."""

from argparse import ArgumentParser
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.management import CommandError
from django.db import connection

from orchestrator_project.backup import BackupFailed, NotPossible, restore
from orchestrator_project.command_line import CommandWithExamples
from orchestrator_project.management.commands.backup import database

EXAMPLES = """
examples:
  LOCAL_DIR=a-new-folder manage.py restore backups/2026-11-22.dump

exit codes: 0 done and equal, 1 failed or not equal, 2 not possible, or a mistake in what was typed
"""


class Command(CommandWithExamples):
    examples = EXAMPLES
    help = (
        "Read the backup FILE into the database, which must be empty (a new LOCAL_DIR, or a new database), and compare "
        "every table with its description."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="as `manage.py backup` wrote it")

    def handle(self, *_: Any, **options: Any) -> None:
        began, reached = monotonic(), database()
        connection.close()
        try:
            contents = restore(reached, options["file"])
        except (NotPossible, BackupFailed) as error:
            raise CommandError(str(error), returncode=2 if isinstance(error, NotPossible) else 1) from error
        self.stdout.write(
            f"{options['file']}: {contents.rows} rows of {len(contents.tables)} tables restored in "
            f"{monotonic() - began:.1f} s, each table equal to the backup's. Next: `manage.py migrate`."
        )
