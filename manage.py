#!/usr/bin/env python
"""Every command of the orchestrator: `manage.py help` lists them.

A command that needs Postgres or Redis finds them running, or has embedded ones for its own duration. Exit codes: 2 for
what a person has to put right, 1 for a server that cannot be reached (and for what a command reports as failed).
"""

import os
import sys

WITHOUT_SERVERS = frozenset({"help", "version", "check", "show_config", "runstack", "diffsettings", "findstatic"})


def main(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_project.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        print("Django is not installed here: run `make install`, then .venv/bin/python manage.py ...", file=sys.stderr)
        return 2
    from orchestrator_project.local import command

    try:
        return command.run(execute_from_command_line, arguments, WITHOUT_SERVERS)
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
